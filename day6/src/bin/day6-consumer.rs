//! Sees every message of `day6-producer`, and checks that none is missing, also when another producer goes on.

#[path = "numbered/mod.rs"]
mod numbered;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use common::QueueName;
use day3::ring::Consumer;
use day3::{JoinOptions, RecvError, Start};
use day5::AnyStrategy;
use yardstick::report;

use crate::numbered::{Message, check};

/// Check that every message comes, once and in order
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/deaths")]
    name: QueueName,
    /// Wait for another producer where this one has died
    #[arg(long)]
    follow: bool,
    /// A text for the operator
    #[arg(long, default_value = "")]
    label: String,
    /// How many seconds to wait for the queue to be created
    #[arg(long, default_value_t = 10)]
    wait: u64,
}

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let options = JoinOptions::new()
        .follow(arguments.follow)
        .label(&arguments.label)
        .wait_for_queue(Duration::from_secs(arguments.wait));
    let mut consumer =
        Consumer::<Message, AnyStrategy>::join_with(&arguments.name, Start::Oldest, &options)?;
    let first = consumer.first_sequence().get();
    println!("attached, first message: {first}");
    let (mut next, mut last_epoch) = (first, None);
    let ended = loop {
        let message = match consumer.recv() {
            Ok(message) => message,
            Err(ended) => break ended,
        };
        let (number, epoch) = check(&message)?;
        ensure!(number == next, "message {next} was to come next, found {number}");
        next += 1;
        if last_epoch.replace(epoch).is_some_and(|last| last != epoch) {
            println!("message {number} comes from another producer: epoch {epoch}");
        }
    };
    println!("messages received, in order and whole: {}", next - first);
    if ended == RecvError::Closed { Ok(()) } else { Err(ended.into()) }
}
