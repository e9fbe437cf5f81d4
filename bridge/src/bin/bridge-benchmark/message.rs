//! The messages, and what is wrong with those that arrive.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use yardstick::bytes::{Tally, Touch};
use yardstick::crew;

use crate::load::Load;

/// What yardstick multiplies a message's number by.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// Where a message says when it was sent, if its latency is measured.
const TIME: core::ops::Range<usize> = 8..16;

/// Writes messages, each when it is due.
pub(crate) struct Author {
    pub(crate) tally: Tally,
    size: usize,
    /// Between two messages; `None`: they are sent as fast as they can be.
    period: Option<Duration>,
    first: Option<Duration>,
}

impl Author {
    pub(crate) fn new(load: &Load) -> Self {
        let period = load.rate.map(|rate| Duration::from_secs(1) / rate);
        Self { tally: Tally::default(), size: load.size, period, first: None }
    }

    /// How many messages were written.
    pub(crate) fn written(&self) -> u64 {
        self.tally.count
    }

    /// Waits until the next message is due.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        let Some(period) = self.period else { return Ok(()) };
        let now = crew::now()?;
        let first = *self.first.get_or_insert(now);
        let due = first + period.mul_f64(self.written() as f64);
        std::thread::sleep(due.saturating_sub(now));
        Ok(())
    }

    /// Writes the next message, which fills `place`; `place` is aligned to 8.
    pub(crate) fn write(&mut self, place: &mut [u8]) -> anyhow::Result<()> {
        debug_assert_eq!(place.len(), self.size);
        if self.period.is_none() {
            self.tally.write(place, Touch::All);
            return Ok(());
        }
        let mut number = Tally { count: self.written(), ..Tally::default() };
        number.write(place, Touch::All);
        place[TIME].copy_from_slice(&(crew::now()?.as_nanos() as u64).to_le_bytes());
        self.tally.read(place, Touch::All);
        Ok(())
    }
}

/// Counts what arrives.
pub(crate) struct Checker {
    pub(crate) tally: Tally,
    pub(crate) faults: Faults,
    messages: u64,
    next: u64,
    /// The first message whose latency is measured.
    warm: Option<u64>,
    /// Nanoseconds.
    latencies: Vec<u64>,
}

/// Messages that are not what they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Faults {
    /// Left out.
    pub(crate) lost: u64,
    /// Not newer than the one before: it came again, or too late.
    pub(crate) late: u64,
}

/// How long messages were on their way, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) most: f64,
}

impl Checker {
    pub(crate) fn new(load: &Load) -> Self {
        let warm = load.rate.map(|_| load.warm());
        let measured = warm.map_or(0, |warm| load.messages - warm);
        Self {
            tally: Tally::default(),
            faults: Faults::default(),
            messages: load.messages,
            next: 0,
            warm,
            latencies: Vec::with_capacity(measured as usize),
        }
    }

    /// Whether messages are still to come.
    pub(crate) fn lacks(&self) -> bool {
        self.next < self.messages
    }

    /// The next message.
    pub(crate) fn take(&mut self, message: &[u8]) -> anyhow::Result<()> {
        self.tally.read(message, Touch::All);
        let number = word(message, 0).wrapping_mul(const { inverse(FACTOR) });
        if number >= self.next {
            self.faults.lost += number - self.next;
            self.next = number.saturating_add(1);
        } else {
            self.faults.late += 1;
        }
        if self.warm.is_some_and(|warm| number >= warm) {
            let now = crew::now()?.as_nanos() as u64;
            self.latencies.push(now.saturating_sub(word(message, TIME.start)));
        }
        Ok(())
    }

    /// How long the messages were on their way, if that was measured.
    pub(crate) fn latency(&mut self) -> Option<Latency> {
        self.latencies.sort_unstable();
        let most = self.latencies.len().checked_sub(1)?;
        let at = |share: f64| self.latencies[(most as f64 * share) as usize] as f64 / 1e3;
        Some(Latency { p50: at(0.5), p99: at(0.99), most: at(1.0) })
    }
}

/// The eight bytes that begin at `at`; a message that is too short is none of ours, and has a number that none has.
fn word(message: &[u8], at: usize) -> u64 {
    let bytes = message.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}

/// What an odd number has to be multiplied by to be 1: each step of Newton's doubles the bits that are right.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(rate: Option<u32>) -> Load {
        let (url, stream) = (String::new(), String::new());
        Load { url, stream, messages: 10, size: 64, window: 1, rate }
    }

    fn messages(load: &Load) -> (Vec<Vec<u8>>, Tally) {
        let mut author = Author::new(load);
        let write = |_| {
            let mut place = vec![0u64; load.size / 8];
            author.write(bytemuck::cast_slice_mut(&mut place)).unwrap();
            bytemuck::cast_slice(&place).to_vec()
        };
        let messages = (0..load.messages).map(write).collect();
        (messages, author.tally)
    }

    fn checked<'a>(load: &Load, messages: impl IntoIterator<Item = &'a Vec<u8>>) -> Checker {
        let mut checker = Checker::new(load);
        for message in messages {
            checker.take(message).unwrap();
        }
        checker
    }

    #[test]
    fn messages_that_arrive_as_they_were_sent_have_no_faults() {
        for rate in [None, Some(1_000_000)] {
            let load = load(rate);
            let (messages, sent) = messages(&load);
            let mut checker = checked(&load, &messages);
            assert!(!checker.lacks());
            assert_eq!((checker.tally, checker.faults), (sent, Faults::default()));
            assert_eq!(checker.latency().is_some(), rate.is_some());
        }
    }

    #[test]
    fn what_is_lost_repeated_or_late_is_counted() {
        let load = load(None);
        let (messages, sent) = messages(&load);
        let order = [0, 1, 1, 3, 2, 4, 5, 6, 8, 9].map(|number: usize| &messages[number]);
        let checker = checked(&load, order);
        assert!(!checker.lacks());
        assert_eq!(checker.faults, Faults { lost: 2, late: 2 });
        assert_ne!(checker.tally, sent);
    }
}
