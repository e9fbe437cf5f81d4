//! What kanal asks: that messages of every size and shape arrive as they were sent.

use bytemuck::Pod;
use fanout::error::{RecvError, TryRecvError};
use testing::mix;

use crate::help::{
    SHORT, bytes, now, number, opened, pair, rest, ring, sealed, tap, until, written,
};

/// Sends messages through a ring of four places to a consumer, a member and a tap.
fn arrives<T: Pod + PartialEq + std::fmt::Debug>(make: impl Fn(u64) -> T) {
    let (name, mut producer, mut consumer) = pair::<T>(4);
    let mut member = crate::help::member::<T>(&name, "group");
    let mut tap = tap::<T>(&name);
    for n in 0..64 {
        producer.send(make(mix(n))).unwrap();
        assert_eq!(consumer.recv(), Ok(make(mix(n))));
        assert_eq!(member.recv(), Ok(make(mix(n))));
        assert_eq!(tap.recv(), Ok(make(mix(n))));
    }
}

/// kanal: every number type arrives as it was sent.
#[test]
fn numbers_arrive() {
    arrives(|n| n as u8);
    arrives(|n| n as i8);
    arrives(|n| n as u16);
    arrives(|n| n as u32);
    arrives(|n| n);
    arrives(|n| n as i64);
    arrives(|n| n as usize);
    arrives(|n| u128::from(n) << 64 | u128::from(mix(n)));
    arrives(|n| (n >> 12) as f64);
}

/// kanal: messages of odd sizes arrive as they were sent.
#[test]
fn odd_sizes_arrive() {
    arrives(|n| [n as u8; 3]);
    arrives(|n| [n as u8, 1, 2, 3, 4, 5, 6, 7, (n >> 8) as u8]);
    arrives(|n| [n as u16; 5]);
    arrives(|n| [n as u32, (n >> 32) as u32, 7]);
}

/// kanal: messages larger than a page arrive as they were sent.
#[test]
fn large_messages_arrive() {
    arrives(|n| [n; 64]);
    arrives(|n| [n; 1024]);
    arrives(|n| [n as u32; 512]);
}

/// kanal: a single message is there as soon as it was sent.
#[test]
fn a_single_message() {
    let (_name, mut producer, mut consumer) = pair::<u64>(1);
    producer.send(10).unwrap();
    assert_eq!(consumer.recv(), Ok(10));
}

/// kanal: a message that waits in a channel whose sender is gone is received, and then no other.
#[test]
fn a_queue_that_is_half_closed() {
    let (_name, mut producer, mut consumer) = pair::<u64>(1);
    producer.send(1).unwrap();
    drop(producer);
    assert_eq!(consumer.recv(), Ok(1));
    assert_eq!(consumer.recv(), Err(RecvError::Closed));
}

/// kanal: a channel that was closed before anything was sent is at its end, for all who ask.
#[test]
fn a_queue_that_was_closed_empty() {
    let (name, mut producer, mut consumer) = pair::<u64>(1);
    producer.close();
    assert_eq!(consumer.recv(), Err(RecvError::Closed));
    assert_eq!(crate::help::consumer::<u64>(&name).recv(), Err(RecvError::Closed));
    assert_eq!(crate::help::member::<u64>(&name, "late").recv(), Err(RecvError::Closed));
    assert_eq!(tap::<u64>(&name).recv(), Err(RecvError::Closed));
}

/// kanal: draining into a slice takes what is there, as much as it has room for, and says how much.
#[test]
fn draining_into_a_slice() {
    let (name, mut producer) = ring::<u64>(8);
    let mut tap = tap::<u64>(&name);
    let mut into = [0; 5];
    assert_eq!(tap.try_recv_into(&mut into), Err(TryRecvError::Empty));
    producer.send_batch(&[1, 2, 3, 4, 5, 6, 7]).unwrap();
    assert_eq!(tap.try_recv_into(&mut into), Ok(5));
    assert_eq!(into, [1, 2, 3, 4, 5]);
    assert_eq!(tap.recv_into(&mut into), Ok(2));
    assert_eq!(into, [6, 7, 3, 4, 5]);
    assert_eq!(tap.recv_into(&mut []), Ok(0));
    assert_eq!(tap.try_recv_into(&mut []), Err(TryRecvError::Empty));
    assert!(tap.recv_into_timeout(&mut into, SHORT).is_err());
    drop(producer);
    assert_eq!(tap.recv_into(&mut into), Err(RecvError::Closed));
    assert_eq!((tap.received(), tap.lost()), (7, 0));
}

/// kanal: draining waits for the first message, and for no more than that.
#[test]
fn draining_waits_for_the_first_message_only() {
    let (_name, mut producer, mut consumer) = pair::<u64>(8);
    std::thread::scope(|scope| {
        let drain = scope.spawn(move || consumer.recv_batch(8).unwrap().iter().copied().collect());
        producer.send(1).unwrap();
        let all: Vec<u64> = drain.join().unwrap();
        assert_eq!(all, [1]);
    });
}

/// kanal: draining a channel at its end says so, and so does draining one that gave up.
#[test]
fn draining_at_the_end() {
    let (_name, mut producer, mut consumer) = pair::<u64>(8);
    producer.send(1).unwrap();
    producer.abort("no more");
    assert_eq!(consumer.recv_batch(8).unwrap().len(), 1);
    assert_eq!(consumer.recv_batch(8).unwrap_err(), RecvError::Aborted);
    assert_eq!(consumer.recv_batch_timeout(8, SHORT).unwrap_err(), RecvError::Aborted.into());
}

/// kanal: one thread sends and receives in turns, in a ring of every size.
#[test]
fn in_turns() {
    for capacity in [1, 2, 4, 8, 16] {
        let (_name, mut producer, mut consumer) = pair::<u64>(capacity);
        for n in 0..500 {
            producer.send(n).unwrap();
            assert_eq!(consumer.recv(), Ok(n));
        }
    }
}

/// kanal: one sends and one receives, in a ring of every size.
#[test]
fn between_threads_in_every_size() {
    for capacity in [1, 2, 4, 256] {
        let (_name, mut producer, mut consumer) = pair::<[u64; 4]>(capacity);
        std::thread::scope(|scope| {
            scope.spawn(move || (0..3000).for_each(|n| producer.send(sealed(n)).unwrap()));
            (0..3000).for_each(|n| assert_eq!(opened(consumer.recv().unwrap()), n));
            assert_eq!(consumer.recv(), Err(RecvError::Closed));
        });
    }
}

/// kanal: many members share one place, and the sum is right.
#[test]
fn many_members_share_one_place() {
    let (name, mut producer) = ring::<u64>(1);
    let members = [(); 5].map(|()| crate::help::member::<u64>(&name, "group"));
    std::thread::scope(|scope| {
        let sums = members.map(|mut member| {
            scope.spawn(move || std::iter::from_fn(|| member.recv().ok()).sum::<u64>())
        });
        (1..=2000).for_each(|n| producer.send(n).unwrap());
        drop(producer);
        let total: u64 = sums.map(|sum| sum.join().unwrap()).iter().sum();
        assert_eq!(total, 2000 * 2001 / 2);
    });
}

/// kanal: the receiver is late; the sender waits with one message in the ring and one in hand.
#[test]
fn a_late_receiver() {
    let (_name, mut producer, mut consumer) = pair::<u64>(1);
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || (1..4).try_for_each(|n| producer.send(n)));
        until(|| consumer.try_recv_batch(1).map(|batch| batch.give_back()).is_ok());
        assert_eq!(consumer.recv(), Ok(1));
        assert_eq!(rest(&mut consumer), [2, 3]);
        sender.join().unwrap().unwrap();
    });
}

/// kanal: the sender is late; a receiver that slept gets all the same.
#[test]
fn a_late_sender() {
    let (name, mut producer, consumer) = pair::<u64>(1);
    let mut consumer = consumer.waiting(fanout::Sleep::default());
    let mut tap = tap::<u64>(&name).waiting(fanout::Sleep::default());
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || (consumer.recv(), tap.recv()));
        producer.send(7).unwrap();
        assert_eq!(receiver.join().unwrap(), (Ok(7), Ok(7)));
    });
}

/// kanal: lists of many lengths are messages like others, and their reader owns them.
#[test]
fn lists_arrive() {
    let (_name, mut writer, mut reader) = written(4096);
    let mut into = vec![9; 99];
    for n in 0..500 {
        let len = 8 + (mix(n) % 3000) as usize;
        writer.send(&bytes(n, len)).unwrap();
        assert_eq!(reader.recv_into(&mut into), Ok(len));
        assert_eq!((number(&into), into.len()), (n, len));
    }
}

/// kanal: a whole list of messages is sent in one call, through one place.
#[test]
fn a_list_through_one_place() {
    let (_name, mut producer, mut consumer) = pair::<u64>(1);
    let all: Vec<_> = (0..500).map(mix).collect();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || rest(&mut consumer));
        producer.send_batch(&all).unwrap();
        drop(producer);
        assert_eq!(receiver.join().unwrap(), all);
    });
}

/// kanal: the oldest message that is kept is whole, whatever is written over the ones before.
#[test]
fn what_is_kept_is_whole() {
    let (name, mut producer) = ring::<[u64; 4]>(8);
    for n in 0..200 {
        producer.send(sealed(n)).unwrap();
        let mut late = crate::help::consumer::<[u64; 4]>(&name);
        let kept: Vec<_> = now(&mut late).into_iter().map(opened).collect();
        assert!(kept.iter().copied().eq(n + 1 - kept.len() as u64..=n), "{kept:?}");
        assert!(!kept.is_empty());
    }
}
