//! What can go wrong on the way to a ring that has no name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{OsError, QueueName};
use day2::{DescriptorError, OpenError};
use day3::JoinError;
use nix::errno::Errno;

use super::invitation::VARIABLE;
use super::socket::is_served;
use crate::error::CreateError;

/// Why a server and a client did not come together. A ring that is there goes on as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RendezvousError {
    /// More bytes than the kernel has room for in the address of a socket.
    #[error("the path of a socket has at most {most} bytes, {path:?} has {found}: choose another")]
    PathTooLong {
        /// The path asked for.
        path: PathBuf,
        /// Most bytes that fit.
        most: usize,
        /// Its length in bytes.
        found: usize,
    },
    /// An empty path, or one with a NUL in it.
    #[error("the path of a socket has 1 byte or more and no NUL, found {path:?}: choose another")]
    Path {
        /// The path asked for.
        path: PathBuf,
    },
    /// No socket there, or no folder for it.
    #[error(
        "{} does not exist, expected {expected}: check the path, or start the server first",
        .path.display()
    )]
    NotFound {
        /// The path asked for.
        path: PathBuf,
        /// What should have been there.
        expected: &'static str,
    },
    /// Something else has this path.
    #[error("{} is no socket, expected one or nothing: choose another path", .path.display())]
    NotASocket {
        /// The path asked for.
        path: PathBuf,
    },
    /// A server listens there.
    #[error(
        "{} is taken: a server listens there, expected nobody; choose another path, \
         or stop that server",
        .path.display()
    )]
    InUse {
        /// The path asked for.
        path: PathBuf,
    },
    /// A dead server left its socket behind.
    #[error(
        "nobody listens at {path}, which a dead server left behind, expected nothing there: \
         remove it (rm {path})",
        path = .path.display()
    )]
    Stale {
        /// The path asked for.
        path: PathBuf,
    },
    /// A socket is there, and its server is not.
    #[error("nobody listens at {}, expected a server: start it (again)", .path.display())]
    NobodyListens {
        /// The path asked for.
        path: PathBuf,
    },
    /// The peer does not speak this protocol.
    #[error(
        "the peer at {} is no fanout server: expected {expected}, found {found}; \
         choose another path",
        .path.display()
    )]
    NotAServer {
        /// The path asked for.
        path: PathBuf,
        /// What such a server does.
        expected: &'static str,
        /// What this peer did.
        found: String,
    },
    /// The peer speaks another version of this protocol.
    #[error(
        "the server at {} speaks version {found}, this program version {expected}: \
         build both sides from one version",
        .path.display()
    )]
    Version {
        /// The path asked for.
        path: PathBuf,
        /// The version that this program speaks.
        expected: u32,
        /// The version that the peer speaks.
        found: u32,
    },
    /// The server does not serve this user, or not this role.
    #[error(
        "the server at {} refused a {role}, expected to be let in: \
         connect as its own user, or ask it to allow any user",
        .path.display()
    )]
    Refused {
        /// The path asked for.
        path: PathBuf,
        /// What this client wanted to be.
        role: super::Role,
    },
    /// Every consumer slot of the server's ring is taken.
    #[error(
        "all {most} consumer slots of the ring at {} are taken: let a consumer leave, or use a tap, which needs none",
        .path.display()
    )]
    Full {
        /// The path asked for.
        path: PathBuf,
        /// How many there are.
        most: u64,
    },
    /// The server lets in only consumers that promise to go when they lag.
    #[error(
        "the server at {} lets in only consumers that promise to go when they have held it back for {limit:?}, or that \
         are lossy: join as one of these (JoinOptions::policy, fanout sub --policy)",
        .path.display()
    )]
    Limit {
        /// The path asked for.
        path: PathBuf,
        /// The longest promise that it accepts.
        limit: Duration,
    },
    /// Consumers of the server's ring have private rooms.
    #[error(
        "the ring at {} gives each consumer a page of its own: it has no groups, and its descriptor is good for looking \
         only; connect as a broadcast consumer (Reader::connect), or as a tap",
        .path.display()
    )]
    Rooms {
        /// The path asked for.
        path: PathBuf,
    },
    /// The server would have served this client, and could not.
    #[error(
        "the server at {} has no descriptor to give, expected one: \
         look there for the reason (perhaps its limit, ulimit -n)",
        .path.display()
    )]
    Failed {
        /// The path asked for.
        path: PathBuf,
    },
    /// The peer went away before it had answered.
    #[error(
        "the server at {} hung up, expected an answer: it ended, or took this for no client; \
         connect again",
        .path.display()
    )]
    PeerClosed {
        /// The path asked for.
        path: PathBuf,
    },
    /// Descriptors came that this process had no room for.
    #[error(
        "the descriptor from {} did not fit into this process, expected room for it: \
         close some files, or raise the limit (ulimit -n)",
        .path.display()
    )]
    NoRoom {
        /// The path asked for.
        path: PathBuf,
    },
    /// Nothing happened in time.
    #[error("{expected} was expected at {} within {waited:?}, found none: wait longer", .path.display())]
    TimedOut {
        /// The path asked for.
        path: PathBuf,
        /// What should have come.
        expected: &'static str,
        /// How long the call was to wait.
        waited: Duration,
    },
    /// A client was there, and no descriptor could be made for it.
    #[error("a client at {} got nothing: {source}", .path.display())]
    Descriptor {
        /// The path of the server.
        path: PathBuf,
        /// Why.
        source: DescriptorError,
    },
    /// A consumer could not be registered in a ring with private rooms.
    #[error("a client at {} was not registered: {source}", .path.display())]
    NotRegistered {
        /// The path of the server.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The kernel does not let this process use the path.
    #[error("no permission for {}: check who may use it (ls -l)", .path.display())]
    Permission {
        /// The path asked for.
        path: PathBuf,
    },
    /// Anything else that the kernel refused.
    #[error("{}: {call} failed: {errno}", .path.display())]
    System {
        /// The path asked for.
        path: PathBuf,
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: OsError,
    },
}

/// Why a consumer or a tap could not connect to a ring. The ring goes on as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No descriptor came.
    #[error(transparent)]
    Rendezvous(#[from] RendezvousError),
    /// A descriptor came, and could not be joined.
    #[error(transparent)]
    Join(#[from] JoinError),
}

impl ConnectError {
    /// What it means to a consumer that has asked for a queue by its name.
    pub(crate) fn of_queue(self, name: &QueueName, path: &Path) -> JoinError {
        match self {
            Self::Join(error) => error,
            Self::Rendezvous(RendezvousError::Full { most, .. }) => JoinError::TooManyConsumers {
                most: usize::try_from(most).unwrap_or(usize::MAX),
                dead: 0,
            },
            Self::Rendezvous(RendezvousError::Limit { limit, .. }) => JoinError::LagLimit { limit },
            // Its producer has died: its name means nothing any more.
            Self::Rendezvous(
                RendezvousError::NobodyListens { .. } | RendezvousError::NotFound { .. },
            ) => OpenError::NotFound { name: name.clone() }.into(),
            // It was dying when we came.
            Self::Rendezvous(RendezvousError::PeerClosed { .. }) if !is_served(path) => {
                OpenError::NotFound { name: name.clone() }.into()
            }
            Self::Rendezvous(error) => {
                JoinError::Host { name: name.to_string(), why: error.into() }
            }
        }
    }
}

/// Why a queue is not hosted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// It could not be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// Its server could not be started; in particular the name may be taken.
    #[error(transparent)]
    Rendezvous(#[from] RendezvousError),
}

/// Why a ring for a child process could not be made. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// The ring could not be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// No descriptor could be made for the child.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
}

/// Why a child process could not follow its invitation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvitedError {
    /// The parent did not invite.
    #[error("{VARIABLE} is not set: start this program by one that passes it an invitation")]
    NotInvited,
    /// The variable does not say what it should.
    #[error(
        "{VARIABLE} is DESCRIPTOR:DEVICE:INODE, found {found:?}: \
         leave it to the parent's invitation"
    )]
    Malformed {
        /// What the variable said.
        found: String,
    },
    /// There is no such descriptor, or it is something else by now.
    #[error(
        "descriptor {descriptor} is not what the parent of this program passed ({VARIABLE}), \
         expected its ring: do not pass the variable on, and do not close the descriptor"
    )]
    NotPassed {
        /// The number that the variable names.
        descriptor: i32,
    },
    /// The descriptor has an owner in this process.
    #[error("the invitation was taken before, expected once: pass on what the first call returned")]
    Taken,
    /// The descriptor is there, and could not be joined.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// Anything else that the kernel refused.
    #[error("following {VARIABLE}: {call} failed: {errno}")]
    System {
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: OsError,
    },
}

/// A call's failure, for which there is no better word.
pub fn failed(path: &Path, call: &'static str, errno: Errno) -> RendezvousError {
    let path = path.to_owned();
    match errno {
        Errno::EACCES | Errno::EPERM | Errno::EROFS => RendezvousError::Permission { path },
        errno => RendezvousError::System { path, call, errno: OsError::new(errno) },
    }
}
