//! What the judges of all days' exercises share.
//!
//! A judge asks for promises, and says which one was broken. [`breaks`] judges the judge: a solution
//! that is known to be wrong (`dayN/exercises/wrong/`) must fail, and for the right reason.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

pub mod awake;

use crate::message;

thread_local! {
    /// Far longer than anything here takes, on a computer that stalls.
    static TIMEOUT: Cell<Duration> = const { Cell::new(Duration::from_secs(30)) };
}

/// How long a judge waits for what should be over at once.
pub fn timeout() -> Duration {
    TIMEOUT.get()
}

/// A deadline that a judge's own timeout never sees the end of.
pub fn far_away() -> Duration {
    100 * timeout()
}

/// Calls `f`; fails if it does not come back, which would break this promise.
///
/// What hangs never drops what it holds: a name in `/dev/shm` has to stay with the caller.
#[track_caller]
pub fn comes_back<T: Send + 'static>(promise: &str, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    let timeout = timeout();
    // Under the test's name, which a panic tells.
    let name = thread::current().name().unwrap_or("the judge").to_owned();
    let thread = thread::Builder::new().name(name);
    let thread = thread.spawn(move || {
        TIMEOUT.set(timeout);
        // The judge may have lost its timeout.
        let _ = done.send(f());
    });
    let thread = thread.unwrap();
    match ended.recv_timeout(timeout) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("{promise}: it still has not come back"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => unreachable!("a thread that ends without a panic has sent its result"),
        },
    }
}

/// What a thread of the judge's has found; its panic goes on here.
pub fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Proves that a judge fails what it judges, and says that this promise was broken.
#[track_caller]
pub fn breaks(promise: &str, judge: impl FnOnce()) {
    // What hangs here hangs for certain: no need to wait as long as a computer may stall.
    let timeout = TIMEOUT.replace(Duration::from_secs(2));
    let verdict = catch_unwind(AssertUnwindSafe(judge));
    TIMEOUT.set(timeout);
    let Err(panic) = verdict else {
        panic!("the judge is too kind: it found nothing, and should have said {promise:?}")
    };
    let said = message(&*panic);
    assert!(said.contains(promise), "the judge should have said {promise:?}, and said {said:?}");
}
