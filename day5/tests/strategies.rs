//! Every way to wait, against every other: nothing is lost, everything ends, and no end sleeps for
//! ever.
#![cfg(not(loom))]

#[allow(unused_macros, reason = "it is for pollable ends")]
mod queue;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::sync::Ordering;
use day3::doorbell::ASLEEP;
use day3::link::Link;
use day3::ring::{Consumer, Member, Producer};
use day3::{
    Heap, JoinOptions, Memory, QueueOptions, RecvError, RecvTimeoutError, Shared, Start, Wait,
};
use day4::{ByteMemory, Local};
use day5::{AnyStrategy, Sleep, Strategy};
use queue::woken;
use testing::DEADLINE;

/// A short timeout, for waits that are in vain.
const MOMENT: Duration = Duration::from_millis(2);
/// Longer than any test, and longer than a clock can tell: a sleeper with this timeout has to be
/// woken.
const FOR_EVER: Duration = Duration::MAX;

/// All pairs of ways to wait.
fn pairs() -> impl Iterator<Item = (Strategy, Strategy)> {
    Strategy::ALL.into_iter().flat_map(|a| Strategy::ALL.map(|b| (a, b)))
}

fn ring(capacity: u64) -> (Arc<dyn Memory>, Producer<u64, AnyStrategy>) {
    let memory: Arc<dyn Memory> = Heap::<u64>::new(capacity, 0).unwrap();
    // SAFETY: made for this type just now, and this is its only producer.
    let producer = unsafe { Producer::from_memory(memory.clone()) };
    (memory, producer)
}

fn consumer<W: Wait>(memory: &Arc<dyn Memory>) -> Consumer<u64, W> {
    // SAFETY: made for this type.
    unsafe { Consumer::from_memory(memory.clone(), Start::Oldest, &JoinOptions::new()) }.unwrap()
}

fn member(memory: &Arc<dyn Memory>) -> Member<u64, AnyStrategy> {
    // SAFETY: made for this type.
    unsafe { Member::from_memory(memory.clone(), "g", Start::Oldest, &JoinOptions::new()) }.unwrap()
}

/// Pauses now and then, so that the other side falls asleep.
fn dawdle(number: u64) {
    if number.is_multiple_of(97) {
        thread::sleep(Duration::from_micros(number % 5 * 100));
    }
}

#[test]
fn every_pair_delivers_everything() {
    for (sending, receiving) in pairs() {
        let (memory, producer) = ring(8);
        let mut producer = producer.waiting(sending.start());
        let (mut all, mut one, mut other) = (
            consumer::<AnyStrategy>(&memory).waiting(receiving.start()),
            member(&memory).waiting(receiving.start()),
            member(&memory).waiting(receiving.start()),
        );
        thread::scope(|scope| {
            scope.spawn(move || {
                for message in 0..1000 {
                    dawdle(message);
                    producer.send(message).unwrap();
                }
            });
            scope.spawn(move || {
                for message in 0..1000 {
                    dawdle(message + 48);
                    assert_eq!(all.recv(), Ok(message), "{sending} to {receiving}");
                }
                assert_eq!(all.recv(), Err(RecvError::Closed));
            });
            let share = |member: &mut Member<u64, AnyStrategy>| {
                let mut sum = (0, 0);
                while let Ok(message) = member.recv() {
                    sum = (sum.0 + 1, sum.1 + message);
                }
                sum
            };
            let first = scope.spawn(move || share(&mut one));
            let second = share(&mut other);
            let first = first.join().unwrap();
            assert_eq!((first.0 + second.0, first.1 + second.1), (1000, 999 * 500));
        });
    }
}

#[test]
fn every_pair_delivers_records() {
    for (sending, receiving) in pairs() {
        let memory: Arc<dyn ByteMemory> = Local::new(&QueueOptions::new(4096)).unwrap();
        // SAFETY: made just now, and this is its only writer.
        let writer = unsafe { day4::writer::Writer::<AnyStrategy>::from_memory(memory.clone()) };
        let mut writer = writer.waiting(sending.start());
        let options = JoinOptions::new();
        // SAFETY: a ring of records.
        let reader = unsafe {
            day4::reader::Reader::<AnyStrategy>::from_memory(
                memory.clone(),
                Start::Oldest,
                &options,
            )
        };
        let mut reader = reader.unwrap().waiting(receiving.start());
        // SAFETY: a ring of records.
        let tap =
            unsafe { day4::tap::Tap::<AnyStrategy>::from_memory(memory, Start::Oldest, &options) };
        let mut tap = tap.unwrap().waiting(receiving.start());
        let message = |number: u64| vec![number as u8; number as usize % 700];
        thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0..500 {
                    dawdle(number);
                    writer.send(&message(number)).unwrap();
                }
            });
            scope.spawn(move || {
                let mut found = Vec::new();
                while tap.recv(&mut found).is_ok() {
                    let number = tap.received() + tap.lost() - 1;
                    assert!(found == message(number), "message {number}");
                }
                assert_eq!(tap.received() + tap.lost(), 500);
            });
            for number in 0..500 {
                assert!(*reader.recv().unwrap() == *message(number), "message {number}");
            }
        });
    }
}

#[test]
fn every_wait_ends_at_its_deadline() {
    for strategy in Strategy::ALL {
        let (memory, producer) = ring(2);
        let mut producer = producer.waiting(strategy.start());
        let mut consumer = consumer::<AnyStrategy>(&memory).waiting(strategy.start());
        let late = Err(RecvTimeoutError::TimedOut(MOMENT));
        assert_eq!(consumer.recv_timeout(MOMENT), late, "{strategy}");
        assert!(consumer.recv_timeout(Duration::ZERO).is_err());
        producer.send_batch(&[1, 2]).unwrap();
        assert!(producer.send_timeout(3, MOMENT).is_err(), "{strategy}");
        assert_eq!(consumer.recv_timeout(Duration::ZERO), Ok(1), "a late one looks once");
        assert_eq!(producer.send_timeout(3, Duration::MAX), Ok(()));
        assert_eq!(consumer.recv_timeout(Duration::MAX), Ok(2));
    }
}

/// Sleepers that look without being woken only after an hour: each of these changes has to wake
/// them.
#[test]
fn every_change_wakes_its_sleepers() {
    let sleepy = || Sleep::in_slices(FOR_EVER);
    let awake = || Strategy::Spin.start();
    // A message wakes a consumer, the end wakes it, and a release wakes the producer.
    let (memory, producer) = ring(1);
    let mut producer = producer.waiting(sleepy());
    let mut receiver = consumer::<Sleep>(&memory).waiting(sleepy());
    let closed = Err(RecvTimeoutError::End(RecvError::Closed));
    thread::scope(|scope| {
        let receiving = scope.spawn(move || {
            for message in 0..200 {
                dawdle(message * 97);
                assert_eq!(woken(|timeout| receiver.recv_timeout(timeout)), Ok(message));
            }
            woken(|timeout| receiver.recv_timeout(timeout))
        });
        for message in 0..200 {
            dawdle((message + 1) % 2 * 97);
            assert_eq!(woken(|timeout| producer.send_timeout(message, timeout)), Ok(()));
        }
        thread::sleep(Duration::from_millis(5));
        producer.close();
        assert_eq!(receiving.join().unwrap(), closed);
    });
    // A member that leaves wakes the others, too.
    let (memory, producer) = ring(1);
    let mut producer = producer.waiting(awake());
    let staying = consumer::<AnyStrategy>(&memory).waiting(awake());
    producer.send(1).unwrap();
    let mut producer = producer.waiting(sleepy());
    let mut newcomer = consumer::<Sleep>(&memory).waiting(sleepy());
    assert_eq!(woken(|timeout| newcomer.recv_timeout(timeout)), Ok(1));
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(5));
            drop(staying);
        });
        assert_eq!(
            woken(|timeout| producer.send_timeout(2, timeout)),
            Ok(()),
            "a consumer has left"
        );
    });
    assert_eq!(woken(|timeout| newcomer.recv_timeout(timeout)), Ok(2));
    thread::scope(|scope| {
        let receiving = scope.spawn(move || woken(|timeout| newcomer.recv_timeout(timeout)));
        thread::sleep(Duration::from_millis(5));
        drop(producer);
        assert_eq!(receiving.join().unwrap(), closed, "the producer has left");
    });
}

/// A consumer that is evicted in its sleep wakes up and is told.
#[test]
fn an_evicted_sleeper_wakes() {
    let (memory, mut producer) = ring(1);
    let mut sleeper = consumer::<Sleep>(&memory).waiting(Sleep::in_slices(FOR_EVER));
    let listed = producer.consumers();
    thread::scope(|scope| {
        let sleeping = scope.spawn(move || woken(|timeout| sleeper.recv_timeout(timeout)));
        thread::sleep(Duration::from_millis(5));
        // SAFETY: the consumer is alive, but has borrowed nothing: there is no message.
        assert!(unsafe { producer.evict(&listed[0]) });
        let evicted = Err(RecvTimeoutError::End(RecvError::Evicted));
        assert_eq!(sleeping.join().unwrap(), evicted);
    });
}

/// A peer is killed after it has cleared the sleepers' bit, and before it wakes them. That costs a
/// slice, and no message.
#[test]
fn a_ring_that_never_comes_costs_one_slice() {
    let (memory, mut producer) = ring(4);
    let slice = Duration::from_millis(10);
    let mut consumer = consumer::<Sleep>(&memory).waiting(Sleep::in_slices(slice));
    thread::scope(|scope| {
        let receiving = scope.spawn(move || consumer.recv_timeout(DEADLINE));
        let shared = Shared::new(memory.clone());
        let word = shared.doorbell().consumers;
        while word.fetch_and(!ASLEEP, Ordering::Relaxed) & ASLEEP == 0 {
            thread::yield_now();
        }
        producer.send(7).unwrap();
        assert_eq!(receiving.join().unwrap(), Ok(7));
    });
}

#[test]
fn strategies_have_names() {
    for strategy in Strategy::ALL {
        assert_eq!(strategy.to_string().parse(), Ok(strategy));
    }
    assert_eq!(Strategy::default(), Strategy::Adaptive);
    let error = "sleepy".parse::<Strategy>().unwrap_err().to_string();
    assert_eq!(
        error,
        "a way to wait is spin, yield, sleep or adaptive, found \"sleepy\": choose one"
    );
}
