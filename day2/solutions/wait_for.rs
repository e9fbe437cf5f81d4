//! Exercise 1, solved.

use std::thread;
use std::time::{Duration, Instant};

use bytemuck::Pod;
use day2::LogReader;

use super::WaitError;

/// How long to sleep between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// The message at `index`, as soon as it is there.
pub(crate) fn wait_for<T: Pod>(
    log: &LogReader<T>,
    index: u64,
    timeout: Duration,
) -> Result<T, WaitError> {
    let capacity = log.capacity();
    if index >= capacity {
        return Err(WaitError::NoSuchPlace { capacity });
    }
    let started = Instant::now();
    loop {
        if let Some(message) = log.get(index) {
            return Ok(message);
        }
        // The clock comes after the log, so that a timeout of zero still looks once.
        if started.elapsed() >= timeout {
            return Err(WaitError::TimedOut);
        }
        thread::sleep(PAUSE);
    }
}
