//! Wrong: sleeps on the first queue, and does not hear the second.

use std::time::Duration;

use crate::either_solution::{self, Consumer, Found};

pub(crate) fn either(
    first: &mut Consumer,
    second: &mut Consumer,
    turn: &mut bool,
    timeout: Duration,
) -> Found {
    let found = either_solution::either(first, second, turn, Duration::ZERO);
    if found != Found::TimedOut {
        return found;
    }
    match first.recv_timeout(timeout) {
        Ok(message) => Found::First(message),
        Err(_) => either_solution::either(first, second, turn, Duration::ZERO),
    }
}
