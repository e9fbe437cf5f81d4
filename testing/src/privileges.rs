//! Less rights than root has.

use std::thread;

use nix::unistd::{Uid, geteuid, setfsuid};

/// Runs `f` on a thread that file permissions apply to: root's thread becomes nobody's.
pub fn unprivileged<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if geteuid().is_root() {
                // Of this thread alone, and only for files; its capabilities for files go with it.
                setfsuid(Uid::from_raw(65534));
            }
            f()
        });
        thread.join().unwrap()
    })
}
