//! Consumers that compete: each message goes to exactly one member of a group.

use core::ptr::NonNull;

use common::sync::{AtomicU64, Ordering, may_die, mutant, spin_loop};
use common::{Sequence, ordering};

use crate::control::{Claim, GroupLine, HOLDS_END, ORPHANED};
use crate::doorbell;
use crate::link::Link;
use crate::recovery;
use crate::roster::Registration;
use crate::sequencer::{Cursor, Run, Unavailable, Watcher, gone, observe, out_of_range};

/// A member's end.
///
/// The members share one word, `claimed`. A member announces in its own cursor what it is about to
/// try, then moves `claimed` forward. So a producer that sees the claim also sees whose it is. A member
/// with nothing in hand parks its cursor, so that it does not gate the producer.
#[derive(Debug)]
pub struct MemberCursor<C: Link> {
    control: C,
    registration: Registration,
    group: usize,
    /// The group's line, in the control that this cursor keeps.
    line: NonNull<GroupLine>,
    /// The last claim that this member has won, and its end.
    own: (Claim, Sequence),
    /// Whether no other member has claimed between this member's last two claims. Then it goes by its own claim,
    /// and does not read the group's first: if another member was faster after all, the exchange fails.
    is_alone: bool,
    watcher: Watcher,
    /// How many claims of other members stand in the log.
    turn: usize,
    /// What was taken over last from a member that had died.
    redelivered: Run,
    /// What had been published at our last look.
    known: Sequence,
    /// What we have claimed and not yet released.
    held: Run,
    /// How much of it, from its begin on, was taken.
    taken: u64,
}

// SAFETY: the line is all atomics, and lies in the control that the cursor keeps.
unsafe impl<C: Link + Send> Send for MemberCursor<C> {}
// SAFETY: as above.
unsafe impl<C: Link + Sync> Sync for MemberCursor<C> {}

impl<C: Link> MemberCursor<C> {
    /// The member of this registration, which [`roster::join`](crate::roster::join) gave out.
    ///
    /// # Safety
    ///
    /// The registration is with this control, and no other cursor uses it.
    pub unsafe fn new(control: C, registration: Registration) -> Self {
        doorbell::attach(&control.doorbell.producer);
        let group = control.group_of(control.slot(registration.slot));
        // One that took its slot from a dead member begins with what that member held.
        let (known, nothing) = (registration.first, Run { first: registration.first, len: 0 });
        let held = registration.inherited.unwrap_or(nothing);
        let line = NonNull::from(control.group(group));
        Self {
            control,
            registration,
            group,
            line,
            own: (Claim::nobodys(known), known),
            is_alone: false,
            watcher: Watcher::default(),
            turn: 0,
            redelivered: held,
            known,
            held,
            taken: 0,
        }
    }

    /// Waits for a successor where its producer has died.
    #[must_use]
    pub fn following(mut self, follows: bool) -> Self {
        self.watcher.follows = follows;
        self
    }

    /// Moves the cursor, unless the slot is another's by now; says whether it has.
    #[inline(always)]
    fn set_cursor(&self, cursor: Sequence, order: Ordering) -> bool {
        let is_current = self.registration.is_current(&self.control);
        if is_current || mutant("skip-registration-check") {
            self.registration.line(&self.control).cursor.store(cursor.get(), order);
        }
        is_current
    }

    /// The group's word: everything before it is claimed.
    #[inline]
    pub(crate) fn claimed(&self) -> &AtomicU64 {
        // SAFETY: it lies in the control that this cursor keeps.
        &unsafe { self.line.as_ref() }.claimed
    }

    /// The group's claim, as a member sees it that knows what is published.
    #[inline(always)]
    pub(crate) fn claim(&self) -> Claim {
        // edge: claim -> log. An end that sees a claim sees its winner's intent.
        Claim::from_bits(self.claimed().load(ordering!("claim-seen-acquire", Acquire)))
    }

    /// Whether it holds a claim that it has not released.
    #[inline]
    pub(crate) fn is_holding(&self) -> bool {
        self.held.len > 0
    }

    /// Says that it holds nothing before `cursor`, and wakes a producer that waits for that; says whether it did. `None`
    /// if the slot is another's by now.
    #[inline(always)]
    fn release_before(&mut self, cursor: Sequence) -> Option<bool> {
        // edge: release -> overwrite
        let is_current = self.set_cursor(cursor, ordering!("member-release-release", Release));
        let woke = !mutant("skip-park-ring") && doorbell::wake(self.control.producer_word());
        is_current.then_some(woke)
    }

    /// Releases everything: a parked cursor does not gate the producer.
    #[inline(always)]
    fn park(&mut self) -> Option<bool> {
        (self.held.len, self.taken) = (0, 0);
        self.release_before(self.known.opposite())
    }

    /// Releases the first `len` sequences of what it has taken.
    #[inline(always)]
    fn release_some(&mut self, len: u64) -> Option<bool> {
        self.taken -= len;
        self.held = Run { first: self.held.first.plus(len), len: self.held.len - len };
        if self.is_holding() { self.release_before(self.held.first) } else { self.park() }
    }

    /// What there is from the group's claim on: one message or more, and at most a lap of them.
    #[inline(always)]
    fn unclaimed(&mut self) -> Result<(Claim, Run), Unavailable> {
        let (mut claim, mut first) = self.own;
        if !self.is_alone {
            claim = self.claim();
            first = claim.end(self.known);
        }
        while !first.is_before(self.known) {
            self.known = observe(&self.control, &self.registration, first)?;
            // Between the two loads the others may have gone on for a lap, and more. So the claim is read
            // once more: one that is read after `known` lies at most a lap before it.
            if !mutant("skip-claim-reload") {
                claim = self.claim();
                first = claim.end(self.known);
            }
            self.watcher.vigil.end();
        }
        let run = Run { first, len: self.known.since(first) };
        if run.len > self.registration.capacity.get() {
            if self.is_alone {
                // Other members have gone on meanwhile.
                self.is_alone = false;
                return self.unclaimed();
            }
            return Err(out_of_range(&self.control, &self.registration, first, self.known));
        }
        Ok((claim, run))
    }

    /// There is nothing to claim. Asks, now and then, whether a dead member has left something, and whether the
    /// producer is alive.
    #[cold]
    fn in_vain(&mut self, why: Unavailable) -> Option<Unavailable> {
        match why {
            Unavailable::Empty => {}
            // What a dead member has left is older than the end.
            Unavailable::Closed | Unavailable::Aborted => return self.unless_inherited(why),
            _ => return Some(why),
        }
        let flags = self.control.group(self.group).flags.load(Ordering::Relaxed);
        let is_due = self.watcher.vigil.in_vain();
        if (flags & ORPHANED != 0 || is_due) && self.inherit() {
            return None;
        }
        // What we know may be old: the others have claimed all that was published since.
        let next = self.claim().end(self.known);
        match self.watcher.after_nothing(&self.control, next, is_due) {
            Unavailable::Empty => Some(Unavailable::Empty),
            end => self.unless_inherited(end),
        }
    }

    /// Why there is nothing, unless a dead member has left something.
    fn unless_inherited(&mut self, why: Unavailable) -> Option<Unavailable> {
        if self.inherit() { None } else { Some(why) }
    }

    /// Takes over what a dead member of the group held, if there is one; says whether there was. A member that holds
    /// messages takes over nothing: it would lose them.
    pub fn inherit(&mut self) -> bool {
        if self.is_holding() || !self.registration.is_current(&self.control) {
            return false;
        }
        let (own, lap) = (Some(self.registration.slot), self.registration.capacity);
        let Some(estate) = recovery::inherit(&self.control, self.group, own, lap) else {
            return false;
        };
        self.registration.move_to(&self.control, estate.slot, estate.lease);
        (self.held, self.taken, self.turn, self.is_alone) = (estate.run, 0, 0, false);
        self.redelivered = estate.run;
        true
    }

    /// Says that this group knows how the queue has ended, and that the producer need not wait for it
    /// ([`JoinOptions::hold_end`](crate::JoinOptions::hold_end)). Before the queue has ended, this does nothing.
    pub fn acknowledge_end(&self) {
        if self.control.is_closed() && self.registration.is_current(&self.control) {
            self.control.group(self.group).flags.fetch_and(!HOLDS_END, Ordering::Relaxed);
        }
    }

    /// Ends as a killed process does: the kernel lets go of its lease, and all its words stay as they are.
    pub fn die(mut self) {
        self.registration.let_go();
    }

    /// Whether the message at this sequence, which this member has taken, was claimed before by a member that died.
    pub fn is_redelivered(&self, sequence: Sequence) -> bool {
        sequence.since(self.redelivered.first) < self.redelivered.len
    }

    /// Whether what this member took last was claimed before by a member that died. No run begins in what was
    /// claimed before and ends behind it.
    pub fn redelivered(&self) -> bool {
        // What it has released lies before what it holds.
        let released = u64::from(self.taken == 0);
        self.is_redelivered(self.held.first.minus(released))
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
        // Whether the cursor stands where we lost a claim: there it gates the producer.
        let mut gates = false;
        loop {
            if self.is_holding() {
                return self.again(measure);
            }
            let (claim, all) = match self.unclaimed() {
                Ok(unclaimed) => unclaimed,
                Err(why) => {
                    self.park();
                    match self.in_vain(why) {
                        Some(why) => return Err(why),
                        None => continue,
                    }
                }
            };
            let run = first_part(all, &mut measure);
            if run.len == 0 {
                // Where another member has claimed it, and the producer has overwritten it, there may be no message:
                // the next look goes by the group's claim.
                self.is_alone = false;
                self.park();
                return Ok(run);
            }
            if self.try_claim(claim, run) {
                (self.held, self.taken) = (run, run.len);
                if gates && !mutant("skip-lost-ring") {
                    // The claim has moved the cursor on. A producer that saw it where it stood before
                    // may sleep because of it.
                    doorbell::wake(&self.control.doorbell.producer);
                }
                return Ok(run);
            }
            if !self.registration.is_current(&self.control) {
                return Err(gone(&self.registration));
            }
            (gates, self.is_alone) = (true, false);
            spin_loop();
        }
    }

    /// Tries to claim `run`, which comes after `before`; says whether it was faster than the other members.
    #[inline(always)]
    fn try_claim(&mut self, before: Claim, run: Run) -> bool {
        let end = run.first.plus(run.len);
        // What was published when it looked last may be much. One that was evicted since, or is a copy in a forked child,
        // must not take it from the others: nobody would wait for it.
        if !self.registration.is_current(&self.control) && !mutant("skip-registration-check") {
            return false;
        }
        let (slot, line) = (self.registration.slot, self.registration.line(&self.control));
        let follows_other = before.is_by_other(slot);
        if follows_other && !mutant("skip-testify") {
            recovery::testify(&self.control, slot, self.turn, before);
        }
        may_die("testified");
        if !mutant("skip-intent") {
            line.intent.store(end.get(), Ordering::Relaxed);
        }
        may_die("intent");
        // edge: release -> overwrite. A producer that sees this cursor no longer sees that the
        // last run was released, so this store has to say that too.
        if !mutant("skip-member-cursor") {
            line.cursor.store(run.first.get(), ordering!("member-cursor-release", Release));
        }
        // edge: claim -> gate, claim -> log. A producer that sees the claim sees the cursor written before it.
        // A member that replaces the claim sees the intent. An end that sees it replaced sees the log.
        may_die("announced");
        let claim = Claim::by(slot, end);
        let won = self.claimed().compare_exchange(
            before.bits(),
            claim.bits(),
            ordering!("claim-gate-release", Release),
            Ordering::Relaxed,
        );
        may_die("tried");
        if won.is_err() {
            return false;
        }
        line.won.store(end.get(), Ordering::Relaxed);
        may_die("won");
        (self.own, self.is_alone) = ((claim, end), !follows_other);
        if follows_other {
            self.turn += 1;
        }
        true
    }

    /// Takes once more from what it holds: the caller forgot a batch, or never got it.
    #[cold]
    fn again(&mut self, mut measure: impl FnMut(Run) -> u64) -> Result<Run, Unavailable> {
        if !self.registration.is_current(&self.control) {
            return Err(gone(&self.registration));
        }
        let run = first_part(self.held, &mut measure);
        self.taken = run.len;
        Ok(run)
    }
}

/// The first part of `all`, as long as `measure` says.
#[inline]
fn first_part(all: Run, measure: &mut impl FnMut(Run) -> u64) -> Run {
    let len = measure(all);
    assert!(len <= all.len, "a run of {} was measured as {len}", all.len);
    Run { len, ..all }
}

impl<C: Link> Cursor for MemberCursor<C> {
    const EXCLUSIVE: bool = false;

    #[inline(always)]
    fn take(&mut self, most: u64) -> Result<Run, Unavailable> {
        self.claim_by(|all| most.min(all.len))
    }

    #[inline(always)]
    fn release(&mut self) -> bool {
        self.release_some(self.taken).unwrap_or(false)
    }

    #[inline(always)]
    fn release_copied(&mut self) -> Result<bool, Unavailable> {
        self.release_some(self.taken).ok_or_else(|| gone(&self.registration))
    }

    fn release_first(&mut self, len: u64) -> bool {
        assert!(len <= self.taken, "{len} of {} messages were to be given back", self.taken);
        self.release_some(len).unwrap_or(false)
    }

    #[inline(always)]
    fn known(&self) -> Sequence {
        self.known
    }

    fn redelivered(&self) -> bool {
        MemberCursor::redelivered(self)
    }

    fn registration(&self) -> &Registration {
        &self.registration
    }
}

impl<C: Link> Drop for MemberCursor<C> {
    fn drop(&mut self) {
        let has_inherited = self.is_holding() && self.is_redelivered(self.held.first);
        if !has_inherited || !self.registration.is_current(&self.control) {
            self.registration.leave(&self.control);
            return;
        }
        // It leaves before it is done with what a dead member has left.
        self.registration.pass_on(&self.control);
    }
}
