//! The ends that do not know what the messages are, among themselves and beside ends that do.
#![cfg(not(loom))]

use std::io::Write;
use std::time::Duration;

use ::common::Sequence;
use day2::{CreateError as SegmentError, OpenError};
use day3::ring::{MessageType, RawMember, RawProducer, RawTap};
use day3::roster::Burial;
use day3::{
    Consumer, CreateError, Ending, JoinError, JoinOptions, Member, Policy, Producer, QueueOptions,
    RecvError, RecvTimeoutError, ResumeError, SendError, SendTimeoutError, Start, TryRecvError,
    TrySendError,
};
use testing::{DEADLINE, Program, Unique, another};

/// A message with a size that is no power of two.
type Triple = [u32; 3];

const MOMENT: Duration = Duration::from_millis(5);

fn triples() -> MessageType {
    MessageType { name: "triple/1".to_owned(), size: 12, align: 4 }
}

fn triple(n: u64) -> Triple {
    let n = n as u32;
    [n, n.wrapping_mul(3), !n]
}

fn bytes(of: impl IntoIterator<Item = u64>) -> Vec<u8> {
    of.into_iter().flat_map(|n| triple(n).map(u32::to_ne_bytes)).flatten().collect()
}

fn options() -> JoinOptions {
    JoinOptions::new().message_type("triple/1")
}

fn create(name: &Unique, options: &QueueOptions) -> RawProducer {
    RawProducer::create_with(&**name, &triples(), options).unwrap()
}

fn join(name: &Unique) -> RawMember {
    RawMember::join(&**name, "g", Start::Oldest, &JoinOptions::new()).unwrap()
}

/// What there is to be read.
fn rest(member: &mut RawMember) -> Vec<u8> {
    let mut read = Vec::new();
    while let Ok(lent) = member.try_recv_batch(100) {
        read.extend(lent.iter().flatten().copied());
    }
    read
}

/// A dead consumer that is in the way is found, and told of.
#[test]
fn a_producer_that_waits_finds_the_dead() {
    let name = Unique::new("in-the-way");
    let mut producer = create(&name, &QueueOptions::new(8));
    let mut other =
        RawMember::<day3::Yield>::join(&*name, "other", Start::Oldest, &options()).unwrap();
    producer.try_send_batch(&bytes(0..8)).unwrap();
    let dead = ready("a_raw_member", &name);
    let id = dead.id();
    dead.kill();
    assert_eq!(other.recv_batch(8).unwrap().len(), 8);
    // One place is free: the dead member had released its message.
    assert_eq!(producer.send_batch_timeout(&bytes(8..10), DEADLINE), Ok(1));
    // The next place is the dead member's, whose group holds nothing while it has no member.
    assert_eq!(producer.send_batch_timeout(&bytes(9..10), DEADLINE), Ok(1));
    let deaths = producer.take_deaths();
    assert!(deaths.iter().any(|death| death.consumer.owner == id && death.held == 3), "{deaths:?}");
    assert_eq!(rest(&mut other), bytes(8..10));
}

#[test]
fn a_member_is_told_what_the_messages_are() {
    let name = Unique::new("told");
    let queue = QueueOptions::new(8).message_type("triple/1").identity(77).first(5);
    let mut producer = Producer::<Triple>::create_with(&*name, &queue).unwrap();
    let member = join(&name);
    let said = (member.message_type(), member.message_size(), member.message_align());
    assert_eq!(said, ("triple/1", 12, 4));
    assert_eq!(member.messages(), triples());
    assert_eq!((member.identity(), member.capacity()), (77, 8));
    assert_eq!((member.first_sequence(), member.ending()), (Sequence::new(5), Ending::Open));
    producer.abort("enough");
    assert_eq!(member.ending(), Ending::Aborted { reason: "enough".to_owned() });
}

#[test]
fn a_member_that_expects_another_type_is_refused() {
    let name = Unique::new("other-type");
    let _producer = create(&name, &QueueOptions::new(8));
    let join = |called| {
        let options = JoinOptions::new().message_type(called);
        RawMember::<day3::Yield>::join(&*name, "g", Start::Oldest, &options)
    };
    assert!(join("triple/1").is_ok());
    let error = join("pair/1").unwrap_err();
    assert!(
        matches!(&error, JoinError::Open(OpenError::MessageType { expected, found, .. })
        if expected == "pair/1" && found == "triple/1"),
        "{error}"
    );
}

/// Batches of many lengths, through a ring that wraps where they do not.
fn carry(first: u64) {
    let name = Unique::new("wraps");
    let mut producer = create(&name, &QueueOptions::new(8).first(first));
    let mut raw = join(&name);
    let mut typed = Consumer::<Triple>::join_with(&*name, Start::Oldest, &options()).unwrap();
    let (mut sent, mut wraps) = (0u64, 0);
    for len in (1..=8).cycle().take(80) {
        let batch = bytes(sent..sent + len);
        assert_eq!(producer.try_send_batch(&batch).unwrap() as u64, len);
        let lent = raw.recv_batch_timeout(100, DEADLINE).unwrap();
        assert_eq!(lent.first().get(), first.wrapping_add(sent));
        assert_eq!((lent.len() as u64, lent.is_empty()), (len, false));
        let (head, tail) = lent.slices();
        assert_eq!([head, tail].concat(), batch);
        assert!(lent.iter().eq(batch.chunks(12)) && lent.into_iter().eq(batch.chunks(12)));
        wraps += usize::from(!tail.is_empty());
        drop(lent);
        for n in sent..sent + len {
            assert_eq!(typed.try_recv().unwrap(), triple(n));
        }
        sent += len;
        assert_eq!(producer.next_sequence().get(), first.wrapping_add(sent));
    }
    assert!(wraps > 0, "no batch wrapped");
}

#[test]
fn bytes_arrive_as_they_were_sent_and_as_messages() {
    carry(0);
    carry(u64::MAX - 30);
}

#[test]
fn a_typed_producer_s_messages_are_lent_as_bytes_and_released_in_part() {
    let name = Unique::new("typed");
    let queue = QueueOptions::new(8).message_type("triple/1");
    let mut producer = Producer::<Triple>::create_with(&*name, &queue).unwrap();
    let mut member = join(&name);
    for n in 0..8 {
        producer.try_send(triple(n)).unwrap();
    }
    let mut lent = member.try_recv_batch(6).unwrap();
    assert!(lent.iter().eq(bytes(0..6).chunks(12)));
    assert_eq!(producer.try_send(triple(8)), Err(TrySendError::Full));
    lent.release_first(2);
    producer.try_send(triple(8)).unwrap();
    producer.try_send(triple(9)).unwrap();
    assert_eq!(producer.try_send(triple(10)), Err(TrySendError::Full));
    assert_eq!((lent.len(), lent.first().get()), (4, 2));
    assert!(lent.iter().eq(bytes(2..6).chunks(12)));
    lent.release_first(4);
    assert!(lent.is_empty() && lent.iter().next().is_none());
    lent.finish().unwrap();
    assert_eq!(rest(&mut member), bytes(6..10));
    assert_eq!(member.try_recv_batch(1).unwrap_err(), TryRecvError::Empty);
    let late = member.recv_batch_timeout(1, MOMENT).unwrap_err();
    assert_eq!(late, RecvTimeoutError::TimedOut(MOMENT));
    drop(producer);
    assert_eq!(member.recv_batch(1).unwrap_err(), RecvError::Closed);
}

#[test]
fn a_batch_larger_than_the_ring_goes_in_parts() {
    let name = Unique::new("parts");
    let mut producer = create(&name, &QueueOptions::new(8));
    let mut member = join(&name);
    let all = bytes(0..20);
    assert_eq!(producer.try_send_batch(&all).unwrap(), 8);
    assert_eq!(producer.try_send_batch(&all[8 * 12..]), Err(TrySendError::Full));
    let late = producer.send_batch_timeout(&all[8 * 12..], MOMENT);
    assert_eq!(late, Err(SendTimeoutError::TimedOut(MOMENT)));
    assert_eq!(member.recv_batch(3).unwrap().len(), 3);
    assert_eq!(producer.send_batch_timeout(&all[8 * 12..], DEADLINE).unwrap(), 3);

    // The rest while somebody reads.
    let reader = std::thread::spawn(move || {
        let mut read = Vec::new();
        while let Ok(lent) = member.recv_batch(5) {
            read.extend(lent.iter().flatten().copied());
        }
        read
    });
    let mut rest = &all[11 * 12..];
    while !rest.is_empty() {
        let sent = producer.send_batch_timeout(rest, DEADLINE).unwrap();
        assert!(sent > 0);
        rest = &rest[sent * 12..];
    }
    producer.close();
    assert_eq!(reader.join().unwrap(), all[3 * 12..]);
}

#[test]
fn bytes_that_are_no_whole_messages_are_refused() {
    let name = Unique::new("uneven");
    let mut producer = create(&name, &QueueOptions::new(8));
    let uneven = SendError::Uneven { len: 25, size: 12 };
    assert_eq!(producer.try_send_batch(&[0; 25]), Err(TrySendError::End(uneven)));
    let late = producer.send_batch_timeout(&[0; 25], DEADLINE);
    assert_eq!(late, Err(SendTimeoutError::End(uneven)));
    assert_eq!(
        uneven.to_string(),
        "expected whole messages of 12 bytes, found 25 bytes: send a multiple of 12 bytes"
    );
    assert_eq!((producer.try_send_batch(&[]), producer.next_sequence().get()), (Ok(0), 0));
}

#[test]
fn messages_that_no_type_has_make_no_ring() {
    let name = Unique::new("no-type");
    for (size, align) in [(0, 1), (12, 8), (8, 0), (12, 3), (1 << 20, 1 << 20)] {
        let messages = MessageType { size, align, ..triples() };
        let made: Result<RawProducer, _> =
            RawProducer::create_with(&*name, &messages, &QueueOptions::new(8));
        let error = made.unwrap_err();
        assert!(
            matches!(error, CreateError::Segment(SegmentError::Element { size: s, align: a })
                if (s, a) == (size as u64, align as u64)),
            "{error}"
        );
        assert!(!name.exists());
    }
}

#[test]
fn a_producer_that_is_dropped_closes_and_removes_its_name() {
    let name = Unique::new("dropped");
    let mut producer = create(&name, &QueueOptions::new(8));
    let mut member = join(&name);
    assert_eq!(producer.messages(), triples());
    assert_eq!((producer.capacity(), producer.epoch(), producer.is_closed()), (8, 0, false));
    assert_eq!((producer.consumers().len(), producer.groups().len()), (1, 1));
    producer.wait_for_consumers(1, DEADLINE).unwrap();
    assert_eq!(producer.try_send_batch(&bytes(0..2)), Ok(2));
    assert!(producer.drain(MOMENT).is_err() && !producer.is_abandoned());
    drop(member.recv_batch(2).unwrap());
    producer.drain(DEADLINE).unwrap();
    let second: Result<RawProducer, _> =
        RawProducer::create_with(&*name, &triples(), &QueueOptions::new(8));
    let error = second.unwrap_err();
    assert!(matches!(error, CreateError::Segment(SegmentError::Taken { .. })), "{error}");
    drop(producer);
    assert!(!name.exists());
    assert_eq!(member.try_recv_batch(1).unwrap_err(), TryRecvError::End(RecvError::Closed));
}

/// The queue of a part of another test, and which part it plays.
const QUEUE: &str = "FANOUT_TEST_QUEUE";

/// Says that it is ready, and waits to be killed.
fn wait_to_be_killed() -> ! {
    println!("ready");
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// A part of another test, which is ready to be killed.
fn ready(part: &str, name: &Unique) -> Program {
    let mut program = Program::start(another(part).env(QUEUE, name.bare()));
    while !program.next_line().ends_with("ready") {}
    program
}

#[test]
#[ignore = "a part of another test"]
fn a_raw_producer() {
    let Ok(name) = std::env::var(QUEUE) else { return };
    let queue = QueueOptions::new(8).identity(9).first(100);
    let mut producer: RawProducer = RawProducer::create_with(&name, &triples(), &queue).unwrap();
    producer.try_send_batch(&bytes(0..3)).unwrap();
    wait_to_be_killed()
}

#[test]
#[ignore = "a part of another test"]
fn a_raw_member() {
    let Ok(name) = std::env::var(QUEUE) else { return };
    let mut member: RawMember =
        RawMember::join(&name, "g", Start::Oldest, &JoinOptions::new()).unwrap();
    let mut lent = member.recv_batch(4).unwrap();
    lent.release_first(1);
    std::mem::forget(lent);
    wait_to_be_killed()
}

#[test]
fn a_killed_producer_is_resumed_by_one_that_expects_its_messages() {
    let name = Unique::new("resumed");
    let dead = ready("a_raw_producer", &name);
    let mut typed = Consumer::<Triple>::join_with(&*name, Start::Oldest, &options()).unwrap();
    let mut raw = RawTap::open(&*name, Start::Oldest, &JoinOptions::new()).unwrap();
    dead.kill();

    let resume = |messages: &MessageType| {
        RawProducer::<day3::Yield>::resume_with(&*name, messages, &QueueOptions::new(1))
    };
    let open_error = |messages| match resume(&messages).unwrap_err() {
        ResumeError::Open(error) => error,
        error => panic!("{error}"),
    };
    let error = open_error(MessageType { size: 16, ..triples() });
    assert!(matches!(error, OpenError::ElementSize { expected: 16, found: 12, .. }), "{error}");
    let error = open_error(MessageType { align: 2, ..triples() });
    assert!(matches!(error, OpenError::ElementAlign { expected: 2, found: 4, .. }), "{error}");
    let error = open_error(MessageType { name: "pair".to_owned(), ..triples() });
    assert!(
        matches!(&error, OpenError::MessageType { expected, found, .. }
        if expected == "pair" && found == "triple/1"),
        "{error}"
    );

    let mut successor = resume(&triples()).unwrap();
    assert_eq!((successor.epoch(), successor.identity()), (1, 9));
    assert_eq!((successor.next_sequence().get(), successor.capacity()), (103, 8));
    assert_eq!(successor.try_send_batch(&bytes(3..5)), Ok(2));
    let mut copy = Vec::new();
    for n in 0..5 {
        assert_eq!(typed.try_recv().unwrap(), triple(n));
        raw.try_recv(&mut copy).unwrap();
        assert_eq!(copy, bytes([n]));
    }
}

#[test]
fn a_typed_producer_takes_over_from_a_raw_one() {
    let name = Unique::new("taken-over");
    ready("a_raw_producer", &name).kill();
    let queue = QueueOptions::new(8).message_type("triple/1");
    let mut producer = Producer::<Triple>::resume_with(&*name, &queue).unwrap();
    let mut member = join(&name);
    producer.try_send(triple(3)).unwrap();
    assert!(member.recv_batch(100).unwrap().iter().eq(bytes(0..4).chunks(12)));
}

#[test]
fn what_a_dead_member_held_goes_to_another() {
    for typed in [false, true] {
        let name = Unique::new("redelivered");
        let mut producer = create(&name, &QueueOptions::new(8));
        producer.try_send_batch(&bytes(0..8)).unwrap();
        let dead = ready("a_raw_member", &name);
        dead.kill();
        let found = producer.consumers().remove(0);
        assert_eq!(
            producer.evict_dead(&found),
            Ok(Burial::Waits { group: "g".to_owned(), held: 3 })
        );
        let mut read = Vec::new();
        if typed {
            let mut heir = Member::<Triple>::join_with(&*name, "g", Start::Oldest, &options());
            let heir = heir.as_mut().unwrap();
            while let Ok(message) = heir.try_recv() {
                read.push((message, heir.redelivered()));
            }
        } else {
            let mut heir = join(&name);
            while let Ok(lent) = heir.try_recv_batch(3) {
                let again = lent.redelivered();
                read.extend(lent.iter().map(|message| (triple_of(message), again)));
            }
        }
        // It had released the first of the four.
        let expected: Vec<_> = (1..8).map(|n| (triple(n), n < 4)).collect();
        assert_eq!(read, expected, "typed: {typed}");
    }
}

fn triple_of(bytes: &[u8]) -> Triple {
    core::array::from_fn(|at| u32::from_ne_bytes(bytes[at * 4..][..4].try_into().unwrap()))
}

#[test]
fn a_lossy_consumer_of_any_type_is_registered_and_counts_what_it_misses() {
    let name = Unique::new("raw-lossy");
    let mut producer = Producer::<u32>::create(name.as_str(), 4).unwrap();
    let options = JoinOptions::new().label("carrier").policy(Policy::Lossy);
    let mut tap = RawTap::join(name.as_str(), Start::Oldest, &options).unwrap();
    assert_eq!(tap.messages(), MessageType { name: "u32".to_owned(), size: 4, align: 4 });
    let consumers = producer.consumers();
    assert_eq!((&*consumers[0].label, consumers[0].policy), ("carrier", Policy::Lossy));
    let mut message = Vec::new();
    producer.send_batch(&[7, 8]).unwrap();
    tap.try_recv(&mut message).unwrap();
    assert_eq!((&message[..], tap.next_sequence().get()), (&7u32.to_ne_bytes()[..], 1));
    // Nobody waits for it.
    producer.send_batch(&[9, 10, 11, 12, 13, 14]).unwrap();
    while tap.try_recv(&mut message).is_ok() {}
    assert_eq!((&message[..], tap.next_sequence().get()), (&14u32.to_ne_bytes()[..], 8));
    assert!(tap.lost() >= 3 && tap.received() + tap.lost() == 8, "{tap:?}");
    drop(tap);
    assert_eq!(producer.consumers(), []);
    let evictable = options.policy(Policy::EvictAfter(Duration::from_secs(1)));
    assert!(matches!(
        RawTap::join(name.as_str(), Start::Oldest, &evictable),
        Err(JoinError::Policy { .. })
    ));
}

#[test]
fn a_lossy_consumer_counts_messages_of_every_size_in_rings_of_every_size() {
    for size in [1usize, 3, 8, 100, 4095, 4096] {
        for capacity in [1u64, 2, 8, 64] {
            let name = Unique::new("tap-size");
            let of = MessageType { name: "any".to_owned(), size, align: 1 };
            let queue = QueueOptions::new(capacity);
            let mut producer: RawProducer =
                RawProducer::create_with(name.as_str(), &of, &queue).unwrap();
            let mut tap = RawTap::join(name.as_str(), Start::Oldest, &JoinOptions::new()).unwrap();
            let (mut sent, mut message) = (0u64, Vec::new());
            for round in 0..200u64 {
                for _ in 0..(round * 7) % 13 {
                    producer.try_send_batch(&vec![sent as u8; size]).unwrap();
                    sent += 1;
                }
                for _ in 0..(round * 5) % 11 {
                    match tap.try_recv(&mut message) {
                        Ok(()) => {
                            let at = tap.next_sequence().get() - 1;
                            assert_eq!(message, vec![at as u8; size]);
                            assert_eq!(tap.received() + tap.lost(), at + 1);
                        }
                        end => {
                            assert_eq!(end, Err(TryRecvError::Empty));
                            assert_eq!(tap.received() + tap.lost(), sent);
                        }
                    }
                }
            }
            producer.close();
            while tap.try_recv(&mut message).is_ok() {}
            let end = tap.try_recv(&mut message);
            assert_eq!(end, Err(TryRecvError::End(RecvError::Closed)));
            assert_eq!(tap.received() + tap.lost(), sent);
            assert!(capacity < 8 || tap.received() > 0);
        }
    }
}
