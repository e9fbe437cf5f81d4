//! What bus asks.

use bytemuck::Pod;
use fanout::error::{TryRecvError, TrySendError};
use fanout::{Consumer, Member, Producer, Tap};
use testing::mix;

use crate::help::{CLOSED, Name, consumer, member, pair, rest, ring, tap, until};

/// bus: what is broadcast once, every receiver gets.
#[test]
fn every_receiver_gets_it() {
    let (name, mut producer, mut first) = pair::<u8>(16);
    let mut second = consumer::<u8>(&name);
    assert_eq!(producer.try_send(7), Ok(()));
    assert_eq!(first.try_recv(), Ok(7));
    assert_eq!(second.try_recv(), Ok(7));
}

/// bus: one place, one message; the second is turned away.
#[test]
fn it_fails_when_full() {
    let (_name, mut producer, _consumer) = pair::<u8>(1);
    assert_eq!(producer.try_send(1), Ok(()));
    assert_eq!(producer.try_send(2), Err(TrySendError::Full));
}

/// bus: the one place is free again once it was read.
#[test]
fn it_succeeds_when_read() {
    let (_name, mut producer, mut consumer) = pair::<u8>(1);
    for n in 0..10 {
        assert_eq!(producer.try_send(n), Ok(()));
        assert_eq!(producer.try_send(99), Err(TrySendError::Full));
        assert_eq!(consumer.try_recv(), Ok(n));
    }
}

/// bus: a receiver of nothing is told so, as often as it asks.
#[test]
fn it_fails_when_empty() {
    let (_name, _producer, mut consumer) = pair::<u8>(16);
    for _ in 0..3 {
        assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    }
}

/// bus: a full ring can be read.
#[test]
fn it_reads_when_full() {
    let (_name, mut producer, mut consumer) = pair::<u8>(1);
    assert_eq!(producer.try_send(1), Ok(()));
    assert_eq!(producer.try_send(2), Err(TrySendError::Full));
    assert_eq!(consumer.try_recv(), Ok(1));
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
}

/// bus: a loop over a receiver sees all messages in order, and ends with the sender.
#[test]
fn it_iterates_to_the_end() {
    let (_name, mut producer, mut consumer) = pair::<u32>(2);
    std::thread::scope(|scope| {
        scope.spawn(move || (0..1000).for_each(|n| producer.send(n).unwrap()));
        let all: Vec<_> = std::iter::from_fn(|| consumer.recv().ok()).collect();
        assert!(all.into_iter().eq(0..1000));
    });
    assert_eq!(consumer.try_recv(), Err(CLOSED));
}

/// bus: the same, again and again, since what goes wrong at the end goes wrong seldom.
#[test]
fn it_iterates_again_and_again() {
    for _ in 0..150 {
        let (_name, mut producer, mut consumer) = pair::<u32>(2);
        std::thread::scope(|scope| {
            scope.spawn(move || (0..50).for_each(|n| producer.send(n).unwrap()));
            assert!(rest(&mut consumer).into_iter().eq(0..50));
        });
    }
}

/// bus: to be empty is one thing, to have ended another.
#[test]
fn it_tells_empty_from_closed() {
    let (_name, mut producer, mut consumer) = pair::<u8>(1);
    assert_eq!(producer.try_send(1), Ok(()));
    assert_eq!(consumer.try_recv(), Ok(1));
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    drop(producer);
    assert_eq!(consumer.try_recv(), Err(CLOSED));
    assert_eq!(consumer.try_recv(), Err(CLOSED));
}

/// bus: what was sent before the sender left is received after.
#[test]
fn it_receives_after_close() {
    let (_name, mut producer, mut consumer) = pair::<u8>(1);
    assert_eq!(producer.try_send(1), Ok(()));
    drop(producer);
    assert_eq!(consumer.try_recv(), Ok(1));
    assert_eq!(consumer.try_recv(), Err(CLOSED));
}

/// bus: a receiver that leaves with messages unread holds nobody back.
#[test]
fn it_handles_leaves() {
    let (name, mut producer, mut stays) = pair::<u8>(1);
    let leaves = consumer::<u8>(&name);
    assert_eq!(producer.try_send(1), Ok(()));
    drop(leaves);
    assert_eq!(stays.try_recv(), Ok(1));
    assert_eq!(producer.try_send(2), Ok(()));
    assert_eq!(stays.try_recv(), Ok(2));
}

/// bus: a sender that waits for a receiver goes on when that one leaves.
#[test]
fn it_runs_blocked_writes() {
    let (_name, mut producer, consumer) = pair::<u8>(1);
    producer.send(1).unwrap();
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            producer.send(2).unwrap();
            producer.next_sequence().get()
        });
        drop(consumer);
        assert_eq!(sender.join().unwrap(), 2);
    });
}

/// bus: a receiver that waits goes on when there is a message.
#[test]
fn it_runs_blocked_reads() {
    let (_name, mut producer, mut consumer) = pair::<u8>(1);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || consumer.recv());
        producer.send(1).unwrap();
        assert_eq!(receiver.join().unwrap(), Ok(1));
    });
}

/// bus: ten thousand messages through two places, none lost, none twice.
#[test]
fn it_counts_to_ten_thousand() {
    let (_name, mut producer, mut consumer) = pair::<u64>(2);
    std::thread::scope(|scope| {
        scope.spawn(move || (0..10_000).for_each(|n| producer.send(mix(n)).unwrap()));
        (0..10_000).for_each(|n| assert_eq!(consumer.recv(), Ok(mix(n))));
    });
    assert_eq!(consumer.try_recv(), Err(CLOSED));
}

/// bus: receivers that leave one after the other, while a sender tries and never waits.
#[test]
fn it_stays_in_order_while_receivers_leave() {
    let (name, mut producer, first) = pair::<u32>(1);
    let second = consumer::<u32>(&name);
    let take = |mut consumer: Consumer<u32>, n| {
        move || (0..n).for_each(|expected| assert_eq!(consumer.recv(), Ok(expected)))
    };
    std::thread::scope(|scope| {
        let short = scope.spawn(take(first, 5));
        let long = scope.spawn(take(second, 10));
        let mut sent = 0;
        until(|| {
            sent += u32::from(producer.try_send(sent).is_ok());
            sent >= 25
        });
        short.join().unwrap();
        long.join().unwrap();
    });
    assert!(producer.is_abandoned());
}

fn shown<T: Pod>(message: T) -> [String; 6] {
    let (name, mut producer): (Name, Producer<T>) = ring(4);
    let mut consumer: Consumer<T> = consumer(&name);
    let group: Member<T> = member(&name, "group");
    let tap: Tap<T> = tap(&name);
    let reservation = format!("{:?}", producer.try_reserve(1).unwrap());
    producer.send(message).unwrap();
    let batch = format!("{:?}", consumer.try_recv_batch(1).unwrap());
    let (producer, consumer) = (format!("{producer:?}"), format!("{consumer:?}"));
    let [group, tap] = [format!("{group:?}"), format!("{tap:?}")];
    assert!(group.starts_with("Receiver") && tap.starts_with("Tap"), "{group} {tap}");
    [producer, consumer, group, tap, reservation, batch]
}

/// bus: its ends can be shown, also where a message cannot: nothing here asks for `T: Debug`.
#[test]
fn ends_show_themselves_without_their_messages() {
    let secret = 0x5ec2_e7ab_u32;
    for text in shown(secret) {
        assert!(!text.is_empty() && !text.contains(&secret.to_string()), "{text}");
    }
    let [producer, consumer, _, _, reservation, batch] = shown([1u8; 3]);
    assert!(producer.starts_with("Producer"), "{producer}");
    assert!(consumer.starts_with("Receiver"), "{consumer}");
    assert!(reservation.starts_with("Reservation"), "{reservation}");
    assert!(batch.starts_with("Batch"), "{batch}");
}
