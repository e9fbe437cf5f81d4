//! How much of the turns each ring gets while all of them have something.

mod local;

use std::collections::HashMap;

use common::sync::Arc;
use day3::outlook::Outlook;
use day3::{Consumer, Producer, QueueOptions, Start};
use day4::{Local, Reader, Writer, record_len};
use day7::selector::{Key, Selector, SelectorOptions};
use testing::Unique;

use local::local;

/// A queue that is full to begin with.
struct Full {
    outlook: Outlook,
    reader: Reader,
    /// How many bytes it has to begin with, and how many were served.
    backlog: u64,
    served: u64,
    _writer: Writer,
}

/// A queue with so many bytes' worth of messages of these lengths.
fn full(bytes: u64, lengths: &[usize]) -> Full {
    let capacity = (2 * bytes).next_power_of_two().max(4096);
    let memory: Arc<Local> = Local::new(&QueueOptions::new(capacity)).unwrap();
    let (mut writer, reader) = local(&memory);
    let (outlook, mut backlog) = (reader.outlook(), 0);
    for &len in lengths.iter().cycle() {
        if backlog >= bytes {
            break;
        }
        writer.send(&vec![7; len]).unwrap();
        backlog += record_len(len) as u64;
    }
    Full { outlook, reader, backlog, served: 0, _writer: writer }
}

/// How far apart the queues may be, and how far apart they were, while all had something.
fn apart(quantum: u64, queues: Vec<Full>) -> u64 {
    let mut selector = Selector::with_options(&SelectorOptions::new().quantum(quantum)).unwrap();
    let mut queues: HashMap<Key, Full> = queues
        .into_iter()
        .map(|queue| (selector.add_seated(queue.outlook.clone()).unwrap(), queue))
        .collect();
    let all = queues.values().map(|queue| queue.backlog).sum();
    let (mut widest, mut served, mut is_backlogged) = (0, 0, true);
    while served < all {
        let turn = selector.try_wait().expect("there is something");
        let queue = queues.get_mut(&turn.key).unwrap();
        assert!(turn.bytes > 0 && turn.bytes <= 2 * quantum, "{turn:?}");
        let records = queue.reader.try_recv_batch(turn.bytes as usize).unwrap();
        let bytes: u64 = records.iter().map(|record| record_len(record.len()) as u64).sum();
        drop(records);
        queue.served += bytes;
        served += bytes;
        is_backlogged &= queue.served < queue.backlog;
        if is_backlogged {
            let so_far = || queues.values().map(|queue| queue.served);
            widest = widest.max(so_far().max().unwrap() - so_far().min().unwrap());
        }
    }
    assert_eq!(selector.try_wait(), None, "all was served");
    assert!(widest > 0, "at no time did all have something");
    widest
}

/// 64 queues, one of them 64 times as long as the others.
fn sixty_four(bytes: u64, lengths: &[usize]) -> Vec<Full> {
    (0..64).map(|at| full(if at == 17 { 64 * bytes } else { bytes }, lengths)).collect()
}

#[test]
fn no_queue_gets_more_than_a_quantum_and_a_message_more() {
    for len in [1, 100, 3000] {
        let record = record_len(len) as u64;
        for quantum in [1, 7, record - 1, record, record + 1, 2048, 5000] {
            let widest = apart(quantum, sixty_four(8 * record.max(2048), &[len]));
            assert!(widest <= quantum + record, "{widest} > {quantum} + {record}");
        }
    }
}

#[test]
fn messages_of_many_lengths_are_two_messages_apart_at_most() {
    let lengths = [1, 900, 30, 333, 2, 2500, 64];
    let longest = record_len(2500) as u64;
    for quantum in [1, 64, 500, 3000] {
        let widest = apart(quantum, sixty_four(16384, &lengths));
        assert!(widest <= quantum + 2 * longest, "{widest} > {quantum} + 2 * {longest}");
    }
}

#[test]
fn a_quantum_larger_than_all_serves_one_queue_after_the_other() {
    let mut selector = Selector::with_options(&SelectorOptions::new().quantum(1 << 30)).unwrap();
    let mut queues = [full(4096, &[100]), full(4096, &[100])];
    let keys: Vec<_> =
        queues.iter().map(|queue| selector.add_seated(queue.outlook.clone()).unwrap()).collect();
    for (queue, key) in queues.iter_mut().zip(keys) {
        let turn = selector.wait();
        assert_eq!(turn.key, key);
        let records = queue.reader.try_recv_batch(turn.bytes as usize).unwrap();
        assert_eq!(
            records.iter().map(|one| record_len(one.len()) as u64).sum::<u64>(),
            queue.backlog
        );
    }
    assert_eq!(selector.try_wait(), None);
}

/// One that takes no notice of its budget pays for it.
#[test]
fn a_consumer_that_takes_too_much_waits_for_the_others() {
    let mut selector = Selector::with_options(&SelectorOptions::new().quantum(256)).unwrap();
    let (mut greedy, mut modest) = (full(1 << 16, &[100]), full(1 << 16, &[100]));
    let greedy_key = selector.add_seated(greedy.outlook.clone()).unwrap();
    selector.add_seated(modest.outlook.clone()).unwrap();
    let size = record_len(100) as u64;
    let mut apart = 0;
    for _ in 0..200 {
        let turn = selector.wait();
        let (queue, bytes) = if turn.key == greedy_key {
            (&mut greedy, 1 << 13)
        } else {
            (&mut modest, turn.bytes as usize)
        };
        let Ok(records) = queue.reader.try_recv_batch(bytes) else { break };
        queue.served += size * records.iter().count() as u64;
        drop(records);
        apart = apart.max(greedy.served.abs_diff(modest.served));
    }
    assert!(modest.served > 1 << 14, "both were served");
    assert!(apart <= (1 << 13) + 256 + size, "{apart}: it was not made to wait");
}

/// What counts is bytes, also where sequences count messages.
#[test]
fn a_ring_of_messages_shares_by_bytes() {
    let name = Unique::new("by-bytes");
    let mut producer: Producer<[u64; 16]> = Producer::create(name.bare(), 1024).unwrap();
    let mut consumer: Consumer<[u64; 16]> = Consumer::join(name.bare(), Start::Oldest).unwrap();
    let mut small = full(1 << 16, &[100]);
    let mut selector = Selector::with_options(&SelectorOptions::new().quantum(1024)).unwrap();
    let large = selector.add_seated(consumer.outlook()).unwrap();
    selector.add_seated(small.outlook.clone()).unwrap();
    (0..1024).for_each(|_| producer.send([1; 16]).unwrap());
    let mut served = 0;
    for _ in 0..100 {
        let turn = selector.wait();
        if turn.key == large {
            let batch = consumer.try_recv_batch(turn.bytes as usize / 128).unwrap();
            served += 128 * (&batch).into_iter().count() as u64;
        } else {
            let records = small.reader.try_recv_batch(turn.bytes as usize).unwrap();
            small.served += records.iter().map(|one| record_len(one.len()) as u64).sum::<u64>();
        }
        assert!(served.abs_diff(small.served) <= 1024 + 128, "{served} and {}", small.served);
    }
    assert_eq!(served, 50 * 1024);
}

/// A ring that is empty loses what it did not use: it cannot save up for a long turn.
#[test]
fn an_empty_ring_saves_nothing_up() {
    let mut selector = Selector::with_options(&SelectorOptions::new().quantum(1000)).unwrap();
    let mut queue = full(1, &[8]);
    let key = selector.add_seated(queue.outlook.clone()).unwrap();
    for _ in 0..5 {
        let turn = selector.wait();
        assert!(turn.bytes <= 2000, "{turn:?}");
        drop(queue.reader.try_recv_batch(1).unwrap());
        assert_eq!(selector.try_wait(), None);
        queue._writer.send(&[0; 8]).unwrap();
        assert!(selector.wake(key));
        let turn = selector.wait();
        assert_eq!((turn.bytes, turn.was_rung), (1000, true));
    }
}
