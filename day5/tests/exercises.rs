//! The exercises of Day 5: each asks the same of your function and of the solution.
//!
//! Write yours in `day5/exercises/`; `cargo test -p day5 --test exercises -- --ignored` asks it of them.
#![cfg(not(loom))]

#[path = "../exercises/either.rs"]
#[allow(dead_code, reason = "a stub finds nothing")]
mod either_exercise;
#[path = "../solutions/either.rs"]
mod either_solution;
#[path = "../exercises/latch.rs"]
mod latch_exercise;
#[path = "../solutions/latch.rs"]
mod latch_solution;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::sync::{AtomicU64, Ordering};
use day3::{Heap, JoinOptions, Memory, Start};
use day5::Named;

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(2);

/// The same questions to a type that only its name distinguishes.
macro_rules! every_promise_of_a_latch {
    ($latch:ty) => {{
        let latch = <$latch>::new();
        assert!(!latch.open(), "nobody waits: no system call");
        assert!(latch.wait(SHORT) && latch.wait(Duration::ZERO), "it is open");

        let latch = <$latch>::new();
        assert!(!latch.wait(SHORT), "nobody opens it");
        for round in 0..200u64 {
            let latch = &<$latch>::new();
            let written = &AtomicU64::new(0);
            thread::scope(|scope| {
                let waiting = [1, 2, 3].map(|_| {
                    scope.spawn(move || latch.wait(LONG).then(|| written.load(Ordering::Relaxed)))
                });
                if round % 2 == 0 {
                    thread::sleep(Duration::from_micros(round));
                }
                written.store(round + 1, Ordering::Relaxed);
                latch.open();
                for waiting in waiting {
                    assert_eq!(waiting.join().unwrap(), Some(round + 1));
                }
            });
        }
        let latch = &<$latch>::new();
        thread::scope(|scope| {
            let waiting = scope.spawn(move || latch.wait(LONG));
            thread::sleep(Duration::from_millis(50));
            assert!(latch.open(), "somebody waits by now");
            assert!(waiting.join().unwrap());
        });
    }};
}

type Producer = day3::ring::Producer<u64, Named>;
type Consumer = day3::ring::Consumer<u64, Named>;

fn queue() -> (Producer, Consumer) {
    let memory: Arc<dyn Memory> = Heap::<u64>::new(16, 0).unwrap();
    // SAFETY: made for this type just now, and this is its only producer.
    let producer = unsafe { Producer::over(memory.clone()) };
    // SAFETY: made for this type.
    let consumer = unsafe { Consumer::over(memory, Start::Oldest, &JoinOptions::new()) };
    (producer, consumer.unwrap())
}

macro_rules! every_promise_of_either {
    ($module:ident) => {{
        use $module::{Found, either};
        let (mut a, mut first) = queue();
        let (mut b, mut second) = queue();
        let mut turn = false;
        let mut next = |timeout| either(&mut first, &mut second, &mut turn, timeout);
        assert_eq!(next(SHORT), Found::TimedOut);
        assert_eq!(next(Duration::ZERO), Found::TimedOut);
        a.send(1).unwrap();
        assert_eq!(next(Duration::ZERO), Found::First(1));
        b.send(2).unwrap();
        assert_eq!(next(LONG), Found::Second(2));

        a.send_batch(&[10, 11, 12, 13]).unwrap();
        b.send_batch(&[20, 21, 22, 23]).unwrap();
        let both: Vec<_> = (0..8).map(|_| next(LONG)).collect();
        for pair in both.chunks(2) {
            let one = pair.iter().filter(|found| matches!(found, Found::First(_))).count();
            assert_eq!(one, 1, "by turns: {both:?}");
        }

        let late = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            b.send(30).unwrap();
            b
        });
        assert_eq!(next(LONG), Found::Second(30));
        a.close();
        assert_eq!(next(SHORT), Found::TimedOut, "one is still open");
        drop(late.join().unwrap());
        assert_eq!(next(LONG), Found::Closed);
    }};
}

#[test]
#[ignore = "exercise 1, yours to solve"]
fn exercise_1_a_door_that_opens_once() {
    every_promise_of_a_latch!(latch_exercise::Latch);
}

#[test]
#[ignore = "exercise 2, yours to solve"]
fn exercise_2_two_queues_one_reader() {
    every_promise_of_either!(either_exercise);
}

#[test]
fn solution_1_a_door_that_opens_once() {
    every_promise_of_a_latch!(latch_solution::Latch);
}

#[test]
fn solution_2_two_queues_one_reader() {
    every_promise_of_either!(either_solution);
}
