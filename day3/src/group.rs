//! Consumers that compete: each message goes to exactly one member of a group.

use core::ops::Deref;

use common::sync::{AtomicU64, Ordering, mutant, spin_loop};
use common::{Sequence, ordering};

use crate::control::{Control, SLOTS};
use crate::doorbell;
use crate::roster::Registration;
use crate::sequencer::{Cursor, Run, Unavailable, observe, out_of_range};

/// A member's end.
///
/// The members share one word, `claimed`. A member announces in its own cursor what it is about to
/// try, then moves `claimed` forward. So a producer that sees the claim also sees whose it is. A member
/// with nothing in hand parks its cursor, so that it does not gate the producer.
#[derive(Debug)]
pub struct MemberCursor<C: Deref<Target = Control>> {
    control: C,
    registration: Registration,
    group: usize,
    /// What had been published at our last look.
    known: Sequence,
    /// What we have claimed and not yet released.
    held: Run,
    /// How much of it, from its begin on, was taken.
    taken: u64,
}

impl<C: Deref<Target = Control>> MemberCursor<C> {
    /// The member of this registration, which [`roster::join`](crate::roster::join) gave out.
    ///
    /// # Safety
    ///
    /// The registration is with this control, and no other cursor uses it.
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

    /// The group's word: everything before it is claimed.
    #[inline]
    pub(crate) fn claimed(&self) -> &AtomicU64 {
        &self.control.groups[self.group].claimed
    }

    /// Whether it holds a claim that it has not released.
    #[inline]
    pub(crate) fn is_holding(&self) -> bool {
        self.held.len > 0
    }

    /// Says that it holds nothing before `cursor`, and wakes a producer that waits for that.
    #[inline]
    fn release_before(&mut self, cursor: Sequence) -> bool {
        // edge: release -> overwrite
        self.set_cursor(cursor, ordering!("member-release-release", Release));
        !mutant("skip-park-ring") && doorbell::wake(&self.control.doorbell.producer)
    }

    /// Releases everything: a parked cursor does not gate the producer.
    #[inline]
    fn park(&mut self) -> bool {
        (self.held.len, self.taken) = (0, 0);
        self.release_before(self.known.opposite())
    }

    /// What there is from the group's claim on: one message or more, and at most a lap of them.
    #[inline(always)]
    fn unclaimed(&mut self) -> Result<Run, Unavailable> {
        let claimed = |this: &Self| Sequence::new(this.claimed().load(Ordering::Relaxed));
        let mut first = claimed(self);
        while !first.is_before(self.known) {
            self.known = observe(&self.control, &self.registration, first)?;
            // Between the two loads the others may have gone on for a lap, and more. So the claim is read
            // once more: one that is read after `known` lies at most a lap before it.
            if !mutant("skip-claim-reload") {
                first = claimed(self);
            }
        }
        let run = Run { first, len: self.known.since(first) };
        if run.len > self.registration.capacity.get() {
            return Err(out_of_range(&self.control, &self.registration, first, self.known));
        }
        Ok(run)
    }

    /// Claims the first part of what there is, as long as `measure` says. Where it says 0, nothing is claimed.
    ///
    /// `measure` looks at what other members may claim meanwhile. Where one of them was faster, the answer does
    /// not count, and `measure` is asked again.
    #[inline(always)]
    pub(crate) fn claim_by(
        &mut self,
        mut measure: impl FnMut(Run) -> u64,
    ) -> Result<Run, Unavailable> {
        if self.is_holding() {
            return Ok(self.again(measure));
        }
        // Whether the cursor stands where we lost a claim: there it gates the producer.
        let mut gates = false;
        loop {
            let all = self.unclaimed().inspect_err(|_| {
                self.park();
            })?;
            let run = first_part(all, &mut measure);
            if run.len == 0 {
                self.park();
                return Ok(run);
            }
            if self.try_claim(run) {
                (self.held, self.taken) = (run, run.len);
                if gates && !mutant("skip-lost-ring") {
                    // The claim has moved the cursor on. A producer that saw it where it stood before
                    // may sleep because of it.
                    doorbell::wake(&self.control.doorbell.producer);
                }
                return Ok(run);
            }
            gates = true;
            spin_loop();
        }
    }

    /// Tries to claim `run`, where the unclaimed messages begin; says whether it was faster than the other
    /// members.
    #[inline(always)]
    fn try_claim(&mut self, run: Run) -> bool {
        // edge: release -> overwrite. A producer that sees this cursor no longer sees that the
        // last run was released, so this store has to say that too.
        if !mutant("skip-member-cursor") {
            self.set_cursor(run.first, ordering!("member-cursor-release", Release));
        }
        // edge: claim -> gate. A producer that sees the claim sees the cursor written before it.
        let won = self.claimed().compare_exchange(
            run.first.get(),
            run.first.plus(run.len).get(),
            ordering!("claim-gate-release", Release),
            Ordering::Relaxed,
        );
        won.is_ok()
    }

    /// Takes once more from what it holds: the caller forgot a batch, or never got it.
    #[cold]
    fn again(&mut self, mut measure: impl FnMut(Run) -> u64) -> Run {
        let run = first_part(self.held, &mut measure);
        self.taken = run.len;
        run
    }
}

/// The first part of `all`, as long as `measure` says.
#[inline]
fn first_part(all: Run, measure: &mut impl FnMut(Run) -> u64) -> Run {
    let len = measure(all);
    assert!(len <= all.len, "a run of {} was measured as {len}", all.len);
    Run { len, ..all }
}

impl<C: Deref<Target = Control>> Cursor for MemberCursor<C> {
    const EXCLUSIVE: bool = false;

    #[inline(always)]
    fn take(&mut self, most: u64) -> Result<Run, Unavailable> {
        self.claim_by(|all| most.min(all.len))
    }

    #[inline]
    fn release(&mut self) -> bool {
        self.release_first(self.taken)
    }

    #[inline]
    fn release_first(&mut self, len: u64) -> bool {
        assert!(len <= self.taken, "{len} of {} messages were to be given back", self.taken);
        self.taken -= len;
        self.held = Run { first: self.held.first.plus(len), len: self.held.len - len };
        if self.is_holding() { self.release_before(self.held.first) } else { self.park() }
    }

    #[inline(always)]
    fn known(&self) -> Sequence {
        self.known
    }

    fn registration(&self) -> &Registration {
        &self.registration
    }
}

impl<C: Deref<Target = Control>> Drop for MemberCursor<C> {
    fn drop(&mut self) {
        self.registration.leave(&self.control);
    }
}
