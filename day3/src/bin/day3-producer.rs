//! Creates a ring, waits for consumers, sends them numbered messages, and cleans up.

mod numbered;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use common::QueueName;
use day2::Mode;
use day3::{Producer, QueueOptions};

use crate::numbered::{Checksum, Message, SIZE, message};

/// Day 3's producer: numbered messages for many consumers.
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/spmc_ring")]
    name: QueueName,
    /// How many messages the ring holds, a power of two
    #[arg(long, default_value_t = 1024)]
    capacity: u64,
    /// How many messages to send
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// How many consumers to wait for; taps are not counted, for nobody sees them
    #[arg(long, default_value_t = 1)]
    wait_for: usize,
    /// How many seconds to wait for consumers: to join, and in the end to drain
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    wait: f64,
    /// How many messages to publish at a time
    #[arg(long, default_value = "64")]
    batch: NonZeroUsize,
    /// How many milliseconds to pause after each batch
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// The sequence of the first message
    #[arg(long, default_value_t = 0)]
    first: u64,
}

fn main() -> ExitCode {
    yardstick::report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { name, capacity, messages, wait_for, first, .. } = arguments;
    let mode = Mode::Writer;
    let wait = Duration::from_secs_f64(arguments.wait);

    println!("creating spmc_queue {name} of size {SIZE} and capacity {capacity} with mode {mode}");
    let options = QueueOptions::new(*capacity).first(*first);
    let mut queue = Producer::create_with(name, &options)?;
    println!("spmc_queue created");

    println!("waiting for consumers: {wait_for}");
    queue.wait_for_consumers(*wait_for, wait).with_context(|| {
        let found = queue.consumers().len();
        format!("{name} needs {wait_for} consumers, found {found}: start day3-consumer sooner")
    })?;

    println!("sending messages from sequence {first} on");
    let checksum = send(&mut queue, arguments)?;
    println!("sent = {messages}, checksum = {checksum}");
    queue.close();
    queue.drain(wait).with_context(|| format!("a consumer of {name} has not read everything"))?;

    println!("destroying spmc_queue {name} of mode {mode}");
    drop(queue);
    println!("spmc_queue destroyed");
    Ok(())
}

fn send(queue: &mut Producer<Message>, arguments: &Arguments) -> anyhow::Result<Checksum> {
    let mut checksum = Checksum::default();
    let mut left = arguments.messages;
    while left > 0 {
        let mut places = queue.reserve(arguments.batch.get().min(left as usize))?;
        left -= places.len() as u64;
        let mut sequence = places.first();
        let (head, tail) = places.slices();
        for place in head.iter_mut().chain(tail) {
            *place = message(sequence.get());
            checksum.add(place);
            sequence = sequence.plus(1);
        }
        places.publish();
        if arguments.delay_ms > 0 {
            thread::sleep(Duration::from_millis(arguments.delay_ms));
        }
    }
    Ok(checksum)
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if Duration::try_from_secs_f64(seconds).is_ok() => Ok(seconds),
        _ => Err("expected a number of seconds, 0 or more".to_owned()),
    }
}
