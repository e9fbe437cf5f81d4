//! Wrong: asks the ring once for each message.

use day3::{Consumer, RecvError, TryRecvError};

pub(crate) fn newest(consumer: &mut Consumer<u64>) -> Result<Option<u64>, RecvError> {
    let mut newest = None;
    loop {
        match consumer.try_recv() {
            Ok(message) => newest = Some(message),
            Err(TryRecvError::Empty) => return Ok(newest),
            Err(TryRecvError::End(end)) => return newest.map_or(Err(end), |last| Ok(Some(last))),
        }
    }
}
