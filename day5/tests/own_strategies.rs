//! Ways to wait that a user has written. Whatever a strategy does and answers, the ends ring, and believe
//! only what they themselves have found.
#![cfg(not(loom))]

#[allow(unused_macros, reason = "it is for pollable ends")]
mod queue;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use day3::doorbell::Doorbell;
use day3::ring::{Member, Producer};
use day3::wait::Side;
use day3::{JoinOptions, Memory, QueueOptions, RecvError, RecvTimeoutError, Start, Wait};
use day4::{ByteMemory, Local};
use day5::Sleep;
use queue::{consumer, ring, woken};

/// Looks again and again, and does nothing else.
#[derive(Clone, Copy, Debug, Default)]
struct Own;

impl Wait for Own {
    fn until<R>(
        &mut self,
        _: Side,
        _: &Doorbell,
        deadline: Option<Instant>,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        loop {
            let answer = poll();
            if answer.is_some() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return answer;
            }
            thread::yield_now();
        }
    }
}

/// Looks without being woken only after an hour.
fn sleepy() -> Sleep {
    Sleep::in_slices(Duration::from_secs(3600))
}

fn member<W: Wait>(memory: &Arc<dyn Memory>, wait: W) -> Member<u64, W> {
    // SAFETY: made for this type.
    let member = unsafe {
        Member::<u64, Own>::from_memory(memory.clone(), "g", Start::Oldest, &JoinOptions::new())
    };
    member.unwrap().waiting(wait)
}

/// Long enough for the other side to fall asleep, now and then.
fn dawdle(number: u64) {
    if number.is_multiple_of(10) {
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn consumers_that_sleep_are_woken_by_any_producer() {
    let (memory, producer) = ring(4);
    let mut producer = producer.waiting(Own);
    let mut all = consumer(&memory).waiting(sleepy());
    let mut shares = member(&memory, sleepy());
    let sending = thread::spawn(move || {
        for number in 0..200 {
            dawdle(number);
            producer.send(number).unwrap();
        }
    });
    let sharing = thread::spawn(move || {
        for number in 0..200 {
            assert_eq!(woken(|timeout| shares.recv_timeout(timeout)), Ok(number));
        }
    });
    for number in 0..200 {
        assert_eq!(woken(|timeout| all.recv_timeout(timeout)), Ok(number));
    }
    let closed = Err(RecvTimeoutError::End(RecvError::Closed));
    assert_eq!(woken(|timeout| all.recv_timeout(timeout)), closed);
    sending.join().unwrap();
    sharing.join().unwrap();
}

#[test]
fn a_producer_that_sleeps_is_woken_by_any_consumer() {
    let (memory, producer) = ring(2);
    let mut producer = producer.waiting(sleepy());
    let mut all = consumer(&memory).waiting(Own);
    let mut shares = member(&memory, Own);
    let receiving = thread::spawn(move || {
        for number in 0..100 {
            dawdle(number);
            assert_eq!(all.recv(), Ok(number));
        }
        thread::sleep(Duration::from_millis(2));
        // The consumer leaves, and is not waited for any more.
    });
    let sharing = thread::spawn(move || {
        for number in 0..200 {
            dawdle(number + 5);
            assert_eq!(shares.recv(), Ok(number));
        }
    });
    for number in 0..200 {
        assert_eq!(woken(|timeout| producer.send_timeout(number, timeout)), Ok(()));
    }
    receiving.join().unwrap();
    sharing.join().unwrap();
}

#[test]
fn writers_and_readers_that_sleep_are_woken_too() {
    let memory: Arc<dyn ByteMemory> = Local::new(&QueueOptions::new(4096)).unwrap();
    // SAFETY: made just now, and this is its only writer.
    let writer = unsafe { day4::writer::Writer::<Own>::from_memory(memory.clone()) };
    let options = JoinOptions::new();
    // SAFETY: a ring of records.
    let reader =
        unsafe { day4::reader::Reader::<Own>::from_memory(memory, Start::Oldest, &options) };
    let mut reader = reader.unwrap().waiting(sleepy());
    let mut writer = writer;
    let record = |number: u64| vec![number as u8; 1500];
    let sending = thread::spawn(move || {
        for number in 0..100 {
            dawdle(number);
            writer.send(&record(number)).unwrap();
        }
        let mut writer = writer.waiting(sleepy());
        for number in 100..200 {
            assert_eq!(woken(|timeout| writer.send_timeout(&record(number), timeout)), Ok(()));
        }
    });
    for number in 0..100 {
        assert!(*woken(|timeout| reader.recv_timeout(timeout)).unwrap() == record(number));
    }
    let mut reader = reader.waiting(Own);
    for number in 100..200 {
        dawdle(number);
        assert!(*reader.recv().unwrap() == record(number));
    }
    sending.join().unwrap();
}

/// Ways to wait that break the rules of `Wait`.
#[derive(Clone, Copy, Debug, Default)]
enum Odd {
    /// Gives up at once, and never looks.
    #[default]
    GivesUp,
    /// Looks once, and does not return what it found.
    Hides,
    /// Goes on looking after it has found something.
    Insists,
    /// Panics before every other look.
    PanicsBefore(bool),
    /// Panics after every other answer.
    PanicsAfter(bool),
}

impl Odd {
    const ALL: [Self; 5] = [
        Self::GivesUp,
        Self::Hides,
        Self::Insists,
        Self::PanicsBefore(false),
        Self::PanicsAfter(false),
    ];
}

/// Panics at every other call, and prints nothing.
fn every_other_time(now: &mut bool) {
    *now = !*now;
    if *now {
        resume_unwind(Box::new("an odd way to wait"));
    }
}

impl Wait for Odd {
    fn until<R>(
        &mut self,
        _: Side,
        _: &Doorbell,
        _: Option<Instant>,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        thread::yield_now();
        match self {
            Self::GivesUp => None,
            Self::Hides => {
                let _ = poll();
                None
            }
            Self::Insists => {
                let answer = poll();
                let _ = (poll(), poll());
                answer
            }
            Self::PanicsBefore(now) => {
                every_other_time(now);
                poll()
            }
            Self::PanicsAfter(now) => {
                let answer = poll();
                if answer.is_some() {
                    every_other_time(now);
                }
                answer
            }
        }
    }
}

/// Calls again until a call does not panic.
fn at_last<R>(mut call: impl FnMut() -> R) -> R {
    loop {
        if let Ok(answer) = catch_unwind(AssertUnwindSafe(&mut call)) {
            return answer;
        }
    }
}

/// How many messages go through each ring below.
const MESSAGES: u64 = 200;

#[test]
fn what_a_way_to_wait_answers_changes_nothing_for_messages() {
    for odd in Odd::ALL {
        // A tap has counted what it has copied when its strategy panics.
        let for_takers = if let Odd::PanicsAfter(_) = odd { Odd::Insists } else { odd };
        let (memory, producer) = ring(4);
        let mut producer = producer.waiting(odd);
        let mut all = consumer(&memory).waiting(odd);
        let members = [(); 2].map(|()| member(&memory, odd));
        // SAFETY: made for this type.
        let tap =
            unsafe { day3::ring::Tap::<u64, Own>::from_memory(memory.clone(), Start::Oldest) };
        let mut tap = tap.waiting(for_takers);
        thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    at_last(|| producer.send(number)).unwrap();
                }
            });
            scope.spawn(move || {
                while let Ok(number) = at_last(|| tap.recv()) {
                    assert_eq!(number, tap.received() + tap.lost() - 1, "{odd:?}");
                }
                assert_eq!(tap.received() + tap.lost(), MESSAGES, "{odd:?}");
            });
            let shares = members.map(|mut member| {
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    while let Ok(number) = at_last(|| member.recv()) {
                        mine.push(number);
                    }
                    mine
                })
            });
            for number in 0..MESSAGES {
                assert_eq!(at_last(|| all.recv()), Ok(number), "{odd:?}");
            }
            assert_eq!(at_last(|| all.recv()), Err(RecvError::Closed));
            let shares = shares.map(|share| share.join().unwrap());
            let mut both = shares.concat();
            both.sort_unstable();
            assert!(both.into_iter().eq(0..MESSAGES), "{odd:?}");
        });
    }
}

#[test]
fn what_a_way_to_wait_answers_changes_nothing_for_records() {
    for odd in Odd::ALL {
        let for_takers = if let Odd::PanicsAfter(_) = odd { Odd::Insists } else { odd };
        let memory: Arc<dyn ByteMemory> = Local::new(&QueueOptions::new(4096)).unwrap();
        let options = JoinOptions::new();
        // SAFETY: made just now, and this is its only writer.
        let writer = unsafe { day4::writer::Writer::<Own>::from_memory(memory.clone()) };
        let mut writer = writer.waiting(odd);
        // SAFETY: a ring of records.
        let reader = unsafe {
            day4::reader::Reader::<Own>::from_memory(memory.clone(), Start::Oldest, &options)
        };
        let mut reader = reader.unwrap().waiting(odd);
        // SAFETY: a ring of records.
        let member = unsafe {
            day4::reader::Member::<Own>::from_memory(memory.clone(), "g", Start::Oldest, &options)
        };
        let mut member = member.unwrap().waiting(for_takers);
        // SAFETY: a ring of records.
        let tap = unsafe { day4::tap::Tap::<Own>::from_memory(memory, Start::Oldest, &options) };
        let mut tap = tap.unwrap().waiting(for_takers);
        let record = |number: u64| vec![number as u8; number as usize * 37 % 1500];
        thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    at_last(|| writer.send(&record(number))).unwrap();
                }
            });
            scope.spawn(move || {
                let mut found = Vec::new();
                while at_last(|| tap.recv(&mut found)).is_ok() {
                    assert!(found == record(tap.received() + tap.lost() - 1), "{odd:?}");
                }
                assert_eq!(tap.received() + tap.lost(), MESSAGES, "{odd:?}");
            });
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    let found = at_last(|| member.recv().map(|found| found.to_vec()));
                    assert!(found == Ok(record(number)), "{odd:?}: message {number}");
                }
            });
            for number in 0..MESSAGES {
                let found = at_last(|| reader.recv().map(|found| found.to_vec()));
                assert!(found == Ok(record(number)), "{odd:?}: message {number}");
            }
        });
    }
}

/// A wait in vain ends, and nothing was sent.
#[test]
fn a_deadline_holds_whatever_a_way_to_wait_does() {
    let moment = Duration::from_millis(2);
    // A panic ends the call and its wait, so those strategies keep no deadline.
    for odd in [Odd::GivesUp, Odd::Hides, Odd::Insists] {
        let (memory, producer) = ring(1);
        let mut producer: Producer<u64, Odd> = producer.waiting(odd);
        let mut all = consumer(&memory).waiting(odd);
        let late = Err(RecvTimeoutError::TimedOut(moment));
        assert_eq!(at_last(|| all.recv_timeout(moment)), late, "{odd:?}");
        at_last(|| producer.send(1)).unwrap();
        assert!(at_last(|| producer.send_timeout(2, moment)).is_err(), "{odd:?}");
        assert_eq!(at_last(|| all.recv()), Ok(1));
        assert_eq!(at_last(|| all.recv_timeout(moment)), late, "{odd:?}: it was not sent");
    }
}
