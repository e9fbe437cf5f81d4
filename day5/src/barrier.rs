//! A fence that one side makes for both sides.
//!
//! Two sides each write a word and then read the other's word. Both need a full fence in between;
//! otherwise each of them may read the old value. Often one side does this a million times a second,
//! and the other hardly ever. Then the kernel can make the fence on the busy side's behalf:
//! `membarrier(GLOBAL_EXPEDITED)` interrupts every core that runs a registered process, and returns
//! when each has made a fence. The busy side then only has to keep its compiler from reordering. See
//! [`light`] and [`heavy`].
//!
//! If the kernel refuses (a seccomp filter, a kernel before 4.16), both sides make a fence of their
//! own.

#[cfg(not(loom))]
use {
    common::sync::{Ordering, fence},
    rustix::thread::{MembarrierCommand, membarrier},
};

pub use day3::doorbell::{is_expedited, light};

/// The rare side's half: a full fence here, and in every registered process that is running.
///
/// Returns whether the kernel made the fence for the other processes, too. If not, they have to
/// make their own.
#[cfg(not(loom))]
pub fn heavy() -> bool {
    // edge: announce <-> ring
    fence(Ordering::SeqCst);
    let made = is_expedited() && membarrier(MembarrierCommand::GlobalExpedited).is_ok();
    // edge: announce <-> ring. Whatever we read from here on is read after all of these fences.
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
