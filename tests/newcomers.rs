//! A consumer that has joined is not overrun, whatever the producer asks before it sends again.
//! `tests/adversary` has found these.

use std::sync::Arc;
use std::time::Duration;

use fanout::error::TrySendError;
use fanout::{Consumer, Heap, JoinOptions, Producer, Start, Unattended};

const CAPACITY: u64 = 8;

fn ring(unattended: Unattended) -> (Arc<Heap<u64>>, Producer<u64>) {
    let memory = Heap::<u64>::new(CAPACITY, 0).unwrap();
    // SAFETY: the memory was made for this type, and has no other producer.
    let producer = unsafe { Producer::<u64>::from_memory_with(memory.clone(), unattended) };
    (memory, producer)
}

fn join(memory: &Arc<Heap<u64>>) -> Consumer<u64> {
    // SAFETY: the memory was made for this type.
    unsafe { Consumer::<u64>::from_memory(memory.clone(), Start::Oldest, &JoinOptions::new()) }
        .unwrap()
}

/// Sends until the ring is full, then checks that the new consumer gets what it was promised. Each
/// message is its own sequence.
fn is_not_overrun(producer: &mut Producer<u64>, newcomer: &mut Consumer<u64>) {
    let promised = newcomer.first_sequence().get();
    let full = loop {
        match producer.try_send(producer.next_sequence().get()) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(full, TrySendError::Full);
    let sent = producer.next_sequence().get();
    assert!(sent <= promised + CAPACITY, "{sent} were sent, and {promised} was not read");
    assert_eq!(newcomer.try_recv(), Ok(promised));
}

/// A producer that has sent more than a lap without a consumer, and may send most of another lap.
fn ahead() -> (Arc<Heap<u64>>, Producer<u64>) {
    let (memory, mut producer) = ring(Unattended::Overwrite);
    for number in 0..=CAPACITY {
        producer.try_send(number).unwrap();
    }
    (memory, producer)
}

#[test]
fn a_newcomer_is_not_overrun() {
    let (memory, mut producer) = ahead();
    let mut newcomer = join(&memory);
    is_not_overrun(&mut producer, &mut newcomer);
}

#[test]
fn a_newcomer_is_not_overrun_by_a_producer_that_asks_whether_it_is_abandoned() {
    let (memory, mut producer) = ahead();
    let mut newcomer = join(&memory);
    assert!(!producer.is_abandoned());
    is_not_overrun(&mut producer, &mut newcomer);
}

#[test]
fn a_newcomer_is_not_overrun_by_a_producer_that_drains() {
    let (memory, mut producer) = ahead();
    let mut newcomer = join(&memory);
    assert!(producer.drain(Duration::ZERO).is_err());
    is_not_overrun(&mut producer, &mut newcomer);
}

/// Each send asks whether a consumer is there.
fn is_not_overrun_with(unattended: Unattended) {
    let (memory, mut producer) = ring(unattended);
    let mut first = join(&memory);
    for number in 0..=CAPACITY {
        producer.try_send(number).unwrap();
        assert_eq!(first.try_recv(), Ok(number));
    }
    let mut newcomer = join(&memory);
    is_not_overrun(&mut producer, &mut newcomer);
}

#[test]
fn a_newcomer_is_not_overrun_by_a_producer_that_waits_while_nobody_listens() {
    is_not_overrun_with(Unattended::Wait);
}

#[test]
fn a_newcomer_is_not_overrun_by_a_producer_that_refuses_while_nobody_listens() {
    is_not_overrun_with(Unattended::Refuse);
}

#[test]
fn a_newcomer_is_not_overrun_where_another_reads() {
    is_not_overrun_with(Unattended::Overwrite);
}
