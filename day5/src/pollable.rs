//! An end of a ring that can be waited for with `poll`, `epoll`, `mio` or `io_uring`, beside sockets.
//!
//! The rule is epoll's: **try until there is nothing; then wait for the descriptor; then try again.**
//! A [`Pollable`] has no call to arm it. To find nothing *is* to arm it: `try_recv` that answers
//! [`Empty`](TryRecvError::Empty) has announced on the doorbell that somebody sleeps, and has looked
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
//! [`HungUp`](RecvError::HungUp). A bridge looks by itself after one [`SLICE`]; it never learns of a
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

use core::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use bytemuck::Pod;
use common::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use day3::control::Doorbell;
use day3::sequencer::Cursor;
use day3::wait::{Side, Wait};
use day3::{RecvError, RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::arm;
use crate::bridge::{Bridge, Post};
use crate::doorbell::Ticket;
use crate::eventfd::Alarm;
use crate::notifier::{Connection, NotifyError, failed};
use crate::strategy::{Adaptive, SLICE};

/// The nap of an end that nobody wakes: the first one, and the longest.
const NAPS: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(4));

/// Where the signal comes from.
#[derive(Debug)]
enum Source {
    /// From the producer; `set` is an epoll that has all that may come.
    Connected { set: OwnedFd, line: Connection, slice: Alarm },
    /// From the bridge's thread.
    Bridged(Arc<Post>),
    /// From an alarm clock; how long the next nap is, in nanoseconds.
    Napping { alarm: Alarm, nap: AtomicU64 },
}

/// What an end and its way to wait share.
#[derive(Debug)]
struct Signal {
    source: Source,
    sleeps: AtomicU64,
    signals: AtomicU64,
    is_hung_up: AtomicBool,
}

impl Signal {
    fn new(source: Source) -> Arc<Self> {
        let (sleeps, signals) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { source, sleeps, signals, is_hung_up: AtomicBool::new(false) })
    }

    fn connected(line: Connection) -> Result<Arc<Self>, NotifyError> {
        let set = epoll::create(CreateFlags::CLOEXEC).map_err(failed("epoll_create1"))?;
        let slice = Alarm::new().map_err(failed("timerfd_create"))?;
        for descriptor in [line.as_fd(), slice.as_fd()] {
            epoll::add(&set, descriptor, EventData::new_u64(0), EventFlags::IN)
                .map_err(failed("epoll_ctl"))?;
        }
        Ok(Self::new(Source::Connected { set, line, slice }))
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Connected { set, .. } => set.as_fd(),
            Source::Bridged(post) => post.counter().as_fd(),
            Source::Napping { alarm, .. } => alarm.as_fd(),
        }
    }

    /// Takes back old signals; says whether there was anything.
    fn clear(&self) -> bool {
        match &self.source {
            Source::Connected { line, slice, .. } => {
                let (signals, is_over) = line.take();
                if is_over {
                    self.is_hung_up.store(true, Ordering::Relaxed);
                }
                // Each is asked, whatever the others say.
                self.count(signals) | slice.take() | is_over
            }
            Source::Bridged(post) => self.count(post.counter().take()),
            Source::Napping { .. } => true,
        }
    }

    fn count(&self, signals: u64) -> bool {
        self.signals.fetch_add(signals, Ordering::Relaxed);
        signals > 0
    }

    /// Why there is nothing.
    fn nothing(&self) -> TryRecvError {
        if self.is_hung_up.load(Ordering::Relaxed) {
            RecvError::HungUp.into()
        } else {
            TryRecvError::Empty
        }
    }

    /// There was something: the next nap is a short one.
    fn found(&self) {
        if let Source::Napping { nap, .. } = &self.source {
            nap.store(NAPS.0.as_nanos() as u64, Ordering::Relaxed);
        }
    }
}

/// The way to wait of a [`Pollable`]: a wait whose time is up at the beginning, and in vain, leaves an
/// announcement behind. All others are `V`'s affair, and it is `V` that rings.
#[derive(Debug, Default)]
pub struct Armed<V = Adaptive> {
    inner: V,
    signal: Option<Arc<Signal>>,
    /// The announcement that stands.
    ticket: Option<Ticket>,
}

impl<V> Armed<V> {
    fn new(inner: V, signal: &Arc<Signal>) -> Self {
        Self { inner, signal: Some(Arc::clone(signal)), ticket: None }
    }
}

impl<V: Wait> Wait for Armed<V> {
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        if let Some(answer) = poll() {
            return Some(answer);
        }
        let is_over = |deadline| Instant::now() >= deadline;
        match &self.signal {
            Some(signal) if deadline.is_some_and(is_over) => {
                sleep_elsewhere(signal, &mut self.ticket, side, doorbell, poll)
            }
            _ => self.inner.until(side, doorbell, deadline, poll),
        }
    }

    fn rung(&self, side: Side) {
        self.inner.rung(side);
    }
}

/// Arms the descriptor; there was nothing just now. `ticket` is the announcement made before.
fn sleep_elsewhere<R>(
    signal: &Signal,
    ticket: &mut Option<Ticket>,
    side: Side,
    doorbell: &Doorbell,
    mut poll: impl FnMut() -> Option<R>,
) -> Option<R> {
    if let Source::Napping { alarm, nap } = &signal.source {
        let now = nap.load(Ordering::Relaxed);
        nap.store((2 * now).min(NAPS.1.as_nanos() as u64), Ordering::Relaxed);
        alarm.set(Duration::from_nanos(now));
        signal.sleeps.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    // A tap can only nap.
    let word = side.word(doorbell)?;
    let clear = || signal.clear();
    let look = || {
        signal.sleeps.fetch_add(1, Ordering::Relaxed);
        poll()
    };
    arm::arm(word, ticket, clear, look, |announced| match &signal.source {
        // The producer may miss us once.
        Source::Connected { slice, .. } if announced.is_fenced() => slice.set(SLICE),
        // SAFETY: the doorbell is the end's that this way to wait was given to, by `Pollable`, which
        // keeps the end until after it has dropped the bridge, and lends it to nobody who could put
        // another in its place.
        Source::Bridged(post) => unsafe { post.watch(word, announced) },
        _ => {}
    })
}

mod sealed {
    pub trait Sealed {}
}

/// An end of a ring of Day 3 or Day 4. With another way to wait it is another type.
pub trait End: sealed::Sealed + Sized {
    /// The same end with this way to wait.
    type With<V: Wait>;

    /// The same end, waiting another way.
    fn with<V: Wait>(self, wait: V) -> Self::With<V>;

    /// The same for one that has been changed before.
    fn change<V: Wait, U: Wait>(end: Self::With<V>, wait: U) -> Self::With<U>;
}

/// An end that may write to the doorbell: all but taps.
pub trait Announcing: End {}

/// A registered consumer.
pub trait Receiving: Announcing {}

macro_rules! ends {
    ($([$($parameter:ident: $bound:path),*] $end:path, $with:path;)*) => {$(
        impl<$($parameter: $bound,)* W: Wait> sealed::Sealed for $end {}
        impl<$($parameter: $bound,)* W: Wait> End for $end {
            type With<V: Wait> = $with;

            fn with<V: Wait>(self, wait: V) -> Self::With<V> {
                self.waiting(wait)
            }

            fn change<V: Wait, U: Wait>(end: Self::With<V>, wait: U) -> Self::With<U> {
                end.waiting(wait)
            }
        }
    )*};
}

ends! {
    [T: Pod, K: Cursor] day3::ring::Receiver<T, K, W>, day3::ring::Receiver<T, K, V>;
    [K: Cursor] day4::reader::Receiver<K, W>, day4::reader::Receiver<K, V>;
    [T: Pod] day3::ring::Producer<T, W>, day3::ring::Producer<T, V>;
    [] day4::writer::Writer<W>, day4::writer::Writer<V>;
    [T: Pod] day3::ring::Tap<T, W>, day3::ring::Tap<T, V>;
    [] day4::tap::Tap<W>, day4::tap::Tap<V>;
}

impl<T: Pod, K: Cursor, W: Wait> Announcing for day3::ring::Receiver<T, K, W> {}
impl<T: Pod, K: Cursor, W: Wait> Receiving for day3::ring::Receiver<T, K, W> {}
impl<K: Cursor, W: Wait> Announcing for day4::reader::Receiver<K, W> {}
impl<K: Cursor, W: Wait> Receiving for day4::reader::Receiver<K, W> {}
impl<T: Pod, W: Wait> Announcing for day3::ring::Producer<T, W> {}
impl<W: Wait> Announcing for day4::writer::Writer<W> {}

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
        let signal = Signal::new(Source::Bridged(Arc::clone(bridge.post())));
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
        let alarm = Alarm::new()?;
        let nap = AtomicU64::new(NAPS.0.as_nanos() as u64);
        let signal = Signal::new(Source::Napping { alarm, nap });
        Ok(Self::with_signal(end, Adaptive::default(), None, signal))
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
        self.signal.sleeps.load(Ordering::Relaxed)
    }

    /// How many signals it has taken back. An alarm clock gives none.
    pub fn signals(&self) -> u64 {
        self.signal.signals.load(Ordering::Relaxed)
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

impl<T: Pod, K: Cursor, W: Wait, V: Wait> Pollable<day3::ring::Receiver<T, K, W>, V> {
    /// The next message, if there is one now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        match self.end.try_recv() {
            Ok(message) => Ok(message),
            Err(_) => self.end.recv_timeout(Duration::ZERO).map_err(|no| why(&self.signal, no)),
        }
    }

    /// Lends up to `most` messages, if there is one now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    pub fn try_recv_batch(
        &mut self,
        most: usize,
    ) -> Result<day3::ring::Batch<'_, T, K, Armed<V>>, TryRecvError> {
        let batch = self.end.recv_batch_timeout(most, Duration::ZERO);
        batch.map_err(|no| why(&self.signal, no))
    }
}

impl<K: Cursor, W: Wait, V: Wait> Pollable<day4::reader::Receiver<K, W>, V> {
    /// Lends the next message, if there is one now; otherwise the descriptor is armed.
    ///
    /// A record borrows the reader; wait for the descriptor where there is none any more.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    ///
    /// # Examples
    ///
    /// ```
    /// # mod fanout {
    /// #     pub use {day3::*, day4 as records, day5::{Adaptive, self as pollable}};
    /// # }
    /// use fanout::pollable::Pollable;
    /// use fanout::records::error::{RecvError, TryRecvError};
    /// use fanout::records::{Reader, Writer};
    /// use fanout::{Adaptive, Start};
    /// use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    /// use std::os::fd::AsFd;
    ///
    /// let name = format!("/doc-poll-records-{}", std::process::id());
    /// let mut writer = Writer::create(&name, 4096)?.waiting(Adaptive::default());
    /// let mut reader = Pollable::bridged(Reader::join(&name, Start::Oldest)?)?;
    /// writer.send(b"one")?;
    /// writer.send(b"another")?;
    /// drop(writer);
    /// let mut letters = 0;
    /// loop {
    ///     let nothing = match reader.try_recv() {
    ///         Ok(record) => {
    ///             letters += record.len();
    ///             continue;
    ///         }
    ///         Err(nothing) => nothing,
    ///     };
    ///     match nothing {
    ///         TryRecvError::Empty => {
    ///             poll(&mut [PollFd::new(reader.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
    ///         }
    ///         TryRecvError::End(RecvError::Closed) => break,
    ///         TryRecvError::End(error) => return Err(error.into()),
    ///     }
    /// }
    /// assert_eq!(letters, 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_recv(&mut self) -> Result<day4::reader::Record<'_, K, Armed<V>>, TryRecvError> {
        let record = self.end.recv_timeout(Duration::ZERO);
        record.map_err(|no| why(&self.signal, no))
    }

    /// Lends the next messages that together take at most `bytes` of ring, but at least one, if there
    /// is one now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    pub fn try_recv_batch(
        &mut self,
        bytes: usize,
    ) -> Result<day4::reader::Records<'_, K, Armed<V>>, TryRecvError> {
        let records = self.end.recv_batch_timeout(bytes, Duration::ZERO);
        records.map_err(|no| why(&self.signal, no))
    }
}

impl<T: Pod, W: Wait, V: Wait> Pollable<day3::ring::Tap<T, W>, V> {
    /// The next message that can be had now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let message = self.end.recv_timeout(Duration::ZERO);
        message.inspect(|_| self.signal.found()).map_err(|no| why(&self.signal, no))
    }
}

impl<W: Wait, V: Wait> Pollable<day4::tap::Tap<W>, V> {
    /// Copies the next message that can be had now into `into`, which it replaces, and says how long
    /// it is; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    pub fn try_recv(&mut self, into: &mut Vec<u8>) -> Result<usize, TryRecvError> {
        let len = self.end.recv_timeout(into, Duration::ZERO);
        len.inspect(|_| self.signal.found()).map_err(|no| why(&self.signal, no))
    }
}

impl<T: Pod, W: Wait, V: Wait> Pollable<day3::ring::Producer<T, W>, V> {
    /// Sends a message if there is a place for it now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was sent.
    #[inline]
    pub fn try_send(&mut self, message: T) -> Result<(), TrySendError> {
        match self.end.try_send(message) {
            Err(TrySendError::Full) => {}
            sent => return sent,
        }
        self.end.send_timeout(message, Duration::ZERO).map_err(unsent)
    }

    /// Tells consumers that everything is sent; to send is an error from now on.
    pub fn close(&mut self) {
        self.end.close();
    }

    /// Tells consumers that nothing more will come, though not everything is sent, and why.
    pub fn abort(&mut self, reason: &str) {
        self.end.abort(reason);
    }
}

impl<W: Wait, V: Wait> Pollable<day4::writer::Writer<W>, V> {
    /// Sends a message if there is room for it now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was sent.
    #[inline]
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), TrySendError> {
        match self.end.try_send(message) {
            Err(TrySendError::Full) => {}
            sent => return sent,
        }
        self.end.send_timeout(message, Duration::ZERO).map_err(unsent)
    }

    /// Tells consumers that everything is sent; to send is an error from now on.
    pub fn close(&mut self) {
        self.end.close();
    }

    /// Tells consumers that nothing more will come, though not everything is sent, and why.
    pub fn abort(&mut self, reason: &str) {
        self.end.abort(reason);
    }
}

/// Why a wait that was over at its beginning found no room.
fn unsent(error: SendTimeoutError) -> TrySendError {
    match error {
        SendTimeoutError::TimedOut(_) => TrySendError::Full,
        SendTimeoutError::End(end) => end.into(),
    }
}

/// Why a wait that was over at its beginning found nothing.
#[cold]
fn why(signal: &Signal, nothing: RecvTimeoutError) -> TryRecvError {
    match nothing {
        RecvTimeoutError::TimedOut(_) => signal.nothing(),
        RecvTimeoutError::End(end) => end.into(),
    }
}
