//! The server: where it is, and who we are to it.

use std::fmt;
use std::future::ready;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream::context::RequestErrorKind;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{
    AuthError, Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, rustls,
};
use futures_util::future::{Either, select};
use tokio::time::{Instant, sleep};

use crate::address::Addresses;
use crate::error::ServerError;
pub use crate::login::Secret;
use crate::login::{Login, Source};
use crate::progress::{Progress, Watcher};
use crate::tls::Tls;

/// How long a server has to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// A server that is silent for three of these is given up, and another one is looked for.
const PING: Duration = Duration::from_secs(5);
/// How long one look for JetStream takes.
const LOOK: Duration = Duration::from_secs(2);
/// How long we look for JetStream. A cluster elects a leader meanwhile.
const ANSWER: Duration = Duration::from_secs(10);
/// The pauses between two attempts to connect again.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(4);

/// Where NATS is, and how to log in.
///
/// Neither its `Debug` nor its `Display` shows a secret, and no error of [`connect`](Self::connect) does. The files of
/// a login are read at each connection, so that they may be renewed while a bridge runs.
///
/// ```
/// use bridge::server::ServerOptions;
///
/// let server = ServerOptions::new("nats://127.0.0.1:4222").user("anna", "s3cret");
/// assert_eq!(server.to_string(), "nats://127.0.0.1:4222");
/// assert!(!format!("{server:?}").contains("s3cret"));
/// ```
#[derive(Clone)]
pub struct ServerOptions {
    url: String,
    logins: Vec<Login>,
    tls: Tls,
}

impl ServerOptions {
    /// One address or several, separated by commas, such as `nats://127.0.0.1:4222`. With `tls://` instead of
    /// `nats://` the connection has to be encrypted. An address may hold a login, as in `nats://anna:s3cret@host`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), logins: Vec::new(), tls: Tls::default() }
    }

    /// Logs in with a file of `nsc`'s, which holds a token and a key.
    pub fn credentials_file(self, path: impl Into<PathBuf>) -> Self {
        self.login(Login::Credentials(path.into()))
    }

    /// Logs in with a key, whose seed (`SU…`) is a line of this file.
    pub fn nkey_file(self, path: impl Into<PathBuf>) -> Self {
        self.login(Login::Nkey(path.into()))
    }

    /// Logs in with a name and a password.
    pub fn user(self, name: impl Into<String>, password: impl Into<Secret>) -> Self {
        self.login(Login::User(name.into(), Source::Given(password.into())))
    }

    /// Logs in with a name and the password that is the only line of this file.
    pub fn user_with_password_file(
        self,
        name: impl Into<String>,
        path: impl Into<PathBuf>,
    ) -> Self {
        self.login(Login::User(name.into(), Source::File(path.into())))
    }

    /// Logs in with a token.
    pub fn token(self, token: impl Into<Secret>) -> Self {
        self.login(Login::Token(Source::Given(token.into())))
    }

    /// Logs in with the token that is the only line of this file.
    pub fn token_file(self, path: impl Into<PathBuf>) -> Self {
        self.login(Login::Token(Source::File(path.into())))
    }

    /// Encrypts, or fails. Without it, the server decides.
    pub fn require_tls(mut self) -> Self {
        self.tls.required = true;
        self
    }

    /// Trusts servers whose certificate one of these authorities has signed (PEM), instead of those that the host
    /// trusts. It encrypts, or fails.
    pub fn tls_authority(mut self, path: impl Into<PathBuf>) -> Self {
        self.tls.authority = Some(path.into());
        self
    }

    /// Shows this certificate to the server, and proves with its key (both PEM) that it is ours. It encrypts, or fails.
    pub fn tls_identity(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.tls.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Whether an address holds a login. On a command line, every user of the host could read it there.
    pub fn has_login_in_address(&self) -> bool {
        self.url.contains('@')
    }

    fn login(mut self, login: Login) -> Self {
        self.logins.push(login);
        self
    }

    /// Reads all files, and says what is wrong with them, without a connection.
    ///
    /// # Errors
    ///
    /// All of [`ServerError`] that does not come from a server.
    pub fn check(&self) -> Result<(), ServerError> {
        self.plan().map(|_| ())
    }

    fn plan(&self) -> Result<(Addresses, Option<Login>), ServerError> {
        let mut addresses = Addresses::read(&self.url)?;
        let mut logins = self.logins.iter().cloned().chain(addresses.login.take());
        let login = logins.next();
        if let (Some(first), Some(second)) = (&login, logins.next()) {
            let (first, second) = (first.to_string(), second.to_string());
            return Err(ServerError::TwoLogins { first, second });
        }
        if let Some(login) = &login {
            login.answer(b"")?;
        }
        self.tls.check()?;
        Ok((addresses, login))
    }

    /// Connects, and makes sure that the server has JetStream. A client that has been connected connects again by
    /// itself, with growing pauses of up to some seconds. `progress` is told of each loss and each connection.
    ///
    /// # Errors
    ///
    /// [`ServerError`]; a server that is away is one, and may be tried again.
    pub async fn connect(&self, name: &str, progress: &Progress) -> Result<Client, ServerError> {
        let (addresses, login) = self.plan()?;
        let url = addresses.to_string();
        let who = login.as_ref().map_or_else(|| "without a login".to_owned(), Login::to_string);
        let options = match login {
            None => ConnectOptions::new(),
            Some(login) => ConnectOptions::with_auth_callback(move |nonce| {
                ready(login.answer(&nonce).map_err(AuthError::new))
            }),
        };
        let watcher = progress.watcher();
        let options = options
            .name(name)
            .connection_timeout(CONNECT)
            .ping_interval(PING)
            // Each message goes to the same subject, which the server has accepted.
            .skip_subject_validation(true)
            .reconnect_delay_callback(pause)
            .event_callback(move |event| {
                tell(&watcher, event);
                ready(())
            });
        let connected = self.tls.apply(options).connect(addresses.servers).await;
        let client = connected.map_err(|error| explained(&error, &url, &who))?;
        find_jetstream(&client, progress, &url).await?;
        Ok(client)
    }
}

impl fmt::Display for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Addresses::read(&self.url) {
            Ok(addresses) => addresses.fmt(f),
            Err(_) => f.write_str("an address that cannot be read"),
        }
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("url", &format_args!("{self}"))
            .field("logins", &self.logins)
            .field("tls", &self.tls)
            .finish()
    }
}

fn tell(watcher: &Watcher, event: Event) {
    match event {
        Event::Connected => watcher.connected(),
        Event::Disconnected | Event::Closed => watcher.lost(),
        Event::ServerError(error) => {
            watcher.complained(error.to_string().escape_debug().to_string())
        }
        _ => {}
    }
}

/// How long to wait before this attempt. The first one of all, and the first after a loss, come at once. The others
/// are spread a little, so that not all bridges of a lost server come back at the same moment.
fn pause(attempt: usize) -> Duration {
    let Some(doublings) = attempt.checked_sub(2) else { return Duration::ZERO };
    let most = SHORTEST.saturating_mul(1 << doublings.min(10)).min(LONGEST);
    let spread = std::process::id().wrapping_add(attempt as u32).wrapping_mul(0x9e37_79b9) >> 24;
    most.mul_f64(0.75 + f64::from(spread) / 1024.0)
}

/// Every error in a chain of causes. An I/O error's own cause is one of them, which its `source` leaves out.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Vec<&'a (dyn std::error::Error + 'static)> {
    let mut found: Vec<&'a (dyn std::error::Error + 'static)> = vec![error];
    while let Some(&last) = found.last() {
        let inside = last.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inside = inside.map(|inside| inside as &(dyn std::error::Error + 'static));
        match inside.or_else(|| last.source()) {
            Some(cause) => found.push(cause),
            None => break,
        }
    }
    found
}

/// What went wrong, in our words.
fn explained(error: &ConnectError, url: &str, login: &str) -> ServerError {
    let (url, login) = (url.to_owned(), login.to_owned());
    let causes = causes(error);
    let why = causes.last().map_or_else(String::new, |cause| one_line(&cause.to_string()));
    let find = |kind| error.kind() == kind;
    if let Some(tls) = causes.iter().find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
        return ServerError::Tls { url, why: distrust(tls) };
    }
    let complaint = causes.iter().find_map(|cause| cause.downcast_ref::<async_nats::ServerError>());
    if find(ConnectErrorKind::AuthorizationViolation) {
        return ServerError::NotAuthorised { url, login, why: String::new() };
    }
    if find(ConnectErrorKind::Authentication) {
        return ServerError::NotAuthorised { url, login, why };
    }
    match complaint {
        Some(complaint) if complaint.to_string().to_lowercase().contains("auth") => {
            ServerError::NotAuthorised { url, login, why }
        }
        Some(_) => ServerError::Refused { url, why },
        None if find(ConnectErrorKind::Tls) => ServerError::Tls { url, why },
        None => ServerError::Away { url, why },
    }
}

/// What a failed handshake means to somebody who knows no more than that it failed.
fn distrust(error: &rustls::Error) -> String {
    use rustls::{AlertDescription as Alert, CertificateError, Error};
    let said = one_line(&error.to_string());
    let advice = match error {
        Error::InvalidMessage(_) => "the server does not seem to encrypt on this port",
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another name: use that name in the address",
        Error::InvalidCertificate(_) => {
            "its certificate is not trusted: name the authority that signed it (--tls-ca)"
        }
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired,
        ) => "it does not accept our certificate: name one that it trusts (--tls-cert, --tls-key)",
        _ => return said,
    };
    format!("{advice} ({said})")
}

/// What others say may have several lines, or control characters for our terminal.
fn one_line(text: &str) -> String {
    text.escape_debug().to_string()
}

/// What the server says about our account. The client's own type for it asks for fields that servers before 2.10 do
/// not send.
type Figures = Response<serde_json::Value>;

/// Asks for the account's figures, which a server without JetStream does not have.
async fn find_jetstream(
    client: &Client,
    progress: &Progress,
    url: &str,
) -> Result<(), ServerError> {
    let mut context = jetstream::new(client.clone());
    context.set_timeout(LOOK);
    let (url, deadline) = (|| url.to_owned(), Instant::now() + ANSWER);
    loop {
        let asked = pin!(context.request::<_, _, Figures>("INFO", &()));
        let outcome = match select(asked, pin!(refusal(progress))).await {
            Either::Left((outcome, _)) => outcome,
            // A user who may not ask for figures may still use streams.
            Either::Right(_) => return Ok(()),
        };
        let why = match outcome {
            Ok(Response::Ok(_)) => return Ok(()),
            Ok(Response::Err { error }) if is_disabled(&error) => {
                let why = one_line(&error.to_string());
                return Err(ServerError::NoJetStream { url: url(), why });
            }
            Ok(Response::Err { error }) => error.to_string(),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(ServerError::NoJetStream { url: url(), why: String::new() });
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(ServerError::JetStreamAway { url: url(), why: one_line(&why) });
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Whether it stays so until the server's operator does something.
fn is_disabled(error: &jetstream::Error) -> bool {
    let codes = [ErrorCode::JETSTREAM_NOT_ENABLED, ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT];
    codes.contains(&error.error_code())
}

/// Ends when the server has said that we may not ask. It answers nothing else then.
async fn refusal(progress: &Progress) {
    while !progress.complaint().is_some_and(|complaint| complaint.contains("$JS.API.INFO")) {
        sleep(Duration::from_millis(20)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_some_seconds() {
        assert_eq!((pause(0), pause(1)), (Duration::ZERO, Duration::ZERO));
        for attempt in 2..200 {
            let most = SHORTEST.saturating_mul(1 << (attempt - 2).min(10)).min(LONGEST);
            let pause = pause(attempt);
            assert!(pause <= most && pause >= most.mul_f64(0.75), "{attempt}: {pause:?}");
        }
    }

    #[test]
    fn options_show_no_secret() {
        let options =
            ServerOptions::new("nats://anna:s3cret@h").user("b", "s3cret").token("s3cret");
        let error = options.check().unwrap_err();
        assert!(matches!(error, ServerError::TwoLogins { .. }), "{error}");
        let said = format!("{options} {options:?} {error} {error:?}");
        assert!(!said.contains("s3cret"), "{said}");
        let options = ServerOptions::new("nats://anna:s3cret@h:port");
        let error = options.check().unwrap_err();
        let said = format!("{options} {options:?} {error} {error:?}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}
