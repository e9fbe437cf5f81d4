//! crossbeam-queue's `ArrayQueue`: many producers, many consumers, threads of one process.

use std::sync::Arc;

use common::sync::{AtomicBool, Ordering};
use crossbeam_queue::ArrayQueue;
use yardstick::payload::{Payload, Tally};

use super::{CAPACITY, Contender};
use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Place};
use crate::idle::Idle;
use crate::line::push;
use crate::load::Job;
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let row = |consumers| {
        let (name, mode) = ("crossbeam-queue 0.3", "ArrayQueue push/pop");
        let sides = (Place::Threads, consumers + 1);
        Contender::rival(question, (name, mode), sides, move |job| Ok(shared(job, consumers)))
    };
    match question {
        Question::FanOut(consumers @ 1) | Question::Sharing(consumers) => vec![row(consumers)],
        _ => vec![],
    }
}

fn shared(job: &Job, consumers: usize) -> Crew {
    let queue = Arc::new(ArrayQueue::<Packet>::new(CAPACITY));
    let ended = Arc::new(AtomicBool::new(false));
    let messages = job.messages;
    let idle = move || Idle::new(consumers + 1);
    let crew = Crew::new(Delivery::Together).ready({
        let (queue, ended) = (Arc::clone(&queue), Arc::clone(&ended));
        move || {
            let idle = idle();
            let sent = push(messages, |message| {
                while queue.push(message).is_err() {
                    idle.wait();
                }
                idle.reset();
                Ok(())
            })?;
            ended.store(true, Ordering::Release);
            Ok(Done::sent(sent))
        }
    });
    (0..consumers).fold(crew, |crew, _| {
        let (queue, ended) = (Arc::clone(&queue), Arc::clone(&ended));
        crew.ready(move || Ok(Done::received(pop((&queue, &ended, idle())))))
    })
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
        // After the end, a queue that is empty stays empty.
        if ended.load(Ordering::Acquire) && queue.is_empty() {
            return tally;
        }
        idle.wait();
    }
}
