//! Sleeping on a word of shared memory, and waking those who do.
//!
//! The futex is *shared*: found by the page of memory that the word lies in. With the PRIVATE flag it
//! would be found by its address in this process, and nobody in another process would ever wake up.

use std::time::Duration;

use common::sync::AtomicU32;
use rustix::io::Errno;
use rustix::thread::futex::{Flags, wait as futex_wait, wake as futex_wake};
use rustix::time::Timespec;

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Somebody woke us, or the word was another from the beginning, or a signal came. Look again.
    Woken,
    /// The time is up.
    TimedOut,
}

/// Sleeps for at most `timeout`, if the word is `value`, until somebody wakes those who sleep on it.
pub fn wait(word: &AtomicU32, value: u32, timeout: Duration) -> Wake {
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    match futex_wait(word, Flags::empty(), value, Some(&timeout)) {
        Err(Errno::TIMEDOUT) => Wake::TimedOut,
        // EAGAIN: the word is another. EINTR: a signal. Anything else would be our mistake, and a
        // sleeper that does not sleep is better than one that does not wake.
        _ => Wake::Woken,
    }
}

/// Wakes all who sleep on the word; says how many, as far as the kernel told.
pub fn wake(word: &AtomicU32) -> usize {
    futex_wake(word, Flags::empty(), i32::MAX as u32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::sync::Ordering;
    use std::time::Instant;

    #[test]
    fn one_who_sleeps_is_woken_and_one_who_should_not_is_not_put_to_sleep() {
        let word = AtomicU32::new(7);
        let long = Duration::from_secs(60);
        assert_eq!(wait(&word, 8, long), Wake::Woken, "the word is another");
        assert_eq!(wait(&word, 7, Duration::from_millis(1)), Wake::TimedOut);
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                while word.load(Ordering::Acquire) == 7 {
                    let _ = wait(&word, 7, long);
                }
            });
            std::thread::sleep(Duration::from_millis(5));
            word.store(9, Ordering::Release);
            let started = Instant::now();
            while !sleeper.is_finished() {
                wake(&word);
                assert!(started.elapsed() < long, "nobody woke");
            }
        });
    }
}
