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

use common::sync::Ordering;
use common::sync::compiler_fence;
#[cfg(not(loom))]
use common::sync::fence;

#[cfg(not(loom))]
use {
    rustix::thread::{MembarrierCommand, membarrier},
    std::sync::OnceLock,
};

/// Whether the kernel makes fences for this process: it is registered, and may ask for them.
///
/// The first call registers.
#[cfg(not(loom))]
pub fn is_expedited() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        !is_switched_off()
            && membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok()
            && membarrier(MembarrierCommand::GlobalExpedited).is_ok()
    })
}

/// `FANOUT_MEMBARRIER=off` makes this process behave as one whose kernel refuses.
#[cfg(not(loom))]
fn is_switched_off() -> bool {
    std::env::var_os("FANOUT_MEMBARRIER").is_some_and(|value| value == "off")
}

/// Under loom both sides make their own fence: it knows no kernel.
#[cfg(loom)]
pub fn is_expedited() -> bool {
    true
}

/// The busy side's half: between its write and its read, in a process that [`is_expedited`].
#[inline(always)]
pub fn light() {
    // edge: announce <-> ring. Whoever is about to sleep makes this fence for us.
    if !common::sync::mutant("light-barrier") {
        compiler_fence(Ordering::SeqCst);
    }
}

/// The other side's half: a full fence here, and in every registered process that runs.
///
/// Says whether the kernel made it for the others, too; if not, they have to make their own.
#[cfg(not(loom))]
pub fn heavy() -> bool {
    // edge: announce <-> ring
    fence(Ordering::SeqCst);
    let made = is_expedited() && membarrier(MembarrierCommand::GlobalExpedited).is_ok();
    fence(Ordering::SeqCst);
    made
}

/// As above, for loom.
#[cfg(loom)]
pub fn heavy() -> bool {
    common::fence!("heavy-barrier", SeqCst);
    true
}
