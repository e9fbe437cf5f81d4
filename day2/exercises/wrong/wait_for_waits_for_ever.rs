//! Wrong: waits for a message that the log has no place for.

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
    let started = Instant::now();
    loop {
        if let Some(message) = log.get(index) {
            return Ok(message);
        }
        if started.elapsed() >= timeout {
            return Err(WaitError::TimedOut);
        }
        thread::sleep(Duration::from_millis(1));
    }
}
