//! Who has which consumer slot: joining, leaving, evicting; [`list`] for observers.

mod list;

use crate::link::LeaseError;
use core::ptr::NonNull;
use core::time::Duration;

use common::process::{Origin, forks};
#[cfg(not(loom))]
use common::sync::Arc;
use common::sync::{AtomicU64, Ordering, mutant};
use common::{Capacity, OsError, Sequence, fence, ordering};

use crate::control::{
    Claim, ConsumerSlot, Control, GroupLine, HOLDS, HOLDS_END, NAME_BYTES, ORPHANED, SlotState,
    SlotUse,
};
use crate::doorbell;
use crate::landing::Landing;
use crate::link::{Lease, Link, role_of};
#[cfg(not(loom))]
use crate::outlook::Station;
use crate::recovery::{self, Death, Inheritance, Survivors};
use crate::rooms::{Page, Residence};
use crate::sequencer::Run;

use list::lag_of;
pub use list::{
    ConsumerInfo, ConsumerKind, GroupInfo, dead, groups, list, list_with_lives, living,
};
pub(crate) use list::{info, patience};

/// Where a consumer begins to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that is sure to be still there.
    Oldest,
    /// With the next message to be published.
    #[default]
    Latest,
}

/// What a consumer joins as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinAs<'a> {
    /// It sees every message.
    Broadcast,
    /// It sees every message that it is fast enough for, and is told how many it missed.
    Lossy,
    /// It sees every message, and is evicted when it has held the producer back for so long.
    Evictable {
        /// How long.
        after: Duration,
    },
    /// It shares the messages with the other members of the group of this name.
    Member {
        /// 1 to [`NAME_BYTES`] bytes.
        group: &'a str,
        /// Whether the group is to hold the producer back also while it has no member.
        holds: bool,
        /// Whether the producer is to wait, when it has ended, until the group has acknowledged that. Such a group holds
        /// the producer back also while it has no member.
        holds_end: bool,
    },
}

/// The flags of a group that holds the producer back like this. One that holds the end keeps its place until then.
fn flags_of(holds: bool, holds_end: bool) -> u64 {
    match (holds, holds_end) {
        (_, true) => HOLDS | HOLDS_END,
        (true, false) => HOLDS,
        (false, false) => 0,
    }
}

impl JoinAs<'_> {
    /// What its slot is in use for.
    pub(crate) fn usage(&self) -> SlotUse {
        match self {
            Self::Broadcast => SlotUse::Broadcast,
            Self::Lossy => SlotUse::Lossy,
            Self::Evictable { .. } => SlotUse::Evictable,
            Self::Member { .. } => SlotUse::Member,
        }
    }
}

/// A consumer that wants a slot.
#[derive(Clone, Copy, Debug)]
pub struct JoinRequest<'a> {
    /// What it joins as.
    pub role: JoinAs<'a>,
    /// Where it begins. For a group its first member decides, if the ring does not know the group's place, or
    /// has overwritten it.
    pub start: Start,
    /// The process it runs in.
    pub owner: u32,
    /// A short text for the operator; what goes beyond [`NAME_BYTES`] bytes is cut off.
    pub label: &'a str,
}

/// A slot that a consumer has taken, and the first sequence that it is promised.
#[derive(Debug)]
pub struct Registration {
    pub(crate) slot: usize,
    pub(crate) state: SlotState,
    pub(crate) first: Sequence,
    pub(crate) capacity: Capacity,
    origin: Origin,
    forks: u64,
    /// The slot's lines, in the control that the cursor keeps.
    line: NonNull<ConsumerSlot>,
    /// The page of a consumer that has one of its own, which the cursor keeps, too.
    page: Option<NonNull<Page>>,
    /// Its cursor, and how many messages it missed: in the slot's lines or in the page.
    place: (NonNull<AtomicU64>, NonNull<AtomicU64>),
    hold: Option<Hold>,
    /// What the last member in the slot had claimed when it died, and not released.
    pub(crate) inherited: Option<Run>,
    /// Who that was.
    forebear: Option<Box<Obituary>>,
    /// Where the consumer's slot is, for its outlooks.
    #[cfg(not(loom))]
    station: Arc<Station>,
}

/// What a slot says of the consumer that has it.
#[derive(Debug)]
struct Obituary {
    owner: u64,
    label: String,
    since: u64,
}

impl Obituary {
    fn of(line: &ConsumerSlot) -> Self {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        Self { owner: load(&line.owner), label: line.label.load(), since: load(&line.since) }
    }

    fn write(&self, line: &ConsumerSlot) {
        line.owner.store(self.owner, Ordering::Relaxed);
        line.label.store(&self.label);
        line.since.store(self.since, Ordering::Relaxed);
    }
}

/// In a slot's owner, beside the process, which has died: a member that had taken over from it has left since. Nobody
/// has died since then.
const PASSED_ON: u64 = 1 << 32;

/// Whether what the dead member in this slot held was passed on by one that has left.
pub(crate) fn is_passed_on(control: &Control, slot: usize) -> bool {
    control.slot(slot).owner.load(Ordering::Relaxed) & PASSED_ON != 0
}

// SAFETY: the line is all atomics, and the cursor keeps the control that it lies in.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

/// What the kernel knows of a consumer: dropped in this order.
#[derive(Debug)]
struct Hold {
    _watch: Lease,
    _lease: Lease,
}

/// Why there is no place for a newcomer.
#[derive(Debug)]
pub enum NoSlot {
    /// All slots are taken.
    Consumers,
    /// Every group line belongs to a group that has members, or holds the producer back.
    Groups,
    /// The kernel gave no lease.
    Lease(LeaseError),
    /// The shared cursors say what cannot be: nothing is promised.
    Corrupt {
        /// The first sequence that was to be promised.
        next: u64,
        /// What the producer is said to have reserved.
        found: u64,
        /// What the ring has room for.
        capacity: u64,
    },
}

/// What a consumer has to know of a ring to join it.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    /// How many messages it holds.
    pub capacity: Capacity,
    /// The sequence of the first message ever.
    pub first: Sequence,
}

/// Takes a free slot, and enters the roster. The producer may publish all the while.
///
/// # Errors
///
/// [`NoSlot`].
///
/// # Safety
///
/// The caller holds the ring's lock: no other consumer joins meanwhile.
pub unsafe fn join(
    link: &dyn Link,
    ring: Ring,
    landing: &dyn Landing,
    request: &JoinRequest<'_>,
) -> Result<Registration, NoSlot> {
    let control: &Control = link;
    let (slot, before, lease) = match free_slot(link) {
        Err(NoSlot::Consumers) => {
            if let Some(heir) = heir(link, ring, request) {
                return Ok(heir);
            }
            // What nobody waits for keeps no newcomer out.
            recovery::give_up_all(link);
            free_slot(link)?
        }
        found => found?,
    };
    let begin = start_of(control, ring, landing, request.start);
    let (place, state) = move_in(control, slot, before, request, begin)?;
    let hold = Hold { _watch: link.watch(role_of(slot)), _lease: lease };
    // edge: join -> gate. A producer that sees the new state no longer sees that the slot's last consumer was dying.
    control.slot(slot).state.store(state.bits(), Ordering::Release);
    // edge: join -> gate. The slot is written before the generation that tells of it.
    control.roster.generation.fetch_add(1, ordering!("join-gate-release", Release));
    let settled = if request.role == JoinAs::Lossy {
        // It is promised nothing.
        Some(begin)
    } else {
        settle(control, ring, landing, request.start, slot, &place)
    };
    let Some(first) = settled else {
        let corrupt = corrupt(control, ring, &place);
        free(control, slot, state);
        return Err(corrupt);
    };
    if let Some((group, _)) = place.group {
        control.group(group).base.store(first.get(), Ordering::Relaxed);
    }
    // The producer may sleep because it saw our cursor, or the group's, where it was before; or because
    // there was no consumer.
    if !mutant("skip-join-ring") {
        doorbell::wake(&control.doorbell.producer);
    }
    Ok(Registration::new(control.slot(slot), slot, state, first, ring.capacity, hold))
}

/// Where there is no other room: a new member takes the slot of a dead one of its group that held messages, and
/// these with it.
fn heir(link: &dyn Link, ring: Ring, request: &JoinRequest<'_>) -> Option<Registration> {
    let control: &Control = link;
    let JoinAs::Member { group: name, holds, holds_end } = request.role else { return None };
    let group = control.groups().position(|line| line.name.load() == name)?;
    let Inheritance { slot, run, lease } = recovery::inherit(link, group, None, ring.capacity)?;
    let GroupLine { claimed, base, flags, .. } = control.group(group);
    flags.fetch_or(flags_of(holds, holds_end), Ordering::Relaxed);
    let forebear = Some(Box::new(Obituary::of(control.slot(slot))));
    let (state, hold) = take_over(link, slot, lease, |line| describe(line, request));
    let claim = Claim::from_bits(claimed.load(Ordering::Relaxed));
    let first = claim.end(control.published());
    base.store(first.get(), Ordering::Relaxed);
    let line = control.slot(slot);
    let registration = Registration::new(line, slot, state, first, ring.capacity, hold);
    Some(Registration { inherited: Some(run), forebear, ..registration })
}

/// Takes the slot of a dead member, whose lease this is, for a member of the same group that `describe` describes.
fn take_over(
    link: &dyn Link,
    slot: usize,
    lease: Lease,
    describe: impl FnOnce(&ConsumerSlot),
) -> (SlotState, Hold) {
    let control: &Control = link;
    let line = control.slot(slot);
    describe(line);
    let hold = Hold { _watch: link.watch(role_of(slot)), _lease: lease };
    let state = SlotState::from_bits(line.state.load(Ordering::Relaxed)).next(SlotUse::Member);
    line.state.store(state.bits(), Ordering::Relaxed);
    (state, hold)
}

/// A free slot, its state, and its lease: without that no slot is given to a new consumer, because the last one
/// may be alive.
fn free_slot(link: &dyn Link) -> Result<(usize, SlotState, Lease), NoSlot> {
    let control: &Control = link;
    let mut refused = NoSlot::Consumers;
    // The dead are asked for only where there is no other room.
    for buries in [false, true] {
        for (slot, line) in control.slots().enumerate() {
            if buries {
                recovery::bury(link, slot);
            }
            // edge: leave -> join. The slot's last consumer read, and moved its cursor, before we write the
            // slot. The producer may see only us in the slot, and learns of that through us.
            // (The lease, which the last consumer lets go of after that, says so, too.)
            let state = || SlotState::from_bits(line.state.load(Ordering::Acquire));
            if state().usage() != SlotUse::Free {
                continue;
            }
            match link.lease(role_of(slot)) {
                Ok(lease) if state().usage() == SlotUse::Free => {
                    return Ok((slot, state(), lease));
                }
                Ok(_) => {}
                Err(error) => refused = NoSlot::Lease(error),
            }
        }
    }
    Err(refused)
}

/// Why a new consumer found no place that it can be promised.
fn corrupt(control: &Control, ring: Ring, place: &Place<'_>) -> NoSlot {
    let found = control.head.reserved.load(Ordering::Relaxed);
    let next = place.sequence(place.word.load(Ordering::Relaxed)).get();
    NoSlot::Corrupt { next, found, capacity: ring.capacity.get() }
}

/// Where a new consumer's place in the ring is kept.
struct Place<'a> {
    word: &'a AtomicU64,
    /// Its group, and whether the producer knew the group before it came.
    group: Option<(usize, bool)>,
    /// A sequence near the place.
    near: Sequence,
}

impl Place<'_> {
    /// The place that this word says.
    fn sequence(&self, bits: u64) -> Sequence {
        match self.group {
            Some(_) => Claim::from_bits(bits).end(self.near),
            None => Sequence::new(bits),
        }
    }

    /// The word that says this place.
    fn bits(&self, sequence: Sequence) -> u64 {
        if self.group.is_some() { Claim::nobodys(sequence).bits() } else { sequence.get() }
    }
}

/// Writes who the new consumer is, and where it begins. Returns the state that its slot will have; the caller
/// writes that.
fn move_in<'a>(
    control: &'a Control,
    slot: usize,
    before: SlotState,
    request: &JoinRequest<'_>,
    begin: Sequence,
) -> Result<(Place<'a>, SlotState), NoSlot> {
    let line = control.slot(slot);
    describe(line, request);
    // edge: release -> overwrite. A producer that does not know yet that the slot has a new consumer takes
    // this cursor for the last one's. So this store has to say, too, that the last one's reads are done.
    // (The models do not miss it since slots have leases; it costs nothing.)
    let order = Ordering::Release;
    match request.role {
        JoinAs::Broadcast | JoinAs::Lossy | JoinAs::Evictable { .. } => {
            line.cursor.store(begin.get(), order);
            let place = Place { word: &line.cursor, group: None, near: begin };
            Ok((place, before.next(request.role.usage())))
        }
        JoinAs::Member { group, holds, holds_end } => {
            let group = find_group(control, group, begin)?;
            let GroupLine { claimed, base, flags, .. } = control.group(group);
            let near = Sequence::new(base.load(Ordering::Relaxed));
            let held = flags.load(Ordering::Relaxed) & HOLDS != 0;
            flags.fetch_or(flags_of(holds, holds_end), Ordering::Relaxed);
            line.group.store(group as u64, Ordering::Relaxed);
            line.cursor.store(begin.opposite().get(), order);
            let state = before.next(SlotUse::Member);
            recovery::begin(line, state, near);
            let place = Place { word: claimed, group: Some((group, held)), near };
            Ok((place, state))
        }
    }
}

/// Writes, for the operator, who the consumer is.
fn describe(line: &ConsumerSlot, request: &JoinRequest<'_>) {
    let order = Ordering::Relaxed;
    line.owner.store(u64::from(request.owner), order);
    line.label.store(request.label);
    line.missed.store(0, order);
    let after = if let JoinAs::Evictable { after } = request.role { after } else { Duration::ZERO };
    line.policy.store(u64::try_from(after.as_micros()).unwrap_or(u64::MAX), order);
    line.since.store(now(), order);
}

/// Seconds since 1970.
#[cfg(not(loom))]
fn now() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A model has no clock.
#[cfg(loom)]
fn now() -> u64 {
    0
}

/// How often a new consumer looks for a place that it can be promised. Once it is in the roster, the producer
/// can overrun it only with what was reserved before.
const SETTLE_TRIES: usize = 64;

/// Finds the first sequence that a new consumer, which is in the roster now, can be promised. `None` if what
/// is reserved has nothing to do with what is published.
fn settle(
    control: &Control,
    ring: Ring,
    landing: &dyn Landing,
    start: Start,
    slot: usize,
    place: &Place<'_>,
) -> Option<Sequence> {
    for _ in 0..SETTLE_TRIES {
        // edge: reserve <-> join. Either the producer sees us in the roster before it writes further,
        // or we see here how far it may write, and begin after that.
        fence!("join-fence", SeqCst);
        let found = place.word.load(Ordering::Relaxed);
        let first = place.sequence(found);
        if mutant("skip-join-verify") || !first.is_before(oldest(control, ring)) {
            return Some(first);
        }
        // The producer reserves before it asks the gate. So a group that it waits for may look overrun,
        // and is not. While the group has another member, or holds its place, the producer knows the
        // group and waits for it. We are in the roster: so it stays even if the other member leaves now.
        if place.group.is_some_and(|(group, held)| held || has_others(control, group, slot)) {
            return Some(first);
        }
        // Another member may be claiming from the same word; then the next round looks again.
        let moved = place.bits(start_of(control, ring, landing, start));
        let _ = place.word.compare_exchange(found, moved, Ordering::Relaxed, Ordering::Relaxed);
    }
    None
}

/// Whether the group has a member in a slot other than `own`.
fn has_others(control: &Control, group: usize, own: usize) -> bool {
    let slots = control.slots().enumerate();
    let mut others = slots.filter(|&(slot, _)| slot != own).map(|(_, line)| line);
    !mutant("skip-join-others") && others.any(|line| is_member(control, line, group))
}

pub(crate) fn is_member(control: &Control, line: &ConsumerSlot, group: usize) -> bool {
    let state = SlotState::from_bits(line.state.load(Ordering::Relaxed));
    state.usage() == SlotUse::Member && control.group_of(line) == group
}

impl Registration {
    fn new(
        line: &ConsumerSlot,
        slot: usize,
        state: SlotState,
        first: Sequence,
        capacity: Capacity,
        hold: Hold,
    ) -> Self {
        let place = (NonNull::from(&line.cursor), NonNull::from(&line.missed));
        let (origin, line) = (Origin::here(), NonNull::from(line));
        let (forks, hold, page) = (forks(), Some(hold), None);
        let (inherited, forebear) = (None, None);
        Self {
            slot,
            state,
            first,
            capacity,
            origin,
            forks,
            line,
            page,
            place,
            hold,
            inherited,
            forebear,
            #[cfg(not(loom))]
            station: Station::new(slot, state),
        }
    }

    /// Where the consumer's slot is, for its outlooks.
    #[cfg(not(loom))]
    pub(crate) fn station(&self) -> &Arc<Station> {
        &self.station
    }

    /// The registration of a guest, which its host has made: see [`rooms`](crate::rooms). `watch` is what the kernel
    /// is to do when its process dies. `None` if the residence was taken already.
    pub fn of_guest(
        control: &Control,
        residence: &Residence,
        capacity: Capacity,
        watch: Lease,
    ) -> Option<Self> {
        let slot = residence.slot();
        let (state, first) = residence.take()?;
        let line = control.slots().nth(slot)?;
        // Its page says that its process is alive.
        let hold = Hold { _watch: watch, _lease: Box::new(()) };
        let page = residence.page();
        let place = (NonNull::from(&page.place.cursor), NonNull::from(&page.place.missed));
        let this = Self::new(line, slot, state, first, capacity, hold);
        Some(Self { page: Some(NonNull::from(page)), place, ..this })
    }

    /// Where its cursor is.
    #[inline(always)]
    pub(crate) fn cursor<'a>(&self, _: &'a Control) -> &'a AtomicU64 {
        // SAFETY: it lies in this control, or in a page that the cursor keeps with it.
        unsafe { self.place.0.as_ref() }
    }

    /// Where it says how many messages it has missed.
    pub(crate) fn missed<'a>(&self, _: &'a Control) -> &'a AtomicU64 {
        // SAFETY: as above.
        unsafe { self.place.1.as_ref() }
    }

    /// The first sequence that this consumer is promised: it will see every message from here on
    /// (a member: its group will).
    pub fn first(&self) -> Sequence {
        self.first
    }

    /// The number of its slot.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// The slot's lines.
    #[inline(always)]
    pub(crate) fn line<'a>(&self, _: &'a Control) -> &'a ConsumerSlot {
        // SAFETY: the line lies in this control: the constructor of each cursor demands it.
        unsafe { self.line.as_ref() }
    }

    /// Whether the slot still belongs to the consumer that took it, and this is its process.
    #[inline(always)]
    pub(crate) fn is_current(&self, control: &Control) -> bool {
        let state = self.line(control).state.load(Ordering::Relaxed);
        (state ^ self.state.bits()) | (forks() ^ self.forks) == 0
    }

    /// Whether messages that were lent, and have been read, were this consumer's all the while.
    #[inline]
    pub fn confirms(&self, control: &Control) -> bool {
        // edge: evict -> confirm. If a word that we read was written after the eviction, this fence makes visible the
        // eviction, which the producer saw before it wrote.
        fence!("confirm-fence", Acquire);
        self.is_current(control) || mutant("skip-confirm")
    }

    /// Whether this process is a child that was forked from the one that took the slot.
    pub(crate) fn is_forked(&self) -> bool {
        forks() != self.forks
    }

    /// The state that its slot has while it is this consumer's.
    pub fn state(&self) -> u64 {
        self.state.bits()
    }

    /// Frees the slot. It does nothing in a child that was forked from the process that took the slot.
    pub fn leave(&mut self, control: &Control) {
        if !self.origin.is_here() || self.hold.is_none() {
            return;
        }
        if let Some(page) = self.page {
            // SAFETY: the cursor keeps it.
            unsafe { page.as_ref() }.leave();
            self.hold = None;
            return;
        }
        if self.state.usage() == SlotUse::Member && self.is_current(control) {
            recovery::flush(control, self.slot);
        }
        if !free(control, self.slot, self.state) {
            free(control, self.slot, self.state.evicted());
        }
        self.hold = None;
    }

    /// Lets go of the lease, and leaves everything else as it is. So does the host of a guest that has its page.
    pub fn let_go(&mut self) {
        self.hold = None;
    }

    /// Leaves before what it has taken over from a dead member is done: the slot is the dead member's again, and what
    /// it held goes to another one. It does nothing in a child that was forked from the process that took the slot.
    pub(crate) fn pass_on(&mut self, control: &Control) {
        if !self.origin.is_here() || self.hold.is_none() {
            return;
        }
        if let Some(forebear) = self.forebear.take() {
            let owner = forebear.owner | PASSED_ON;
            Obituary { owner, ..*forebear }.write(self.line(control));
        }
        self.let_go();
        control
            .group(control.group_of(control.slot(self.slot)))
            .flags
            .fetch_or(ORPHANED, Ordering::Relaxed);
        doorbell::wake(&control.doorbell.consumers);
    }

    /// Takes over the slot of a dead member of the same group, whose lease this is, and leaves its own.
    pub(crate) fn move_to(&mut self, link: &dyn Link, slot: usize, lease: Lease) {
        let control: &Control = link;
        let (old, new) = (control.slot(self.slot), control.slot(slot));
        self.forebear = Some(Box::new(Obituary::of(new)));
        let (state, hold) = take_over(link, slot, lease, |_| {
            Obituary { since: now(), ..Obituary::of(old) }.write(new);
        });
        self.leave(control);
        (self.slot, self.state, self.hold) = (slot, state, Some(hold));
        #[cfg(not(loom))]
        self.station.move_to(slot, state);
        self.line = NonNull::from(new);
        self.place = (NonNull::from(&new.cursor), NonNull::from(&new.missed));
    }
}

/// Takes the slot from a consumer that may be alive; says whether it has taken it.
///
/// If the consumer is dead, this is [`evict_dead`]: what a dead member holds [waits](Burial::Waits) for another one. If
/// it lives, the messages that it has not read, or has claimed
/// for its group, are given up. It learns of its eviction at its next call, and its slot is given to no other before
/// it has left or died. Nothing happens if it has left since it was listed, or was listed for another ring.
///
/// # Safety
///
/// The consumer does not read what it has borrowed: from now on the producer overwrites messages that it has
/// as `&[T]`.
pub unsafe fn evict(link: &dyn Link, consumer: &ConsumerInfo) -> bool {
    if let Ok(burial) = evict_dead(link, consumer) {
        return burial == Burial::Freed;
    }
    turn_out(link, consumer.slot, consumer.state)
}

/// Takes the slot from a consumer that is alive.
pub(crate) fn turn_out(link: &dyn Link, slot: usize, state: SlotState) -> bool {
    let evicted = set_state(link, slot, state, state.evicted());
    if evicted {
        // It may be asleep.
        link.wake_consumers();
    }
    evicted
}

/// What has become of the slot of a consumer that is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "what a dead member held may still hold the producer back"]
pub enum Burial {
    /// It is free.
    Freed,
    /// It is kept: what the dead member had claimed and not released waits for another member of its group. One that
    /// lives takes it over by itself. If there will be none, forget the group: then it is given up.
    Waits {
        /// The group's name.
        group: String,
        /// How many messages (in a ring of records: bytes).
        held: u64,
    },
    /// Nothing: the consumer has left since it was listed, or was listed for another ring.
    Gone,
}

/// Frees the slot of a consumer that is dead. What a dead member of a group had claimed goes to another member, and
/// keeps the slot until then.
///
/// # Errors
///
/// [`EvictError`].
pub fn evict_dead(link: &dyn Link, consumer: &ConsumerInfo) -> Result<Burial, EvictError> {
    let control: &Control = link;
    let state =
        || control.slots().nth(consumer.slot).map(|line| line.state.load(Ordering::Relaxed));
    let is_listed = || state() == Some(consumer.state.bits());
    if consumer.ring != control.identity() || !is_listed() {
        return Ok(Burial::Gone);
    }
    let slot = consumer.slot;
    let death = match recovery::try_bury(link, slot) {
        Ok(death) => death,
        Err(error) => refused(slot, error)?,
    };
    match death {
        Some(Death {
            consumer: ConsumerInfo { kind: ConsumerKind::Member { group }, .. },
            held,
        }) if held > 0 => Ok(Burial::Waits { group, held }),
        Some(_) => Ok(Burial::Freed),
        None if !is_listed() => Ok(Burial::Gone),
        None if link.is_dying(slot) => Err(EvictError::Dying { slot }),
        None => Err(EvictError::Alive { slot }),
    }
}

/// Why a consumer was not evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvictError {
    /// It is alive, as the kernel knows.
    #[error(
        "the consumer in slot {slot} is alive: stop its process first, or evict it by force (fanout evict \
         --force), which costs it the messages that it has not read"
    )]
    Alive {
        /// Its slot.
        slot: usize,
    },
    /// It is dying, or another process is just freeing its slot.
    #[error("the consumer in slot {slot} is dying, or its slot is just being freed: try again")]
    Dying {
        /// Its slot.
        slot: usize,
    },
    /// The system did not let this process ask, or write the slot.
    #[error(
        "the consumer in slot {slot} is perhaps dead, but {call} failed: {errno}; let this process open more files, or \
         run fanout evict as the user who owns the queue"
    )]
    System {
        /// Its slot.
        slot: usize,
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: OsError,
    },
}

/// The system may have given no lease. If it is busy, another end was faster: that one buries the consumer, or has
/// taken its slot over.
#[cfg(not(loom))]
fn refused(slot: usize, error: LeaseError) -> Result<Option<Death>, EvictError> {
    match error {
        LeaseError::System { call, errno, .. } => Err(EvictError::System { slot, call, errno }),
        _ => Ok(None),
    }
}

/// A model has no system that refuses.
#[cfg(loom)]
fn refused(_: usize, _: LeaseError) -> Result<Option<Death>, EvictError> {
    Ok(None)
}

pub(crate) fn free(control: &Control, slot: usize, state: SlotState) -> bool {
    set_state(control, slot, state, state.freed())
}

/// Moves a slot on from one state to the next, if it has that state, and tells the producer.
fn set_state(control: &Control, slot: usize, state: SlotState, next: SlotState) -> bool {
    // edge: leave -> gate, leave -> join. This consumer's reads are done before it leaves.
    let order = ordering!("leave-gate-release", Release);
    let Some(line) = control.slots().nth(slot) else { return false };
    let changed =
        line.state.compare_exchange(state.bits(), next.bits(), order, Ordering::Relaxed).is_ok();
    if changed {
        // edge: join -> gate. Leaving, too, is told by the generation.
        control.roster.generation.fetch_add(1, ordering!("leave-roster-release", Release));
        if !mutant("skip-leave-ring") {
            doorbell::wake(&control.doorbell.producer);
        }
    }
    changed
}

/// What has become of a group that was to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgetting {
    /// It is forgotten.
    Done,
    /// No group has this name.
    Unknown,
    /// A member of it is alive.
    Living,
    /// A member of it is dying, or is being buried at this moment: look again.
    Dying,
}

/// Forgets the place of a group that has no living member, and gives up what its dead members hold. So the group no
/// longer holds the producer back, and its next member begins anew.
///
/// # Safety
///
/// As for [`join`].
pub unsafe fn forget(link: &dyn Link, group: &str) -> Forgetting {
    let control: &Control = link;
    let known = |line: &GroupLine| !line.name.is_empty() && line.name.load() == group;
    let Some(index) = control.groups().position(known) else { return Forgetting::Unknown };
    match recovery::wind_up(link, index) {
        Survivors::None => {}
        Survivors::Dying => return Forgetting::Dying,
        Survivors::Living => return Forgetting::Living,
    }
    // In this order: a process that is killed in between leaves a group that holds nobody back. One without a name
    // could not be forgotten by anybody else.
    control.group(index).flags.store(0, Ordering::Relaxed);
    control.group(index).name.store("");
    // edge: join -> gate
    control.roster.generation.fetch_add(1, ordering!("leave-roster-release", Release));
    doorbell::wake(&control.doorbell.producer);
    Forgetting::Done
}

/// Whether a group has yet to acknowledge the end of a queue that has ended.
pub(crate) fn holds_end(control: &Control) -> bool {
    control.groups().any(|line| line.flags.load(Ordering::Relaxed) & HOLDS_END != 0)
}

/// The oldest sequence that the producer does not overwrite before it looks at the roster again.
pub fn oldest(control: &Control, ring: Ring) -> Sequence {
    let reserved = Sequence::new(control.head.reserved.load(Ordering::Relaxed));
    if reserved.since(ring.first) <= ring.capacity.get() {
        ring.first
    } else {
        reserved.minus(ring.capacity.get())
    }
}

fn start_of(control: &Control, ring: Ring, landing: &dyn Landing, start: Start) -> Sequence {
    let mark = match start {
        Start::Latest => None,
        Start::Oldest => landing.at_or_after(oldest(control, ring)),
    };
    mark.map_or_else(|| control.published(), |mark| mark.sequence)
}

/// The line of the group of this name. A group keeps its line when its last member leaves; a new group gets
/// one that begins at `begin`.
fn find_group(control: &Control, name: &str, begin: Sequence) -> Result<usize, NoSlot> {
    let has_members = with_members(control);
    if let Some(known) = control.groups().position(|line| line.name.load() == name) {
        return Ok(known);
    }
    let index = spare_group(control, &has_members).ok_or(NoSlot::Groups)?;
    let line = control.group(index);
    // In this order: a process that is killed in between leaves no line with this name and another's place.
    line.name.store("");
    line.flags.store(0, Ordering::Relaxed);
    line.redelivered.store(0, Ordering::Relaxed);
    line.base.store(begin.get(), Ordering::Relaxed);
    line.claimed.store(Claim::nobodys(begin).bits(), Ordering::Relaxed);
    line.name.store(name);
    Ok(index)
}

/// Which of the groups have members.
fn with_members(control: &Control) -> Vec<bool> {
    let mut has_members = vec![false; control.consumers()];
    for line in control.slots() {
        // edge: leave -> join. A line that its last member has left is ours to write.
        let state = SlotState::from_bits(line.state.load(Ordering::Acquire));
        if state.usage() == SlotUse::Member {
            has_members[control.group_of(line)] = true;
        }
    }
    has_members
}

/// The line for a new group: one that no group has had, or else that of the group that is furthest behind. A
/// group that has members, or holds the producer back, keeps its line.
fn spare_group(control: &Control, has_members: &[bool]) -> Option<usize> {
    let holds = |line: &GroupLine| line.flags.load(Ordering::Relaxed) & HOLDS != 0;
    let rank = |line: &GroupLine| {
        let lag = lag_of(control, line.base.load(Ordering::Relaxed));
        (!line.name.is_empty(), core::cmp::Reverse(lag))
    };
    let lines = control.groups().enumerate();
    let spare = lines.filter(|&(index, line)| !has_members[index] && !holds(line));
    spare.min_by_key(|(_, line)| rank(line)).map(|(index, _)| index)
}

/// Whether a group may be called that: 1 to [`NAME_BYTES`] bytes, no NUL.
pub fn is_group_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len()) && !name.contains('\0')
}
