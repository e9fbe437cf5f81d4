//! Creates a log, waits for a reader, sends it one message, and cleans up.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use common::QueueName;
use day2::{LogWriter, Mode};

/// The size of a message in bytes.
const SIZE: usize = 100;
/// How many messages the log holds.
const CAPACITY: u64 = 10;

/// Day 2's producer: one message for the first reader.
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/spmc_test_queue")]
    name: QueueName,
    /// How many seconds to wait for a reader
    #[arg(long, default_value_t = 60.0, value_parser = seconds, allow_negative_numbers = true)]
    wait: f64,
}

fn main() -> ExitCode {
    yardstick::report::exit(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { name, wait } = arguments;
    let mode = Mode::Writer;

    println!("creating spmc_queue {name} of size {SIZE} and capacity {CAPACITY} with mode {mode}");
    let mut log = LogWriter::<[u8; SIZE]>::create(&name, CAPACITY)?;
    println!("spmc_queue created");

    if !log.wait_for_reader(Duration::from_secs_f64(wait)) {
        bail!("no reader came to {name} within {wait} seconds: start day2-consumer sooner");
    }
    let mut message = [0; SIZE];
    let text = b"Hello from spmc_queue producer!";
    message[..text.len()].copy_from_slice(text);
    log.append(&message).context("sending the message")?;

    println!("destroying spmc_queue {name} of mode {mode}");
    drop(log);
    println!("spmc_queue destroyed");
    Ok(())
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if Duration::try_from_secs_f64(seconds).is_ok() => Ok(seconds),
        _ => Err("expected a number of seconds, 0 or more".to_owned()),
    }
}
