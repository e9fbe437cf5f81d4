//! Sleeping on a word of shared memory, and waking its sleepers.
//!
//! The futex is *shared*: the kernel finds it by the page of memory that the word lies in. With the
//! PRIVATE flag the kernel would find it by its address in this process, and would wake no sleeper in
//! another process.

use core::ptr::NonNull;
use std::sync::OnceLock;
use std::time::Duration;

use common::sync::AtomicU32;
use day2::Vital;
use rustix::io::Errno;
use rustix::thread::ClockId;
use rustix::thread::futex::{
    Flags, Wait, WaitFlags, WaitPtr, WaitvFlags, wait as futex_wait, waitv, wake as futex_wake,
};
use rustix::time::{Timespec, clock_gettime};

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// We were woken, or the word differed from the beginning, or a signal came. Look again.
    Woken,
    /// The time is up.
    TimedOut,
}

/// Sleeps for at most `timeout`, if the word is `value`, until another thread wakes its sleepers.
pub fn wait(word: &AtomicU32, value: u32, timeout: Duration) -> Wake {
    match futex_wait(word, Flags::empty(), value, Some(&timespec(timeout))) {
        Err(Errno::TIMEDOUT) => Wake::TimedOut,
        // EAGAIN: the word differs. EINTR: a signal. Anything else would be our mistake, and a
        // sleeper that does not sleep is better than a sleeper that does not wake.
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
/// With `FANOUT_WAITV=off` this process behaves as if the kernel did not.
pub fn can_wait_for_many() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let is_off = std::env::var_os("FANOUT_WAITV").is_some_and(|value| value == "off");
        // An empty list is an error that only a kernel with this call reports.
        let answer = waitv(&[], WaitvFlags::empty(), None, ClockId::Monotonic);
        !is_off && answer == Err(Errno::INVAL)
    })
}

/// Sleeps until the sleepers of one of the words are woken, or a word differs from its expected value, or
/// `timeout` has passed. Returns the word whose sleepers were woken, if the kernel knows.
///
/// At most 128 words. Their addresses only go to the kernel, and may be anything.
pub fn wait_for_any(
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
    // This call takes a point in time, not a duration.
    let until = timeout.map(|timeout| {
        let now = clock_gettime(ClockId::Monotonic);
        let now = Duration::new(now.tv_sec as u64, now.tv_nsec as u32);
        timespec(now.saturating_add(timeout))
    });
    match waitv(&waits, WaitvFlags::empty(), until.as_ref(), ClockId::Monotonic) {
        Ok(woken) => Some(woken),
        Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => None,
        Err(_) => {
            // A lack of memory, for example. The caller looks and tries again; the pause keeps it
            // from spinning.
            std::thread::sleep(Duration::from_millis(1));
            None
        }
    }
}

/// On how many words at most a thread can sleep at once.
pub const MOST: usize = 128;

/// Wakes all that sleep until the owner of this word dies. The word may be mapped read-only.
pub(crate) fn wake_sleepers_of(vital: &Vital) {
    let word = vital.word();
    // SAFETY: it lies in `vital`, and the kernel writes nothing to it: it looks for sleepers of its address.
    let word = unsafe { word.as_ref() };
    wake(word);
}

/// Wakes all sleepers of the word. Returns how many, as far as the kernel told.
pub fn wake(word: &AtomicU32) -> usize {
    futex_wake(word, Flags::empty(), i32::MAX as u32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::sync::Ordering;
    use std::time::Instant;

    #[test]
    fn a_sleeper_is_woken_and_a_changed_word_lets_nobody_sleep() {
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
