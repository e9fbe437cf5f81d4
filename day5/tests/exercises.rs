//! The exercises of Day 5: each checks the same promises of your function and of the solution.
//!
//! Write yours in `day5/exercises/`; `cargo test -p day5 --test 'exercises*' -- --ignored` checks it.
//! The functions in `day5/exercises/wrong/` are wrong on purpose: each must fail here, or under loom in
//! `exercises_loom.rs`, for the reason that stands beside its name.
#![cfg(not(loom))]

mod latch;

#[path = "../exercises/either.rs"]
#[allow(dead_code, reason = "a stub finds nothing")]
mod either_exercise;
#[path = "../solutions/either.rs"]
mod either_solution;
#[path = "../exercises/latch.rs"]
mod latch_exercise;
#[path = "../solutions/latch.rs"]
mod latch_solution;

#[path = "../exercises/wrong"]
mod wrong {
    pub(crate) mod either_closes_early;
    pub(crate) mod either_favours_the_first;
    pub(crate) mod either_hears_the_first;
    pub(crate) mod either_ignores_the_timeout;
    pub(crate) mod either_loses_one;
    pub(crate) mod either_spins;
    pub(crate) mod latch_always_asks;
    pub(crate) mod latch_falls_shut;
    pub(crate) mod latch_ignores_the_timeout;
    pub(crate) mod latch_never_wakes;
    pub(crate) mod latch_spins;
}

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::sync::{AtomicU64, Ordering};
use day3::{Heap, JoinOptions, Memory, Start};
use day5::AnyStrategy;
use testing::judge::awake::{A_WHILE, Who, sleeps};
use testing::judge::{breaks, comes_back, far_away, joined};

use either_solution::Found;
use latch::{Latch, implement};

const SHORT: Duration = Duration::from_millis(2);

implement! {
    latch_exercise,
    latch_solution,
    wrong::latch_always_asks,
    wrong::latch_falls_shut,
    wrong::latch_ignores_the_timeout,
    wrong::latch_never_wakes,
    wrong::latch_spins,
}

fn every_promise_of_a_latch<L: Latch>() {
    comes_back("it waits for at most the timeout", || {
        let latch = L::new();
        assert!(!latch.open(), "the kernel is called only if a thread waits");
        assert!(latch.wait(SHORT) && latch.wait(Duration::ZERO), "it is open, and stays open");
        assert!(!L::new().wait(SHORT), "it says whether it is open");
    });
    let latch = L::new();
    sleeps(Who::ThisThread, "the latch", || {
        assert!(!latch.wait(A_WHILE), "it says whether it is open");
    });
    // In every other round the threads have time to fall asleep; in the others they come too late.
    for round in 0..200 {
        comes_back("every waiting thread is woken", move || all_see_what_was_written::<L>(round));
    }
    // On a computer that stalls, a thread may be slow to start its wait.
    let asked = [50, 500, 5000].into_iter().any(|millis| {
        comes_back("every waiting thread is woken", move || asks_for_one_that_waits::<L>(millis))
    });
    assert!(asked, "it says that it has asked the kernel");
}

fn asks_for_one_that_waits<L: Latch>(millis: u64) -> bool {
    let (latch, timeout) = (&L::new(), far_away());
    thread::scope(|scope| {
        let waiting = scope.spawn(move || latch.wait(timeout));
        thread::sleep(Duration::from_millis(millis));
        let asked = latch.open();
        assert!(joined(waiting), "it waits until it is open");
        asked
    })
}

fn all_see_what_was_written<L: Latch>(round: u64) {
    let (latch, timeout) = (&L::new(), far_away());
    let written = &AtomicU64::new(0);
    thread::scope(|scope| {
        let waiting = [1, 2, 3].map(|_| {
            scope.spawn(move || latch.wait(timeout).then(|| written.load(Ordering::Relaxed)))
        });
        if round.is_multiple_of(2) {
            thread::sleep(Duration::from_micros(round));
        }
        written.store(round + 1, Ordering::Relaxed);
        latch.open();
        for waiting in waiting {
            let found = joined(waiting).expect("it waits until it is open");
            assert_eq!(found, round + 1, "what was written before open can be read after wait");
        }
    });
}

type Producer = day3::ring::Producer<u64, AnyStrategy>;
type Consumer = day3::ring::Consumer<u64, AnyStrategy>;

fn queue() -> (Producer, Consumer) {
    let memory: Arc<dyn Memory> = Heap::<u64>::new(16, 0).unwrap();
    // SAFETY: made for this type just now, and this is its only producer.
    let producer = unsafe { Producer::from_memory(memory.clone()) };
    // SAFETY: made for this type.
    let consumer = unsafe { Consumer::from_memory(memory, Start::Oldest, &JoinOptions::new()) };
    (producer, consumer.unwrap())
}

type Either = fn(&mut Consumer, &mut Consumer, &mut bool, Duration) -> Found;

/// Your function, with the solution's type as its result.
fn either_of_yours(
    first: &mut Consumer,
    second: &mut Consumer,
    turn: &mut bool,
    timeout: Duration,
) -> Found {
    use either_exercise::{Found as Yours, either};
    match either(first, second, turn, timeout) {
        Yours::First(message) => Found::First(message),
        Yours::Second(message) => Found::Second(message),
        Yours::TimedOut => Found::TimedOut,
        Yours::Closed => Found::Closed,
    }
}

/// Two queues, and the questions about them.
struct Pair {
    producers: [Producer; 2],
    consumers: [Consumer; 2],
    turn: bool,
    either: Either,
}

impl Pair {
    fn new(either: Either) -> Self {
        let ((a, first), (b, second)) = (queue(), queue());
        Self { producers: [a, b], consumers: [first, second], turn: false, either }
    }

    fn next(&mut self, timeout: Duration) -> Found {
        let [first, second] = &mut self.consumers;
        (self.either)(first, second, &mut self.turn, timeout)
    }
}

fn every_promise_of_either(either: Either) {
    comes_back("it waits for at most the timeout", move || it_gives_up(either));
    it_sleeps(either, "two queues", |_| ());
    comes_back("it finds what is there", move || nothing_is_lost_and_nobody_starves(either));
    for late in [0, 1] {
        comes_back("it hears whichever has a message first", move || {
            it_hears_a_message_that_comes_late(either, late);
        });
    }
    comes_back("it sees the end", move || both_have_to_be_closed(either));
    it_sleeps(either, "a queue beside one that is closed", |[first, _]| first.close());
    it_sleeps(either, "a queue beside one that is closed", |[_, second]| second.close());
}

fn it_gives_up(either: Either) {
    let mut pair = Pair::new(either);
    for timeout in [SHORT, Duration::ZERO] {
        assert_eq!(pair.next(timeout), Found::TimedOut, "it says that there was none");
    }
}

fn it_sleeps(either: Either, waiting_for: &str, prepare: impl FnOnce(&mut [Producer; 2])) {
    let mut pair = Pair::new(either);
    prepare(&mut pair.producers);
    sleeps(Who::ThisThread, waiting_for, || {
        assert_eq!(pair.next(A_WHILE), Found::TimedOut, "there was none, and one is still open");
    });
}

fn nothing_is_lost_and_nobody_starves(either: Either) {
    let mut pair = Pair::new(either);
    let there = "what is there is found, however short the timeout";
    for (from, message, timeout, found) in [
        (0, 1, Duration::ZERO, Found::First(1)),
        (1, 2, far_away(), Found::Second(2)),
        (1, 3, Duration::ZERO, Found::Second(3)),
        (0, 4, far_away(), Found::First(4)),
    ] {
        assert_eq!(pair.producers[from].try_send_batch(&[message]), Ok(1));
        assert_eq!(pair.next(timeout), found, "{there}");
    }

    let sent = [[10, 11, 12, 13], [20, 21, 22, 23]];
    for (producer, messages) in pair.producers.iter_mut().zip(&sent) {
        assert_eq!(producer.try_send_batch(messages), Ok(4));
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for pairs in 1..=4 {
        for _ in 0..2 {
            match pair.next(SHORT) {
                Found::First(message) => first.push(message),
                Found::Second(message) => second.push(message),
                none => panic!("no message is lost, but: {none:?} after {first:?}, {second:?}"),
            }
        }
        let (a, b) = (first.len(), second.len());
        assert!(a == pairs && b == pairs, "it takes from them by turns: {first:?}, {second:?}");
    }
    assert_eq!([first, second], sent, "every message comes once, and in order");
}

fn it_hears_a_message_that_comes_late(either: Either, from: usize) {
    let mut pair = Pair::new(either);
    let Pair { producers, consumers: [first, second], turn, either } = &mut pair;
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            assert_eq!(producers[from].try_send_batch(&[30]), Ok(1));
        });
        let expected = [Found::First(30), Found::Second(30)];
        assert_eq!(either(first, second, turn, far_away()), expected[from], "it waits for both");
    });
}

fn both_have_to_be_closed(either: Either) {
    for last in [0, 1] {
        let mut pair = Pair::new(either);
        pair.producers[1 - last].close();
        assert_eq!(pair.next(SHORT), Found::TimedOut, "one is still open");
        assert_eq!(pair.producers[last].try_send_batch(&[40]), Ok(1));
        pair.producers[last].close();
        let expected = [Found::First(40), Found::Second(40)];
        assert_eq!(pair.next(far_away()), expected[last], "everything is read before the end");
        assert_eq!(pair.next(far_away()), Found::Closed, "both are closed");
    }
}

#[test]
#[ignore = "exercise 1, yours to solve"]
fn exercise_1_a_door_that_opens_once() {
    every_promise_of_a_latch::<latch_exercise::Latch>();
}

#[test]
#[ignore = "exercise 2, yours to solve"]
fn exercise_2_two_queues_one_reader() {
    every_promise_of_either(either_of_yours);
}

#[test]
fn solution_1_a_door_that_opens_once() {
    every_promise_of_a_latch::<latch_solution::Latch>();
}

#[test]
fn solution_2_two_queues_one_reader() {
    every_promise_of_either(either_solution::either);
}

#[test]
fn wrong_doors_fail() {
    use wrong::*;
    fn fails<L: Latch>(promise: &str) {
        breaks(promise, every_promise_of_a_latch::<L>);
    }
    fails::<latch_spins::Latch>("it sleeps while it waits for the latch");
    fails::<latch_always_asks::Latch>("the kernel is called only if a thread waits");
    fails::<latch_ignores_the_timeout::Latch>("it waits for at most the timeout");
    fails::<latch_never_wakes::Latch>("every waiting thread is woken");
    fails::<latch_falls_shut::Latch>("it is open, and stays open");
}

#[test]
fn wrong_readers_of_two_queues_fail() {
    let fails = |promise: &str, wrong: Either| breaks(promise, || every_promise_of_either(wrong));
    fails("it sleeps while it waits for two queues", wrong::either_spins::either);
    fails("it waits for at most the timeout", wrong::either_ignores_the_timeout::either);
    fails("it takes from them by turns", wrong::either_favours_the_first::either);
    fails("no message is lost", wrong::either_loses_one::either);
    fails("it hears whichever has a message first", wrong::either_hears_the_first::either);
    fails("one is still open", wrong::either_closes_early::either);
}
