//! What an observer sees of the roster.
//!
//! It is for display. An end that decides what it may read or write looks again, with an ordering that has a name. Here
//! only this is ordered: a cursor is read before what is published, so that no consumer seems to be ahead of its producer.

use common::sync::Ordering;
use common::{Capacity, Sequence};
use day2::Role;

use super::is_member;
use crate::control::{
    Claim, ConsumerSlot, Control, GroupLine, HOLDS, HOLDS_END, SlotState, SlotUse,
};
use crate::link::{Link, role_of};
use crate::policy::Policy;
use core::time::Duration;

/// A group as an observer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// How many members it has now.
    pub members: usize,
    /// Messages published that none of its members has claimed. More than the ring holds: its place
    /// has been overwritten.
    pub lag: u64,
    /// Whether it holds the producer back also while it has no member.
    pub holds: bool,
    /// Whether a producer that has ended is not drained before a member of the group has acknowledged the end.
    pub holds_end: bool,
    /// How many messages (in a ring of records: bytes) went to a second member, because the first had died.
    pub redelivered: u64,
}

/// The groups whose place the ring knows.
pub fn groups(control: &Control) -> Vec<GroupInfo> {
    let lines = control.groups().enumerate();
    let known = lines.filter(|(_, line)| !line.name.is_empty());
    let info = |(index, line): (usize, &GroupLine)| GroupInfo {
        name: line.name.load(),
        members: control.slots().filter(|slot| is_member(control, slot, index)).count(),
        lag: claim_lag(control, line),
        holds: line.flags.load(Ordering::Relaxed) & HOLDS != 0,
        holds_end: line.flags.load(Ordering::Relaxed) & HOLDS_END != 0,
        redelivered: line.redelivered.load(Ordering::Relaxed),
    };
    known.map(info).collect()
}

/// What a registered consumer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerKind {
    /// A broadcast consumer.
    Broadcast,
    /// A member of a group.
    Member {
        /// The group's name.
        group: String,
    },
}

/// A registered consumer as an observer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// The number of its slot.
    pub slot: usize,
    /// What it is.
    pub kind: ConsumerKind,
    /// The process that it said it runs in.
    pub owner: u32,
    /// The text that it gave itself.
    pub label: String,
    /// Messages published that it has not released: for a member, what its group has not claimed or
    /// what the member has in hand, whichever is older.
    pub lag: u64,
    /// What the producer does when it lags.
    pub policy: Policy,
    /// How many messages it has missed, as it said at its last look. Only a lossy consumer misses any.
    pub missed: u64,
    /// When it took its slot: seconds since 1970.
    pub since: u64,
    /// Whether its process is alive, as far as was asked for.
    pub alive: Option<bool>,
    pub(crate) state: SlotState,
    /// The ring that it was listed for.
    pub(crate) ring: u64,
}

/// The registered consumers, in the order of their slots.
///
/// Each line is read while its owner may be writing it, so a count may be a moment old.
pub fn list(control: &Control) -> Vec<ConsumerInfo> {
    (0..control.consumers()).filter_map(|slot| info(control, slot)).collect()
}

/// The registered consumers, and whether each is alive, as `is_leased` says of its role.
pub fn list_with_lives(control: &Control, is_leased: impl Fn(Role) -> bool) -> Vec<ConsumerInfo> {
    let mut consumers = list(control);
    for consumer in &mut consumers {
        consumer.alive = Some(is_leased(role_of(consumer.slot)));
    }
    consumers
}

/// How many registered consumers are alive.
pub fn living(link: &dyn Link) -> usize {
    list_with_lives(link, |role| link.is_leased(role))
        .iter()
        .filter(|consumer| consumer.alive != Some(false))
        .count()
}

/// How many registered consumers are dead.
pub fn dead(link: &dyn Link) -> usize {
    list_with_lives(link, |role| link.is_leased(role))
        .iter()
        .filter(|consumer| consumer.alive == Some(false))
        .count()
}

/// The consumer in this slot.
pub(crate) fn info(control: &Control, slot: usize) -> Option<ConsumerInfo> {
    let line = control.slot(slot);
    let state = SlotState::from_bits(line.state.load(Ordering::Relaxed));
    // edge: release -> overwrite
    let cursor = lag_of(control, line.cursor.load(Ordering::Acquire));
    let (kind, lag) = match state.usage() {
        SlotUse::Free | SlotUse::Evicted => return None,
        SlotUse::Broadcast | SlotUse::Lossy | SlotUse::Evictable => {
            (ConsumerKind::Broadcast, cursor)
        }
        SlotUse::Member => {
            let line = control.group(control.group_of(line));
            let claimed = claim_lag(control, line);
            (ConsumerKind::Member { group: line.name.load() }, cursor.max(claimed))
        }
    };
    let policy = match state.usage() {
        SlotUse::Lossy => Policy::Lossy,
        SlotUse::Evictable => Policy::EvictAfter(patience(line)),
        _ => Policy::Block,
    };
    let missed = line.missed.load(Ordering::Relaxed);
    let (ring, since) = (control.identity(), line.since.load(Ordering::Relaxed));
    let (owner, label) = (line.owner.load(Ordering::Relaxed) as u32, line.label.load());
    Some(ConsumerInfo {
        slot,
        kind,
        owner,
        label,
        lag,
        policy,
        missed,
        since,
        alive: None,
        state,
        ring,
    })
}

/// How long the producer waits for the evictable consumer of this line.
pub(crate) fn patience(line: &ConsumerSlot) -> Duration {
    Duration::from_micros(line.policy.load(Ordering::Relaxed))
}

impl ConsumerInfo {
    /// Whether the producer waits for it.
    pub fn gates(&self) -> bool {
        self.policy != Policy::Lossy
    }
}

/// How far a group's claims are behind what is published.
fn claim_lag(control: &Control, group: &GroupLine) -> u64 {
    // edge: claim -> gate
    let claim = Claim::from_bits(group.claimed.load(Ordering::Acquire));
    lag_of(control, claim.end(control.published()).get())
}

/// How far a cursor is behind what is published.
pub(super) fn lag_of(control: &Control, cursor: u64) -> u64 {
    let lag = control.published().since(Sequence::new(cursor));
    // Parked, or ahead of what we read a moment ago: nothing in hand.
    if lag > Capacity::MAX { 0 } else { lag }
}
