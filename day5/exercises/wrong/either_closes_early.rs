//! Wrong: says Closed when only one of the queues is closed.

use std::time::{Duration, Instant};

use day3::{RecvError, TryRecvError};

use crate::either_solution::{Consumer, Found};

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
        if ended > 0 {
            return Found::Closed;
        }
        if left.is_zero() {
            return Found::TimedOut;
        }
        std::thread::sleep(left.min(Duration::from_millis(1)));
    }
}
