//! Waits for messages by a chosen strategy, and says what the waiting cost.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use common::QueueName;
use day3::ring::Consumer;
use day3::{RecvError, Start};
use day5::{AnyStrategy, Strategy};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use yardstick::report;

/// Receive messages, and say how much CPU time it took
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/seldom")]
    name: QueueName,
    /// How to wait: spin, yield, sleep or adaptive
    #[arg(long, default_value_t)]
    wait: Strategy,
}

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let consumer = Consumer::<u64, AnyStrategy>::join(&arguments.name, Start::Oldest)?;
    let mut consumer = consumer.waiting(arguments.wait.start());
    println!("waiting by {}", arguments.wait);
    let mut received = 0u64;
    let mut begun = None;
    loop {
        match consumer.recv() {
            Ok(_) => received += 1,
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
        // Starting, and waiting for the other consumers, is not counted.
        begun.get_or_insert((Instant::now(), cpu_time()?));
    }
    let (since, used) = begun.unwrap_or((Instant::now(), cpu_time()?));
    let (elapsed, used) = (since.elapsed(), cpu_time()?.saturating_sub(used));
    let share = 100.0 * used.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    println!(
        "{received} messages received in {:.1} s, with {:.3} s of CPU time: {share:.1} %",
        elapsed.as_secs_f64(),
        used.as_secs_f64(),
    );
    Ok(())
}

/// CPU time that this process has used.
fn cpu_time() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(microseconds.unsigned_abs()))
}
