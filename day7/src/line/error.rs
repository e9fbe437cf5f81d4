//! What can go wrong on the way to a server.

use std::path::{Path, PathBuf};

use common::OsError;
use day4::rendezvous::RendezvousError;
use nix::errno::Errno;

/// Why a client did not come to its server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no server, or another one than expected.
    #[error(transparent)]
    Rendezvous(#[from] RendezvousError),
    /// The server is another user's.
    #[error(
        "the server at {} is run by user {found}, expected {expected}: have it trusted with `trust_user`",
        .path.display()
    )]
    User {
        /// Where it listens.
        path: PathBuf,
        /// This process's user.
        expected: u32,
        /// The server's.
        found: u32,
    },
    /// It does not serve this user.
    #[error("the server at {} refused user {user}: ask it to allow any user", .path.display())]
    Refused {
        /// Where it listens.
        path: PathBuf,
        /// This process's user.
        user: u32,
    },
    /// It has as many clients as it serves.
    #[error("the server at {} has {most} clients, and serves no more: wait until one ends", .path.display())]
    Full {
        /// Where it listens.
        path: PathBuf,
        /// How many it serves.
        most: u64,
    },
    /// It did not take this client's arena.
    #[error(
        "the server at {} refused the arena of {bytes} bytes: expected a memfd of at least as many \
         that is sealed against cutting (F_SEAL_SHRINK), {}",
        .path.display(), found_len(*.found)
    )]
    Arena {
        /// Where it listens.
        path: PathBuf,
        /// How long it was said to be.
        bytes: u64,
        /// How long it is; 0 if it is not sealed.
        found: u64,
    },
    /// The kernel refused the server something that the client was to get.
    #[error(
        "the server at {} could not make what a client gets: {errno}; see its limits of descriptors and memory",
        .path.display()
    )]
    Failed {
        /// Where it listens.
        path: PathBuf,
        /// What its kernel said.
        errno: OsError,
    },
    /// What it gave is not what a server gives.
    #[error("the server at {} gave {found}, expected {expected}: build both from one version", .path.display())]
    Damaged {
        /// Where it listens.
        path: PathBuf,
        /// What a server gives.
        expected: &'static str,
        /// What this one gave.
        found: String,
    },
    /// The kernel refused this process something.
    #[error("no connection to the server at {}: {call}: {errno}", .path.display())]
    System {
        /// Where it listens.
        path: PathBuf,
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: OsError,
    },
}

fn found_len(found: u64) -> String {
    match found {
        0 => "found one that is not".into(),
        found => format!("found {found}"),
    }
}

impl ConnectError {
    pub(crate) fn system(path: &Path, (call, errno): (&'static str, Errno)) -> Self {
        Self::System { path: path.to_owned(), call, errno: OsError::new(errno) }
    }
}
