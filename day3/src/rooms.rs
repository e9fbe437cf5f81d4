//! Rooms of their own: consumers that can harm nobody but themselves.
//!
//! In an ordinary ring each consumer writes its cursor into control, which all may write. In a ring with private rooms
//! nobody but the producer's process, the *host*, can write control: the kernel sees to that. A consumer there is a
//! *guest*. It has one [`Page`] that it may write, and that only it and the host see.
//!
//! | offset | line | written by |
//! |---:|---|---|
//! | 0 | cursor, messages missed, whether the guest has left | the guest |
//! | 128 | doorbell: whether the guest sleeps, whether the host sleeps, the guest's vital word | both |
//!
//! The host registers a guest on the guest's behalf, and gives it its page, its slot, and the first sequence that it is
//! promised. Whenever the producer is about to look at the gate, it [collects](Rooms::collect): it copies each guest's
//! cursor into the guest's slot in control, if that is a cursor that a consumer can have. A cursor only ever goes
//! forward, and never beyond what is published. A guest whose cursor does anything else loses its slot, and the
//! producer can say [why](Eviction). So gate, roster and recovery only see words that the host wrote.

use core::fmt;
use core::ptr::NonNull;
use core::time::Duration;

use common::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering, mutant};
use common::{Sequence, ordering};
use crossbeam_utils::CachePadded;

use crate::control::{ConsumerSlot, Control, DoorbellLine, SlotState, SlotUse};
use crate::doorbell::{self, ASLEEP, FENCED};
use crate::link::Link;
#[cfg(not(loom))]
use crate::roster::JoinAs;
use crate::roster::{self, ConsumerInfo};

/// What a guest and its host share.
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
pub struct Page {
    pub(crate) place: CachePadded<Place>,
    pub(crate) doorbell: CachePadded<DoorbellLine>,
}

/// What a guest says of itself.
///
/// A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Place {
    /// As [`ConsumerSlot`]'s.
    pub(crate) cursor: AtomicU64,
    /// As [`ConsumerSlot`]'s.
    pub(crate) missed: AtomicU64,
    /// Not 0 once the guest has left.
    pub(crate) left: AtomicU64,
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Place, cursor) == 0);
    assert!(offset_of!(Place, missed) == 8);
    assert!(offset_of!(Place, left) == 16);
    assert!(offset_of!(Page, place) == 0);
    assert!(offset_of!(Page, doorbell) == 128);
    assert!(size_of::<Page>() == 256);
};

impl Page {
    /// A page of a guest that begins at `first`.
    pub fn new(first: Sequence) -> Self {
        let word = AtomicU64::new;
        let place = Place { cursor: word(first.get()), missed: word(0), left: word(0) };
        let doorbell = DoorbellLine::new();
        Self { place: CachePadded::new(place), doorbell: CachePadded::new(doorbell) }
    }

    /// Begins anew, for a guest that begins at `first`.
    pub fn begin_at(&self, first: Sequence) {
        self.place.cursor.store(first.get(), Ordering::Relaxed);
        self.place.left.store(0, Ordering::Relaxed);
    }

    /// The word that says when the guest's process is dying.
    pub fn vital(&self) -> &day2::Vital {
        &self.doorbell.vital
    }

    /// The guest leaves.
    pub(crate) fn leave(&self) {
        // edge: leave -> collect. The guest's reads are done before it leaves.
        self.place.left.store(1, ordering!("guest-leave-release", Release));
        if !mutant("skip-guest-leave-ring") {
            doorbell::wake(&self.doorbell.producer);
        }
    }
}

/// At which byte of its page of memory the [`Page`] of this slot's guest begins. Not all at the same: the pages' lines
/// would fall into the same few places of a cache.
pub const fn offset_of(slot: usize) -> usize {
    slot % 8 * 512
}

/// Where the pages of a ring's guests are, as the host sees them.
pub struct Rooms {
    /// By slot.
    pages: Vec<NonNull<Page>>,
    /// For which state of its slot each page was given out; 0 before the first.
    given: Vec<AtomicU64>,
    /// Of which pages the guests are gone: whatever they go on writing there, nobody is rung or heard.
    hushed: Vec<AtomicBool>,
    /// All pages that were given out come before this.
    used: AtomicU64,
    /// Held while a guest is registered, or cursors are collected. It keeps whom the host has turned out, and why.
    desk: Mutex<Vec<Eviction>>,
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms").field("pages", &self.pages.len()).finish_non_exhaustive()
    }
}

// SAFETY: the pages are all atomics, and who made the rooms keeps the pages.
unsafe impl Send for Rooms {}
// SAFETY: as above.
unsafe impl Sync for Rooms {}

/// A guest, or a consumer that had promised to go, that the producer has turned out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Eviction {
    /// Who it was, and how far it was behind.
    pub consumer: ConsumerInfo,
    /// Why.
    pub reason: EvictionReason,
}

/// Why a producer has turned a consumer out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvictionReason {
    /// It has held the producer back for longer than it had promised to.
    Lagged {
        /// How long it had promised to.
        after: Duration,
    },
    /// Its cursor says what cannot be: it went back, or ran ahead of what is published.
    Forged {
        /// What its cursor was before.
        known: u64,
        /// What it is now.
        found: u64,
        /// How far the producer has published.
        published: u64,
    },
}

impl fmt::Display for EvictionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lagged { after } => write!(f, "it held the producer back for {after:?}"),
            Self::Forged { known, found, published } => {
                write!(f, "its cursor said {found}, expected one from {known} to {published}")
            }
        }
    }
}

/// No more evictions are remembered than this.
const MOST_EVICTIONS: usize = 1024;

/// Adds to evictions that nobody may ever ask for.
pub(crate) fn remember(evictions: &mut Vec<Eviction>, eviction: Eviction) {
    if evictions.len() == MOST_EVICTIONS {
        evictions.remove(0);
    }
    evictions.push(eviction);
}

impl Rooms {
    /// The rooms of a ring, whose pages are here, by slot.
    ///
    /// # Safety
    ///
    /// The pages stay where they are while this lives, readable and writable.
    pub unsafe fn new(pages: Vec<NonNull<Page>>) -> Self {
        let given = pages.iter().map(|_| AtomicU64::new(0)).collect();
        let hushed = pages.iter().map(|_| AtomicBool::new(false)).collect();
        Self { pages, given, hushed, used: AtomicU64::new(0), desk: Mutex::new(Vec::new()) }
    }

    fn page(&self, slot: usize) -> &Page {
        // SAFETY: it stays where it is, and is all atomics.
        unsafe { self.pages[slot].as_ref() }
    }

    #[inline(always)]
    fn used(&self) -> &[NonNull<Page>] {
        &self.pages[..self.used.load(Ordering::Relaxed) as usize]
    }

    /// Whether this slot's page was given out to the consumer that has the slot, and the consumer has not left.
    pub fn has_guest(&self, control: &Control, slot: usize) -> bool {
        let Some(given) = self.given.get(slot) else { return false };
        // Relaxed: the collector and the giver are both at the desk.
        let given = given.load(Ordering::Relaxed);
        given != 0 && control.slot(slot).state.load(Ordering::Relaxed) == given
    }

    /// Whether the guest in this slot has left.
    pub fn has_left(&self, slot: usize) -> bool {
        self.page(slot).place.left.load(Ordering::Relaxed) != 0
    }

    /// Whether the process of the guest in this slot is dying, as the kernel or the guest says.
    pub(crate) fn is_dying(&self, slot: usize) -> bool {
        self.page(slot).doorbell.vital.is_dying()
    }

    /// Runs `f` while no cursor is collected and no other guest is registered, when all guests that have left are out
    /// of the roster.
    pub fn at_the_desk<R>(&self, link: &dyn Link, f: impl FnOnce() -> R) -> R {
        let mut desk = self.desk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.collect_into(link, &mut desk);
        f()
    }

    /// Gives the page of this slot, which is as [`Page::new`] makes it, to the consumer that has the slot. From now on
    /// its cursor counts, and it is woken. The caller is [at the desk](Self::at_the_desk).
    pub fn give(&self, slot: usize, state: u64) {
        let page = self.page(slot);
        doorbell::attach(&page.doorbell.consumers);
        self.hushed[slot].store(false, Ordering::Relaxed);
        self.used.fetch_max(slot as u64 + 1, Ordering::Relaxed);
        self.given[slot].store(state, Ordering::Relaxed);
    }

    /// Copies the guests' cursors into control, where the gate sees them; frees the slots of guests that have left;
    /// turns out those whose cursors say what cannot be.
    pub fn collect(&self, link: &dyn Link) {
        // If a guest is just being registered, what was collected before still holds: cursors only go forward.
        if let Ok(mut desk) = self.desk.try_lock() {
            self.collect_into(link, &mut desk);
        }
    }

    fn collect_into(&self, link: &dyn Link, evictions: &mut Vec<Eviction>) {
        let control: &Control = link;
        for slot in 0..self.used().len() {
            if !self.has_guest(control, slot) {
                self.hushed[slot].store(true, Ordering::Relaxed);
                continue;
            }
            let (page, line) = (self.page(slot), control.slot(slot));
            let state = SlotState::from_bits(line.state.load(Ordering::Relaxed));
            // edge: leave -> collect. As in the gate, the fence before any write would be enough, and ThreadSanitizer could
            // not watch.
            if page.place.left.load(Ordering::Acquire) != 0 {
                roster::free(control, slot, state);
            } else if let Err(reason) = collect_one(control, line, page, state) {
                if let Some(consumer) = roster::info(control, slot) {
                    remember(evictions, Eviction { consumer, reason });
                }
                // It has nothing that its successor gets. So its slot is free at once, also if it goes on living.
                roster::free(control, slot, state);
                doorbell::wake_from(&page.doorbell.consumers);
            }
        }
    }

    /// Whom the host has turned out since the last call, and why.
    pub(crate) fn take_evictions(&self) -> Vec<Eviction> {
        let desk = self.desk.lock();
        core::mem::take(&mut *desk.unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// The pages that were given out, and whether their guests are gone.
    #[inline(always)]
    fn doors(&self) -> impl Iterator<Item = (&Page, &AtomicBool)> {
        // SAFETY: they stay where they are, and are all atomics.
        self.used().iter().map(|page| unsafe { page.as_ref() }).zip(&self.hushed)
    }

    /// Whether no guest sleeps, or needs a fence, after the light half of the barrier.
    #[inline(always)]
    pub(crate) fn is_quiet(&self) -> bool {
        let calls =
            |page: &Page| page.doorbell.consumers.load(Ordering::Relaxed) & (ASLEEP | FENCED) != 0;
        // In this order: a guest that is awake costs one load.
        self.doors().all(|(page, hushed)| !calls(page) || hushed.load(Ordering::Relaxed))
    }

    /// The pages whose guests are not gone: only these are rung, and only there the producer sleeps.
    fn heard(&self) -> impl Iterator<Item = &Page> {
        let doors = self.doors().filter(|(_, hushed)| !hushed.load(Ordering::Relaxed));
        doors.map(|(page, _)| page)
    }

    /// Rings for all guests, and wakes those that sleep; says whether there were any.
    pub(crate) fn wake(&self) -> bool {
        let mut woken = false;
        for page in self.heard() {
            woken |= doorbell::wake_from(&page.doorbell.consumers);
        }
        woken
    }

    /// The words in which the producer announces to its guests that it sleeps.
    pub fn producer_words(&self) -> impl Iterator<Item = &AtomicU32> {
        self.heard().map(|page| &page.doorbell.producer)
    }
}

/// Copies a guest's cursor into its slot.
fn collect_one(
    control: &Control,
    line: &ConsumerSlot,
    page: &Page,
    state: SlotState,
) -> Result<(), EvictionReason> {
    let order = Ordering::Relaxed;
    let known = Sequence::new(line.cursor.load(order));
    // edge: release -> collect. The guest's reads are done before we overwrite what it read. It saw published what it
    // read, so we see that below, too.
    let found = Sequence::new(page.place.cursor.load(Ordering::Acquire));
    if found == known {
        return Ok(());
    }
    let published = control.published();
    let is_possible = found.since(known) <= published.since(known);
    if state.usage() == SlotUse::Lossy {
        // Nobody waits for it: it says so for the operator.
        if is_possible {
            line.cursor.store(found.get(), order);
        }
        line.missed.store(page.place.missed.load(order), order);
        return Ok(());
    }
    if !is_possible {
        let (known, found, published) = (known.get(), found.get(), published.get());
        return Err(EvictionReason::Forged { known, found, published });
    }
    line.cursor.store(found.get(), order);
    Ok(())
}

/// What a guest was given by its host.
#[derive(Debug)]
pub struct Residence {
    page: NonNull<Page>,
    slot: usize,
    state: SlotState,
    first: Sequence,
    is_taken: AtomicBool,
}

// SAFETY: the page is all atomics, and who made the residence keeps it.
unsafe impl Send for Residence {}
// SAFETY: as above.
unsafe impl Sync for Residence {}

impl Residence {
    /// The residence of a guest that got this page, this slot in this state, and this promise.
    ///
    /// # Safety
    ///
    /// The page stays where it is while this lives, and may be written.
    pub unsafe fn new(page: NonNull<Page>, slot: usize, state: u64, first: Sequence) -> Self {
        let (state, is_taken) = (SlotState::from_bits(state), AtomicBool::new(false));
        Self { page, slot, state, first, is_taken }
    }

    /// The page.
    pub fn page(&self) -> &Page {
        // SAFETY: it stays where it is, and is all atomics.
        unsafe { self.page.as_ref() }
    }

    /// The slot.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Whether it is for a consumer of this kind.
    #[cfg(not(loom))]
    pub(crate) fn is_for(&self, role: JoinAs<'_>) -> bool {
        self.state.usage() == role.usage()
    }

    /// The state of the slot, and the promise. `None` at the second call: a residence is for one consumer.
    pub(crate) fn take(&self) -> Option<(SlotState, Sequence)> {
        (!self.is_taken.swap(true, Ordering::Relaxed)).then_some((self.state, self.first))
    }
}
