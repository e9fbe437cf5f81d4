//! Wrong: burns a core while it waits.

use std::thread;
use std::time::{Duration, Instant};

use bytemuck::Pod;
use day2::LogReader;

use crate::WaitError;

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
        if started.elapsed() >= timeout {
            return Err(WaitError::TimedOut);
        }
        // Gives the core to other threads, and goes on at once if there is none.
        thread::yield_now();
    }
}
