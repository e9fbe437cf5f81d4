//! What tokio's broadcast asks, of a tap where a receiver may lag, of a consumer where it may not.

use fanout::error::{CapacityError, CreateError, RecvError, SendError, TryRecvError, TrySendError};
use fanout::{Capacity, Consumer, Ending, Producer, QueueOptions, Start, Tap, Unattended};
use testing::mix;

use crate::help::{
    CLOSED, Name, consumer, now, opened, pair, rest, ring, sealed, tap, tapped, until,
};

/// tokio broadcast: two receivers that wait are both woken by one message.
#[test]
fn two_that_wait_are_woken_by_one_message() {
    let (name, mut producer, first) = pair::<u8>(16);
    let consumers = [first, consumer(&name)].map(|end| end.waiting(fanout::Sleep::default()));
    std::thread::scope(|scope| {
        let waiting = consumers.map(|mut end| scope.spawn(move || (end.recv(), end.recv())));
        producer.send(1).unwrap();
        producer.send(2).unwrap();
        for end in waiting {
            assert_eq!(end.join().unwrap(), (Ok(1), Ok(2)));
        }
    });
}

/// tokio broadcast: one receiver is slow, the other is not, and both see all in order.
#[test]
fn a_slow_receiver_sees_all() {
    let (name, mut producer, mut fast) = pair::<u8>(16);
    let mut slow = consumer::<u8>(&name);
    producer.send(1).unwrap();
    producer.send(2).unwrap();
    assert_eq!(now(&mut fast), [1, 2]);
    producer.send(3).unwrap();
    assert_eq!(now(&mut fast), [3]);
    assert_eq!(now(&mut slow), [1, 2, 3]);
}

/// tokio broadcast: receivers may leave while there is something to read.
#[test]
fn receivers_leave_while_there_is_something_to_read() {
    let (name, mut producer, mut first) = pair::<u8>(2);
    let mut second = consumer::<u8>(&name);
    producer.send(1).unwrap();
    producer.send(2).unwrap();
    assert_eq!((first.try_recv(), second.try_recv()), (Ok(1), Ok(1)));
    drop(second);
    drop(first);
    (3..9).for_each(|n| assert_eq!(producer.try_send(n), Ok(())));
}

/// tokio broadcast: two places, and a receiver that is lapped is told by how much, each time.
#[test]
fn a_lagging_receiver_is_told() {
    let (name, mut producer) = ring::<u8>(2);
    let (mut keeps_up, mut lags) = (tap::<u8>(&name), tap::<u8>(&name));
    producer.send(1).unwrap();
    producer.send(2).unwrap();
    assert_eq!(keeps_up.try_recv(), Ok(1));
    producer.send(3).unwrap();
    assert_eq!((lags.try_recv(), lags.lost()), (Ok(2), 1));
    assert_eq!(tapped(&mut keeps_up), [2, 3]);
    producer.send(4).unwrap();
    producer.send(5).unwrap();
    producer.send(6).unwrap();
    let rest = tapped(&mut lags);
    assert_eq!(rest.last(), Some(&6));
    assert_eq!(lags.received() + lags.lost(), 6);
    assert_eq!(keeps_up.lost(), 0);
}

/// tokio broadcast: to send with no receiver is an error where it was asked for, and not afterwards.
#[test]
fn sending_to_nobody() {
    let name = Name::new();
    let options = QueueOptions::new(16).when_nobody_listens(Unattended::Refuse);
    let mut producer = Producer::<u8>::create_with(&*name, &options).unwrap();
    assert_eq!(producer.send(1), Err(SendError::Abandoned));
    let mut consumer = consumer::<u8>(&name);
    producer.send(2).unwrap();
    assert_eq!(now(&mut consumer), [2]);
}

/// tokio broadcast: what was granted while there was a receiver is no leave to send when there is none.
#[test]
fn sending_to_nobody_after_a_grant() {
    let name = Name::new();
    let options = QueueOptions::new(16).when_nobody_listens(Unattended::Refuse);
    let mut producer = Producer::<u8>::create_with(&*name, &options).unwrap();
    let consumer = consumer::<u8>(&name);
    drop(producer.try_reserve(4).unwrap());
    drop(consumer);
    assert!(producer.is_abandoned());
    assert_eq!(producer.try_send(1), Err(TrySendError::End(SendError::Abandoned)));
    assert_eq!(producer.send(1), Err(SendError::Abandoned));
}

/// tokio broadcast: the same for records: a grant of which a part was committed.
#[test]
fn sending_records_to_nobody_after_a_grant() {
    let name = Name::new();
    let options = QueueOptions::new(4096).when_nobody_listens(Unattended::Refuse);
    let mut writer = fanout::records::Writer::create_with(&*name, &options).unwrap();
    let mut reader = crate::help::reader(&name);
    writer.try_reserve(1000).unwrap().publish(8);
    assert_eq!(reader.recv().unwrap().len(), 8);
    drop(reader);
    assert!(writer.is_abandoned());
    assert_eq!(writer.send(b"to nobody"), Err(SendError::Abandoned));
}

/// tokio broadcast: a capacity that cannot be is refused, before anything is made.
#[test]
fn a_capacity_that_is_too_big() {
    for capacity in [Capacity::MAX + 1, 1 << 63, u64::MAX] {
        let name = Name::new();
        let error = Producer::<u8>::create(&*name, capacity).unwrap_err();
        let CreateError::Capacity(CapacityError::TooLarge { found, most }) = error else {
            panic!("{error}")
        };
        assert_eq!((found, most), (capacity, Capacity::MAX));
        assert!(!name.path().exists());
    }
}

/// tokio broadcast: one place: it is read, and then there is nothing.
#[test]
fn a_single_place() {
    let (name, mut producer, mut consumer) = pair::<u8>(1);
    let mut tap = tap::<u8>(&name);
    producer.send(1).unwrap();
    assert_eq!((consumer.try_recv(), tap.try_recv()), (Ok(1), Ok(1)));
    let empty = Err(TryRecvError::Empty);
    assert_eq!((consumer.try_recv(), tap.try_recv()), (empty, empty));
}

/// tokio broadcast: one place, and the sender is gone: the message, then the end.
#[test]
fn a_single_place_after_the_end() {
    let (name, mut producer, mut consumer) = pair::<u8>(1);
    let mut tap = tap::<u8>(&name);
    producer.send(1).unwrap();
    drop(producer);
    assert_eq!((consumer.try_recv(), tap.try_recv()), (Ok(1), Ok(1)));
    assert_eq!((consumer.try_recv(), tap.try_recv()), (Err(CLOSED), Err(CLOSED)));
}

/// tokio broadcast: one place, written twice: the first is lost, the second is not.
#[test]
fn a_single_place_written_twice() {
    let (name, mut producer) = ring::<u8>(1);
    let mut tap = tap::<u8>(&name);
    producer.send(1).unwrap();
    producer.send(2).unwrap();
    drop(producer);
    assert_eq!((tap.try_recv(), tap.lost()), (Ok(2), 1));
    assert_eq!(tap.try_recv(), Err(CLOSED));
}

/// tokio broadcast: the sender's end writes over nothing that is to be read.
#[test]
fn the_end_overwrites_nothing() {
    let (name, mut producer, mut consumer) = pair::<u8>(2);
    let mut tap = tap::<u8>(&name);
    producer.send_batch(&[1, 2]).unwrap();
    producer.close();
    assert_eq!((rest(&mut consumer), tapped(&mut tap)), (vec![1, 2], vec![1, 2]));
    drop(producer);
    assert_eq!((consumer.try_recv(), tap.try_recv()), (Err(CLOSED), Err(CLOSED)));
}

/// tokio broadcast: a receiver that was lapped goes on with the oldest that is kept, closed or open.
#[test]
fn a_lagging_receiver_recovers() {
    for sent in 3..12u8 {
        for closes in [false, true] {
            let (name, mut producer) = ring::<u8>(2);
            let mut tap = tap::<u8>(&name);
            (1..=sent).for_each(|n| producer.send(n).unwrap());
            if closes {
                producer.close();
            }
            assert_eq!(tapped(&mut tap), [sent - 1, sent]);
            assert_eq!(tap.lost(), u64::from(sent - 2));
            let end = if closes { CLOSED } else { TryRecvError::Empty };
            assert_eq!(tap.try_recv(), Err(end));
        }
    }
}

/// tokio broadcast: a receiver knows how many messages it has before it, lapped or not.
#[test]
fn a_receiver_knows_how_many_wait() {
    let (name, mut producer) = ring::<u8>(4);
    let mut tap = tap::<u8>(&name);
    assert_eq!(tap.lag(), 0);
    producer.send_batch(&[10, 20, 30]).unwrap();
    assert_eq!(tap.lag(), 3);
    assert_eq!((tap.try_recv(), tap.lag()), (Ok(10), 2));
    (0..9).for_each(|n| producer.send(n).unwrap());
    assert_eq!(tap.lag(), 11);
    while tap.try_recv().is_ok() {}
    assert_eq!((tap.lag(), tap.received() + tap.lost()), (0, 12));
}

/// tokio broadcast: a new subscriber gets what is sent from now on.
#[test]
fn a_new_subscription_begins_now() {
    let (name, mut producer, mut first) = pair::<u8>(4);
    producer.send(1).unwrap();
    let mut second = Consumer::<u8>::join(&*name, Start::Latest).unwrap();
    let mut watcher = Tap::<u8>::open(&*name, Start::Latest).unwrap();
    assert_eq!(second.first_sequence().get(), 1);
    assert_eq!(second.try_recv(), Err(TryRecvError::Empty));
    producer.send(2).unwrap();
    assert_eq!((now(&mut first), now(&mut second)), (vec![1, 2], vec![2]));
    assert_eq!(tapped(&mut watcher), [2]);
    assert_eq!(watcher.received() + watcher.lost(), 1);
}

/// tokio broadcast: a subscription to what is closed is at its end, or gets what is kept.
#[test]
fn a_subscription_to_what_is_closed() {
    let (name, mut producer) = ring::<u8>(4);
    producer.send_batch(&[1, 2, 3]).unwrap();
    producer.close();
    let mut latest = Consumer::<u8>::join(&*name, Start::Latest).unwrap();
    assert_eq!(latest.try_recv(), Err(CLOSED));
    assert_eq!(rest(&mut consumer::<u8>(&name)), [1, 2, 3]);
    assert_eq!(tapped(&mut tap::<u8>(&name)), [1, 2, 3]);
}

/// tokio broadcast: how far the slowest is behind is right after every one of a thousand random steps.
#[test]
fn random_steps_agree_with_a_model() {
    let (name, mut producer, first) = pair::<u64>(16);
    let mut ends = [first, consumer(&name)];
    let (mut sent, mut read) = (0, [0; 2]);
    for step in 0..3000 {
        match (mix(step) % 4) as usize {
            end @ 0..=1 => match ends[end].try_recv() {
                Ok(n) => {
                    assert_eq!(n, read[end]);
                    read[end] += 1;
                }
                Err(_) => assert_eq!(read[end], sent),
            },
            _ => {
                let is_full = sent - read.into_iter().min().unwrap() == 16;
                assert_eq!(producer.try_send(sent).is_err(), is_full);
                sent += u64::from(!is_full);
            }
        }
        let lags = producer.consumers().into_iter().map(|consumer| consumer.lag);
        assert!(lags.eq(read.map(|read| sent - read)));
    }
}

/// tokio broadcast: two receivers that lag are told each its own.
#[test]
fn lag_is_each_receivers_own() {
    let (name, mut producer) = ring::<u8>(2);
    let (mut early, mut late) = (tap::<u8>(&name), tap::<u8>(&name));
    producer.send(1).unwrap();
    assert_eq!(early.try_recv(), Ok(1));
    (2..6).for_each(|n| producer.send(n).unwrap());
    assert_eq!((tapped(&mut early), early.lost()), (vec![4, 5], 2));
    assert_eq!((tapped(&mut late), late.lost()), (vec![4, 5], 3));
}

/// tokio broadcast: a receiver catches up, and lags again, and is told again.
#[test]
fn a_receiver_lags_again_and_again() {
    let (name, mut producer) = ring::<u64>(2);
    let mut tap = tap::<u64>(&name);
    for lap in 1..50 {
        producer
            .send_batch(&[5 * lap, 5 * lap + 1, 5 * lap + 2, 5 * lap + 3, 5 * lap + 4])
            .unwrap();
        assert_eq!(tapped(&mut tap).last(), Some(&(5 * lap + 4)));
        assert_eq!(tap.received() + tap.lost(), 5 * lap);
        assert_eq!(tap.lag(), 0);
    }
    assert!(tap.lost() >= 3 * 49);
}

/// tokio broadcast: a receiver is lapped again before it has read what was kept.
#[test]
fn a_receiver_is_lapped_twice_in_a_row() {
    let (name, mut producer) = ring::<u64>(4);
    let mut tap = tap::<u64>(&name);
    let mut last = None;
    for n in 0..200 {
        producer.send(n).unwrap();
        if n % 7 == 6 {
            let got = tap.try_recv().unwrap();
            assert!(last < Some(got) && got + 4 > n, "{last:?} {got} {n}");
            last = Some(got);
        }
    }
    tapped(&mut tap);
    assert_eq!(tap.received() + tap.lost(), 200);
}

/// tokio broadcast: a sender learns when the last receiver has left, also when others came in between.
#[test]
fn the_last_receiver_leaves() {
    let (name, mut producer, first) = pair::<u8>(1);
    let second = consumer::<u8>(&name);
    assert!(!producer.is_abandoned());
    drop(first);
    assert!(!producer.is_abandoned());
    drop(second);
    assert!(producer.is_abandoned());
    let third = consumer::<u8>(&name);
    assert!(!producer.is_abandoned());
    drop(third);
    assert!(producer.is_abandoned());
    let watcher = tap::<u8>(&name);
    assert!(producer.is_abandoned(), "a tap is nobody's consumer");
    drop(watcher);
}

/// tokio broadcast: the panic of a sender is told: what it had sent is read, and then why there is no
/// more.
#[test]
fn a_panic_is_told() {
    let (name, mut producer, mut consumer) = pair::<u8>(4);
    let mut tap = tap::<u8>(&name);
    let thread = std::thread::spawn(move || {
        producer.send(1).unwrap();
        let _lent = producer.reserve(2).unwrap().fill(&[8, 9]);
        panic!("on purpose");
    });
    assert!(thread.join().is_err());
    assert_eq!((consumer.recv(), tap.recv()), (Ok(1), Ok(1)));
    assert_eq!((consumer.recv(), tap.recv()), (Err(RecvError::Aborted), Err(RecvError::Aborted)));
    let Ending::Aborted { reason } = consumer.ending() else { panic!("{:?}", consumer.ending()) };
    assert!(reason.contains("panicked"), "{reason}");
    assert_eq!(tap.ending(), Ending::Aborted { reason });
}

/// tokio broadcast: a receiver's panic frees its place, and the sender goes on.
#[test]
fn a_receivers_panic_frees_its_place() {
    let (name, mut producer, mut consumer) = pair::<u8>(1);
    let mut member = crate::help::member::<u8>(&name, "group");
    producer.send(1).unwrap();
    let thread = std::thread::spawn(move || {
        let batches = (consumer.recv_batch(1).unwrap(), member.recv_batch(1).unwrap());
        panic!("on purpose with {batches:?}");
    });
    assert!(thread.join().is_err());
    producer.send(2).unwrap();
    assert!(producer.is_abandoned());
}

/// tokio broadcast: many threads subscribe, read a few and leave; each sees a piece without a gap.
#[test]
fn receivers_come_and_go() {
    let (name, mut producer, mut keeper) = pair::<[u64; 4]>(8);
    std::thread::scope(|scope| {
        let visitors = [(); 4].map(|()| {
            scope.spawn(|| {
                for visit in 0..40 {
                    let start = if visit % 2 == 0 { Start::Oldest } else { Start::Latest };
                    let mut end = Consumer::<[u64; 4]>::join(&*name, start).unwrap();
                    let first = end.first_sequence().get();
                    for n in first..first + 5 {
                        match end.recv() {
                            Ok(message) => assert_eq!(opened(message), n),
                            Err(error) => {
                                assert_eq!(error, RecvError::Closed);
                                return;
                            }
                        }
                    }
                }
            })
        });
        let reader = scope.spawn(move || {
            (0..).map_while(|n| keeper.recv().ok().map(|got| assert_eq!(opened(got), n))).count()
        });
        let mut sent = 0;
        until(|| {
            producer.send(sealed(sent)).unwrap();
            sent += 1;
            visitors.iter().all(|visitor| visitor.is_finished())
        });
        drop(producer);
        assert_eq!(reader.join().unwrap() as u64, sent);
        for visitor in visitors {
            visitor.join().unwrap();
        }
    });
}
