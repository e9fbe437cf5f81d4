//! Sends lines from the keyboard, of any length, to all consumers.

use std::io::BufRead;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use common::QueueName;
use day4::{Writer, record_len};
use yardstick::report;

/// Create a ring of records and send each line of stdin as a message
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/letters")]
    name: QueueName,
    /// Bytes that the ring holds: rounded up to a power of two of at least a page
    #[arg(long, default_value_t = 5000)]
    capacity: u64,
    /// Hold the first message until this many consumers are attached
    #[arg(long, default_value_t = 1)]
    wait_for: usize,
}

/// How long consumers may take to attach, and to read the rest.
const TIMEOUT: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut writer = Writer::create(&arguments.name, arguments.capacity)?;
    println!(
        "{} holds {} bytes (asked for {}), messages of up to {}",
        arguments.name,
        writer.capacity(),
        arguments.capacity,
        writer.largest()
    );
    writer.wait_for_consumers(arguments.wait_for, TIMEOUT)?;
    for line in std::io::stdin().lock().lines() {
        let line = line.context("reading stdin failed")?;
        let at = writer.next_sequence().get() % writer.capacity();
        if let Err(error) = writer.send(line.as_bytes()) {
            println!("not sent: {error}");
            continue;
        }
        println!("sent {} bytes at {at}, {} of ring", line.len(), record_len(line.len()));
    }
    writer.close();
    writer.drain(TIMEOUT)?;
    println!("{} messages sent", writer.sent());
    Ok(())
}
