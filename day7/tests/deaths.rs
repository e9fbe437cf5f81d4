//! Producers and members that die: their selector learns it, and others lose nothing.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use day3::inspect::Observer;
use day3::ring::Producer as Waiting;
use day3::{Consumer, Member, Producer, RecvError, Start, TryRecvError};
use day5::Adaptive;
use day7::ready::{Posting, Seat};
use day7::selector::{PollableSelector, Selector, Turn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use testing::{Process, Unique, another, eventually, promptly};

const NAME: &str = "DAY7_TEST_QUEUE";
const SEAT: &str = "DAY7_TEST_SEAT";
const COUNT: u64 = 1000;

/// A process that sends so many numbers, and then neither sends nor ends.
#[test]
#[ignore = "a producer for other tests"]
fn a_producer() {
    let name = std::env::var(NAME).unwrap();
    let producer: Producer<u64> = Producer::create(name.as_str(), 16).unwrap();
    let posting = match std::env::var(SEAT) {
        Ok(seat) => {
            let (path, number) = seat.split_once(' ').unwrap();
            let board: OwnedFd = File::options().read(true).write(true).open(path).unwrap().into();
            Posting::new(
                Seat::from_fd(board, number.parse().unwrap()).unwrap(),
                Adaptive::default(),
            )
        }
        Err(_) => Posting::default(),
    };
    let mut producer: Waiting<u64, Posting> = producer.waiting(posting);
    eventually("a consumer", || !producer.consumers().is_empty());
    (0..COUNT).for_each(|number| producer.send(number).unwrap());
    std::thread::sleep(testing::DEADLINE);
}

fn join(name: &Unique) -> Consumer<u64> {
    let mut joined = None;
    eventually("the producer's ring", || {
        joined = Consumer::join(name.bare(), Start::Oldest).ok();
        joined.is_some()
    });
    joined.unwrap()
}

/// Receives until the producer has died. Kills it after the last number.
fn serve(
    mut process: Process,
    mut consumer: Consumer<u64>,
    mut wait: impl FnMut() -> Turn + Send + 'static,
) -> u64 {
    let mut next = 0;
    loop {
        let _ = wait();
        match consumer.try_recv() {
            Ok(number) => {
                assert_eq!(number, next);
                next += 1;
                if next == COUNT {
                    process.kill();
                }
            }
            Err(TryRecvError::Empty) => {}
            Err(why) => {
                assert_eq!(why, TryRecvError::End(RecvError::ProducerDied));
                return next;
            }
        }
    }
}

#[test]
fn a_consumer_whose_producer_was_killed_has_a_turn() {
    for has_seat in [true, false] {
        let (name, mut selector) = (Unique::new("killed"), Selector::new().unwrap());
        let mut command = another("a_producer");
        command.env(NAME, name.bare());
        // The first seat.
        let (first, _board) = {
            let bell = selector.add_bell().unwrap();
            let handed = selector.seat_descriptor(bell).unwrap().unwrap();
            selector.remove(bell);
            (handed.1, handed.0)
        };
        if has_seat {
            let path = format!("/proc/{}/fd/{}", std::process::id(), _board.as_raw_fd());
            command.env(SEAT, format!("{path} {first}"));
        }
        let process = Process::start(&mut command);
        let consumer = join(&name);
        let key = if has_seat {
            selector.add_seated(consumer.outlook()).unwrap()
        } else {
            selector.add(consumer.outlook()).unwrap()
        };
        assert_eq!(selector.seat(key).map(|seat| seat.number()), has_seat.then_some(first));
        let served = promptly("serving", move || serve(process, consumer, move || selector.wait()));
        assert_eq!(served, COUNT);
    }
}

/// The next turn of a selector that is waited for with `poll`.
fn polled(selector: &mut PollableSelector) -> Turn {
    loop {
        if let Some(turn) = selector.try_wait() {
            return turn;
        }
        poll(&mut [PollFd::new(selector.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    }
}

#[test]
fn a_poll_sees_the_death_too() {
    let (name, selector) = (Unique::new("killed-polled"), Selector::new().unwrap());
    let mut selector = selector.into_pollable().unwrap();
    let process = Process::start(another("a_producer").env(NAME, name.bare()));
    let consumer = join(&name);
    selector.add(consumer.outlook()).unwrap();
    let served =
        promptly("serving", move || serve(process, consumer, move || polled(&mut selector)));
    assert_eq!(served, COUNT);
}

/// A member takes over what a dead one held, and moves into its slot: its outlook goes with it.
#[test]
fn what_a_dead_member_held_is_seen() {
    let name = Unique::new("heir");
    let mut producer: Producer<u64> = Producer::create(name.bare(), 8).unwrap();
    let mut process = Process::start(another("a_member").env(NAME, name.bare()));
    eventually("the member", || !producer.consumers().is_empty());
    (0..4).for_each(|number| producer.send(number).unwrap());
    let mut heir: Member<u64> = Member::join(name.bare(), "all", Start::Oldest).unwrap();
    let outlook = heir.outlook();
    eventually("the other has claimed all", || !outlook.is_ready());
    let mut selector = Selector::new().unwrap();
    let key = selector.add_seated(outlook).unwrap();
    assert_eq!(selector.wait_timeout(std::time::Duration::ZERO), None);
    process.kill();
    let served = promptly("inheriting", move || {
        let mut numbers = Vec::new();
        while numbers.len() < 4 {
            assert_eq!(selector.wait().key, key);
            numbers.extend(heir.try_recv());
        }
        (numbers, selector, heir)
    });
    let (numbers, mut selector, mut heir) = served;
    assert_eq!(numbers, [0, 1, 2, 3]);
    producer.send(4).unwrap();
    loop {
        assert_eq!(selector.wait().key, key, "in its new slot");
        if heir.try_recv() == Ok(4) {
            break;
        }
    }
    assert!(!heir.outlook().is_ready());
}

/// A process that claims four messages, and neither releases them nor ends.
#[test]
#[ignore = "a member for another test"]
fn a_member() {
    let name = std::env::var(NAME).unwrap();
    let mut member: Member<u64> = Member::join(name.as_str(), "all", Start::Oldest).unwrap();
    let queue = Observer::open(&name.parse().unwrap(), testing::DEADLINE).unwrap();
    eventually("four messages", || queue.snapshot().published == 4);
    let batch = member.recv_batch(4).unwrap();
    assert_eq!((&batch).into_iter().count(), 4);
    std::mem::forget(batch);
    std::thread::sleep(testing::DEADLINE);
}
