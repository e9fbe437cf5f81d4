//! Prints messages of any length as they come.

use std::process::ExitCode;

use clap::Parser;
use common::QueueName;
use day3::Start;
use day3::measured::Measured;
use day4::{Member, Reader, Receiver, RecvError, Tap};
use yardstick::report;

/// Receive messages and print them, each with its length
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/letters")]
    name: QueueName,
    /// Share the messages with the other members of this group
    #[arg(long, conflicts_with = "tap")]
    group: Option<String>,
    /// Only look, and say at the end how many messages were missed
    #[arg(long)]
    tap: bool,
}

/// How much of a long message is shown, in bytes.
const SHOWN: usize = 40;

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { name, group, tap } = arguments;
    match (group, tap) {
        (_, true) => watch(Tap::open(name, Start::Oldest)?),
        (Some(group), _) => receive(Member::join(name, group, Start::Oldest)?),
        (None, _) => receive(Reader::join(name, Start::Oldest)?),
    }
}

fn receive<K: Measured>(mut receiver: Receiver<K>) -> anyhow::Result<()> {
    let mut received = 0u64;
    loop {
        match receiver.recv() {
            Ok(message) => print(&message),
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
        received += 1;
    }
    println!("{received} messages received");
    Ok(())
}

fn watch(mut tap: Tap) -> anyhow::Result<()> {
    let mut message = Vec::new();
    loop {
        match tap.recv(&mut message) {
            Ok(_) => print(&message),
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
    }
    println!("{} messages received, {} lost", tap.received(), tap.lost());
    Ok(())
}

fn print(message: &[u8]) {
    let shown = String::from_utf8_lossy(&message[..message.len().min(SHOWN)]);
    let more = if message.len() > SHOWN { "…" } else { "" };
    println!("{:>5} bytes: {shown}{more}", message.len());
}
