//! A reader that nobody waits for: it copies, then asks whether the copy can be trusted.

use core::ops::Deref;

use common::sync::mutant;
use common::{Sequence, fence, ordering};

use crate::control::{CLOSED, Control};
use crate::roster::{Ring, Start, oldest, start_of};
use crate::sequencer::{Nothing, Run};

/// A tap's place in the ring. It writes nothing that others see.
///
/// `received + lost` is the number of messages published since it began, once it has caught up.
#[derive(Debug)]
pub struct TapCursor<C: Deref<Target = Control>> {
    control: C,
    ring: Ring,
    next: Sequence,
    known: Sequence,
    received: u64,
    lost: u64,
}

impl<C: Deref<Target = Control>> TapCursor<C> {
    /// A tap that begins at `start`.
    pub fn new(control: C, ring: Ring, start: Start) -> Self {
        let next = start_of(&control, ring, start);
        Self { control, ring, next, known: next, received: 0, lost: 0 }
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

    /// Says, after the messages of `run` have been copied, how many of the first of them cannot be
    /// trusted, because the producer may have been writing there; and moves on.
    #[inline]
    pub fn confirm(&mut self, run: Run) -> u64 {
        // edge: reserve -> overwrite. If a word that we copied was written in a later lap, this
        // fence makes visible that the place had been reserved before.
        fence!("tap-fence", Acquire);
        let oldest = oldest(&self.control, self.ring);
        let mut torn = 0;
        if run.first.is_before(oldest) && !mutant("skip-tap-confirm") {
            torn = oldest.since(run.first).min(run.len);
        }
        self.next = run.first.plus(run.len);
        self.received += run.len - torn;
        self.lost += torn;
        if torn > 0 {
            self.skip();
        }
        torn
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

    /// How many messages are published that it has neither received nor lost.
    pub fn lag(&self) -> u64 {
        self.control.published().since(self.next)
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
            self.skip();
        }
        Ok(())
    }

    /// Jumps over what is overwritten, and further: to the middle of what is left, because the
    /// oldest message would be gone before it was copied.
    #[cold]
    fn skip(&mut self) {
        // edge: publish -> observe
        let order = ordering!("tap-skip-acquire", Acquire);
        self.known = Sequence::new(self.control.head.published.load(order));
        let oldest = oldest(&self.control, self.ring);
        let target = if oldest.is_before(self.known) {
            oldest.plus(self.known.since(oldest) / 2)
        } else {
            self.known
        };
        if self.next.is_before(target) {
            self.lost += target.since(self.next);
            self.next = target;
        }
    }
}
