//! How long an end holds back before it looks at the other side's lines again.
//!
//! A look is not free for the other side. The line that is read comes from the core that writes it, and
//! that core's next write has to fetch it back. A consumer that looks as often as it can keeps the ring empty;
//! a producer that does so keeps it full. Then each message costs such a trip. So an end that follows closely
//! behind the other lets it get ahead.

use std::sync::OnceLock;

use common::sync::spin_loop;
#[cfg(not(loom))]
use day2::segment::processors;

/// The empty side: a broadcast consumer that follows the producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EmptyPace {
    state: Following,
    few: u64,
    turns: u32,
}

/// How a consumer's last look went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Following {
    /// There was nothing: whatever comes next is late already.
    Waiting,
    /// There was something.
    Reading,
    /// There were a few messages, and at once: the producer is at it right now.
    Chasing,
}

/// A consumer's look that finds fewer messages than this was too early.
const FEW_TO_READ: u64 = 32;

/// How long a consumer that chases the producer holds back before the next look, in turns of a busy wait.
const TURNS_TO_READ: u32 = 8;

impl Default for EmptyPace {
    fn default() -> Self {
        Self { state: Following::Waiting, few: FEW_TO_READ, turns: TURNS_TO_READ }
    }
}

impl EmptyPace {
    /// A look that finds fewer sequences than `few` was too early; after it the consumer holds back for so
    /// many turns of a busy wait.
    pub(crate) fn new(few: u64, turns: u32) -> Self {
        Self { few, turns, ..Self::default() }
    }

    /// Before a look. A consumer that found nothing does not hold back: there latency counts.
    pub(crate) fn hold_back(&self) {
        if self.state == Following::Chasing {
            pause(self.turns);
        }
    }

    /// After a look that found so many messages.
    pub(crate) fn found(&mut self, messages: u64) {
        self.state = match messages {
            0 => Following::Waiting,
            n if n < self.few && self.state != Following::Waiting => Following::Chasing,
            _ => Following::Reading,
        };
    }
}

/// The full side: a producer that follows the slowest consumer.
///
/// It holds back twice as long after each look that finds little room, and a quarter shorter after one that
/// finds much. But a consumer that does not run frees nothing, however long the producer holds back: then
/// the core may be wanted by that consumer. So after a while without any gain it no longer holds back, and
/// the strategy that waits gives the core away, or sleeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FullPace {
    /// How many cores the machine has.
    cores: usize,
    is_tight: bool,
    turns: u32,
    /// Turns spent since a look found more room than the one before.
    in_vain: u32,
}

/// How long a producer holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FullLaw {
    /// A look that finds room for fewer messages was too early.
    pub(crate) few: u64,
    /// The shortest and the longest that the producer holds back, in turns of a busy wait.
    turns: (u32, u32),
    /// How long it holds back at most without any gain.
    most_in_vain: u32,
}

impl FullLaw {
    /// A broadcast consumer only stores to its line. While the line is away the stores wait in the core's
    /// buffer, and the consumer goes on: a look costs it little.
    const BROADCAST: Self = Self { few: 128, turns: (48, 48), most_in_vain: 96 };

    /// A member of a group compares and exchanges, and has to have the line for it: it stops until the line
    /// is back.
    const GROUPS: Self = Self { few: 128, turns: (16, 512), most_in_vain: 1024 };

    /// There are more threads than cores: a consumer may wait for the producer's.
    const CROWDED: Self = Self { few: 0, turns: (0, 0), most_in_vain: 0 };

    /// The one for these consumers on so many cores. A group is worth it also in a crowd.
    fn of(has_groups: bool, broadcast_consumers: usize, cores: usize) -> Self {
        if has_groups {
            Self::GROUPS
        } else if broadcast_consumers < cores {
            Self::BROADCAST
        } else {
            Self::CROWDED
        }
    }
}

/// A model's machine has a core for each thread.
#[cfg(loom)]
fn processors() -> usize {
    usize::MAX
}

/// How many cores the machine has. A thread that is pinned to one of them still counts all.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(processors)
}

impl FullPace {
    /// That of a new producer. The kernel is asked for the cores here, and not in the first send.
    pub(crate) fn new() -> Self {
        Self { cores: cores(), is_tight: false, turns: 0, in_vain: 0 }
    }

    /// The law for these consumers.
    pub(crate) fn law(&self, has_groups: bool, broadcast_consumers: usize) -> FullLaw {
        FullLaw::of(has_groups, broadcast_consumers, self.cores)
    }

    /// Before a look at the gate.
    pub(crate) fn hold_back(&mut self, law: FullLaw) {
        pause(self.turns_now(law));
    }

    /// How long it holds back now, in turns of a busy wait.
    fn turns_now(&mut self, law: FullLaw) -> u32 {
        if !self.is_tight || self.in_vain >= law.most_in_vain {
            return 0;
        }
        self.in_vain += self.turns;
        self.turns
    }

    /// After a look that found `room` of `few` sequences, which it was to find; and more than the last
    /// one, or not.
    pub(crate) fn found(&mut self, law: FullLaw, room: u64, few: u64, has_gained: bool) {
        let (least, most) = law.turns;
        if has_gained {
            self.in_vain = 0;
        }
        self.is_tight = room < few;
        self.turns = match self.turns {
            turns if self.is_tight => 2 * turns,
            turns if room >= 4 * few => turns - turns / 4,
            turns => turns,
        };
        self.turns = self.turns.clamp(least, most);
    }
}

/// A model has no time to lose.
fn pause(turns: u32) {
    if cfg!(not(loom)) {
        (0..turns).for_each(|_| spin_loop());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LAW: FullLaw = FullLaw::GROUPS;
    const FEW: u64 = LAW.few;

    /// Looks that find so much room, and how long the producer held back before each.
    fn looks(pace: &mut FullPace, law: FullLaw, room: u64, gains: bool, times: usize) -> Vec<u32> {
        let look = |_| {
            let turns = pace.turns_now(law);
            pace.found(law, room, FEW, gains);
            turns
        };
        (0..times).map(look).collect()
    }

    #[test]
    fn a_producer_that_finds_little_holds_back_longer_each_time() {
        let turns = looks(&mut FullPace::new(), LAW, 1, true, 8);
        assert_eq!(turns, [0, 16, 32, 64, 128, 256, 512, 512]);
    }

    #[test]
    fn a_producer_that_finds_much_does_not_hold_back() {
        let mut pace = FullPace::new();
        looks(&mut pace, LAW, 1, true, 8);
        let after = looks(&mut pace, LAW, 4 * FEW, true, 40);
        assert_eq!(after[1..], [0; 39]);
        // What it has learned is gone by then.
        assert_eq!(looks(&mut pace, LAW, 1, true, 2), [0, 16 + 16]);
    }

    #[test]
    fn a_producer_that_gains_nothing_stops_holding_back() {
        let mut pace = FullPace::new();
        looks(&mut pace, LAW, 1, true, 8);
        let turns = looks(&mut pace, LAW, 0, false, 100);
        assert!(turns.iter().sum::<u32>() <= LAW.most_in_vain + LAW.turns.1, "{turns:?}");
        assert_eq!(turns.last(), Some(&0));
        // A gain lets it begin again.
        pace.found(LAW, 1, FEW, true);
        assert_eq!(pace.turns_now(LAW), LAW.turns.1);
    }

    #[test]
    fn a_crowd_gets_the_core() {
        for (consumers, cores) in [(1, 1), (2, 2), (7, 2), (63, 16)] {
            let crowded = FullLaw::of(false, consumers, cores);
            assert_eq!(looks(&mut FullPace::new(), crowded, 0, false, 100), [0; 100]);
            let group = FullLaw::of(true, consumers, cores);
            assert_eq!(group, LAW, "a group is worth it");
        }
    }

    #[test]
    fn a_producer_with_cores_for_all_consumers_holds_back() {
        for (consumers, cores) in [(1, 2), (3, 4), (63, 64)] {
            let law = FullLaw::of(false, consumers, cores);
            assert_eq!(looks(&mut FullPace::new(), law, 0, false, 5), [0, 48, 48, 0, 0]);
        }
    }

    #[test]
    fn a_consumer_that_found_nothing_does_not_hold_back() {
        let mut pace = EmptyPace::default();
        for (found, state) in [
            (1, Following::Reading),
            (1, Following::Chasing),
            (FEW_TO_READ, Following::Reading),
            (1, Following::Chasing),
            (0, Following::Waiting),
            (1, Following::Reading),
        ] {
            pace.found(found);
            assert_eq!(pace.state, state);
        }
    }
}
