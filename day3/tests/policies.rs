//! What happens to a consumer that stops or dies: what it holds, and what the producer does.
#![cfg(not(loom))]
#![forbid(unsafe_code)]

use std::env;
use std::io::stdin;
use std::thread::{self, sleep};
use std::time::Duration;

use common::QueueName;
use day2::{Mode, Role, Segment};
use day3::{
    Consumer, Evictable, JoinError, JoinOptions, Member, Policy, Producer, QueueOptions, RecvError,
    SendError, SendTimeoutError, Start, Tap, TryRecvError, TrySendError, Unattended,
};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use testing::{DEADLINE, Program, Unique, another, eventually};

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
        "stopped" => stop(Consumer::join(&ring, Start::Oldest).unwrap()),
        "block" => read_all(Consumer::join(&ring, Start::Oldest).unwrap()),
        "evict" => read_evictably(&ring),
        "lossy" => read_lossily(&ring),
        "unwatched" => borrow_unwatched(&ring),
        unknown => panic!("there is no part {unknown}"),
    }
}

/// A consumer that reads nothing until it is killed.
fn stop(_consumer: Consumer<u64>) {
    println!("\njoined");
    sleep(DEADLINE);
}

/// A member that takes four messages, releases the first of them, and keeps the others until it is killed.
fn hold(ring: &QueueName) {
    let mut member = Member::<u64>::join(ring, "workers", Start::Oldest).unwrap();
    let mut batch = member.recv_batch(4).unwrap();
    batch.release_first(1);
    println!("\nholds {}", batch.len());
    let _ = stdin().read_line(&mut String::new());
    sleep(DEADLINE);
}

#[test]
fn what_a_dead_member_held_is_marked_as_redelivered() {
    let name = Unique::new("redelivered");
    let mut producer = Producer::<u64>::create(&*name, 16).unwrap();
    producer.send_batch(&[0, 1, 2, 3, 4, 5]).unwrap();
    let mut holder = start("holder", &name);
    assert_eq!(holder.line("holds"), "holds 3");
    let mut heir = Member::<u64>::join(&*name, "workers", Start::Oldest).unwrap();
    assert!(!heir.redelivered(), "it has received nothing");
    assert_eq!((heir.recv(), heir.redelivered()), (Ok(4), false));
    holder.kill();

    // The next message is there: it comes first, as long as nobody has noticed the death.
    assert_eq!((heir.recv(), heir.redelivered()), (Ok(5), false));
    assert_eq!((heir.recv(), heir.redelivered()), (Ok(1), true));
    let mut batch = heir.recv_batch(9).unwrap();
    assert!(batch.redelivered());
    batch.release_first(2);
    assert!(batch.is_empty() && batch.redelivered());
    assert_eq!(batch.finish(), Ok(()));
    producer.send(6).unwrap();
    assert_eq!((heir.recv(), heir.redelivered()), (Ok(6), false));
}

/// A consumer whose process the kernel does not watch, because there is no memory for the thread that this takes. It
/// borrows messages, and looks at them once more when it is told to.
fn borrow_unwatched(ring: &QueueName) {
    let sizes = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = sizes.split(' ').next().unwrap().parse().unwrap();
    let most = 4096 * pages + 48 * 1024;
    setrlimit(Resource::RLIMIT_AS, most, most).unwrap();
    let started = thread::Builder::new().stack_size(64 * 1024).spawn(|| ());
    println!("\nthread {}", started.is_ok());
    let mut consumer = Consumer::<u64>::join(ring, Start::Oldest).unwrap();
    let batch = consumer.recv_batch(4).unwrap();
    println!("borrows {:?}", batch.slices().0);
    let _ = stdin().read_line(&mut String::new());
    println!("still {:?}", batch.slices().0);
    assert_eq!(batch.finish(), Ok(()));
}

/// The slot's last consumer was killed: the kernel's mark is still there when the next one takes the slot.
#[test]
fn a_consumer_that_is_not_watched_does_not_count_as_the_dead_one_before_it() {
    let name = Unique::new("unwatched");
    let options = QueueOptions::new(4).consumers(1);
    let mut producer = Producer::<u64>::create_with(&*name, &options).unwrap();
    let mut dead = start("block", &name);
    dead.line("joined");
    dead.kill();
    producer.send_batch(&[0, 1, 2, 3]).unwrap();
    let mut alive = start("unwatched", &name);
    assert_eq!(alive.line("thread"), "thread false", "it has no memory for a thread");
    assert_eq!(alive.line("borrows"), "borrows [0, 1, 2, 3]");
    let moment = Duration::from_millis(50);
    assert_eq!(producer.send_timeout(4, moment), Err(SendTimeoutError::TimedOut(moment)));
    assert!(producer.take_deaths().is_empty());
    alive.hang_up();
    assert_eq!(alive.line("still"), "still [0, 1, 2, 3]");
    alive.finish().well();
}

/// A dead consumer that nobody waits for is in nobody's way. Even so the producer learns that nobody listens.
#[test]
fn a_dead_lossy_consumer_does_not_listen() {
    for nobody_listens in [Unattended::Refuse, Unattended::Wait] {
        let name = Unique::new("deaf");
        let options = QueueOptions::new(4).when_nobody_listens(nobody_listens);
        let mut producer = Producer::<u64>::create_with(&*name, &options).unwrap();
        let mut lossy = start("lossy", &name);
        lossy.line("joined");
        assert!(!producer.is_abandoned() && producer.try_send(0).is_ok());
        lossy.kill();
        eventually("a refusal", || producer.try_send(1).is_err());
        let expected = match nobody_listens {
            Unattended::Refuse => TrySendError::End(SendError::Abandoned),
            _ => TrySendError::Full,
        };
        assert_eq!(producer.try_send(1), Err(expected));
        assert!(producer.is_abandoned());
        assert_eq!(producer.take_deaths().len(), 1);
        // Its slot is free as soon as the kernel says so, and its successor is heard of.
        let _next = Tap::<u64>::join(&*name, Start::Latest, &self::lossy()).unwrap();
        assert_eq!(producer.try_send(2), Ok(()));
        assert_eq!(producer.consumers().iter().filter(|one| one.alive == Some(true)).count(), 1);
    }
}

/// An end that does other things between its looks finds out as soon as one that does nothing else.
#[test]
fn a_producer_that_looks_seldom_finds_a_death_at_its_second_look() {
    let name = Unique::new("seldom");
    let mut producer = Producer::<u64>::create(&*name, 4).unwrap();
    producer.send_batch(&[0, 1, 2, 3]).unwrap();
    let mut consumer = start("stopped", &name);
    consumer.line("joined");
    consumer.kill();
    let looks = (0..4).map(|_| {
        sleep(Duration::from_millis(50));
        producer.try_send(4)
    });
    let full = Err(TrySendError::Full);
    assert_eq!(looks.take_while(|look| *look == full).count(), 1);
}

/// The slot of a dead consumer is taken as long as somebody looks into it.
#[test]
fn a_newcomer_waits_for_a_slot_that_is_just_being_freed() {
    let name = Unique::new("passing");
    let options = QueueOptions::new(4).consumers(1);
    let _producer = Producer::<u64>::create_with(&*name, &options).unwrap();
    let mut dead = start("stopped", &name);
    dead.line("joined");
    dead.kill();
    let segment = Segment::open(&name, Mode::Reader, DEADLINE).unwrap();
    let looking = segment.lease(Role::Slot(0)).unwrap();
    let options = JoinOptions::new().timeout(DEADLINE);
    let newcomer = thread::scope(|scope| {
        let newcomer = scope.spawn(|| Consumer::<u64>::join_with(&*name, Start::Latest, &options));
        sleep(Duration::from_millis(50));
        drop(looking);
        newcomer.join().unwrap()
    });
    assert_eq!(newcomer.unwrap().slot(), 0);
}

/// Reads until the end, and says how many messages came and how it ended.
fn read_all(mut consumer: Consumer<u64>) {
    println!("\njoined");
    let (end, received) = counted(|| consumer.recv());
    println!("{end:?} after {received}");
}

fn read_evictably(ring: &QueueName) {
    let options = JoinOptions::new().policy(Policy::EvictAfter(Duration::from_millis(20)));
    let mut consumer = Evictable::<u64>::join(ring, Start::Oldest, &options).unwrap();
    println!("\njoined");
    let (end, received) = counted(|| consumer.recv());
    println!("{end:?} after {received}");
}

fn read_lossily(ring: &QueueName) {
    let mut tap = Tap::<u64>::join(ring, Start::Oldest, &lossy()).unwrap();
    println!("\njoined");
    let end = loop {
        if let Err(end) = tap.recv() {
            break end;
        }
    };
    println!("{end:?} after {} and {}", tap.received(), tap.lost());
}

/// Reads until the end; each message is the number of messages before it.
fn counted(mut recv: impl FnMut() -> Result<u64, RecvError>) -> (RecvError, u64) {
    for received in 0.. {
        match recv() {
            Ok(found) => assert_eq!(found, received),
            Err(end) => return (end, received),
        }
    }
    unreachable!("messages never end");
}

fn lossy() -> JoinOptions {
    JoinOptions::new().policy(Policy::Lossy).label("lossy one")
}

fn evictable(after: Duration) -> JoinOptions {
    JoinOptions::new().policy(Policy::EvictAfter(after))
}

/// How many messages are sent to a consumer that is stopped: many laps.
const MANY: u64 = 1000;
const CAPACITY: u64 = 16;

/// A ring, and a process that reads it, plays this part and is stopped.
fn stopped(part: &str) -> (Unique, Producer<u64>, Program) {
    let name = Unique::new(part);
    let producer = Producer::<u64>::create(&*name, CAPACITY).unwrap();
    let mut consumer = start(part, &name);
    consumer.line("joined");
    consumer.signal(Signal::SIGSTOP);
    // It is stopped when the kernel says so, and not before.
    let status = format!("/proc/{}/stat", consumer.id());
    eventually("it is stopped", || std::fs::read_to_string(&status).unwrap().contains(") T "));
    (name, producer, consumer)
}

/// Lets the consumer go on, and returns the line in which it says how it ended.
fn goes_on(mut consumer: Program) -> String {
    consumer.signal(Signal::SIGCONT);
    let ended = consumer.next_line();
    consumer.finish().well();
    ended
}

#[test]
fn a_stopped_consumer_that_blocks_gets_everything_later() {
    let (_name, mut producer, consumer) = stopped("block");
    for number in 0..CAPACITY {
        producer.send(number).unwrap();
    }
    assert_eq!(producer.try_send(CAPACITY), Err(TrySendError::Full));
    let sender = thread::spawn(move || {
        for number in CAPACITY..MANY {
            producer.send(number).unwrap();
        }
    });
    assert_eq!(goes_on(consumer), format!("Closed after {MANY}"));
    sender.join().unwrap();
}

#[test]
fn a_stopped_consumer_that_may_be_evicted_is_and_learns_of_it() {
    let (_name, mut producer, consumer) = stopped("evict");
    assert_eq!(producer.consumers()[0].policy, Policy::EvictAfter(Duration::from_millis(20)));
    for number in 0..MANY {
        producer.send(number).unwrap();
    }
    assert!(producer.consumers().is_empty());
    assert_eq!(goes_on(consumer), "Evicted after 0");
}

#[test]
fn a_stopped_lossy_consumer_is_told_how_many_it_missed() {
    let (_name, mut producer, consumer) = stopped("lossy");
    for number in 0..MANY {
        assert_eq!(producer.try_send(number), Ok(()), "nobody is waited for");
    }
    assert_eq!(producer.consumers().len(), 1);
    drop(producer);
    let ended = goes_on(consumer);
    let (received, lost) =
        ended.strip_prefix("Closed after ").unwrap().split_once(" and ").unwrap();
    let (received, lost): (u64, u64) = (received.parse().unwrap(), lost.parse().unwrap());
    assert_eq!(received + lost, MANY);
    assert!((1..=CAPACITY).contains(&received), "{received} of the last lap");
}

#[test]
fn a_lossy_consumer_is_listed_with_what_it_missed() {
    let name = Unique::new("listed");
    let mut producer = Producer::<u64>::create(&*name, 8).unwrap();
    let mut tap = Tap::<u64>::join(&*name, Start::Latest, &lossy()).unwrap();
    for number in 0..100 {
        assert_eq!(producer.try_send(number), Ok(()), "nobody is waited for");
    }
    let mut last = None;
    while let Ok(found) = tap.try_recv() {
        last = Some(found);
    }
    assert_eq!(last, Some(99));
    assert!(tap.lost() >= 92, "a lap of the ring is 8");
    assert_eq!(tap.received() + tap.lost(), 100);
    let listed = producer.consumers();
    let [listed] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((listed.policy, listed.missed, listed.lag), (Policy::Lossy, tap.lost(), 0));
    assert_eq!((listed.label.as_str(), listed.gates()), ("lossy one", false));
    assert!(!producer.is_abandoned());
    drop(tap);
    assert!(producer.consumers().is_empty() && producer.is_abandoned());
}

#[test]
fn who_reads_in_time_is_not_evicted() {
    let name = Unique::new("in-time");
    let mut producer = Producer::<u64>::create(&*name, 4).unwrap();
    let mut consumer = Evictable::<u64>::join(&*name, Start::Latest, &evictable(DEADLINE)).unwrap();
    let sender = thread::spawn(move || {
        for number in 0..MANY {
            producer.send(number).unwrap();
        }
    });
    assert_eq!(counted(|| consumer.recv()), (RecvError::Closed, MANY));
    sender.join().unwrap();
}

#[test]
fn a_promise_goes_with_an_end_that_can_keep_it() {
    let name = Unique::new("promises");
    let _producer = Producer::<u64>::create(&*name, 4).unwrap();
    let refused = |joined: Result<(), JoinError>| matches!(joined, Err(JoinError::Policy { .. }));
    let (now, evict) = (Start::Latest, evictable(DEADLINE));
    for options in [&lossy(), &evict] {
        assert!(refused(Consumer::<u64>::join_with(&*name, now, options).map(drop)));
        assert!(refused(Member::<u64>::join_with(&*name, "g", now, options).map(drop)));
    }
    assert!(refused(Evictable::<u64>::join(&*name, now, &lossy()).map(drop)));
    assert!(refused(Evictable::<u64>::join(&*name, now, &JoinOptions::new()).map(drop)));
    assert!(refused(Tap::<u64>::join(&*name, now, &evict).map(drop)));
}

/// A message all of whose words are the same.
type Wide = [u64; 64];

/// A consumer that is evicted at the first opportunity, most often while it copies, sees no message of which the
/// producer had overwritten a part.
#[test]
fn an_evicted_consumer_sees_no_torn_message() {
    const ROUNDS: usize = 50;
    let name = Unique::new("torn");
    let mut producer = Producer::<Wide>::create(&*name, 256).unwrap();
    let ring = name.clone();
    let reader = thread::spawn(move || {
        let (mut evictions, mut copy) = (0, vec![[0; 64]; 256]);
        while evictions < ROUNDS {
            let options = evictable(Duration::ZERO);
            let mut consumer = Evictable::<Wide>::join(&ring, Start::Latest, &options).unwrap();
            loop {
                match consumer.recv_into(&mut copy) {
                    Ok(copied) => {
                        let first = copy[0][0];
                        for (message, number) in copy[..copied].iter().zip(first..) {
                            assert_eq!(*message, [number; 64], "torn, or not what was sent");
                        }
                    }
                    Err(end) => {
                        assert_eq!(end, RecvError::Evicted);
                        assert_eq!(consumer.try_recv(), Err(TryRecvError::End(end)));
                        break;
                    }
                }
            }
            evictions += 1;
        }
    });
    for number in 0.. {
        producer.send([number; 64]).unwrap();
        if reader.is_finished() {
            break;
        }
    }
    reader.join().unwrap();
}
