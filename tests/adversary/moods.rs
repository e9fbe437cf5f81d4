//! Ways to wait: the product's, and some that no sane program has.

use std::time::Instant;

use fanout::Wait;
use fanout::wait::{AnyStrategy, Doorbell, Side, Strategy};
use testing::Dice;

/// A way to wait that is drawn.
#[derive(Debug)]
pub(crate) enum Mood {
    /// The product's.
    Sane(AnyStrategy),
    /// Never looks, and gives up at once.
    Lazy,
    /// Looks once, and keeps the answer to itself.
    Secretive,
    /// Looks on after it has an answer.
    Greedy,
    /// Looks until there is something, whatever the deadline, and then gives up.
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
                // It has to end some time: a strategy's loop is nobody else's to break.
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
