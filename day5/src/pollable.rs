//! An end of a ring that can be waited for with `poll`, `epoll`, `mio` or `io_uring`, beside sockets.
//!
//! The rule is epoll's: **try until there is nothing; then wait for the descriptor; then try again.** A
//! [`Pollable`] has no call to arm it. To find nothing *is* to arm it: a `try_recv` that answers
//! [`Empty`](day3::TryRecvError::Empty) has announced a sleep on the doorbell, and has looked once more
//! after that. From then on the descriptor is readable when there may be something. Do not read from it:
//! `try_recv` does. A program that waits without a try before it waits for a signal that it has never
//! asked for.
//!
//! Where the signal comes from:
//!
//! | made by | the signal comes from | costs |
//! |---|---|---|
//! | [`Pollable::connect`] | the producer, which waits by [`Notify`](crate::Notify), over a connection | the producer one system call per sleep |
//! | [`Pollable::bridged`] | a thread of this process, which sleeps on the futexes of all such ends | a thread for each 127 ends of this process, and two thread switches per sleep |
//! | [`Pollable::napping`] | an alarm clock, for ends that only look | up to 250 looks in a second |
//!
//! # No wake-up is lost
//!
//! To arm is: take back old signals (*clear*), set the doorbell's bit (*announce*), make the heavy
//! fence, *look*. To publish is: write the message, make the light fence, read the bit, and if it is
//! set, clear it and *signal*.
//!
//! - Edge announce <-> ring, as for every sleeper (see [`doorbell`](crate::doorbell)): either the look
//!   sees the message, or the producer sees the bit.
//! - If it sees the bit, it signals after the message was written. If the *next* clear takes that
//!   signal back, a look follows, which finds the message: the kernel orders what precedes a send
//!   before what follows its receipt. If the signal comes after the clear, it stays, and the
//!   descriptor is readable.
//! - Edge register -> accept: a producer that sees the bit finds, in its socket's queue, the connection
//!   of the consumer that set it: see [`notifier`](crate::notifier).
//! - The bridge's thread sleeps on the word with the ticket of the announcement. A ring before that has
//!   changed the word, so the thread does not sleep.
//!
//! And if nobody rings? The connection of a producer that is killed ends, even if that was between
//! publish and ring: the kernel closes its sockets, and the descriptor is readable. After everything
//! that was published comes [`HungUp`](day3::RecvError::HungUp). A bridge looks without being woken
//! after one [`SLICE`](crate::strategy::SLICE), and its consumer then asks the kernel whether the producer lives: after
//! everything that was published comes [`ProducerDied`](day3::RecvError::ProducerDied). Where the kernel makes no
//! fences for other processes ([`barrier`](crate::barrier)), the first ring may be missed. An alarm
//! clock behind the same descriptor limits that delay to one slice, too.
//!
//! # With others
//!
//! All consumers of a ring announce themselves in one word. A ring answers all of them, and a producer
//! signals every consumer that it knows. So a consumer may be signalled because another consumer slept. It
//! finds nothing then, or takes the signal back before its own next sleep. The members of a group are all
//! signalled, too, and one of them gets the message.
//!
//! The end of the connection is how a consumer learns of the producer's death. A child that was
//! forked from the producer's process, and did not call `exec`, has a copy of the connection. So if
//! the producer is killed, its consumers learn it only when that child has ended, too.
//!
//! # Examples
//!
//! ```
//! # mod fanout {
//! #     pub use {day3::*, day5::{Adaptive, self as pollable}};
//! # }
//! use fanout::error::TryRecvError;
//! use fanout::pollable::Pollable;
//! use fanout::{Adaptive, Consumer, Producer, Start};
//! use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
//! use std::os::fd::AsFd;
//!
//! let name = format!("/doc-poll-{}", std::process::id());
//! let mut producer = Producer::<u64>::create(&name, 64)?.waiting(Adaptive::default());
//! let mut consumer = Pollable::bridged(Consumer::<u64>::join(&name, Start::Oldest)?)?;
//! assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
//! producer.send(7)?;
//! poll(&mut [PollFd::new(consumer.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
//! assert_eq!(consumer.try_recv(), Ok(7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ends;
mod signal;
mod tries;

use core::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use common::sync::Arc;
use day3::wait::Wait;

use crate::bridge::Bridge;
use crate::notifier::{Connection, NotifyError};
use crate::strategy::Adaptive;

pub use ends::{Announcing, End, Receiving};
pub use signal::Armed;
use signal::Signal;

/// An end of a ring, and a descriptor that is readable when it is worth trying.
///
/// See the [module](self) for the rule. A consumer's descriptor tells of messages and of the end; a
/// producer's tells of room. Where a call has to wait, it waits as `V` does.
pub struct Pollable<E: End, V: Wait = Adaptive> {
    // Declared first, so dropped first: the bridge's thread uses the end's memory.
    bridge: Option<Bridge>,
    end: E::With<Armed<V>>,
    signal: Arc<Signal>,
}

impl<E: End, V: Wait> fmt::Debug for Pollable<E, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pollable").field("signal", &self.signal).finish_non_exhaustive()
    }
}

impl<E: Receiving> Pollable<E> {
    /// A consumer that is signalled by the producer that listens at `path` ([`Notifier::bind`]).
    ///
    /// It does not wait for the producer, which lets it in when it next finds an end asleep.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]; the consumer has left then.
    ///
    /// [`Notifier::bind`]: crate::Notifier::bind
    pub fn connect(consumer: E, path: impl AsRef<Path>) -> Result<Self, NotifyError> {
        Self::with_connection(consumer, Connection::connect(path)?)
    }

    /// A consumer that is signalled by the producer at the other end of this connection.
    ///
    /// # Errors
    ///
    /// [`NotifyError::System`]; the consumer has left then.
    pub fn with_connection(consumer: E, connection: Connection) -> Result<Self, NotifyError> {
        Ok(Self::with_signal(consumer, Adaptive::default(), None, Signal::connected(connection)?))
    }
}

impl<E: Announcing> Pollable<E> {
    /// An end that needs nothing from the other side: a thread of this process sleeps in its place, and
    /// signals. It suits queues with a name, and a producer that waits for room.
    ///
    /// One thread serves up to 127 such ends, and ends with the last of them. Before Linux 5.16 a
    /// thread cannot sleep on many futexes at once, so each end has a thread of its own. The child of
    /// a fork does not have the thread: what it does with its copy of this end has no effect.
    ///
    /// # Errors
    ///
    /// What the kernel said: no descriptor, or no thread.
    pub fn bridged(end: E) -> io::Result<Self> {
        Self::bridged_with(end, Adaptive::default())
    }
}

impl<E: Announcing, V: Wait> Pollable<E, V> {
    /// The same, for an end that waits and rings as `wait` does: a producer's may be a
    /// [`Notify`](crate::Notify).
    ///
    /// # Errors
    ///
    /// What the kernel said: no descriptor, or no thread.
    pub fn bridged_with(end: E, wait: V) -> io::Result<Self> {
        let bridge = Bridge::start()?;
        let signal = Signal::bridged(&bridge);
        Ok(Self::with_signal(end, wait, Some(bridge), signal))
    }
}

impl<E: End> Pollable<E> {
    /// An end that is never woken: a tap, which writes nothing, and so cannot announce a sleep.
    ///
    /// After a try in vain the descriptor becomes readable when a nap is over. The first nap takes 50
    /// us. Each look in vain doubles it, up to 4 ms.
    ///
    /// # Errors
    ///
    /// What the kernel said: no descriptor.
    pub fn napping(end: E) -> io::Result<Self> {
        Ok(Self::with_signal(end, Adaptive::default(), None, Signal::napping()?))
    }
}

impl<E: End, V: Wait> Pollable<E, V> {
    fn with_signal(end: E, wait: V, bridge: Option<Bridge>, signal: Arc<Signal>) -> Self {
        Self { bridge, end: end.with(Armed::new(wait, &signal)), signal }
    }

    /// The end.
    pub fn get_ref(&self) -> &E::With<Armed<V>> {
        &self.end
    }

    /// Takes the end back; it waits adaptively from now on.
    pub fn into_inner(self) -> E::With<Adaptive> {
        let Self { bridge, end, .. } = self;
        drop(bridge);
        E::change(end, Adaptive::default())
    }

    /// How often it has announced a sleep.
    pub fn sleeps(&self) -> u64 {
        self.signal.sleeps()
    }

    /// How many signals it has taken back. An alarm clock's are not counted.
    pub fn signals(&self) -> u64 {
        self.signal.signals()
    }
}

impl<E: End, V: Wait> AsFd for Pollable<E, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }
}

impl<E: End, V: Wait> AsRawFd for Pollable<E, V> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
