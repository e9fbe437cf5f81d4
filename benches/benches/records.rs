//! Criterion: messages of bytes by size, number of consumers, and batch. Beside them stands bbqueue,
//! with one producer and one consumer in one process.
//!
//! `iters` messages are moved in each sample. Every byte is written in place and summed where it lies,
//! and a sample in which anything is missing fails. Both queues have the same room, and their messages
//! are written and summed by the same function.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, bail};
use bbqueue::BBQueue;
use bbqueue::prod_cons::stream::{StreamConsumer, StreamGrantW, StreamProducer};
use bbqueue::traits::coordination::cas::AtomicCoord;
use bbqueue::traits::notifier::polling::Polling;
use bbqueue::traits::storage::BoxedSlice;
use benches::crew::fits;
use benches::idle::Idle;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use day3::{Spin, Start, Wait, Yield};
use day4::{Reader, RecvError, Writer, record_len};
use testing::Unique;
use yardstick::payload::{Message, Tally, fill, sum};

mod race;

use race::{Side, race};

/// Bytes of ring: more than the cores' own caches hold, where both queues are fastest.
const CAPACITY: usize = 4 << 20;
/// Bytes of a batch that is written, and bytes that readers take and give back at a time.
const BATCH: usize = 64 << 10;

/// What is moved.
#[derive(Clone, Copy)]
struct Load {
    messages: u64,
    /// The bytes of each message.
    size: usize,
    /// Messages written at a time.
    batch: u64,
}

/// Writes message number `number`; returns the sum of its words.
#[inline(always)]
fn write(place: &mut [u8], number: u64) -> u64 {
    fill(bytemuck::cast_slice_mut::<u8, Message<1>>(place), number)
}

/// The sum of a message's words.
#[inline(always)]
fn read(message: &[u8]) -> u64 {
    sum(bytemuck::cast_slice::<u8, Message<1>>(message))
}

/// Moves the messages through the ring of records.
fn fanout<W: Wait + Send>(load: Load, consumers: usize, wait: fn() -> W) -> Duration {
    let name = Unique::new("bench");
    let writer = Writer::create(&*name, CAPACITY as u64).expect("a new ring");
    let mut writer = writer.waiting(wait());
    let receiving = |_| {
        let reader = Reader::join(&*name, Start::Oldest).expect("a slot");
        let mut reader = reader.waiting(wait());
        let side: Side<'_> = Box::new(move || fanout_receive(&mut reader, load.size));
        side
    };
    let sides = (0..consumers).map(receiving).collect();
    let sending: Side<'_> = Box::new(move || {
        let sent = fanout_send(&mut writer, load)?;
        writer.close();
        Ok(black_box(sent))
    });
    race(load.messages, sending, sides).expect("everything arrives")
}

#[inline(never)]
fn fanout_send<W: Wait>(writer: &mut day4::writer::Writer<W>, load: Load) -> anyhow::Result<Tally> {
    let Load { messages, size, batch } = load;
    let mut tally = Tally::default();
    while tally.count < messages {
        if batch == 1 {
            let mut place = writer.reserve(size)?;
            let sum = write(&mut place, tally.count);
            place.publish(size);
            tally.add(1, sum);
            continue;
        }
        let n = batch.min(messages - tally.count);
        let mut places = writer.batch(n as usize * record_len(size))?;
        for _ in 0..n {
            places.push_with(size, |place| {
                let sum = write(place, tally.count);
                tally.add(1, sum);
                size
            })?;
        }
        places.publish();
    }
    Ok(tally)
}

#[inline(never)]
fn fanout_receive<W: Wait>(
    reader: &mut day4::reader::Reader<W>,
    size: usize,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let most = BATCH.max(record_len(size));
    loop {
        match reader.recv_batch(most) {
            Ok(messages) => messages.iter().for_each(|message| tally.add(1, read(message))),
            Err(RecvError::Closed) => return Ok(tally),
            Err(error) => bail!(error),
        }
    }
}

/// Memory on the heap, atomics, and no notifier: the sides themselves look again.
type Bip = BBQueue<BoxedSlice, AtomicCoord, Polling>;

/// A message in bbqueue's plain grants: its length in a word, and its bytes. bbqueue's own framed
/// grants hold at most 65535 bytes, and have no batches.
const HEADER: usize = 8;

/// Moves the messages through bbqueue.
fn bbqueue(load: Load) -> Duration {
    let queue = Bip::new_with_storage(BoxedSlice::new(CAPACITY));
    let (producer, consumer) = (queue.stream_producer(), queue.stream_consumer());
    let sending: Side<'_> = Box::new(move || Ok(black_box(bbqueue_send(&producer, load))));
    let receiving: Side<'_> = Box::new(move || bbqueue_receive(&consumer, load));
    race(load.messages, sending, vec![receiving]).expect("everything arrives")
}

#[inline(never)]
fn bbqueue_send(producer: &StreamProducer<&Bip>, load: Load) -> Tally {
    let Load { messages, size, batch } = load;
    let mut tally = Tally::default();
    let idle = Idle::new(2);
    while tally.count < messages {
        let n = batch.min(messages - tally.count);
        let mut places = grant(producer, n as usize * (HEADER + size), &idle);
        for place in places.chunks_exact_mut(HEADER + size) {
            let (header, place) = place.split_at_mut(HEADER);
            header.copy_from_slice(&(size as u64).to_le_bytes());
            let sum = write(place, tally.count);
            tally.add(1, sum);
        }
        let len = places.len();
        places.commit(len);
    }
    tally
}

#[inline(always)]
fn grant<'a>(producer: &StreamProducer<&'a Bip>, len: usize, idle: &Idle) -> StreamGrantW<&'a Bip> {
    loop {
        if let Ok(places) = producer.grant_exact(len) {
            idle.reset();
            return places;
        }
        idle.wait();
    }
}

#[inline(never)]
fn bbqueue_receive(consumer: &StreamConsumer<&Bip>, load: Load) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let idle = Idle::new(2);
    while tally.count < load.messages {
        let Ok(grant) = consumer.read() else {
            idle.wait();
            continue;
        };
        idle.reset();
        // As much as the other queue's reader takes at a time: room that is given back late makes the
        // writer wait.
        let mut used = 0;
        while used < grant.len().min(BATCH) {
            let (header, rest) = grant[used..].split_first_chunk().context("a torn header")?;
            let len = u64::from_le_bytes(*header) as usize;
            tally.add(1, read(rest.get(..len).context("a torn message")?));
            used += HEADER + len;
        }
        grant.release(used);
    }
    Ok(tally)
}

fn records(criterion: &mut Criterion) {
    for size in [16, 256, 4 << 10, 64 << 10, 1 << 20] {
        let mut group = criterion.benchmark_group(format!("records of {size} bytes"));
        group.throughput(Throughput::BytesDecimal(size as u64));
        group.sample_size(10).warm_up_time(Duration::from_millis(200));
        group.measurement_time(Duration::from_millis(1500));
        let most = (BATCH / record_len(size)).max(1) as u64;
        for batch in if most > 1 { vec![1, most] } else { vec![1] } {
            let load = |messages| Load { messages, size, batch };
            let id = |what: &str| BenchmarkId::new(what, format!("batch {batch}"));
            for consumers in 1..=3 {
                group.bench_function(id(&format!("consumers {consumers}")), |bencher| {
                    bencher.iter_custom(|messages| {
                        if fits(consumers + 1) {
                            fanout(load(messages), consumers, || Spin)
                        } else {
                            fanout(load(messages), consumers, || Yield)
                        }
                    });
                });
            }
            group.bench_function(id("bbqueue"), |bencher| {
                bencher.iter_custom(|messages| bbqueue(load(messages)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, records);
criterion_main!(benches);
