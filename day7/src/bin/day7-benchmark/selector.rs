//! A selector alone: many producers into one consumer, and one busy ring among idle ones.

use std::thread;
use std::time::Instant;

use anyhow::{Context, ensure};
use day2::Mode;
use day3::{Start, Wait};
use day4::reader::Reader;
use day4::writer::Writer;
use day5::Adaptive;
use day7::ready::Posting;
use day7::selector::Selector;
use yardstick::{affinity, report};

/// Bytes of a message: its number, and nothing.
const MESSAGE: usize = 64;
/// Bytes of a ring.
const CAPACITY: u64 = 1 << 16;

type Incoming = Reader<Adaptive>;

pub(crate) fn measure(repeats: usize, messages: u64) -> anyhow::Result<()> {
    println!("\nmillion messages of {MESSAGE} B a second through a selector; medians of {repeats}");
    let rows: Vec<(String, Part<'_>)> = [0, 1, 2, 4, 16, 64]
        .map(|producers| (named(producers), Box::new(move || many(producers, messages)) as _))
        .into();
    table(repeats, &rows)?;
    println!("one thread that sends and receives, in turns");
    let rows: Vec<(String, Part<'_>)> = [0, 1023]
        .map(|others| {
            let part = move || beside(others, messages);
            (format!("one busy, {others} idle"), Box::new(part) as _)
        })
        .into();
    table(repeats, &rows)
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
