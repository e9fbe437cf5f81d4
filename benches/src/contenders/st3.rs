//! st3: a work-stealing queue. Its owner adds messages, and consumers steal batches into queues of
//! their own.

use std::sync::Arc;

use common::sync::{AtomicBool, Ordering};
use st3::StealError;
use yardstick::payload::{Payload, Tally};

use super::{BATCH, CAPACITY, Contender, Style};
use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Place};
use crate::idle::Idle;
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::Sharing(consumers) = question else { return vec![] };
    let row = |mode, run: fn(u64, usize, usize) -> Crew, batch| {
        let sides = (Place::Threads, consumers + 1);
        let run = move |job: &crate::load::Job| Ok(run(job.messages, consumers, batch));
        let row = Contender::rival(question, ("st3 0.4", mode), sides, run);
        row.style(Style::of(batch))
    };
    vec![
        row("fifo extend 64, steal <= 64", fifo::shared, BATCH),
        row("lifo extend 64, steal <= 64", lifo::shared, BATCH),
        row("fifo push, steal <= 64", fifo::shared, 1),
    ]
}

/// The same code for both kinds of queue, which have the same methods and no common trait.
macro_rules! queue {
    ($kind:ident) => {
        mod $kind {
            use st3::$kind::{Stealer, Worker};

            use super::*;

            pub(super) fn shared(messages: u64, consumers: usize, batch: usize) -> Crew {
                let queue = Worker::<Packet>::new(CAPACITY);
                let ended = Arc::new(AtomicBool::new(false));
                let idle = move || Idle::new(consumers + 1);
                let stealers: Vec<Stealer<Packet>> =
                    (0..consumers).map(|_| queue.stealer()).collect();
                let crew = Crew::new(Delivery::Together).ready({
                    let ended = Arc::clone(&ended);
                    move || {
                        let tally = add((queue, messages, batch, idle()));
                        ended.store(true, Ordering::Release);
                        Ok(Done::sent(tally))
                    }
                });
                stealers.into_iter().fold(crew, |crew, stealer| {
                    let ended = Arc::clone(&ended);
                    crew.ready(move || Ok(Done::received(steal((stealer, &ended, idle())))))
                })
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
