//! When an end that waits asks the kernel who is alive.
//!
//! To ask costs a system call, so no end asks while there is something to do. An end that looks in vain asks after a
//! while; then at longer and longer intervals. How long a while is, says a clock that is quick to read, and coarse: it
//! ticks every few milliseconds. It is read at each look in vain, because nobody knows how far apart looks are.

use core::time::Duration;
#[cfg(not(loom))]
use std::time::Instant;

#[cfg(not(loom))]
use rustix::time::{ClockId, clock_gettime};

#[cfg(not(loom))]
use crate::doorbell;

/// How many looks in vain there are between two looks at the precise clock, in an end that does not sleep, while the
/// coarse one does not tick.
#[cfg(not(loom))]
const LOOKS_BETWEEN_CLOCKS: u32 = 32;

/// What the coarse clock says has passed, has passed but for so much: Linux ticks at least 100 times a second.
#[cfg(not(loom))]
const TICK: Duration = Duration::from_millis(10);

/// What the coarse clock says: the time of the last tick.
#[cfg(not(loom))]
fn tick() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    Duration::try_from(now).unwrap_or(Duration::ZERO)
}

/// What a vigil remembers of the looks in vain since the last one that found something.
#[derive(Clone, Copy, Debug)]
pub struct Vigil {
    first: Duration,
    longest: Duration,
    looks: u32,
    #[cfg(not(loom))]
    sleeps: u64,
    /// What the coarse clock said at the first look, and at the last.
    #[cfg(not(loom))]
    ticks: (Duration, Duration),
    #[cfg(not(loom))]
    next: Option<Instant>,
    interval: Duration,
}

impl Vigil {
    /// Asks for the first time after `first`, and then at intervals of up to `longest`.
    const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            looks: 0,
            #[cfg(not(loom))]
            sleeps: 0,
            #[cfg(not(loom))]
            ticks: (Duration::ZERO, Duration::ZERO),
            #[cfg(not(loom))]
            next: None,
            interval: first,
        }
    }

    /// That of a producer: it is to go on within milliseconds of a consumer's death.
    pub(crate) const fn of_producer() -> Self {
        Self::new(Duration::from_micros(500), Duration::from_millis(4))
    }

    /// That of a consumer: the dead hold up nobody while there is nothing to read.
    pub const fn of_consumer() -> Self {
        Self::new(Duration::from_millis(1), Duration::from_millis(64))
    }

    /// A look has found something.
    #[inline(always)]
    pub fn end(&mut self) {
        self.looks = 0;
    }

    /// A look was in vain; says whether it is time to ask.
    #[cfg(not(loom))]
    #[inline]
    pub fn in_vain(&mut self) -> bool {
        self.in_vain_at(tick())
    }

    #[cfg(not(loom))]
    #[inline]
    fn in_vain_at(&mut self, tick: Duration) -> bool {
        self.looks = self.looks.wrapping_add(1);
        if self.looks == 1 {
            self.next = None;
            self.sleeps = doorbell::sleeps();
            self.ticks = (tick, tick);
            return false;
        }
        // A look after a sleep is worth the clock: it was the sleep that took long. So is one after a tick.
        let is_later = self.sleeps != doorbell::sleeps() || self.ticks.1 != tick;
        (is_later || self.looks.is_multiple_of(LOOKS_BETWEEN_CLOCKS)) && self.is_due(tick)
    }

    /// A model has no clock: it says itself when an end asks.
    #[cfg(loom)]
    pub fn in_vain(&mut self) -> bool {
        self.looks = 1;
        let _ = (self.first, self.longest, self.interval);
        false
    }

    #[cfg(not(loom))]
    #[cold]
    fn is_due(&mut self, tick: Duration) -> bool {
        let now = Instant::now();
        self.sleeps = doorbell::sleeps();
        self.ticks.1 = tick;
        // Since the first look, when the precise clock was not read.
        let waited = tick.saturating_sub(self.ticks.0);
        let is_first = self.next.is_none();
        match self.next {
            None => self.interval = self.first,
            Some(next) if now < next => return false,
            Some(_) => self.interval = (2 * self.interval).min(self.longest),
        }
        self.next = Some(now + self.interval);
        !is_first || waited >= self.first + TICK
    }
}

/// How long each consumer has held the producer back that may be evicted for that.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    #[cfg(not(loom))]
    held: Vec<Held>,
}

/// A consumer's slot, the slot's state, and the sequence that the producer is to publish next.
pub(crate) type Place = (usize, u64, u64);

/// For how long a consumer has held the producer back at one place.
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug)]
struct Held {
    place: Place,
    time: Duration,
    last: Instant,
}

/// The most that counts between two times that a producer asks. If more time has passed, the producer did not wait all
/// the while, or was itself stopped.
#[cfg(not(loom))]
const MOST_BETWEEN: Duration = Duration::from_millis(250);

impl Patience {
    /// The consumer at this place holds the producer back. Says whether it has done so for as long as `most`.
    #[cfg(not(loom))]
    pub(crate) fn ends(&mut self, place: Place, most: Duration) -> bool {
        let last = Instant::now();
        let known = self.held.iter().copied().find(|held| held.place == place);
        let time = known.map_or(Duration::ZERO, |held| {
            held.time + last.saturating_duration_since(held.last).min(MOST_BETWEEN)
        });
        self.held.retain(|held| held.place.0 != place.0);
        self.held.push(Held { place, time, last });
        time >= most
    }

    /// A model has no clock: it says itself when a producer asks.
    #[cfg(loom)]
    pub(crate) fn ends(&mut self, _: Place, _: Duration) -> bool {
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// So many looks in vain between two ticks.
    fn looks(vigil: &mut Vigil, looks: u32) -> usize {
        (0..looks).filter(|_| vigil.in_vain_at(Duration::ZERO)).count()
    }

    #[test]
    fn an_end_that_finds_something_now_and_then_never_asks() {
        let mut vigil = Vigil::new(Duration::ZERO, Duration::ZERO);
        for _ in 0..100 {
            assert_eq!(looks(&mut vigil, LOOKS_BETWEEN_CLOCKS), 0);
            vigil.end();
        }
    }

    #[test]
    fn an_end_that_looks_in_vain_asks() {
        let mut vigil = Vigil::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(looks(&mut vigil, 4 * LOOKS_BETWEEN_CLOCKS), 3);
    }

    #[test]
    fn an_end_that_sleeps_asks_after_each_sleep() {
        let mut vigil = Vigil::new(Duration::ZERO, Duration::ZERO);
        assert_eq!(looks(&mut vigil, 2), 0);
        let asked = (0..4).filter(|_| {
            doorbell::announced();
            vigil.in_vain_at(Duration::ZERO)
        });
        assert_eq!(asked.count(), 3);
    }

    /// An end that looks every 50 ms, for example, while it does other things.
    #[test]
    fn an_end_that_looks_seldom_asks_at_its_second_look() {
        let mut vigil = Vigil::of_producer();
        let mut now = Duration::ZERO;
        let looks = (0..2).map(|_| {
            now += Duration::from_millis(50);
            vigil.in_vain_at(now)
        });
        assert_eq!(looks.collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn the_coarse_clock_ticks() {
        let before = tick();
        testing::eventually("a tick", || tick() > before);
    }

    #[test]
    fn it_asks_at_longer_and_longer_intervals() {
        let longest = Duration::from_secs(3600);
        let mut vigil = Vigil::new(longest, longest);
        assert_eq!(looks(&mut vigil, 100 * LOOKS_BETWEEN_CLOCKS), 0);
    }
}
