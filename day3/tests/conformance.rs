//! What every ring does, in any memory and wherever its sequences start.
#![cfg(not(loom))]

mod home;

use std::thread;
use std::time::Duration;

use day3::control::SLOTS;
use day3::roster::{ConsumerInfo, ConsumerKind};
use day3::sequencer::Cursor;
use day3::{
    Ending, Evicted, JoinError, JoinOptions, Producer, QueueOptions, Receiver, RecvError,
    RecvTimeoutError, SendError, SendTimeoutError, Start, TooLarge, TryRecvError, TrySendError,
    Unattended,
};
use home::{Home, InSegment, OnHeap};
use testing::DEADLINE;

/// A short timeout, for waits that are in vain.
const MOMENT: Duration = Duration::from_millis(1);

/// Runs each of these functions over both memories. Their sequences start at places that wrap
/// differently.
macro_rules! conformance {
    ($($test:ident),+ $(,)?) => {
        mod heap { $(#[test] fn $test() { super::everywhere(super::$test::<super::OnHeap>); })+ }
        mod segment { $(#[test] fn $test() { super::everywhere(super::$test::<super::InSegment>); })+ }
    };
}

conformance!(
    messages_arrive_in_order_over_many_laps,
    a_full_ring_says_so_and_loses_nothing,
    a_ring_with_nobody_attached_is_never_full,
    a_batch_is_sent_as_far_as_it_fits,
    a_batch_is_read_as_far_as_it_goes,
    a_batch_gates_until_it_is_dropped,
    a_reservation_is_published_whole_in_part_or_not_at_all,
    a_reservation_larger_than_the_ring_is_refused,
    an_oldest_consumer_starts_with_all_that_is_left,
    a_latest_consumer_starts_with_the_next_message,
    a_consumer_that_leaves_is_not_waited_for,
    a_group_shares_and_its_backlog_gates,
    a_group_keeps_its_place_when_its_last_member_leaves,
    a_group_that_holds_keeps_the_producer_back_with_nobody_in_it,
    a_closed_ring_takes_no_more,
    an_aborted_ring_says_so_and_why,
    a_panic_aborts,
    a_batch_is_released_in_part_or_given_back,
    an_evicted_member_writes_nothing_into_its_successors_slot,
    an_unattended_ring_waits_or_refuses_if_it_was_told_to,
    a_tap_loses_only_what_is_gone,
    an_oldest_consumer_gets_all_of_the_first_lap,
    a_newcomer_takes_nothing_from_its_group,
    groups_are_independent,
    a_tap_accounts_for_every_message,
    every_kind_at_once,
    the_end_comes_after_everything,
    dropping_the_producer_closes,
    one_more_consumer_than_there_are_slots_is_refused,
    an_evicted_consumer_gates_nobody_and_learns_of_it,
    an_evicted_member_leaves_its_successor_alone,
    a_batch_says_at_its_end_whether_it_can_be_trusted,
    waiting_ends_at_its_deadline,
    threads_share_a_ring,
);

fn everywhere(test: fn(u64)) {
    for first in [0, (1 << 32) - 6, u64::MAX - 5] {
        test(first);
    }
}

fn send_all(producer: &mut Producer<u64>, messages: impl IntoIterator<Item = u64>) {
    for message in messages {
        assert_eq!(producer.try_send(message), Ok(()), "message {message}");
    }
}

/// Everything that is there, in batches.
fn rest<K: Cursor>(receiver: &mut Receiver<u64, K>) -> Vec<u64> {
    let mut messages = Vec::new();
    while let Ok(batch) = receiver.try_recv_batch(1000) {
        messages.extend(batch.iter());
    }
    messages
}

fn messages_arrive_in_order_over_many_laps<H: Home>(first: u64) {
    for capacity in [1, 2, 8, 64] {
        let (home, mut producer) = H::with_producer(capacity, first);
        let mut consumer = home.consumer(Start::Latest);
        assert_eq!(consumer.first_sequence().get(), first);
        for message in 0..capacity * 5 + 3 {
            producer.try_send(message).unwrap();
            assert_eq!(consumer.try_recv(), Ok(message));
            assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
        }
        assert_eq!(producer.next_sequence().since(consumer.first_sequence()), capacity * 5 + 3);
    }
}

fn a_full_ring_says_so_and_loses_nothing<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let mut consumer = home.consumer(Start::Latest);
    let mut slowest = home.consumer(Start::Latest);
    send_all(&mut producer, 0..4);
    assert_eq!(producer.try_send(9), Err(TrySendError::Full));
    assert_eq!(consumer.try_recv(), Ok(0));
    assert_eq!(producer.try_send(9), Err(TrySendError::Full), "the slowest one gates");
    assert_eq!(slowest.try_recv(), Ok(0));
    send_all(&mut producer, 4..5);
    assert_eq!(producer.try_send(9), Err(TrySendError::Full));
    for message in 1..5 {
        assert_eq!(consumer.try_recv(), Ok(message));
        assert_eq!(slowest.try_recv(), Ok(message));
    }
}

fn a_ring_with_nobody_attached_is_never_full<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(2, first);
    send_all(&mut producer, 0..9);
    producer.drain(MOMENT).unwrap();
    let mut consumer = home.consumer(Start::Oldest);
    assert_eq!(consumer.try_recv(), Ok(7));
    assert_eq!(consumer.try_recv(), Ok(8));
}

fn a_batch_is_sent_as_far_as_it_fits<H: Home>(first: u64) {
    for capacity in [4, 64] {
        let (home, mut producer) = H::with_producer(capacity, first);
        let mut consumer = home.consumer(Start::Latest);
        let messages: Vec<u64> = (0..capacity + 3).collect();
        assert_eq!(producer.try_send_batch(&[]), Ok(0));
        assert_eq!(producer.try_send_batch(&messages[..1]), Ok(1));
        let room = capacity as usize - 1;
        assert_eq!(
            producer.try_send_batch(&messages[1..]),
            Ok(room),
            "all the places that there are"
        );
        assert_eq!(producer.try_send_batch(&messages[..1]), Err(TrySendError::Full));
        for message in 0..3 {
            assert_eq!(consumer.try_recv(), Ok(message));
        }
        assert_eq!(producer.try_send_batch(&messages[capacity as usize..]), Ok(3));
        assert!(rest(&mut consumer).into_iter().eq(3..capacity + 3));
    }
}

fn a_batch_is_read_as_far_as_it_goes<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(8, first);
    let mut consumer = home.consumer(Start::Latest);
    assert!(matches!(consumer.try_recv_batch(3), Err(TryRecvError::Empty)));
    send_all(&mut producer, 0..7);
    let batch = consumer.try_recv_batch(3).unwrap();
    assert_eq!(batch.len(), 3);
    assert_eq!(batch.first().get(), first);
    assert!(batch.iter().copied().eq(0..3));
    drop(batch);
    let batch = consumer.try_recv_batch(100).unwrap();
    let (head, tail) = batch.slices();
    assert_eq!([head, tail].concat(), [3, 4, 5, 6]);
    assert_eq!(batch.first().get(), first.wrapping_add(3));
    drop(batch);
    send_all(&mut producer, 7..8);
    assert_eq!(consumer.try_recv_batch(0).unwrap().len(), 1, "at least one is asked for");
}

fn a_batch_gates_until_it_is_dropped<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(2, first);
    let mut consumer = home.consumer(Start::Latest);
    let mut member = home.member("workers", Start::Latest);
    send_all(&mut producer, 0..2);
    let held = consumer.try_recv_batch(2).unwrap();
    let in_hand = member.try_recv_batch(2).unwrap();
    assert_eq!(producer.try_send(9), Err(TrySendError::Full));
    drop(held);
    assert_eq!(producer.try_send(9), Err(TrySendError::Full), "the member has them in hand");
    assert!(producer.drain(MOMENT).is_err());
    drop(in_hand);
    producer.drain(MOMENT).unwrap();
    send_all(&mut producer, 2..4);
}

fn a_reservation_is_published_whole_in_part_or_not_at_all<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let mut consumer = home.consumer(Start::Latest);
    let _ = producer.try_reserve(4).unwrap();
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty), "dropped: nothing was sent");
    let reservation = producer.try_reserve(3).unwrap();
    assert_eq!((reservation.len(), reservation.is_empty()), (3, false));
    assert_eq!(reservation.first().get(), first);
    reservation.fill(&[0, 1, 99]).publish_first(2);
    let mut reservation = producer.try_reserve(2).unwrap();
    let (head, tail) = reservation.slices();
    for (place, message) in head.iter_mut().chain(tail).zip(2..) {
        *place = message;
    }
    reservation.publish();
    assert!(matches!(producer.try_reserve(1), Err(TrySendError::Full)));
    for message in 0..4 {
        assert_eq!(consumer.try_recv(), Ok(message));
    }
    producer.reserve(4).unwrap().fill(&[4, 5, 6, 7]).publish();
    assert!(consumer.try_recv_batch(4).unwrap().iter().copied().eq(4..8));
}

fn a_reservation_larger_than_the_ring_is_refused<H: Home>(first: u64) {
    let (_home, mut producer) = H::with_producer(4, first);
    let error = SendError::TooLarge(TooLarge::new(5, 4));
    assert_eq!(producer.try_reserve(5).unwrap_err(), error.into());
    assert_eq!(producer.reserve(5).unwrap_err(), error);
    let timed = producer.reserve_timeout(5, MOMENT).unwrap_err();
    assert_eq!(timed, SendTimeoutError::End(error));
    assert_eq!(producer.next_sequence().get(), first);
}

fn an_oldest_consumer_starts_with_all_that_is_left<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    send_all(&mut producer, 0..3);
    let mut early = home.consumer(Start::Oldest);
    assert_eq!(early.first_sequence().get(), first);
    assert!(early.try_recv_batch(9).unwrap().iter().copied().eq(0..3));
    drop(early);
    send_all(&mut producer, 3..10);
    let mut late = home.consumer(Start::Oldest);
    assert_eq!(late.first_sequence().get(), first.wrapping_add(6));
    for message in 6..10 {
        assert_eq!(late.try_recv(), Ok(message));
    }
}

fn a_latest_consumer_starts_with_the_next_message<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    send_all(&mut producer, 0..3);
    let mut consumer = home.consumer(Start::Latest);
    assert_eq!(consumer.first_sequence(), producer.next_sequence());
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    send_all(&mut producer, 3..7);
    assert_eq!(producer.try_send(9), Err(TrySendError::Full), "promised from 3 on");
    assert_eq!(consumer.try_recv(), Ok(3));
}

fn a_consumer_that_leaves_is_not_waited_for<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(2, first);
    for round in 0..SLOTS as u64 + 2 {
        let mut consumer = home.consumer(Start::Latest);
        let slow = home.consumer(Start::Latest);
        send_all(&mut producer, [round, round]);
        assert_eq!(producer.try_send(9), Err(TrySendError::Full));
        assert_eq!(consumer.try_recv(), Ok(round));
        assert_eq!(producer.try_send(9), Err(TrySendError::Full));
        assert_eq!(producer.consumers().len(), 2);
        drop(slow);
        send_all(&mut producer, [round]);
        assert_eq!(producer.try_send(9), Err(TrySendError::Full));
        drop(consumer);
        assert!(producer.consumers().is_empty());
        send_all(&mut producer, [round, round, round]);
    }
}

fn a_group_shares_and_its_backlog_gates<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let mut one = home.member("workers", Start::Latest);
    let mut other = home.member("workers", Start::Latest);
    send_all(&mut producer, 0..4);
    assert_eq!(producer.try_send(9), Err(TrySendError::Full), "nobody has taken any");
    assert_eq!(one.try_recv(), Ok(0));
    assert_eq!(other.try_recv(), Ok(1));
    assert_eq!(one.try_recv(), Ok(2));
    send_all(&mut producer, 4..7);
    assert_eq!(producer.try_send(9), Err(TrySendError::Full));
    assert!(rest(&mut other).into_iter().eq(3..7), "all that there are");
    assert_eq!(one.try_recv(), Err(TryRecvError::Empty));
    send_all(&mut producer, 7..11);
}

fn a_group_keeps_its_place_when_its_last_member_leaves<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let mut member = home.member("workers", Start::Latest);
    send_all(&mut producer, 0..4);
    assert_eq!(member.try_recv(), Ok(0));
    drop(member);
    let [group] = &producer.groups()[..] else { panic!("one group is known") };
    assert_eq!(
        (group.name.as_str(), group.members, group.lag, group.holds),
        ("workers", 0, 3, false)
    );
    // Wherever the next member asks to begin.
    for start in [Start::Latest, Start::Oldest] {
        let mut member = home.member("workers", start);
        assert_eq!(member.first_sequence().get(), first.wrapping_add(member_place(start)));
        assert_eq!(member.try_recv(), Ok(member_place(start)));
    }

    // The place is overwritten: the group begins anew, where its first member says.
    send_all(&mut producer, 4..10);
    let mut member = home.member("workers", Start::Oldest);
    assert_eq!(member.try_recv(), Ok(6));
    drop(member);
    send_all(&mut producer, 10..20);
    let mut member = home.member("workers", Start::Latest);
    assert_eq!(member.try_recv(), Err(TryRecvError::Empty));
}

/// Where the first and the second of the members above go on.
fn member_place(start: Start) -> u64 {
    if start == Start::Latest { 1 } else { 2 }
}

fn a_group_that_holds_keeps_the_producer_back_with_nobody_in_it<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let holds = JoinOptions::new().hold_when_empty(true);
    drop(home.member_with("workers", Start::Latest, &holds));
    send_all(&mut producer, 0..4);
    assert_eq!(producer.try_send(9), Err(TrySendError::Full), "nobody has read for the group");
    let mut member = home.member("workers", Start::Latest);
    assert_eq!(member.try_recv(), Ok(0));
    assert!(!producer.forget_group("workers", DEADLINE).unwrap(), "it has a member");
    drop(member);
    send_all(&mut producer, 4..5);
    assert_eq!(producer.try_send(9), Err(TrySendError::Full));
    assert!(producer.forget_group("workers", DEADLINE).unwrap());
    assert!(!producer.forget_group("workers", DEADLINE).unwrap(), "there is none any more");
    send_all(&mut producer, 5..20);
}

fn a_closed_ring_takes_no_more<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let mut consumer = home.consumer(Start::Latest);
    send_all(&mut producer, 0..2);
    producer.close();
    let closed = SendError::Closed;
    assert_eq!(producer.send(9), Err(closed));
    assert_eq!(producer.try_send(9), Err(closed.into()));
    assert_eq!(producer.send_timeout(9, DEADLINE), Err(closed.into()));
    assert_eq!(producer.send_batch(&[9]), Err(closed));
    assert_eq!(producer.try_send_batch(&[9]), Err(closed.into()));
    assert_eq!(producer.reserve(1).unwrap_err(), closed);
    assert_eq!(producer.try_reserve(1).unwrap_err(), closed.into());
    assert_eq!(producer.try_reserve_up_to(9).unwrap_err(), closed.into());
    producer.close();
    producer.abort("too late: it is finished");
    assert!(producer.is_closed());
    assert_eq!(rest(&mut consumer), [0, 1]);
    assert_eq!(consumer.try_recv(), Err(TryRecvError::End(RecvError::Closed)));
    assert_eq!(consumer.ending(), Ending::Finished);
}

fn an_aborted_ring_says_so_and_why<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let (mut consumer, mut tap) = (home.consumer(Start::Latest), home.tap(Start::Latest));
    let mut member = home.member("workers", Start::Latest);
    assert_eq!(consumer.ending(), Ending::Open);
    send_all(&mut producer, 0..2);
    producer.abort("the disk is full");
    assert_eq!(producer.send(9), Err(SendError::Closed));
    assert_eq!(rest(&mut consumer), [0, 1], "what was sent is there");
    assert_eq!(consumer.try_recv(), Err(TryRecvError::End(RecvError::Aborted)));
    assert_eq!(rest(&mut member), [0, 1]);
    assert_eq!(member.recv(), Err(RecvError::Aborted));
    assert_eq!((tap.recv(), tap.recv()), (Ok(0), Ok(1)));
    assert_eq!(tap.recv(), Err(RecvError::Aborted));
    let reason = "the disk is full".to_owned();
    assert_eq!(consumer.ending(), Ending::Aborted { reason: reason.clone() });
    assert_eq!(tap.ending(), Ending::Aborted { reason });
}

fn a_panic_aborts<H: Home>(first: u64) {
    let (home, producer) = H::with_producer(4, first);
    let mut consumer = home.consumer(Start::Latest);
    let panicked = std::thread::spawn(move || {
        let mut producer = producer;
        producer.send(1).unwrap();
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    panicked.join().unwrap_err();
    assert_eq!(rest(&mut consumer), [1]);
    assert_eq!(consumer.recv(), Err(RecvError::Aborted));
}

fn a_batch_is_released_in_part_or_given_back<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let mut consumer = home.consumer(Start::Latest);
    send_all(&mut producer, 0..4);
    consumer.try_recv_batch(4).unwrap().give_back();
    let mut batch = consumer.try_recv_batch(3).unwrap();
    assert_eq!(producer.try_send(9), Err(TrySendError::Full), "given back unread");
    batch.release_first(2);
    assert_eq!((batch.len(), batch.first().get()), (1, first.wrapping_add(2)));
    assert_eq!((&batch).into_iter().copied().collect::<Vec<_>>(), [2]);
    send_all(&mut producer, 4..6);
    assert_eq!(producer.try_send(9), Err(TrySendError::Full), "two places, no more");
    assert_eq!(batch.iter().copied().collect::<Vec<_>>(), [2], "and it is still there");
    batch.release_first(1);
    assert!(batch.is_empty());
    batch.give_back();
    assert_eq!(rest(&mut consumer), [3, 4, 5]);

    let mut member = home.member("workers", Start::Latest);
    send_all(&mut producer, 6..10);
    let mut batch = member.try_recv_batch(4).unwrap();
    assert_eq!(rest(&mut consumer), [6, 7, 8, 9]);
    batch.release_first(3);
    send_all(&mut producer, 10..13);
    assert_eq!(producer.try_send(13), Err(TrySendError::Full), "one is in hand");
    drop(batch);
    send_all(&mut producer, 13..14);
    assert_eq!(rest(&mut member), [10, 11, 12, 13]);
}

fn an_evicted_member_writes_nothing_into_its_successors_slot<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let mut evicted = home.consumer(Start::Latest);
    send_all(&mut producer, 0..4);
    let batch = evicted.try_recv_batch(4).unwrap();
    let listed = producer.consumers();
    // SAFETY: what the consumer has borrowed is not read any more.
    assert!(unsafe { producer.evict(&listed[0]) });
    let mut successor = home.consumer(Start::Oldest);
    assert_eq!(successor.first_sequence().get(), first);
    drop(batch);
    assert_eq!(producer.try_send(9), Err(TrySendError::Full), "the successor has read nothing");
    assert_eq!(rest(&mut successor), [0, 1, 2, 3]);
    assert_eq!(evicted.try_recv(), Err(TryRecvError::End(RecvError::Evicted)));

    // A consumer of another ring, in the same slot, with the same ticket.
    let (_other, mut stranger) = H::with_producer(4, first);
    // SAFETY: there is no such consumer.
    assert!(!unsafe { stranger.evict(&listed[0]) });
    let listed = producer.consumers();
    // SAFETY: the consumer is of another ring, and not evicted.
    assert!(!unsafe { stranger.evict(&listed[0]) });
}

/// One message more than there is room for costs a tap the oldest message, and at most the message
/// that is about to be overwritten.
fn a_tap_loses_only_what_is_gone<H: Home>(first: u64) {
    for capacity in [8, 1024] {
        let (home, mut producer) = H::with_producer(capacity, first);
        let mut taps = [home.tap(Start::Latest), home.tap(Start::Latest)];
        send_all(&mut producer, 0..capacity + 1);
        let found = taps[0].try_recv().unwrap();
        assert!(found == 1 || found == 2, "at most the next message goes where 1 was: {found}");
        producer.close();
        assert_eq!(taps[1].try_recv(), Ok(1), "nothing goes there any more");
        for mut tap in taps {
            while tap.try_recv().is_ok() {}
            assert_eq!(tap.received() + tap.lost(), capacity + 1);
        }
        let mut late = home.tap(Start::Oldest);
        assert_eq!(late.try_recv(), Ok(1));
    }
}

fn an_oldest_consumer_gets_all_of_the_first_lap<H: Home>(first: u64) {
    for capacity in [1, 8, 1024] {
        let (home, mut producer) = H::with_producer(capacity, first);
        send_all(&mut producer, 0..capacity);
        let mut consumer = home.consumer(Start::Oldest);
        assert!(rest(&mut consumer).into_iter().eq(0..capacity));
    }
}

/// While no consumer is registered, the creator's choice decides what becomes of messages.
fn an_unattended_ring_waits_or_refuses_if_it_was_told_to<H: Home>(first: u64) {
    let refuse = QueueOptions::new(4).first(first).when_nobody_listens(Unattended::Refuse);
    let (home, mut producer) = H::with_options(&refuse);
    assert!(producer.is_abandoned());
    assert_eq!(producer.send(0), Err(SendError::Abandoned));
    assert_eq!(producer.try_send_batch(&[0, 1]), Err(SendError::Abandoned.into()));
    let mut consumer = home.consumer(Start::Latest);
    assert!(!producer.is_abandoned());
    send_all(&mut producer, 0..3);
    assert_eq!(rest(&mut consumer), [0, 1, 2]);
    drop(consumer);
    assert_eq!(producer.try_send(3), Err(SendError::Abandoned.into()), "told at once");

    let wait = QueueOptions::new(4).first(first).when_nobody_listens(Unattended::Wait);
    let (home, mut producer) = H::with_options(&wait);
    assert_eq!(producer.try_send(0), Err(TrySendError::Full));
    assert_eq!(producer.try_send_batch(&[0, 1]), Err(TrySendError::Full));
    assert_eq!(producer.send_timeout(0, MOMENT), Err(SendTimeoutError::TimedOut(MOMENT)));
    let mut member = home.member("workers", Start::Latest);
    send_all(&mut producer, 0..4);
    assert_eq!(rest(&mut member), [0, 1, 2, 3]);
}

fn a_newcomer_takes_nothing_from_its_group<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(2, first);
    send_all(&mut producer, 0..3);
    let mut one = home.member("workers", Start::Oldest);
    assert_eq!(one.first_sequence().get(), first.wrapping_add(1));
    // Full. But the producer reserved places before it knew.
    assert_eq!(producer.try_send(9), Err(TrySendError::Full));
    let mut other = home.member("workers", Start::Latest);
    assert_eq!(other.try_recv(), Ok(1), "what the group was promised");
    assert_eq!(one.try_recv(), Ok(2));
    assert_eq!(other.try_recv(), Err(TryRecvError::Empty));
}

fn groups_are_independent<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let mut left = home.member("left", Start::Latest);
    let mut right = home.member("right", Start::Latest);
    send_all(&mut producer, 0..4);
    assert!(left.try_recv_batch(9).unwrap().iter().copied().eq(0..4));
    assert_eq!(
        producer.try_send(9),
        Err(TrySendError::Full),
        "the other group has them all before it"
    );
    assert!(right.try_recv_batch(9).unwrap().iter().copied().eq(0..4));
    send_all(&mut producer, 4..8);
    let kinds: Vec<_> = producer.consumers().into_iter().map(|info| info.kind).collect();
    let member = |group: &str| ConsumerKind::Member { group: group.to_owned() };
    assert_eq!(kinds, [member("left"), member("right")]);
    for name in ["", "a\0b", &"x".repeat(33)] {
        assert!(matches!(home.try_member(name, Start::Latest), Err(JoinError::GroupName { .. })));
    }
}

fn a_tap_accounts_for_every_message<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(8, first);
    let mut tap = home.tap(Start::Latest);
    assert_eq!(tap.try_recv(), Err(TryRecvError::Empty));
    let mut sent = 0;
    let mut last = None;
    for burst in [1, 7, 8, 9, 3, 40, 0, 16, 8] {
        send_all(&mut producer, sent..sent + burst);
        sent += burst;
        let mut messages = [0; 3];
        while let Ok(received) = tap.try_recv_into(&mut messages) {
            for &message in &messages[..received] {
                assert!(last < Some(message) && message < sent, "{message} after {last:?}");
                last = Some(message);
            }
        }
        assert_eq!(tap.received() + tap.lost(), sent);
        assert_eq!(tap.lag(), 0);
        if burst > 0 {
            assert_eq!(last, Some(sent - 1), "the newest is there to be copied");
        }
    }
    assert!(tap.lost() > 0 && tap.received() > 0);
    assert_eq!(tap.try_recv_into(&mut []), Err(TryRecvError::Empty));
    producer.close();
    assert_eq!(tap.try_recv(), Err(TryRecvError::End(RecvError::Closed)));
    let mut late = home.tap(Start::Oldest);
    assert_eq!(late.try_recv(), Ok(sent - 8), "all that the ring has room for");
}

fn every_kind_at_once<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let mut consumer = home.consumer(Start::Latest);
    let mut one = home.member("workers", Start::Latest);
    let mut other = home.member("workers", Start::Latest);
    let mut tap = home.tap(Start::Latest);
    for message in (0..40).step_by(2) {
        send_all(&mut producer, [message, message + 1]);
        assert_eq!(one.try_recv(), Ok(message));
        assert_eq!(other.try_recv(), Ok(message + 1));
        assert!(consumer.try_recv_batch(2).unwrap().iter().copied().eq([message, message + 1]));
        assert_eq!(tap.try_recv(), Ok(message));
        assert_eq!(tap.try_recv(), Ok(message + 1));
    }
    assert_eq!((tap.received(), tap.lost()), (40, 0));
    assert_eq!(producer.consumers().len(), 3, "a tap is registered nowhere");
    producer.drain(MOMENT).unwrap();
}

fn the_end_comes_after_everything<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let mut consumer = home.consumer(Start::Latest);
    let mut member = home.member("workers", Start::Latest);
    send_all(&mut producer, 0..2);
    producer.close();
    for message in 0..2 {
        assert_eq!(consumer.recv(), Ok(message));
        assert_eq!(member.recv(), Ok(message));
    }
    for _ in 0..2 {
        assert_eq!(consumer.recv(), Err(RecvError::Closed));
        assert_eq!(member.recv(), Err(RecvError::Closed));
        assert!(matches!(consumer.try_recv(), Err(TryRecvError::End(RecvError::Closed))));
    }
    let mut late = home.consumer(Start::Oldest);
    assert_eq!(late.recv(), Ok(0), "what is there can still be read");
}

fn dropping_the_producer_closes<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let mut consumer = home.consumer(Start::Latest);
    let mut tap = home.tap(Start::Latest);
    producer.send(7).unwrap();
    drop(producer);
    assert_eq!(consumer.recv(), Ok(7));
    assert_eq!(consumer.recv(), Err(RecvError::Closed));
    assert_eq!(tap.recv(), Ok(7));
    assert_eq!(tap.recv(), Err(RecvError::Closed));
}

fn one_more_consumer_than_there_are_slots_is_refused<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(2, first);
    let mut consumers: Vec<_> = (0..SLOTS).map(|_| home.consumer(Start::Latest)).collect();
    assert!(matches!(home.try_consumer(Start::Latest), Err(JoinError::TooManyConsumers { .. })));
    assert!(matches!(home.try_member("g", Start::Latest), Err(JoinError::TooManyConsumers { .. })));
    assert_eq!(producer.consumers().len(), SLOTS);
    send_all(&mut producer, [5, 6]);
    let mut tap = home.tap(Start::Oldest);
    assert_eq!(tap.try_recv(), Ok(5), "a tap needs no slot");
    for consumer in &mut consumers {
        assert_eq!(producer.try_send(9), Err(TrySendError::Full), "all of them gate");
        assert_eq!(consumer.try_recv(), Ok(5));
    }
    send_all(&mut producer, [7]);
    consumers.swap_remove(20);
    let late = home.consumer(Start::Latest);
    assert_eq!(late.slot(), 20);
    consumers.clear();
    let members: Vec<_> = (1..SLOTS).map(|i| home.member(&i.to_string(), Start::Latest)).collect();
    assert!(matches!(home.try_member("g", Start::Latest), Err(JoinError::TooManyConsumers { .. })));
    assert_eq!(members.len(), SLOTS - 1, "each in a group of its own");
}

/// Frees the slot of a consumer that has borrowed no message.
fn evict(producer: &mut Producer<u64>, consumer: &ConsumerInfo) -> bool {
    // SAFETY: see above.
    unsafe { producer.evict(consumer) }
}

fn an_evicted_consumer_gates_nobody_and_learns_of_it<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let mut consumer = home.consumer(Start::Latest);
    let mut member = home.member("workers", Start::Latest);
    send_all(&mut producer, 0..4);
    assert_eq!(producer.try_send(9), Err(TrySendError::Full));
    let listed = producer.consumers();
    assert!(evict(&mut producer, &listed[consumer.slot()]));
    assert!(!evict(&mut producer, &listed[consumer.slot()]), "there is nobody any more");
    assert_eq!(producer.try_send(9), Err(TrySendError::Full), "the group has them all before it");
    assert!(evict(&mut producer, &listed[member.slot()]));
    send_all(&mut producer, 4..9);
    let evicted = TryRecvError::End(RecvError::Evicted);
    assert_eq!(consumer.try_recv(), Err(evicted), "not a message that was overwritten");
    assert_eq!(member.try_recv(), Err(evicted), "not a message that was overwritten");
    assert_eq!(consumer.recv(), Err(RecvError::Evicted));
    let mut successor = home.consumer(Start::Latest);
    assert_ne!(successor.slot(), consumer.slot(), "the evicted consumer is alive");
    let (slot, other) = (consumer.slot(), member.slot());
    drop(consumer);
    drop(member);
    let heir = home.consumer(Start::Latest);
    assert!([slot, other].contains(&heir.slot()), "an evicted consumer that leaves frees its slot");
    assert!(
        !evict(&mut producer, &listed[heir.slot()]),
        "its slot was another's when it was listed"
    );
    drop(heir);
    assert_eq!(producer.consumers().len(), 1, "evicting one consumer leaves the others registered");
    send_all(&mut producer, 9..10);
    assert_eq!(successor.try_recv(), Ok(9));
}

fn an_evicted_member_leaves_its_successor_alone<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(2, first);
    let mut member = home.member("workers", Start::Latest);
    let listed = producer.consumers();
    assert!(evict(&mut producer, &listed[member.slot()]));
    let mut successor = home.consumer(Start::Latest);
    assert_ne!(successor.slot(), member.slot(), "its last consumer is alive");
    assert_eq!(member.try_recv(), Err(TryRecvError::End(RecvError::Evicted)));
    send_all(&mut producer, 0..2);
    assert_eq!(producer.try_send(9), Err(TrySendError::Full));
    assert_eq!(successor.try_recv(), Ok(0));
    send_all(&mut producer, 2..3);
}

fn a_batch_says_at_its_end_whether_it_can_be_trusted<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(4, first);
    let mut consumer = home.consumer(Start::Latest);
    let mut member = home.member("workers", Start::Latest);
    send_all(&mut producer, 0..4);
    assert_eq!(consumer.try_recv_batch(1).unwrap().finish(), Ok(()));
    assert_eq!(member.try_recv_batch(1).unwrap().finish(), Ok(()));
    assert_eq!(consumer.try_recv(), Ok(1), "it was released");

    let (batch, claim) = (consumer.try_recv_batch(2).unwrap(), member.try_recv_batch(2).unwrap());
    for listed in producer.consumers() {
        assert!(evict(&mut producer, &listed));
    }
    assert_eq!((batch.finish(), claim.finish()), (Err(Evicted), Err(Evicted)));
    assert!(!member.redelivered(), "nobody has died");
}

fn waiting_ends_at_its_deadline<H: Home>(first: u64) {
    let (home, mut producer) = H::with_producer(2, first);
    let mut consumer = home.consumer(Start::Latest);
    let mut tap = home.tap(Start::Latest);
    assert_eq!(consumer.recv_timeout(MOMENT), Err(RecvTimeoutError::TimedOut(MOMENT)));
    assert_eq!(tap.recv_timeout(MOMENT), Err(RecvTimeoutError::TimedOut(MOMENT)));
    assert!(consumer.recv_batch_timeout(2, MOMENT).is_err());
    send_all(&mut producer, 0..2);
    assert!(producer.send_timeout(9, MOMENT).is_err());
    assert!(producer.drain(MOMENT).is_err());
    assert!(producer.wait_for_consumers(2, MOMENT).is_err());
    producer.wait_for_consumers(1, MOMENT).unwrap();
    assert_eq!(consumer.recv_timeout(DEADLINE), Ok(0));
    assert_eq!(tap.recv_timeout(DEADLINE), Ok(0));
    producer.send_timeout(2, DEADLINE).unwrap();
    assert_eq!(consumer.recv_batch_timeout(9, DEADLINE).unwrap().iter().next(), Some(&1));
    assert_eq!(rest(&mut consumer), [2]);
}

fn threads_share_a_ring<H: Home>(first: u64) {
    const MANY: u64 = 20_000;
    let (home, mut producer) = H::with_producer(16, first);
    let consumers: Vec<_> = (0..2).map(|_| home.consumer(Start::Latest)).collect();
    let members: Vec<_> = (0..2).map(|_| home.member("workers", Start::Latest)).collect();
    let mut tap = home.tap(Start::Latest);
    thread::scope(|scope| {
        scope.spawn(|| {
            for message in (0..MANY).step_by(4) {
                producer.send(message).unwrap();
                producer.send_batch(&[message + 1, message + 2, message + 3]).unwrap();
            }
            producer.close();
        });
        for mut consumer in consumers {
            scope.spawn(move || {
                for message in 0..MANY {
                    assert_eq!(consumer.recv(), Ok(message));
                }
                assert_eq!(consumer.recv(), Err(RecvError::Closed));
            });
        }
        let shares = members.into_iter().map(|mut member| {
            scope.spawn(move || {
                let mut share = Vec::new();
                while let Ok(batch) = member.recv_batch(3) {
                    share.extend(batch.iter().copied());
                }
                assert!(share.is_sorted(), "each member sees its messages in order");
                share
            })
        });
        let shares: Vec<_> = shares.collect();
        let mut last = None;
        while let Ok(message) = tap.recv() {
            assert!(last < Some(message), "{message} after {last:?}");
            last = Some(message);
        }
        assert_eq!(tap.received() + tap.lost(), MANY);
        let mut all: Vec<u64> =
            shares.into_iter().flat_map(|share| share.join().unwrap()).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..MANY), "each message went to one member");
    });
}
