//! Wrong: takes from both, and gives one.

use std::thread;
use std::time::{Duration, Instant};

use day3::{RecvError, TryRecvError};

use crate::either_solution::{Consumer, Found};

pub(crate) fn either(
    first: &mut Consumer,
    second: &mut Consumer,
    turn: &mut bool,
    timeout: Duration,
) -> Found {
    const CLOSED: TryRecvError = TryRecvError::End(RecvError::Closed);
    let started = Instant::now();
    loop {
        *turn = !*turn;
        match (first.try_recv(), second.try_recv()) {
            (Ok(message), Err(_)) => return Found::First(message),
            (Err(_), Ok(message)) => return Found::Second(message),
            (Ok(message), Ok(_)) if *turn => return Found::First(message),
            (Ok(_), Ok(message)) => return Found::Second(message),
            (Err(CLOSED), Err(CLOSED)) => return Found::Closed,
            (Err(_), Err(_)) if started.elapsed() >= timeout => return Found::TimedOut,
            (Err(_), Err(_)) => thread::sleep(Duration::from_millis(1)),
        }
    }
}
