//! Which core a thread runs on.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores that this thread may run on, in order. It is empty if the kernel does not tell.
pub fn cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return Vec::new() };
    (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect()
}

/// Pins this thread to the `nth` of `cores`, counted around. Returns whether that worked.
///
/// Without pinning a run is slower, but not wrong, so nothing fails here.
pub fn pin(cores: &[usize], nth: usize) -> bool {
    let Some(&core) = cores.get(nth % cores.len().max(1)) else { return false };
    let mut set = CpuSet::new();
    set.set(core).is_ok() && sched_setaffinity(Pid::from_raw(0), &set).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_run_on_one_core_only() {
        std::thread::spawn(|| {
            let before = cores();
            if pin(&before, 1) {
                assert_eq!(cores(), [before[1 % before.len()]]);
            }
            assert!(!pin(&[], 0));
        })
        .join()
        .unwrap();
    }
}
