//! The times of tasks: nanoseconds of `CLOCK_MONOTONIC`, which all processes of a host share.

use rustix::time::{ClockId, Timespec, clock_gettime};

fn nanoseconds(time: Timespec) -> u64 {
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// The time, some milliseconds late: it costs a fifth of the exact one.
pub(super) fn coarse() -> u64 {
    nanoseconds(clock_gettime(ClockId::MonotonicCoarse))
}

/// The time.
pub(super) fn exact() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}
