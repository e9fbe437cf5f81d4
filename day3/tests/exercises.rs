//! The exercises of Day 3: each checks the same promises of your function and of the solution.
//!
//! Write yours in `day3/exercises/`; `cargo test -p day3 --test exercises -- --ignored` checks it. The
//! functions in `day3/exercises/wrong/` are wrong on purpose: each must fail here, for the reason that
//! stands beside its name.
#![cfg(not(loom))]

// In an exercise, the name `day3` means this crate: the real one, with a consumer that counts.
extern crate day3 as real_day3;
extern crate self as day3;

mod counting;

#[path = "../exercises/gaps.rs"]
mod gaps_exercise;
#[path = "../solutions/gaps.rs"]
mod gaps_solution;
#[path = "../exercises/newest.rs"]
mod newest_exercise;
#[path = "../solutions/newest.rs"]
mod newest_solution;

#[path = "../exercises/wrong"]
mod wrong {
    pub(crate) mod gaps_begins_at_zero;
    pub(crate) mod gaps_forgets_the_end;
    pub(crate) mod gaps_one_by_one;
    pub(crate) mod newest_by_dozens;
    pub(crate) mod newest_forgets_the_wrap;
    pub(crate) mod newest_loses_the_last;
    pub(crate) mod newest_one_at_a_time;
    pub(crate) mod newest_releases_nothing;
    pub(crate) mod newest_waits;
}

use std::ops::Range;
use std::sync::Arc;

pub(crate) use counting::Consumer;
pub(crate) use real_day3::*;
use testing::judge::{breaks, comes_back};

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

#[test]
fn wrong_ways_to_the_newest_one_fail() {
    let fails = |promise: &str, wrong: Newest| breaks(promise, || every_promise_of_newest(wrong));
    fails("asks as few times as it can", wrong::newest_one_at_a_time::newest);
    fails("asks as few times as it can", wrong::newest_by_dozens::newest);
    fails("the end comes after the last message", wrong::newest_loses_the_last::newest);
    fails("the last message that is there", wrong::newest_forgets_the_wrap::newest);
    fails("what it has read is released", wrong::newest_releases_nothing::newest);
    fails("it never waits", wrong::newest_waits::newest);
}

#[test]
fn wrong_lists_of_what_was_missed_fail() {
    let fails = |promise: &str, wrong: Gaps| breaks(promise, || every_promise_of_gaps(wrong));
    fails("add up to what was lost", wrong::gaps_forgets_the_end::gaps);
    fails("add up to what was lost", wrong::gaps_begins_at_zero::gaps);
    fails("apart, and in order", wrong::gaps_one_by_one::gaps);
}

fn ring(capacity: u64) -> (Arc<Heap<u64>>, Producer<u64>) {
    let heap = Heap::<u64>::new(capacity, 0).unwrap();
    // SAFETY: the memory was made for this type, and has no other producer.
    let producer = unsafe { Producer::from_memory(heap.clone()) };
    (heap, producer)
}

fn consumer(heap: Arc<Heap<u64>>) -> Consumer<u64> {
    // SAFETY: the memory was made for this type.
    let consumer =
        unsafe { real_day3::Consumer::from_memory(heap, Start::Oldest, &JoinOptions::new()) };
    Consumer::counting(consumer.unwrap())
}

fn every_promise_of_newest(newest: Newest) {
    comes_back("it never waits", move || {
        the_last_message_is_found(newest);
        it_asks_as_few_times_as_it_can(newest);
    });
}

fn it_asks_as_few_times_as_it_can(newest: Newest) {
    let (heap, mut producer) = ring(1024);
    let mut consumer = consumer(heap);
    for count in [1, 1000, 1024] {
        let messages: Vec<u64> = (1..=count).collect();
        assert_eq!(producer.try_send_batch(&messages), Ok(count as usize));
        assert_eq!(newest(&mut consumer), Ok(Some(count)), "{LAST}");
        // One look finds them, and one finds no more. Twice that is still few.
        let asked = consumer.asked();
        assert!(asked <= 4, "it asks as few times as it can: {asked} times for {count} messages");
    }
}

const LAST: &str = "it returns the last message that is there now";

fn the_last_message_is_found(newest: Newest) {
    let (heap, mut producer) = ring(8);
    let mut consumer = consumer(heap);
    assert_eq!(newest(&mut consumer), Ok(None), "nothing was sent");
    // So that the next messages lie across the end of the ring.
    assert_eq!(producer.try_send_batch(&[1, 2, 3]), Ok(3));
    assert_eq!(newest(&mut consumer), Ok(Some(3)), "{LAST}");
    // The same from a full ring.
    for first in [0, 5, 13] {
        let messages: Vec<u64> = (first..first + 8).collect();
        assert_eq!(producer.try_send_batch(&messages), Ok(8), "what it has read is released");
        assert_eq!(producer.try_send(99), Err(TrySendError::Full));
        assert_eq!(newest(&mut consumer), Ok(Some(first + 7)), "{LAST}");
        assert_eq!(newest(&mut consumer), Ok(None), "it was there, but not any more");
    }
    producer.send(1).unwrap();
    producer.send(2).unwrap();
    producer.close();
    assert_eq!(newest(&mut consumer), Ok(Some(2)), "the end comes after the last message");
    assert_eq!(newest(&mut consumer), Err(RecvError::Closed), "the end is told");
}

fn every_promise_of_gaps(gaps: Gaps) {
    comes_back("it ends where the ring ends", move || all_that_was_missed_is_told(gaps));
}

fn all_that_was_missed_is_told(gaps: Gaps) {
    for sent in [0, 1, 8, 9, 100, 1000] {
        let (heap, mut producer) = ring(8);
        // SAFETY: the memory was made for this type.
        let mut tap = unsafe { Tap::from_memory(heap, Start::Oldest) };
        // The answer must not count what the tap read and lost before the call.
        let half = sent / 2;
        (0..half).for_each(|message| producer.send(message).unwrap());
        let _ = tap.try_recv();
        let (from, lost) = (tap.received() + tap.lost(), tap.lost());
        (half..sent).for_each(|message| producer.send(message).unwrap());
        producer.close();

        let missed = gaps(&mut tap);
        check(&missed, from..sent, tap.lost() - lost);
        assert_eq!(tap.received() + tap.lost(), sent, "it drains the ring");
        // The tap cannot miss a message that has just been sent.
        assert!(sent == 0 || tap.received() > 0);
    }

    // The last messages are missed when the producer has reserved every place, even if it has
    // written none.
    let (heap, mut producer) = ring(8);
    // SAFETY: the memory was made for this type.
    let mut tap = unsafe { Tap::from_memory(heap, Start::Oldest) };
    (0..8).for_each(|message| producer.send(message).unwrap());
    let _ = producer.reserve(8).unwrap();
    producer.close();
    let missed = gaps(&mut tap);
    assert_eq!(tap.lost(), 8);
    check(&missed, 0..8, 8);
}

/// The gaps must be in order, apart, not empty, within `all`, and together as long as what was
/// lost.
fn check(missed: &[Range<u64>], all: Range<u64>, lost: u64) {
    let total: u64 = missed.iter().map(|gap| gap.end - gap.start).sum();
    assert_eq!(total, lost, "the lengths add up to what was lost: {missed:?} of {all:?}");
    assert!(
        missed.is_sorted_by(|a, b| a.end < b.start),
        "the ranges lie apart, and in order: {missed:?}"
    );
    let inside =
        |gap: &Range<u64>| all.start <= gap.start && gap.start < gap.end && gap.end <= all.end;
    assert!(
        missed.iter().all(inside),
        "they lie behind where the tap stood: {missed:?} of {all:?}"
    );
}
