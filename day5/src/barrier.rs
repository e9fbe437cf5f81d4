//! A fence that one side makes for both.
//!
//! Two sides that each write a word and then read the other's need a full fence in between, both of
//! them; otherwise each may read what was there before. Where one side does this a million times a
//! second and the other hardly ever, the kernel can make the fence on the first one's behalf:
//! `membarrier(GLOBAL_EXPEDITED)` interrupts every core that runs a process which has registered for
//! it, and returns when each has made one. The busy side then needs only to keep its compiler from
//! reordering. See [`light`] and [`heavy`].
//!
//! Where the kernel refuses (a seccomp filter, a kernel before 4.16), both sides make their own fence.

#[cfg(not(loom))]
use {
    common::sync::{Ordering, fence},
    rustix::thread::{MembarrierCommand, membarrier},
};

pub use day3::doorbell::{is_expedited, light};

/// The other side's half: a full fence here, and in every registered process that runs.
///
/// Says whether the kernel made it for the others, too; if not, they have to make their own.
#[cfg(not(loom))]
pub fn heavy() -> bool {
    // edge: announce <-> ring
    fence(Ordering::SeqCst);
    let made = is_expedited() && membarrier(MembarrierCommand::GlobalExpedited).is_ok();
    // edge: announce <-> ring. What we look at from here on is read after all of these fences.
    fence(Ordering::SeqCst);
    made
}

/// As above, for loom.
#[cfg(loom)]
pub fn heavy() -> bool {
    // edge: announce <-> ring
    common::fence!("heavy-barrier", SeqCst);
    true
}
