//! What happens to a consumer of records that stops or dies: what it holds, and what the producer does.
#![cfg(not(loom))]
#![forbid(unsafe_code)]

use std::env;
use std::io::stdin;
use std::thread::{self, sleep};
use std::time::Duration;

use common::QueueName;
use day3::{JoinError, JoinOptions, Policy, RecvError, Start};
use day4::{Evictable, Member, Reader, Tap, Writer, record_len};
use testing::{DEADLINE, Program, Unique, another};

/// How long each message is.
const MESSAGE: usize = 100;

/// Starts this very program as another process, which plays this part with this ring.
fn start(part: &str, ring: &QueueName) -> Program {
    let mut command = another("a_part");
    Program::start(command.env("FANOUT_PART", part).env("FANOUT_RING", ring.as_str()))
}

/// Run as a process of its own.
#[test]
#[ignore = "a part of the other tests"]
fn a_part() {
    let Ok(part) = env::var("FANOUT_PART") else { return };
    let ring: QueueName = env::var("FANOUT_RING").unwrap().parse().unwrap();
    match part.as_str() {
        "holder" => hold(&ring),
        unknown => panic!("there is no part {unknown}"),
    }
}

/// A member that takes four messages, releases the first of them, and keeps the others until it is killed.
fn hold(ring: &QueueName) {
    let mut member = Member::join(ring, "workers", Start::Oldest).unwrap();
    let mut batch = member.recv_batch(4 * record_len(MESSAGE)).unwrap();
    batch.release_first(1);
    println!("\nholds {}", batch.len());
    let _ = stdin().read_line(&mut String::new());
    sleep(DEADLINE);
}

#[test]
fn what_a_dead_member_held_is_marked_as_redelivered() {
    let name = Unique::new("redelivered");
    let mut writer = Writer::create(&*name, 4096).unwrap();
    for number in 0..6 {
        writer.send(&[number; MESSAGE]).unwrap();
    }
    let mut holder = start("holder", &name);
    assert_eq!(holder.line("holds"), "holds 3");
    let mut heir = Member::join(&*name, "workers", Start::Oldest).unwrap();
    let next = |heir: &mut Member| heir.recv().map(|record| (record[0], record.redelivered()));
    assert_eq!(next(&mut heir), Ok((4, false)));
    holder.kill();

    // The next message is there: it comes first, as long as nobody has noticed the death.
    assert_eq!(next(&mut heir), Ok((5, false)));
    assert!(!heir.redelivered());
    assert_eq!(next(&mut heir), Ok((1, true)));
    assert!(heir.redelivered());
    let mut batch = heir.recv_batch(usize::MAX).unwrap();
    assert!(batch.redelivered());
    batch.release_first(2);
    assert!(batch.is_empty() && batch.redelivered());
    assert_eq!(batch.finish(), Ok(()));
    writer.send(&[6; MESSAGE]).unwrap();
    assert_eq!(next(&mut heir), Ok((6, false)));
    assert!(!heir.redelivered());
}

fn lossy() -> JoinOptions {
    JoinOptions::new().policy(Policy::Lossy)
}

fn evictable(after: Duration) -> JoinOptions {
    JoinOptions::new().policy(Policy::EvictAfter(after))
}

/// How many messages are sent: many laps of a ring of a page.
const MANY: u64 = 1000;

/// A message of its number, over and over.
fn wide(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(MESSAGE)
}

fn number(message: &[u8]) -> u64 {
    u64::from_le_bytes(message[..8].try_into().unwrap())
}

#[test]
fn a_lossy_consumer_is_listed_with_what_it_missed() {
    let name = Unique::new("listed");
    let mut writer = Writer::create(&*name, 4096).unwrap();
    let mut tap = Tap::join(&*name, Start::Latest, &lossy()).unwrap();
    for number in 0..MANY {
        writer.try_send(&wide(number)).unwrap();
    }
    let mut message = Vec::new();
    while tap.try_recv(&mut message).is_ok() {}
    assert_eq!(message, wide(MANY - 1));
    assert!(tap.lost() > 0);
    assert_eq!(tap.received() + tap.lost(), MANY);
    let listed = writer.consumers();
    let [listed] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((listed.policy, listed.missed, listed.lag), (Policy::Lossy, tap.lost(), 0));
    drop(writer);
    assert_eq!(tap.recv(&mut message), Err(RecvError::Closed));
}

#[test]
fn who_reads_in_time_is_not_evicted() {
    let name = Unique::new("in-time");
    let mut writer = Writer::create(&*name, 4096).unwrap();
    let mut consumer = Evictable::join(&*name, Start::Latest, &evictable(DEADLINE)).unwrap();
    let sender = thread::spawn(move || {
        for number in 0..MANY {
            writer.send(&wide(number)).unwrap();
        }
    });
    let mut message = Vec::new();
    for number in 0..MANY {
        consumer.recv(&mut message).unwrap();
        assert_eq!(message, wide(number));
    }
    assert_eq!(consumer.recv(&mut message), Err(RecvError::Closed));
    sender.join().unwrap();
}

#[test]
fn a_promise_goes_with_an_end_that_can_keep_it() {
    let name = Unique::new("promises");
    let _writer = Writer::create(&*name, 4096).unwrap();
    let refused = |joined: Result<(), JoinError>| matches!(joined, Err(JoinError::Policy { .. }));
    let (now, evict) = (Start::Latest, evictable(DEADLINE));
    for options in [&lossy(), &evict] {
        assert!(refused(Reader::join_with(&*name, now, options).map(drop)));
        assert!(refused(Member::join_with(&*name, "g", now, options).map(drop)));
    }
    assert!(refused(Evictable::join(&*name, now, &lossy()).map(drop)));
    assert!(refused(Tap::join(&*name, now, &evict).map(drop)));
}

/// A consumer that is evicted at the first opportunity sees no message of which the writer had overwritten a part.
#[test]
fn an_evicted_consumer_sees_no_torn_message() {
    const ROUNDS: usize = 5;
    // It takes a while to copy.
    let long = |number: u64| number.to_le_bytes().repeat(32_000);
    let name = Unique::new("torn");
    let mut writer = Writer::create(&*name, 1 << 20).unwrap();
    let ring = name.clone();
    let reader = thread::spawn(move || {
        let mut message = Vec::new();
        for _ in 0..ROUNDS {
            let options = evictable(Duration::ZERO);
            let mut consumer = Evictable::join(&ring, Start::Latest, &options).unwrap();
            let end = loop {
                if let Err(end) = consumer.recv(&mut message) {
                    break end;
                }
                assert_eq!(message, long(number(&message)), "torn");
            };
            assert_eq!(end, RecvError::Evicted);
        }
    });
    for number in 0.. {
        writer.send(&long(number)).unwrap();
        if reader.is_finished() {
            break;
        }
    }
    reader.join().unwrap();
}
