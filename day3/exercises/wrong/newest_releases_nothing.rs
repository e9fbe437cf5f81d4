//! Wrong: does not release what it has read.

use day3::{Consumer, RecvError, TryRecvError};

pub(crate) fn newest(consumer: &mut Consumer<u64>) -> Result<Option<u64>, RecvError> {
    match consumer.try_recv_batch(usize::MAX) {
        Ok(batch) => {
            let newest = batch.iter().last().copied();
            std::mem::forget(batch);
            Ok(newest)
        }
        Err(TryRecvError::Empty) => Ok(None),
        Err(TryRecvError::End(end)) => Err(end),
    }
}
