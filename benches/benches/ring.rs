//! Criterion: send and receive by message size, number of consumers, and batch.
//!
//! `iters` messages are moved in each sample; consumers are threads that count and sum what they get,
//! and a sample in which anything is missing fails.

use std::hint::black_box;
use std::time::Duration;

use bytemuck::Pod;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanout::{Consumer, Producer, Start};
use testing::Unique;
use yardstick::payload::{Message, Payload, Tally, fill, sum};

mod race;

use race::{Side, race};

const CAPACITY: u64 = 1024;

/// Moves `messages` messages to the consumers.
fn transfer<P: Payload + Pod>(messages: u64, consumers: usize, batch: usize) -> Duration {
    let name = Unique::new("bench");
    let mut producer = Producer::<P>::create(&*name, CAPACITY).expect("a new ring");
    let receiving = |_| {
        let mut consumer = Consumer::<P>::join(&*name, Start::Oldest).expect("a slot");
        let side: Side<'_> = Box::new(move || {
            let mut tally = Tally::default();
            while let Ok(messages) = consumer.recv_batch(batch) {
                let (head, tail) = messages.slices();
                tally.add(messages.len() as u64, sum(head).wrapping_add(sum(tail)));
            }
            Ok(tally)
        });
        side
    };
    let sides = (0..consumers).map(receiving).collect();
    let sending: Side<'_> = Box::new(move || {
        let mut tally = Tally::default();
        while tally.count < messages {
            let n = (messages - tally.count).min(batch as u64);
            let mut places = producer.reserve(n as usize)?;
            let (head, tail) = places.slices();
            let behind = tally.count + head.len() as u64;
            let sum = fill(head, tally.count).wrapping_add(fill(tail, behind));
            places.publish();
            tally.add(n, sum);
        }
        Ok(black_box(tally))
    });
    race(messages, sending, sides).expect("everything arrives")
}

fn by_size<P: Payload + Pod>(criterion: &mut Criterion) {
    let size = size_of::<P>();
    let mut group = criterion.benchmark_group(format!("{size} bytes"));
    group.throughput(Throughput::BytesDecimal(size as u64));
    group.sample_size(10).warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_millis(1500));
    for consumers in 1..=3 {
        for batch in [1, 8, 64] {
            let id = BenchmarkId::new(format!("consumers {consumers}"), format!("batch {batch}"));
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|messages| transfer::<P>(messages, consumers, batch));
            });
        }
    }
    group.finish();
}

fn rings(criterion: &mut Criterion) {
    by_size::<Message<1>>(criterion);
    by_size::<Message<8>>(criterion);
    by_size::<Message<128>>(criterion);
    by_size::<Message<8192>>(criterion);
}

criterion_group!(benches, rings);
criterion_main!(benches);
