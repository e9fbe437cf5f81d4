//! The sign of life, both ways.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use common::process::Origin;
use day4::rendezvous::packet;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};

use super::wire::Answer;

/// The connection of a client and its server: while it stands, both are alive.
#[derive(Debug)]
pub enum Connection {
    /// A socket.
    Socket(OwnedFd),
    /// Both are in this thread.
    Local,
}

impl Connection {
    /// Whether the other end is there.
    pub fn is_alive(&self) -> bool {
        let Self::Socket(socket) = self else { return true };
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        match recv(socket.as_raw_fd(), &mut [0], flags) {
            Ok(0) => false,
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => true,
            Err(_) => false,
        }
    }

    /// Sends an answer, with these descriptors; says whether it went.
    pub fn tell(&self, answer: &Answer, descriptors: &[BorrowedFd<'_>]) -> bool {
        match self {
            Self::Socket(socket) => packet::send(socket, &answer.encode(), descriptors).is_ok(),
            Self::Local => true,
        }
    }

    /// Ends it, for both ends, and also if there are copies of the descriptor.
    pub fn hang_up(&self) {
        if let Self::Socket(socket) = self {
            let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
        }
    }
}

/// Hangs up when it is dropped.
#[derive(Debug)]
pub struct HangsUp {
    connection: Arc<Connection>,
    origin: Origin,
}

impl HangsUp {
    /// Hangs up this connection when it is dropped in this process.
    pub fn new(connection: Arc<Connection>) -> Self {
        Self { connection, origin: Origin::here() }
    }

    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for HangsUp {
    fn drop(&mut self) {
        // A child that was forked from the server's process is not the server.
        if self.origin.is_here() {
            self.connection.hang_up();
        }
    }
}
