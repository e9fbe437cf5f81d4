//! Wrong: never looks if the timeout is zero.

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
    while started.elapsed() < timeout {
        if let Some(message) = log.get(index) {
            return Ok(message);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(WaitError::TimedOut)
}
