//! Wrong: loses the message that it has read if the ring ends after it.

use day3::{Consumer, RecvError, TryRecvError};

pub(crate) fn newest(consumer: &mut Consumer<u64>) -> Result<Option<u64>, RecvError> {
    let mut newest = None;
    loop {
        match consumer.try_recv_batch(usize::MAX) {
            Ok(batch) => newest = batch.iter().last().copied(),
            Err(TryRecvError::Empty) => return Ok(newest),
            Err(TryRecvError::End(end)) => return Err(end),
        }
    }
}
