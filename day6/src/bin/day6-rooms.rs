//! Measures what private rooms cost beside a ring that its consumers share: for each batch, and for each that joins.

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use common::QueueName;
use day3::{QueueOptions, Start};
use day4::rendezvous::{Serving, serve};
use day4::{Reader, Writer, record_len};
use yardstick::{affinity, report};

/// What private rooms cost beside a ring that its consumers share
#[derive(Parser)]
struct Arguments {
    /// How often each measurement is repeated
    #[arg(long, default_value_t = 9)]
    repeats: usize,
    /// How many batches there are in each, in thousands
    #[arg(long, default_value_t = 100)]
    thousands: u64,
    /// Measure only with so many consumers
    #[arg(long)]
    consumers: Option<usize>,
    /// Measure only what has this in its name: turns, threads or joins
    #[arg(long, default_value = "")]
    only: String,
}

/// Bytes of the ring.
const CAPACITY: u64 = 1 << 16;
/// Bytes of a message: its number.
const MESSAGE: usize = size_of::<u64>();
/// So many batches are published before it is the consumers' turn: a consumer that looks at a ring which was just empty
/// holds back for a while, which is no cost of publishing.
const TURN: u64 = 32;
/// How often a consumer joins in one repeat.
const JOINS: u32 = 100;

fn main() -> ExitCode {
    report::exit(measure(&Arguments::parse()))
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    report::warn_of_debug_build();
    let cores = affinity::cores();
    ensure!(arguments.repeats > 0, "at least one repeat is needed");
    if "turns".contains(&arguments.only) {
        println!("a writer and its consumers in one thread, in turns, so that nobody waits");
        println!("ns for each batch, to publish and to read; medians of {}", arguments.repeats);
        table(arguments, "publish", |what| turns(what, &cores, |publish, _| publish))?;
        table(arguments, "read", |what| turns(what, &cores, |_, read| read))?;
    }
    if "threads".contains(&arguments.only) {
        println!(
            "\na writer and its consumers, each in a thread of its own on {} cores",
            cores.len()
        );
        println!("ns for each batch; medians of {}", arguments.repeats);
        table(arguments, "all", |what| threads(what, &cores))?;
    }
    if "joins".contains(&arguments.only) {
        println!(
            "\nus for a consumer to join and leave, mean of {JOINS}; medians of {}",
            arguments.repeats
        );
        joins(arguments.repeats)?;
    }
    Ok(())
}

/// How consumers come to a ring without a name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Shared,
    Private,
}

/// A ring without a name, and where it is served.
struct Served {
    writer: Writer,
    path: PathBuf,
    _serving: Serving,
}

impl Served {
    fn new(kind: Kind) -> anyhow::Result<Self> {
        let options = QueueOptions::new(CAPACITY);
        let writer = match kind {
            Kind::Shared => Writer::anonymous_with(&options)?,
            Kind::Private => Writer::private(&options)?,
        };
        let path = std::env::temp_dir().join(format!("day6-rooms-{}", std::process::id()));
        let _serving = serve(&path, writer.offer())?;
        Ok(Self { writer, path, _serving })
    }

    fn with_readers(kind: Kind, consumers: usize) -> anyhow::Result<(Self, Vec<Reader>)> {
        let this = Self::new(kind)?;
        let reader = |_| Reader::connect(&this.path, Start::Oldest);
        let readers = (0..consumers).map(reader).collect::<Result<_, _>>()?;
        Ok((this, readers))
    }
}

/// One measurement: of this kind, with so many consumers, and so many batches of so many messages.
#[derive(Clone, Copy, Debug)]
struct Load {
    kind: Kind,
    consumers: usize,
    batch: u64,
    batches: u64,
}

/// With how many consumers each measurement is made.
const COUNTS: [usize; 5] = [1, 2, 4, 8, 16];

/// Both kinds take turns, so that what else the machine does is the same for both. `measure` says how many nanoseconds
/// a batch took.
fn table(
    arguments: &Arguments,
    what: &str,
    measure: impl Fn(Load) -> anyhow::Result<f64>,
) -> anyhow::Result<()> {
    let Arguments { repeats, thousands, .. } = *arguments;
    println!(
        "{what:<8} {:>9} {:>5} {:>9} {:>9} {:>11} {:>8} {:>12}",
        "consumers", "batch", "shared", "private", "difference", "%", "per consumer"
    );
    let wanted = |count: &&usize| arguments.consumers.is_none_or(|only| only == **count);
    for &consumers in COUNTS.iter().filter(wanted) {
        for batch in [64, 1] {
            let (mut shared, mut private) = (Vec::new(), Vec::new());
            for round in 0..=repeats {
                let batches = (thousands * 1000 / consumers as u64).max(1);
                let one = |kind| measure(Load { kind, consumers, batch, batches });
                let both = if round.is_multiple_of(2) {
                    let shared = one(Kind::Shared)?;
                    (shared, one(Kind::Private)?)
                } else {
                    let private = one(Kind::Private)?;
                    (one(Kind::Shared)?, private)
                };
                // The first round warms up.
                if round > 0 {
                    shared.push(both.0);
                    private.push(both.1);
                }
            }
            let (shared, private) = (median(shared), median(private));
            let more = private - shared;
            println!(
                "{:<8} {consumers:>9} {batch:>5} {shared:>9.1} {private:>9.1} {more:>+11.1} {:>+8.1} {:>+12.1}",
                "",
                100.0 * more / shared,
                more / consumers as f64
            );
        }
    }
    Ok(())
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Writes one batch.
fn publish(writer: &mut Writer, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
    let bytes = (numbers.end - numbers.start) as usize * record_len(MESSAGE);
    let mut batch = writer.batch(bytes)?;
    for number in numbers {
        batch.push(&number.to_le_bytes())?;
    }
    batch.publish();
    Ok(())
}

/// What a consumer has read: how many messages, and the sum of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tally {
    count: u64,
    sum: u64,
}

impl Tally {
    /// Of all messages.
    fn of(messages: u64) -> Self {
        Self { count: messages, sum: (0..messages).fold(0, u64::wrapping_add) }
    }

    /// Takes one batch, and releases it.
    fn take(&mut self, reader: &mut Reader, batch: u64) -> anyhow::Result<()> {
        let records = reader.recv_batch(batch as usize * record_len(MESSAGE))?;
        for record in &records {
            self.sum = self.sum.wrapping_add(u64::from_le_bytes(record.try_into()?));
            self.count += 1;
        }
        Ok(())
    }
}

/// The writer and its consumers in one thread, in turns. Of the times that it took to publish and to read, `of` says
/// which is wanted.
fn turns(load: Load, cores: &[usize], of: fn(f64, f64) -> f64) -> anyhow::Result<f64> {
    let Load { kind, consumers, batch, batches } = load;
    affinity::pin(cores, 1);
    let (mut served, mut readers) = Served::with_readers(kind, consumers)?;
    let mut tallies = vec![Tally::default(); consumers];
    let (mut publishing, mut reading) = (Duration::ZERO, Duration::ZERO);
    let rounds = batches.div_ceil(TURN);
    for round in 0..rounds {
        let begun = Instant::now();
        for at in round * TURN..(round + 1) * TURN {
            publish(&mut served.writer, at * batch..(at + 1) * batch)?;
        }
        let published = Instant::now();
        for (reader, tally) in readers.iter_mut().zip(&mut tallies) {
            for _ in 0..TURN {
                tally.take(reader, batch)?;
            }
        }
        publishing += published - begun;
        reading += published.elapsed();
    }
    let expected = Tally::of(rounds * TURN * batch);
    ensure!(tallies.iter().all(|&tally| tally == expected), "{tallies:?}, expected {expected:?}");
    let each = |time: Duration| time.as_nanos() as f64 / (rounds * TURN) as f64;
    Ok(of(each(publishing), each(reading)))
}

/// The writer and each consumer in a thread of its own.
fn threads(load: Load, cores: &[usize]) -> anyhow::Result<f64> {
    let Load { kind, consumers, batch, batches } = load;
    let (mut served, readers) = Served::with_readers(kind, consumers)?;
    let expected = Tally::of(batches * batch);
    thread::scope(|scope| {
        let read = |(at, mut reader): (usize, Reader)| {
            scope.spawn(move || {
                affinity::pin(cores, at);
                let mut tally = Tally::default();
                while tally.count < expected.count {
                    tally.take(&mut reader, batch)?;
                }
                ensure!(tally == expected, "{tally:?}, expected {expected:?}");
                Ok(())
            })
        };
        let threads: Vec<_> = readers.into_iter().enumerate().map(read).collect();
        affinity::pin(cores, 1);
        let begun = Instant::now();
        for at in 0..batches {
            publish(&mut served.writer, at * batch..(at + 1) * batch)?;
        }
        for thread in threads {
            thread.join().ok().context("a reader panicked")??;
        }
        Ok(begun.elapsed().as_nanos() as f64 / batches as f64)
    })
}

/// How long it takes to join and leave, for each way.
fn joins(repeats: usize) -> anyhow::Result<()> {
    let name = |what: &str| -> anyhow::Result<QueueName> {
        Ok(format!("/day6-rooms-{what}-{}", std::process::id()).parse()?)
    };
    let (named, hosted) = (name("named")?, name("hosted")?);
    let options = QueueOptions::new(CAPACITY);
    let _named: Writer = Writer::create_with(&named, &options)?;
    let _hosted: Writer = Writer::host(&hosted, &options)?;
    let mut rows: [(&str, Vec<f64>); 4] =
        ["a named ring", "shared, served", "private, served", "hosted by name"]
            .map(|what| (what, Vec::new()));
    for round in 0..=repeats {
        let shared = Served::new(Kind::Shared)?;
        let shared_time = each(|| Ok(Reader::connect(&shared.path, Start::Latest)?))?;
        drop(shared);
        let private = Served::new(Kind::Private)?;
        let private_time = each(|| Ok(Reader::connect(&private.path, Start::Latest)?))?;
        drop(private);
        let times = [
            each(|| Ok(Reader::join(&named, Start::Latest)?))?,
            shared_time,
            private_time,
            each(|| Ok(Reader::join(&hosted, Start::Latest)?))?,
        ];
        // The first round warms up.
        for (row, time) in rows.iter_mut().zip(times).filter(|_| round > 0) {
            row.1.push(time);
        }
    }
    for (what, times) in rows {
        println!("{what:<16} {:>8.1}", median(times));
    }
    Ok(())
}

/// The mean of joining and leaving again, in microseconds.
fn each(join: impl Fn() -> anyhow::Result<Reader>) -> anyhow::Result<f64> {
    let begun = Instant::now();
    for _ in 0..JOINS {
        drop(join()?);
    }
    Ok(1e6 * begun.elapsed().as_secs_f64() / f64::from(JOINS))
}
