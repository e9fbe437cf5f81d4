//! The producer's side of [pollable](crate::pollable) consumers: which of them to signal, and when.
//!
//! A consumer that wants to be waited for beside sockets connects to the producer's Unix socket, and
//! keeps the connection. The producer rings the doorbell as ever. Only when somebody had announced itself
//! there, so once per sleep and not per message, it goes on: wakes the futex, looks which consumers have
//! connected or hung up since the last time, and sends one byte over each connection that it has. With nobody asleep
//! all this costs what it did before: one plain load.
//!
//! No answer is waited for. That a consumer is not overlooked follows from the order: it connects and
//! says hello *before* it announces itself for the first time, and the producer accepts *after* it has
//! seen an announcement. What was sent before is in the kernel's queue then.
//!
//! What goes over the socket (`SOCK_SEQPACKET`) is one packet to the producer, in the manner of
//! [`day4::rendezvous`], whose clients and servers turn those of this protocol away, and the other way
//! round; numbers are little-endian:
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 0 | 8 | magic: `FANOUT` and two zeros |
//! | 8 | 4 | version of the protocol: 2 |
//! | 12 | 4 | role: 3, one that waits for its connection to be readable |
//!
//! without a descriptor. Back come packets of one byte, one for each signal. The end of the connection
//! tells the consumer that nobody will signal it any more, and the producer that nobody waits.
//!
//! # No peer holds up the producer
//!
//! Version 1 passed an eventfd to the producer. But `O_NONBLOCK` belongs to what a descriptor refers to,
//! which both had then: a peer could clear it, fill the counter, and the producer's next write never
//! returned. A pipe has the same flag, and a lock that its reader may hold. So nothing that the producer
//! waits for is a peer's to change:
//!
//! - A signal is sent with `MSG_DONTWAIT` into the peer's queue. If that is full, the peer has signals
//!   that it has not read, and is readable.
//! - Nothing that a peer sends is taken out of the queue: it may have passed a descriptor, and closing
//!   the last one of a TCP socket with `SO_LINGER` takes as long as the peer likes. The hello is looked
//!   at where it lies (`MSG_PEEK`).
//! - For the same reason a thread closes the connections that have ended. It lives as long as there are
//!   any. A peer can keep that thread busy, and when 256 connections wait for it no newcomer is let in;
//!   the producer goes on, and so do the consumers that it knows.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

use common::OsError;
use common::process::Origin;
use common::sync::{Arc, Mutex, Ordering, fence};
use day2::header::MAGIC;
use day3::control::Doorbell;
use day3::wait::{Side, Wait};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, fchmod};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendFlags, Shutdown,
    SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recv, recvmsg,
    send, shutdown, socket_with, socketpair,
};
use rustix::time::Timespec;

use crate::closer::Closer;
use crate::strategy::Adaptive;

/// Most consumers that one producer signals; one more is turned away.
pub const MOST_PEERS: usize = 256;

/// Most that have connected and sent nothing yet; one more costs the oldest its place.
const MOST_STRANGERS: usize = 64;

/// More signals than the kernel keeps for a consumer that does not read them.
const MOST_SIGNALS: u64 = 64;

/// How many may have connected while the producer was busy.
const BACKLOG: i32 = 1024;

const HELLO: usize = 16;
const VERSION: u32 = 2;
const ROLE: u32 = 3;

/// How everything is sent: without waiting, and without a signal that kills.
const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// Why a producer cannot be connected to, or a consumer not connect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
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
        errno: OsError,
    },
}

/// Turns what the kernel said about `call` into an error.
pub(crate) fn failed<E: Into<io::Error>>(call: &'static str) -> impl Fn(E) -> NotifyError {
    move |error| NotifyError::System { call, errno: OsError::new(error) }
}

/// A consumer's end of a connection to the producer, over which signals come.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
}

impl Connection {
    /// Connects to the producer at `path`.
    ///
    /// # Errors
    ///
    /// [`NotifyError`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, NotifyError> {
        let path = path.as_ref();
        let address = address(path)?;
        let socket = socket()?;
        match retry_on_intr(|| connect(&socket, &address)) {
            Ok(()) => Self::from_socket(socket),
            Err(errno) => Err(not_connected(path, errno)),
        }
    }

    /// Uses a connection (of a `SOCK_SEQPACKET` socket) whose other end the producer has.
    ///
    /// # Errors
    ///
    /// [`NotifyError::System`].
    pub fn from_socket(socket: OwnedFd) -> Result<Self, NotifyError> {
        let mut hello = [0; HELLO];
        hello[..8].copy_from_slice(&MAGIC.to_le_bytes());
        hello[8..12].copy_from_slice(&VERSION.to_le_bytes());
        hello[12..].copy_from_slice(&ROLE.to_le_bytes());
        retry_on_intr(|| send(&socket, &hello, SEND)).map_err(failed("send"))?;
        // edge: register -> accept. A producer that sees an announcement that we make from now on finds
        // this in the socket's queue.
        fence(Ordering::SeqCst);
        Ok(Self { socket })
    }

    /// Takes back the signals that have come; says how many there were, and whether that was the end.
    ///
    /// Not more than so many: a producer that never stops holds nobody up, either.
    pub(crate) fn take(&self) -> (u64, bool) {
        for signals in 0..MOST_SIGNALS {
            let mut byte = [0; 1];
            match retry_on_intr(|| recv(&self.socket, &mut byte, RecvFlags::DONTWAIT)) {
                Ok((0, _)) => return (signals, true),
                Ok(_) => {}
                Err(Errno::AGAIN) => return (signals, false),
                // The producer has ended, and what we sent it was never taken out of its queue.
                Err(_) => return (signals, true),
            }
        }
        (MOST_SIGNALS, false)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The consumers that a producer signals: those that have connected to it.
///
/// Clones are handles on the same. It is given to the producer as part of its way to wait, a
/// [`Notify`]; when the producer is dropped, or waits another way, everybody is told by the end of the
/// connection, and the socket's path is removed.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    listener: Option<Listener>,
    strangers: Vec<OwnedFd>,
    peers: Vec<OwnedFd>,
    closer: Closer,
    turned_away: u64,
    signals: u64,
    is_hung_up: bool,
    origin: Origin,
}

/// A socket at a path that is ours, and a descriptor to give up when there is no other.
#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    spare: Option<OwnedFd>,
    path: PathBuf,
    identity: (u64, u64),
}

impl Listener {
    /// Removes the path, if it is still this one's.
    fn remove(&self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = path.symlink_metadata()?;
    Ok((found.dev(), found.ino()))
}

impl Notifier {
    /// Listens at `path`, which is made with mode 0600: for processes of this user.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]; what was at `path` before is left there.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, NotifyError> {
        let given = path.as_ref();
        let address = address(given)?;
        // Absolute: this process may change its folder before it removes the path.
        let path = std::path::absolute(given).map_err(failed("getcwd"))?;
        let socket = socket()?;
        // Linux gives the file the mode that the socket has when it is bound.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed("fchmod"))?;
        bind(&socket, &address).map_err(|errno| not_bound(given, errno))?;
        let identity = identity(&path).map_err(failed("lstat"))?;
        let mut state = State::default();
        let spare = spare(&socket);
        let listener = state.listener.insert(Listener { socket, spare, path, identity });
        listen(&listener.socket, BACKLOG).map_err(failed("listen"))?;
        Ok(Self { state: Arc::new(Mutex::new(state)) })
    }

    /// A connection for a consumer that needs no path: in this process, or one that inherits it.
    ///
    /// # Errors
    ///
    /// [`NotifyError::System`].
    pub fn connection(&self) -> Result<Connection, NotifyError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(failed("socketpair"))?;
        let connection = Connection::from_socket(theirs)?;
        self.lock().meet(ours);
        Ok(connection)
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

    /// How many were turned away: those that talk nonsense, silent ones where there were too many, and
    /// those beyond [`MOST_PEERS`].
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
        state.signals += state.peers.len() as u64;
        let gone: Vec<_> = state.peers.extract_if(.., |peer| !signal(peer)).collect();
        gone.iter().for_each(hang_up);
        state.closer.close(gone);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            listener: None,
            strangers: Vec::new(),
            peers: Vec::new(),
            closer: Closer::default(),
            turned_away: 0,
            signals: 0,
            is_hung_up: false,
            origin: Origin::here(),
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.hang_up();
    }
}

/// Signals a peer, without waiting; says whether it is still there.
fn signal(peer: &OwnedFd) -> bool {
    match retry_on_intr(|| send(peer, &[0], SEND)) {
        // It has signals that it has not read, and so is readable.
        Ok(_) | Err(Errno::AGAIN) => true,
        // A signal that does not come has to be told of: by the end of the connection.
        Err(_) => false,
    }
}

impl State {
    /// Hangs up on everybody, and closes the listener. The child of a fork leaves that to its parent.
    fn hang_up(&mut self) {
        self.is_hung_up = true;
        let listener = self.listener.take();
        let mut sockets: Vec<_> = self.peers.drain(..).chain(self.strangers.drain(..)).collect();
        if self.origin.is_here() {
            listener.iter().for_each(Listener::remove);
            // At once: it takes a moment until they are closed.
            sockets.iter().for_each(hang_up);
        }
        sockets.extend(listener.map(|listener| listener.socket));
        self.closer.close(sockets);
    }

    /// Lets newcomers in, listens to those that have something to say, and forgets the peers that have
    /// hung up. Waits for nobody.
    fn attend(&mut self) {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let listener = self.listener.iter().map(|listener| listener.socket.as_fd());
        let strangers = self.strangers.iter().map(AsFd::as_fd);
        let speakers = strangers.chain(listener);
        let speakers = speakers.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN));
        // A peer's hello is still in its queue, and whatever else it has said: what counts is the end.
        let peers = self.peers.iter();
        let peers = peers.map(|peer| PollFd::from_borrowed_fd(peer.as_fd(), PollFlags::RDHUP));
        let mut polled: Vec<_> = peers.chain(speakers).collect();
        if retry_on_intr(|| poll(&mut polled, Some(&zero))) == Ok(0) {
            return;
        }
        let ready: Vec<_> = polled.iter().map(|socket| !socket.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        let mut is_ready = || ready.next().unwrap_or(false);
        let gone: Vec<_> = self.peers.extract_if(.., |_| is_ready()).collect();
        let speaking: Vec<_> = self.strangers.extract_if(.., |_| is_ready()).collect();
        let door_is_ready = self.listener.is_some() && is_ready();
        self.closer.close(gone);
        for socket in speaking {
            self.meet(socket);
        }
        if door_is_ready {
            self.let_in();
        }
    }

    fn let_in(&mut self) {
        for _ in 0..BACKLOG {
            if self.closer.is_behind() {
                return;
            }
            let Some(listener) = &mut self.listener else { return };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match accept_with(&listener.socket, flags) {
                Ok(socket) => self.meet(socket),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) if listener.spare.take().is_some() => {
                    // Better to be told that nobody will signal it than to wait for it.
                    let Ok(socket) = accept_with(&listener.socket, flags) else { return };
                    self.turn_away(socket);
                    // There may be a descriptor for it again when that one is closed.
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// Listens to one that has connected.
    fn meet(&mut self, socket: OwnedFd) {
        match is_hello(&socket) {
            Ok(true) if self.peers.len() < MOST_PEERS && !self.is_hung_up => {
                self.peers.push(socket)
            }
            Err(Errno::AGAIN) => {
                if self.strangers.len() == MOST_STRANGERS {
                    let oldest = self.strangers.remove(0);
                    self.turn_away(oldest);
                }
                self.strangers.push(socket);
            }
            _ => self.turn_away(socket),
        }
    }

    fn turn_away(&mut self, socket: OwnedFd) {
        self.turned_away += 1;
        hang_up(&socket);
        self.closer.close([socket]);
    }
}

/// Ends a connection for the other side; it is closed later.
fn hang_up(socket: &OwnedFd) {
    // It fails if the other side was faster.
    let _ = shutdown(socket, Shutdown::Both);
}

/// A descriptor that can be given up.
fn spare(other: &OwnedFd) -> Option<OwnedFd> {
    other.try_clone().ok()
}

/// Whether one that has connected has said what it should. It stays in the queue.
fn is_hello(socket: &OwnedFd) -> Result<bool, Errno> {
    // One byte more, so that one that is too long is seen to be.
    let mut bytes = [0; HELLO + 1];
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    // No room for descriptors: that there were some is told by a flag.
    let mut none = RecvAncillaryBuffer::default();
    let packet =
        retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut none, flags))?;
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
    Ok(packet.bytes == HELLO
        && !packet.flags.contains(ReturnFlags::CTRUNC)
        && bytes.starts_with(&MAGIC.to_le_bytes())
        && (word(8), word(12)) == (VERSION, ROLE))
}

fn socket() -> Result<OwnedFd, NotifyError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed("socket"))
}

fn address(path: &Path) -> Result<SocketAddrUnix, NotifyError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    // An empty path, and a leading NUL, would mean another name space.
    if bytes.is_empty() || bytes.contains(&0) || bytes.len() > 107 {
        return Err(NotifyError::Path { path: path.to_owned() });
    }
    SocketAddrUnix::new(path).map_err(failed("sockaddr_un"))
}

fn not_connected(path: &Path, errno: Errno) -> NotifyError {
    let path = path.to_owned();
    match errno {
        Errno::NOENT | Errno::NOTDIR => NotifyError::NotFound { path },
        Errno::CONNREFUSED | Errno::PROTOTYPE => refused(path),
        Errno::AGAIN => NotifyError::Busy { path },
        errno => failed("connect")(errno),
    }
}

/// The kernel says the same of a socket without a server and of what is no socket.
fn refused(path: PathBuf) -> NotifyError {
    match path.symlink_metadata() {
        Ok(found) if found.file_type().is_socket() => NotifyError::Stale { path },
        _ => NotifyError::NotASocket { path },
    }
}

fn not_bound(path: &Path, errno: Errno) -> NotifyError {
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

/// A producer's way to wait that also signals consumers that wait for a descriptor.
///
/// It waits as `W` does. Its end rings as every end does, by one plain load; if somebody was asleep, it
/// also signals every consumer that its [`Notifier`] know, once. With several consumers a
/// ring signals all of them, whichever of them was asleep; one that was not takes the signal back when
/// it is about to sleep.
///
/// Dropping it hangs up on everybody. A producer is dropped after it has closed its ring, so a consumer
/// that is woken by that finds the end.
///
/// # Examples
///
/// ```
/// # mod fanout { pub use {day3::*, day5::{Adaptive, self as pollable}}; }
/// use fanout::pollable::{Notifier, Notify, Pollable};
/// use fanout::{Adaptive, Consumer, Producer, Start};
///
/// let name = format!("/doc-notify-{}", std::process::id());
/// let path = std::env::temp_dir().join(format!("doc-notify-{}", std::process::id()));
/// let notifier = Notifier::bind(&path)?;
/// let producer = Producer::<u64>::create(&name, 64)?;
/// let mut producer = producer.waiting(Notify::new(notifier, Adaptive::default()));
///
/// // Usually in another process.
/// let consumer = Consumer::<u64>::join(&name, Start::Oldest)?;
/// let mut consumer = Pollable::connect(consumer, &path)?;
/// assert!(consumer.try_recv().is_err()); // empty: from now on its descriptor tells of more
/// producer.send(7)?; // signals
/// assert_eq!(consumer.try_recv()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Notify<W = Adaptive> {
    notifier: Notifier,
    inner: W,
}

impl<W> Notify<W> {
    /// Waits as `inner` does, and signals the consumers that `notifier` know.
    pub fn new(notifier: Notifier, inner: W) -> Self {
        Self { notifier, inner }
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
            self.notifier.signal();
        }
        self.inner.rung(side);
    }
}

impl<W> Drop for Notify<W> {
    fn drop(&mut self) {
        self.notifier.lock().hang_up();
    }
}
