//! st3: a work-stealing queue; its owner pushes, consumers steal in batches into queues of their own.

use std::time::Duration;

use common::payload::{Payload, Tally};
use common::sync::{AtomicBool, Ordering};
use crossbeam_utils::Backoff;
use st3::StealError;
use st3::fifo::{Stealer, Worker};

use super::{BATCH, CAPACITY, Contender, SHARED_2, SHARED_4};
use crate::Packet;
use crate::race::{Delivery, Side, race};

pub(super) fn rows() -> Vec<Contender> {
    let row = |task, sides, run| {
        let (name, mode) = ("st3 0.4", "fifo, steals of up to 64");
        Contender { task, name, mode, sides, run }
    };
    vec![row(SHARED_2, 3, |n| shared(n, 2)), row(SHARED_4, 5, |n| shared(n, 4))]
}

fn shared(messages: u64, consumers: usize) -> anyhow::Result<Duration> {
    let queue = Worker::<Packet>::new(CAPACITY);
    let ended = &AtomicBool::new(false);
    let sides =
        (0..consumers).map(|_| receiving(queue.stealer(), ended)).collect::<Vec<Side<'_>>>();
    let send = move || {
        let mut tally = Tally::default();
        for sequence in 0..messages {
            let mut message = Packet::ZERO;
            let sum = message.fill(sequence);
            let backoff = Backoff::new();
            while queue.push(message).is_err() {
                backoff.snooze();
            }
            tally.add(1, sum);
        }
        ended.store(true, Ordering::Release);
        Ok(tally)
    };
    race(messages, Delivery::Together, Box::new(send), sides)
}

fn receiving(stealer: Stealer<Packet>, ended: &AtomicBool) -> Side<'_> {
    Box::new(move || {
        let own = Worker::<Packet>::new(2 * BATCH);
        let mut tally = Tally::default();
        let backoff = Backoff::new();
        loop {
            let last = ended.load(Ordering::Acquire);
            match stealer.steal_and_pop(&own, |available| available.min(BATCH)) {
                Ok((message, _)) => {
                    tally.add(1, message.sum());
                    while let Some(message) = own.pop() {
                        tally.add(1, message.sum());
                    }
                    backoff.reset();
                }
                Err(StealError::Empty) if last => return Ok(tally),
                Err(_) => backoff.snooze(),
            }
        }
    })
}
