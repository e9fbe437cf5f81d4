//! What tests of pollable queues share: rings in memory, and ways to wait.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use day3::ring::{Consumer, Producer};
use day3::{Heap, JoinOptions, Memory, Start};
use day5::{Adaptive, Notifier, Notify, Pollable};
use testing::DEADLINE;

/// Waits for at most [`DEADLINE`]. When its time is up, a wait looks once more without being woken.
/// So a wait that took that long was not woken, whatever it found.
pub(crate) fn woken<R>(wait: impl FnOnce(Duration) -> R) -> R {
    let started = Instant::now();
    let answer = wait(DEADLINE);
    assert!(started.elapsed() < DEADLINE, "nobody woke the sleeper");
    answer
}

pub(crate) fn ring(capacity: u64) -> (Arc<dyn Memory>, Producer<u64, Adaptive>) {
    let memory: Arc<dyn Memory> = Heap::<u64>::new(capacity, 0).unwrap();
    // SAFETY: made for this type just now, and this is its only producer.
    let producer = unsafe { Producer::from_memory(memory.clone()) };
    (memory, producer)
}

pub(crate) fn consumer(memory: &Arc<dyn Memory>) -> Consumer<u64> {
    // SAFETY: made for this type.
    unsafe { Consumer::from_memory(memory.clone(), Start::Oldest, &JoinOptions::new()) }.unwrap()
}

/// A producer that signals, a consumer that it signals, and its notifier.
pub(crate) fn pair(capacity: u64) -> (Producer<u64, Notify>, Pollable<Consumer<u64>>, Notifier) {
    let (memory, producer) = ring(capacity);
    let notifier = Notifier::default();
    let consumer =
        Pollable::with_connection(consumer(&memory), notifier.connection().unwrap()).unwrap();
    (producer.waiting(Notify::new(notifier.clone(), Adaptive::default())), consumer, notifier)
}

/// The next message, by the rule: try; if there is nothing, wait for the descriptor.
macro_rules! next {
    ($pollable:expr) => {
        loop {
            match $pollable.try_recv() {
                Ok(message) => break Ok(message),
                Err(day3::TryRecvError::Empty) => testing::until_ready(&$pollable),
                Err(day3::TryRecvError::End(end)) => break Err(end),
            }
        }
    };
}
