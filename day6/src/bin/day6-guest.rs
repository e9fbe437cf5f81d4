//! Reads what `day6-host` sends; or tries to do harm.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use common::QueueName;
use common::sync::{AtomicU64, Ordering};
use day2::segment::page_size;
use day3::rooms::offset_of;
use day3::{JoinOptions, RecvError, Start};
use day4::reader::Reader;
use day5::AnyStrategy;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use yardstick::report;

/// Read numbered records, or try to do harm
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/walls")]
    name: QueueName,
    /// After this many records, try to write over the ring, and say in the own page that all was read
    #[arg(long)]
    harm_after: Option<u64>,
    /// How many seconds to wait for the queue to be created
    #[arg(long, default_value_t = 10)]
    wait: u64,
}

type Guest = Reader<AnyStrategy>;

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let wait = Duration::from_secs(arguments.wait);
    let options = JoinOptions::new().wait_for_queue(wait);
    let mut guest = Guest::join_with(&arguments.name, Start::Oldest, &options)?;
    println!("attached, slot {}", guest.slot());
    let mut next = 0u64;
    let ended = loop {
        let record = match guest.recv() {
            Ok(record) => record,
            Err(ended) => break ended,
        };
        let expected = next.to_le_bytes().repeat(record.len() / 8);
        ensure!(*record == *expected, "record {next} was to come next, found {record:?}");
        drop(record);
        next += 1;
        if arguments.harm_after == Some(next) {
            write_over_the_ring()?;
            forge(guest.slot())?;
            // For long enough that the host needs the places.
            thread::sleep(Duration::from_secs(1));
        }
    };
    println!("records received, in order and whole: {next}");
    match ended {
        RecvError::Closed => Ok(()),
        RecvError::Evicted if arguments.harm_after.is_some() => {
            println!("its host has turned it out");
            Ok(())
        }
        ended => Err(ended.into()),
    }
}

/// Asks the kernel for the ring once more, this time for writing.
fn write_over_the_ring() -> anyhow::Result<()> {
    let ring = open_files()?.into_iter().find(|(_, len)| *len > page_size());
    let (path, _) = ring.context("this process has no ring open")?;
    let file = File::options().read(true).write(true).open(path)?;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let len = usize::try_from(page_size())?.try_into()?;
    // SAFETY: a new mapping, where the kernel finds room, replaces no other.
    match unsafe { mmap(None, len, access, MapFlags::MAP_SHARED, &file, 0) } {
        Ok(_) => bail!("the kernel lets us write over the ring"),
        Err(errno) => println!("writing over the ring: {errno}"),
    }
    Ok(())
}

/// The anonymous objects that this process has open, and their sizes.
fn open_files() -> anyhow::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let is_ours =
            path.read_link().is_ok_and(|link| link.starts_with("/memfd:fanout-memfd (deleted)"));
        if is_ours && let Ok(metadata) = path.metadata() {
            found.push((path, metadata.len()));
        }
    }
    Ok(found)
}

/// Says in the only page that this process may write that it has read everything, and more.
fn forge(slot: usize) -> anyhow::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let page = maps.lines().find(|line| line.contains(" rw-s ") && line.contains("/memfd:fanout"));
    let page = page.context("this process has no page of its own: is the queue hosted?")?;
    let (start, _) = page.split_once('-').unwrap_or_default();
    let place = usize::from_str_radix(start, 16)? + offset_of(slot);
    let cursor = std::ptr::with_exposed_provenance::<AtomicU64>(place);
    // SAFETY: mapped and writable, as the kernel says, and aligned. What lies there is the guest's cursor.
    unsafe { &*cursor }.fetch_add(1 << 20, Ordering::Relaxed);
    println!("writing over its own cursor: done");
    Ok(())
}
