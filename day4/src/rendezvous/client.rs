//! The side that asks for a ring.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{QueueName, Sequence};
use day2::{Mode, Segment, Trust};
use day3::wait::deadline;
use day3::{JoinError, JoinOptions, Policy, Start, Wait};
use nix::errno::Errno;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use super::error::{ConnectError, RendezvousError, failed};
use super::packet::Packet;
use super::socket::dial;
use super::wire::{self, Answer, Asks, Hello};
use super::{Role, packet};
use crate::evictable::Evictable;
use crate::memory::{ByteMemory, Segmented, nameless};
use crate::reader::{Member, Reader};
use crate::rooms::{Admission, Guest};
use crate::tap::Tap;

/// How long [`Reader::connect`] and its like wait for the server's answer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

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
    let hello = Hello { version: wire::VERSION, role: role.code(), asks: None };
    let granted = call(path.as_ref(), &hello, role, timeout, |_| Ok::<_, RendezvousError>(()))?;
    Ok(granted.ring)
}

/// What a server has given.
#[derive(Debug)]
struct Granted {
    ring: OwnedFd,
    /// The consumer's page, its slot, the slot's state, and the first sequence.
    room: Option<(OwnedFd, [u64; 3])>,
}

/// Says hello to the server at `path`, if `check` finds that its user is to be trusted, and hears what it gives.
fn call<E: From<RendezvousError>>(
    path: &Path,
    hello: &Hello,
    role: Role,
    timeout: Duration,
    check: impl FnOnce(u32) -> Result<(), E>,
) -> Result<Granted, E> {
    let deadline = deadline(timeout);
    let timed_out =
        |expected| RendezvousError::TimedOut { path: path.to_owned(), expected, waited: timeout };
    let Some(socket) = dial(path, deadline)? else {
        return Err(timed_out("a place in the server's queue").into());
    };
    let peer = getsockopt(&socket, PeerCredentials)
        .map_err(|errno| failed(path, "getsockopt(SO_PEERCRED)", errno))?;
    // Before it registers us.
    check(peer.uid())?;
    packet::send(&socket, &hello.encode(), packet::NONE)
        .map_err(|errno| hung_up(path, "sendmsg", errno))?;
    if !packet::readable(&socket, deadline).map_err(|errno| failed(path, "poll", errno))? {
        return Err(timed_out("an answer").into());
    }
    let received = packet::receive(&socket).map_err(|errno| hung_up(path, "recvmsg", errno))?;
    Ok(unpack(path, role, received)?)
}

/// How a consumer comes to its ring: by the descriptor alone, or into a room of its own.
pub(crate) fn enter(
    path: &Path,
    name: &QueueName,
    start: Start,
    options: &JoinOptions,
    trust: Option<Trust>,
) -> Result<Arc<dyn ByteMemory>, ConnectError> {
    let (policy, label) = (options.promised(), options.label_text().to_owned());
    let asks = Some(Asks { start, policy, label });
    let hello = Hello { version: wire::VERSION, role: wire::RESIDENT, asks };
    let check = |user| trusted(trust, name, user);
    let Granted { ring, room } = call(path, &hello, Role::Consumer, CONNECT_TIMEOUT, check)?;
    let Some((page, [slot, state, first])) = room else {
        return Ok(Segmented::from_fd(ring, Mode::Reader, options)?);
    };
    let (slot, first) = (usize::try_from(slot).unwrap_or(usize::MAX), Sequence::new(first));
    Ok(Guest::enter(name, Admission { ring, page, slot, state, first }, options)?)
}

/// The ring of a server, to look at.
pub(crate) fn look(
    path: &Path,
    name: &QueueName,
    options: &JoinOptions,
    trust: Option<Trust>,
) -> Result<Arc<Segmented>, ConnectError> {
    let segment = find(path, name, options, trust)?;
    Ok(Arc::new(Segmented::enter(segment, options)?))
}

/// Fails if a server of this user is not to be trusted. A server that was named by its path always is.
fn trusted(trust: Option<Trust>, name: &QueueName, user: u32) -> Result<(), ConnectError> {
    let checked = trust.map_or(Ok(()), |trust| trust.check_user(name, user));
    Ok(checked.map_err(JoinError::from)?)
}

/// The segment of a server's ring, read-only.
pub(crate) fn find(
    path: &Path,
    name: &QueueName,
    options: &JoinOptions,
    trust: Option<Trust>,
) -> Result<Segment, ConnectError> {
    let hello = Hello { version: wire::VERSION, role: Role::Tap.code(), asks: None };
    let check = |user| trusted(trust, name, user);
    let Granted { ring, .. } = call(path, &hello, Role::Tap, CONNECT_TIMEOUT, check)?;
    Ok(Segment::received(name, ring, options.join_timeout()).map_err(JoinError::from)?)
}

/// A server that ends, or does not like what it hears, closes the socket.
fn hung_up(path: &Path, call: &'static str, errno: Errno) -> RendezvousError {
    match errno {
        Errno::EPIPE | Errno::ECONNRESET => RendezvousError::PeerClosed { path: path.to_owned() },
        errno => failed(path, call, errno),
    }
}

/// The ring's descriptor; those that came with it, and are unknown to this version, are closed.
fn unpack(path: &Path, role: Role, packet: Packet) -> Result<Granted, RendezvousError> {
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
    match (answer.status, answer.room) {
        (wire::LET_IN, _) => {}
        (wire::REFUSED, _) => return Err(RendezvousError::Refused { path, role }),
        (wire::FAILED, _) => return Err(RendezvousError::Failed { path }),
        (wire::FULL, Some([most, ..])) => return Err(RendezvousError::Full { path, most }),
        (wire::LIMIT, Some([.., limit])) => {
            return Err(RendezvousError::Limit { path, limit: Duration::from_micros(limit) });
        }
        (wire::ROOMS, _) => return Err(RendezvousError::Rooms { path }),
        (status, _) => {
            let (expected, found) = ("a status from 0 to 5", format!("status {status}"));
            return Err(RendezvousError::NotAServer { path, expected, found });
        }
    }
    if packet.cut {
        return Err(RendezvousError::NoRoom { path });
    }
    let mut descriptors = packet.descriptors.into_iter();
    let (ring, page) = (descriptors.next(), descriptors.next());
    let is_whole = count == answer.descriptors as usize;
    match (ring, page, answer.room) {
        (Some(ring), Some(page), Some(room)) if is_whole => {
            Ok(Granted { ring, room: Some((page, room)) })
        }
        (Some(ring), _, None) if is_whole => Ok(Granted { ring, room: None }),
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
        Self::connect_with(path, start, &JoinOptions::default())
    }

    /// Joins the ring that is served at `path`, as a broadcast consumer.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; the ring goes on as before.
    pub fn connect_with(
        path: impl AsRef<Path>,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, ConnectError> {
        let memory = enter(path.as_ref(), &nameless(), start, options, None)?;
        // SAFETY: checked to be a ring of records.
        Ok(unsafe { Self::from_memory(memory, start, options) }?)
    }
}

impl<W: Wait> Evictable<W> {
    /// Joins the ring that is served at `path`. The options say when the consumer may be
    /// [evicted](JoinOptions::policy).
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; the ring goes on as before.
    pub fn connect(
        path: impl AsRef<Path>,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, ConnectError> {
        let memory = enter(path.as_ref(), &nameless(), start, options, None)?;
        // SAFETY: checked to be a ring of records.
        Ok(unsafe { Self::from_memory(memory, start, options) }?)
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
        let hello = Hello { version: wire::VERSION, role: wire::MEMBER, asks: None };
        let path = path.as_ref();
        let check = |_| Ok::<_, ConnectError>(());
        let ring = call(path, &hello, Role::Consumer, CONNECT_TIMEOUT, check)?.ring;
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

    /// Joins the ring that is served at `path` as a lossy consumer, as [`Tap::join`] does by name.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; the ring goes on as before.
    pub fn connect_lossy(
        path: impl AsRef<Path>,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, ConnectError> {
        let options = options.clone().policy(Policy::Lossy);
        let memory = enter(path.as_ref(), &nameless(), start, &options, None)?;
        // SAFETY: checked to be a ring of records.
        Ok(unsafe { Self::join_memory(memory, start, &options) }?)
    }
}
