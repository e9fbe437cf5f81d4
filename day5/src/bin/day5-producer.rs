//! Sends a few messages, with long pauses.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use common::QueueName;
use day3::ring::Producer;
use day5::AnyStrategy;
use yardstick::report;

/// Create a queue and send a message now and then
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/seldom")]
    name: QueueName,
    /// How many messages to send
    #[arg(long, default_value_t = 20)]
    messages: u64,
    /// Milliseconds between two messages
    #[arg(long, default_value_t = 100)]
    every: u64,
    /// Hold the first message until this many consumers are attached
    #[arg(long, default_value_t = 2)]
    wait_for: usize,
}

/// How long consumers may take to attach, and to read the rest.
const TIMEOUT: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut producer = Producer::<u64, AnyStrategy>::create(&arguments.name, 64)?;
    println!("waiting for consumers: {}", arguments.wait_for);
    producer.wait_for_consumers(arguments.wait_for, TIMEOUT)?;
    for message in 0..arguments.messages {
        thread::sleep(Duration::from_millis(arguments.every));
        producer.send(message)?;
    }
    producer.close();
    producer.drain(TIMEOUT)?;
    println!("{} messages sent, one every {} ms", arguments.messages, arguments.every);
    Ok(())
}
