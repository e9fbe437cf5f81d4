//! Groups that hold the end, and what programs do wrong with them.
#![forbid(unsafe_code)]
#![cfg(not(loom))]

use std::time::Duration;

use day3::ring::RawMember;
use day3::{
    JoinError, JoinOptions, Member, Producer, QueueOptions, RecvError, Start, TrySendError,
};
use testing::{DEADLINE, Unique};

const MOMENT: Duration = Duration::from_millis(30);

fn holding() -> JoinOptions {
    JoinOptions::new().hold_end(true)
}

fn join(name: &Unique, group: &str, options: &JoinOptions) -> Member<u64> {
    Member::join_with(name.as_str(), group, Start::Oldest, options).unwrap()
}

/// Who waits for the end waits for the messages before it, in whichever order a program says so.
#[test]
fn a_group_that_holds_the_end_holds_messages_whatever_else_was_said() {
    let name = Unique::new("end-and-messages");
    let mut producer = Producer::<u64>::create(name.as_str(), 4).unwrap();
    let contrary = holding().hold_when_empty(false);
    assert!(contrary.holds_when_empty() && contrary.holds_end());
    drop(join(&name, "g", &contrary));
    assert!(producer.groups()[0].holds && producer.groups()[0].holds_end);
    producer.try_send_batch(&[0; 4]).unwrap();
    assert_eq!(producer.try_send(4), Err(TrySendError::Full));
}

#[test]
fn a_group_that_holds_the_end_gives_its_line_to_no_other() {
    let name = Unique::new("end-line");
    let options = QueueOptions::new(4).consumers(2);
    let mut producer = Producer::<u64>::create_with(name.as_str(), &options).unwrap();
    drop(join(&name, "g", &holding().hold_when_empty(false)));
    for other in ["a", "b", "c"] {
        drop(join(&name, other, &JoinOptions::new()));
    }
    producer.close();
    assert!(producer.drain(MOMENT).is_err(), "{:?}", producer.groups());
}

#[test]
fn a_program_may_change_its_mind_before_it_joins() {
    let name = Unique::new("end-back");
    let mut producer = Producer::<u64>::create(name.as_str(), 4).unwrap();
    drop(join(&name, "g", &holding().hold_end(false)));
    assert!(!producer.groups()[0].holds && !producer.groups()[0].holds_end);
    producer.close();
    producer.drain(DEADLINE).unwrap();
}

#[test]
fn an_end_is_not_acknowledged_before_it_is_there() {
    let name = Unique::new("end-early");
    let mut producer = Producer::<u64>::create(name.as_str(), 4).unwrap();
    let member = join(&name, "g", &holding());
    member.acknowledge_end();
    producer.close();
    assert!(producer.drain(MOMENT).is_err(), "{:?}", producer.groups());
    member.acknowledge_end();
    member.acknowledge_end();
    producer.drain(DEADLINE).unwrap();
}

/// A line that holds is nobody else's, so a group more finds none. Each of them has to be told of the end.
#[test]
fn every_line_may_hold_the_end() {
    let name = Unique::new("end-lines");
    let options = QueueOptions::new(4).consumers(3);
    let mut producer = Producer::<u64>::create_with(name.as_str(), &options).unwrap();
    for group in ["a", "b", "c"] {
        drop(join(&name, group, &holding()));
    }
    let refused = Member::<u64>::join_with(name.as_str(), "d", Start::Oldest, &holding());
    assert!(matches!(refused, Err(JoinError::TooManyGroups { most: 3 })));
    assert_eq!(producer.consumers(), []);
    producer.close();
    for group in ["a", "b", "c"] {
        assert!(producer.drain(MOMENT).is_err());
        let mut member = join(&name, group, &JoinOptions::new());
        assert_eq!(member.recv(), Err(RecvError::Closed));
        member.acknowledge_end();
    }
    producer.drain(DEADLINE).unwrap();
}

/// Members may differ: one is enough to hold the end, and any of them to acknowledge it.
#[test]
fn one_member_holds_the_end_and_another_acknowledges_it() {
    let name = Unique::new("end-differ");
    let mut producer = Producer::<u64>::create(name.as_str(), 4).unwrap();
    let (plain, holds) = (join(&name, "g", &JoinOptions::new()), join(&name, "g", &holding()));
    drop(holds);
    producer.abort("enough");
    assert!(producer.drain(MOMENT).is_err());
    plain.acknowledge_end();
    producer.drain(DEADLINE).unwrap();
}

/// To acknowledge the end does not give away what is unread.
#[test]
fn messages_of_a_dead_member_outlive_the_acknowledgement() {
    let name = Unique::new("end-dead");
    let mut producer = Producer::<u64>::create(name.as_str(), 8).unwrap();
    let mut first = join(&name, "g", &holding());
    producer.send_batch(&[1, 2, 3]).unwrap();
    core::mem::forget(first.recv_batch(3).unwrap());
    producer.close();
    first.abandon();
    let mut second: RawMember =
        RawMember::join(name.as_str(), "g", Start::Oldest, &holding()).unwrap();
    second.acknowledge_end();
    assert!(producer.drain(MOMENT).is_err());
    let mut count = 0;
    while let Ok(batch) = second.recv_batch(1) {
        assert!(batch.redelivered());
        count += batch.len();
    }
    assert_eq!(count, 3);
    producer.drain(DEADLINE).unwrap();
}
