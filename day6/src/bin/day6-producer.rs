//! Sends numbered messages at a steady rate, tells of consumers that die, and takes over from a dead producer.

#[path = "numbered/mod.rs"]
mod numbered;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use common::QueueName;
use day3::ring::Producer;
use day5::AnyStrategy;
use day6::Obituary;
use yardstick::report;

use crate::numbered::{Message, message};

/// Send numbered messages, and go on when consumers die
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/deaths")]
    name: QueueName,
    /// The number after that of the last message
    #[arg(long, default_value_t = 40)]
    messages: u64,
    /// Messages per second; 0 is as many as fit
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// How many messages the ring holds, a power of two
    #[arg(long, default_value_t = 8)]
    capacity: u64,
    /// Hold the first message until this many consumers are attached
    #[arg(long, default_value_t = 1)]
    wait_for: usize,
    /// Take over from a producer that has died
    #[arg(long)]
    resume: bool,
    /// Only count the consumers that die
    #[arg(long)]
    quiet: bool,
}

/// How long consumers may take to attach, and to read the rest.
const TIMEOUT: Duration = Duration::from_secs(600);

type Queue = Producer<Message, AnyStrategy>;

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { name, messages, .. } = arguments;
    let mut queue = if arguments.resume {
        let queue = Queue::resume(name)?;
        println!("taken over: epoch {}, from message {} on", queue.epoch(), queue.next_sequence());
        queue
    } else {
        let queue = Queue::create(name, arguments.capacity)?;
        println!("waiting for consumers: {}", arguments.wait_for);
        queue
    };
    queue.wait_for_consumers(arguments.wait_for, TIMEOUT)?;
    let mut deaths = send(&mut queue, arguments)?;
    queue.close();
    let drained = Instant::now();
    queue.drain(TIMEOUT).context("not everything was read")?;
    deaths += tell(&mut queue, arguments, drained.elapsed());
    println!("all {messages} messages sent and read; consumers that died: {deaths}");
    Ok(())
}

/// Sends the messages; says how many consumers died meanwhile.
fn send(queue: &mut Queue, arguments: &Arguments) -> anyhow::Result<usize> {
    let pause = Duration::from_secs(1).checked_div(arguments.rate).unwrap_or_default();
    let mut deaths = 0;
    while queue.next_sequence().get() < arguments.messages {
        let message = message(queue.next_sequence().get(), queue.epoch());
        let begun = Instant::now();
        queue.send(message)?;
        deaths += tell(queue, arguments, begun.elapsed());
        thread::sleep(pause);
    }
    Ok(deaths)
}

/// Tells of the consumers that were found dead, and how many they were.
fn tell(queue: &mut Queue, arguments: &Arguments, waited: Duration) -> usize {
    let deaths = queue.take_deaths();
    for death in deaths.iter().filter(|_| !arguments.quiet) {
        let obituary = Obituary { death, unit: "messages" };
        println!("{obituary}; this producer has waited {:.1} ms", 1e3 * waited.as_secs_f64());
    }
    deaths.len()
}
