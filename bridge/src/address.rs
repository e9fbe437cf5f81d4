//! Where the servers are. An address may hold a login, which is taken out before anything shows it.

use std::fmt;

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;

use crate::error::ServerError;
use crate::login::{Login, Secret, Source};

/// Servers of one cluster.
pub(crate) struct Addresses {
    /// Without a login.
    pub(crate) servers: Vec<ServerAddr>,
    /// The login that stood in the addresses.
    pub(crate) login: Option<Login>,
}

impl Addresses {
    pub(crate) fn read(text: &str) -> Result<Self, ServerError> {
        let mut addresses = Self { servers: Vec::new(), login: None };
        for piece in text.split(',').map(str::trim) {
            let wrong =
                |why: &str| ServerError::Address { found: shown(text), why: why.to_owned() };
            if piece.is_empty() {
                return Err(wrong("one is empty"));
            }
            // The client says what is wrong, and quotes none of it but an unknown scheme.
            let parsed: ServerAddr =
                piece.parse().map_err(|error: std::io::Error| match error {
                    _ if text.contains('@') => wrong("it cannot be read"),
                    error => wrong(&error.to_string()),
                })?;
            if !matches!(parsed.scheme(), "nats" | "tls") {
                return Err(wrong("it has to begin with nats:// or tls://"));
            }
            if parsed.host().is_empty() {
                return Err(wrong("the host is missing"));
            }
            addresses.take(parsed).map_err(|why| wrong(&why))?;
        }
        Ok(addresses)
    }

    fn take(&mut self, server: ServerAddr) -> Result<(), String> {
        let login = login_in(&server)?;
        let mut url = server.into_inner();
        // Neither fails for an address with a host.
        let _ = url.set_password(None);
        let _ = url.set_username("");
        self.servers.push(ServerAddr::from_url(url).map_err(|error| error.to_string())?);
        match (&self.login, login) {
            (Some(first), Some(other)) if *first != other => {
                Err("the logins in the addresses differ, and a bridge has one".to_owned())
            }
            (_, None) => Ok(()),
            (_, login) => {
                self.login = login;
                Ok(())
            }
        }
    }
}

/// As for NATS's own tools, a name without a password is a token.
fn login_in(server: &ServerAddr) -> Result<Option<Login>, String> {
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8();
        text.map(|text| text.into_owned()).map_err(|_| "the login in it is no text".to_owned())
    };
    let given = |text: &str| Ok::<_, String>(Source::Given(Secret::from(decoded(text)?)));
    Ok(match (server.username(), server.password()) {
        (None, None) => None,
        (Some(token), None) => Some(Login::Token(given(token)?)),
        (name, Some(password)) => {
            Some(Login::User(decoded(name.unwrap_or_default())?, given(password)?))
        }
    })
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, server) in self.servers.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let host = server.host();
            let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
            write!(f, "{comma}{}://{open}{host}{close}:{}", server.scheme(), server.port())?;
        }
        Ok(())
    }
}

/// What somebody typed, as far as no login can be in it. A password may hold commas and slashes, and so take any place.
fn shown(text: &str) -> String {
    if text.contains('@') {
        return "one with a login in it, which is not shown".to_owned();
    }
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Option<Login>) {
        let addresses = Addresses::read(text).unwrap();
        (addresses.to_string(), addresses.login)
    }

    fn user(name: &str, password: &str) -> Option<Login> {
        Some(Login::User(name.to_owned(), Source::Given(password.into())))
    }

    #[test]
    fn addresses_are_shown_in_full_and_without_their_login() {
        assert_eq!(read("localhost"), ("nats://localhost:4222".to_owned(), None));
        assert_eq!(read("tls://[::1]:5, b:7"), ("tls://[::1]:5,nats://b:7".to_owned(), None));
        let shown = "nats://h:4222".to_owned();
        assert_eq!(read("nats://anna:p%40ss@h"), (shown.clone(), user("anna", "p@ss")));
        assert_eq!(read("nats://:pw@h"), (shown.clone(), user("", "pw")));
        assert_eq!(read("t0ken@h"), (shown, Some(Login::Token(Source::Given("t0ken".into())))));
        let both = "nats://a:4222,nats://b:4222".to_owned();
        assert_eq!(read("nats://u:p@a,nats://u:p@b"), (both.clone(), user("u", "p")));
        assert_eq!(read("nats://u:p@a,b"), (both, user("u", "p")));
    }

    #[test]
    fn an_address_that_is_none_is_an_error_without_the_secret() {
        for text in [
            "",
            "a,",
            "ws://h",
            "http://h",
            "nats://",
            "nats://h:port",
            "nats://h:70000",
            "nats://a b",
        ] {
            let error = Addresses::read(text).err().unwrap();
            assert!(matches!(error, ServerError::Address { .. }), "{error}");
        }
        for text in [
            "nats://u:s3cret@",
            "nats://u:s3cret@h:port",
            "nats://u:s3cret,more@h",
            "nats://u:more,s3cret@h",
            "http://u:s3cret@h",
            "u:s3cret@h:port",
            "nats://u:s3cret@a,nats://u:other@b",
            "nats://u:s3cret@a,",
            "nats://u:pass/s3cret@h",
            "s3cret:p@a,ws://h",
        ] {
            if let Err(error) = Addresses::read(text) {
                let said = format!("{error} {error:?}");
                assert!(!said.contains("s3cret") && !said.contains("more"), "{text}: {said}");
            } else {
                let said = Addresses::read(text).unwrap().to_string();
                assert!(!said.contains("s3cret"), "{text}: {said}");
            }
        }
    }
}
