//! The name of a queue.

use core::fmt;
use core::str::FromStr;

/// The name of a queue, as POSIX wants it: one leading slash, and none after.
///
/// It is read with or without the slash; `/dev/shm` shows it without.
///
/// ```
/// use common::QueueName;
///
/// let name: QueueName = "prices".parse()?;
/// assert_eq!(name.as_str(), "/prices");
/// assert_eq!(name, "/prices".parse()?);
/// assert!("../prices".parse::<QueueName>().is_err());
/// # Ok::<(), common::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(String);

/// A name that no queue can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing but the slash.
    #[error("a queue needs a name: one to {most} characters, such as /prices", most = QueueName::MAX)]
    Empty,
    /// Longer than a file name may be.
    #[error("the name of a queue has at most {most} bytes, found {found}: shorten it", most = QueueName::MAX)]
    TooLong {
        /// Its length in bytes, without the leading slash.
        found: usize,
    },
    /// A slash inside, a control character, or `.` or `..`.
    #[error("{name:?} is no name for a queue: {why}")]
    Invalid {
        /// The name as it was given.
        name: String,
        /// What is wrong, and what to do.
        why: &'static str,
    },
}

impl QueueName {
    /// The most bytes that a name may have, without its slash.
    pub const MAX: usize = 254;

    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`NameError`] for a name that is empty, too long, holds another slash or a control character,
    /// or would be a folder (`.` and `..`).
    pub fn new(name: &str) -> Result<Self, NameError> {
        let bare = name.strip_prefix('/').unwrap_or(name);
        let invalid = |why| NameError::Invalid { name: name.to_owned(), why };
        if bare.is_empty() {
            return Err(NameError::Empty);
        }
        if bare.len() > Self::MAX {
            return Err(NameError::TooLong { found: bare.len() });
        }
        if bare.contains('/') {
            return Err(invalid("only its first character may be a slash"));
        }
        if bare.chars().any(char::is_control) {
            return Err(invalid("it holds a control character; use printable ones"));
        }
        if bare == "." || bare == ".." {
            return Err(invalid("it names a folder; choose another"));
        }
        Ok(Self(format!("/{bare}")))
    }

    /// The name with its slash, as `shm_open` takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its slash, as `/dev/shm` shows it.
    pub fn bare(&self) -> &str {
        &self.0[1..]
    }
}

impl FromStr for QueueName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl TryFrom<&str> for QueueName {
    type Error = NameError;

    fn try_from(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl TryFrom<&String> for QueueName {
    type Error = NameError;

    fn try_from(name: &String) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl From<&QueueName> for QueueName {
    fn from(name: &QueueName) -> Self {
        name.clone()
    }
}

impl From<core::convert::Infallible> for NameError {
    fn from(never: core::convert::Infallible) -> Self {
        match never {}
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_names_with_and_without_the_slash() {
        for name in ["/queue", "queue"] {
            let name = QueueName::new(name).unwrap();
            assert_eq!((name.as_str(), name.bare()), ("/queue", "queue"));
        }
        assert!(QueueName::new(&"n".repeat(QueueName::MAX)).is_ok());
    }

    #[test]
    fn refuses_what_no_file_can_be_called() {
        assert_eq!(QueueName::new(""), Err(NameError::Empty));
        assert_eq!(QueueName::new("/"), Err(NameError::Empty));
        let long = "n".repeat(QueueName::MAX + 1);
        assert_eq!(QueueName::new(&long), Err(NameError::TooLong { found: 255 }));
        for name in ["a/b", "//a", "/a/", "..", "/.", "a\0b", "a\nb"] {
            assert!(matches!(QueueName::new(name), Err(NameError::Invalid { .. })), "{name:?}");
        }
    }
}
