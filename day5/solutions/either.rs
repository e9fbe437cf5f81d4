//! Exercise 2: two queues, one reader.

use std::time::{Duration, Instant};

use day3::{RecvError, TryRecvError};
use day5::AnyStrategy;

/// A consumer that waits in whatever way.
pub(crate) type Consumer = day3::ring::Consumer<u64, AnyStrategy>;

/// Where a message came from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The first queue.
    First(u64),
    /// The second one.
    Second(u64),
    /// There was none within the time.
    TimedOut,
    /// Both queues are closed, and everything is read.
    Closed,
}

/// How long one sleeps on one queue without looking at the other.
const SLICE: Duration = Duration::from_millis(1);

/// The next message of either queue, waiting for at most `timeout` without burning a core. Neither
/// queue starves: while both have messages, it takes from them by turns (`turn` is yours to keep from
/// call to call).
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
        // A futex is one word: asleep on one queue, we do not hear the other. So not for long.
        std::thread::sleep(left.min(SLICE));
    }
}
