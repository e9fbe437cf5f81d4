//! Works on messages of `day6-producer` as a member of a group, and says which of them another member had before.

#[path = "numbered/mod.rs"]
mod numbered;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use common::QueueName;
use day3::ring::Member;
use day3::{JoinOptions, RecvError, Start};
use day5::AnyStrategy;
use yardstick::report;

use crate::numbered::{Message, check};

/// Share the messages with the other workers, one at a time
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/work")]
    name: QueueName,
    /// The group's name
    #[arg(long, default_value = "workers")]
    group: String,
    /// How many milliseconds the work on a message takes
    #[arg(long, default_value_t = 20)]
    work_ms: u64,
    /// Wait for another producer where this one has died
    #[arg(long)]
    follow: bool,
    /// How many seconds to wait for the queue to be created
    #[arg(long, default_value_t = 10)]
    wait: u64,
    /// Tell only of messages that another member had before
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { name, group, quiet, .. } = arguments;
    let options = JoinOptions::new()
        .follow(arguments.follow)
        .wait_for_queue(Duration::from_secs(arguments.wait));
    let mut member =
        Member::<Message, AnyStrategy>::join_with(name, group, Start::Oldest, &options)?;
    println!("a worker of group {group}");
    let (mut done, mut again) = (0u64, 0u64);
    let ended = loop {
        let batch = match member.recv_batch(1) {
            Ok(batch) => batch,
            Err(ended) => break ended,
        };
        let is_again = batch.redelivered();
        for message in &batch {
            let (number, _) = check(message)?;
            if is_again {
                println!("message {number} again: the member that had it has died");
            } else if !quiet {
                println!("message {number}");
            }
            thread::sleep(Duration::from_millis(arguments.work_ms));
            done += 1;
            again += u64::from(is_again);
        }
        // Here the batch is given back. Until then its messages belong to this process, if it lives.
    };
    println!("messages worked on: {done}; of these, again: {again}");
    if ended == RecvError::Closed { Ok(()) } else { Err(ended.into()) }
}
