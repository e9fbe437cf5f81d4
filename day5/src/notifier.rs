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

mod error;
mod socket;
mod state;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

use common::sync::{Arc, Mutex, Ordering, fence};
use day3::control::Doorbell;
use day3::wait::{Side, Wait};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, connect, recv, send, socketpair,
};

use crate::strategy::Adaptive;
use error::not_connected;
use socket::{SEND, address, hang_up, hello, socket};
use state::{Listener, State};

pub use error::NotifyError;
pub(crate) use error::failed;
pub use state::MOST_PEERS;

/// More signals than the kernel keeps for a consumer that does not read them.
const MOST_SIGNALS: u64 = 64;

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
        retry_on_intr(|| send(&socket, &hello(), SEND)).map_err(failed("send"))?;
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

impl Notifier {
    /// Listens at `path`, which is made with mode 0600: for processes of this user.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]; what was at `path` before is left there.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, NotifyError> {
        let state = State::listening(Listener::bind(path.as_ref())?);
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

/// Signals a peer, without waiting; says whether it is still there.
fn signal(peer: &OwnedFd) -> bool {
    match retry_on_intr(|| send(peer, &[0], SEND)) {
        // It has signals that it has not read, and so is readable.
        Ok(_) | Err(Errno::AGAIN) => true,
        // A signal that does not come has to be told of: by the end of the connection.
        Err(_) => false,
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
