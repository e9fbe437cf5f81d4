//! Opens the shared memory of `day1-producer` and prints the message in it.

use std::fs::File;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use common::QueueName;
use memmap2::MmapOptions;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::mman::shm_open;
use nix::sys::stat::Mode;

/// The size of the queue in bytes, as the producer has it. Nothing in the memory says so.
const SIZE: usize = 100;

/// Day 1's consumer: prints the message that a producer has left in shared memory.
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/queue")]
    name: QueueName,
}

fn main() -> ExitCode {
    yardstick::report::exit(run(Arguments::parse()))
}

fn run(Arguments { name }: Arguments) -> anyhow::Result<()> {
    println!("Consumer attaching to the shared-memory queue {name}...");
    let object = open(&name)?;
    // SAFETY: the object has SIZE bytes or more, and a program that keeps Day 1's rules never
    // shortens it. We only hope that the producer does not write while we read: Day 2 makes it a
    // promise.
    let map = unsafe { MmapOptions::new().len(SIZE).map(&object) };
    let memory = map.with_context(|| format!("mapping {name}"))?;
    println!("Consumer attached to the shared-memory queue {name}.");

    let message = memory.split(|&byte| byte == 0).next().unwrap_or_default();
    // `{:?}` puts the quotes, and shows bytes that would upset a terminal as escapes.
    println!("Consumer read a msg from queue: {:?}", String::from_utf8_lossy(message));

    drop(memory);
    println!("Consumer closed the queue and exit...");
    Ok(())
}

/// Opens the object for reading, or fails if there is none or it is too small to be mapped.
fn open(name: &QueueName) -> anyhow::Result<File> {
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
    Ok(object)
}
