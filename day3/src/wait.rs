//! What to do while there is nothing to do.

use std::time::{Duration, Instant};

use common::Sequence;
use common::sync::{AtomicU32, spin_loop, yield_now};

use crate::control::DoorbellLine;
use crate::doorbell::Doorbell;
use crate::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TimedOut, TryRecvError, TrySendError,
};
use crate::landing::Trail;
use crate::link::Link;
use crate::memory::Shared;
use crate::roster::{self, ConsumerInfo};
use crate::sequencer::{ProducerCursor, Refusal};

/// Who waits for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A consumer waits for the producer to publish or close.
    Consumer,
    /// The producer waits for consumers to release places.
    Producer,
    /// A tap waits for the producer. It has the doorbell mapped read-only, so no end can wake it.
    Tap,
}

impl Side {
    /// The side that it waits for.
    pub fn opposite(self) -> Self {
        match self {
            Self::Producer => Self::Consumer,
            Self::Consumer | Self::Tap => Self::Producer,
        }
    }

    /// The word in which ends on this side say that they sleep. A tap may write nothing, and has none.
    #[inline]
    pub fn word<'a>(self, doorbell: &Doorbell<'a>) -> Option<&'a AtomicU32> {
        match self {
            Self::Consumer => Some(doorbell.consumers),
            Self::Producer => Some(doorbell.producer),
            Self::Tap => None,
        }
    }
}

/// A way to wait, and nothing else: the ends themselves wake the other side.
///
/// The doorbell is there for a strategy that sleeps (Day 5). An end goes by what `poll` has answered, whatever
/// the strategy answers. If the strategy gives up too early, or keeps the answer to itself, the end looks
/// again.
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

    /// Called after this end has woken the sleepers of `side`. It is for a strategy that also wakes by other
    /// means than the doorbell (Day 5's descriptors). A consumer's strategy is called after a release.
    fn rung(&self, side: Side) {
        let _ = side;
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
        poll_until(deadline, poll, |_| spin_loop())
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
        poll_until(deadline, poll, |looks| if looks < SPINS { spin_loop() } else { yield_now() })
    }
}

#[inline]
fn poll_until<R>(
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

/// What a call that does not wait has answered, for [`Waiter`]: `None` where waiting may help.
#[inline]
fn settle_recv<R>(taken: Result<R, impl Into<TryRecvError>>) -> Option<Result<R, RecvError>> {
    match taken.map_err(Into::into) {
        Ok(taken) => Some(Ok(taken)),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::End(end)) => Some(Err(end)),
    }
}

/// The same for a claim.
#[inline]
fn settle_send(claimed: Result<Sequence, Refusal>) -> Option<Result<Sequence, SendError>> {
    match claimed.map_err(Into::into) {
        Ok(claimed) => Some(Ok(claimed)),
        Err(TrySendError::Full) => None,
        Err(TrySendError::End(end)) => Some(Err(end)),
    }
}

/// When a wait for at most `timeout` ends that begins now. A timeout so long that no clock can tell its end
/// has none.
pub fn end_of(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// The time `timeout` from now. A time that no clock can tell becomes one that is as good as never.
pub fn deadline(timeout: Duration) -> Instant {
    const AN_AGE: Duration = Duration::from_secs(1 << 32);
    end_of(timeout).unwrap_or_else(|| Instant::now() + AN_AGE)
}

/// Calls `done` every 200 us until it says yes: for what no end rings the doorbell for.
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

/// Calls `poll` until it answers, or until `deadline` has passed; `None` then. In between, it waits in this way.
///
/// What `poll` has answered is kept here, so that no strategy can lose it, or make one up.
pub fn until<R>(
    wait: &mut impl Wait,
    side: Side,
    doorbell: &Doorbell,
    deadline: Option<Instant>,
    mut poll: impl FnMut() -> Option<R>,
) -> Option<R> {
    let mut answer = None;
    let mut polled = false;
    loop {
        let _ = wait.until(side, doorbell, deadline, || {
            polled = true;
            if answer.is_none() {
                answer = poll();
            }
            answer.is_some().then_some(())
        });
        if answer.is_some() {
            return answer;
        }
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if is_late && polled {
            return None;
        }
        // The strategy has given up before its time.
        answer = poll();
        polled = true;
        if answer.is_some() || is_late {
            return answer;
        }
        yield_now();
    }
}

/// An end's way to wait, at the doorbell of its ring.
#[derive(Debug)]
pub struct Waiter<W: Wait> {
    shared: Shared,
    own: Side,
    /// A tap's own doorbell. A strategy may write to it, and the ring's is mapped read-only.
    private: DoorbellLine,
    wait: W,
}

impl<W: Wait> Waiter<W> {
    /// The waiter of an end on this side.
    pub fn new(shared: Shared, own: Side) -> Self {
        Self { shared, own, private: DoorbellLine::new(), wait: W::default() }
    }

    /// The same waiter, with another way to wait.
    pub fn waiting<V: Wait>(self, wait: V) -> Waiter<V> {
        let Self { shared, own, private, .. } = self;
        Waiter { shared, own, private, wait }
    }

    /// The ring's shared lines.
    #[inline(always)]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Calls `poll` until it answers.
    pub fn wait<R>(&mut self, mut poll: impl FnMut() -> Option<R>) -> R {
        loop {
            if let Some(answer) = self.until(None, &mut poll) {
                return answer;
            }
        }
    }

    /// As [`until`], at this end's doorbell.
    pub fn until<R>(
        &mut self,
        deadline: Option<Instant>,
        poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        let Self { shared, own, private, wait } = self;
        let doorbell = if *own == Side::Tap { private.view() } else { shared.doorbell() };
        until(wait, *own, &doorbell, deadline, poll)
    }

    /// For a consumer or a tap: calls `take` until it has taken something, or the end of the queue is reached.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn receive<R, E: Into<TryRecvError>>(
        &mut self,
        mut take: impl FnMut() -> Result<R, E>,
    ) -> Result<R, RecvError> {
        self.wait(|| settle_recv(take()))
    }

    /// As [`Waiter::receive`], for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`].
    pub fn receive_within<R, E: Into<TryRecvError>>(
        &mut self,
        timeout: Duration,
        mut take: impl FnMut() -> Result<R, E>,
    ) -> Result<R, RecvTimeoutError> {
        match self.until(end_of(timeout), || settle_recv(take())) {
            Some(taken) => Ok(taken?),
            None => Err(RecvTimeoutError::TimedOut(timeout)),
        }
    }

    /// For a producer: claims `n` sequences, which were refused for this reason, as soon as they are free.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was claimed.
    pub fn claim<T: Trail>(
        &mut self,
        cursor: &mut ProducerCursor<Shared, T>,
        n: u64,
        refusal: Refusal,
    ) -> Result<Sequence, SendError> {
        if let TrySendError::End(end) = refusal.into() {
            return Err(end);
        }
        let _wanting = self.wanting(n);
        self.wait(|| settle_send(cursor.claim(n)))
    }

    /// For a producer: claims `n` sequences as soon as they are free, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`SendTimeoutError`]; nothing was claimed.
    pub fn claim_within<T: Trail>(
        &mut self,
        cursor: &mut ProducerCursor<Shared, T>,
        n: u64,
        timeout: Duration,
    ) -> Result<Sequence, SendTimeoutError> {
        let deadline = end_of(timeout);
        let _wanting = self.wanting(n);
        let claimed = self.until(deadline, || settle_send(cursor.claim(n)));
        Ok(claimed.ok_or(SendTimeoutError::TimedOut(timeout))??)
    }

    /// Says, for observers, that this producer waits for `n` places, until the result is dropped.
    fn wanting(&self, n: u64) -> Wanting {
        self.shared.set_wanted(n);
        Wanting { shared: self.shared.clone() }
    }

    /// Called after this end has changed something. `woke` says whether sleepers on the other side were woken:
    /// then the strategy is told.
    #[inline(always)]
    pub fn changed(&self, woke: bool) {
        if woke {
            self.rung();
        }
    }

    #[cold]
    #[inline(never)]
    fn rung(&self) {
        self.wait.rung(self.own.opposite());
    }

    /// For a producer: frees the slot of a consumer, dead or alive, and says whether there was one.
    ///
    /// # Safety
    ///
    /// As for [`roster::evict`].
    pub unsafe fn evict(&self, consumer: &ConsumerInfo) -> bool {
        // SAFETY: the caller says so.
        let evicted = unsafe { roster::evict(&self.shared, consumer) };
        // The consumer may be alive after all, and wait for a descriptor.
        self.changed(evicted);
        evicted
    }
}

/// While it lives, observers see that the producer waits. It is dropped also where a strategy panics.
#[derive(Debug)]
#[must_use]
struct Wanting {
    shared: Shared,
}

impl Drop for Wanting {
    fn drop(&mut self) {
        self.shared.set_wanted(0);
    }
}
