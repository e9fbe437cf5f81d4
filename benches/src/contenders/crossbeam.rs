//! crossbeam-queue's `ArrayQueue`: many producers, many consumers, threads of one process.

use std::time::Duration;

use common::payload::{Payload, Tally};
use common::sync::{AtomicBool, Ordering};
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::Backoff;

use super::{CAPACITY, Contender, SHARED_2, SHARED_4, SINGLES};
use crate::Packet;
use crate::race::{Delivery, Side, race};

pub(super) fn rows() -> Vec<Contender> {
    let row = |task, sides, run| {
        let (name, mode) = ("crossbeam-queue 0.3", "ArrayQueue push/pop");
        Contender { task, name, mode, sides, run }
    };
    vec![
        row(SINGLES, 2, |n| shared(n, 1)),
        row(SHARED_2, 3, |n| shared(n, 2)),
        row(SHARED_4, 5, |n| shared(n, 4)),
    ]
}

fn shared(messages: u64, consumers: usize) -> anyhow::Result<Duration> {
    let queue = &ArrayQueue::<Packet>::new(CAPACITY);
    let ended = &AtomicBool::new(false);
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
    let receive = move || {
        let mut tally = Tally::default();
        let backoff = Backoff::new();
        loop {
            let last = ended.load(Ordering::Acquire);
            match queue.pop() {
                Some(message) => {
                    tally.add(1, message.sum());
                    backoff.reset();
                }
                None if last => return Ok(tally),
                None => backoff.snooze(),
            }
        }
    };
    let sides = (0..consumers).map(|_| Box::new(receive) as Side<'_>).collect();
    race(messages, Delivery::Together, Box::new(send), sides)
}
