//! Why a consumer and a producer do not get connected.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use common::OsError;
use rustix::io::Errno;
use rustix::net::connect;

use super::socket::{address, socket};

/// Why a producer cannot listen, or a consumer cannot connect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// A socket's path has 1 to 107 bytes and no NUL.
    #[error("a socket's path has 1 to 107 bytes and no NUL, found {path:?}: choose another")]
    Path {
        /// The path as it was given.
        path: PathBuf,
    },
    /// Another producer listens there.
    #[error("somebody listens at {path:?} already: choose another path")]
    InUse {
        /// The path as it was given.
        path: PathBuf,
    },
    /// There is a socket that nobody listens at: its producer was killed.
    #[error(
        "found the socket of a producer at {path:?} that is gone: remove it, and start one again"
    )]
    Stale {
        /// The path as it was given.
        path: PathBuf,
    },
    /// There is something that is no socket.
    #[error("expected a socket at {path:?}, found something else: choose another path")]
    NotASocket {
        /// The path as it was given.
        path: PathBuf,
    },
    /// There is nothing at the path.
    #[error("found nothing at {path:?}: start the producer first, or give the path that it gave")]
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },
    /// More consumers have connected than the producer has let in. It lets them in when it sends.
    #[error(
        "too many wait to be let in at {path:?}: try again when the producer has sent something"
    )]
    Busy {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The kernel refused for another reason.
    #[error("{call} failed: {errno}")]
    System {
        /// The system call.
        call: &'static str,
        /// What the kernel said.
        errno: OsError,
    },
}

/// Turns what the kernel said about `call` into an error.
pub(crate) fn failed<E: Into<io::Error>>(call: &'static str) -> impl Fn(E) -> NotifyError {
    move |error| NotifyError::System { call, errno: OsError::new(error) }
}

pub(super) fn not_connected(path: &Path, errno: Errno) -> NotifyError {
    let path = path.to_owned();
    match errno {
        Errno::NOENT | Errno::NOTDIR => NotifyError::NotFound { path },
        Errno::CONNREFUSED | Errno::PROTOTYPE => refused(path),
        Errno::AGAIN => NotifyError::Busy { path },
        errno => failed("connect")(errno),
    }
}

/// The kernel gives the same error for a socket without a server and for a file that is no socket.
fn refused(path: PathBuf) -> NotifyError {
    match path.symlink_metadata() {
        Ok(found) if found.file_type().is_socket() => NotifyError::Stale { path },
        _ => NotifyError::NotASocket { path },
    }
}

pub(super) fn not_bound(path: &Path, errno: Errno) -> NotifyError {
    match errno {
        Errno::ADDRINUSE => match address(path).and_then(|address| Ok((address, socket()?))) {
            Ok((address, socket)) => match connect(&socket, &address) {
                Err(Errno::CONNREFUSED) => refused(path.to_owned()),
                _ => NotifyError::InUse { path: path.to_owned() },
            },
            Err(error) => error,
        },
        Errno::NOENT | Errno::NOTDIR => NotifyError::NotFound { path: path.to_owned() },
        errno => failed("bind")(errno),
    }
}
