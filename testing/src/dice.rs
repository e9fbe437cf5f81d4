//! Randomness that can be repeated.

use std::time::{Duration, SystemTime};

/// Numbers that look random. The same seed gives the same numbers: SplitMix64, after Steele, Lea and
/// Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

/// How far the state of SplitMix64 moves in one step.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// One step of SplitMix64. It also serves as a hash of a number.
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dice {
    /// The dice of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Seeded by `FANOUT_SEED`, or else by the clock. It prints the seed, so that a run can be
    /// repeated.
    pub fn seeded() -> Self {
        let clock = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = number_from_environment("FANOUT_SEED").unwrap_or_else(clock);
        println!("FANOUT_SEED={seed}");
        Self(seed)
    }

    /// Any number.
    pub fn word(&mut self) -> u64 {
        let word = mix(self.0);
        self.0 = self.0.wrapping_add(STEP);
        word
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A pause of up to `most`; most pauses are short.
    pub fn pause(&mut self, most: Duration) -> Duration {
        let nanos = most.as_nanos() as u64;
        Duration::from_nanos(self.below(nanos) >> self.below(8))
    }

    /// Separate dice for another thread or process.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self(self.word())
    }
}

/// A number from an environment variable, if it is set.
pub fn number_from_environment(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, found {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_numbers_of_the_paper() {
        let mut dice = Dice::new(1_234_567);
        let words = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([dice.word(), dice.word()], words);
    }
}
