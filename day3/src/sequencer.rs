//! The heart: who may touch which sequence.
//!
//! It knows sequences, not messages. The cursors here are generic over how they reach the shared lines
//! (`C`), so that the same source runs over a mapped segment, over the heap, and under loom.

use core::ops::Deref;

use common::sync::{Ordering, mutant, spin_loop};
use common::{Capacity, Sequence, fence, ordering};

use crate::control::{CLOSED, Control};
use crate::gate::Gate;
use crate::landing::Trail;
use crate::roster::Seat;

/// A consumer that has nothing to read: why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    /// Nothing now; there may be something later.
    Empty,
    /// The producer has closed, and everything has been read.
    Closed,
    /// The producer has freed this consumer's slot.
    Evicted,
}

/// A run of sequences that a consumer may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub first: Sequence,
    /// How many.
    pub len: u64,
}

/// What the kinds of registered consumers have in common: take a run, read it, release it.
pub trait Cursor {
    /// Takes the first part of what there is, as long as `measure` says: the sequences are this
    /// consumer's to read until it releases them.
    ///
    /// `measure` sees all that there is, and may read it; but where consumers compete, somebody else
    /// may take it meanwhile, and the producer may overwrite it. So it reads atomic words, and what it
    /// says counts only if nobody else was first; otherwise it is asked again. If it says 0, the run
    /// is empty, and nothing is taken.
    ///
    /// # Errors
    ///
    /// Why there is [`Nothing`].
    fn take_by(&mut self, measure: impl FnMut(Run) -> u64) -> Result<Run, Nothing>;

    /// Up to `most` messages that are this consumer's to read until it releases them.
    ///
    /// # Errors
    ///
    /// Why there is [`Nothing`].
    #[inline]
    fn take(&mut self, most: u64) -> Result<Run, Nothing> {
        self.take_by(|run| most.min(run.len))
    }

    /// Whether nobody else takes from what this consumer sees, so that it may take everything there
    /// is, and find out later how much of it it wants.
    const ALONE: bool;

    /// Keeps only the first `len` sequences of the run taken last, of one that is [alone](Self::ALONE).
    fn keep(&mut self, len: u64);

    /// Gives back the run taken last: its places may be written again.
    fn release(&mut self);

    /// The slot that it sits in, and since when.
    fn seat(&self) -> Seat;
}

/// The producer's end: claims sequences to write, and publishes them.
#[derive(Debug)]
pub struct ProducerCursor<C: Deref<Target = Control>, T: Trail = ()> {
    control: C,
    trail: T,
    capacity: Capacity,
    /// How many sequences beyond the ones asked for are reserved at a time.
    stride: u64,
    /// The next sequence to publish.
    next: Sequence,
    /// Everything before this may be written without asking anybody.
    allowance: Sequence,
    /// What the head line says is reserved.
    reserved: Sequence,
    /// Gate and capacity, as of the last look: nothing from here on may be written.
    limit: Sequence,
    gate: Gate,
}

impl<C: Deref<Target = Control>> ProducerCursor<C> {
    /// The producer of a ring that nobody has produced into; `first` as in [`Control::new`].
    pub fn new(control: C, capacity: Capacity, first: Sequence) -> Self {
        Self::leaving(control, capacity, first, ())
    }
}

impl<C: Deref<Target = Control>, T: Trail> ProducerCursor<C, T> {
    /// The same, leaving a trail of marks.
    pub fn leaving(control: C, capacity: Capacity, first: Sequence, trail: T) -> Self {
        let (next, allowance, reserved, limit) = (first, first, first, first);
        // An eighth of the ring: rare enough to cost nothing, and a tap keeps the other seven.
        let stride = capacity.get() / 8;
        let gate = Gate::default();
        Self { control, trail, capacity, stride, next, allowance, reserved, limit, gate }
    }

    /// The sequence of the next message to be published.
    #[inline]
    pub fn next(&self) -> Sequence {
        self.next
    }

    /// How many messages the ring holds.
    #[inline]
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// The shared lines.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The trail that it leaves.
    #[inline]
    pub fn trail(&mut self) -> &mut T {
        &mut self.trail
    }

    /// The first of `n` sequences that may be written now; `None` if a consumer is in the way.
    ///
    /// `n` is at most the capacity.
    #[inline]
    pub fn claim(&mut self, n: u64) -> Option<Sequence> {
        if self.allowance.since(self.next) >= n || self.extend(n) { Some(self.next) } else { None }
    }

    /// How many of `most` sequences may be written now; 0 if a consumer is in the way.
    #[inline]
    pub fn claim_up_to(&mut self, most: u64) -> u64 {
        let mut n = most.min(self.capacity.get());
        // A claim that fails has looked, and left room for fewer.
        while self.claim(n).is_none() {
            n = self.limit.since(self.next);
        }
        n
    }

    /// Makes the next `n` messages visible; they must have been claimed and written.
    #[inline]
    pub fn publish(&mut self, n: u64) {
        debug_assert!(n <= self.allowance.since(self.next));
        self.next = self.next.plus(n);
        // edge: publish -> observe. Messages are written before the cursor that tells of them.
        let order = ordering!("publish-release", Release);
        self.control.head.published.store(self.next.get(), order);
    }

    /// Tells consumers that nothing more will come.
    pub fn close(&mut self) {
        // edge: close -> drained. What was published stays visible to whoever sees the end.
        self.control.head.state.store(CLOSED, ordering!("close-release", Release));
    }

    /// How far the slowest registered consumer is behind, in messages; 0 with nobody attached.
    pub fn lag(&mut self) -> u64 {
        self.gate.lag(&self.control, self.next, self.capacity)
    }

    /// Raises the allowance to at least `n` beyond `next`; says whether it could.
    #[cold]
    #[inline(never)]
    fn extend(&mut self, n: u64) -> bool {
        debug_assert!(n <= self.capacity.get());
        if self.limit.since(self.next) < n && !self.look(n) {
            return false;
        }
        loop {
            let room = self.limit.since(self.next);
            let target = self.next.plus(room.min(n + self.stride));
            if self.reserved.is_before(target) {
                if !mutant("skip-mark") {
                    self.trail.mark(self.next);
                }
                self.reserved = target;
                self.control.head.reserved.store(target.get(), Ordering::Relaxed);
            }
            // Two edges in one fence.
            // edge: reserve -> overwrite. A tap that copies a word written after this fence sees,
            // after its own fence, that the place was reserved.
            // edge: reserve <-> join. Either we see below that somebody has joined, or the one who
            // joins sees what we have reserved.
            fence!("reserve-fence", SeqCst);
            if mutant("skip-join-recheck") || !self.gate.has_changed(&self.control) {
                self.allowance = target;
                return true;
            }
            if !self.look(n) {
                return false;
            }
        }
    }

    /// Looks at the gate; says whether `n` sequences fit.
    fn look(&mut self, n: u64) -> bool {
        let room = self.capacity.get() - self.lag();
        // What was allowed before stays allowed: whoever has joined since begins after it.
        self.limit = self.next.plus(room).later(self.allowance);
        self.limit.since(self.next) >= n
    }
}

impl<C: Deref<Target = Control>, T: Trail> Drop for ProducerCursor<C, T> {
    fn drop(&mut self) {
        self.close();
    }
}

/// A broadcast consumer's end: sees every sequence, and gates the producer.
#[derive(Debug)]
pub struct ConsumerCursor<C: Deref<Target = Control>> {
    control: C,
    seat: Seat,
    /// The next sequence to read.
    next: Sequence,
    /// How many of the following sequences are lent to the reader.
    taken: u64,
    /// What had been published when we last looked.
    known: Sequence,
    pace: Pace,
    few: u64,
    hold_back: u32,
}

/// How the last look went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// There was nothing: whatever comes next is late already.
    Waiting,
    /// There was something.
    Reading,
    /// There were a few messages, and at once: the producer is at it right now.
    Chasing,
}

/// A look that finds fewer messages than this was too early.
const FEW: u64 = 32;

/// How long one who chases the producer holds back before the next look, in turns of a busy wait.
const HOLD_BACK: u32 = 8;

impl<C: Deref<Target = Control>> ConsumerCursor<C> {
    /// The consumer in this seat, which [`roster::join`](crate::roster::join) gave out.
    pub fn new(control: C, seat: Seat) -> Self {
        let (next, known, pace) = (seat.first, seat.first, Pace::Waiting);
        let (few, hold_back) = (FEW, HOLD_BACK);
        Self { control, seat, next, taken: 0, known, pace, few, hold_back }
    }

    /// The same, chasing the producer another way: one that finds fewer than `few` sequences, and at
    /// once, holds back for `hold_back` turns of a busy wait before it looks again.
    #[must_use]
    pub fn chasing(mut self, few: u64, hold_back: u32) -> Self {
        (self.few, self.hold_back) = (few, hold_back);
        self
    }

    /// The next sequence to read.
    pub fn next(&self) -> Sequence {
        self.next
    }

    /// Reads how far the producer is.
    ///
    /// The head line has to come from the producer's core for it, and the producer's next message
    /// has to fetch it back. A consumer that looks after each message and one that looks after
    /// thirty are two states of the same ring, and the second moves more; so one who chases the
    /// producer lets it get ahead. One who found nothing does not hold back: there latency counts.
    #[cold]
    #[inline(never)]
    fn look(&mut self) -> Result<(), Nothing> {
        if self.pace == Pace::Chasing && cfg!(not(loom)) {
            for _ in 0..self.hold_back {
                spin_loop();
            }
        }
        let known = look(&self.control, self.seat, self.next);
        self.pace = match known {
            Err(_) => Pace::Waiting,
            Ok(known) if known.since(self.next) < self.few && self.pace != Pace::Waiting => {
                Pace::Chasing
            }
            Ok(_) => Pace::Reading,
        };
        self.known = known?;
        Ok(())
    }
}

impl<C: Deref<Target = Control>> Cursor for ConsumerCursor<C> {
    #[inline]
    fn take_by(&mut self, mut measure: impl FnMut(Run) -> u64) -> Result<Run, Nothing> {
        if self.known == self.next {
            self.look()?;
        }
        let run = Run { first: self.next, len: self.known.since(self.next) };
        self.taken = measure(run);
        debug_assert!(self.taken <= run.len);
        Ok(Run { len: self.taken, ..run })
    }

    const ALONE: bool = true;

    #[inline]
    fn keep(&mut self, len: u64) {
        debug_assert!(len <= self.taken);
        self.taken = len;
    }

    #[inline]
    fn release(&mut self) {
        self.next = self.next.plus(self.taken);
        self.taken = 0;
        let slot = &self.control.slots[self.seat.slot];
        // edge: release -> overwrite
        let order = ordering!("release-overwrite-release", Release);
        slot.cursor.store(self.next.get(), order);
    }

    fn seat(&self) -> Seat {
        self.seat
    }
}

impl<C: Deref<Target = Control>> Drop for ConsumerCursor<C> {
    fn drop(&mut self) {
        self.seat.leave(&self.control);
    }
}

/// What is published beyond `next`, or why there is nothing.
#[inline]
pub(crate) fn look(control: &Control, seat: Seat, next: Sequence) -> Result<Sequence, Nothing> {
    // First: what is published may be overwritten before one reads it whom nobody waits for.
    if !seat.is_taken(control) {
        return Err(Nothing::Evicted);
    }
    // edge: publish -> observe
    let order = ordering!("observe-acquire", Acquire);
    let published = || Sequence::new(control.head.published.load(order));
    let known = published();
    if next.is_before(known) {
        return Ok(known);
    }
    // edge: close -> drained
    if control.head.state.load(ordering!("drained-acquire", Acquire)) != CLOSED {
        return Err(Nothing::Empty);
    }
    // The last messages may have come between the first look and the end.
    let known = if mutant("skip-drain-recheck") { known } else { published() };
    if next.is_before(known) { Ok(known) } else { Err(Nothing::Closed) }
}
