//! Descriptors that `poll` can wait for: a counter that others raise, and an alarm clock.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{read, retry_on_intr, write};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A counter in the kernel, readable while it is not zero (`eventfd(2)`). It never blocks anybody.
#[derive(Debug)]
pub struct Counter(OwnedFd);

impl Counter {
    /// A counter at zero, which an `exec` closes.
    ///
    /// # Errors
    ///
    /// What the kernel said; mostly that this process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// The counter behind a descriptor that somebody else made; the descriptor back if it is none, or
    /// one that could block who writes to it.
    ///
    /// # Errors
    ///
    /// The descriptor.
    pub fn admit(descriptor: OwnedFd) -> Result<Self, OwnedFd> {
        let never_blocks =
            fcntl_getfl(&descriptor).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK));
        if never_blocks && is_eventfd(&descriptor) { Ok(Self(descriptor)) } else { Err(descriptor) }
    }

    /// Another descriptor of the same counter.
    ///
    /// # Errors
    ///
    /// What the kernel said; mostly that this process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Counts one more, and so wakes who waits for the descriptor.
    pub fn signal(&self) {
        // The one failure that there is, a counter at its end, leaves it readable.
        let _ = retry_on_intr(|| write(&self.0, &1u64.to_ne_bytes()));
    }

    /// How many signals there were since the last time; sets the counter to zero.
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

/// The kernel tells of what kind a descriptor is only by a link's name. Without `/proc`, it is taken at
/// its word.
fn is_eventfd(descriptor: &OwnedFd) -> bool {
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    std::fs::read_link(link).map_or(true, |kind| kind.as_os_str() == "anon_inode:[eventfd]")
}

/// A descriptor that becomes readable when a time is up (`timerfd_create(2)`).
#[derive(Debug)]
pub(crate) struct Alarm(OwnedFd);

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// Sets it anew: it is not readable until `after` is over, and never if that is zero.
    pub(crate) fn set(&self, after: Duration) {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec {
            tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: after.subsec_nanos().into(),
        };
        let time = Itimerspec { it_interval: zero, it_value };
        // It fails for times that are none, and for descriptors that are no timers.
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &time);
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
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
        counter.try_clone().unwrap().signal();
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
    fn only_a_counter_that_never_blocks_is_admitted() {
        let blocking = eventfd(0, EventfdFlags::empty()).unwrap();
        assert!(Counter::admit(blocking).is_err());
        let (_, pipe) = io::pipe().unwrap();
        let pipe = OwnedFd::from(pipe);
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK).unwrap();
        assert!(Counter::admit(pipe).is_err());
        let good = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        assert!(Counter::admit(good).is_ok());
    }
}
