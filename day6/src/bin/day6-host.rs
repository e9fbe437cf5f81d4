//! Hosts a queue of numbered records whose consumers have private rooms, and tells whom it turns out.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use common::QueueName;
use day3::QueueOptions;
use day4::writer::Writer;
use day5::AnyStrategy;
use day6::{Dismissal, Obituary};
use yardstick::report;

/// Send numbered records to consumers that nobody trusts
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/walls")]
    name: QueueName,
    /// How many records
    #[arg(long, default_value_t = 40)]
    records: u64,
    /// Records per second; 0 is as many as fit
    #[arg(long, default_value_t = 20)]
    rate: u32,
    /// How many bytes the ring holds, rounded up to a page
    #[arg(long, default_value_t = 4096)]
    capacity: u64,
    /// Hold the first record until this many consumers are attached
    #[arg(long, default_value_t = 2)]
    wait_for: usize,
}

/// How long consumers may take to attach, and to read the rest.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A record is its number, so often: some ten records fill the smallest ring.
const REPEATS: usize = 50;

type Queue = Writer<AnyStrategy>;

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { name, records, wait_for, .. } = arguments;
    let mut queue = Queue::host(name, &QueueOptions::new(arguments.capacity))?;
    println!("hosting; waiting for consumers: {wait_for}");
    queue.wait_for_consumers(*wait_for, TIMEOUT)?;
    let pause = Duration::from_secs(1).checked_div(arguments.rate).unwrap_or_default();
    let mut gone = 0;
    for number in 0..*records {
        queue.send(&number.to_le_bytes().repeat(REPEATS))?;
        gone += tell(&mut queue);
        thread::sleep(pause);
    }
    queue.close();
    queue.drain(TIMEOUT)?;
    gone += tell(&mut queue);
    println!("all {records} records sent and read; consumers that died or were turned out: {gone}");
    Ok(())
}

/// Tells of the consumers that died, and of those that were turned out; says how many they were.
fn tell(queue: &mut Queue) -> usize {
    let (deaths, evictions) = (queue.take_deaths(), queue.take_evictions());
    for death in &deaths {
        println!("{}", Obituary { death, unit: "bytes" });
    }
    for eviction in &evictions {
        println!("{}", Dismissal { eviction });
    }
    deaths.len() + evictions.len()
}
