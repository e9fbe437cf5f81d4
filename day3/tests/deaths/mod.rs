//! Models of dying: members, consumers and producers that are killed at each step, and what the others make of it.
//!
//! They explore under loom alone: elsewhere nobody dies.

use crate::model::{FIRST, Lines, Reader, Rig, explore, pause, spawn};
use common::Sequence;
use day3::Start;
use day3::group::MemberCursor;
use day3::sequencer::Cursor;

type Member = Reader<MemberCursor<Lines>>;

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
        explore(&format!("a_member_dies_while_it_claims ({step})"), None, move || {
            let rig = Rig::for_three(2);
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
        explore(&format!("a_proof_moves_on_while_it_is_looked_for ({step})"), None, move || {
            let rig = Rig::for_three(4);
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
            let taking_over = spawn(move || {
                other.cursor.inherit();
                other
            });
            let mut other = taking_over.join().unwrap();
            let (mut one, more) = going_on.join().unwrap();
            read.extend(more.unwrap_or_default());
            read.extend(finish(&mut other));
            read.extend(finish(&mut one));
            assert_each_once(4, read);
        });
    }
}

/// The same, one after the other: the proof has moved on before it is looked for.
#[test]
fn a_proof_has_moved_on() {
    explore("a_proof_has_moved_on", None, || {
        let rig = Rig::for_three(4);
        let victim = rig.member(Start::Latest);
        let (mut one, mut other) = (rig.member(Start::Latest), rig.member(Start::Latest));
        let _producer = rig.producer().send_now(4);
        assert!(victim.take_and_die("tried", 1).is_none());
        let mut read = one.try_read(1).unwrap();
        read.extend(other.try_read(1).unwrap());
        read.extend(one.try_read(1).unwrap());
        read.extend(finish(&mut other));
        assert_each_once(4, read);
    });
}

/// A member replaces a dead member's claim while another one looks who won it.
#[test]
fn a_claim_is_replaced_while_its_winner_is_looked_for() {
    explore("a_claim_is_replaced_while_its_winner_is_looked_for", None, || {
        let rig = Rig::for_three(4);
        let victim = rig.member(Start::Latest);
        let (mut one, mut other) = (rig.member(Start::Latest), rig.member(Start::Latest));
        let _producer = rig.producer().send_now(2);
        assert!(victim.take_and_die("tried", 1).is_none());
        let replacing = spawn(move || {
            let read = one.try_read(1);
            (one, read)
        });
        let looking = spawn(move || {
            other.cursor.inherit();
            other
        });
        let mut other = looking.join().unwrap();
        let (mut one, read) = replacing.join().unwrap();
        let mut read = read.unwrap_or_default();
        read.extend(finish(&mut other));
        read.extend(finish(&mut one));
        assert_each_once(2, read);
    });
}

/// A member wins, and dies, while the others claim on so often that the proof has to move.
#[test]
fn a_member_dies_while_others_go_on() {
    explore("a_member_dies_while_others_go_on", Some(3), || {
        let rig = Rig::for_three(4);
        let victim = rig.member(Start::Latest);
        let (mut one, mut other) = (rig.member(Start::Latest), rig.member(Start::Latest));
        let _producer = rig.producer().send_now(4);
        let dying = spawn(move || victim.take_and_die("tried", 1).is_none());
        let going_on = spawn(move || {
            let mut read = one.try_read(1).unwrap_or_default();
            read.extend(other.try_read(1).unwrap_or_default());
            read.extend(one.try_read(1).unwrap_or_default());
            (one, other, read)
        });
        let died = dying.join().unwrap();
        let (mut one, mut other, mut read) = going_on.join().unwrap();
        read.extend(finish(&mut one));
        read.extend(finish(&mut other));
        assert!(died, "there are messages for all");
        assert_each_once(4, read);
    });
}

/// A member helps the last member in a slot, while the slot gets a member of another group, which tries a claim with
/// the same end, and dies.
#[test]
fn a_slot_changes_its_group_while_it_is_helped() {
    explore("a_slot_changes_its_group_while_it_is_helped", Some(3), || {
        let rig = Rig::for_three(4);
        let victim = rig.member(Start::Latest);
        let (mut one, mut other) = (rig.member(Start::Latest), rig.member(Start::Latest));
        let _producer = rig.producer().send_now(4);
        assert!(victim.take_and_die("tried", 1).is_none());
        assert_eq!(one.try_read(1).unwrap().len(), 1);
        assert_eq!(other.try_read(1).unwrap().len(), 1);
        assert!(other.cursor.inherit(), "it moves into the dead member's slot");
        other.drain();
        drop(other);
        let mut third = rig.member(Start::Latest);
        assert_eq!(third.try_read(1).unwrap_or_default().len(), 0);
        drop(third);
        let newcomers = rig.clone();
        let joining = spawn(move || {
            let victim = newcomers.member_of("h", Start::Oldest);
            assert_eq!(victim.cursor.registration().slot(), 0);
            assert!(victim.take_and_die("announced", 1).is_none());
        });
        let helping = spawn(move || {
            // As it leaves, it helps the members whose claims stand in its log.
            drop(one);
        });
        joining.join().unwrap();
        helping.join().unwrap();
        let mut heir = rig.member_of("h", Start::Oldest);
        let mut read = heir.try_read(1).unwrap();
        read.extend(finish(&mut heir));
        assert_each_once(4, read);
    });
}

/// What a dead member held is taken over by one of two that look for it at the same time.
#[test]
fn two_members_look_for_what_a_dead_one_held() {
    explore("two_members_look_for_what_a_dead_one_held", None, || {
        let rig = Rig::for_three(2);
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
        read.sort_by_key(|sequence| sequence.since(FIRST));
        // What was released is not delivered again.
        assert_eq!(read, [FIRST.plus(1), FIRST.plus(2)]);
    });
}

/// The producer finds a dead consumer while a new one takes its slot.
#[test]
fn a_dead_consumer_is_found_by_two() {
    explore("a_dead_consumer_is_found_by_two", None, || {
        let rig = Rig::for_three(2);
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

/// A producer dies while it sends, and another one goes on. A consumer reads all the while: it sees what was published,
/// and nothing that was only written.
#[test]
fn a_producer_dies_and_another_goes_on() {
    for (step, published) in [("reserved", 0), ("written", 1), ("published", 2)] {
        explore(&format!("a_producer_dies_and_another_goes_on ({step})"), None, move || {
            let rig = Rig::for_three(4);
            let mut consumer = rig.consumer(Start::Latest);
            let mut sender = rig.producer();
            // The first claim reserves.
            if step != "reserved" {
                assert!(sender.try_send());
            }
            let succeeding = rig.clone();
            let handing_over = spawn(move || {
                assert!(sender.send_and_die(step).is_none());
                let mut successor = succeeding.successor();
                assert!(successor.try_send());
                successor
            });
            let reading = spawn(move || {
                let read = consumer.read(2);
                (consumer, read)
            });
            let (mut consumer, mut read) = reading.join().unwrap();
            let _successor = handing_over.join().unwrap();
            read.extend(consumer.drain());
            assert_each_once(published + 1, read);
        });
    }
}
