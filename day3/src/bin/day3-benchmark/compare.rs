//! `--compare`: the ring, its rivals and the limits, interleaved in one call.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common::QueueName;
use day3::{Consumer, Producer, Start};
use serde::Serialize;
use yardstick::affinity;
use yardstick::payload::{Payload, Tally, fill};
use yardstick::report::{Throughput, median};

use crate::rivals::{Bare, Contender, HandOver, Textbook, copy};
use crate::transport::{receive, send};
use bytemuck::Pod;

/// What each contender has to move.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) messages: u64,
    pub(crate) capacity: usize,
    pub(crate) repeats: usize,
}

/// How many messages a batch of the batched contenders has.
const BATCH: usize = 64;

/// A contender's result.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) million_messages_per_second: f64,
    pub(crate) megabytes_per_second: f64,
    pub(crate) slowest: f64,
    pub(crate) fastest: f64,
    pub(crate) to_bare: f64,
    pub(crate) to_memcpy: f64,
    pub(crate) to_hand_over: f64,
}

type Run<'a> = Box<dyn Fn() -> anyhow::Result<Duration> + 'a>;

/// Runs all contenders `repeats` times, in turns, and returns the medians.
pub(crate) fn compare<P: Payload + Pod>(
    name: &QueueName,
    plan: Plan,
    mut progress: impl FnMut(usize),
) -> anyhow::Result<Vec<Row>> {
    let Plan { messages, capacity, .. } = plan;
    let contenders: [(&'static str, Run<'_>); 6] = [
        ("(a) textbook ring", Box::new(|| duel(&Textbook::<P>::new(capacity)?, messages))),
        ("(b) this ring, one at a time", Box::new(|| ring::<P>(name, plan, 1))),
        ("(c) this ring, batches of 64", Box::new(|| ring::<P>(name, plan, BATCH))),
        (
            "(d) bare ring, batches of 64",
            Box::new(|| duel(&Bare::<P>::new(capacity, BATCH)?, messages)),
        ),
        ("(e) memcpy, one thread", Box::new(|| copying::<P>(plan))),
        ("(f) hand-over limit", Box::new(|| duel(&HandOver::<P>::new(capacity)?, messages))),
    ];
    let mut samples = vec![Vec::with_capacity(plan.repeats); contenders.len()];
    for repeat in 0..plan.repeats {
        for ((name, run), samples) in contenders.iter().zip(&mut samples) {
            let elapsed = run().with_context(|| format!("{name} failed"))?;
            let bytes = messages * size_of::<P>() as u64;
            let rate = Throughput { messages, bytes, elapsed };
            samples.push(rate.million_messages_per_second());
        }
        progress(repeat + 1);
    }
    let rates: Vec<f64> = samples.iter().map(|samples| median(samples).unwrap_or(0.0)).collect();
    let (bare, memcpy, hand_over) = (rates[3], rates[4], rates[5]);
    let row = |((name, _), (samples, rate)): (&(&'static str, _), (&Vec<f64>, &f64))| Row {
        name,
        million_messages_per_second: *rate,
        megabytes_per_second: rate * size_of::<P>() as f64,
        slowest: samples.iter().copied().fold(f64::INFINITY, f64::min),
        fastest: samples.iter().copied().fold(0.0, f64::max),
        to_bare: rate / bare,
        to_memcpy: rate / memcpy,
        to_hand_over: rate / hand_over,
    };
    Ok(contenders.iter().zip(samples.iter().zip(&rates)).map(row).collect())
}

/// Prints the table of a comparison.
pub(crate) fn print(rows: &[Row]) {
    println!(
        "{:<30}{:>10}{:>10}{:>10}{:>10}{:>9}{:>9}{:>9}",
        "median", "M msg/s", "MB/s", "slowest", "fastest", "of (d)", "of (e)", "of (f)"
    );
    for row in rows {
        println!(
            "{:<30}{:>10.1}{:>10.0}{:>10.1}{:>10.1}{:>9.2}{:>9.2}{:>9.2}",
            row.name,
            row.million_messages_per_second,
            row.megabytes_per_second,
            row.slowest,
            row.fastest,
            row.to_bare,
            row.to_memcpy,
            row.to_hand_over,
        );
    }
}

/// Runs one contender between two threads.
fn duel(contender: &dyn Contender, messages: u64) -> anyhow::Result<Duration> {
    let receive = || contender.receive(messages);
    race(messages, receive, || Ok(contender.send(messages)))
}

fn ring<P: Payload + Pod>(name: &QueueName, plan: Plan, batch: usize) -> anyhow::Result<Duration> {
    let mut producer = Producer::<P>::create(name, plan.capacity as u64)?;
    let mut consumer = Consumer::<P>::join(name, Start::Oldest)?;
    race(
        plan.messages,
        move || receive(&mut consumer, batch),
        move || {
            let sent = send(&mut producer, plan.messages, batch);
            producer.close();
            sent
        },
    )
}

/// Runs each side on its own thread, and checks that what was sent has arrived.
fn race(
    messages: u64,
    receive: impl FnOnce() -> Tally + Send,
    send: impl FnOnce() -> anyhow::Result<Tally> + Send,
) -> anyhow::Result<Duration> {
    let cores = affinity::cores();
    let start = Barrier::new(2);
    let (sent, (received, elapsed)) = std::thread::scope(|scope| {
        let (cores, start) = (&cores, &start);
        let receiver = scope.spawn(move || {
            affinity::pin(cores, 1);
            start.wait();
            let started = Instant::now();
            (receive(), started.elapsed())
        });
        let sender = scope.spawn(move || {
            affinity::pin(cores, 0);
            start.wait();
            send()
        });
        (sender.join(), receiver.join().unwrap_or_default())
    });
    let sent = sent.map_err(|_| anyhow::anyhow!("the sending thread panicked"))??;
    ensure!(
        sent == received && received.count == messages,
        "{sent:?} was sent, {received:?} received"
    );
    Ok(elapsed)
}

fn copying<P: Payload + Pod>(plan: Plan) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let copied = copy::<P>(plan.capacity, plan.messages);
    let elapsed = started.elapsed();
    let mut expected = vec![P::ZERO; plan.capacity];
    let sum = fill(&mut expected, 0);
    ensure!(
        copied == Tally { count: plan.messages, sum } || plan.messages < plan.capacity as u64,
        "the copy differs from what was copied"
    );
    Ok(elapsed)
}
