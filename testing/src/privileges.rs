//! Running with fewer rights than root.

use std::thread;

use nix::unistd::{Uid, geteuid, setfsuid};

/// Runs `f` on a thread that file permissions apply to: root's thread gives up root's rights to
/// files.
pub fn unprivileged<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if geteuid().is_root() {
                // For this thread alone, and for files alone. Its capabilities for files go with
                // it.
                setfsuid(Uid::from_raw(65534));
            }
            f()
        });
        thread.join().unwrap()
    })
}
