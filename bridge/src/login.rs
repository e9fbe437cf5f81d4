//! Who we are to the server: secrets, and the files that they come from.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use async_nats::Auth;
use nkeys::KeyPair;

use crate::error::ServerError;

/// A password, a token or a seed. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// What must not be shown.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A way to log in. Files are read at each connection, so that they may be renewed while the bridge runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    Credentials(PathBuf),
    Nkey(PathBuf),
    User(String, Source),
    Token(Source),
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Given(Secret),
    File(PathBuf),
}

const CREDENTIALS: &str = "credentials file";
const NKEY: &str = "NKey file";
const PASSWORD: &str = "password file";
const TOKEN: &str = "token file";

/// No file of a login is longer. A path such as `/dev/zero` is an error, not a long wait.
const MOST: u64 = 64 << 10;

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials(path) => write!(f, "with the {CREDENTIALS} {}", path.display()),
            Self::Nkey(path) => write!(f, "with the {NKEY} {}", path.display()),
            Self::User(name, Source::Given(_)) => write!(f, "as user {}", name.escape_debug()),
            Self::User(name, Source::File(path)) => {
                write!(f, "as user {} with the {PASSWORD} {}", name.escape_debug(), path.display())
            }
            Self::Token(Source::Given(_)) => f.write_str("with a token"),
            Self::Token(Source::File(path)) => write!(f, "with the {TOKEN} {}", path.display()),
        }
    }
}

impl Login {
    /// What to answer to the server's challenge. Without a challenge it only shows whether we could.
    pub(crate) fn answer(&self, nonce: &[u8]) -> Result<Auth, ServerError> {
        let mut auth = Auth::new();
        match self {
            Self::Credentials(path) => {
                let (jwt, pair) = credentials(path)?;
                auth.jwt = Some(jwt);
                auth.signature = pair.sign(nonce).ok();
            }
            Self::Nkey(path) => {
                let text = read(NKEY, path)?;
                let seed = text.lines().map(str::trim).find(|line| line.starts_with('S'));
                let pair = user_pair(NKEY, path, seed.unwrap_or_default())?;
                auth.nkey = Some(pair.public_key());
                auth.signature = pair.sign(nonce).ok();
            }
            Self::User(name, password) => {
                auth.username = Some(name.clone());
                auth.password = Some(password.secret(PASSWORD)?);
            }
            Self::Token(token) => auth.token = Some(token.secret(TOKEN)?),
        }
        Ok(auth)
    }
}

impl Source {
    fn secret(&self, what: &'static str) -> Result<String, ServerError> {
        match self {
            Self::Given(secret) => Ok(secret.expose().to_owned()),
            Self::File(path) => {
                let text = read(what, path)?;
                // An editor ends the file with a newline, which belongs to no secret.
                let secret = text.strip_suffix('\n').unwrap_or(&text);
                let secret = secret.strip_suffix('\r').unwrap_or(secret);
                let found = match secret {
                    "" => "nothing",
                    more if more.contains('\n') => "several lines",
                    one => return Ok(one.to_owned()),
                };
                Err(malformed(what, path, "one line", found))
            }
        }
    }
}

/// Reads a small text file.
pub(crate) fn read(what: &'static str, path: &Path) -> Result<String, ServerError> {
    let unreadable = |error: std::io::Error| ServerError::File {
        what,
        path: path.to_owned(),
        why: error.to_string(),
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MOST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST {
        return Err(malformed(what, path, "at most 64 KiB", "more"));
    }
    String::from_utf8(bytes).map_err(|_| malformed(what, path, "a text", "other bytes"))
}

pub(crate) fn malformed(
    what: &'static str,
    path: &Path,
    expected: &'static str,
    found: impl Into<String>,
) -> ServerError {
    ServerError::Malformed { what, path: path.to_owned(), expected, found: found.into() }
}

/// A user's token and key, as `nsc` writes them into one file.
fn credentials(path: &Path) -> Result<(String, KeyPair), ServerError> {
    let text = read(CREDENTIALS, path)?;
    let jwt = section(&text, "NATS USER JWT").ok_or_else(|| {
        malformed(CREDENTIALS, path, "a section NATS USER JWT", "none: is it a file of nsc's?")
    })?;
    let seed = section(&text, "USER NKEY SEED").ok_or_else(|| {
        malformed(CREDENTIALS, path, "a section USER NKEY SEED", "none: is the file cut short?")
    })?;
    Ok((jwt.to_owned(), user_pair(CREDENTIALS, path, seed)?))
}

/// The line between the line that begins this section and the one that ends it.
fn section<'a>(text: &'a str, title: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    let is_bar = |line: &str| line.starts_with("---");
    lines.find(|line| is_bar(line) && line.contains("BEGIN") && line.contains(title))?;
    let content = lines.find(|line| !line.is_empty())?;
    let ended = lines.find(|line| !line.is_empty()).is_some_and(is_bar);
    (ended && !is_bar(content)).then_some(content)
}

/// The key of a seed, which has a checksum. What is wrong is told without the seed.
fn user_pair(what: &'static str, path: &Path, seed: &str) -> Result<KeyPair, ServerError> {
    let expected = "a user's seed, which begins with SU";
    if seed.is_empty() {
        return Err(malformed(what, path, expected, "none"));
    }
    if !seed.starts_with("SU") {
        return Err(malformed(what, path, expected, "the seed of something else"));
    }
    KeyPair::from_seed(seed).map_err(|_| malformed(what, path, expected, "a damaged one"))
}

#[cfg(test)]
mod tests {
    use testing::Folder;

    use super::*;

    fn file(folder: &Folder, text: impl AsRef<[u8]>) -> PathBuf {
        let path = folder.join("login");
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_secret_is_one_line_of_its_file() {
        let folder = Folder::new();
        for (text, secret) in
            [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), (" two words\r\n", " two words")]
        {
            let login = Login::Token(Source::File(file(&folder, text)));
            assert_eq!(login.answer(b"").unwrap().token.as_deref(), Some(secret));
        }
        for text in ["", "\n", "one\ntwo\n"] {
            let source = Source::File(file(&folder, text));
            let error = Login::User("u".to_owned(), source).answer(b"").err().unwrap();
            assert!(matches!(error, ServerError::Malformed { .. }), "{error}");
            assert!(!error.to_string().contains("two"), "{error}");
        }
    }

    #[test]
    fn a_key_is_found_and_a_damaged_one_is_not_quoted() {
        let folder = Folder::new();
        let seed = KeyPair::new_user().seed().unwrap();
        let login = |text: &str| Login::Nkey(file(&folder, text)).answer(b"nonce");
        let auth = login(&format!("# ours\n{seed}\n")).unwrap();
        assert!(auth.nkey.unwrap().starts_with('U') && auth.signature.is_some());
        let account = KeyPair::new_account().seed().unwrap();
        let last = if seed.ends_with('A') { "B" } else { "A" };
        let damaged = format!("{}{last}", &seed[..seed.len() - 1]);
        for wrong in ["", "hello\n", &account, &damaged, &seed[..20]] {
            let error = login(wrong).err().unwrap();
            assert!(matches!(error, ServerError::Malformed { .. }), "{error}");
            let said = format!("{error} {error:?}");
            assert!(wrong.is_empty() || !said.contains(wrong.trim()), "{said}");
        }
    }

    #[test]
    fn credentials_have_two_sections() {
        let folder = Folder::new();
        let seed = KeyPair::new_user().seed().unwrap();
        let jwt = "-----BEGIN NATS USER JWT-----\neyJ.abc.def\n------END NATS USER JWT------\n";
        let key =
            format!("-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n");
        let login = |text: &str| Login::Credentials(file(&folder, text)).answer(b"nonce");
        let auth = login(&format!("{jwt}\n**** IMPORTANT ****\n\n{key}")).unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("eyJ.abc.def"));
        assert!(auth.signature.is_some());
        for wrong in ["", jwt, key.as_str(), &jwt[..45], &format!("{jwt}{}", &key[..50])] {
            let error = login(wrong).err().unwrap();
            assert!(matches!(error, ServerError::Malformed { .. }), "{error}");
            assert!(!error.to_string().contains(&seed[..10]), "{error}");
        }
    }

    #[test]
    fn a_file_without_an_end_is_an_error() {
        let error = Login::Token(Source::File("/dev/zero".into())).answer(b"").err().unwrap();
        assert!(error.to_string().contains("at most 64 KiB"), "{error}");
        let error = Login::Token(Source::File("/nothing".into())).answer(b"").err().unwrap();
        assert!(error.to_string().contains("/nothing"), "{error}");
    }

    #[test]
    fn nothing_shows_a_secret() {
        let given = || Source::Given("s3cret".into());
        for login in [Login::User("anna".to_owned(), given()), Login::Token(given())] {
            assert!(!format!("{login} {login:?}").contains("s3cret"));
        }
    }
}
