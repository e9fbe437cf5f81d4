//! What the kernel answers when it refuses.

use std::fmt;
use std::io;

/// An error number of the kernel, for errors that can be compared and cloned.
///
/// # Examples
///
/// ```
/// # mod fanout { pub use common as error; }
/// use fanout::error::OsError;
/// use std::io;
///
/// let refused = OsError::new(io::Error::from_raw_os_error(13));
/// assert_eq!(refused.raw_os_error(), 13);
/// assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
/// assert_eq!(refused.to_string(), io::Error::from(refused).to_string());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OsError(i32);

impl OsError {
    /// EIO, for an error that brings no number.
    const UNKNOWN: i32 = 5;

    /// Takes the error number out of what a system call, or a crate that wraps one, has returned.
    pub fn new(error: impl Into<io::Error>) -> Self {
        Self(error.into().raw_os_error().unwrap_or(Self::UNKNOWN))
    }

    /// The number, as in `errno(3)`.
    pub const fn raw_os_error(self) -> i32 {
        self.0
    }

    /// The kind of error that the standard library sorts it under.
    pub fn kind(self) -> io::ErrorKind {
        io::Error::from(self).kind()
    }
}

impl From<OsError> for io::Error {
    fn from(error: OsError) -> Self {
        Self::from_raw_os_error(error.0)
    }
}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&io::Error::from(*self), f)
    }
}

/// As the standard library writes it: number, kind and text.
impl fmt::Debug for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&io::Error::from(*self), f)
    }
}

impl std::error::Error for OsError {}
