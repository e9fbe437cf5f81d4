//! The producer's side of [pollable](crate::pollable) consumers: whom to signal, and when.
//!
//! A consumer that wants to be waited for beside sockets makes an eventfd, connects to the producer's
//! Unix socket, sends the eventfd over (`SCM_RIGHTS`), and keeps the connection. The producer rings the
//! doorbell as ever. Only when somebody had announced itself there, so once per sleep and not per
//! message, it goes on: wakes the futex, looks who has connected or hung up since the last time, and
//! writes to each eventfd that it has. With nobody asleep all this costs what it did before: one plain
//! load.
//!
//! There is no thread for it, and no answer to wait for. That a consumer is not overlooked follows from
//! the order: it connects and sends *before* it announces itself for the first time, and the producer
//! accepts *after* it has seen an announcement. What was sent before is in the kernel's queue then.
//!
//! What goes over the socket (`SOCK_SEQPACKET`) is one packet, in the manner of
//! [`day4::rendezvous`], whose clients and servers turn those of this protocol away, and the other way
//! round; numbers are little-endian:
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 0 | 8 | magic: `FANOUT` and two zeros |
//! | 8 | 4 | version of the protocol: 1 |
//! | 12 | 4 | role: 3, one that waits for its eventfd |
//!
//! with exactly one descriptor: an eventfd in non-blocking mode. Nothing comes back. The end of the
//! connection tells the consumer that nobody will signal it any more, and the producer that nobody
//! waits.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

use common::sync::{Arc, Mutex, Ordering, fence};
use day2::header::MAGIC;
use day3::control::Doorbell;
use day3::wait::{Side, Wait};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, fchmod};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind,
    connect, listen, recvmsg, sendmsg, socket_with, socketpair,
};
use rustix::time::Timespec;

use crate::eventfd::Counter;
use crate::strategy::Adaptive;

/// Most consumers that one producer signals; one more is turned away.
pub const MOST_PEERS: usize = 256;

/// Most that have connected and sent nothing yet; one more costs the oldest its place.
const MOST_STRANGERS: usize = 64;

/// How many may have connected while the producer was busy.
const BACKLOG: i32 = 1024;

const HELLO: usize = 16;
const VERSION: u32 = 1;
const ROLE: u32 = 3;

/// Why a producer cannot be connected to, or a consumer not connect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BellError {
    /// A socket's path has 1 to 107 bytes and no NUL.
    #[error("a socket's path has 1 to 107 bytes and no NUL, found {path:?}: choose another")]
    Path {
        /// The path as it was given.
        path: PathBuf,
    },
    /// Somebody listens there.
    #[error("somebody listens at {path:?} already: choose another path")]
    InUse {
        /// The path as it was given.
        path: PathBuf,
    },
    /// Nobody listens there, and it is a socket: its producer was killed.
    #[error(
        "found the socket of a producer at {path:?} that is gone: remove it, and start one again"
    )]
    Stale {
        /// The path as it was given.
        path: PathBuf,
    },
    /// There is something else.
    #[error("expected a socket at {path:?}, found something else: choose another path")]
    NotASocket {
        /// The path as it was given.
        path: PathBuf,
    },
    /// There is nothing.
    #[error("found nothing at {path:?}: start the producer first, or give the path that it gave")]
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },
    /// More have connected than the producer has let in: it sends nothing.
    #[error(
        "too many wait to be let in at {path:?}: try again when the producer has sent something"
    )]
    Busy {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The kernel refused something else.
    #[error("{call} failed: {errno}")]
    System {
        /// The system call.
        call: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

/// Turns what the kernel said about `call` into an error.
pub(crate) fn failed(call: &'static str) -> impl Fn(Errno) -> BellError {
    move |errno| BellError::System { call, errno }
}

/// The same for what the standard library passes on.
pub(crate) fn failed_io(call: &'static str) -> impl Fn(io::Error) -> BellError {
    move |error| failed(call)(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// A consumer's end of a connection over which its eventfd went to the producer.
#[derive(Debug)]
pub struct Line {
    pub(crate) counter: Counter,
    pub(crate) socket: OwnedFd,
}

impl Line {
    /// Connects to the producer at `path`.
    ///
    /// # Errors
    ///
    /// [`BellError`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, BellError> {
        let path = path.as_ref();
        let address = address(path)?;
        let socket = socket()?;
        match retry_on_intr(|| connect(&socket, &address)) {
            Ok(()) => Self::over(socket),
            Err(errno) => Err(not_connected(path, errno)),
        }
    }

    /// Uses a connection (of a `SOCK_SEQPACKET` socket) whose other end the producer has.
    ///
    /// # Errors
    ///
    /// [`BellError::System`].
    pub fn over(socket: OwnedFd) -> Result<Self, BellError> {
        let counter = Counter::new().map_err(failed_io("eventfd"))?;
        let mut hello = [0; HELLO];
        hello[..8].copy_from_slice(&MAGIC.to_le_bytes());
        hello[8..12].copy_from_slice(&VERSION.to_le_bytes());
        hello[12..].copy_from_slice(&ROLE.to_le_bytes());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [counter.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(&hello)], &mut control, flags))
            .map_err(failed("sendmsg"))?;
        // edge: register -> accept. Whoever sees an announcement that we make from now on finds this
        // in the socket's queue.
        fence(Ordering::SeqCst);
        Ok(Self { counter, socket })
    }
}

/// Whom a producer signals: the consumers that have passed it an eventfd.
///
/// Clones are handles on the same. It is given to the producer as part of its way to wait, a
/// [`Notify`]; when the producer is dropped, or waits another way, everybody is told by the end of the
/// connection, and the socket's path is removed.
#[derive(Clone, Debug, Default)]
pub struct Bells {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    door: Option<Door>,
    strangers: Vec<OwnedFd>,
    peers: Vec<Peer>,
    turned_away: u64,
    signals: u64,
    is_hung_up: bool,
}

#[derive(Debug)]
struct Peer {
    socket: OwnedFd,
    counter: Counter,
}

/// A socket at a path that is ours, and a descriptor to give up when there is no other.
#[derive(Debug)]
struct Door {
    socket: OwnedFd,
    spare: Option<Counter>,
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for Door {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = path.symlink_metadata()?;
    Ok((found.dev(), found.ino()))
}

impl Bells {
    /// Listens at `path`, which is made with mode 0600: for processes of this user.
    ///
    /// # Errors
    ///
    /// [`BellError`]; what was at `path` before is left there.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, BellError> {
        let given = path.as_ref();
        let address = address(given)?;
        // Absolute: this process may change its folder before it removes the path.
        let path = std::path::absolute(given).map_err(failed_io("getcwd"))?;
        let socket = socket()?;
        // Linux gives the file the mode that the socket has when it is bound.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed("fchmod"))?;
        bind(&socket, &address).map_err(|errno| not_bound(given, errno))?;
        let identity = identity(&path).map_err(failed_io("lstat"))?;
        let door = Door { socket, spare: Counter::new().ok(), path, identity };
        listen(&door.socket, BACKLOG).map_err(failed("listen"))?;
        let state = State { door: Some(door), ..State::default() };
        Ok(Self { state: Arc::new(Mutex::new(state)) })
    }

    /// A connection for a consumer that needs no path: in this process, or one that inherits it.
    ///
    /// # Errors
    ///
    /// [`BellError::System`].
    pub fn line(&self) -> Result<Line, BellError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(failed("socketpair"))?;
        let line = Line::over(theirs)?;
        let mut state = self.lock();
        if !state.is_hung_up {
            state.meet(ours);
        }
        Ok(line)
    }

    /// How many consumers it signals. Those that have connected since the last signal are not yet
    /// counted, those that have hung up since are.
    pub fn peers(&self) -> usize {
        self.lock().peers.len()
    }

    /// How many signals were given: one for each time that somebody was asleep, times the consumers
    /// that there were.
    pub fn signals(&self) -> u64 {
        self.lock().signals
    }

    /// How many were turned away: those that talk nonsense or sent no eventfd that never blocks, silent
    /// ones where there were too many, and those beyond [`MOST_PEERS`].
    pub fn turned_away(&self) -> u64 {
        self.lock().turned_away
    }

    /// Signals everybody.
    #[cold]
    fn signal(&self) {
        // edge: register -> accept. What we have seen of the word comes before what we see of the
        // socket.
        fence(Ordering::SeqCst);
        let mut state = self.lock();
        state.attend();
        for peer in &state.peers {
            peer.counter.signal();
        }
        state.signals += state.peers.len() as u64;
    }

    /// Hangs up on everybody, and closes the door.
    fn hang_up(&self) {
        let mut state = self.lock();
        state.is_hung_up = true;
        state.door = None;
        state.strangers.clear();
        state.peers.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets in who has connected, listens to those who have something to say, and forgets who has hung
    /// up. Waits for nobody.
    fn attend(&mut self) {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let door = self.door.iter().map(|door| door.socket.as_fd());
        let strangers = self.strangers.iter().map(AsFd::as_fd);
        let peers = self.peers.iter().map(|peer| peer.socket.as_fd());
        let sockets = peers.chain(strangers).chain(door);
        let mut polled: Vec<_> =
            sockets.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)).collect();
        if retry_on_intr(|| poll(&mut polled, Some(&zero))) == Ok(0) {
            return;
        }
        let ready: Vec<_> = polled.iter().map(|socket| !socket.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        let mut is_ready = || ready.next().unwrap_or(false);
        // A consumer says nothing after its hello: whatever there is, is the end.
        self.peers.retain(|_| !is_ready());
        let speaking: Vec<_> = self.strangers.extract_if(.., |_| is_ready()).collect();
        let door_is_ready = self.door.is_some() && is_ready();
        for socket in speaking {
            self.meet(socket);
        }
        if door_is_ready {
            self.let_in();
        }
    }

    fn let_in(&mut self) {
        for _ in 0..BACKLOG {
            let Some(door) = &mut self.door else { return };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match accept_with(&door.socket, flags) {
                Ok(socket) => self.meet(socket),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) if door.spare.take().is_some() => {
                    // Better to be told that nobody will signal it than to wait for it.
                    let told = accept_with(&door.socket, flags).is_ok();
                    door.spare = Counter::new().ok();
                    if !told {
                        return;
                    }
                    self.turned_away += 1;
                }
                Err(_) => return,
            }
        }
    }

    /// Listens to one that has connected.
    fn meet(&mut self, socket: OwnedFd) {
        match hear(&socket) {
            Ok(Some(counter)) if self.peers.len() < MOST_PEERS => {
                self.peers.push(Peer { socket, counter });
            }
            Err(Errno::AGAIN) => {
                if self.strangers.len() == MOST_STRANGERS {
                    self.strangers.remove(0);
                    self.turned_away += 1;
                }
                self.strangers.push(socket);
            }
            _ => self.turned_away += 1,
        }
    }
}

/// What one that has connected has sent; `None` if it is not what it should be.
fn hear(socket: &OwnedFd) -> Result<Option<Counter>, Errno> {
    // One byte more, so that one that is too long is seen to be.
    let mut bytes = [0; HELLO + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let packet =
        retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags))?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
    let is_hello = packet.bytes == HELLO
        && bytes.starts_with(&MAGIC.to_le_bytes())
        && (word(8), word(12)) == (VERSION, ROLE);
    if !is_hello || descriptors.len() != 1 {
        return Ok(None);
    }
    Ok(descriptors.pop().and_then(|descriptor| Counter::admit(descriptor).ok()))
}

fn socket() -> Result<OwnedFd, BellError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed("socket"))
}

fn address(path: &Path) -> Result<SocketAddrUnix, BellError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    // An empty path, and a leading NUL, would mean another name space.
    if bytes.is_empty() || bytes.contains(&0) || bytes.len() > 107 {
        return Err(BellError::Path { path: path.to_owned() });
    }
    SocketAddrUnix::new(path).map_err(failed("sockaddr_un"))
}

fn not_connected(path: &Path, errno: Errno) -> BellError {
    let path = path.to_owned();
    match errno {
        Errno::NOENT | Errno::NOTDIR => BellError::NotFound { path },
        Errno::CONNREFUSED | Errno::PROTOTYPE => refused(path),
        Errno::AGAIN => BellError::Busy { path },
        errno => BellError::System { call: "connect", errno },
    }
}

/// The kernel says the same of a socket without a server and of what is no socket.
fn refused(path: PathBuf) -> BellError {
    match path.symlink_metadata() {
        Ok(found) if found.file_type().is_socket() => BellError::Stale { path },
        _ => BellError::NotASocket { path },
    }
}

fn not_bound(path: &Path, errno: Errno) -> BellError {
    match errno {
        Errno::ADDRINUSE => match address(path).and_then(|address| Ok((address, socket()?))) {
            Ok((address, socket)) => match connect(&socket, &address) {
                Err(Errno::CONNREFUSED) => refused(path.to_owned()),
                _ => BellError::InUse { path: path.to_owned() },
            },
            Err(error) => error,
        },
        Errno::NOENT | Errno::NOTDIR => BellError::NotFound { path: path.to_owned() },
        errno => BellError::System { call: "bind", errno },
    }
}

/// A producer's way to wait that also signals those who wait for a descriptor.
///
/// It waits as `W` does. Its end rings as every end does, by one plain load; if somebody was asleep, it
/// also signals every consumer that its [`Bells`] know, once. With several consumers a
/// ring signals all of them, whichever of them was asleep; one that was not takes the signal back when
/// it is about to sleep.
///
/// Dropping it hangs up on everybody. A producer is dropped after it has closed its ring, so who is
/// woken by that finds the end.
///
/// # Examples
///
/// ```
/// use day3::{Consumer, Producer, Start};
/// use day5::{Adaptive, Bells, Notify, Pollable};
///
/// let name = format!("/doc-notify-{}", std::process::id());
/// let path = std::env::temp_dir().join(format!("doc-notify-{}", std::process::id()));
/// let bells = Bells::bind(&path)?;
/// let producer = Producer::<u64>::create(&name, 64)?;
/// let mut producer = producer.waiting(Notify::new(bells, Adaptive::default()));
///
/// // Usually in another process.
/// let consumer = Consumer::<u64>::join(&name, Start::Oldest)?;
/// let mut consumer = Pollable::connect(consumer, &path)?;
/// assert!(consumer.try_recv().is_err()); // empty: from now on its descriptor tells of more
/// producer.send(7); // signals
/// assert_eq!(consumer.try_recv()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Notify<W = Adaptive> {
    bells: Bells,
    inner: W,
}

impl<W> Notify<W> {
    /// Waits as `inner` does, and signals whom `bells` know.
    pub fn new(bells: Bells, inner: W) -> Self {
        Self { bells, inner }
    }
}

impl<W: Wait> Wait for Notify<W> {
    #[inline]
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        self.inner.until(side, doorbell, deadline, poll)
    }

    fn rung(&self, side: Side) {
        if side == Side::Consumer {
            self.bells.signal();
        }
        self.inner.rung(side);
    }
}

impl<W> Drop for Notify<W> {
    fn drop(&mut self) {
        self.bells.hang_up();
    }
}
