//! Day 1's consumer with both exercises solved: it waits, and it reads several messages.

use std::fs::File;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use common::QueueName;
use memmap2::{Mmap, MmapOptions};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::mman::shm_open;
use nix::sys::stat::Mode;

/// The size of the queue in bytes, as the producer has it.
const SIZE: usize = 100;
/// How long to sleep before looking again: far less than anybody notices, and no busy core.
const PAUSE: Duration = Duration::from_millis(1);

/// Prints the messages that a producer has left in shared memory.
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/queue")]
    name: QueueName,
    /// How many seconds to wait for a message
    #[arg(long, value_parser = seconds, allow_negative_numbers = true)]
    wait: Option<f64>,
}

fn main() -> ExitCode {
    yardstick::report::exit(run(Arguments::parse()))
}

fn run(Arguments { name, wait }: Arguments) -> anyhow::Result<()> {
    println!("Consumer attaching to the shared-memory queue {name}...");
    let memory = match wait {
        None => attach(&name)?,
        Some(seconds) => attach_within(&name, Duration::from_secs_f64(seconds))?,
    };
    println!("Consumer attached to the shared-memory queue {name}.");

    let mut messages = memory.split(|&byte| byte == 0);
    // A queue without a message still gives one message, the empty one, as before.
    let first = messages.next().unwrap_or_default();
    for message in std::iter::once(first).chain(messages.take_while(|more| !more.is_empty())) {
        println!("Consumer read a msg from queue: {:?}", String::from_utf8_lossy(message));
    }

    drop(memory);
    println!("Consumer closed the queue and exit...");
    Ok(())
}

/// Attaches again and again until a message is there. After `timeout`, the error says what was
/// missing.
fn attach_within(name: &QueueName, timeout: Duration) -> anyhow::Result<Mmap> {
    let started = Instant::now();
    loop {
        // A new mapping each time: the compiler may read a mapping once and assume that it never
        // changes.
        let attempt = attach(name).and_then(|memory| {
            anyhow::ensure!(memory[0] != 0, "{name} is there, but nobody has written into it");
            Ok(memory)
        });
        if attempt.is_ok() || started.elapsed() >= timeout {
            return attempt.with_context(|| format!("waited {timeout:?}"));
        }
        thread::sleep(PAUSE);
    }
}

/// Maps the object for reading, or fails if there is none or it is too small.
fn attach(name: &QueueName) -> anyhow::Result<Mmap> {
    let object = match shm_open(name.as_str(), OFlag::O_RDONLY, Mode::empty()) {
        Ok(object) => File::from(object),
        Err(Errno::ENOENT) => bail!("no queue {name}: start day1-producer, then try again"),
        Err(errno) => bail!("opening {name}: {errno}"),
    };
    let found = object.metadata().with_context(|| format!("asking for the size of {name}"))?.len();
    if found < SIZE as u64 {
        bail!(
            "{name} has {found} bytes, expected {SIZE}: it is no queue, or its producer is not \
             ready; try again"
        );
    }
    // SAFETY: the object has SIZE bytes or more, and a program that keeps Day 1's rules never
    // shortens it.
    let map = unsafe { MmapOptions::new().len(SIZE).map(&object) };
    map.with_context(|| format!("mapping {name}"))
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if Duration::try_from_secs_f64(seconds).is_ok() => Ok(seconds),
        _ => Err("expected a number of seconds, 0 or more".to_owned()),
    }
}
