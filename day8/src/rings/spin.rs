//! How long the runtime goes on looking at rings before it sleeps.

use std::time::{Duration, Instant};

use common::sync::yield_now;

/// It spins for at least so long: about what one sleep and one wake-up cost the other side.
const FEWEST: Duration = Duration::from_micros(2);
/// How many waits pass before it tries again whether spinning longer pays off: at first, and at most.
const BETWEEN_TRIALS: (u32, u32) = (64, 1024);
/// If the core is back this soon after a yield, no other thread wanted it.
const WANTED: Duration = Duration::from_micros(1);
/// For how many waits it spins the least, after another thread took the core.
const CROWD: u32 = 64;

/// Where a wait is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// A ring had something at the last look.
    Busy,
    /// It looks again and again since then, for so long at most.
    Spinning(Instant, Duration),
    /// It is not worth looking any more: nothing has come since it gave up.
    Over,
}

/// Learns how long to spin, as Day 5's adaptive strategy does: longer while the next message comes meanwhile, shorter
/// while it does not. It counts time, not looks, since the runtime does other things between two looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spin {
    most: Duration,
    now: Duration,
    phase: Phase,
    until_trial: u32,
    next_trial: u32,
    crowd: u32,
}

impl Spin {
    /// Spins for at most so long.
    pub(super) fn new(most: Duration) -> Self {
        let (until_trial, next_trial) = (BETWEEN_TRIALS.0, BETWEEN_TRIALS.0);
        Self { most, now: most, phase: Phase::Over, until_trial, next_trial, crowd: 0 }
    }

    /// A ring has something.
    #[inline]
    pub(super) fn found(&mut self) {
        if let Phase::Spinning(since, _) = self.phase {
            // Twice as long as this wait took is enough.
            let enough = (2 * since.elapsed()).min(self.most);
            if self.now < enough {
                (self.now, self.next_trial) = (enough, BETWEEN_TRIALS.0);
            }
        }
        self.phase = Phase::Busy;
    }

    /// No ring has anything; says whether to look again before a sleep.
    pub(super) fn goes_on(&mut self) -> bool {
        match self.phase {
            Phase::Over => false,
            Phase::Busy => {
                let time = self.time();
                self.phase = Phase::Spinning(Instant::now(), time);
                !time.is_zero()
            }
            Phase::Spinning(since, time) if since.elapsed() < time => true,
            Phase::Spinning(..) => {
                self.phase = Phase::Over;
                self.now = (self.now / 2).max(FEWEST.min(self.most));
                // The other side may need this very core.
                let given = Instant::now();
                yield_now();
                if given.elapsed() > WANTED {
                    self.crowd = CROWD;
                }
                false
            }
        }
    }

    /// How long to spin this time.
    fn time(&mut self) -> Duration {
        if self.crowd > 0 {
            self.crowd -= 1;
            return FEWEST.min(self.most);
        }
        self.until_trial -= 1;
        if self.until_trial > 0 {
            return self.now;
        }
        self.next_trial = (2 * self.next_trial).min(BETWEEN_TRIALS.1);
        self.until_trial = self.next_trial;
        self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As good as for ever.
    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn it_looks_again_only_after_something_was_found() {
        let mut spin = Spin::new(LONG);
        assert!(!spin.goes_on(), "nothing has ever come");
        spin.found();
        assert!(spin.goes_on() && spin.goes_on());
    }

    #[test]
    fn without_a_time_it_never_spins() {
        let mut spin = Spin::new(Duration::ZERO);
        for _ in 0..2 * BETWEEN_TRIALS.1 {
            spin.found();
            assert!(!spin.goes_on() && !spin.goes_on());
        }
    }

    #[test]
    fn waits_in_vain_shorten_it_and_a_trial_comes_again() {
        let most = Duration::from_micros(64);
        let mut spin = Spin::new(most);
        let mut times = Vec::new();
        for _ in 0..BETWEEN_TRIALS.0 {
            spin.found();
            // It is over already.
            spin.crowd = 0;
            times.push(spin.time());
            spin.phase = Phase::Spinning(Instant::now() - LONG, Duration::ZERO);
            assert!(!spin.goes_on());
        }
        assert_eq!(times[..3], [most, most / 2, most / 4]);
        assert_eq!(times[20], FEWEST);
        assert_eq!(times.last(), Some(&most), "the trial");
    }

    #[test]
    fn what_comes_while_it_spins_makes_it_longer() {
        let mut spin = Spin::new(LONG);
        spin.now = FEWEST;
        spin.phase = Phase::Spinning(Instant::now() - Duration::from_millis(1), LONG);
        spin.found();
        assert!(spin.now >= Duration::from_millis(2), "{:?}", spin.now);
    }
}
