//! The exercises of Day 3: each asks the same of your function and of the solution.
//!
//! Write yours in `day3/exercises/`; `cargo test -p day3 --test exercises -- --ignored` asks it of them.
#![cfg(not(loom))]

#[path = "../exercises/gaps.rs"]
mod gaps_exercise;
#[path = "../solutions/gaps.rs"]
mod gaps_solution;
#[path = "../exercises/newest.rs"]
mod newest_exercise;
#[path = "../solutions/newest.rs"]
mod newest_solution;

use std::ops::Range;
use std::sync::Arc;

use day3::{Consumer, Heap, JoinOptions, Producer, RecvError, Start, Tap, TrySendError};

type Newest = fn(&mut Consumer<u64>) -> Result<Option<u64>, RecvError>;
type Gaps = fn(&mut Tap<u64>) -> Vec<Range<u64>>;

#[test]
#[ignore = "exercise 1, yours to solve"]
fn exercise_1_the_newest_one() {
    every_promise_of_newest(newest_exercise::newest);
}

#[test]
#[ignore = "exercise 2, yours to solve"]
fn exercise_2_what_was_missed() {
    every_promise_of_gaps(gaps_exercise::gaps);
}

#[test]
fn solution_1_the_newest_one() {
    every_promise_of_newest(newest_solution::newest);
}

#[test]
fn solution_2_what_was_missed() {
    every_promise_of_gaps(gaps_solution::gaps);
}

fn ring(capacity: u64) -> (Arc<Heap<u64>>, Producer<u64>) {
    let heap = Heap::<u64>::new(capacity, 0).unwrap();
    // SAFETY: the memory was made for this type, and has no other producer.
    let producer = unsafe { Producer::over(heap.clone()) };
    (heap, producer)
}

fn every_promise_of_newest(newest: Newest) {
    let (heap, mut producer) = ring(8);
    // SAFETY: the memory was made for this type.
    let consumer = unsafe { Consumer::over(heap, Start::Oldest, &JoinOptions::new()) };
    let mut consumer = consumer.unwrap();
    assert_eq!(newest(&mut consumer), Ok(None), "nothing was sent");
    // So that the next messages lie across the end of the ring.
    assert_eq!(producer.try_send_batch(&[1, 2, 3]), Ok(3));
    assert_eq!(newest(&mut consumer), Ok(Some(3)));
    // From a full one.
    for first in [0, 5, 13] {
        let messages: Vec<u64> = (first..first + 8).collect();
        assert_eq!(producer.try_send_batch(&messages), Ok(8));
        assert_eq!(producer.try_send(99), Err(TrySendError::Full));
        assert_eq!(newest(&mut consumer), Ok(Some(first + 7)));
        assert_eq!(newest(&mut consumer), Ok(None), "it was there, but not any more");
    }
    producer.send(1).unwrap();
    producer.send(2).unwrap();
    producer.close();
    assert_eq!(newest(&mut consumer), Ok(Some(2)), "the end comes after the last message");
    assert_eq!(newest(&mut consumer), Err(RecvError::Closed));
}

fn every_promise_of_gaps(gaps: Gaps) {
    for sent in [0, 1, 8, 9, 100, 1000] {
        let (heap, mut producer) = ring(8);
        // SAFETY: the memory was made for this type.
        let mut tap = unsafe { Tap::over(heap, Start::Oldest) };
        // What the tap read and lost before the call is no part of the answer.
        let half = sent / 2;
        (0..half).for_each(|message| producer.send(message).unwrap());
        let _ = tap.try_recv();
        let (from, lost) = (tap.received() + tap.lost(), tap.lost());
        (half..sent).for_each(|message| producer.send(message).unwrap());
        producer.close();

        let missed = gaps(&mut tap);
        check(&missed, from..sent, tap.lost() - lost);
        assert_eq!(tap.received() + tap.lost(), sent);
        // One that has just been sent cannot be missed.
        assert!(sent == 0 || tap.received() > 0);
    }

    // The last ones are missed when the producer has reserved every place, though it wrote none.
    let (heap, mut producer) = ring(8);
    // SAFETY: the memory was made for this type.
    let mut tap = unsafe { Tap::over(heap, Start::Oldest) };
    (0..8).for_each(|message| producer.send(message).unwrap());
    let _ = producer.reserve(8).unwrap();
    producer.close();
    let missed = gaps(&mut tap);
    assert_eq!(tap.lost(), 8);
    check(&missed, 0..8, 8);
}

/// Gaps in order, apart, not empty, within `all`, and together as long as what was lost.
fn check(missed: &[Range<u64>], all: Range<u64>, lost: u64) {
    let total: u64 = missed.iter().map(|gap| gap.end - gap.start).sum();
    assert_eq!(total, lost, "{missed:?} of {all:?}");
    assert!(missed.is_sorted_by(|a, b| a.end < b.start), "{missed:?}: apart, and in order");
    let inside =
        |gap: &Range<u64>| all.start <= gap.start && gap.start < gap.end && gap.end <= all.end;
    assert!(missed.iter().all(inside), "{missed:?} of {all:?}");
}
