//! Many threads on one mapping, for ThreadSanitizer to watch: `.ci/tsan`.
//!
//! An ordinary `cargo test` runs it as a quick stress test. It has no test harness: that is not
//! instrumented, and the sanitizer would have to know its threads, too. Taps are left out: they
//! read, on purpose, what may be written at that moment (see `PROOF.md`).

#[cfg(not(loom))]
use std::{sync::Arc, thread};

#[cfg(not(loom))]
use day3::{Consumer, Heap, JoinOptions, Member, Memory, Producer, RecvError, Start};

/// Four words that belong together, so that a torn message does not add up.
#[cfg(not(loom))]
type Message = [u64; 4];

#[cfg(not(loom))]
fn message(n: u64) -> Message {
    [n, n.rotate_left(17), !n, n ^ 0x5555_5555]
}

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    const MESSAGES: u64 = 200_000;
    // The sequences wrap on the way, and the places do many times.
    for (capacity, first) in [(8, u64::MAX - MESSAGES / 2), (1024, 0)] {
        run(capacity, first, MESSAGES);
    }
    println!("twice {MESSAGES} messages, each seen twice whole and in order, and once by a member");
}

#[cfg(not(loom))]
fn run(capacity: u64, first: u64, messages: u64) {
    let memory: Arc<dyn Memory> = Heap::<Message>::new(capacity, first).unwrap();
    let options = JoinOptions::new();
    // SAFETY: made for this type just now, and this is its only producer.
    let mut producer = unsafe { Producer::<Message>::from_memory(memory.clone()) };
    // SAFETY: made for this type.
    let join =
        || unsafe { Consumer::<Message>::from_memory(memory.clone(), Start::Latest, &options) };
    let consumers = [join().unwrap(), join().unwrap()];
    let join_group = || {
        // SAFETY: made for this type.
        unsafe {
            Member::<Message>::from_memory(memory.clone(), "workers", Start::Latest, &options)
        }
    };
    let members = [join_group().unwrap(), join_group().unwrap()];
    thread::scope(|scope| {
        let producing = scope.spawn(move || {
            let mut n = 0;
            while n < messages {
                producer.send(message(n)).unwrap();
                producer.send_batch(&[message(n + 1), message(n + 2), message(n + 3)]).unwrap();
                n += 4;
            }
            producer.close();
            producer
        });
        for mut consumer in consumers {
            scope.spawn(move || {
                for n in 0..messages {
                    assert_eq!(consumer.recv(), Ok(message(n)));
                }
                assert_eq!(consumer.recv(), Err(RecvError::Closed));
            });
        }
        let shares = members.map(|mut member| {
            scope.spawn(move || {
                let mut share = Vec::new();
                while let Ok(batch) = member.recv_batch(5) {
                    for found in batch.iter() {
                        assert_eq!(*found, message(found[0]));
                        share.push(found[0]);
                    }
                }
                share
            })
        });
        // Other consumers come and go meanwhile.
        while !producing.is_finished() {
            let mut guest = join().unwrap();
            let begin =
                guest.recv_batch(3).map_or(messages, |batch| batch.iter().next().unwrap()[0]);
            assert!(begin <= messages);
        }
        let mut all: Vec<u64> =
            shares.into_iter().flat_map(|share| share.join().unwrap()).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..messages), "each message went to one member");
    });
}
