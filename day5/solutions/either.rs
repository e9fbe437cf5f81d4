//! Exercise 2: two queues, one reader.

use std::time::{Duration, Instant};

use day3::{RecvError, TryRecvError};
use day5::AnyStrategy;

/// A consumer; its way to wait is chosen at run time.
pub(crate) type Consumer = day3::ring::Consumer<u64, AnyStrategy>;

/// Where a message came from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The first queue.
    First(u64),
    /// The second one.
    Second(u64),
    /// No message came within the timeout.
    TimedOut,
    /// Both queues are closed, and everything is read.
    Closed,
}

/// How long it sleeps on one queue without looking at the other.
const SLICE: Duration = Duration::from_millis(1);

/// Returns the next message of either queue, and waits for at most `timeout`, without burning a core.
/// Neither queue starves: while both have messages, it takes from them by turns. `turn` keeps its
/// value from call to call.
pub(crate) fn either(
    first: &mut Consumer,
    second: &mut Consumer,
    turn: &mut bool,
    timeout: Duration,
) -> Found {
    let started = Instant::now();
    let closed = TryRecvError::End(RecvError::Closed);
    loop {
        let mut ended = 0;
        for _ in 0..2 {
            *turn = !*turn;
            let found = if *turn { first.try_recv() } else { second.try_recv() };
            match found {
                Ok(message) => {
                    return if *turn { Found::First(message) } else { Found::Second(message) };
                }
                Err(error) => ended += u32::from(error == closed),
            }
        }
        let left = timeout.saturating_sub(started.elapsed());
        if ended == 2 {
            return Found::Closed;
        }
        if left.is_zero() {
            return Found::TimedOut;
        }
        // A futex is one word: while it sleeps on one queue, the other cannot wake it. So it sleeps
        // only briefly.
        std::thread::sleep(left.min(SLICE));
    }
}
