//! A consumer that waits, with one mistake: `day1-wrong-consumer MISTAKE NAME [--wait SECONDS]`.
//!
//! `day1/tests/exercises.rs` proves that its judge finds each of them.

use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::{Parser, ValueEnum};
use common::QueueName;

const SIZE: usize = 100;

#[derive(Parser)]
struct Arguments {
    mistake: Mistake,
    name: QueueName,
    #[arg(long)]
    wait: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Mistake {
    /// Burns a core while there is no object.
    Spins,
    /// Sleeps until there is an object, and burns a core until there is a message.
    SpinsForTheMessage,
    /// Waits for as long as it takes.
    NeverGivesUp,
    /// Waits for an object, and not for a message in it.
    BelievesTheName,
    /// Removes what its producer has made.
    RemovesTheQueue,
    /// Prints all messages but the last.
    LosesTheLast,
}

fn main() -> ExitCode {
    yardstick::report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { mistake, name, wait } = arguments;
    println!("Consumer attaching to the shared-memory queue {name}...");
    let started = Instant::now();
    let memory = loop {
        let found = fs::read(format!("/dev/shm{name}"));
        let there = found.is_ok();
        match found {
            Ok(_) if *mistake == Mistake::BelievesTheName => break vec![0; SIZE],
            Ok(memory) if memory.len() >= SIZE && (memory[0] != 0 || wait.is_none()) => {
                break memory;
            }
            _ => {}
        }
        let over = started.elapsed().as_secs_f64() >= wait.unwrap_or(0.0);
        if over && *mistake != Mistake::NeverGivesUp {
            bail!("no message in {name}");
        }
        let spins = match mistake {
            Mistake::Spins => !there,
            Mistake::SpinsForTheMessage => there,
            _ => false,
        };
        if !spins {
            thread::sleep(Duration::from_millis(1));
        }
    };
    println!("Consumer attached to the shared-memory queue {name}.");

    let messages = memory.split(|&byte| byte == 0).take_while(|message| !message.is_empty());
    let mut messages: Vec<&[u8]> = messages.collect();
    if *mistake == Mistake::LosesTheLast {
        messages.pop();
    }
    for message in messages {
        println!("Consumer read a msg from queue: {:?}", String::from_utf8_lossy(message));
    }
    if *mistake == Mistake::RemovesTheQueue {
        fs::remove_file(format!("/dev/shm{name}"))?;
    }
    println!("Consumer closed the queue and exit...");
    Ok(())
}
