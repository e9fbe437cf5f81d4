//! What it costs to find the one ring of many that has a message: by looking at each, and by a selector.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use day3::{Consumer, Producer, QueueOptions, Start};
use day5::Adaptive;
use day7::ready::Posting;
use day7::selector::Selector;
use yardstick::{descriptors, report};

/// Send messages to one ring of many, one at a time, and find each
#[derive(Parser)]
struct Arguments {
    /// How long each figure is measured, in milliseconds
    #[arg(long, default_value_t = 100)]
    millis: u64,
}

type Sender = day3::ring::Producer<u64, Posting>;
type Receiver = Consumer<u64>;

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    report::warn_of_debug_build();
    // A ring with a name has some open files, and these are many.
    descriptors::allow_all()?;
    let time = Duration::from_millis(arguments.millis);
    println!("one ring is busy, the others are idle; ns for each message");
    println!("rings    a look at each    a selector");
    for rings in [1, 64, 1024] {
        let mut selector = Selector::new()?;
        // In this order: the producers go first, so that each ring ends as it should.
        let mut consumers = Vec::new();
        let mut producers = Vec::new();
        for number in 0..rings {
            let (producer, consumer) = ring(number, &mut selector)?;
            producers.push(producer);
            consumers.push(consumer);
        }
        let looking = by_looking(&mut producers[0], &mut consumers, time)?;
        let selecting = by_selector(&mut producers[0], &mut consumers, &mut selector, time)?;
        println!("{rings:>5}{looking:>18.0}{selecting:>14.0}");
    }
    Ok(())
}

/// A ring whose producer has a seat at the selector's board. The selector's keys are in the order of the rings.
fn ring(number: usize, selector: &mut Selector) -> anyhow::Result<(Sender, Receiver)> {
    let name = format!("/day7-looks-{}-{number}", std::process::id());
    let producer = Producer::create_with(&name, &QueueOptions::new(16))?;
    let consumer = Consumer::join(&name, Start::Oldest)?;
    let key = selector.add_seated(consumer.outlook())?;
    let seat = selector.seat(key).context("it was added with a seat")?;
    Ok((producer.waiting(Posting::new(seat, Adaptive::default())), consumer))
}

fn by_looking(
    producer: &mut Sender,
    consumers: &mut [Receiver],
    time: Duration,
) -> anyhow::Result<f64> {
    let mut at = 0;
    each_message(time, |message| {
        producer.send(message)?;
        loop {
            at = (at + 1) % consumers.len();
            if let Ok(found) = consumers[at].try_recv() {
                return Ok(found);
            }
        }
    })
}

fn by_selector(
    producer: &mut Sender,
    consumers: &mut [Receiver],
    selector: &mut Selector,
    time: Duration,
) -> anyhow::Result<f64> {
    each_message(time, |message| {
        producer.send(message)?;
        loop {
            let turn = selector.wait();
            if let Ok(found) = consumers[turn.key.index()].try_recv() {
                return Ok(found);
            }
        }
    })
}

/// How many nanoseconds it takes to send a message and to find it, in the mean.
fn each_message(
    time: Duration,
    mut there_and_back: impl FnMut(u64) -> anyhow::Result<u64>,
) -> anyhow::Result<f64> {
    let (started, mut messages) = (Instant::now(), 0);
    while started.elapsed() < time {
        for _ in 0..100 {
            anyhow::ensure!(there_and_back(messages)? == messages, "a message was lost or changed");
            messages += 1;
        }
    }
    Ok(started.elapsed().as_nanos() as f64 / messages as f64)
}
