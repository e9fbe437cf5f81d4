//! Wrong: sleeps until the timeout, even if the message comes before.

use std::thread;
use std::time::Duration;

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
    if let Some(message) = log.get(index) {
        return Ok(message);
    }
    thread::sleep(timeout);
    log.get(index).ok_or(WaitError::TimedOut)
}
