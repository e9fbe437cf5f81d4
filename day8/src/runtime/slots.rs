//! Who waits for what: one slot for each socket, listener or other descriptor.

use std::task::Waker;
use std::time::{Duration, Instant};

use slab::Slab;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Something to read, or a connection to accept.
    Read,
    /// Room to write.
    Write,
}

/// Who is told.
pub(super) enum Waiter {
    /// A coroutine of this runtime.
    Task(usize),
    /// Anything else: a future that polls others, another executor.
    Waker(Waker),
}

/// One side of a slot.
#[derive(Default)]
struct Interest {
    /// The last try was in vain, and nothing was heard since.
    is_spent: bool,
    waiter: Option<Waiter>,
    deadline: Option<Instant>,
    has_expired: bool,
}

/// A descriptor, or what is like one.
#[derive(Default)]
pub(super) struct Slot {
    read: Interest,
    write: Interest,
    /// The coroutine that reads, if it waits for room to write, too: what was written leaves before an answer is waited for.
    /// The coroutine that writes may be another one.
    flusher: Option<Waiter>,
    /// The other end sends nothing more: reading does not wait again.
    is_read_closed: bool,
    /// It waits for the next request.
    is_between: bool,
}

impl Slot {
    fn side(&mut self, side: Side) -> &mut Interest {
        match side {
            Side::Read => &mut self.read,
            Side::Write => &mut self.write,
        }
    }
}

/// Deadlines are kept with this tolerance.
const TOLERANCE: Duration = Duration::from_millis(20);

/// All slots.
#[derive(Default)]
pub(super) struct Slots {
    slots: Slab<Slot>,
    /// When to look for deadlines that have passed.
    next_sweep: Option<Instant>,
}

impl Slots {
    pub(super) fn insert(&mut self) -> usize {
        self.slots.insert(Slot::default())
    }

    pub(super) fn remove(&mut self, slot: usize) -> Option<Slot> {
        self.slots.try_remove(slot)
    }

    pub(super) fn next_sweep(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// Whether a try may succeed.
    pub(super) fn may(&mut self, slot: usize, side: Side) -> bool {
        let Some(slot) = self.slots.get_mut(slot) else { return true };
        (side == Side::Read && slot.is_read_closed) || !slot.side(side).is_spent
    }

    /// Whether nothing was heard since the last try in vain.
    pub(super) fn is_spent(&mut self, slot: usize, side: Side) -> bool {
        self.slots.get_mut(slot).is_some_and(|slot| slot.side(side).is_spent)
    }

    /// A try was in vain, or took all there was.
    pub(super) fn spend(&mut self, slot: usize, side: Side) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.side(side).is_spent = true;
        }
    }

    /// Says that a try may succeed again; returns the waiter that is to be told.
    pub(super) fn notify(&mut self, slot: usize, side: Side) -> Option<Waiter> {
        let interest = self.slots.get_mut(slot)?.side(side);
        interest.is_spent = false;
        interest.waiter.take()
    }

    /// The coroutine that is to be told, too, if there is room to write.
    pub(super) fn take_flusher(&mut self, slot: usize) -> Option<Waiter> {
        self.slots.get_mut(slot)?.flusher.take()
    }

    pub(super) fn wait_to_flush(&mut self, slot: usize, waiter: Waiter) -> Option<Waiter> {
        match self.slots.get_mut(slot) {
            Some(slot) => slot.flusher.replace(waiter),
            None => Some(waiter),
        }
    }

    /// Says that the other end sends nothing more.
    pub(super) fn read_closed(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.is_read_closed = true;
        }
    }

    /// Has this one told; gives back the one before.
    pub(super) fn wait(
        &mut self,
        slot: usize,
        side: Side,
        waiter: Waiter,
        is_between: bool,
    ) -> Option<Waiter> {
        let Some(slot) = self.slots.get_mut(slot) else { return Some(waiter) };
        if side == Side::Read {
            slot.is_between = is_between;
        }
        slot.side(side).waiter.replace(waiter)
    }

    /// A new wait begins, which is to end at this time.
    pub(super) fn begin(&mut self, slot: usize, side: Side, deadline: Option<Instant>) {
        if let Some(slot) = self.slots.get_mut(slot) {
            let interest = slot.side(side);
            (interest.deadline, interest.has_expired) = (deadline, false);
        }
        if let Some(deadline) = deadline {
            self.next_sweep = Some(self.next_sweep.map_or(deadline, |sweep| sweep.min(deadline)));
        }
    }

    /// Nobody waits any more.
    pub(super) fn end(&mut self, slot: usize, side: Side) -> Option<Waiter> {
        let slot = self.slots.get_mut(slot)?;
        if side == Side::Read {
            slot.is_between = false;
        }
        let interest = slot.side(side);
        (interest.deadline, interest.has_expired) = (None, false);
        interest.waiter.take()
    }

    /// Whether the time of this wait is up.
    pub(super) fn has_expired(&mut self, slot: usize, side: Side) -> bool {
        self.slots.get_mut(slot).is_some_and(|slot| slot.side(side).has_expired)
    }

    /// Finds the waits whose time is up.
    pub(super) fn sweep(&mut self, now: Instant, woken: &mut Vec<Waiter>) {
        if self.next_sweep.is_none_or(|sweep| now < sweep) {
            return;
        }
        let mut next = None;
        for (_, slot) in &mut self.slots {
            let Slot { read, write, flusher, .. } = slot;
            for (interest, besides) in [(read, &mut None), (write, flusher)] {
                let Some(deadline) = interest.deadline else { continue };
                if deadline <= now {
                    (interest.deadline, interest.has_expired) = (None, true);
                    woken.extend(interest.waiter.take());
                    woken.extend(besides.take());
                } else {
                    next = Some(next.map_or(deadline, |next: Instant| next.min(deadline)));
                }
            }
        }
        self.next_sweep = next.map(|next| next.max(now + TOLERANCE));
    }

    /// All that wait for a next request.
    pub(super) fn between(&mut self, woken: &mut Vec<Waiter>) {
        let waiting = self.slots.iter_mut().filter(|(_, slot)| slot.is_between);
        woken.extend(waiting.filter_map(|(_, slot)| slot.read.waiter.take()));
    }
}
