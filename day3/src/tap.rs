//! A reader that the producer does not wait for: it copies, then asks whether the copy can be trusted.

use common::sync::{Ordering, mutant};
use common::{Sequence, fence, ordering};

use crate::control::{Control, Ending, FINISHED};
use crate::doorbell;
use crate::landing::{Everywhere, Landing, Mark};
use crate::link::Link;
use crate::roster::{Registration, Ring, Start};
use crate::sequencer::{Run, Unavailable, Watcher, gone};

/// A tap's place in the ring. It writes nothing into the ring.
///
/// Once the tap has caught up, `received + lost` is the number of messages published since it began.
#[derive(Debug)]
pub struct TapCursor<C: Link, L: Landing = Everywhere> {
    control: C,
    ring: Ring,
    landing: L,
    watcher: Watcher,
    /// Its slot, if the operator is to see it.
    registration: Option<Registration>,
    next: Sequence,
    /// How many messages came before the next one, as marks count them.
    number: u64,
    known: Sequence,
    received: u64,
    lost: u64,
    /// How far beyond the oldest message it went on when it was lapped last.
    jump: u64,
    /// Whether it has caught up since then, or read a lap.
    calm: bool,
    /// How many sequences it has read since then.
    read: u64,
}

/// How far a tap jumps that is lapped again and again, as shares of the ring: at least, and at most.
const JUMP_SHARES: (u64, u64) = (64, 2);

impl<C: Link> TapCursor<C> {
    /// A tap that begins at `start`.
    pub fn new(control: C, ring: Ring, start: Start) -> Self {
        let sequence = match start {
            Start::Latest => control.published(),
            Start::Oldest => intact(&control, ring),
        };
        let mark = Mark { sequence, number: sequence.get() };
        Self::landing(control, ring, Everywhere, mark)
    }

    /// Says, after the messages of `run` have been copied, how many of the first of them cannot be
    /// trusted, because the producer may have been writing there; and moves on.
    #[inline]
    pub fn confirm(&mut self, run: Run) -> u64 {
        let torn = self.torn(run);
        self.advance(run, run.len, torn);
        if torn > 0 {
            // There is always a place to go on.
            let _ = self.skip();
        }
        torn
    }

    /// How many messages are published that it has neither received nor lost.
    pub fn lag(&self) -> u64 {
        self.control.published().since(self.next)
    }
}

impl<C: Link, L: Landing> TapCursor<C, L> {
    /// A tap that begins at this mark. When it is lapped, `landing` finds the mark at which it goes on.
    pub fn landing(control: C, ring: Ring, landing: L, begin: Mark) -> Self {
        let Mark { sequence: next, number } = begin;
        let (received, lost, jump, calm, read) = (0, 0, 0, true, 0);
        let (watcher, known) = (Watcher::default(), next);
        Self {
            control,
            ring,
            landing,
            watcher,
            registration: None,
            next,
            number,
            known,
            received,
            lost,
            jump,
            calm,
            read,
        }
    }

    /// Waits for a successor where its producer has died.
    #[must_use]
    pub fn following(mut self, follows: bool) -> Self {
        self.watcher.follows = follows;
        self
    }

    /// The same tap with a slot: a lossy consumer, which everybody sees.
    ///
    /// # Safety
    ///
    /// The registration is with this control, and no other cursor uses it.
    #[must_use]
    pub unsafe fn registered(mut self, registration: Registration) -> Self {
        doorbell::attach(self.control.producer_word());
        self.registration = Some(registration);
        self.tell();
        self
    }

    /// Its slot, if it has one.
    pub fn registration(&self) -> Option<&Registration> {
        self.registration.as_ref()
    }

    /// Tells the operator how far it is. An end that is looked for in vain makes no use of its slot.
    fn tell(&self) {
        let Some(registration) = &self.registration else { return };
        // Relaxed: nobody decides anything by it.
        registration.cursor(&self.control).store(self.next.get(), Ordering::Relaxed);
        registration.missed(&self.control).store(self.lost, Ordering::Relaxed);
    }

    /// Up to `most` messages to copy; what may already have been overwritten is counted as lost.
    ///
    /// # Errors
    ///
    /// [`Unavailable::Empty`], [`Unavailable::Closed`].
    #[inline]
    pub fn take(&mut self, most: u64) -> Result<Run, Unavailable> {
        while self.known == self.next {
            self.refresh()?;
        }
        Ok(Run { first: self.next, len: most.min(self.known.since(self.next)) })
    }

    /// Moves on past `run`, which holds so many messages, of which so many are torn.
    #[inline]
    pub(crate) fn advance(&mut self, run: Run, messages: u64, torn: u64) {
        self.next = run.first.plus(run.len);
        self.number = self.number.wrapping_add(messages);
        self.received += messages - torn;
        self.lost = self.lost.wrapping_add(torn);
        self.read = self.read.saturating_add(run.len);
        self.calm |= self.read >= self.ring.capacity.get();
    }

    /// How the producer has ended.
    pub fn ending(&self) -> Ending {
        self.control.ending()
    }

    /// [`torn`], for this tap's ring.
    #[inline]
    pub fn torn(&self, run: Run) -> u64 {
        torn(&self.control, self.ring, run)
    }

    /// Messages copied and found good.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Messages that were overwritten before they could be copied.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The next sequence to copy.
    pub fn next(&self) -> Sequence {
        self.next
    }

    #[cold]
    #[inline(never)]
    fn refresh(&mut self) -> Result<(), Unavailable> {
        if let Some(registration) = &self.registration {
            if !registration.is_current(&self.control) {
                return Err(gone(registration));
            }
            self.tell();
        }
        // edge: publish -> observe
        let order = ordering!("tap-observe-acquire", Acquire);
        let published = || Sequence::new(self.control.head.published.load(order));
        let mut known = published();
        if known == self.next {
            // edge: close -> drained
            let state = self.control.head.state.load(ordering!("tap-drained-acquire", Acquire));
            if state == 0 {
                // The tap keeps up again: it jumps no further for having been lapped before.
                self.calm = true;
                let asks = self.watcher.vigil.in_vain();
                return Err(self.watcher.after_nothing(&self.control, self.next, asks));
            }
            if !mutant("skip-tap-drain-recheck") {
                known = published();
            }
            if known == self.next {
                return Err(if state == FINISHED {
                    Unavailable::Closed
                } else {
                    Unavailable::Aborted
                });
            }
        }
        self.watcher.vigil.end();
        self.known = known;
        if self.next.is_before(intact(&self.control, self.ring)) {
            return self.skip();
        }
        self.check()
    }

    /// Jumps over what is overwritten.
    ///
    /// A tap that was lapped once goes on at the oldest message that is whole. If it is lapped again before
    /// it has caught up or read a lap, the oldest message would be overwritten before the tap had copied
    /// it. So it jumps further each time: at most to the middle of what is left.
    ///
    /// [`Unavailable::Empty`] if there is no mark to land on yet: the producer is about to leave one.
    #[cold]
    pub(crate) fn skip(&mut self) -> Result<(), Unavailable> {
        // edge: publish -> observe
        let order = ordering!("tap-skip-acquire", Acquire);
        self.known = Sequence::new(self.control.head.published.load(order));
        let oldest = intact(&self.control, self.ring);
        let target = oldest.plus(self.next_jump(oldest));
        let landing = &self.landing;
        let Some(mark) = landing.at_or_after(target).or_else(|| landing.at_or_after(oldest)) else {
            self.known = self.next;
            return Err(Unavailable::Empty);
        };
        if self.next.is_before(mark.sequence) {
            let missed = mark.number.wrapping_sub(self.number);
            self.lost = self.lost.wrapping_add(missed);
            (self.next, self.number) = (mark.sequence, mark.number);
        }
        if self.next.is_before(oldest) {
            // No mark leads out of what is overwritten: the cursors are not the producer's.
            let (next, found) = (self.next.get(), self.known.get());
            self.known = self.next;
            return Err(Unavailable::Corrupt { next, found, capacity: self.ring.capacity.get() });
        }
        self.known = self.known.later(self.next);
        self.check()
    }

    /// How far beyond the oldest message to go on: further, the more often the tap was lapped.
    fn next_jump(&mut self, oldest: Sequence) -> u64 {
        let lap = self.ring.capacity.get();
        let is_final = self.control.is_closed();
        self.jump = if self.calm || is_final {
            0
        } else {
            (2 * self.jump).max(lap / JUMP_SHARES.0).max(1).min(lap / JUMP_SHARES.1)
        };
        (self.calm, self.read) = (false, 0);
        let left = if oldest.is_before(self.known) { self.known.since(oldest) } else { 0 };
        self.jump.min(left)
    }

    /// Nothing beyond a lap is read, whatever the shared cursors say.
    fn check(&mut self) -> Result<(), Unavailable> {
        let capacity = self.ring.capacity.get();
        if self.known.since(self.next) <= capacity {
            return Ok(());
        }
        let (next, found) = (self.next.get(), self.known.get());
        self.known = self.next;
        Err(Unavailable::Corrupt { next, found, capacity })
    }
}

impl<C: Link, L: Landing> Drop for TapCursor<C, L> {
    fn drop(&mut self) {
        if let Some(registration) = &mut self.registration {
            registration.leave(&self.control);
        }
    }
}

/// The oldest sequence that is whole, and that the producer is not writing over.
///
/// The producer writes nothing that it has not reserved. Nor does it write further beyond what is published
/// than its widest claim. The lower of these two bounds counts.
pub fn intact(control: &Control, ring: Ring) -> Sequence {
    let head = &control.head;
    let capacity = ring.capacity.get();
    // edge: publish -> torn. In this order: a producer that has ended takes the width of its claims back
    // after it has published the last message.
    let widest = head.widest.load(ordering!("widest-acquire", Acquire)).min(capacity);
    let published = Sequence::new(head.published.load(Ordering::Relaxed));
    let reserved = Sequence::new(head.reserved.load(Ordering::Relaxed));
    let (written, first) = (published.plus(widest), ring.first);
    let end = if reserved.is_before(written) { reserved } else { written };
    if end.since(first) <= capacity { first } else { end.minus(capacity) }
}

/// How many of the first sequences of `run`, which has just been read, may have been overwritten
/// meanwhile.
#[inline]
pub fn torn(control: &Control, ring: Ring, run: Run) -> u64 {
    // edge: publish -> torn, reserve -> torn. If a word that we copied was written in a later lap, this
    // fence makes visible what was published and reserved before.
    fence!("tap-fence", Acquire);
    let oldest = intact(control, ring);
    if run.first.is_before(oldest) && !mutant("skip-tap-confirm") {
        return oldest.since(run.first).min(run.len);
    }
    0
}
