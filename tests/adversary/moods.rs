//! Ways to wait: the product's, and some that no sane program would have.

use std::time::Instant;

use fanout::Wait;
use fanout::wait::{AnyStrategy, Doorbell, Side, Strategy};
use testing::Dice;

/// A way to wait, drawn at random.
#[derive(Debug)]
pub(crate) enum Mood {
    /// One of the product's strategies.
    Sane(AnyStrategy),
    /// Never looks, and gives up at once.
    Lazy,
    /// Looks once, and does not return what it found.
    Secretive,
    /// Looks again after it has an answer.
    Greedy,
    /// Looks until there is something, whatever the timeout, and then gives up.
    Stubborn,
}

impl Default for Mood {
    fn default() -> Self {
        Self::Sane(AnyStrategy::default())
    }
}

impl Mood {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        match dice.below(12) {
            0 => Self::Lazy,
            1 => Self::Secretive,
            2 => Self::Greedy,
            3 => Self::Stubborn,
            _ => Self::Sane(dice.pick(&Strategy::ALL).start()),
        }
    }
}

impl Wait for Mood {
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        match self {
            Self::Sane(wait) => wait.until(side, doorbell, deadline, poll),
            Self::Lazy => {
                std::thread::yield_now();
                None
            }
            Self::Secretive => {
                let _ = poll();
                std::thread::yield_now();
                None
            }
            Self::Greedy => {
                let answer = poll();
                std::thread::yield_now();
                let another = poll();
                another.or(answer)
            }
            Self::Stubborn => {
                // It has to end some time: no other code can break a strategy's loop.
                for _ in 0..100 {
                    if poll().is_some() {
                        break;
                    }
                    std::thread::yield_now();
                }
                None
            }
        }
    }
}
