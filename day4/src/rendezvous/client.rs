//! The side that asks for a ring.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use day3::wait::deadline;
use day3::{JoinOptions, Start, Wait};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::error::{ConnectError, RendezvousError, failed};
use super::wire::{self, Answer, Hello};
use super::{Role, address};
use crate::reader::{Member, Reader};
use crate::tap::Tap;

/// How long [`Reader::connect`] and its like wait for the server's answer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a client looks again for room in the queue of a server that has many.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Asks the server at `path` for a descriptor of its ring.
///
/// The descriptor is closed by an `exec`, and has an open file description of its own. If no server listens,
/// that is an error at once; `timeout` is for a server that listens and does not answer.
///
/// # Errors
///
/// [`RendezvousError`]; every descriptor that came is closed again.
pub fn connect(
    path: impl AsRef<Path>,
    role: Role,
    timeout: Duration,
) -> Result<OwnedFd, RendezvousError> {
    let path = path.as_ref();
    let deadline = deadline(timeout);
    let timed_out =
        |expected| RendezvousError::TimedOut { path: path.to_owned(), expected, waited: timeout };
    let Some(socket) = dial(path, deadline)? else {
        return Err(timed_out("a place in the server's queue"));
    };
    let hello = Hello { version: wire::VERSION, role: role.code() };
    wire::send(&socket, &hello.encode(), None).map_err(|errno| hung_up(path, "sendmsg", errno))?;
    if !wire::readable(&socket, deadline).map_err(|errno| failed(path, "poll", errno))? {
        return Err(timed_out("an answer"));
    }
    let packet = wire::receive(&socket).map_err(|errno| hung_up(path, "recvmsg", errno))?;
    unpack(path, role, packet)
}

/// A connection to the server at `path`; `None` if it had no room for one before the deadline.
fn dial(path: &Path, deadline: Instant) -> Result<Option<OwnedFd>, RendezvousError> {
    let address = address(path)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
        .map_err(|errno| failed(path, "socket", errno))?;
    loop {
        match nix::sys::socket::connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(Some(socket)),
            Err(Errno::EAGAIN) if Instant::now() >= deadline => return Ok(None),
            Err(Errno::EAGAIN) => thread::sleep(LOOK_AGAIN),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(not_connected(path, errno)),
        }
    }
}

fn not_connected(path: &Path, errno: Errno) -> RendezvousError {
    let to_owned = || path.to_owned();
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => {
            RendezvousError::NotFound { path: to_owned(), expected: "a server's socket" }
        }
        // The kernel says the same of a socket without a server and of what is no socket.
        Errno::ECONNREFUSED => match path.metadata() {
            Ok(found) if !found.file_type().is_socket() => {
                RendezvousError::NotASocket { path: to_owned() }
            }
            _ => RendezvousError::NobodyListens { path: to_owned() },
        },
        Errno::EPROTOTYPE => RendezvousError::NotAServer {
            path: to_owned(),
            expected: "a SOCK_SEQPACKET socket",
            found: "one of another type".into(),
        },
        errno => failed(path, "connect", errno),
    }
}

/// A server that ends, or does not like what it hears, closes the socket.
fn hung_up(path: &Path, call: &'static str, errno: Errno) -> RendezvousError {
    match errno {
        Errno::EPIPE | Errno::ECONNRESET => RendezvousError::PeerClosed { path: path.to_owned() },
        errno => failed(path, call, errno),
    }
}

/// The ring's descriptor; those that came with it, and are unknown to this version, are closed.
fn unpack(path: &Path, role: Role, packet: wire::Packet) -> Result<OwnedFd, RendezvousError> {
    let path = path.to_owned();
    if packet.bytes.is_empty() {
        return Err(RendezvousError::PeerClosed { path });
    }
    let Some(answer) = Answer::decode(&packet.bytes) else {
        let found = format!("\"{}\"", packet.bytes.escape_ascii());
        return Err(RendezvousError::NotAServer { path, expected: "an answer of Fanout's", found });
    };
    if answer.version != wire::VERSION {
        let (expected, found) = (wire::VERSION, answer.version);
        return Err(RendezvousError::Version { path, expected, found });
    }
    let count = packet.descriptors.len();
    match answer.status {
        wire::LET_IN => {}
        wire::REFUSED => return Err(RendezvousError::Refused { path, role }),
        wire::FAILED => return Err(RendezvousError::Failed { path }),
        status => {
            let (expected, found) = ("status 0, 1 or 2", format!("status {status}"));
            return Err(RendezvousError::NotAServer { path, expected, found });
        }
    }
    if packet.cut {
        return Err(RendezvousError::NoRoom { path });
    }
    match packet.descriptors.into_iter().next() {
        Some(ring) if count == answer.descriptors as usize => Ok(ring),
        _ => {
            let found = format!("{count} where it spoke of {}", answer.descriptors);
            let expected = "as many descriptors as it speaks of, and at least one";
            Err(RendezvousError::NotAServer { path, expected, found })
        }
    }
}

impl<W: Wait> Reader<W> {
    /// Joins the ring that is served at `path`, as a broadcast consumer.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; the ring goes on as before.
    pub fn connect(path: impl AsRef<Path>, start: Start) -> Result<Self, ConnectError> {
        let ring = connect(path, Role::Consumer, CONNECT_TIMEOUT)?;
        Ok(Self::from_fd(ring, start, &JoinOptions::default())?)
    }
}

impl<W: Wait> Member<W> {
    /// Joins the ring that is served at `path`, as a member of `group`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; the ring goes on as before.
    pub fn connect(
        path: impl AsRef<Path>,
        group: &str,
        start: Start,
    ) -> Result<Self, ConnectError> {
        let ring = connect(path, Role::Consumer, CONNECT_TIMEOUT)?;
        Ok(Self::from_fd(ring, group, start, &JoinOptions::default())?)
    }
}

impl<W: Wait> Tap<W> {
    /// Opens the ring that is served at `path`, as a tap.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; the ring goes on as before.
    pub fn connect(path: impl AsRef<Path>, start: Start) -> Result<Self, ConnectError> {
        let ring = connect(path, Role::Tap, CONNECT_TIMEOUT)?;
        Ok(Self::from_fd(ring, start, &JoinOptions::default())?)
    }
}
