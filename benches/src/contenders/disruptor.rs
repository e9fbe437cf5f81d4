//! disruptor: broadcast to several consumers, threads of one process.
//!
//! Its event pollers let the consumer's thread be ours, and so let it yield when there is nothing, which
//! its own wait strategies do not: they spin or sleep. They are its best use with more threads than
//! cores. A producer that finds the ring full yields likewise.

use std::time::Duration;

use common::payload::{Payload, Tally};
use crossbeam_utils::Backoff;
use disruptor::{
    BusySpin, EventPoller, Polling, Producer, SingleProducerBarrier, build_single_producer,
};

use super::{BATCH, BATCHES, BROADCAST, CAPACITY, Contender, SINGLES};
use crate::Packet;
use crate::race::{Delivery, Side, race};

pub(super) fn rows() -> Vec<Contender> {
    let row = |task, mode, sides, run| Contender { task, name: "disruptor 4.4", mode, sides, run };
    vec![
        row(BATCHES, "batch_publish, poller, threads", 2, |n| one(n, BATCH)),
        row(SINGLES, "publish, poller, threads", 2, |n| one(n, 1)),
        row(BROADCAST, "batch_publish, pollers", 4, |n| three(n, BATCH)),
        row(BROADCAST, "publish, pollers", 4, |n| three(n, 1)),
    ]
}

fn one(messages: u64, batch: usize) -> anyhow::Result<Duration> {
    let builder = build_single_producer(CAPACITY, || Packet::ZERO, BusySpin);
    let (poller, builder) = builder.new_event_poller();
    let producer = builder.build();
    race(messages, Delivery::Each, sending(producer, messages, batch), vec![receiving(poller)])
}

fn three(messages: u64, batch: usize) -> anyhow::Result<Duration> {
    let builder = build_single_producer(CAPACITY, || Packet::ZERO, BusySpin);
    let (first, builder) = builder.new_event_poller();
    let (second, builder) = builder.new_event_poller();
    let (third, builder) = builder.new_event_poller();
    let producer = builder.build();
    let consumers = vec![receiving(first), receiving(second), receiving(third)];
    race(messages, Delivery::Each, sending(producer, messages, batch), consumers)
}

fn sending<'a, P>(mut producer: P, messages: u64, batch: usize) -> Side<'a>
where
    P: Producer<Packet> + Send + 'a,
{
    Box::new(move || {
        let mut tally = Tally::default();
        while tally.count < messages {
            let first = tally.count;
            let n = (messages - first).min(batch as u64);
            let backoff = Backoff::new();
            let mut sum = 0u64;
            loop {
                let published = if batch == 1 {
                    producer.try_publish(|event| sum = event.fill(first)).is_ok()
                } else {
                    let batch = producer.try_batch_publish(n as usize, |events| {
                        for (event, sequence) in events.zip(first..) {
                            sum = sum.wrapping_add(event.fill(sequence));
                        }
                    });
                    batch.is_ok()
                };
                if published {
                    break;
                }
                backoff.snooze();
            }
            tally.add(n, sum);
        }
        Ok(tally)
    })
}

fn receiving(mut poller: EventPoller<Packet, SingleProducerBarrier>) -> Side<'static> {
    Box::new(move || {
        let mut tally = Tally::default();
        let backoff = Backoff::new();
        loop {
            match poller.poll() {
                Ok(mut events) => {
                    for event in &mut events {
                        tally.add(1, event.sum());
                    }
                    backoff.reset();
                }
                Err(Polling::NoEvents) => backoff.snooze(),
                Err(Polling::Shutdown) => return Ok(tally),
            }
        }
    })
}
