//! Models of dying: members, consumers and producers that are killed at each step, and what the others make of it.
//!
//! They explore under loom alone: elsewhere nobody dies (`cargo model -p day3 --test deaths`).
#![cfg(loom)]

mod model;

use common::Sequence;
use day3::Start;
use day3::group::MemberCursor;
use day3::link::HeapLines;
use day3::sequencer::Cursor;
use model::{FIRST, Reader, Rig, explore, pause, spawn};

type Member = Reader<MemberCursor<HeapLines<3>>>;

/// The steps of a claim at which a member can die.
const STEPS: [&str; 5] = ["testified", "intent", "announced", "tried", "won"];

/// Takes over what the dead have left, and reads all that is there.
fn finish(member: &mut Member) -> Vec<Sequence> {
    let mut read = member.drain();
    while member.cursor.inherit() {
        read.extend(member.drain());
    }
    read.extend(member.drain());
    read
}

/// Each of the first `n` messages was delivered to one member, and once.
fn assert_each_once(n: u64, mut read: Vec<Sequence>) {
    read.sort_by_key(|sequence| sequence.since(FIRST));
    let all: Vec<_> = (0..n).map(|i| FIRST.plus(i)).collect();
    assert_eq!(read, all);
}

/// A member dies while it claims, and another one claims meanwhile.
#[test]
fn a_member_dies_while_it_claims() {
    for step in STEPS {
        explore(&format!("a_member_dies_while_it_claims ({step})"), Some(3), move || {
            let rig = Rig::new(2);
            let mut survivor = rig.member(Start::Latest);
            let victim = rig.member(Start::Latest);
            let _producer = rig.producer().send_now(2);
            let dying = spawn(move || victim.take_and_die(step, 1));
            let mut read = survivor.try_read(1).unwrap_or_default();
            // A member that was too slow for this step has read nothing, and leaves.
            let late = dying.join().unwrap().map(|mut late| late.try_read(1).unwrap_or_default());
            read.extend(late.unwrap_or_default());
            read.extend(finish(&mut survivor));
            assert_each_once(2, read);
        });
    }
}

/// A member won, and died before it said so. The others claim on, and so often that what they know of it has to
/// move on, while one of them takes over.
#[test]
fn a_proof_moves_on_while_it_is_looked_for() {
    for step in ["tried", "won"] {
        explore(&format!("a_proof_moves_on_while_it_is_looked_for ({step})"), Some(3), move || {
            let rig = Rig::new(4);
            let victim = rig.member(Start::Latest);
            let (mut one, mut other) = (rig.member(Start::Latest), rig.member(Start::Latest));
            let _producer = rig.producer().send_now(4);
            assert!(victim.take_and_die(step, 1).is_none());
            let mut read = one.try_read(1).unwrap();
            read.extend(other.try_read(1).unwrap());
            // Its log is full: the first claim's proof has to go to the line of its winner.
            let going_on = spawn(move || {
                let read = one.try_read(1);
                (one, read)
            });
            other.cursor.inherit();
            let (mut one, more) = going_on.join().unwrap();
            read.extend(more.unwrap_or_default());
            read.extend(finish(&mut other));
            read.extend(finish(&mut one));
            assert_each_once(4, read);
        });
    }
}

/// What a dead member held is taken over by one of two that look for it at the same time.
#[test]
fn two_members_look_for_what_a_dead_one_held() {
    explore("two_members_look_for_what_a_dead_one_held", Some(3), || {
        let rig = Rig::new(2);
        let mut victim = rig.member(Start::Latest);
        let (mut one, mut other) = (rig.member(Start::Latest), rig.member(Start::Latest));
        let mut producer = rig.producer().send_now(2);
        assert_eq!(victim.take(2).unwrap().len(), 2);
        victim.cursor.release_first(1);
        victim.cursor.die();
        let looking = spawn(move || {
            one.cursor.inherit();
            one
        });
        other.cursor.inherit();
        let mut one = looking.join().unwrap();
        assert!(producer.try_send(), "one message was released");
        assert!(!producer.try_send(), "the other one is held until it is read");
        let mut read = finish(&mut one);
        read.extend(finish(&mut other));
        // What was released is not delivered again.
        assert_eq!(read, [FIRST.plus(1), FIRST.plus(2)]);
    });
}

/// The producer finds a dead consumer while a new one takes its slot.
#[test]
fn a_dead_consumer_is_found_by_two() {
    explore("a_dead_consumer_is_found_by_two", Some(3), || {
        let rig = Rig::new(2);
        let victim = rig.consumer(Start::Latest);
        let (_second, _third) = (rig.tap(Start::Latest), rig.tap(Start::Latest));
        let mut producer = rig.producer().send_now(2);
        victim.cursor.die();
        let asking = spawn(move || {
            producer.cursor.ask_who_lives();
            let sent = producer.try_send();
            (producer, sent)
        });
        let mut newcomer = rig.consumer(Start::Latest);
        let (mut producer, sent) = asking.join().unwrap();
        let sent = sent || (0..3).any(|_| producer.try_send() || pause());
        assert!(sent, "the newcomer has nothing to read yet, and the dead one gates no more");
        let read = newcomer.drain();
        assert!(read.len() <= 1 && read.iter().all(|&one| !one.is_before(newcomer.first())));
    });
}
