//! Wrong: takes any message for the message that was asked for.

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
        let last = log.len().checked_sub(1);
        if let Some(message) = log.get(index).or_else(|| log.get(last?)) {
            return Ok(message);
        }
        if started.elapsed() >= timeout {
            return Err(WaitError::TimedOut);
        }
        thread::sleep(Duration::from_millis(1));
    }
}
