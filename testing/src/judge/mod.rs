//! What the judges of all days' exercises share.
//!
//! A judge checks promises, and says which one was broken. [`breaks`] judges the judge: it must fail
//! a solution that is known to be wrong (`dayN/exercises/wrong/`), and for the right reason.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

pub mod awake;

use crate::message;

thread_local! {
    /// Far longer than anything here takes, even on a computer that stalls.
    static TIMEOUT: Cell<Duration> = const { Cell::new(Duration::from_secs(30)) };
}

/// How long a judge waits for something that should be over at once.
pub fn timeout() -> Duration {
    TIMEOUT.get()
}

/// A deadline that lies far beyond the judge's own timeout.
pub fn far_away() -> Duration {
    100 * timeout()
}

/// Calls `f` on another thread. If `f` does not return, the promise is broken.
///
/// A thread that hangs never drops what it holds, so the caller has to keep a name in `/dev/shm`.
#[track_caller]
pub fn comes_back<T: Send + 'static>(promise: &str, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    let timeout = timeout();
    // The thread has the test's name, which a panic prints.
    let name = thread::current().name().unwrap_or("the judge").to_owned();
    let thread = thread::Builder::new().name(name);
    let thread = thread.spawn(move || {
        TIMEOUT.set(timeout);
        // The judge may have given up by now.
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

/// The result of one of the judge's threads. If the thread panicked, so does the caller.
pub fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Proves that a judge fails a wrong solution, and says that this promise was broken.
#[track_caller]
pub fn breaks(promise: &str, judge: impl FnOnce()) {
    // A wrong solution that hangs will hang for good, so there is no need to wait for a computer
    // that stalls.
    let timeout = TIMEOUT.replace(Duration::from_secs(2));
    let verdict = catch_unwind(AssertUnwindSafe(judge));
    TIMEOUT.set(timeout);
    let Err(panic) = verdict else {
        panic!("the judge is too kind: it found nothing, and should have said {promise:?}")
    };
    let said = message(&*panic);
    assert!(said.contains(promise), "the judge should have said {promise:?}, and said {said:?}");
}
