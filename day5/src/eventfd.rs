//! Descriptors that `poll` can wait for: a counter that other threads raise, and an alarm clock.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use common::sync::{AtomicBool, Ordering};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, retry_on_intr, write};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A counter in the kernel, readable while it is not zero (`eventfd(2)`).
///
/// It must stay within this process: a process that has its descriptor can switch it to blocking.
#[derive(Debug)]
pub struct Counter(OwnedFd);

impl Counter {
    /// A counter at zero, which an `exec` closes.
    ///
    /// # Errors
    ///
    /// What the kernel said; mostly that this process is at its limit of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Adds one, and so wakes a thread that waits for the descriptor.
    pub fn signal(&self) {
        // It can fail only if the counter is at its maximum. Then it is readable already.
        let _ = retry_on_intr(|| write(&self.0, &1u64.to_ne_bytes()));
    }

    /// How many signals there were since the last call; sets the counter to zero.
    pub fn take(&self) -> u64 {
        let mut count = [0; 8];
        match retry_on_intr(|| read(&self.0, &mut count)) {
            Ok(8) => u64::from_ne_bytes(count),
            _ => 0,
        }
    }
}

impl AsFd for Counter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that becomes readable when a time is up (`timerfd_create(2)`).
#[derive(Debug)]
pub(crate) struct Alarm {
    descriptor: OwnedFd,
    is_set: AtomicBool,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { descriptor, is_set: AtomicBool::new(false) })
    }

    /// Sets the alarm: the descriptor is not readable until `after` has passed.
    pub(crate) fn set(&self, after: Duration) {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec {
            tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: after.subsec_nanos().into(),
        };
        let time = Itimerspec { it_interval: zero, it_value };
        // It fails only for invalid times, and for descriptors that are no timers.
        let _ = timerfd_settime(&self.descriptor, TimerfdTimerFlags::empty(), &time);
        self.is_set.store(true, Ordering::Relaxed);
    }

    /// Whether its time is up since it was set. If so, the descriptor is not readable any more.
    pub(crate) fn take(&self) -> bool {
        // Mostly the alarm was never set, and then this makes no system call.
        let rang = self.is_set.load(Ordering::Relaxed)
            && retry_on_intr(|| read(&self.descriptor, &mut [0; 8])).is_ok();
        if rang {
            self.is_set.store(false, Ordering::Relaxed);
        }
        rang
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_counts_and_starts_again() {
        let counter = Counter::new().unwrap();
        assert_eq!(counter.take(), 0);
        counter.signal();
        counter.signal();
        assert_eq!(counter.take(), 2);
        assert_eq!(counter.take(), 0);
    }

    #[test]
    fn a_counter_at_its_end_blocks_nobody() {
        let counter = Counter::new().unwrap();
        write(&counter.0, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        counter.signal();
        assert_eq!(counter.take(), u64::MAX - 1);
    }

    #[test]
    fn an_alarm_rings_once_for_each_time_that_it_is_set() {
        let alarm = Alarm::new().unwrap();
        assert!(!alarm.take());
        alarm.set(Duration::from_secs(3600));
        assert!(!alarm.take());
        for _ in 0..3 {
            alarm.set(Duration::from_nanos(1));
            while !alarm.take() {
                std::thread::yield_now();
            }
            assert!(!alarm.take());
        }
    }
}
