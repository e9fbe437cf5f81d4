//! A reader that nobody waits for: it copies, then asks whether the copy can be trusted.

use core::ops::Deref;

use common::sync::mutant;
use common::{Sequence, fence, ordering};

use crate::control::{CLOSED, Control};
use crate::landing::{Everywhere, Landing, Mark};
use crate::roster::{Ring, Start, oldest};
use crate::sequencer::{Nothing, Run};

/// A tap's place in the ring. It writes nothing that others see.
///
/// `received + lost` is the number of messages published since it began, once it has caught up.
#[derive(Debug)]
pub struct TapCursor<C: Deref<Target = Control>, L: Landing = Everywhere> {
    control: C,
    ring: Ring,
    landing: L,
    next: Sequence,
    /// How many messages came before the next one, as marks count them.
    number: u64,
    known: Sequence,
    received: u64,
    lost: u64,
}

impl<C: Deref<Target = Control>> TapCursor<C> {
    /// A tap that begins at `start`.
    pub fn new(control: C, ring: Ring, start: Start) -> Self {
        let sequence = match start {
            Start::Latest => control.published(),
            Start::Oldest => oldest(&control, ring),
        };
        let mark = Mark { sequence, number: sequence.get() };
        Self::landing(control, ring, Everywhere, mark)
    }

    /// Says, after the messages of `run` have been copied, how many of the first of them cannot be
    /// trusted, because the producer may have been writing there; and moves on.
    #[inline]
    pub fn confirm(&mut self, run: Run) -> u64 {
        let torn = self.torn(run);
        self.next = run.first.plus(run.len);
        self.number = self.number.wrapping_add(run.len);
        self.received += run.len - torn;
        self.lost += torn;
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

impl<C: Deref<Target = Control>, L: Landing> TapCursor<C, L> {
    /// A tap that begins at this mark, and finds others where it is lapped.
    pub fn landing(control: C, ring: Ring, landing: L, begin: Mark) -> Self {
        let Mark { sequence: next, number } = begin;
        Self { control, ring, landing, next, number, known: next, received: 0, lost: 0 }
    }

    /// Up to `most` messages to copy; what may already have been overwritten is counted as lost.
    ///
    /// # Errors
    ///
    /// [`Nothing::Empty`], [`Nothing::Closed`].
    #[inline]
    pub fn take(&mut self, most: u64) -> Result<Run, Nothing> {
        while self.known == self.next {
            self.look()?;
        }
        Ok(Run { first: self.next, len: most.min(self.known.since(self.next)) })
    }

    /// Says, after the one message that `run` is has been copied, whether the copy can be trusted; and
    /// moves on, past it or to where messages can be had.
    #[inline]
    pub fn confirm_one(&mut self, run: Run) -> bool {
        if self.torn(run) > 0 {
            // Where a torn message ends, nobody knows: the next mark will tell.
            // If it has to be waited for, the next look says so.
            let _ = self.skip();
            return false;
        }
        self.next = run.first.plus(run.len);
        self.number = self.number.wrapping_add(1);
        self.received += 1;
        true
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
    fn look(&mut self) -> Result<(), Nothing> {
        // edge: publish -> observe
        let order = ordering!("tap-observe-acquire", Acquire);
        let published = || Sequence::new(self.control.head.published.load(order));
        let mut known = published();
        if known == self.next {
            // edge: close -> drained
            if self.control.head.state.load(ordering!("tap-drained-acquire", Acquire)) != CLOSED {
                return Err(Nothing::Empty);
            }
            if !mutant("skip-tap-drain-recheck") {
                known = published();
            }
            if known == self.next {
                return Err(Nothing::Closed);
            }
        }
        self.known = known;
        if self.next.is_before(oldest(&self.control, self.ring)) {
            return self.skip();
        }
        Ok(())
    }

    /// Jumps over what is overwritten, and further: to the middle of what is left, because the
    /// oldest message would be gone before it was copied.
    ///
    /// [`Nothing::Empty`] if there is no mark to land on yet: the producer is about to leave one.
    #[cold]
    fn skip(&mut self) -> Result<(), Nothing> {
        // edge: publish -> observe
        let order = ordering!("tap-skip-acquire", Acquire);
        self.known = Sequence::new(self.control.head.published.load(order));
        let oldest = oldest(&self.control, self.ring);
        let target = if oldest.is_before(self.known) {
            oldest.plus(self.known.since(oldest) / 2)
        } else {
            self.known
        };
        let landing = &self.landing;
        let Some(mark) = landing.at_or_after(target).or_else(|| landing.at_or_after(oldest)) else {
            self.known = self.next;
            return Err(Nothing::Empty);
        };
        if self.next.is_before(mark.sequence) {
            self.lost += mark.number.wrapping_sub(self.number);
            (self.next, self.number) = (mark.sequence, mark.number);
        }
        self.known = self.known.later(self.next);
        Ok(())
    }
}

/// How many of the first sequences of `run`, which has just been read, may have been overwritten
/// meanwhile.
#[inline]
pub fn torn(control: &Control, ring: Ring, run: Run) -> u64 {
    // edge: reserve -> overwrite. If a word that we copied was written in a later lap, this fence
    // makes visible that the place had been reserved before.
    fence!("tap-fence", Acquire);
    let oldest = oldest(control, ring);
    if run.first.is_before(oldest) && !mutant("skip-tap-confirm") {
        return oldest.since(run.first).min(run.len);
    }
    0
}
