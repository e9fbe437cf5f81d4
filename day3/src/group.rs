//! Consumers that compete: each message goes to exactly one member of a group.

use core::ops::Deref;

use common::sync::{Ordering, mutant, spin_loop};
use common::{Sequence, fence, ordering};

use crate::control::{Control, SLOTS};
use crate::doorbell;
use crate::roster::Registration;
use crate::sequencer::{Cursor, Run, Unavailable, observe, out_of_range};

/// A member's end.
///
/// The members share one word, `claimed`. A member announces in its own cursor what it is about to
/// try, then moves `claimed` forward; so whoever sees the claim also sees whose it is. With nothing in
/// hand its cursor is parked, and gates nobody.
#[derive(Debug)]
pub struct MemberCursor<C: Deref<Target = Control>> {
    control: C,
    registration: Registration,
    group: usize,
    /// What had been published when we last looked.
    known: Sequence,
    /// What was claimed and not yet released.
    held: Run,
    /// How much of it is lent to the reader.
    taken: u64,
}

impl<C: Deref<Target = Control>> MemberCursor<C> {
    /// The member of this registration, which [`roster::join`](crate::roster::join) gave out.
    ///
    /// # Safety
    ///
    /// The registration is with this control, and nobody else uses it.
    pub unsafe fn new(control: C, registration: Registration) -> Self {
        doorbell::attach(&control.doorbell.producer);
        let group = control.slots[registration.slot].group.load(Ordering::Relaxed) as usize % SLOTS;
        let (known, held) = (registration.first, Run { first: registration.first, len: 0 });
        Self { control, registration, group, known, held, taken: 0 }
    }

    /// Moves the cursor, unless the slot is another's by now.
    #[inline]
    fn set_cursor(&self, cursor: Sequence, order: Ordering) {
        if self.registration.is_current(&self.control) || mutant("skip-registration-check") {
            self.control.slots[self.registration.slot].cursor.store(cursor.get(), order);
        }
    }

    /// Says that it holds nothing before `cursor`, and wakes a producer that waits for that.
    #[inline]
    fn give_back(&mut self, cursor: Sequence) -> bool {
        // edge: release -> overwrite
        self.set_cursor(cursor, ordering!("member-release-release", Release));
        !mutant("skip-park-ring") && doorbell::wake(&self.control.doorbell.producer)
    }

    /// Gives everything back, so that the cursor gates nobody.
    #[inline]
    fn park(&mut self) -> bool {
        (self.held.len, self.taken) = (0, 0);
        self.give_back(self.known.opposite())
    }

    /// What there is from the group's claim on: one message or more, and at most a lap of them.
    #[inline]
    fn unclaimed(&mut self) -> Result<Run, Unavailable> {
        let line = &self.control.groups[self.group];
        let claimed = || Sequence::new(line.claimed.load(Ordering::Relaxed));
        let mut first = claimed();
        while !first.is_before(self.known) {
            self.known = observe(&self.control, &self.registration, first)?;
            // Between the two loads the others may have gone on for a lap, and more. So the claim is read
            // once more: one that is read after `known` lies at most a lap before it.
            if !mutant("skip-claim-reload") {
                first = claimed();
            }
        }
        let run = Run { first, len: self.known.since(first) };
        if run.len > self.registration.capacity.get() {
            return Err(out_of_range(&self.control, &self.registration, first, self.known));
        }
        Ok(run)
    }

    /// Tries to claim the first part of what there is, as long as `measure` says. `None` if another
    /// member was faster.
    #[inline]
    fn try_claim(&mut self, run: Run, measure: &mut impl FnMut(Run) -> u64) -> Option<Run> {
        let len = measure(run);
        assert!(len <= run.len, "a run of {} was measured as {len}", run.len);
        let line = &self.control.groups[self.group];
        if len == 0 {
            // edge: reserve -> torn. If a word that we measured was written in a later lap,
            // this fence makes visible the claim that the producer saw before it wrote.
            fence!("measure-fence", Acquire);
            let now = Sequence::new(line.claimed.load(Ordering::Relaxed));
            let is_ours = now == run.first || mutant("skip-measure-recheck");
            return is_ours.then_some(Run { len: 0, ..run });
        }
        // edge: release -> overwrite. A producer that sees this cursor no longer sees that the
        // last run was released, so this store has to say that too.
        if !mutant("skip-member-cursor") {
            self.set_cursor(run.first, ordering!("member-cursor-release", Release));
        }
        // edge: claim -> gate. A producer that sees the claim sees the cursor written before it.
        let won = line.claimed.compare_exchange(
            run.first.get(),
            run.first.plus(len).get(),
            ordering!("claim-gate-release", Release),
            Ordering::Relaxed,
        );
        won.is_ok().then_some(Run { len, ..run })
    }
}

impl<C: Deref<Target = Control>> Cursor for MemberCursor<C> {
    #[inline]
    fn take_by(&mut self, mut measure: impl FnMut(Run) -> u64) -> Result<Run, Unavailable> {
        if self.held.len > 0 {
            return Ok(self.again(measure));
        }
        // Whether the cursor stands where it gates the producer, and is about to be moved on.
        let mut gates = false;
        loop {
            let run = match self.unclaimed() {
                Ok(run) => run,
                Err(nothing) => {
                    self.park();
                    return Err(nothing);
                }
            };
            if let Some(run) = self.try_claim(run, &mut measure) {
                (self.held, self.taken) = (run, run.len);
                if run.len == 0 {
                    self.park();
                } else if gates && !mutant("skip-lost-ring") {
                    // A producer that saw where the cursor stood before may sleep because of it.
                    doorbell::wake(&self.control.doorbell.producer);
                }
                return Ok(run);
            }
            gates = true;
            spin_loop();
        }
    }

    const EXCLUSIVE: bool = false;

    /// What was claimed is this member's to read, all of it.
    fn truncate(&mut self, _: u64) {}

    #[inline]
    fn release(&mut self) -> bool {
        self.release_first(self.taken)
    }

    #[inline]
    fn release_first(&mut self, len: u64) -> bool {
        assert!(len <= self.taken, "{len} of {} messages were to be given back", self.taken);
        self.taken -= len;
        self.held = Run { first: self.held.first.plus(len), len: self.held.len - len };
        if self.held.len == 0 { self.park() } else { self.give_back(self.held.first) }
    }

    #[inline(always)]
    fn known(&self) -> Sequence {
        self.known
    }

    fn registration(&self) -> &Registration {
        &self.registration
    }
}

impl<C: Deref<Target = Control>> MemberCursor<C> {
    /// What was claimed and not released comes again: a batch was forgotten, or the caller never got it.
    #[cold]
    fn again(&mut self, mut measure: impl FnMut(Run) -> u64) -> Run {
        let len = measure(self.held);
        assert!(len <= self.held.len, "a run of {} was measured as {len}", self.held.len);
        self.taken = len;
        Run { len, ..self.held }
    }
}

impl<C: Deref<Target = Control>> Drop for MemberCursor<C> {
    fn drop(&mut self) {
        self.registration.leave(&self.control);
    }
}
