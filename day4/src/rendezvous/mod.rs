//! How a ring without a name reaches another process.
//!
//! An anonymous ring ([`Writer::anonymous`](crate::Writer::anonymous)) is an object that no other process
//! can find: a process that is to read it must be given a descriptor of it. There are two ways:
//!
//! - a **stranger** [connects](connect) to a Unix socket, at which the writer's process
//!   [serves](serve): the kernel carries the descriptor over (`SCM_RIGHTS`);
//! - a **child** inherits it: [`pair`] makes a ring and an [`Invitation`], which the child takes up
//!   with [`Reader::invited`](crate::Reader).
//!
//! Each receiver gets an *open file description* of its own, as if it had opened a name, because the
//! kernel's locks belong to those. Once the descriptor is there, nothing here is needed any more: server,
//! socket and path may go, and the ring stays as long as a process has it mapped.
//!
//! A descriptor grants what it was opened for: a tap's is read-only, and cannot be mapped writable; a
//! consumer's is not, since a consumer writes its cursor into control. That guards against mistakes.
//! A hostile process of the same user can open the object once more; what keeps out other users is
//! the ring's permissions.
//!
//! A ring whose consumers have [private rooms](crate::rooms) can be handed to processes that are not trusted. No process
//! can write through a descriptor of it, not even one that it has opened anew. The server registers each consumer, and
//! gives each a page of its own. Such a ring has no groups, and no invitations.

pub(crate) mod client;
mod error;
mod invitation;
pub mod packet;
mod server;
pub mod socket;
mod wire;

use core::fmt;
use std::path::Path;

use day2::Mode;
use nix::sys::socket::UnixAddr;

pub use client::{CONNECT_TIMEOUT, connect};
pub use error::failed;
pub use error::{ConnectError, HostError, InvitedError, PairError, RendezvousError};
pub use invitation::{Invitation, VARIABLE, invited, pair};
pub(crate) use server::MARK;
pub use server::{Admitted, HELLO_TIMEOUT, Server, Serving, serve};
pub(crate) use socket::is_served;

/// What a client of a ring wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A broadcast consumer, or a member of a group: it writes its cursor into control.
    Consumer,
    /// A tap: it only looks.
    Tap,
}

impl Role {
    /// What a segment is mapped as in this role.
    pub fn mode(self) -> Mode {
        match self {
            Self::Consumer => Mode::Reader,
            Self::Tap => Mode::Observer,
        }
    }

    fn code(self) -> u32 {
        match self {
            Self::Consumer => 1,
            Self::Tap => 2,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        match code {
            1 | wire::RESIDENT | wire::MEMBER => Some(Self::Consumer),
            2 => Some(Self::Tap),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Consumer => "consumer",
            Self::Tap => "tap",
        })
    }
}

/// Most bytes of a socket's path: the kernel's room for it, less a NUL.
const MOST_PATH: usize = 107;

/// The address of the socket at `path`.
fn address(path: &Path) -> Result<UnixAddr, RendezvousError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    // An empty path would make the kernel choose a name, and a leading NUL is another name space.
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(RendezvousError::Path { path: path.to_owned() });
    }
    if bytes.len() > MOST_PATH {
        let (path, found) = (path.to_owned(), bytes.len());
        return Err(RendezvousError::PathTooLong { path, most: MOST_PATH, found });
    }
    UnixAddr::new(path).map_err(|errno| error::failed(path, "sockaddr_un", errno))
}
