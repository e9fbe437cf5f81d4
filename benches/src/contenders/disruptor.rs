//! disruptor: broadcast to several consumers, threads of one process.
//!
//! It has two kinds of consumer: handlers, in threads of its own, and pollers, in ours. It waits by
//! spinning or sleeping; with more threads than cores neither gets far, so handlers get a strategy
//! of ours that yields, and a producer that finds the ring full yields likewise.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use common::affinity;
use common::payload::{Payload, Tally};
use disruptor::wait_strategies::WaitStrategy;
use disruptor::{
    BusySpin, BusySpinWithSpinLoopHint, EventPoller, Polling, ProcessorSettings, Producer,
    SingleProducerBarrier, build_single_producer,
};

use super::{BATCH, BATCHES, BROADCAST, CAPACITY, Contender, SINGLES};
use crate::Packet;
use crate::race::{Delivery, Idle, Side, fits, race};

pub(super) fn rows() -> Vec<Contender> {
    let row =
        |task, mode, sides, run| Contender { task, name: "disruptor 4.4.0", mode, sides, run };
    vec![
        row(BATCHES, "batch_publish, BusySpin handler", 2, |n| one_handler(n, BATCH, BusySpin)),
        row(BATCHES, "batch_publish, hint handler", 2, |n| {
            one_handler(n, BATCH, BusySpinWithSpinLoopHint)
        }),
        row(BATCHES, "batch_publish, poller", 2, |n| one_poller(n, BATCH)),
        row(SINGLES, "publish, BusySpin handler", 2, |n| one_handler(n, 1, BusySpin)),
        row(SINGLES, "publish, hint handler", 2, |n| one_handler(n, 1, BusySpinWithSpinLoopHint)),
        row(SINGLES, "publish, poller", 2, |n| one_poller(n, 1)),
        row(BROADCAST, "batch_publish, yield handlers", 4, |n| three_handlers(n, BATCH, Yielding)),
        row(BROADCAST, "publish, yield handlers", 4, |n| three_handlers(n, 1, Yielding)),
        row(BROADCAST, "batch_publish, pollers", 4, |n| three_pollers(n, BATCH)),
        row(BROADCAST, "publish, pollers", 4, |n| three_pollers(n, 1)),
    ]
}

/// Gives the core away at once: the strategy has no memory in which to count spins.
#[derive(Clone, Copy)]
struct Yielding;

impl WaitStrategy for Yielding {
    fn wait_for(&self, _: disruptor::Sequence) {
        std::thread::yield_now();
    }
}

fn one_handler<W>(messages: u64, batch: usize, wait: W) -> anyhow::Result<Duration>
where
    W: WaitStrategy + 'static,
{
    let (first, arrived) = Handled::new();
    let mut builder = build_single_producer(CAPACITY, || Packet::ZERO, wait);
    let cores = affinity::cores();
    if let (true, Some(&core)) = (fits(2), cores.get(1)) {
        builder = builder.pin_at_core(core);
    }
    let producer = builder.handle_events_and_state_with(handle, || first).build();
    race(messages, Delivery::Each, sending(producer, messages, batch, 2), vec![waiting(arrived)])
}

fn three_handlers<W>(messages: u64, batch: usize, wait: W) -> anyhow::Result<Duration>
where
    W: WaitStrategy + 'static,
{
    let (first, first_arrived) = Handled::new();
    let (second, second_arrived) = Handled::new();
    let (third, third_arrived) = Handled::new();
    let producer = build_single_producer(CAPACITY, || Packet::ZERO, wait)
        .handle_events_and_state_with(handle, || first)
        .handle_events_and_state_with(handle, || second)
        .handle_events_and_state_with(handle, || third)
        .build();
    let consumers = [first_arrived, second_arrived, third_arrived].map(waiting).into();
    race(messages, Delivery::Each, sending(producer, messages, batch, 4), consumers)
}

/// What a handler has seen; it tells when the disruptor drops it, at the end.
struct Handled {
    tally: Tally,
    tell: Sender<Tally>,
}

impl Handled {
    fn new() -> (Self, Receiver<Tally>) {
        let (tell, arrived) = channel();
        (Self { tally: Tally::default(), tell }, arrived)
    }
}

impl Drop for Handled {
    fn drop(&mut self) {
        let _ = self.tell.send(self.tally);
    }
}

#[inline(always)]
fn handle(handled: &mut Handled, event: &Packet, _: disruptor::Sequence, _: bool) {
    handled.tally.add(1, event.sum());
}

fn waiting(arrived: Receiver<Tally>) -> Side<'static> {
    Box::new(move || Ok(arrived.recv()?))
}

fn one_poller(messages: u64, batch: usize) -> anyhow::Result<Duration> {
    let builder = build_single_producer(CAPACITY, || Packet::ZERO, BusySpin);
    let (poller, builder) = builder.new_event_poller();
    let producer = builder.build();
    let consumers = vec![receiving(poller, 2)];
    race(messages, Delivery::Each, sending(producer, messages, batch, 2), consumers)
}

fn three_pollers(messages: u64, batch: usize) -> anyhow::Result<Duration> {
    let builder = build_single_producer(CAPACITY, || Packet::ZERO, BusySpin);
    let (first, builder) = builder.new_event_poller();
    let (second, builder) = builder.new_event_poller();
    let (third, builder) = builder.new_event_poller();
    let producer = builder.build();
    let consumers = [first, second, third].map(|poller| receiving(poller, 4)).into();
    race(messages, Delivery::Each, sending(producer, messages, batch, 4), consumers)
}

/// Ends when all handlers have ended: dropping the producer waits for them.
fn sending<'a, P>(producer: P, messages: u64, batch: usize, sides: usize) -> Side<'a>
where
    P: Producer<Packet> + Send + 'a,
{
    Box::new(move || Ok(publish((producer, messages, batch, Idle::new(sides)))))
}

#[inline(always)]
fn publish<P: Producer<Packet>>(
    (mut producer, messages, batch, idle): (P, u64, usize, Idle),
) -> Tally {
    let mut tally = Tally::default();
    if batch == 1 {
        for sequence in 0..messages {
            let mut sum = 0;
            while producer.try_publish(|event| sum = event.fill(sequence)).is_err() {
                idle.wait();
            }
            idle.reset();
            tally.add(1, sum);
        }
    }
    while tally.count < messages {
        let first = tally.count;
        let n = (messages - first).min(batch as u64);
        let mut sum = 0u64;
        while producer
            .try_batch_publish(n as usize, |events| {
                for (event, sequence) in events.zip(first..) {
                    sum = sum.wrapping_add(event.fill(sequence));
                }
            })
            .is_err()
        {
            idle.wait();
        }
        idle.reset();
        tally.add(n, sum);
    }
    tally
}

fn receiving(poller: EventPoller<Packet, SingleProducerBarrier>, sides: usize) -> Side<'static> {
    Box::new(move || Ok(poll((poller, Idle::new(sides)))))
}

#[inline(always)]
fn poll((mut poller, idle): (EventPoller<Packet, SingleProducerBarrier>, Idle)) -> Tally {
    let mut tally = Tally::default();
    loop {
        match poller.poll() {
            Ok(mut events) => {
                for event in &mut events {
                    tally.add(1, event.sum());
                }
                idle.reset();
            }
            Err(Polling::NoEvents) => idle.wait(),
            Err(Polling::Shutdown) => return tally,
        }
    }
}
