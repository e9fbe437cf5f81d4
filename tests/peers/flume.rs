//! What flume asks: iterators, draining, timeouts, and many channels between many threads.

use std::time::Duration;

use fanout::error::{RecvError, RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError};
use fanout::pollable::Pollable;
use fanout::{Consumer, Start};
use testing::{mix, until_ready};

use crate::help::{CLOSED, LONG, Name, SHORT, SHUT, member, now, pair, rest, until, written};

/// flume: a thousand in, the same thousand out, then nothing.
#[test]
fn send_and_receive() {
    let (_name, mut producer, mut consumer) = pair::<u32>(1024);
    (0..1000).for_each(|n| producer.send(n).unwrap());
    (0..1000).for_each(|n| assert_eq!(consumer.try_recv(), Ok(n)));
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
}

/// flume: an iterator over a channel whose sender is gone has all that was sent.
#[test]
fn an_iterator_over_what_is_left() {
    let (_name, mut producer, mut consumer) = pair::<u32>(1024);
    (0..1000).for_each(|n| producer.send(n).unwrap());
    drop(producer);
    assert_eq!(rest(&mut consumer).into_iter().sum::<u32>(), (0..1000).sum());
}

/// flume: draining takes what is there, at once, and leaves room for as much again.
#[test]
fn draining_makes_room() {
    let (_name, mut producer, mut consumer) = pair::<u32>(128);
    for lap in 0..10 {
        let all: Vec<_> = (lap..lap + 128).collect();
        assert_eq!(producer.try_send_batch(&all), Ok(128));
        assert_eq!(producer.try_send(0), Err(TrySendError::Full));
        let drained = consumer.try_recv_batch(usize::MAX).unwrap();
        assert!(drained.iter().eq(&all));
        drop(drained);
        assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    }
}

/// flume: a send that timed out sends nothing, and the next one goes through when there is room.
#[test]
fn a_send_that_timed_out_sends_nothing() {
    let (_name, mut producer, mut consumer) = pair::<u32>(1);
    assert_eq!(producer.send_timeout(42, SHORT), Ok(()));
    assert_eq!(producer.send_timeout(43, SHORT), Err(SendTimeoutError::TimedOut(SHORT)));
    let late = producer.reserve_timeout(1, SHORT).unwrap_err();
    assert_eq!(late, SendTimeoutError::TimedOut(SHORT));
    assert_eq!(now(&mut consumer), [42]);
    assert_eq!(producer.send_timeout(44, SHORT), Ok(()));
    assert_eq!(now(&mut consumer), [44]);
}

/// flume: a receive that timed out has missed nothing.
#[test]
fn a_receive_that_timed_out_misses_nothing() {
    let (name, mut producer, mut consumer) = pair::<u32>(16);
    let mut member = member::<u32>(&name, "group");
    let late = Err(RecvTimeoutError::TimedOut(SHORT));
    assert_eq!((consumer.recv_timeout(SHORT), member.recv_timeout(SHORT)), (late, late));
    producer.send(42).unwrap();
    assert_eq!((consumer.recv(), member.recv()), (Ok(42), Ok(42)));
}

/// flume: a timeout longer than any clock can tell is none.
#[test]
fn a_timeout_of_all_time() {
    let (name, mut producer, mut consumer) = pair::<u32>(1);
    let mut tap = crate::help::tap::<u32>(&name);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            (consumer.recv_timeout(Duration::MAX), consumer.recv_timeout(Duration::MAX))
        });
        producer.send_timeout(1, Duration::MAX).unwrap();
        producer.send_timeout(2, Duration::MAX).unwrap();
        assert_eq!(receiver.join().unwrap(), (Ok(1), Ok(2)));
    });
    assert!(tap.recv_timeout(Duration::MAX).is_ok());
    producer.wait_for_consumers(0, Duration::MAX).unwrap();
    producer.drain(Duration::MAX).unwrap();
}

/// flume: a receiver learns that its sender is gone.
#[test]
fn the_sender_is_gone() {
    let (_name, producer, mut consumer) = pair::<u32>(16);
    drop(producer);
    assert_eq!(consumer.recv(), Err(RecvError::Closed));
    assert_eq!(consumer.recv_timeout(LONG), Err(RecvTimeoutError::End(RecvError::Closed)));
}

/// flume: a sender that has closed its channel sends nothing more, whatever it calls.
#[test]
fn nothing_is_sent_after_the_end() {
    let (_name, mut producer, mut consumer) = pair::<u32>(16);
    producer.send(1).unwrap();
    producer.close();
    assert!(producer.is_closed());
    assert_eq!(producer.try_send(2), Err(SHUT));
    assert_eq!(producer.try_send_batch(&[2]), Err(SHUT));
    assert_eq!(producer.try_reserve(1).unwrap_err(), SHUT);
    assert_eq!(producer.try_reserve_up_to(1).unwrap_err(), SHUT);
    assert!(producer.send(2).is_err() && producer.send_batch(&[2]).is_err());
    assert!(producer.reserve(1).is_err() && producer.reserve_timeout(1, LONG).is_err());
    producer.close();
    assert_eq!(rest(&mut consumer), [1]);
}

/// flume: the same for messages of any size.
#[test]
fn no_record_is_sent_after_the_end() {
    let (_name, mut writer, mut reader) = written(4096);
    writer.send(b"one").unwrap();
    writer.close();
    assert_eq!(writer.try_send(b"two"), Err(SHUT));
    assert_eq!(writer.try_reserve(3).unwrap_err(), SHUT);
    assert_eq!(writer.try_batch(64).unwrap_err(), SHUT);
    assert_eq!(writer.try_batch_up_to(64).unwrap_err(), SHUT);
    assert!(
        writer.send(b"two").is_err() && writer.reserve(3).is_err() && writer.batch(64).is_err()
    );
    assert!(writer.send_timeout(b"two", LONG).is_err() && writer.send_vectored(&[]).is_err());
    assert_eq!((writer.sent(), writer.is_closed()), (1, true));
    assert_eq!(&*reader.recv().unwrap(), b"one");
    assert_eq!(reader.recv().unwrap_err(), RecvError::Closed);
}

/// flume: five places, a sixth is refused; one is read, and it is not.
#[test]
fn bounds_are_kept_while_reading() {
    let (_name, mut producer, mut consumer) = pair::<u32>(8);
    (0..8).for_each(|n| assert_eq!(producer.try_send(n), Ok(())));
    for n in 8..100 {
        assert_eq!(producer.try_send(42), Err(TrySendError::Full));
        assert_eq!(consumer.recv(), Ok(n - 8));
        assert_eq!(producer.try_send(n), Ok(()));
    }
}

/// flume, hydra: eight threads each hand on from a channel of their own, and nothing is lost on the way.
#[test]
fn hydra() {
    const COUNT: u64 = 400;
    let heads: Vec<_> = (0..8).map(|_| (pair::<u64>(4), pair::<u64>(2))).collect();
    std::thread::scope(|scope| {
        let mut names = Vec::new();
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for ((one, to, mut from), (two, mut onward, back)) in heads {
            names.push((one, two));
            scope.spawn(move || {
                while let Ok(n) = from.recv() {
                    onward.send(mix(n)).unwrap();
                }
            });
            inputs.push(to);
            outputs.push(back);
        }
        let sender = scope.spawn(move || {
            for n in 0..COUNT {
                inputs.iter_mut().for_each(|input| input.send(n).unwrap());
            }
        });
        for n in 0..COUNT {
            outputs.iter_mut().for_each(|output| assert_eq!(output.recv(), Ok(mix(n))));
        }
        sender.join().unwrap();
        outputs.iter_mut().for_each(|output| assert_eq!(output.recv(), Err(RecvError::Closed)));
    });
}

/// flume, robin: a chain of ten threads, one place between each two; the end goes through, too.
#[test]
fn robin() {
    let (_name, mut first, mut last) = pair::<u64>(1);
    let mut names = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..10 {
            let (name, mut onward, next) = pair::<u64>(1);
            names.push(name);
            let mut from = std::mem::replace(&mut last, next);
            scope.spawn(move || {
                while let Ok(n) = from.recv() {
                    onward.send(n + 1).unwrap();
                }
            });
        }
        let sender = scope.spawn(move || (0..100).for_each(|n| first.send(n).unwrap()));
        (0..100).for_each(|n| assert_eq!(last.recv(), Ok(n + 10)));
        sender.join().unwrap();
        assert_eq!(last.recv(), Err(RecvError::Closed));
    });
}

/// flume, select: whatever end is selected, a message and the end of all are found.
#[test]
fn a_selection_over_records() {
    let (_name, mut writer, reader) = written(4096);
    let mut reader = Pollable::bridged(reader).unwrap();
    assert_eq!(reader.try_recv().unwrap_err(), TryRecvError::Empty);
    writer.send(b"one").unwrap();
    writer.send(b"two").unwrap();
    until_ready(&reader);
    let batch = reader.try_recv_batch(4096).unwrap();
    assert!(batch.iter().eq([b"one", b"two"]));
    drop(batch);
    assert_eq!(reader.try_recv().unwrap_err(), TryRecvError::Empty);
    drop(writer);
    until_ready(&reader);
    until(|| reader.try_recv().unwrap_err() == CLOSED);
}

/// flume: a message that was half looked at when a receiver was dropped holds nobody back.
#[test]
fn a_receiver_is_dropped_in_the_middle() {
    let (name, mut producer, mut stays) = pair::<u32>(4);
    for lap in 0..50 {
        let mut leaves = Consumer::<u32>::join(&*name, Start::Latest).unwrap();
        assert_eq!(leaves.first_sequence(), producer.next_sequence());
        producer.send_batch(&[lap; 4]).unwrap();
        let mut batch = leaves.recv_batch(4).unwrap();
        batch.release_first(1);
        batch.give_back();
        drop(leaves);
        assert_eq!(now(&mut stays), [lap; 4]);
    }
}

/// flume: many names at once: each ring is its own.
#[test]
fn many_rings_at_once() {
    let mut rings: Vec<(Name, _, _)> = (0..40).map(|_| pair::<u64>(2)).collect();
    for (n, (_, producer, _)) in (0..).zip(&mut rings) {
        producer.send(mix(n)).unwrap();
    }
    for (n, (_, producer, consumer)) in (0..).zip(&mut rings) {
        assert_eq!(now(consumer), [mix(n)]);
        producer.close();
        assert_eq!(consumer.try_recv(), Err(CLOSED));
    }
}
