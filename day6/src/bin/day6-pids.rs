//! Asks two ways whether a killed process is alive: by its number, and by its lock.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use common::QueueName;
use day2::{Mode, Segment};
use day3::{Consumer, Producer, Start};
use day6::Role;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use yardstick::report;

/// Kill a consumer, and ask whether it is alive
#[derive(Parser)]
struct Arguments {
    /// Be the consumer, of the queue of this name
    #[arg(long, hide = true)]
    consumer: Option<QueueName>,
}

/// How long a process may take to start or to die.
const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    report::exit(match Arguments::parse().consumer {
        Some(name) => consume(&name),
        None => ask(),
    })
}

fn consume(name: &QueueName) -> anyhow::Result<()> {
    let mut consumer = Consumer::<u64>::join(name, Start::Oldest)?;
    println!("attached");
    // Nothing is ever sent: it waits until it is killed, or until its parent closes the queue.
    let _ = consumer.recv();
    Ok(())
}

fn ask() -> anyhow::Result<()> {
    let name: QueueName = format!("/day6-pids-{}", std::process::id()).parse()?;
    let _producer = Producer::<u64>::create(&name, 8)?;
    let segment = Segment::open(&name, Mode::Reader, TIMEOUT)?;
    let mut consumer = Attached::start(&name)?;
    let pid = consumer.0.id();
    println!("consumer: process {pid}; its number: {}; its lock: {}", by_number(pid), by(&segment));
    consumer.0.kill()?;
    let killed = Instant::now();
    while segment.is_leased(Role::Slot(0)) {
        ensure!(killed.elapsed() < TIMEOUT, "the kernel has not let go of the lock");
        thread::yield_now();
    }
    println!("killed;   process {pid}; its number: {}; its lock: {}", by_number(pid), by(&segment));
    Ok(())
}

/// What a process is by its number: as `kill -0` asks.
fn by_number(pid: u32) -> &'static str {
    let is_there = kill(Pid::from_raw(pid as i32), None).is_ok();
    if is_there { "alive" } else { "dead" }
}

fn by(segment: &Segment) -> &'static str {
    if segment.is_leased(Role::Slot(0)) { "alive" } else { "dead" }
}

/// A consumer process that has joined. It is killed and waited for when this is dropped.
struct Attached(Child);

impl Attached {
    fn start(name: &QueueName) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let command = command.args(["--consumer", name.as_str()]).stdout(Stdio::piped());
        let mut this = Self(command.spawn()?);
        let output = this.0.stdout.take().context("a pipe was asked for")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "attached\n", "the consumer has not joined: {line}");
        Ok(this)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
