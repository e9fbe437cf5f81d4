//! Exercise 1: the newest message, and none of those before it.

use day3::{Consumer, RecvError, TryRecvError};

/// Returns the last message that is there now, and releases it and all before it; `None` if there
/// is none.
///
/// # Errors
///
/// [`RecvError`] once the ring is closed and read, or the consumer evicted.
pub(crate) fn newest(consumer: &mut Consumer<u64>) -> Result<Option<u64>, RecvError> {
    let mut newest = None;
    loop {
        // A batch without a limit is everything that one look at the ring has found.
        match consumer.try_recv_batch(usize::MAX) {
            Ok(batch) => newest = batch.iter().last().copied(),
            Err(TryRecvError::Empty) => return Ok(newest),
            // Messages before the end come first. The next call will see the end.
            Err(TryRecvError::End(end)) => return newest.map_or(Err(end), |last| Ok(Some(last))),
        }
    }
}
