//! The producer's side of [pollable](crate::pollable) consumers: which consumers it signals, and
//! when.
//!
//! A consumer that wants to be waited for beside sockets connects to the producer's Unix socket, and keeps the
//! connection. The producer rings the doorbell as ever. Only if an end had announced a sleep there, it does more: it
//! wakes the futex, looks which consumers have connected or hung up since the last time, and sends one byte over
//! each connection. So this happens once per sleep, and not once per message. If no end sleeps, the cost is the same
//! as before: one plain load.
//!
//! The producer waits for no answer. That it overlooks no consumer follows from the order: a consumer
//! connects and says hello *before* it announces itself for the first time, and the producer accepts
//! *after* it has seen an announcement. By then the hello is in the kernel's queue.
//!
//! A consumer sends one packet over the socket (`SOCK_SEQPACKET`), in the manner of
//! [`day4::rendezvous`]. Each protocol's servers and clients turn the other protocol's peers away.
//! Numbers are little-endian:
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 0 | 8 | magic: `FANOUT` and two zeros |
//! | 8 | 4 | version of the protocol: 2 |
//! | 12 | 4 | role: 3, a peer that waits until its connection is readable |
//!
//! It carries no descriptor. The producer sends packets of one byte, one for each signal. When the
//! connection ends, the consumer knows that no more signals come, and the producer that the consumer
//! has left.
//!
//! # No peer holds up the producer
//!
//! Version 1 passed an eventfd to the producer. But `O_NONBLOCK` belongs to the open file behind a
//! descriptor, which both sides shared: a peer could clear the flag and fill the counter, and the
//! producer's next write never returned. A pipe has the same flag, and a lock that its reader may hold.
//! So the producer never waits for anything that a peer can change:
//!
//! - A signal is sent with `MSG_DONTWAIT` into the peer's queue. If the queue is full, it holds
//!   signals that the peer has not read, so the peer's connection is readable.
//! - The producer takes nothing that a peer sends out of the queue. A packet may carry a descriptor,
//!   and closing the last descriptor of a TCP socket with `SO_LINGER` takes as long as the peer likes.
//!   The hello is read where it lies (`MSG_PEEK`).
//! - For the same reason a thread closes the connections that have ended. It lives while there are any.
//!   A peer can keep that thread busy, and while 256 connections wait for it no new consumer is let in.
//!   The producer goes on, and so do the consumers that it knows.

mod error;
mod socket;
mod state;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

use common::sync::{Arc, Mutex, Ordering, fence};
use day3::doorbell::Doorbell;
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

/// More signals than the kernel queues for a consumer that does not read them.
const MOST_SIGNALS: u64 = 64;

/// A consumer's end of a connection to the producer. Signals come over it.
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

    /// Uses a connection (a `SOCK_SEQPACKET` socket) whose other end the producer has.
    ///
    /// # Errors
    ///
    /// [`NotifyError::System`].
    pub fn from_socket(socket: OwnedFd) -> Result<Self, NotifyError> {
        retry_on_intr(|| send(&socket, &hello(), SEND)).map_err(failed("send"))?;
        // edge: register -> accept. A producer that sees an announcement from now on finds our hello in
        // the socket's queue.
        fence(Ordering::SeqCst);
        Ok(Self { socket })
    }

    /// Takes back the signals that have come. Returns how many there were, and whether the connection
    /// has ended.
    ///
    /// It takes at most so many, so that a producer that never stops signalling does not hold it
    /// up.
    pub(crate) fn take(&self) -> (u64, bool) {
        for signals in 0..MOST_SIGNALS {
            let mut byte = [0; 1];
            match retry_on_intr(|| recv(&self.socket, &mut byte, RecvFlags::DONTWAIT)) {
                Ok((0, _)) => return (signals, true),
                Ok(_) => {}
                Err(Errno::AGAIN) => return (signals, false),
                // The producer has ended, and our hello was still in its queue.
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

/// The consumers that a producer signals: all that have connected to it.
///
/// Clones are handles on the same notifier. It is given to the producer as part of its way to wait, a
/// [`Notify`]. When the producer is dropped, or gets another way to wait, the connections end, which
/// tells the consumers, and the socket's path is removed.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    state: Arc<Mutex<State>>,
}

impl Notifier {
    /// Listens at `path`, which is created with mode 0600: only processes of this user can connect.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]; what was at `path` before is left there.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, NotifyError> {
        let state = State::listening(Listener::bind(path.as_ref())?);
        Ok(Self { state: Arc::new(Mutex::new(state)) })
    }

    /// A connection for a consumer that needs no path: a consumer in this process, or in a child
    /// that inherits it.
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

    /// How many consumers it signals. A consumer that has connected since the last signal is not
    /// yet counted. A consumer that has hung up since still is.
    pub fn peers(&self) -> usize {
        self.lock().peers.len()
    }

    /// How many signals were sent: one to each consumer, each time that an end was asleep.
    pub fn signals(&self) -> u64 {
        self.lock().signals
    }

    /// How many peers were turned away: peers that sent nonsense, silent peers when there were too
    /// many, and peers beyond [`MOST_PEERS`].
    pub fn turned_away(&self) -> u64 {
        self.lock().turned_away
    }

    /// Signals every consumer.
    #[cold]
    fn signal(&self) {
        // edge: register -> accept. We have read the doorbell's word before we look at the socket.
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

/// Signals a peer without waiting. Returns whether the peer is still there.
fn signal(peer: &OwnedFd) -> bool {
    match retry_on_intr(|| send(peer, &[0], SEND)) {
        // Its queue is full of signals that it has not read, so it is readable.
        Ok(_) | Err(Errno::AGAIN) => true,
        // A peer that cannot be signalled has to know: its connection ends.
        Err(_) => false,
    }
}

/// A producer's way to wait that also signals consumers which wait for a descriptor.
///
/// It waits as `W` does. Its end rings as every end does, by one plain load. If an end was asleep, it
/// also signals every consumer that its [`Notifier`] knows, once. Several consumers are all signalled,
/// whichever of them was asleep. A consumer that was awake takes the signal back when it is about to
/// sleep.
///
/// Dropping it ends all connections. A producer is dropped after it has closed its ring, so a consumer
/// that is woken by the end of its connection finds the ring closed.
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
/// assert!(consumer.try_recv().is_err()); // empty: its descriptor will say when there is more
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
    /// Waits as `inner` does, and signals the consumers that `notifier` knows.
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
