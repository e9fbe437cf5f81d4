//! Who we are to the server: options for people, variables for service managers, and no secret on the command line.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use bridge::server::ServerOptions;
use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

/// The variables that hold a secret. There are no options for them.
const PASSWORD: &str = "FANOUT_NATS_PASSWORD";
const TOKEN: &str = "FANOUT_NATS_TOKEN";

/// Why no address on the command line holds a login.
pub(crate) const READABLE: &str = "a login in the address could be read by every user of this host, in the list of processes: put the \
     address into the variable FANOUT_NATS_URL, or leave the login out, and use --user with --password-file or \
     FANOUT_NATS_PASSWORD, --token-file or FANOUT_NATS_TOKEN, --creds or --nkey";

/// What is said of a wrong command line that is not to be quoted.
pub(crate) const MISPLACED: &str = "the arguments are not understood, and not quoted, because one of them may hold a login: expected a queue, or \
     several separated by commas, a server's address without a login, and options";

/// Whether this argument is an address with a login in it.
pub(crate) fn is_in_address(argument: &OsStr) -> bool {
    let text = argument.to_string_lossy();
    text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

/// Whether this argument may hold a login, such as `anna:s3cret@host`.
pub(crate) fn may_be_in(argument: &OsStr) -> bool {
    let text = argument.to_string_lossy();
    text.split_once('@').is_some_and(|(before, _)| before.contains(':'))
}

#[derive(Args)]
#[command(next_help_heading = "Login and encryption")]
pub(crate) struct Login {
    /// Log in with a credentials file, as nsc makes it
    #[arg(long, value_name = "FILE", env = "FANOUT_NATS_CREDS")]
    creds: Option<PathBuf>,
    /// Log in with the NKey whose seed is in this file
    #[arg(long, value_name = "FILE", env = "FANOUT_NATS_NKEY")]
    nkey: Option<PathBuf>,
    /// Log in with this name, and a password from --password-file or from the variable FANOUT_NATS_PASSWORD
    #[arg(long, value_name = "NAME", env = "FANOUT_NATS_USER")]
    user: Option<String>,
    /// The file whose only line is the password
    #[arg(long, value_name = "FILE", env = "FANOUT_NATS_PASSWORD_FILE")]
    password_file: Option<PathBuf>,
    /// Log in with the token that is the only line of this file, or with the one in the variable FANOUT_NATS_TOKEN
    #[arg(long, value_name = "FILE", env = "FANOUT_NATS_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Encrypt, or fail; without it, the server decides
    #[arg(long, env = "FANOUT_NATS_TLS", value_parser = FalseyValueParser::new())]
    tls: bool,
    /// Trust servers whose certificate one of these authorities (PEM) has signed, instead of those that this host trusts
    #[arg(long, value_name = "FILE", env = "FANOUT_NATS_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// Show this certificate (PEM) to the server
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "FANOUT_NATS_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// The key (PEM) of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "FANOUT_NATS_TLS_KEY")]
    tls_key: Option<PathBuf>,
}

/// A way to log in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Creds,
    Nkey,
    User,
    Token,
}

impl Login {
    /// Where the server is, and how to log in. `typed`: the address stood on the command line.
    pub(crate) fn options(
        &self,
        matches: &ArgMatches,
        url: &str,
        typed: bool,
    ) -> Result<ServerOptions, String> {
        let mut server = ServerOptions::new(url);
        if typed && server.has_login_in_address() {
            return Err(READABLE.to_owned());
        }
        let way = self.way(matches)?;
        // What stands in the environment for all commands gives way to what is typed for one, and to an address's login.
        server = match way {
            Some(Way::Creds) => server.credentials_file(given(&self.creds)),
            Some(Way::Nkey) => server.nkey_file(given(&self.nkey)),
            Some(Way::User) => self.log_in_as_user(matches, server)?,
            Some(Way::Token) => match (&self.token_file, variable(TOKEN)?) {
                (Some(file), _) => server.token_file(file),
                (None, token) => server.token(token.unwrap_or_default()),
            },
            None => server,
        };
        if self.tls {
            server = server.require_tls();
        }
        if let Some(file) = &self.tls_ca {
            server = server.tls_authority(file);
        }
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            server = server.tls_identity(certificate, key);
        }
        Ok(server)
    }

    /// The one way that was typed; without one, the one way that the environment names.
    fn way(&self, matches: &ArgMatches) -> Result<Option<Way>, String> {
        let ways = [
            (Way::Creds, "creds", "--creds"),
            (Way::Nkey, "nkey", "--nkey"),
            (Way::User, "user", "--user"),
            (Way::Token, "token_file", "--token-file"),
        ];
        for source in [ValueSource::CommandLine, ValueSource::EnvVariable] {
            let from = |id: &str| matches.value_source(id) == Some(source);
            let mut named: Vec<(Way, &str)> = ways
                .iter()
                .filter(|(_, id, _)| from(id))
                .map(|&(way, _, name)| (way, name))
                .collect();
            let has_token = named.iter().any(|(way, _)| *way == Way::Token);
            if source == ValueSource::EnvVariable && !has_token && variable(TOKEN)?.is_some() {
                named.push((Way::Token, TOKEN));
            }
            match named[..] {
                [] => {}
                [(way, _)] => return Ok(Some(way)),
                [(_, first), (_, second), ..] => {
                    return Err(format!(
                        "expected one login, found {first} and {second}: leave one of them out"
                    ));
                }
            }
        }
        Ok(None)
    }

    fn log_in_as_user(
        &self,
        matches: &ArgMatches,
        server: ServerOptions,
    ) -> Result<ServerOptions, String> {
        let name = self.user.clone().unwrap_or_default();
        let is_typed = matches.value_source("password_file") == Some(ValueSource::CommandLine);
        match (&self.password_file, variable(PASSWORD)?) {
            (Some(file), None) => Ok(server.user_with_password_file(name, file)),
            (Some(file), Some(_)) if is_typed => Ok(server.user_with_password_file(name, file)),
            (_, Some(password)) => Ok(server.user(name, password)),
            (None, None) => Err(format!(
                "--user needs a password: name a file that holds it (--password-file), or set {PASSWORD}"
            )),
        }
    }
}

fn given(path: &Option<PathBuf>) -> &Path {
    path.as_deref().unwrap_or(Path::new(""))
}

/// A variable that is set to nothing counts as not set.
fn variable(name: &str) -> Result<Option<String>, String> {
    match std::env::var_os(name) {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) => match text.into_string() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(format!("expected a text in {name}, found other bytes")),
        },
    }
}
