//! Consumers that compete: each message goes to exactly one member of a group.

use core::ops::Deref;

use common::sync::{Ordering, mutant, spin_loop};
use common::{Sequence, fence, ordering};

use crate::control::{Control, SLOTS};
use crate::roster::Seat;
use crate::sequencer::{Cursor, Nothing, Run, look};

/// A member's end.
///
/// The members share one word, `claimed`. A member announces in its own cursor what it is about to
/// try, then moves `claimed` forward; so whoever sees the claim also sees whose it is. With nothing in
/// hand its cursor is parked, and gates nobody.
#[derive(Debug)]
pub struct MemberCursor<C: Deref<Target = Control>> {
    control: C,
    seat: Seat,
    group: usize,
    /// What had been published when we last looked.
    known: Sequence,
}

impl<C: Deref<Target = Control>> MemberCursor<C> {
    /// The member in this seat, which [`roster::join`](crate::roster::join) gave out.
    pub fn new(control: C, seat: Seat) -> Self {
        let group = control.slots[seat.slot].group.load(Ordering::Relaxed) as usize % SLOTS;
        Self { control, seat, group, known: seat.first }
    }

    #[inline]
    fn set_cursor(&self, cursor: Sequence, order: Ordering) {
        self.control.slots[self.seat.slot].cursor.store(cursor.get(), order);
    }
}

impl<C: Deref<Target = Control>> Cursor for MemberCursor<C> {
    #[inline]
    fn take_by(&mut self, mut measure: impl FnMut(Run) -> u64) -> Result<Run, Nothing> {
        let line = &self.control.groups[self.group];
        let mut claimed = Sequence::new(line.claimed.load(Ordering::Relaxed));
        loop {
            if !claimed.is_before(self.known) {
                match look(&self.control, self.seat, claimed) {
                    Ok(known) => self.known = known,
                    // The slot is somebody else's by now, perhaps.
                    Err(Nothing::Evicted) => return Err(Nothing::Evicted),
                    Err(nothing) => {
                        self.release();
                        return Err(nothing);
                    }
                }
            }
            let run = Run { first: claimed, len: self.known.since(claimed) };
            let len = measure(run);
            debug_assert!(len <= run.len);
            if len == 0 {
                // edge: reserve -> overwrite. If a word that we measured was written in a later lap,
                // this fence makes visible the claim that the producer saw before it wrote.
                fence!("measure-fence", Acquire);
                let now = Sequence::new(line.claimed.load(Ordering::Relaxed));
                if now == claimed || mutant("skip-measure-recheck") {
                    self.release();
                    return Ok(Run { len: 0, ..run });
                }
                claimed = now;
                continue;
            }
            // edge: release -> overwrite. A producer that sees this cursor no longer sees that the
            // last run was released, so this store has to say that too.
            if !mutant("skip-member-cursor") {
                self.set_cursor(claimed, ordering!("member-cursor-release", Release));
            }
            // edge: claim -> gate. Whoever sees the claim sees the cursor written before it.
            let won = line.claimed.compare_exchange(
                claimed.get(),
                claimed.plus(len).get(),
                ordering!("claim-gate-release", Release),
                Ordering::Relaxed,
            );
            match won {
                Ok(_) => return Ok(Run { first: claimed, len }),
                Err(now) => claimed = Sequence::new(now),
            }
            spin_loop();
        }
    }

    const ALONE: bool = false;

    /// What was claimed is this member's to read, all of it.
    fn keep(&mut self, _: u64) {}

    #[inline]
    fn release(&mut self) {
        // edge: release -> overwrite
        let order = ordering!("member-release-release", Release);
        self.set_cursor(self.known.opposite(), order);
    }

    fn seat(&self) -> Seat {
        self.seat
    }
}

impl<C: Deref<Target = Control>> Drop for MemberCursor<C> {
    fn drop(&mut self) {
        self.seat.leave(&self.control);
    }
}
