//! Wrong: waits for as long as it takes.

use std::time::Duration;

use day3::{RecvError, TryRecvError};

use crate::either_solution::{Consumer, Found};

pub(crate) fn either(
    first: &mut Consumer,
    second: &mut Consumer,
    turn: &mut bool,
    timeout: Duration,
) -> Found {
    let _ = timeout;
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
        if ended == 2 {
            return Found::Closed;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
