//! The waker's half of the doorbell: every end rings, whatever its own way to wait.
//!
//! Day 5 brings the sleeper's half, and explains both. Until then no end sleeps: an end that has published,
//! released or left reads one word, finds nothing in it, and goes on.
//!
//! There is a word for each side:
//!
//! | bits | meaning |
//! |---:|---|
//! | 0 | an end on this side sleeps, or is about to |
//! | 1 | the kernel makes no fences for some end that sleeps or rings here: ring with a fence of your own |
//! | 2 | in control: consumers have pages of their own, and sleep there ([`rooms`](crate::rooms)) |
//! | 3–31 | how often it has rung |
//!
//! A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).

use common::sync::{AtomicU32, Ordering, compiler_fence, fence, mutant};
use day2::Vital;

use crate::rooms::Rooms;

#[cfg(not(loom))]
use {
    rustix::thread::futex::{Flags, wake as futex_wake},
    rustix::thread::{MembarrierCommand, membarrier},
    std::sync::OnceLock,
};

/// An end sleeps, or is about to.
pub const ASLEEP: u32 = 1;
/// The kernel makes no fences for some end that sleeps or rings here.
pub const FENCED: u32 = 2;
/// The consumers have pages of their own, and sleep there.
pub const ROOMS: u32 = 4;
/// One ring.
pub const RING: u32 = 8;

const _: () = assert!(ASLEEP == 1 && FENCED == 1 << 1 && ROOMS == 1 << 2 && RING == 1 << 3);

/// The words at which an end announces that it sleeps, or sees that its producer is dying.
#[derive(Clone, Copy, Debug)]
pub struct Doorbell<'a> {
    /// Where a consumer says that it sleeps because there is nothing to read; a futex.
    pub consumers: &'a AtomicU32,
    /// Where the producer says that it sleeps because the ring is full; a futex.
    pub producer: &'a AtomicU32,
    /// Where the producer says so, too, if consumers have pages of their own.
    pub rooms: Option<&'a Rooms>,
    /// Says when the producer's process is dying, and wakes a sleeper. It may be mapped read-only.
    pub vital: &'a Vital,
}

/// Whether the kernel makes fences for this process (`membarrier(2)`): it is registered, and may ask for
/// them. The first call registers.
#[cfg(not(loom))]
pub fn is_expedited() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        !is_switched_off()
            && membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok()
            && membarrier(MembarrierCommand::GlobalExpedited).is_ok()
    })
}

/// `FANOUT_MEMBARRIER=off` makes this process behave as if the kernel refused.
#[cfg(not(loom))]
fn is_switched_off() -> bool {
    std::env::var_os("FANOUT_MEMBARRIER").is_some_and(|value| value == "off")
}

/// loom knows no kernel: there both sides make their own fence.
#[cfg(loom)]
pub fn is_expedited() -> bool {
    true
}

/// Whether the models of this process have sleepers.
#[cfg(loom)]
#[allow(
    clippy::disallowed_types,
    reason = "not loom's: it says what is modelled, and is no part of it"
)]
static HAS_SLEEPERS: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

/// Says that this model has sleepers. loom knows no `membarrier`, so the busy side makes its half of the
/// barrier itself; without sleepers it must not, or its fence would hide missing ones.
#[cfg(loom)]
pub fn model_sleepers() {
    HAS_SLEEPERS.store(true, Ordering::Relaxed);
}

/// The busy side's half of the barrier: between its write and its read, in a process that
/// [`is_expedited`].
#[inline(always)]
pub fn light() {
    #[cfg(loom)]
    if !HAS_SLEEPERS.load(Ordering::Relaxed) {
        return;
    }
    // edge: announce <-> ring. A sleeper makes this fence for us before it sleeps.
    if !mutant("light-barrier") {
        compiler_fence(Ordering::SeqCst);
    }
}

#[cfg(not(loom))]
std::thread_local! {
    /// How often this thread has announced that it is going to sleep.
    static SLEEPS: core::cell::Cell<u64> = const { core::cell::Cell::new(0) };
}

/// Counts that this thread has announced that it is going to sleep.
#[cfg(not(loom))]
pub fn announced() {
    SLEEPS.set(SLEEPS.get().wrapping_add(1));
}

/// A model's sleeper asks nobody who is alive.
#[cfg(loom)]
pub fn announced() {}

/// How often this thread has announced that it is going to sleep. An end that has slept, and finds nothing
/// even so, asks who is alive.
#[cfg(not(loom))]
pub(crate) fn sleeps() -> u64 {
    SLEEPS.get()
}

/// Says that this process is going to ring. If the kernel makes no fences for the process, it makes its own
/// with each ring, and the word says so from now on.
pub fn attach(word: &AtomicU32) {
    if !is_expedited() {
        word.fetch_or(FENCED, Ordering::Relaxed);
    }
}

/// Says, after something has changed, whether sleepers wait for it. Then the caller has to wake all that sleep
/// on the word.
///
/// Without sleepers this is one plain load. The process has called [`attach`] before.
#[inline(always)]
pub fn ring(word: &AtomicU32) -> bool {
    light();
    let now = word.load(Ordering::Relaxed);
    now & (ASLEEP | FENCED) != 0 && answer(word, now)
}

/// What there is to do more than to read the consumers' word, as bits of that word.
#[inline(always)]
pub(crate) fn calls(word: &AtomicU32) -> u32 {
    light();
    word.load(Ordering::Relaxed) & (ASLEEP | FENCED | ROOMS)
}

#[cold]
#[inline(never)]
fn answer(word: &AtomicU32, mut now: u32) -> bool {
    if now & FENCED != 0 {
        // edge: announce <-> ring
        fence(Ordering::SeqCst);
        now = word.load(Ordering::Relaxed);
    }
    while now & ASLEEP != 0 {
        let rung = if mutant("skip-ring-count") {
            now & !ASLEEP
        } else {
            (now & !ASLEEP).wrapping_add(RING)
        };
        match word.compare_exchange(now, rung, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(other) => now = other,
        }
    }
    false
}

/// Rings, and wakes all that sleep on the word; says whether there were sleepers.
#[inline(always)]
pub fn wake(word: &AtomicU32) -> bool {
    ring(word) && {
        rouse(word);
        true
    }
}

/// The same for a word of a peer that nobody trusts: it takes no more steps if the peer changes the word all the time.
#[inline(always)]
pub fn wake_from(word: &AtomicU32) -> bool {
    light();
    let now = word.load(Ordering::Relaxed);
    now & (ASLEEP | FENCED) != 0 && wake_peer(word, now)
}

#[cold]
#[inline(never)]
fn wake_peer(word: &AtomicU32, mut now: u32) -> bool {
    if now & FENCED != 0 {
        // edge: announce <-> ring
        fence(Ordering::SeqCst);
        now = word.load(Ordering::Relaxed);
    }
    let is_asleep = now & ASLEEP != 0;
    if is_asleep {
        // In this order: a sleeper whose announcement this takes back sees that it has rung.
        word.fetch_add(RING, Ordering::Relaxed);
        word.fetch_and(!ASLEEP, Ordering::Relaxed);
        rouse(word);
    }
    is_asleep
}

/// Wakes all that sleep on the word, on a *shared* futex: they may be in other processes.
#[cfg(not(loom))]
#[cold]
pub fn rouse(word: &AtomicU32) {
    // It can fail only for a bad address.
    let _ = futex_wake(word, Flags::empty(), i32::MAX as u32);
}

/// A model's sleepers look at the word itself.
#[cfg(loom)]
pub fn rouse(_: &AtomicU32) {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_answered_once_and_counted() {
        let word = AtomicU32::new(0);
        assert!(!ring(&word), "nobody sleeps");
        word.fetch_or(ASLEEP, Ordering::Relaxed);
        assert!(wake(&word));
        assert_eq!(word.load(Ordering::Relaxed) & !FENCED, RING, "awake, and one ring more");
        assert!(!wake(&word));
    }
}
