//! Which process made a thing.

/// The process that made a thing. A forked child has a copy of the thing, but is another process.
/// So the copy must not end the queue, and must not leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    forks: u64,
    pid: u32,
}

impl Origin {
    /// This process.
    pub fn here() -> Self {
        count::begin();
        Self { forks: forks(), pid: std::process::id() }
    }

    /// Whether it is this process.
    ///
    /// A child that was made by a raw `clone(2)` is known by its process id alone.
    pub fn is_here(self) -> bool {
        self.forks == forks() && self.pid == std::process::id()
    }

    /// Its process id, for display.
    pub fn pid(self) -> u32 {
        self.pid
    }
}

pub use count::forks;

#[cfg(not(loom))]
mod count {
    #![allow(
        clippy::disallowed_types,
        reason = "each process has its own: loom has nothing to watch"
    )]

    use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    static FORKS: AtomicU64 = AtomicU64::new(0);
    static IS_COUNTED: AtomicBool = AtomicBool::new(false);

    /// How many forks lie between this process and the one that first asked for its
    /// [`Origin`](super::Origin). It costs one plain load, so a hot path can compare it with the number
    /// that it remembers: they differ in a forked child.
    ///
    /// Forks before the first `Origin`, and children that a raw `clone(2)` makes, are not counted.
    #[inline(always)]
    pub fn forks() -> u64 {
        FORKS.load(Ordering::Relaxed)
    }

    /// Makes sure that forks are counted.
    pub(super) fn begin() {
        if !IS_COUNTED.load(Ordering::Relaxed) {
            begin_now();
        }
    }

    // Two threads may both come here, and then a fork counts for two. That does no harm. A lock would:
    // a child that is forked while it is held would never get it.
    #[cold]
    fn begin_now() {
        // SAFETY: the handler may run in any child, because it does nothing but add to a number.
        let answer = unsafe { libc::pthread_atfork(None, None, Some(forked)) };
        // If there was no memory for it, the next one tries again.
        IS_COUNTED.store(answer == 0, Ordering::Relaxed);
    }

    extern "C" fn forked() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(loom)]
mod count {
    /// How many forks lie between this process and the one that first asked. In a model nobody forks.
    #[inline(always)]
    pub fn forks() -> u64 {
        0
    }

    pub(super) fn begin() {}
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    /// The exit code of a forked child that runs `f`.
    fn in_a_child(f: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child runs `f`, which neither allocates nor locks, and ends.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let code = f();
                // SAFETY: it ends the child at once, without its parent's exit handlers.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, code) => code,
                other => panic!("{other:?}"),
            },
        }
    }

    #[test]
    fn a_forked_child_is_another_process() {
        let origin = Origin::here();
        let forks = forks();
        assert!(origin.is_here());
        assert_eq!(origin.pid(), std::process::id());
        let code = in_a_child(|| {
            let counted = super::forks() > forks;
            let told = !origin.is_here() && Origin::here().is_here();
            let before = Origin::here();
            let grandchild = in_a_child(|| i32::from(before.is_here() || origin.is_here()));
            i32::from(!counted) + 2 * i32::from(!told) + 4 * grandchild
        });
        assert_eq!(code, 0);
        assert!(origin.is_here(), "the parent is what it was");
        assert_eq!(super::forks(), forks, "the parent is no child");
    }

    /// A process id comes again. A thing of a dead process is not ours because we have its number.
    #[test]
    fn the_same_process_id_is_not_enough() {
        let here = Origin::here();
        assert!(!Origin { forks: here.forks + 1, ..here }.is_here());
        assert!(!Origin { pid: here.pid + 1, ..here }.is_here());
    }
}
