//! Measures a selector: many producers into one consumer, one busy ring among idle ones, and who gets how much.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use common::sync::{Arc, AtomicBool, Ordering};
use day2::Mode;
use day3::{Start, Wait};
use day4::reader::Reader;
use day4::writer::Writer;
use day5::Adaptive;
use day7::ready::Posting;
use day7::selector::{Key, Selector};
use yardstick::{affinity, report};

/// A selector: many producers into one consumer, one busy ring among idle ones, and who gets how much
#[derive(Parser)]
struct Arguments {
    /// How often each measurement is repeated
    #[arg(long, default_value_t = 7)]
    repeats: usize,
    /// How many messages there are in each, in thousands
    #[arg(long, default_value_t = 1000)]
    thousands: u64,
    /// Measure only what has this in its name: many, idle or fair
    #[arg(long, default_value = "")]
    only: String,
}

/// Bytes of a message: its number, and nothing.
const MESSAGE: usize = 64;
/// Bytes of a ring.
const CAPACITY: u64 = 1 << 16;

type Incoming = Reader<Adaptive>;

fn main() -> ExitCode {
    report::exit(measure(&Arguments::parse()))
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    report::warn_of_debug_build();
    ensure!(arguments.repeats > 0, "at least one repeat is needed");
    ensure!(arguments.thousands > 0, "at least a thousand messages are needed");
    let messages = arguments.thousands * 1000;
    let cores = affinity::cores();
    println!(
        "million messages of {MESSAGE} B a second on {} cores; medians of {}",
        cores.len(),
        arguments.repeats
    );
    if "many".contains(&arguments.only) {
        let rows: Vec<(String, Part<'_>)> = [0, 1, 2, 4, 16, 64]
            .map(|producers| (named(producers), Box::new(move || many(producers, messages)) as _))
            .into();
        table(arguments.repeats, &rows)?;
    }
    if "idle".contains(&arguments.only) {
        let rows: Vec<(String, Part<'_>)> = [0, 1023]
            .map(|others| {
                let part = move || beside(others, messages);
                (format!("one busy, {others} idle"), Box::new(part) as _)
            })
            .into();
        table(arguments.repeats, &rows)?;
    }
    if "fair".contains(&arguments.only) {
        let (most, least) = fair(Duration::from_millis(500))?;
        let (spread, [most, least]) =
            (most as f64 / least as f64, [most, least].map(report::grouped));
        println!(
            "1 hot and 63 closed-loop clients: of the 63, {most} answers at most, {least} at least: {spread:.2}"
        );
    }
    Ok(())
}

fn named(producers: usize) -> String {
    match producers {
        0 => "1 producer, no selector".into(),
        1 => "1 producer".into(),
        many => format!("{many} producers"),
    }
}

type Part<'a> = Box<dyn Fn() -> anyhow::Result<f64> + 'a>;

/// Measures these in turns, and prints the medians.
fn table(repeats: usize, rows: &[(String, Part<'_>)]) -> anyhow::Result<()> {
    let mut samples = vec![Vec::new(); rows.len()];
    for _ in 0..repeats {
        for ((_, part), samples) in rows.iter().zip(&mut samples) {
            samples.push(part()?);
        }
    }
    for ((name, _), samples) in rows.iter().zip(&samples) {
        let median = report::median(samples).context("nothing was measured")?;
        println!("{name:<28}{median:>9.2}");
    }
    Ok(())
}

fn ring() -> anyhow::Result<(day4::Writer, Incoming)> {
    let writer = day4::Writer::anonymous(CAPACITY)?;
    let descriptor = writer.offer().descriptor(Mode::Reader)?;
    Ok((writer, Reader::from_fd(descriptor, Start::Oldest, &Default::default())?))
}

fn send<W: Wait>(writer: &mut Writer<W>, messages: u64) -> anyhow::Result<()> {
    let mut message = [0; MESSAGE];
    for number in 0..messages {
        message[..8].copy_from_slice(&number.to_ne_bytes());
        writer.send(&message)?;
    }
    Ok(())
}

/// How many messages have come, and the sum of their numbers.
#[derive(Clone, Copy, Default)]
struct Tally {
    count: u64,
    sum: u64,
}

impl Tally {
    fn add(&mut self, record: &[u8]) {
        let number = record.first_chunk().map_or(u64::MAX, |bytes| u64::from_ne_bytes(*bytes));
        self.count += 1;
        self.sum = self.sum.wrapping_add(number);
    }

    fn check(self, messages: u64) -> anyhow::Result<()> {
        let sum = messages * messages.saturating_sub(1) / 2;
        ensure!((self.count, self.sum) == (messages, sum), "messages were lost or changed");
        Ok(())
    }
}

/// Takes what there is, up to so many bytes.
fn take(reader: &mut Incoming, bytes: u64, tally: &mut Tally) -> u64 {
    let before = tally.count;
    if let Ok(records) = reader.try_recv_batch(bytes as usize) {
        records.iter().for_each(|record| tally.add(record));
    }
    tally.count - before
}

/// So many producers into one thread; with 0, one without a selector.
fn many(producers: usize, messages: u64) -> anyhow::Result<f64> {
    let each = messages / producers.max(1) as u64;
    let mut selector = Selector::new()?;
    let mut rings = Vec::new();
    let mut writers = Vec::new();
    for _ in 0..producers.max(1) {
        let (writer, reader) = ring()?;
        let key = selector.add_seated(reader.outlook())?;
        let seat = selector.seat(key).filter(|_| producers > 0);
        let posting = seat.map(|seat| Posting::new(seat, Adaptive::default()));
        writers.push(writer.waiting(posting.unwrap_or_default()));
        rings.push((key, reader, Tally::default()));
    }
    let cores = affinity::cores();
    let started = Instant::now();
    let threads: Vec<_> = writers
        .into_iter()
        .enumerate()
        .map(|(at, mut writer)| {
            let cores = cores.clone();
            thread::spawn(move || {
                affinity::pin(&cores, 1 + at % cores.len().saturating_sub(1).max(1));
                send(&mut writer, each)
            })
        })
        .collect();
    affinity::pin(&cores, 0);
    let mut left = each * rings.len() as u64;
    while left > 0 {
        if producers == 0 {
            let (_, reader, tally) = &mut rings[0];
            let records = reader.recv_batch(1 << 16)?;
            left -= records.iter().inspect(|record| tally.add(record)).count() as u64;
            continue;
        }
        let turn = selector.wait();
        // The keys of what was added in order, and never removed, are in order.
        let at = rings.iter().position(|(key, ..)| *key == turn.key).context("a key")?;
        let (_, reader, tally) = &mut rings[at];
        left -= take(reader, turn.bytes, tally);
    }
    let taken = started.elapsed();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a producer has panicked"))??;
    }
    rings.iter().try_for_each(|(.., tally)| tally.check(each))?;
    Ok((each * rings.len() as u64) as f64 / taken.as_secs_f64() / 1e6)
}

/// One thread sends and receives, in turns, beside so many rings that are idle.
fn beside(others: usize, messages: u64) -> anyhow::Result<f64> {
    const TURN: u64 = 16;
    let mut selector = Selector::new()?;
    // One idle ring more would be one descriptor more: the same ring many times is as many to look at.
    let (_idle, idle) = ring()?;
    for _ in 0..others {
        selector.add_seated(idle.outlook())?;
    }
    let (writer, mut reader) = ring()?;
    let key = selector.add_seated(reader.outlook())?;
    let seat = selector.seat(key).context("it has one")?;
    let mut writer = writer.waiting(Posting::new(seat, Adaptive::default()));
    let started = Instant::now();
    let (mut tally, mut received) = (Tally::default(), 0);
    for _ in 0..messages / TURN {
        send(&mut writer, TURN)?;
        received += TURN;
        while tally.count < received {
            let turn = selector.wait();
            if turn.key == key {
                take(&mut reader, turn.bytes, &mut tally);
            }
        }
    }
    let taken = started.elapsed();
    ensure!(tally.sum == received / TURN * (TURN * (TURN - 1) / 2), "messages were changed");
    Ok(received as f64 / taken.as_secs_f64() / 1e6)
}

/// One client that floods its ring, and 63 that ask and wait for the answer: how many answers the 63 got, at most and
/// at least.
fn fair(time: Duration) -> anyhow::Result<(u64, u64)> {
    let (mut selector, is_over) = (Selector::new()?, Arc::new(AtomicBool::new(false)));
    let mut rings: Vec<(Key, Incoming, Option<Writer<Adaptive>>, Tally)> = Vec::new();
    let mut threads = Vec::new();
    for client in 0..64 {
        let (writer, reader) = ring()?;
        let key = selector.add_seated(reader.outlook())?;
        let seat = selector.seat(key).context("it has one")?;
        let mut writer = writer.waiting(Posting::new(seat, Adaptive::default()));
        let (answers, mut heard) = ring()?;
        let over = Arc::clone(&is_over);
        threads.push(thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if client == 0 {
                    let _ = writer.try_send(&[0; MESSAGE]);
                } else if writer.send(&[0; MESSAGE]).is_ok() {
                    let _ = heard.recv();
                }
            }
        }));
        let answers = (client != 0).then(|| answers.waiting(Adaptive::default()));
        rings.push((key, reader, answers, Tally::default()));
    }
    let started = Instant::now();
    while started.elapsed() < time {
        let Some(turn) = selector.wait_timeout(time) else { continue };
        let at = rings.iter().position(|(key, ..)| *key == turn.key).context("a key")?;
        let (_, reader, answers, tally) = &mut rings[at];
        for _ in 0..take(reader, turn.bytes, tally) {
            if let Some(answers) = answers {
                answers.send(&[0; MESSAGE])?;
            }
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let served: Vec<_> = rings.iter().skip(1).map(|(.., tally)| tally.count).collect();
    // The answers end, and with them the clients.
    drop(rings);
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a client has panicked"))?;
    }
    let (most, least) = (served.iter().max(), served.iter().min());
    Ok((*most.context("clients")?, *least.context("clients")?))
}
