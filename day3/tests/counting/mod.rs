//! A consumer that counts how often its ring is asked for messages.

use std::ops::Deref;
use std::time::Duration;

use bytemuck::Pod;
use real_day3::ring::Batch;
use real_day3::sequencer::ConsumerCursor;
use real_day3::{RecvError, RecvTimeoutError, Shared, TryRecvError, Yield};

type Lent<'a, T> = Batch<'a, T, ConsumerCursor<Shared>, Yield>;

/// Day 3's consumer, and how often it was asked. All calls that take messages are counted here; the
/// others go straight to the consumer.
pub(crate) struct Consumer<T: Pod> {
    consumer: real_day3::Consumer<T>,
    asked: u32,
}

impl<T: Pod> Consumer<T> {
    pub(crate) fn counting(consumer: real_day3::Consumer<T>) -> Self {
        Self { consumer, asked: 0 }
    }

    /// How often it was asked since the last call of this.
    pub(crate) fn asked(&mut self) -> u32 {
        std::mem::take(&mut self.asked)
    }
}

impl<T: Pod> Deref for Consumer<T> {
    type Target = real_day3::Consumer<T>;

    fn deref(&self) -> &Self::Target {
        &self.consumer
    }
}

/// The calls that ask, each counted.
macro_rules! counted {
    ($($ask:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[allow(dead_code, reason = "which of them a solution uses is its own affair")]
        impl<T: Pod> Consumer<T> {
            $(pub(crate) fn $ask(&mut self, $($argument: $type),*) -> $answer {
                self.asked += 1;
                self.consumer.$ask($($argument),*)
            })*
        }
    };
}

counted! {
    try_recv() -> Result<T, TryRecvError>;
    recv() -> Result<T, RecvError>;
    recv_timeout(timeout: Duration) -> Result<T, RecvTimeoutError>;
    try_recv_batch(most: usize) -> Result<Lent<'_, T>, TryRecvError>;
    recv_batch(most: usize) -> Result<Lent<'_, T>, RecvError>;
    recv_batch_timeout(most: usize, timeout: Duration) -> Result<Lent<'_, T>, RecvTimeoutError>;
}
