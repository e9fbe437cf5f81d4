//! crossbeam-queue's `ArrayQueue`: many producers, many consumers, threads of one process.

use std::time::Duration;

use common::payload::{Payload, Tally};
use common::sync::{AtomicBool, Ordering};
use crossbeam_queue::ArrayQueue;

use super::{CAPACITY, Contender, SHARED_2, SHARED_4, SINGLES};
use crate::Packet;
use crate::race::{Delivery, Idle, Side, race};

pub(super) fn rows() -> Vec<Contender> {
    let row = |task, sides, run| {
        let (name, mode) = ("crossbeam-queue 0.3.14", "ArrayQueue push/pop, threads");
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
    let idle = move || Idle::new(consumers + 1);
    let send = move || {
        let tally = push((queue, messages, idle()));
        ended.store(true, Ordering::Release);
        Ok(tally)
    };
    let receive = move || Ok(pop((queue, ended, idle())));
    let sides = (0..consumers).map(|_| Box::new(receive) as Side<'_>).collect();
    race(messages, Delivery::Together, Box::new(send), sides)
}

#[inline(always)]
fn push((queue, messages, idle): (&ArrayQueue<Packet>, u64, Idle)) -> Tally {
    let mut tally = Tally::default();
    for sequence in 0..messages {
        let mut message = Packet::ZERO;
        let sum = message.fill(sequence);
        while queue.push(message).is_err() {
            idle.wait();
        }
        idle.reset();
        tally.add(1, sum);
    }
    tally
}

#[inline(always)]
fn pop((queue, ended, idle): (&ArrayQueue<Packet>, &AtomicBool, Idle)) -> Tally {
    let mut tally = Tally::default();
    loop {
        if let Some(message) = queue.pop() {
            tally.add(1, message.sum());
            idle.reset();
            continue;
        }
        // Once it has ended, what is empty stays empty.
        if ended.load(Ordering::Acquire) && queue.is_empty() {
            return tally;
        }
        idle.wait();
    }
}
