//! Waiting that ends.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::DEADLINE;

/// Waits until `condition` holds, and fails if it never does.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(DEADLINE, what, condition);
}

/// Waits until `condition` holds, and fails if it does not within `timeout`.
#[track_caller]
pub fn within(timeout: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < timeout, "still not: {what}");
        thread::sleep(Duration::from_micros(500));
    }
}

/// Runs `f` on a thread of its own, and fails if it hangs.
#[track_caller]
pub fn promptly<T: Send + 'static>(what: &str, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(f()));
    result.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("{what}: it hangs or has panicked"))
}
