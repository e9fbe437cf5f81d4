//! Creates a piece of shared memory, leaves a message in it, waits a while, and removes it.

use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use common::QueueName;
use memmap2::MmapOptions;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::Mode;
use nix::unistd::ftruncate;

/// The size of the queue in bytes; the consumer has to know it.
const SIZE: usize = 100;
/// What is sent. The bytes after it stay zero, and the first of them ends it.
const MESSAGE: &str = "Hello from producer";

/// Day 1's producer: leaves one message in shared memory.
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/queue")]
    name: QueueName,
    /// How many seconds the queue stays
    #[arg(long, default_value_t = 5.0, value_parser = seconds, allow_negative_numbers = true)]
    linger: f64,
}

fn main() -> ExitCode {
    yardstick::report::exit(run(Arguments::parse()))
}

fn run(Arguments { name, linger }: Arguments) -> anyhow::Result<()> {
    println!("Producer creating the shared-memory queue {name}...");
    let object = create(&name)?;
    let created = Created(&name);
    ftruncate(&object, SIZE as i64).with_context(|| format!("giving {name} its size"))?;
    // SAFETY: the object is SIZE bytes long, and a program that keeps Day 1's rules never shortens
    // it.
    let map = unsafe { MmapOptions::new().len(SIZE).map_mut(&object) };
    let mut memory = map.with_context(|| format!("mapping {name}"))?;
    println!(
        "Producer created the shared-memory queue {name} of size {SIZE} and mapped it into memory."
    );

    memory[..MESSAGE.len()].copy_from_slice(MESSAGE.as_bytes());
    println!("Producer sent a msg \"{MESSAGE}\" into the queue.");

    thread::sleep(Duration::from_secs_f64(linger));
    drop(memory);
    drop(created);
    println!("Producer closed the queue after {linger} seconds and exit...");
    Ok(())
}

/// Creates an empty object that only this user may open, or fails if the name is taken.
fn create(name: &QueueName) -> anyhow::Result<OwnedFd> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR;
    match shm_open(name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(object) => Ok(object),
        Err(Errno::EEXIST) => bail!(
            "{name} is taken: choose another name, or remove /dev/shm{name} if its producer is gone"
        ),
        Err(errno) => bail!("creating {name}: {errno}"),
    }
}

/// A name that this process has created. It is removed when `run` ends.
struct Created<'a>(&'a QueueName);

impl Drop for Created<'_> {
    fn drop(&mut self) {
        // If the name is gone already, there is nothing left to do.
        let _ = shm_unlink(self.0.as_str());
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if Duration::try_from_secs_f64(seconds).is_ok() => Ok(seconds),
        _ => Err("expected a number of seconds, 0 or more".to_owned()),
    }
}
