//! Models of the protocol: the real sequencer, gate, group, roster and tap under every schedule.
//!
//! `cargo model -p day3 --test loom_models` explores them; an ordinary `cargo test` runs each once on
//! real threads. `FANOUT_PREEMPTIONS=3` replaces the bounds of all models (`none`: no bound).
//! `FANOUT_MUTANT=name` weakens one ordering: see `mutants.txt`.

#[cfg(loom)]
mod deaths;
mod model;
mod rooms;

use common::Sequence;
use day3::sequencer::{Cursor, Unavailable};
use day3::{Ending, Start};
use model::{FIRST, Rig, TRIES, explore, follows, pause, spawn};

/// What is published is seen whole, in order, and without holes.
#[test]
fn publish_is_observed() {
    explore("publish_is_observed", None, || {
        let rig = Rig::new(2);
        let mut consumer = rig.consumer(Start::Latest);
        let mut producer = rig.producer();
        let sender = spawn(move || {
            assert!(producer.send() && producer.send(), "an empty ring has room for two");
            producer
        });
        let mut read = consumer.read(2);
        let _producer = sender.join().unwrap();
        read.extend(consumer.drain());
        assert!(read.len() == 2 && follows(FIRST, &read), "{read:?}");
    });
}

/// The third message waits until the first has been read and released, and then takes its place.
#[test]
fn a_place_is_reused_after_its_release() {
    explore("a_place_is_reused_after_its_release", None, || {
        let rig = Rig::new(2);
        let mut consumer = rig.consumer(Start::Latest);
        let mut producer = rig.producer().send_now(2);
        let sender = spawn(move || {
            let sent = producer.send();
            (producer, sent)
        });
        let read = consumer.try_read(1).unwrap();
        assert_eq!(read, [FIRST]);
        let (mut producer, sent) = sender.join().unwrap();
        assert!(sent || producer.try_send(), "there is room for the third");
        assert!(!producer.try_send(), "there is no room for a fourth");
        assert_eq!(consumer.drain(), [FIRST.plus(1), FIRST.plus(2)]);
    });
}

/// Two laps of a ring of two, in batches of any length.
#[test]
fn two_laps() {
    explore("two_laps", None, || {
        let rig = Rig::new(2);
        let mut consumer = rig.consumer(Start::Latest);
        let mut producer = rig.producer();
        let sender = spawn(move || {
            let sent = (0..4).filter(|_| producer.send()).count();
            (producer, sent)
        });
        let mut read = Vec::new();
        for _ in 0..TRIES {
            match consumer.try_read(2) {
                Ok(some) => read.extend(some),
                Err(nothing) => {
                    assert_eq!(nothing, Unavailable::Empty);
                    pause();
                }
            }
        }
        let (_producer, sent) = sender.join().unwrap();
        read.extend(consumer.drain());
        assert!(read.len() == sent && follows(FIRST, &read), "{sent} sent, read {read:?}");
    });
}

fn join_while_publishing(start: Start) {
    let rig = Rig::new(2);
    // One lap has gone by, so that an oldest message is about to be overwritten.
    let mut producer = rig.producer().send_now(2);
    let sender = spawn(move || {
        let sent = (0..2).filter(|_| producer.send()).count();
        (producer, sent)
    });
    let mut consumer = rig.consumer(start);
    let first = consumer.first();
    let mut read = consumer.read(2);
    let (mut producer, sent) = sender.join().unwrap();
    read.extend(consumer.drain());
    let published = FIRST.plus(2 + sent as u64);
    assert!(!published.is_before(first), "promised {first}, published {published}");
    assert_eq!(read.len() as u64, published.since(first), "from {first} on: {read:?}");
    assert!(follows(first, &read), "from {first} on: {read:?}");
    assert!(producer.try_send() && producer.try_send(), "everything has been released");
    assert!(!producer.try_send(), "the producer waits for a consumer that has joined");
}

/// A consumer that joins gets everything from the first sequence that it is promised, unharmed:
/// here from the oldest.
#[test]
fn join_oldest_while_publishing() {
    explore("join_oldest_while_publishing", None, || join_while_publishing(Start::Oldest));
}

/// The same, from the next message on.
#[test]
fn join_latest_while_publishing() {
    explore("join_latest_while_publishing", None, || join_while_publishing(Start::Latest));
}

/// The smallest race between a consumer that joins and a producer that overwrites.
#[test]
fn join_or_overwrite() {
    explore("join_or_overwrite", None, || {
        let rig = Rig::new(1);
        let mut producer = rig.producer().send_now(1);
        let sender = spawn(move || {
            let sent = producer.try_send();
            (producer, sent)
        });
        let mut consumer = rig.consumer(Start::Oldest);
        let first = consumer.first();
        let read = consumer.try_read(1);
        if first == FIRST {
            assert_eq!(read, Ok(vec![FIRST]), "promised to be still there");
        }
        let (_producer, sent) = sender.join().unwrap();
        let rest = consumer.drain().len() as u64 + read.map_or(0, |read| read.len() as u64);
        assert_eq!(rest, FIRST.plus(1 + u64::from(sent)).since(first));
    });
}

/// The producer is stuck behind a consumer that leaves: it goes on, after the consumer's last read.
#[test]
fn leave_while_full() {
    explore("leave_while_full", None, || {
        let rig = Rig::new(2);
        let mut consumer = rig.consumer(Start::Latest);
        let mut producer = rig.producer().send_now(2);
        let leaver = spawn(move || {
            assert_eq!(consumer.take(1), Ok(vec![FIRST]));
        });
        let sent = producer.send();
        leaver.join().unwrap();
        assert!(sent || producer.try_send(), "no consumer is in the way any more");
        assert!(producer.try_send() && producer.try_send(), "no consumer is attached");
    });
}

/// When a consumer leaves, its backlog goes with it: nothing is left to drain.
#[test]
fn a_backlog_leaves_with_its_consumer() {
    explore("a_backlog_leaves_with_its_consumer", None, || {
        let rig = Rig::new(2);
        let consumer = rig.consumer(Start::Latest);
        let mut producer = rig.producer().send_now(1);
        let leaver = spawn(move || drop(consumer));
        let meanwhile = producer.cursor.lag();
        assert!(meanwhile <= 1, "{meanwhile} of 1");
        leaver.join().unwrap();
        assert_eq!(producer.cursor.lag(), 0, "no consumer is attached");
    });
}

/// The producer looks at the slots for the first time while a consumer is leaving its slot.
#[test]
fn leave_at_first_sight() {
    explore("leave_at_first_sight", None, || {
        let rig = Rig::new(2);
        let mut producer = rig.producer().send_now(2);
        let mut consumer = rig.consumer(Start::Oldest);
        let leaver = spawn(move || {
            assert_eq!(consumer.take(1), Ok(vec![FIRST]));
        });
        let sent = producer.try_send();
        leaver.join().unwrap();
        assert!(sent || producer.try_send(), "no consumer is in the way any more");
    });
}

/// A slot is taken again, by a consumer that begins at another place.
#[test]
fn a_slot_is_taken_again() {
    explore("a_slot_is_taken_again", None, || {
        let rig = Rig::new(2);
        let mut old = rig.consumer(Start::Latest);
        let mut second = rig.consumer(Start::Latest);
        let mut producer = rig.producer().send_now(2);
        second.drain();
        let leaver = spawn(move || {
            old.try_read(2).unwrap();
        });
        let new = (0..TRIES).find_map(|_| {
            let registration = rig.join(day3::roster::JoinAs::Broadcast, Start::Oldest).ok();
            registration.is_none().then(pause);
            registration
        });
        leaver.join().unwrap();
        let Some(registration) = new else { return };
        assert_eq!(registration.first(), FIRST);
        assert!(!producer.try_send(), "the new consumer has read nothing");
    });
}

/// A member claims, reads and releases, while the producer wants its place.
#[test]
fn a_claimed_message_is_not_overwritten() {
    explore("a_claimed_message_is_not_overwritten", None, || {
        let rig = Rig::new(2);
        let mut member = rig.member(Start::Latest);
        let mut producer = rig.producer().send_now(2);
        let sender = spawn(move || {
            let sent = producer.try_send();
            (producer, sent)
        });
        let mut read = member.try_read(1).unwrap();
        read.extend(member.try_read(1).unwrap());
        let (mut producer, sent) = sender.join().unwrap();
        assert!(sent || producer.try_send(), "everything has been released");
        read.extend(member.drain());
        assert!(read.len() == 3 && follows(FIRST, &read), "{read:?}");
    });
}

/// Two members and the producer: each message goes to exactly one of them.
#[test]
fn two_members_share() {
    explore("two_members_share", Some(3), || {
        let rig = Rig::new(2);
        let (mut one, mut other) = (rig.member(Start::Latest), rig.member(Start::Latest));
        let mut producer = rig.producer().send_now(2);
        let first = spawn(move || {
            let read: Vec<_> = (0..2).flat_map(|_| one.try_read(1).unwrap_or_default()).collect();
            (one, read)
        });
        let second = spawn(move || {
            let read = other.try_read(2);
            (other, read.unwrap_or_default())
        });
        let sent = (0..2).filter(|_| producer.try_send()).count();
        let (mut one, mut read) = first.join().unwrap();
        let (_other, more) = second.join().unwrap();
        read.extend(more);
        read.extend(one.drain());
        read.sort_by_key(|sequence| sequence.since(FIRST));
        assert!(read.len() == 2 + sent && follows(FIRST, &read), "{read:?}");
        let room = (0..3).filter(|_| producer.try_send()).count();
        assert_eq!(room, 2, "everything has been released");
    });
}

/// A member joins and claims at once, while the producer looks at the group as it was.
#[test]
fn a_member_joins_a_working_group() {
    explore("a_member_joins_a_working_group", None, || {
        let rig = Rig::new(1);
        let _idle = rig.member(Start::Latest);
        let mut producer = rig.producer().send_now(1);
        let newcomer = spawn({
            let rig = rig.clone();
            move || {
                let mut member = rig.member(Start::Latest);
                let read = member.try_read(1);
                (member, read)
            }
        });
        let sent = producer.try_send();
        let (mut member, read) = newcomer.join().unwrap();
        assert_eq!(read, Ok(vec![FIRST]), "the group was promised it");
        if sent {
            assert_eq!(member.drain(), [FIRST.plus(1)]);
        }
    });
}

/// Messages that a member has in hand are not drained, even if the member has only just joined.
#[test]
fn what_a_newcomer_holds_is_not_drained() {
    explore("what_a_newcomer_holds_is_not_drained", None, || {
        let rig = Rig::new(1);
        let _idle = rig.member(Start::Latest);
        let mut producer = rig.producer().send_now(1);
        let newcomer = spawn({
            let rig = rig.clone();
            move || {
                let mut member = rig.member(Start::Latest);
                assert_eq!(member.take(1), Ok(vec![FIRST]));
                member
            }
        });
        assert_eq!(producer.cursor.lag(), 1, "nobody has released it");
        let mut member = newcomer.join().unwrap();
        assert_eq!(producer.cursor.lag(), 1, "nobody has released it");
        member.cursor.release();
        assert_eq!(producer.cursor.lag(), 0);
    });
}

/// The last member leaves while another joins. The new member goes on where the group was, or
/// begins anew, and gets everything from there.
#[test]
fn the_last_member_leaves_while_another_joins() {
    explore("the_last_member_leaves_while_another_joins", Some(2), || {
        let rig = Rig::new(1);
        let mut leaving = rig.member(Start::Latest);
        let mut producer = rig.producer().send_now(1);
        let leaver = spawn(move || {
            let _held = leaving.take(1);
        });
        let newcomer = spawn({
            let rig = rig.clone();
            move || {
                let mut member = rig.member(Start::Oldest);
                let read = member.read(1);
                (member, read)
            }
        });
        let sent = producer.send();
        leaver.join().unwrap();
        let (mut member, mut read) = newcomer.join().unwrap();
        read.extend(member.drain());
        if let Some(&first) = read.first() {
            assert!(!first.is_before(member.first()), "{first} comes before the promise");
            assert!(follows(first, &read), "{read:?}");
        }
        // It lacks at most the message that the other member had in hand.
        let published = FIRST.plus(1 + u64::from(sent));
        assert!(published.since(member.first()) <= read.len() as u64 + 1, "{read:?}");
        assert!(producer.try_send(), "everything has been released");
        assert!(!producer.try_send(), "the producer waits for the new member");
    });
}

/// A member joins a group while the producer is stuck behind the group: the group still gets what
/// it was promised.
#[test]
fn a_group_keeps_its_promise_when_another_joins() {
    explore("a_group_keeps_its_promise_when_another_joins", None, || {
        let rig = Rig::new(2);
        let mut producer = rig.producer().send_now(3);
        let sender = spawn(move || {
            let sent = producer.try_send();
            (producer, sent)
        });
        let mut one = rig.member(Start::Oldest);
        let mut other = rig.member(Start::Latest);
        let (_producer, sent) = sender.join().unwrap();
        let mut read = other.try_read(1).unwrap_or_default();
        read.extend(one.drain());
        let published = FIRST.plus(3 + u64::from(sent));
        assert_eq!(read.len() as u64, published.since(one.first()), "{read:?}");
        assert!(follows(one.first(), &read), "{read:?}");
    });
}

/// All at once: a broadcast consumer sees every message, and a member gets what it claims.
#[test]
fn broadcast_and_group_at_once() {
    explore("broadcast_and_group_at_once", None, || {
        let rig = Rig::new(2);
        let mut consumer = rig.consumer(Start::Latest);
        let mut member = rig.member(Start::Latest);
        let mut producer = rig.producer().send_now(2);
        let watching = spawn(move || {
            let mut read = consumer.try_read(1).unwrap();
            read.extend(consumer.try_read(1).unwrap());
            (consumer, read)
        });
        let working = spawn(move || {
            let mut read = member.try_read(1).unwrap();
            read.extend(member.try_read(1).unwrap());
            (member, read)
        });
        let sent = (0..2).filter(|_| producer.try_send()).count();
        let (mut consumer, mut seen) = watching.join().unwrap();
        let (mut member, mut done) = working.join().unwrap();
        seen.extend(consumer.drain());
        done.extend(member.drain());
        let all: Vec<Sequence> = (0..2 + sent as u64).map(|i| FIRST.plus(i)).collect();
        assert_eq!(seen, all);
        assert_eq!(done, all);
    });
}

/// A tap sees a message just published as it is.
#[test]
fn a_tap_sees_what_is_published() {
    explore("a_tap_sees_what_is_published", None, || {
        let rig = Rig::new(1);
        let mut producer = rig.producer_of_words();
        let mut tap = rig.tap(Start::Latest);
        let sender = spawn(move || {
            assert!(producer.try_send());
            producer
        });
        let read = tap.try_read(1).unwrap_or_default();
        let _producer = sender.join().unwrap();
        let rest = tap.try_read(1).unwrap_or_default();
        assert_eq!([read, rest].concat(), [FIRST]);
        assert_eq!((tap.cursor.received(), tap.cursor.lost()), (1, 0));
    });
}

/// A tap is lapped while it copies: what it trusts is whole, and what it misses is counted.
#[test]
fn a_tap_is_lapped_while_it_copies() {
    explore("a_tap_is_lapped_while_it_copies", Some(3), || {
        let rig = Rig::new(2);
        let producer = rig.producer_of_words();
        let mut tap = rig.tap(Start::Latest);
        let mut producer = producer.send_now(2);
        let sender = spawn(move || {
            assert!(producer.try_send() && producer.try_send(), "a tap slows nobody");
            producer
        });
        let mut received = 0;
        for _ in 0..2 {
            received += tap.try_read(2).map_or(0, |read| read.len() as u64);
        }
        let _producer = sender.join().unwrap();
        while let Ok(read) = tap.try_read(2) {
            received += read.len() as u64;
        }
        assert_eq!(tap.cursor.received(), received);
        assert_eq!(tap.cursor.received() + tap.cursor.lost(), tap.sent());
    });
}

/// A consumer that is told that the ring is closed has been given everything.
#[test]
fn closing_drains() {
    explore("closing_drains", None, || {
        let rig = Rig::new(2);
        let mut consumer = rig.consumer(Start::Latest);
        let mut producer = rig.producer();
        let sender = spawn(move || {
            assert!(producer.try_send());
            producer.cursor.close();
            producer
        });
        let mut read = Vec::new();
        let told = (0..TRIES).any(|_| match consumer.try_read(1) {
            Ok(some) => {
                read.extend(some);
                false
            }
            Err(Unavailable::Closed) => true,
            Err(_) => pause(),
        });
        if told {
            assert_eq!(read, [FIRST], "the consumer is told of the end");
        }
        let _producer = sender.join().unwrap();
        read.extend(consumer.drain());
        assert_eq!(read, [FIRST]);
        assert_eq!(consumer.try_read(1), Err(Unavailable::Closed));
    });
}

/// The same for a tap, which may have lost some messages.
#[test]
fn closing_drains_a_tap() {
    explore("closing_drains_a_tap", None, || {
        let rig = Rig::new(2);
        let mut producer = rig.producer_of_words();
        let mut tap = rig.tap(Start::Latest);
        let sender = spawn(move || {
            assert!(producer.try_send());
            producer.cursor.close();
            producer
        });
        for _ in 0..TRIES {
            match tap.try_read(1) {
                Err(Unavailable::Closed) => {
                    assert_eq!(tap.cursor.received(), 1, "the tap is told of the end");
                    break;
                }
                Err(_) => drop(pause()),
                Ok(_) => {}
            }
        }
        let _producer = sender.join().unwrap();
        while tap.try_read(1).is_ok() {}
        assert_eq!(tap.cursor.received(), 1);
    });
}

/// A lap passes between a member's look at its group and its look at the producer. What it takes is
/// never more than the ring holds (`Reader::take` asserts it).
#[test]
fn a_lap_passes_while_a_member_looks() {
    explore("a_lap_passes_while_a_member_looks", Some(3), || {
        let rig = Rig::new(1);
        let mut slow = rig.member(Start::Latest);
        let mut fast = rig.member(Start::Latest);
        let mut producer = rig.producer().send_now(1);
        let looking = spawn(move || {
            let read = slow.try_read(u64::MAX).unwrap_or_default();
            (slow, read)
        });
        let mut read = Vec::new();
        let mut sent = 1;
        for _ in 0..2 {
            read.extend(fast.try_read(u64::MAX).unwrap_or_default());
            sent += u64::from(producer.try_send());
        }
        let (mut slow, more) = looking.join().unwrap();
        read.extend(more);
        read.extend(slow.drain());
        read.sort_by_key(|sequence| sequence.since(FIRST));
        assert!(read.len() as u64 == sent && follows(FIRST, &read), "{sent} sent, read {read:?}");
    });
}

/// A ring of 16 with a consumer that keeps up, so that the producer reserves two places more than it
/// needs. A tap is about to copy the oldest message, and the message after the next takes that place.
fn about_to_be_lapped() -> (model::Writer, model::Watcher, impl Sized) {
    let rig = Rig::new(16);
    let mut consumer = rig.consumer(Start::Latest);
    let mut producer = rig.producer_of_words().send_now(16);
    while let Ok(run) = consumer.cursor.take(u64::MAX) {
        assert!(run.len > 0);
        consumer.cursor.release();
    }
    assert!(producer.try_send(), "it reserves two more");
    let tap = rig.tap(Start::Oldest);
    assert_eq!(tap.cursor.next(), FIRST.plus(2), "the next message goes where the one before is");
    (producer, tap, consumer)
}

/// The producer writes within what it has reserved, without a fence of its own. From what is published,
/// a tap sees that its copy was being overwritten.
#[test]
fn a_tap_is_lapped_within_a_reservation() {
    explore("a_tap_is_lapped_within_a_reservation", Some(2), || {
        let (mut producer, mut tap, _consumer) = about_to_be_lapped();
        let sender = spawn(move || {
            assert!(producer.try_send() && producer.try_send());
            producer
        });
        for _ in 0..2 {
            let _ = tap.try_read(1);
        }
        let _producer = sender.join().unwrap();
    });
}

/// The same with a claim that is wider than all claims before it.
#[test]
fn a_tap_is_lapped_by_a_wide_claim() {
    explore("a_tap_is_lapped_by_a_wide_claim", Some(2), || {
        let (mut producer, mut tap, _consumer) = about_to_be_lapped();
        let sender = spawn(move || {
            assert!(producer.try_send_two());
            producer
        });
        for _ in 0..2 {
            let _ = tap.try_read(1);
        }
        let _producer = sender.join().unwrap();
    });
}

/// The producer closes, and takes back the width of its claims. A tap does not trust a copy that the last
/// messages may have overwritten.
#[test]
fn a_tap_is_lapped_by_the_last_messages() {
    explore("a_tap_is_lapped_by_the_last_messages", Some(2), || {
        let (mut producer, mut tap, _consumer) = about_to_be_lapped();
        let sender = spawn(move || {
            assert!(producer.try_send() && producer.try_send());
            producer.cursor.close();
            producer
        });
        for _ in 0..2 {
            let _ = tap.try_read(1);
        }
        let _producer = sender.join().unwrap();
        let rest = tap.try_read(1).unwrap_or_default();
        assert!(rest.iter().all(|sequence| !sequence.is_before(FIRST.plus(3))), "{rest:?}");
    });
}

/// A consumer that was evicted although it lives reads no message that it had known of: the producer may be
/// overwriting it.
#[test]
fn an_evicted_consumer_reads_no_further() {
    explore("an_evicted_consumer_reads_no_further", None, || {
        let rig = Rig::new(2);
        let mut evicted = rig.consumer(Start::Latest);
        let mut producer = rig.producer().send_now(2);
        assert_eq!(evicted.take(1).unwrap(), [FIRST]);
        rig.evict(0);
        let sender = spawn(move || {
            assert!(producer.try_send() && producer.try_send(), "no consumer gates");
            producer
        });
        evicted.cursor.release();
        assert_eq!(evicted.take(1), Err(Unavailable::Evicted));
        let _producer = sender.join().unwrap();
    });
}

/// A consumer that is evicted while it reads learns, before it trusts what it has read, that the producer may have
/// written there.
#[test]
fn what_was_read_during_an_eviction_is_not_trusted() {
    explore("what_was_read_during_an_eviction_is_not_trusted", None, || {
        let rig = Rig::new(2);
        let mut evicted = rig.consumer(Start::Latest);
        let mut producer = rig.producer_of_words().send_now(2);
        let sender = spawn(move || {
            rig.evict(0);
            assert!(producer.try_send(), "no consumer gates");
            producer
        });
        // It checks what it trusts.
        let _ = evicted.try_copy();
        let _producer = sender.join().unwrap();
        assert_ne!(evicted.try_copy(), Ok(true));
    });
}

/// The producer asks how far consumers are behind, and so takes note of a new consumer: from then on it
/// writes only what that consumer allows.
#[test]
fn a_question_takes_note_of_a_newcomer() {
    explore("a_question_takes_note_of_a_newcomer", None, || {
        let rig = Rig::new(2);
        let mut producer = rig.producer().send_now(2);
        let mut consumer = rig.consumer(Start::Latest);
        assert_eq!(producer.cursor.lag(), 0);
        assert!(producer.try_send() && producer.try_send());
        assert!(!producer.try_send(), "the newcomer has read nothing");
        assert_eq!(consumer.drain().len(), 2);
    });
}

/// A consumer that learns that the producer gave up also learns why.
#[test]
fn an_abort_tells_its_reason() {
    explore("an_abort_tells_its_reason", None, || {
        let rig = Rig::new(2);
        let mut consumer = rig.consumer(Start::Latest);
        let mut producer = rig.producer();
        let giving_up = spawn(move || {
            producer.cursor.abort("why");
            producer
        });
        if consumer.try_read(1) == Err(Unavailable::Aborted) {
            assert_eq!(rig.ending(), Ending::Aborted { reason: "why".to_owned() });
        }
        let _producer = giving_up.join().unwrap();
        assert_eq!(consumer.try_read(1), Err(Unavailable::Aborted));
    });
}
