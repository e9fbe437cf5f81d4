//! ringfire: broadcast over shared memory, and a queue in shared memory with competing consumers; for
//! processes, or for threads that each map it.
//!
//! The broadcast ring has two modes. In lossless mode the producer waits for the slowest reader. In the
//! default mode it never waits, and readers are told what they have lost. The queue has only the default
//! mode.

use ringfire::{
    BusySpin, FlowControl, MpmcProducer, MpmcQueueConsumer, RingConsumer, RingProducer,
    RingProducerBuilder, WaitStrategy, YieldBackoff,
};
use yardstick::payload::{Payload, Tally, fill, sum};

use super::{BATCH, CAPACITY, Contender, Style};
use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Place, fits};
use crate::idle::Idle;
use crate::line::push;
use crate::load::Job;
use crate::question::Question;

const NAME: &str = "ringfire 0.5";

pub(super) fn rows(question: Question) -> Vec<Contender> {
    match question {
        Question::FanOut(consumers) => broadcasts(question, consumers),
        Question::Sharing(consumers) => [Place::Threads, Place::Processes]
            .map(|place| {
                let mode = "MPMC, lossy, push/recv_blocking";
                let build = move |job: &Job| Ok(queue(job, consumers));
                Contender::rival(question, (NAME, mode), (place, consumers + 1), build)
            })
            .into(),
        _ => vec![],
    }
}

fn broadcasts(question: Question, consumers: usize) -> Vec<Contender> {
    let mut rows = vec![];
    for flow in [FlowControl::LosslessBackpressure, FlowControl::LossyLatestWins] {
        for batch in [BATCH, 1] {
            for place in [Place::Threads, Place::Processes] {
                let flowing = match flow {
                    FlowControl::LosslessBackpressure => "lossless",
                    FlowControl::LossyLatestWins => "lossy",
                };
                let calls = if batch > 1 { "push_batch/recv_batch" } else { "push/recv_blocking" };
                let build = move |job: &Job| Ok(broadcast(job, consumers, flow, batch));
                let mode = format!("{flowing}, {calls}");
                let row = Contender::rival(question, (NAME, mode), (place, consumers + 1), build);
                rows.push(row.style(Style::of(batch)));
            }
        }
    }
    rows
}

fn broadcast(job: &Job, consumers: usize, flow: FlowControl, batch: usize) -> Crew {
    let (path, messages) = (job.folder.join("ring"), job.messages);
    let file = path.clone();
    let crew = Crew::new(Delivery::Each).side(move || {
        let builder = RingProducerBuilder::new(CAPACITY as u64).flow_control(flow);
        // The producer looks for readers at every place.
        let builder = match flow {
            FlowControl::LosslessBackpressure => builder.max_readers(consumers),
            FlowControl::LossyLatestWins => builder,
        };
        let producer = builder.build::<Packet, _>(&file)?;
        Ok(Box::new(move || Ok(Done::sent(send((producer, messages, batch))))))
    });
    (0..consumers).fold(crew, |crew, _| {
        let path = path.clone();
        crew.side(move || {
            let consumer = RingConsumer::<Packet>::attach(&path)?;
            Ok(Box::new(move || {
                let (tally, lost) = match (batch, fits(consumers + 1)) {
                    (1, true) => receive((consumer, messages, BusySpin::new())),
                    (1, false) => receive((consumer, messages, YieldBackoff::default())),
                    _ => drain((consumer, messages, Idle::new(consumers + 1))),
                };
                Ok(Done { lost, ..Done::received(tally) })
            }))
        })
    })
}

#[inline(always)]
fn send((mut producer, messages, batch): (RingProducer<Packet>, u64, usize)) -> Tally {
    let mut tally = Tally::default();
    if batch == 1 {
        for sequence in 0..messages {
            let mut message = Packet::ZERO;
            let sum = message.fill(sequence);
            producer.push(&message);
            tally.add(1, sum);
        }
    }
    let mut buffer = [Packet::ZERO; BATCH];
    while tally.count < messages {
        let n = (messages - tally.count).min(batch as u64);
        let batch = &mut buffer[..n as usize];
        let sum = fill(batch, tally.count);
        producer.push_batch(batch);
        tally.add(n, sum);
    }
    tally
}

/// Receives until the last message, which is never overwritten, and counts what was lost before it.
#[inline(always)]
fn receive<W: WaitStrategy>(
    (mut consumer, messages, mut wait): (RingConsumer<Packet>, u64, W),
) -> (Tally, u64) {
    let mut tally = Tally::default();
    while consumer.cursor() <= messages {
        let message = consumer.recv_blocking(&mut wait);
        tally.add(1, message.sum());
    }
    (tally, consumer.lapped_count())
}

#[inline(always)]
fn drain((mut consumer, messages, idle): (RingConsumer<Packet>, u64, Idle)) -> (Tally, u64) {
    let mut tally = Tally::default();
    let mut buffer = [Packet::ZERO; BATCH];
    while consumer.cursor() <= messages {
        let n = consumer.recv_batch(&mut buffer);
        if n == 0 {
            idle.wait();
            continue;
        }
        idle.reset();
        tally.add(n as u64, sum(&buffer[..n]));
    }
    (tally, consumer.lapped_count())
}

/// The messages after the last message, one for each consumer. They are never overwritten.
const END: Packet = [u64::MAX; 8];

fn queue(job: &Job, consumers: usize) -> Crew {
    let (path, messages) = (job.folder.join("queue"), job.messages);
    let file = path.clone();
    let crew = Crew::new(Delivery::Together).side(move || {
        let producer = MpmcProducer::<Packet>::create(&file, CAPACITY as u64)?;
        Ok(Box::new(move || {
            let sent = push(messages, |message| {
                producer.push(&message);
                Ok(())
            })?;
            (0..consumers).for_each(|_| {
                producer.push(&END);
            });
            Ok(Done::sent(sent))
        }))
    });
    (0..consumers).fold(crew, |crew, _| {
        let path = path.clone();
        crew.side(move || {
            let consumer = MpmcQueueConsumer::<Packet>::attach(&path)?;
            Ok(Box::new(move || {
                let (tally, lost) = if fits(consumers + 1) {
                    take((consumer, BusySpin::new()))
                } else {
                    take((consumer, YieldBackoff::default()))
                };
                Ok(Done { lost, ..Done::received(tally) })
            }))
        })
    })
}

#[inline(always)]
fn take<W: WaitStrategy>((mut consumer, mut wait): (MpmcQueueConsumer<Packet>, W)) -> (Tally, u64) {
    let mut tally = Tally::default();
    loop {
        let message = consumer.recv_blocking(&mut wait);
        if message[0] == END[0] {
            return (tally, consumer.dropped_count());
        }
        tally.add(1, message.sum());
    }
}
