//! What to do while there is nothing to do.

use std::time::{Duration, Instant};

use common::sync::{AtomicU32, spin_loop, yield_now};

use crate::control::Doorbell;
use crate::error::TimedOut;
use crate::memory::Shared;
use crate::roster::{self, ConsumerInfo};

/// Who waits for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A consumer waits for the producer to publish or close.
    Consumer,
    /// The producer waits for consumers to release places.
    Producer,
    /// A tap waits for the producer. It has the doorbell mapped read-only, and nobody wakes it.
    Tap,
}

impl Side {
    /// The side that this one waits for.
    pub fn opposite(self) -> Self {
        match self {
            Self::Producer => Self::Consumer,
            Self::Consumer | Self::Tap => Self::Producer,
        }
    }

    /// Where those on this side say that they sleep. A tap, which may write nothing, says so nowhere.
    #[inline]
    pub fn word(self, doorbell: &Doorbell) -> Option<&AtomicU32> {
        match self {
            Self::Consumer => Some(&doorbell.consumers),
            Self::Producer => Some(&doorbell.producer),
            Self::Tap => None,
        }
    }
}

/// A way to wait. The doorbell is there for those that sleep (Day 5).
pub trait Wait: Default {
    /// Calls `poll` until it answers, or until `deadline` has passed; `None` then.
    ///
    /// A deadline that lies in the past still gets one call.
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        poll: impl FnMut() -> Option<R>,
    ) -> Option<R>;

    /// Called once, before an end that waits this way is used: it will wake those on this side.
    fn attach(&self, side: Side, doorbell: &Doorbell) {
        let _ = (side, doorbell);
    }

    /// Called after something changed that `side` may be waiting for.
    #[inline(always)]
    fn wake(&self, side: Side, doorbell: &Doorbell) {
        let _ = (side, doorbell);
    }
}

/// How many looks without an answer go by before the clock is read.
const LOOKS_BETWEEN_CLOCKS: u64 = 64;

/// Keeps the core, and looks again at once: the fastest, where every thread has a core to itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spin;

impl Wait for Spin {
    #[inline]
    fn until<R>(
        &mut self,
        _: Side,
        _: &Doorbell,
        deadline: Option<Instant>,
        poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        look(deadline, poll, |_| spin_loop())
    }
}

/// Spins a little, then gives the core away between looks: makes progress however many threads share
/// a core.
#[derive(Clone, Copy, Debug, Default)]
pub struct Yield;

/// How many looks [`Yield`] takes before it begins to give the core away: about a microsecond, which
/// is what giving it away costs.
const SPINS: u64 = 16;

impl Wait for Yield {
    #[inline]
    fn until<R>(
        &mut self,
        _: Side,
        _: &Doorbell,
        deadline: Option<Instant>,
        poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        look(deadline, poll, |looks| if looks < SPINS { spin_loop() } else { yield_now() })
    }
}

#[inline]
fn look<R>(
    deadline: Option<Instant>,
    mut poll: impl FnMut() -> Option<R>,
    mut pause: impl FnMut(u64),
) -> Option<R> {
    let mut looks = 0u64;
    loop {
        if let Some(answer) = poll() {
            return Some(answer);
        }
        if looks.is_multiple_of(LOOKS_BETWEEN_CLOCKS)
            && deadline.is_some_and(|deadline| Instant::now() >= deadline)
        {
            return None;
        }
        pause(looks);
        looks += 1;
    }
}

/// Calls `done` every 200 us until it says yes: to wait for what nobody rings for.
///
/// # Errors
///
/// [`TimedOut`] after `timeout`; `done` was called at least once.
pub fn poll(timeout: Duration, mut done: impl FnMut() -> bool) -> Result<(), TimedOut> {
    let started = Instant::now();
    while !done() {
        if started.elapsed() >= timeout {
            return Err(TimedOut(timeout));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// An end's way to wait, at the doorbell of its ring: waits for the other side, and wakes it.
///
/// It wakes the other side also when it is dropped, because that one may be waiting for this end to
/// read or to write, which it will never do. So it has to be dropped after the end's cursor.
#[derive(Debug)]
pub struct Door<W: Wait> {
    shared: Shared,
    own: Side,
    wait: W,
}

impl<W: Wait> Door<W> {
    /// The door of an end on this side.
    pub fn new(shared: Shared, own: Side) -> Self {
        Self::with(shared, own, W::default())
    }

    /// The same door, with another way to wait.
    pub fn waiting<V: Wait>(&self, wait: V) -> Door<V> {
        Door::with(self.shared.clone(), self.own, wait)
    }

    fn with(shared: Shared, own: Side, wait: W) -> Self {
        wait.attach(own.opposite(), &shared.doorbell);
        Self { shared, own, wait }
    }

    /// The ring's shared lines.
    #[inline(always)]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Calls `poll` until it answers, or until `deadline` has passed; `None` then.
    #[inline]
    pub fn until<R>(
        &mut self,
        deadline: Option<Instant>,
        poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        self.wait.until(self.own, &self.shared.doorbell, deadline, poll)
    }

    /// Wakes the other side, after something has changed that it may be waiting for. Which side that
    /// is, the caller knows before the program runs, and so costs nothing here.
    #[inline(always)]
    pub fn wake(&self, others: Side) {
        debug_assert_eq!(others, self.own.opposite());
        self.wait.wake(others, &self.shared.doorbell);
    }

    /// For a producer: frees the slot of a consumer that is dead, and says whether there was one; see
    /// [`roster::evict`].
    pub fn evict(&self, consumer: &ConsumerInfo) -> bool {
        let evicted = roster::evict(&self.shared, consumer);
        if evicted {
            // It may be asleep.
            self.wake(Side::Consumer);
        }
        evicted
    }
}

impl<W: Wait> Drop for Door<W> {
    fn drop(&mut self) {
        self.wake(self.own.opposite());
    }
}
