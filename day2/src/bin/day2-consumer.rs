//! Opens the log of `day2-producer` and prints its first message.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Parser;
use common::QueueName;
use day2::{LogReader, Mode};

/// The size of a message in bytes.
const SIZE: usize = 100;
/// How many messages the log holds.
const CAPACITY: u64 = 10;
/// How long the producer may take to write a message once a reader is there.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Day 2's consumer: reads one message.
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/spmc_test_queue")]
    name: QueueName,
}

fn main() -> ExitCode {
    yardstick::report::exit(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { name } = arguments;
    let mode = Mode::Reader;

    println!("creating spmc_queue {name} of size {SIZE} and capacity {CAPACITY} with mode {mode}");
    let log = LogReader::<[u8; SIZE]>::open(&name, CAPACITY)?;
    println!("spmc_queue created");

    let started = Instant::now();
    let message = loop {
        if let Some(message) = log.get(0) {
            break message;
        }
        if started.elapsed() >= TIMEOUT {
            bail!(
                "no message in {name} after {TIMEOUT:?}: its producer has died, remove the queue"
            );
        }
        std::thread::yield_now();
    };
    let text = message.split(|&byte| byte == 0).next().unwrap_or_default();
    println!("Received message from producer: {}", String::from_utf8_lossy(text));

    println!("destroying spmc_queue {name} of mode {mode}");
    drop(log);
    println!("spmc_queue destroyed");
    Ok(())
}
