//! A word that says that its owner is dying.
//!
//! A [lease](crate::lease) ends when the kernel closes the dead process's files. That comes after it has
//! freed the process's memory, which takes long when there is much of it. A vital word is marked
//! before that, and a sleeper that waits for it is woken. But while it is marked, other threads of
//! its owner may still run for a moment. So the word says *dying*, which is enough to stop waiting for
//! its owner. The lease says *gone*, which it takes to give the owner's place to another one.
//!
//! The word is a robust futex (`get_robust_list(2)`), which the kernel marks when the thread that
//! owns it ends. Threads come and go, so each process has a thread that only owns such words: its
//! guard. It ends a second after the last word has gone.

use core::ptr::NonNull;

use common::sync::{AtomicU32, AtomicU64, Ordering};

#[cfg(not(loom))]
pub use crate::guard::{MOST, Watch, watch};

/// The kernel's mark on a word whose owner has died.
const OWNER_DIED: u32 = 0x4000_0000;
/// A mark that each owner makes: the kernel wakes a sleeper when the owner dies. A sleeper that could make it itself
/// could not have the word mapped read-only.
const WAITERS: u32 = 0x8000_0000;
/// The bits of a word that name the owner's guard; zero is nobody.
const OWNER: u32 = 0x3fff_ffff;

/// A word in shared memory that says whether its owner is dying. Zeros mean that nobody owns it.
///
/// It is 16 bytes long and aligned to eight. A process that may write it may forge it. So it is a hint to
/// ask the kernel for the [lease](crate::lease), and never a proof. Changing it raises `LAYOUT_VERSION`.
#[repr(C)]
#[derive(Debug)]
pub struct Vital {
    /// The address of the next word, in the owner's process: the kernel's list of what it has to mark.
    pub(crate) next: AtomicU64,
    word: AtomicU32,
    unused: AtomicU32,
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Vital, next) == 0);
    assert!(offset_of!(Vital, word) == 8);
    assert!(offset_of!(Vital, unused) == 12);
    assert!(size_of::<Vital>() == 16 && align_of::<Vital>() == 8);
};

impl Vital {
    /// How many bytes lie between the start of a list's node and the word.
    #[cfg(not(loom))]
    pub(crate) const OFFSET: i64 = core::mem::offset_of!(Self, word) as i64;

    /// A word that nobody owns.
    pub fn new() -> Self {
        Self { next: AtomicU64::new(0), word: AtomicU32::new(0), unused: AtomicU32::new(0) }
    }

    /// Whether its owner is dying or dead. It stays so until the word has a new owner.
    pub fn is_dying(&self) -> bool {
        // edge: own -> dying. The kernel stands in between: it marks what the owner's guard had told
        // it.
        self.word.load(Ordering::Acquire) & OWNER_DIED != 0
    }

    /// Whether it has an owner who is not dying.
    pub fn is_owned(&self) -> bool {
        self.word.load(Ordering::Relaxed) & OWNER != 0
    }

    /// The value on which a sleeper of the [word](Self::word) sleeps, for the kernel to wake it when the owner dies.
    /// `None` if it has no owner, or a dying one.
    ///
    /// The kernel wakes one sleeper. If there may be more, each has to wake the next. An owner that gives up
    /// the word wakes all.
    pub fn alive(&self) -> Option<u32> {
        let word = self.word.load(Ordering::Relaxed);
        (word & OWNER != 0 && word & WAITERS != 0).then_some(word)
    }

    /// The address of the word, to sleep on: a shared futex. It may be mapped read-only here.
    pub fn word(&self) -> NonNull<AtomicU32> {
        NonNull::from(&self.word)
    }

    /// Makes this guard the owner, also where another guard was.
    pub(crate) fn own(&self, guard: u32) {
        // edge: own -> dying. The guard's list has the word already.
        self.word.store(guard | WAITERS, Ordering::Release);
    }

    /// Gives it up, unless another guard has become the owner. Returns whether somebody may sleep on it.
    pub(crate) fn give_up(&self, guard: u32) -> bool {
        let order = Ordering::Relaxed;
        let nobody = |word| (word & OWNER == guard).then_some(0);
        self.word.fetch_update(order, order, nobody).is_ok_and(|word| word & WAITERS != 0)
    }
}

impl Default for Vital {
    fn default() -> Self {
        Self::new()
    }
}

/// What a model does in the place of a guard and of the kernel.
#[cfg(loom)]
impl Vital {
    /// The word has an owner from now on.
    pub fn live(&self) {
        self.own(1);
    }

    /// Its owner gives it up. Returns whether somebody may sleep on it.
    pub fn leave(&self) -> bool {
        self.give_up(1)
    }

    /// Its owner dies. Returns whether somebody may sleep on it.
    pub fn die(&self) -> bool {
        let died = |word| (word & OWNER != 0).then_some(word & WAITERS | OWNER_DIED);
        // edge: own -> dying
        let word = self.word.fetch_update(Ordering::Release, Ordering::Relaxed, died);
        word.is_ok_and(|word| word & WAITERS != 0)
    }
}

/// Loom has no kernel that marks words: nothing is watched.
#[cfg(loom)]
#[derive(Debug)]
pub enum Watch {}

/// Loom has no kernel that marks words: `None`.
///
/// # Safety
///
/// None here; see the ordinary build.
#[cfg(loom)]
pub unsafe fn watch(_vital: NonNull<Vital>) -> Option<Watch> {
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_an_owner_or_not() {
        let vital = Vital::default();
        assert!(!vital.is_owned() && !vital.is_dying());
        assert_eq!(vital.alive(), None, "nobody would wake a sleeper");
        vital.own(7);
        assert!(vital.is_owned() && !vital.is_dying());
        assert_eq!(vital.alive(), Some(WAITERS | 7));
        assert_eq!(vital.alive(), Some(vital.word.load(Ordering::Relaxed)));
        assert!(vital.is_owned() && !vital.give_up(8), "it is another's");
        assert!(vital.is_owned() && vital.give_up(7) && !vital.is_owned());
        // As the kernel marks it.
        vital.word.store(WAITERS | OWNER_DIED, Ordering::Relaxed);
        assert!(!vital.is_owned() && vital.is_dying());
        assert_eq!(vital.alive(), None);
        vital.own(9);
        assert!(vital.is_owned() && !vital.is_dying(), "it has a new owner");
    }
}
