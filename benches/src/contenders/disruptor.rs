//! disruptor: broadcast to several consumers, threads of one process.
//!
//! It has two kinds of consumer: handlers, in threads of its own, and pollers, in ours. It waits by
//! spinning or sleeping. With more threads than cores, both are slow, so handlers get a strategy of
//! ours that yields, and a producer that finds the ring full yields, too.

use std::sync::mpsc::{Receiver, Sender, channel};

use disruptor::wait_strategies::WaitStrategy;
use disruptor::{
    BusySpin, BusySpinWithSpinLoopHint, EventPoller, Polling, ProcessorSettings, Producer,
    SingleProducerBarrier, build_single_producer,
};
use yardstick::affinity;
use yardstick::payload::{Payload, Tally};

use super::{BATCH, CAPACITY, Contender, Style};
use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Place, fits};
use crate::idle::Idle;
use crate::load::Job;
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::FanOut(consumers) = question else { return vec![] };
    let row = |mode, batch, run: fn(&Job, usize, usize) -> anyhow::Result<Crew>| {
        let run = move |job: &Job| run(job, batch, consumers);
        let sides = (Place::Threads, consumers + 1);
        let row = Contender::rival(question, ("disruptor 4.4", mode), sides, run);
        row.style(Style::of(batch))
    };
    let mut rows = vec![];
    for batch in [BATCH, 1] {
        let verb = if batch > 1 { "batch_publish" } else { "publish" };
        if fits(consumers + 1) {
            let mode = format!("{verb}, BusySpin handler");
            rows.push(row(mode, batch, |n, batch, consumers| {
                handlers(n, batch, consumers, BusySpin)
            }));
            let mode = format!("{verb}, hint handler");
            rows.push(row(mode, batch, |n, batch, consumers| {
                handlers(n, batch, consumers, BusySpinWithSpinLoopHint)
            }));
        } else {
            let mode = format!("{verb}, yielding handlers");
            rows.push(row(mode, batch, |n, batch, consumers| {
                handlers(n, batch, consumers, Yielding)
            }));
        }
        let mode = format!("{verb}, pollers");
        rows.push(row(mode, batch, pollers));
    }
    rows
}

/// Yields the core at once: a strategy has no memory in which to count spins.
#[derive(Clone, Copy)]
struct Yielding;

impl WaitStrategy for Yielding {
    fn wait_for(&self, _: disruptor::Sequence) {
        std::thread::yield_now();
    }
}

fn handlers<W>(job: &Job, batch: usize, consumers: usize, wait: W) -> anyhow::Result<Crew>
where
    W: WaitStrategy + 'static,
{
    let builder = build_single_producer(CAPACITY, || Packet::ZERO, wait);
    let (states, arrived): (Vec<_>, Vec<_>) = (0..consumers).map(|_| Handled::new()).unzip();
    let mut states = states.into_iter();
    let crew = Crew::new(Delivery::Each);
    let sides = consumers + 1;
    let crew = match (consumers, states.next()) {
        (1, Some(first)) => {
            let mut builder = builder;
            if let (true, Some(&core)) = (job.pinned, affinity::cores().get(1)) {
                builder = builder.pin_at_core(core);
            }
            let producer = builder.handle_events_and_state_with(handle, || first).build();
            crew.ready(sending(producer, job.messages, batch, sides))
        }
        (_, first) => {
            let mut builder = builder.with_multi_consumer();
            for state in first.into_iter().chain(states) {
                builder = builder.handle_events_and_state_with(handle, || state);
            }
            crew.ready(sending(builder.build(), job.messages, batch, sides))
        }
    };
    Ok(arrived.into_iter().fold(crew, |crew, arrived: Receiver<Tally>| {
        crew.ready(move || Ok(Done::received(arrived.recv()?)))
    }))
}

/// What a handler has seen. It reports that when the disruptor drops it, at the end.
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

fn pollers(job: &Job, batch: usize, consumers: usize) -> anyhow::Result<Crew> {
    let builder = build_single_producer(CAPACITY, || Packet::ZERO, BusySpin);
    let crew = Crew::new(Delivery::Each);
    let sides = consumers + 1;
    if consumers == 1 {
        let (poller, builder) = builder.new_event_poller();
        let crew = crew.ready(sending(builder.build(), job.messages, batch, sides));
        return Ok(crew.ready(receiving(poller, sides)));
    }
    let mut builder = builder.with_multi_consumer();
    let mut pollers = Vec::new();
    for _ in 0..consumers {
        let (poller, next) = builder.new_event_poller();
        pollers.push(poller);
        builder = next;
    }
    let crew = crew.ready(sending(builder.build(), job.messages, batch, sides));
    Ok(pollers.into_iter().fold(crew, |crew, poller| crew.ready(receiving(poller, sides))))
}

/// Ends when all handlers have ended: dropping the producer waits for them.
fn sending<P>(
    producer: P,
    messages: u64,
    batch: usize,
    sides: usize,
) -> impl FnOnce() -> anyhow::Result<Done> + Send + 'static
where
    P: Producer<Packet> + Send + 'static,
{
    move || Ok(Done::sent(publish((producer, messages, batch, Idle::new(sides)))))
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

fn receiving(
    poller: EventPoller<Packet, SingleProducerBarrier>,
    sides: usize,
) -> impl FnOnce() -> anyhow::Result<Done> + Send + 'static {
    move || Ok(Done::received(poll((poller, Idle::new(sides)))))
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
