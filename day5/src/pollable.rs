//! An end of a ring that can be waited for with `poll`, `epoll`, `mio` or `io_uring`, beside sockets.
//!
//! The rule is epoll's: **try until there is nothing; then wait for the descriptor; then try again.**
//! A [`Pollable`] has no call to arm it. To find nothing *is* to arm it: `try_recv` that answers
//! [`Empty`](day3::TryRecvError::Empty) has announced on the doorbell that somebody sleeps, and has looked
//! once more after that. From then on the descriptor is readable when there may be something. Do not
//! read from it: `try_recv` does. A wait without a try before it is one for a signal that was never asked
//! for.
//!
//! Where the signal comes from:
//!
//! | made by | the signal comes from | costs |
//! |---|---|---|
//! | [`Pollable::connect`] | the producer, which waits by [`Notify`](crate::Notify), over a connection | the producer one system call per sleep |
//! | [`Pollable::bridged`] | a thread of this process, which sleeps on the futexes of all such ends | this process a thread for each 127 of them, and two changes of it per sleep |
//! | [`Pollable::napping`] | nobody: an alarm clock, as for all that only look | up to 250 looks in a second |
//!
//! # No wake-up is lost
//!
//! To arm is: take back old signals (*clear*), set the doorbell's bit (*announce*), make the heavy
//! fence, *look*. To publish is: write the message, make the light fence, read the bit, and if it is
//! set, clear it and *signal*.
//!
//! - Edge announce <-> ring, as for every sleeper (see [`doorbell`](crate::doorbell)): either the look
//!   sees the message, or the producer sees the bit.
//! - If it sees the bit, it signals after the message was written. A signal that is taken back by the
//!   *next* clear is followed by a look, which finds that message: the kernel orders what comes before
//!   a send before what follows its receipt. One that comes after the clear stays, and the
//!   descriptor is readable.
//! - Edge register -> accept: a producer that sees the bit finds, in its socket's queue, the connection
//!   of the consumer that set it: see [`notifier`](crate::notifier).
//! - The bridge's thread sleeps on the word with the ticket of the announcement. A ring before it sleeps
//!   has changed the word, and it does not sleep.
//!
//! And if nobody rings? A producer that is killed, even between publish and ring, hangs up: the kernel
//! closes its sockets, the descriptor is readable, and after everything that was published comes
//! [`HungUp`](day3::RecvError::HungUp). A bridge looks by itself after one [`SLICE`](crate::strategy::SLICE); it never learns of a
//! death. Where the kernel makes no fences for others ([`barrier`](crate::barrier)), the first ring may
//! be missed; an alarm clock behind the same descriptor bounds that to one slice, too.
//!
//! # With others
//!
//! All consumers of a ring announce themselves in one word. A ring answers all of them, and a producer
//! signals every consumer that it knows: a consumer among several may be signalled for another's sleep. It
//! finds nothing then, or takes the signal back before its own next sleep. Members of a group are all
//! signalled, too, and one of them gets the message.
//!
//! The connection is the sign of life: a process that was forked from the producer's and did not call
//! `exec` has a copy of it, and if the producer is killed has to end before anybody is told.
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
/// See the [module](self) for the rule. A consumer's tells of messages and of the end; a producer's of
/// room. It waits where it must, as `V` does.
pub struct Pollable<E: End, V: Wait = Adaptive> {
    // Before the end, whose memory its thread uses.
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
    /// A consumer that the producer signals which listens at `path` ([`Notifier::bind`]).
    ///
    /// It does not wait for the producer, which lets it in when it next finds somebody asleep.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]; the consumer has left then.
    ///
    /// [`Notifier::bind`]: crate::Notifier::bind
    pub fn connect(consumer: E, path: impl AsRef<Path>) -> Result<Self, NotifyError> {
        Self::with_connection(consumer, Connection::connect(path)?)
    }

    /// A consumer that is signalled by the producer that has the other end of this line.
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
    /// signals. For queues with a name, and for a producer that waits for room.
    ///
    /// One thread serves up to 127 such ends, and ends with the last of them; before Linux 5.16, where
    /// none can sleep on many futexes at once, each end has one. The child of a fork does not have the
    /// thread: what it does with its copy of this end has no effect.
    ///
    /// # Errors
    ///
    /// What the kernel said: no descriptor, or no thread.
    pub fn bridged(end: E) -> io::Result<Self> {
        Self::bridged_with(end, Adaptive::default())
    }
}

impl<E: Announcing, V: Wait> Pollable<E, V> {
    /// The same for an end that rings, and waits where it must, as `wait` does: a producer's may be a
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
    /// An end that nobody wakes: a tap, which writes nothing, and so cannot say that it sleeps.
    ///
    /// After a try in vain the descriptor becomes readable when a nap is over: of 50 us at first, then
    /// twice as long after each look in vain, and at most 4 ms.
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

    /// The end alone, which waits adaptively from now on.
    pub fn into_inner(self) -> E::With<Adaptive> {
        let Self { bridge, end, .. } = self;
        drop(bridge);
        E::change(end, Adaptive::default())
    }

    /// How often it has announced that it sleeps.
    pub fn sleeps(&self) -> u64 {
        self.signal.sleeps()
    }

    /// How many signals it has taken back. An alarm clock gives none.
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
