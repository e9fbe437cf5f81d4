//! What a selector knows of each ring.

use common::sync::Ordering;
use day3::outlook::{Outlook, Prospect};
use day5::bridge::Bridge;
use day5::doorbell::Ticket;

/// No consumer releases more between two looks: a cursor that says so was forged, or is another's by now.
const MOST_USED: u64 = 1 << 40;

/// A place for a ring. The generation tells its occupants apart.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) entry: Option<Box<Entry>>,
}

/// A ring, or a bell.
#[derive(Debug)]
pub(super) struct Entry {
    // Declared before the outlook, so dropped first: a thread watches the ring's doorbell.
    pub(super) bridge: Option<Bridge>,
    /// A bell has none.
    pub(super) outlook: Option<Outlook>,
    pub(super) seat: Option<usize>,
    pub(super) is_active: bool,
    pub(super) is_rung: bool,
    /// Whether it is to have a turn although nothing is seen from outside.
    is_due: bool,
    /// Whether what is seen from outside is no reason for a turn: see [`rest`](super::Selector::rest).
    pub(super) rests: bool,
    /// Whether it has had a turn since it was seen to be over.
    knows_end: bool,
    /// For a ring without a seat, while it is idle.
    pub(super) ticket: Option<Ticket>,
    /// How many bytes it may use; less than 0 if it has used more.
    deficit: i64,
    /// How far its consumer had released at the last look.
    seen: u64,
    /// At which turn it last had something.
    last_ready: u64,
}

/// What a visit has found.
pub(super) enum Visit {
    /// It is its turn.
    Turn { bytes: u64, was_rung: bool },
    /// There is nothing.
    Nothing,
    /// There is something, and it has had too much: it may go on after so many rounds.
    Owes { rounds: u64 },
}

impl Entry {
    pub(super) fn new(outlook: Option<Outlook>, seat: Option<usize>) -> Self {
        let seen = outlook.as_ref().map_or(0, Outlook::released);
        Self {
            bridge: None,
            outlook,
            seat,
            is_active: false,
            is_rung: false,
            is_due: false,
            rests: false,
            knows_end: false,
            ticket: None,
            deficit: 0,
            seen,
            last_ready: 0,
        }
    }

    /// Notes that it is looked at from now on; says whether it was not before.
    pub(super) fn activate(&mut self, turns: u64) -> bool {
        let was_idle = !self.is_active;
        if was_idle {
            (self.is_active, self.last_ready, self.ticket) = (true, turns, None);
        }
        was_idle
    }

    /// What its consumer would find that it does not know yet.
    fn prospect(&self) -> Prospect {
        match self.outlook.as_ref().map_or(Prospect::Nothing, Outlook::look) {
            Prospect::Over if self.knows_end => Prospect::Nothing,
            Prospect::Something if self.rests => Prospect::Nothing,
            prospect => prospect,
        }
    }

    /// Whether it is worth a visit.
    pub(super) fn is_ready(&self) -> bool {
        self.is_rung || self.is_due || self.prospect() != Prospect::Nothing
    }

    /// Whether it has had nothing for so many turns.
    pub(super) fn is_tired(&self, turns: u64, empty_turns: u64) -> bool {
        self.outlook.is_some() && turns.wrapping_sub(self.last_ready) >= empty_turns
    }

    /// One look at it, and a quantum more if there is something.
    #[inline]
    pub(super) fn visit(&mut self, quantum: u64, turns: u64) -> Visit {
        self.rests &= !self.is_rung && !self.is_due;
        let prospect = self.prospect();
        self.knows_end &= prospect == Prospect::Nothing;
        match prospect {
            Prospect::Something => {
                self.last_ready = turns;
                self.deficit = self.deficit.saturating_add_unsigned(quantum);
                if self.deficit <= 0 {
                    let rounds = self.deficit.unsigned_abs() / quantum + 1;
                    return Visit::Owes { rounds };
                }
            }
            Prospect::Nothing if !self.is_rung && !self.is_due => {
                // What an empty ring did not use it loses.
                self.deficit = self.deficit.min(0);
                return Visit::Nothing;
            }
            _ => {
                self.knows_end |= prospect == Prospect::Over;
                self.deficit = self.deficit.max(0).saturating_add_unsigned(quantum);
            }
        }
        let Some(outlook) = &self.outlook else {
            // A bell has nothing to look at.
            (self.is_active, self.deficit) = (false, 0);
            return Visit::Turn { bytes: quantum, was_rung: core::mem::take(&mut self.is_rung) };
        };
        if outlook.is_shared() {
            // What the other members have claimed since the last visit is not on its bill.
            self.seen = outlook.released();
        }
        self.is_due = false;
        let was_rung = core::mem::take(&mut self.is_rung);
        Visit::Turn { bytes: self.deficit.unsigned_abs(), was_rung }
    }

    /// Takes what was used since the last time off its budget. What is left over is less than a quantum, unless the
    /// consumer did not use it.
    pub(super) fn settle(&mut self, quantum: u64) {
        let Some(outlook) = &self.outlook else { return };
        let now = outlook.released();
        let used = now.wrapping_sub(self.seen);
        self.seen = now;
        if used <= MOST_USED {
            self.deficit = self.deficit.saturating_sub_unsigned(used);
        }
        self.deficit = self.deficit.min(i64::try_from(quantum).unwrap_or(i64::MAX));
    }

    /// Gives it what it would get in so many rounds, if it is in debt and has something.
    pub(super) fn credit(&mut self, rounds: u64, quantum: u64) {
        if self.deficit <= 0 && self.prospect() == Prospect::Something {
            self.deficit = self.deficit.saturating_add_unsigned(rounds.saturating_mul(quantum));
        }
    }

    /// For an idle ring without a seat: whether somebody has rung at its doorbell.
    pub(super) fn has_rung_at_ring(&self) -> bool {
        let (Some(outlook), Some(ticket)) = (&self.outlook, self.ticket) else { return false };
        outlook.word().load(Ordering::Relaxed) != ticket.word()
    }

    /// In each slice: whether it is worth a visit, whatever its doorbell says.
    pub(super) fn has_work(&mut self) -> bool {
        (self.knows_end, self.rests) = (false, false);
        self.is_due |= self.outlook.as_ref().is_some_and(Outlook::is_producer_dying);
        self.is_ready()
    }

    /// Now and then: whether the producer is dead. The consumer of a group asks itself whether another member has died.
    pub(super) fn has_died(&mut self) -> bool {
        let Some(outlook) = &self.outlook else { return false };
        self.is_due |= outlook.is_shared() || !outlook.is_producer_alive();
        self.is_due
    }
}
