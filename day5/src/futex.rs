//! Sleeping on a word of shared memory, and waking its sleepers.
//!
//! The futex is *shared*: found by the page of memory that the word lies in. With the PRIVATE flag it
//! would be found by its address in this process, and nobody in another process would ever wake up.

use core::ptr::NonNull;
use std::sync::OnceLock;
use std::time::Duration;

use common::sync::AtomicU32;
use rustix::io::Errno;
use rustix::thread::ClockId;
use rustix::thread::futex::{
    Flags, Wait, WaitFlags, WaitPtr, WaitvFlags, wait as futex_wait, waitv, wake as futex_wake,
};
use rustix::time::{Timespec, clock_gettime};

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Somebody woke us, or the word was another from the beginning, or a signal came. Look again.
    Woken,
    /// The time is up.
    TimedOut,
}

/// Sleeps for at most `timeout`, if the word is `value`, until somebody wakes its sleepers.
pub fn wait(word: &AtomicU32, value: u32, timeout: Duration) -> Wake {
    match futex_wait(word, Flags::empty(), value, Some(&timespec(timeout))) {
        Err(Errno::TIMEDOUT) => Wake::TimedOut,
        // EAGAIN: the word is another. EINTR: a signal. Anything else would be our mistake, and a
        // sleeper that does not sleep is better than one that does not wake.
        _ => Wake::Woken,
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// Whether the kernel lets a thread sleep on many words at once (`futex_waitv(2)`, Linux 5.16).
///
/// `FANOUT_WAITV=off` makes this process behave as one whose kernel does not.
pub(crate) fn can_wait_for_many() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let is_off = std::env::var_os("FANOUT_WAITV").is_some_and(|value| value == "off");
        // No words at all is a mistake that only a kernel that knows the call finds.
        let answer = waitv(&[], WaitvFlags::empty(), None, ClockId::Monotonic);
        !is_off && answer == Err(Errno::INVAL)
    })
}

/// Sleeps until somebody wakes the sleepers of one of the words, or one is not what is said of it, or for
/// at most `timeout`; says whose sleepers were woken, if the kernel knows.
///
/// At most 128 words. They are only given to the kernel, and may be anything.
pub(crate) fn wait_for_any(
    words: &[(NonNull<AtomicU32>, u32)],
    timeout: Option<Duration>,
) -> Option<usize> {
    let wait = |&(word, value): &(NonNull<AtomicU32>, u32)| {
        let mut wait = Wait::new();
        wait.val = value.into();
        wait.uaddr = WaitPtr::new(word.as_ptr().cast());
        wait.flags = WaitFlags::SIZE_U32;
        wait
    };
    let waits: Vec<_> = words.iter().map(wait).collect();
    // This call wants to know when, not how long.
    let until = timeout.map(|timeout| {
        let now = clock_gettime(ClockId::Monotonic);
        let now = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
        timespec(now.saturating_add(timeout))
    });
    match waitv(&waits, WaitvFlags::empty(), until.as_ref(), ClockId::Monotonic) {
        Ok(woken) => Some(woken),
        Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => None,
        Err(_) => {
            // For want of memory, say: the caller looks, and tries again, and not at once.
            std::thread::sleep(Duration::from_millis(1));
            None
        }
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
        let (long, longest) = (Duration::from_secs(60), Duration::MAX);
        assert_eq!(wait(&word, 8, long), Wake::Woken, "the word is another");
        assert_eq!(wait(&word, 7, Duration::from_millis(1)), Wake::TimedOut);
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                let mut sleeps = 0;
                while word.load(Ordering::Acquire) == 7 {
                    let _ = wait(&word, 7, longest);
                    sleeps += 1;
                }
                assert!(sleeps < 100, "the kernel takes a time that has no end for none");
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
