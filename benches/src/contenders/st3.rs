//! st3: a work-stealing queue; its owner adds, consumers steal in batches into queues of their own.

use std::time::Duration;

use common::payload::{Payload, Tally};
use common::sync::{AtomicBool, Ordering};
use st3::StealError;

use super::{BATCH, CAPACITY, Contender, SHARED_2, SHARED_4};
use crate::Packet;
use crate::race::{Delivery, Idle, Side, race};

pub(super) fn rows() -> Vec<Contender> {
    let row = |task, sides, mode, run| Contender { task, name: "st3 0.4.1", mode, sides, run };
    let batches = "fifo extend 64, steal <= 64";
    let singles = "fifo push, steal <= 64";
    let lifo = "lifo extend 64, steal <= 64";
    vec![
        row(SHARED_2, 3, batches, |n| fifo::shared(n, 2, BATCH)),
        row(SHARED_2, 3, lifo, |n| lifo::shared(n, 2, BATCH)),
        row(SHARED_2, 3, singles, |n| fifo::shared(n, 2, 1)),
        row(SHARED_4, 5, batches, |n| fifo::shared(n, 4, BATCH)),
        row(SHARED_4, 5, lifo, |n| lifo::shared(n, 4, BATCH)),
        row(SHARED_4, 5, singles, |n| fifo::shared(n, 4, 1)),
    ]
}

/// The same for its two kinds of queue, which have the same methods and no trait.
macro_rules! queue {
    ($kind:ident) => {
        mod $kind {
            use st3::$kind::{Stealer, Worker};

            use super::*;

            pub(super) fn shared(
                messages: u64,
                consumers: usize,
                batch: usize,
            ) -> anyhow::Result<Duration> {
                let queue = Worker::<Packet>::new(CAPACITY);
                let ended = &AtomicBool::new(false);
                let idle = move || Idle::new(consumers + 1);
                let receive = |stealer: Stealer<Packet>| -> Side<'_> {
                    Box::new(move || Ok(steal((stealer, ended, idle()))))
                };
                let sides = (0..consumers).map(|_| receive(queue.stealer())).collect();
                let send = move || {
                    let tally = add((queue, messages, batch, idle()));
                    ended.store(true, Ordering::Release);
                    Ok(tally)
                };
                race(messages, Delivery::Together, Box::new(send), sides)
            }

            #[inline(always)]
            fn add((queue, messages, batch, idle): (Worker<Packet>, u64, usize, Idle)) -> Tally {
                let mut tally = Tally::default();
                while tally.count < messages {
                    let first = tally.count;
                    let n = (messages - first).min(batch as u64);
                    while queue.spare_capacity() < n as usize {
                        idle.wait();
                    }
                    idle.reset();
                    let mut sum = 0u64;
                    let mut message = |sequence| {
                        let mut message = Packet::ZERO;
                        sum = sum.wrapping_add(message.fill(sequence));
                        message
                    };
                    if batch == 1 {
                        let _ = queue.push(message(first));
                    } else {
                        queue.extend((first..first + n).map(message));
                    }
                    tally.add(n, sum);
                }
                tally
            }

            #[inline(always)]
            fn steal((stealer, ended, idle): (Stealer<Packet>, &AtomicBool, Idle)) -> Tally {
                let own = Worker::<Packet>::new(BATCH);
                let mut tally = Tally::default();
                loop {
                    let last = ended.load(Ordering::Acquire);
                    match stealer.steal(&own, |available| available.min(BATCH)) {
                        Ok(_) => {
                            idle.reset();
                            let Ok(messages) = own.drain(|n| n) else { continue };
                            for message in messages {
                                tally.add(1, message.sum());
                            }
                        }
                        Err(StealError::Empty) if last => return tally,
                        Err(_) => idle.wait(),
                    }
                }
            }
        }
    };
}

queue!(fifo);
queue!(lifo);
