//! The limits of this machine, whatever carries the messages.

use common::sync::{AtomicU64, Ordering, spin_loop};
use yardstick::bytes::Tally;
use yardstick::limits::{Copy, HandOver};
use yardstick::memory::{self, Shared};

use super::{CAPACITY, Contender, ROOM, Standing};
use crate::crew::{Crew, Delivery, Done, Go, Moved, Place};
use crate::line::trips;
use crate::load::Job;
use crate::question::{Question, Rest};

const NAME: &str = "limit";

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let row = |mode, sides, build: fn(&Job, u64) -> anyhow::Result<Crew>| {
        let room = match question {
            Question::Request { .. }
            | Question::OneWay(_)
            | Question::Queues(_)
            | Question::Task { .. } => ROOM as u64,
            Question::FanOut(_) | Question::Sharing(_) | Question::ManyToOne(_) => {
                (CAPACITY * question.size().most()) as u64
            }
        };
        let build = move |job: &Job| build(job, room);
        Contender::rival(question, (NAME, mode), sides, build).standing(Standing::Limit)
    };
    match question {
        Question::Request { place, .. }
        | Question::Task { place, outstanding: 1, rest: Rest::Spinning } => {
            vec![row("two-line ping-pong", (place, 2), |job, _| ping_pong(job))]
        }
        // What the ways to sleep, and several requests at a time, are limited by is another rival.
        Question::Task { .. } | Question::Queues(_) => vec![],
        Question::OneWay(_)
        | Question::FanOut(_)
        | Question::Sharing(_)
        | Question::ManyToOne(_) => vec![
            row("bare buffer, hand-over", (Place::Processes, 2), hand_over),
            row("memcpy, one thread", (Place::Threads, 1), memcpy),
        ],
    }
}

/// Two words. Each has a cache line of its own, and nothing on the neighbouring line.
#[repr(C)]
struct Lines {
    there: Line,
    back: Line,
}

#[repr(C, align(128))]
struct Line(AtomicU64);

// SAFETY: any bits are atomics.
unsafe impl Shared for Lines {}

/// A number goes there and back, and nothing else happens.
fn ping_pong(job: &Job) -> anyhow::Result<Crew> {
    let memory = memory::create::<Lines>()?;
    let messages = job.messages;
    let other = memory.try_clone()?;
    let moved = move |sum| Moved { count: messages, bytes: messages * 8, sum };
    let crew = Crew::new(Delivery::Around).side(move || {
        let lines = memory::map::<Lines>(&other)?;
        let go = move || {
            let mut sum = 0;
            for number in 1..=messages {
                // edge: send -> look
                while lines.there.0.load(Ordering::Acquire) != number {
                    spin_loop();
                }
                // edge: answer -> look
                lines.back.0.store(number, Ordering::Release);
                sum += number;
            }
            Ok(Done { sent: moved(sum), received: moved(sum), ..Done::default() })
        };
        Ok(Box::new(go) as Go)
    });
    Ok(crew.side(move || {
        let lines = memory::map::<Lines>(&memory)?;
        Ok(Box::new(move || {
            let (mut number, mut sum) = (0, 0);
            let times = trips(messages, || {
                number += 1;
                // edge: send -> look
                lines.there.0.store(number, Ordering::Release);
                // edge: answer -> look
                while lines.back.0.load(Ordering::Acquire) != number {
                    spin_loop();
                }
                sum += number;
                Ok(())
            })?;
            Ok(Done { sent: moved(sum), received: moved(sum), lost: 0, times: Some(times) })
        }))
    }))
}

/// The same number of bytes goes through a bare buffer, a quarter of it at a time.
fn hand_over(job: &Job, room: u64) -> anyhow::Result<Crew> {
    let memory = HandOver::create(room)?;
    let other = memory.try_clone()?;
    let (messages, lengths) = (job.messages, job.lengths.clone());
    let bytes = lengths.total(messages);
    let moved = move |tally: Tally| Moved { count: messages, bytes, sum: tally.checksum };
    let crew = Crew::new(Delivery::Each).side(move || {
        // SAFETY: this is the side that sends.
        let quarters = unsafe { HandOver::map(&memory, room) }?;
        Ok(Box::new(move || Ok(Done::sent(moved(quarters.send(bytes))))))
    });
    Ok(crew.side(move || {
        // SAFETY: this is the side that receives.
        let quarters = unsafe { HandOver::map(&other, room) }?;
        Ok(Box::new(move || Ok(Done::received(moved(quarters.receive(bytes))))))
    }))
}

/// The same number of messages is copied.
fn memcpy(job: &Job, room: u64) -> anyhow::Result<Crew> {
    let (messages, lengths) = (job.messages, job.lengths.clone());
    Ok(Crew::new(Delivery::Around).side(move || {
        let mut copy = Copy::new(room);
        Ok(Box::new(move || {
            let moved = copy.run(messages, lengths)?.into();
            Ok(Done { sent: moved, received: moved, ..Done::default() })
        }))
    }))
}
