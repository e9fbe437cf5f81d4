//! What tests of pollable queues share: rings in memory, sockets at paths of their own, and how to wait.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::env;
use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::sync::{AtomicU32, Ordering};
use day3::ring::{Consumer, Producer};
use day3::{Heap, JoinOptions, Memory, Start};
use day5::{Adaptive, Notifier, Notify, Pollable};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Far longer than anything here takes: a wait that reaches it hangs.
const DEADLINE: Duration = Duration::from_secs(100);

/// A path for a socket that no other test has; what is there is removed when this is dropped.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(env::temp_dir().join(format!("day5-pollable-{pid}-{n}")))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Most tests have removed it already.
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether the descriptor is readable now.
pub(crate) fn is_ready(descriptor: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).unwrap() == 1
}

/// Waits for something, for at most [`DEADLINE`]. At its end a wait looks by itself, so one that took
/// that long was not woken, whatever it found.
pub(crate) fn woken<R>(wait: impl FnOnce(Duration) -> R) -> R {
    let started = Instant::now();
    let answer = wait(DEADLINE);
    assert!(started.elapsed() < DEADLINE, "nobody woke the sleeper");
    answer
}

/// Waits until the descriptor is readable, and fails if it never is.
#[track_caller]
pub(crate) fn wait(descriptor: &impl AsFd) {
    let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(DEADLINE).unwrap();
    assert_eq!(poll(&mut polled, timeout).unwrap(), 1, "never ready");
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

/// A producer that signals, a consumer that is signalled, and whom it signals.
pub(crate) fn pair(capacity: u64) -> (Producer<u64, Notify>, Pollable<Consumer<u64>>, Notifier) {
    let (memory, producer) = ring(capacity);
    let notifier = Notifier::default();
    let consumer =
        Pollable::with_connection(consumer(&memory), notifier.connection().unwrap()).unwrap();
    (producer.waiting(Notify::new(notifier.clone(), Adaptive::default())), consumer, notifier)
}

/// The next message, by the rule: try, and if there is nothing, wait for the descriptor.
macro_rules! next {
    ($pollable:expr) => {
        loop {
            match $pollable.try_recv() {
                Ok(message) => break Ok(message),
                Err(day3::TryRecvError::Empty) => $crate::queue::wait(&$pollable),
                Err(day3::TryRecvError::End(end)) => break Err(end),
            }
        }
    };
}
