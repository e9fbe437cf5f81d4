//! What Day 4 adds: messages that take more than one sequence.
//!
//! On Day 3 each sequence is one message, so a consumer takes as many as it asks for. Day 4's sequences
//! count bytes, and only a message's header tells how many of them the message takes. So a consumer there
//! looks at what there is, measures it, and takes as much as it has measured.

use common::sync::{Ordering, mutant};
use common::{Sequence, fence};

use crate::control::Claim;
use crate::group::MemberCursor;
use crate::landing::Landing;
use crate::link::Link;
use crate::pace::EmptyPace;
use crate::sequencer::{ConsumerCursor, Cursor, Run, Unavailable};
use crate::tap::TapCursor;

/// A consumer that measures what it takes.
pub trait Measured: Cursor {
    /// Takes the first part of what there is, as long as `measure` says: the sequences are this
    /// consumer's to read until it releases them. Where `measure` says 0, nothing is taken, and the run
    /// is empty.
    ///
    /// `measure` sees all that there is, and may read it. But what a member of a group sees, another
    /// member may take meanwhile, and then the producer may overwrite it. So `measure` reads atomic
    /// words. Its answer counts only if no other member was faster; otherwise it is asked again.
    ///
    /// # Errors
    ///
    /// Why there is nothing to take: [`Unavailable`].
    fn take_by(&mut self, measure: impl FnMut(Run) -> u64) -> Result<Run, Unavailable>;

    /// Keeps only the first `len` sequences of the run taken last, so that the others come again. Only a
    /// consumer that is [exclusive](Cursor::EXCLUSIVE) can do this. For a member it does nothing: what a
    /// member has claimed goes to no other.
    fn truncate(&mut self, len: u64);
}

impl<C: Link> Measured for ConsumerCursor<C> {
    #[inline]
    fn take_by(&mut self, mut measure: impl FnMut(Run) -> u64) -> Result<Run, Unavailable> {
        let all = self.available()?;
        Ok(self.lend(measure(all)))
    }

    #[inline]
    fn truncate(&mut self, len: u64) {
        self.keep_first(len);
    }
}

impl<C: Link> ConsumerCursor<C> {
    /// The same consumer, following the producer at another distance: a look that finds fewer than `few`
    /// sequences was too early, and the next one waits for so many turns of a busy wait.
    #[must_use]
    pub fn chasing(mut self, few: u64, turns: u32) -> Self {
        self.pace = EmptyPace::new(few, turns);
        self
    }
}

impl<C: Link> Measured for MemberCursor<C> {
    #[inline]
    fn take_by(&mut self, mut measure: impl FnMut(Run) -> u64) -> Result<Run, Unavailable> {
        loop {
            let run = self.claim_by(&mut measure)?;
            if run.len > 0 || self.is_holding() || is_unclaimed(self, run.first) {
                return Ok(run);
            }
        }
    }

    fn truncate(&mut self, _: u64) {}
}

/// Whether no member has claimed what begins here. Where one has, the words that were measured may be
/// another message's by now.
#[inline]
fn is_unclaimed<C: Link>(member: &MemberCursor<C>, first: Sequence) -> bool {
    // edge: reserve -> torn. If a word that we measured was written in a later lap,
    // this fence makes visible the claim that the producer saw before it wrote.
    fence!("measure-fence", Acquire);
    let now = Claim::from_bits(member.claimed().load(Ordering::Relaxed)).end(first);
    now == first || mutant("skip-measure-recheck")
}

impl<C: Link, L: Landing> TapCursor<C, L> {
    /// Says whether the copy of one message, which took this run, can be trusted. Moves on past the message,
    /// or to where messages can be had.
    #[inline]
    pub fn confirm_one(&mut self, run: Run) -> bool {
        if self.torn(run) > 0 {
            // The header of a torn message does not tell where the message ends: the next mark does.
            // If there is no mark yet, the next look says so.
            let _ = self.skip();
            return false;
        }
        self.advance(run, 1, 0);
        true
    }
}
