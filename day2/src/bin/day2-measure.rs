//! Measures what a segment costs: reserving its pages, touching them, and opening it with all
//! checks.

use std::fs::{self, File};
use std::process::ExitCode;
use std::ptr::NonNull;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use common::QueueName;
use day2::header::Expected;
use day2::segment::{READY_TIMEOUT, page_size};
use day2::{Geometry, Kind, Mode, Segment};
use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::OFlag;
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::Mode as Permissions;
use nix::unistd::ftruncate;
use yardstick::report::median;

/// Day 2's measurement: who pays for the pages, and when.
#[derive(Parser)]
struct Arguments {
    /// How many MiB of data the segments have
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..1 << 20))]
    mib: u64,
    /// How often each figure is taken; the median is printed
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    repeats: u64,
}

fn main() -> ExitCode {
    yardstick::report::exit(run(&Arguments::parse()))
}

/// One step: how long each repeat took, and how often the kernel had to add a page to our mappings.
#[derive(Default)]
struct Row {
    seconds: Vec<f64>,
    faults: Vec<f64>,
}

impl Row {
    fn take<T>(&mut self, step: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let faults = page_faults()?;
        let started = Instant::now();
        let result = step()?;
        self.seconds.push(started.elapsed().as_secs_f64());
        self.faults.push(page_faults()? - faults);
        Ok(result)
    }

    fn print(&self, what: &str) {
        let microseconds = median(&self.seconds).unwrap_or_default() * 1e6;
        let faults = median(&self.faults).unwrap_or_default();
        println!("{what:<40} {microseconds:>11.1} {faults:>12}");
    }
}

fn run(&Arguments { mib, repeats }: &Arguments) -> anyhow::Result<()> {
    yardstick::report::warn_of_debug_build();
    let name: QueueName = format!("/day2-measure-{}", std::process::id()).parse()?;
    println!("{:<40} {:>11} {:>12}", "median", "time in us", "page faults");
    println!("{mib} MiB of data, {repeats} repeats");
    pages(&name, mib, repeats)?;
    println!("one page of data, {} repeats", 100 * repeats);
    opens(&name, 100 * repeats)
}

/// Prints the cost of making an object and of writing to its pages, reserved and not.
fn pages(name: &QueueName, mib: u64, repeats: u64) -> anyhow::Result<()> {
    let geometry = geometry(mib << 10)?;
    let mut reserved: [Row; 3] = Default::default();
    let mut sized: [Row; 3] = Default::default();
    for _ in 0..repeats {
        let [make, first, second] = &mut reserved;
        let plan = geometry.clone();
        let segment = make.take(|| Ok(Segment::create(name, plan, 0o600, |_| ())?))?;
        for pass in [first, second] {
            pass.take(|| touch(segment.data(), segment.data_len()))?;
        }
        drop(segment);

        let [make, first, second] = &mut sized;
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        let object = make.take(|| map(name, flags, Some(geometry.total_len())))?;
        shm_unlink(name.as_str()).context("removing the object")?;
        let start = NonNull::new(object.as_mut_ptr()).context("mapped at address zero")?;
        for pass in [first, second] {
            pass.take(|| touch(start, object.len()))?;
        }
    }
    for (rows, what) in [(reserved, "make it, posix_fallocate"), (sized, "make it, ftruncate")] {
        let [make, first, second] = rows;
        make.print(&format!("  {what}"));
        first.print("    write to every page");
        second.print("    write to every page again");
    }
    Ok(())
}

/// Prints the cost of opening and closing an object, checked and not.
fn opens(name: &QueueName, repeats: u64) -> anyhow::Result<()> {
    let _segment = Segment::create(name, geometry(1)?, 0o600, |_| ())?;
    let [mut careful, mut careless]: [Row; 2] = Default::default();
    for _ in 0..repeats {
        let opened = careful.take(|| Ok(Segment::open(name, Mode::Reader, READY_TIMEOUT)?));
        drop(opened?);
        drop(careless.take(|| map(name, OFlag::O_RDWR, None))?);
    }
    careful.print("  open it, everything checked");
    careless.print("  open it, nothing checked");
    Ok(())
}

fn geometry(messages: u64) -> anyhow::Result<Geometry> {
    let expected = Expected::messages::<[u8; 1024]>(Kind::Log, "[u8; 1024]");
    Ok(Geometry::plan(&expected, messages, 0, 256, page_size())?)
}

/// What Day 1 did: opens an object, sizes it if it is new, and maps all of it.
fn map(name: &QueueName, flags: OFlag, size: Option<u64>) -> anyhow::Result<MmapRaw> {
    let permissions = Permissions::S_IRUSR | Permissions::S_IWUSR;
    let object = File::from(shm_open(name.as_str(), flags, permissions)?);
    if let Some(bytes) = size {
        ftruncate(&object, bytes as i64)?;
    }
    Ok(MmapOptions::new().map_raw(&object)?)
}

/// Writes one byte to every page.
fn touch(start: NonNull<u8>, len: usize) -> anyhow::Result<()> {
    for offset in (0..len).step_by(page_size() as usize) {
        // SAFETY: the offset is below `len`, and `len` bytes are mapped from `start` on.
        let byte = unsafe { start.add(offset) };
        // SAFETY: mapped writable, and nobody else uses it.
        unsafe { byte.write_volatile(1) };
    }
    Ok(())
}

/// How many page faults without disk access this process has had.
fn page_faults() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field is the program's name in parentheses. It may hold spaces.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let faults = fields.nth(7).context("no tenth field in /proc/self/stat")?;
    faults.parse().context("the tenth field of /proc/self/stat is no number")
}
