//! This project's ring: in a named segment, between threads that map it each for itself, or between
//! processes.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use common::affinity;
use common::payload::{Payload, Tally, fill, sum};
use common::sync::{AtomicU64, Ordering};
use day3::ring;
use day3::sequencer::Cursor;
use fanout::{Consumer, Group, Heap, JoinOptions, Memory, Producer, Receiver, Start, Wait};

use super::{BATCH, BATCHES, BROADCAST, CAPACITY, Contender, SHARED_2, SHARED_4, SINGLES};
use crate::Packet;
use crate::race::{Delivery, Side, race};

const NAME: &str = "fanout";

pub(super) fn rows() -> Vec<Contender> {
    let row = |task, mode, sides, run| Contender { task, name: NAME, mode, sides, run };
    vec![
        row(BATCHES, "threads", 2, |n| broadcast(n, 1, BATCH)),
        row(BATCHES, "processes", 2, |n| processes(n, BATCH)),
        row(BATCHES, "heap, threads", 2, |n| heap(n, BATCH)),
        row(SINGLES, "threads", 2, |n| broadcast(n, 1, 1)),
        row(SINGLES, "processes", 2, |n| processes(n, 1)),
        row(SINGLES, "heap, threads", 2, |n| heap(n, 1)),
        row(BROADCAST, "batches of 64", 4, |n| broadcast(n, 3, BATCH)),
        row(BROADCAST, "one at a time", 4, |n| broadcast(n, 3, 1)),
        row(SHARED_2, "group, batches of 64", 3, |n| group(n, 2, BATCH)),
        row(SHARED_2, "group, one at a time", 3, |n| group(n, 2, 1)),
        row(SHARED_4, "group, batches of 64", 5, |n| group(n, 4, BATCH)),
        row(SHARED_4, "group, one at a time", 5, |n| group(n, 4, 1)),
    ]
}

fn unique_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("/fanout-compare-{}-{n}", std::process::id())
}

fn broadcast(messages: u64, consumers: usize, batch: usize) -> anyhow::Result<Duration> {
    let name = unique_name();
    let producer = Producer::<Packet>::create(&name, CAPACITY as u64)?;
    let sides = (0..consumers)
        .map(|_| Ok(receiving(Consumer::<Packet>::join(&name, Start::Oldest)?, batch)))
        .collect::<anyhow::Result<_>>()?;
    race(messages, Delivery::Each, sending(producer, messages, batch), sides)
}

fn heap(messages: u64, batch: usize) -> anyhow::Result<Duration> {
    let memory: Arc<dyn Memory> = Heap::<Packet>::new(CAPACITY as u64, 0)?;
    // SAFETY: the memory was just made for packets, and this is its only producer.
    let producer = unsafe { Producer::<Packet>::over(Arc::clone(&memory)) };
    let options = JoinOptions::new();
    // SAFETY: the memory was made for packets.
    let consumer = unsafe { Consumer::<Packet>::over(memory, Start::Oldest, &options) }?;
    let sides = vec![receiving(consumer, batch)];
    race(messages, Delivery::Each, sending(producer, messages, batch), sides)
}

fn group(messages: u64, members: usize, batch: usize) -> anyhow::Result<Duration> {
    let name = unique_name();
    let producer = Producer::<Packet>::create(&name, CAPACITY as u64)?;
    let sides = (0..members)
        .map(|_| Ok(receiving(Group::<Packet>::join(&name, "g", Start::Oldest)?, batch)))
        .collect::<anyhow::Result<_>>()?;
    race(messages, Delivery::Together, sending(producer, messages, batch), sides)
}

fn sending<W: Wait + Send + 'static>(
    mut producer: ring::Producer<Packet, W>,
    messages: u64,
    batch: usize,
) -> Side<'static> {
    Box::new(move || send((&mut producer, messages, batch)))
}

#[inline(always)]
fn send<W: Wait>(
    (producer, messages, batch): (&mut ring::Producer<Packet, W>, u64, usize),
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    if batch == 1 {
        for sequence in 0..messages {
            let mut message = Packet::ZERO;
            let sum = message.fill(sequence);
            producer.send(message);
            tally.add(1, sum);
        }
    }
    while tally.count < messages {
        let n = (messages - tally.count).min(batch as u64);
        let mut places = producer.reserve(n as usize)?;
        let (head, tail) = places.slices();
        let behind = tally.count + head.len() as u64;
        let sum = fill(head, tally.count).wrapping_add(fill(tail, behind));
        places.publish();
        tally.add(n, sum);
    }
    // Consumers end when they see this.
    producer.close();
    Ok(tally)
}

fn receiving<K: Cursor + Send + 'static, W: Wait + Send + 'static>(
    mut receiver: Receiver<Packet, K, W>,
    batch: usize,
) -> Side<'static> {
    Box::new(move || Ok(receive((&mut receiver, batch))))
}

#[inline(always)]
fn receive<K: Cursor, W: Wait>((receiver, batch): (&mut Receiver<Packet, K, W>, usize)) -> Tally {
    let mut tally = Tally::default();
    if batch == 1 {
        while let Ok(message) = receiver.recv() {
            tally.add(1, message.sum());
        }
    }
    while let Ok(messages) = receiver.recv_batch(batch) {
        let (head, tail) = messages.slices();
        let sum = sum(head).wrapping_add(sum(tail));
        let count = messages.len() as u64;
        drop(messages);
        tally.add(count, sum);
    }
    tally
}

fn processes(messages: u64, batch: usize) -> anyhow::Result<Duration> {
    let name = unique_name();
    let producer = Producer::<Packet>::create(&name, CAPACITY as u64)?;
    let mut peer = Peer::spawn(&name, batch)?;
    let consumer: Side<'_> = Box::new(move || peer.tally());
    race(messages, Delivery::Each, sending(producer, messages, batch), vec![consumer])
}

/// A consumer in a process of its own.
struct Peer {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn spawn(name: &str, batch: usize) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--child", name, &batch.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(process.stdout.take().context("a child has an output")?);
        let mut this = Self { process, output };
        ensure!(this.line()? == "ready", "the consumer process could not join");
        Ok(this)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn tally(&mut self) -> anyhow::Result<Tally> {
        let line = self.line()?;
        let (count, sum) = line.split_once(' ').context("the consumer process died")?;
        Ok(Tally { count: count.parse()?, sum: sum.parse()? })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The part of the consumer process: joins, says `ready`, receives all, says what it got.
///
/// # Errors
///
/// If it cannot join, or nobody listens.
pub fn child(name: &str, batch: usize) -> anyhow::Result<()> {
    affinity::pin(&affinity::cores(), 1);
    let mut consumer = Consumer::<Packet>::join(name, Start::Oldest)?;
    let mut output = std::io::stdout();
    writeln!(output, "ready")?;
    output.flush()?;
    let tally = receive((&mut consumer, batch));
    writeln!(output, "{} {}", tally.count, tally.sum)?;
    Ok(output.flush()?)
}
