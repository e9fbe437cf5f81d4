//! What a run moved, and how fast.

use core::fmt;
use std::process::ExitCode;
use std::time::Duration;

pub use common::grouped;

/// Ends a program: an error becomes one line on stderr, without a backtrace, and exit code 1.
///
/// The error is formatted with `{:#}`, so that `anyhow` puts its chain of causes on that line.
pub fn exit(outcome: Result<(), impl fmt::Display>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What a benchmark prints first if its figures mean nothing.
pub const DEBUG_BUILD: &str =
    "warning: built without optimisation, so the figures are too low: build with --release";

/// Prints [`DEBUG_BUILD`] on stderr in a debug build.
pub fn warn_of_debug_build() {
    if cfg!(debug_assertions) {
        eprintln!("{DEBUG_BUILD}");
    }
}

/// Bytes and messages moved in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// Messages moved.
    pub messages: u64,
    /// Bytes of payload moved.
    pub bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Throughput {
    /// Payload in MB/s; one MB is 10^6 bytes.
    pub fn megabytes_per_second(&self) -> f64 {
        per_second(self.bytes, self.elapsed) / 1e6
    }

    /// Messages per second, in millions.
    pub fn million_messages_per_second(&self) -> f64 {
        per_second(self.messages, self.elapsed) / 1e6
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, bytes) = (self.million_messages_per_second(), self.megabytes_per_second());
        write!(f, "{rate:.2} M messages/s, {bytes:.1} MB/s")
    }
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() { 0.0 } else { count as f64 / elapsed.as_secs_f64() }
}

/// The middle of `samples`, or the mean of the middle two; `None` if there are no samples.
///
/// ```
/// assert_eq!(yardstick::report::median(&[3.0, 1.0, 2.0]), Some(2.0));
/// assert_eq!(yardstick::report::median(&[]), None);
/// ```
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_no_time_has_no_rate() {
        let run = Throughput { messages: 5, bytes: 320, elapsed: Duration::ZERO };
        assert_eq!(run.million_messages_per_second(), 0.0);
    }

    #[test]
    fn megabytes_are_decimal() {
        let elapsed = Duration::from_secs(2);
        let run = Throughput { messages: 4_000_000, bytes: 256_000_000, elapsed };
        assert_eq!(run.to_string(), "2.00 M messages/s, 128.0 MB/s");
    }

    #[test]
    fn median_of_an_even_count_lies_between() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
