//! A producer of several messages, with one mistake:
//! `day1-wrong-producer MISTAKE NAME --linger SECONDS --message MESSAGE...`.
//!
//! `day1/tests/exercises.rs` proves that its judge finds each of them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::{Parser, ValueEnum};
use common::QueueName;

const SIZE: usize = 100;

#[derive(Parser)]
struct Arguments {
    mistake: Mistake,
    name: QueueName,
    #[arg(long)]
    linger: f64,
    #[arg(long = "message")]
    messages: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Mistake {
    /// Says that it sends the last message, and does not.
    LosesTheLast,
    /// Forgets the zero bytes when it counts.
    CountsNoZeroBytes,
    /// Sends a message that cannot be told from the end.
    SendsAnEmptyOne,
    /// Leaves the object when it ends.
    LeavesTheName,
    /// Removes the object when it refuses, even an object that another program made.
    RemovesAnothers,
    /// Opens the object that is there.
    TakesAnothers,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let path = format!("/dev/shm{}", arguments.name);
    let done = run(&arguments, &path);
    if done.is_err() && arguments.mistake == Mistake::RemovesAnothers {
        let _ = fs::remove_file(path);
    }
    yardstick::report::exit(done)
}

fn run(arguments: &Arguments, path: &str) -> anyhow::Result<()> {
    let Arguments { mistake, name, linger, messages } = arguments;
    let count = messages.len() - usize::from(*mistake == Mistake::LosesTheLast);
    let bytes: Vec<u8> =
        messages[..count].iter().flat_map(|one| [one.as_bytes(), &[0]].concat()).collect();
    let uncounted = if *mistake == Mistake::CountsNoZeroBytes { count } else { 0 };
    ensure!(bytes.len() - uncounted <= SIZE, "{name} has no room for {} bytes", bytes.len());
    if messages.iter().any(String::is_empty) && *mistake != Mistake::SendsAnEmptyOne {
        bail!("no message is empty");
    }

    println!("Producer creating the shared-memory queue {name}...");
    let object = match mistake {
        Mistake::TakesAnothers => File::create(path)?,
        _ => File::create_new(path)?,
    };
    object.set_len(SIZE as u64)?;
    println!(
        "Producer created the shared-memory queue {name} of size {SIZE} and mapped it into memory."
    );
    object.write_all_at(&bytes, 0)?;
    for message in messages {
        println!("Producer sent a msg \"{message}\" into the queue.");
    }
    thread::sleep(Duration::from_secs_f64(*linger));
    if *mistake != Mistake::LeavesTheName {
        fs::remove_file(path)?;
    }
    println!("Producer closed the queue after {linger} seconds and exit...");
    Ok(())
}
