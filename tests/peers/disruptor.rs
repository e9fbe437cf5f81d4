//! What disruptor asks: batches, pollers, and stages that hand on to one another.

use fanout::error::{CapacityError, CreateError, RecvError, TryRecvError, TrySendError};
use fanout::{Consumer, Producer, QueueOptions, Spin, Start, Yield};
use testing::mix;

use crate::help::{
    CLOSED, Name, consumer, member, now, opened, pair, rest, ring, sealed, tap, tapped, until,
};

/// disruptor: a ring's size is a power of two; another is refused, and told which to ask for.
#[test]
fn size_is_a_power_of_two() {
    for (asked, next) in [(3, 4), (5, 8), (1000, 1024)] {
        let name = Name::new();
        let error = Producer::<u8>::create(&*name, asked).unwrap_err();
        let CreateError::Capacity(CapacityError::NotPowerOfTwo { found, above }) = error else {
            panic!("{error}")
        };
        assert_eq!((found, above), (asked, next));
    }
}

/// disruptor: a full ring stays full until a consumer reads.
#[test]
fn a_full_ring_stays_full() {
    let (_name, mut producer, mut consumer) = pair::<u64>(4);
    (0..4).for_each(|n| producer.try_send(n).unwrap());
    for _ in 0..100 {
        assert_eq!(producer.try_send(4), Err(TrySendError::Full));
    }
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || rest(&mut consumer));
        producer.send(4).unwrap();
        drop(producer);
        assert_eq!(reader.join().unwrap(), [0, 1, 2, 3, 4]);
    });
}

/// disruptor: a batch that does not fit now is refused as a whole, and the ring is as it was.
#[test]
fn a_batch_that_does_not_fit_changes_nothing() {
    let (_name, mut producer, mut consumer) = pair::<u64>(4);
    producer.try_reserve(2).unwrap().fill(&[0, 1]).publish();
    for n in 3..=4 {
        assert_eq!(producer.try_reserve(n).unwrap_err(), TrySendError::Full);
    }
    producer.try_reserve(2).unwrap().fill(&[2, 3]).publish();
    assert_eq!(producer.try_reserve(1).unwrap_err(), TrySendError::Full);
    assert_eq!(now(&mut consumer), [0, 1, 2, 3]);
}

/// disruptor: batches are published whole, and consumers see them in order.
#[test]
fn batches_are_published_in_order() {
    let (_name, mut producer, mut consumer) = pair::<u64>(8);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || rest(&mut consumer));
        let mut next = 0;
        for len in [1, 8, 3, 5, 8, 2, 7].into_iter().cycle().take(500) {
            let batch: Vec<_> = (next..).take(len).collect();
            producer.reserve(len).unwrap().fill(&batch).publish();
            next += len as u64;
        }
        drop(producer);
        assert!(reader.join().unwrap().into_iter().eq(0..next));
    });
}

/// disruptor: a batch becomes visible at once: no consumer sees a part of it.
#[test]
fn a_batch_becomes_visible_at_once() {
    let (_name, mut producer, mut consumer) = pair::<u64>(16);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for lap in 0..1000 {
                producer.reserve(4).unwrap().fill(&[lap; 4]).publish();
            }
        });
        for lap in 0..1000 {
            assert_eq!(consumer.recv(), Ok(lap));
            for _ in 0..3 {
                assert_eq!(consumer.try_recv(), Ok(lap), "the others came with it");
            }
        }
    });
}

/// disruptor: more messages than the ring has places are sent in as many parts as it takes.
#[test]
fn a_batch_larger_than_the_ring() {
    let (_name, mut producer, mut consumer) = pair::<u64>(4);
    let all: Vec<u64> = (0..1001).map(mix).collect();
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || rest(&mut consumer));
        producer.send_batch(&all).unwrap();
        assert_eq!(producer.next_sequence().get(), 1001);
        drop(producer);
        assert_eq!(reader.join().unwrap(), all);
    });
}

/// disruptor: several consumers run side by side, and each sees all.
#[test]
fn consumers_run_side_by_side() {
    let (name, mut producer) = ring::<u64>(8);
    let consumers = [(); 3].map(|()| consumer::<u64>(&name));
    std::thread::scope(|scope| {
        let sums = consumers.map(|mut consumer| {
            scope.spawn(move || rest(&mut consumer).into_iter().fold(0, |sum, n| mix(sum ^ n)))
        });
        (0..5000).for_each(|n| producer.send(n).unwrap());
        drop(producer);
        let expected = (0..5000).fold(0, |sum, n| mix(sum ^ n));
        for sum in sums {
            assert_eq!(sum.join().unwrap(), expected);
        }
    });
}

/// disruptor: what comes out of one ring goes into another.
#[test]
fn a_pipeline_of_two() {
    let (_first, mut source, mut middle) = pair::<u64>(4);
    let (_second, mut onward, mut sink) = pair::<u64>(2);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Ok(n) = middle.recv() {
                onward.send(n + 1).unwrap();
            }
        });
        let last = scope.spawn(move || rest(&mut sink));
        (0..2000).for_each(|n| source.send(n).unwrap());
        drop(source);
        assert!(last.join().unwrap().into_iter().eq(1..=2000));
    });
}

/// disruptor: two stages read the same, a third waits for both, and sees what each has made of it.
#[test]
fn a_diamond_joins_again() {
    let (name, mut source) = ring::<u64>(4);
    let (left, right) = (consumer::<u64>(&name), consumer::<u64>(&name));
    let (_left, left_out, mut left_in) = pair::<u64>(2);
    let (_right, right_out, mut right_in) = pair::<u64>(8);
    let stage = |mut input: Consumer<u64>, mut output: Producer<u64>, factor| {
        move || {
            while let Ok(n) = input.recv() {
                output.send(n * factor).unwrap();
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(stage(left, left_out, 2));
        scope.spawn(stage(right, right_out, 3));
        scope.spawn(move || (0..1500).for_each(|n| source.send(n).unwrap()));
        for n in 0..1500 {
            assert_eq!((left_in.recv(), right_in.recv()), (Ok(2 * n), Ok(3 * n)));
        }
        assert_eq!(
            (left_in.recv(), right_in.recv()),
            (Err(RecvError::Closed), Err(RecvError::Closed))
        );
    });
}

/// disruptor: a poller gets what there is, then nothing, then the end.
#[test]
fn a_poller_gets_events_nothing_and_the_end() {
    let (_name, mut producer, mut consumer) = pair::<u64>(8);
    assert_eq!(consumer.try_recv_batch(8).unwrap_err(), TryRecvError::Empty);
    producer.send_batch(&[1, 2, 3]).unwrap();
    assert!(consumer.try_recv_batch(8).unwrap().iter().eq(&[1, 2, 3]));
    assert_eq!(consumer.try_recv_batch(8).unwrap_err(), TryRecvError::Empty);
    producer.send(4).unwrap();
    drop(producer);
    assert!(consumer.try_recv_batch(8).unwrap().iter().eq(&[4]));
    assert_eq!(consumer.try_recv_batch(8).unwrap_err(), CLOSED);
}

/// disruptor: a poller that takes at most so many gets at most so many, and the rest later.
#[test]
fn a_poller_takes_at_most_so_many() {
    let (_name, mut producer, mut consumer) = pair::<u64>(8);
    producer.send_batch(&[1, 2, 3, 4, 5, 6, 7]).unwrap();
    let mut sizes = Vec::new();
    for most in [2, 0, 3, 100] {
        sizes.push(consumer.try_recv_batch(most).unwrap().len());
    }
    assert_eq!(sizes, [2, 1, 3, 1], "one is always asked for");
}

/// disruptor: events of a poller's guard are processed when it is dropped, read or not.
#[test]
fn a_pollers_guard_releases_when_dropped() {
    let (_name, mut producer, mut consumer) = pair::<u64>(2);
    for _ in 0..10 {
        producer.send_batch(&[1, 2]).unwrap();
        let guard = consumer.try_recv_batch(2).unwrap();
        assert_eq!(producer.try_send(3), Err(TrySendError::Full));
        drop(guard);
    }
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
}

/// disruptor: without consumers the producer never waits, and the ring keeps the last lap.
#[test]
fn without_consumers_nobody_waits() {
    let (name, mut producer) = ring::<u64>(4);
    (0..1000).for_each(|n| producer.try_send(n).unwrap());
    let mut late = consumer::<u64>(&name);
    let kept = now(&mut late);
    assert!(!kept.is_empty() && kept.len() <= 4, "{kept:?}");
    assert!(kept.iter().copied().eq(1000 - kept.len() as u64..1000), "{kept:?}");
}

/// disruptor: the slowest holds the producer back, though the others have read everything.
#[test]
fn the_slowest_holds_back() {
    let (name, mut producer, mut fast) = pair::<u64>(4);
    let mut slow = consumer::<u64>(&name);
    for n in 0..4 {
        producer.try_send(n).unwrap();
        assert_eq!(fast.try_recv(), Ok(n));
    }
    assert_eq!(fast.try_recv(), Err(TryRecvError::Empty));
    for n in 4..50 {
        assert_eq!(producer.try_send(n), Err(TrySendError::Full));
        assert_eq!(slow.try_recv(), Ok(n - 4));
        assert_eq!(producer.try_send(n), Ok(()));
        assert_eq!(fast.try_recv(), Ok(n));
    }
}

/// disruptor: sequences go over the end of a `u64` as over any other number.
#[test]
fn sequences_wrap() {
    let name = Name::new();
    let options = QueueOptions::new(8).first(u64::MAX - 19);
    let mut producer = Producer::<u64>::create_with(&*name, &options).unwrap();
    let (mut all, mut some) = (consumer::<u64>(&name), member::<u64>(&name, "group"));
    let (mut early, mut lost) = (tap::<u64>(&name), tap::<u64>(&name));
    for n in 0..100 {
        producer.send(n).unwrap();
        assert_eq!(all.try_recv(), Ok(n));
        assert_eq!(some.try_recv(), Ok(n));
        assert_eq!(early.try_recv(), Ok(n));
    }
    assert_eq!(producer.next_sequence().get(), 80);
    assert_eq!((early.received(), early.lost(), early.lag()), (100, 0, 0));
    let kept = tapped(&mut lost);
    assert!(kept.iter().copied().eq(100 - kept.len() as u64..100), "{kept:?}");
    assert_eq!(lost.received() + lost.lost(), 100);
    assert_eq!(Consumer::<u64>::join(&*name, Start::Latest).unwrap().first_sequence().get(), 80);
}

/// disruptor: strategies to wait are mixed as one likes, with twice as many threads as cores.
#[test]
fn strategies_are_mixed() {
    let (name, producer) = ring::<[u64; 4]>(2);
    let mut producer = producer.waiting(Yield);
    let (spins, yields) = (consumer::<[u64; 4]>(&name), consumer::<[u64; 4]>(&name));
    let sleeps = consumer::<[u64; 4]>(&name).waiting(fanout::Sleep::default());
    std::thread::scope(|scope| {
        let check = |n: u64, message: Result<[u64; 4], RecvError>| {
            assert_eq!(opened(message.unwrap()), n);
        };
        let mut spins = spins.waiting(Spin);
        scope.spawn(move || (0..300).for_each(|n| check(n, spins.recv())));
        let mut yields = yields.waiting(Yield);
        scope.spawn(move || (0..300).for_each(|n| check(n, yields.recv())));
        let mut sleeps = sleeps;
        scope.spawn(move || (0..300).for_each(|n| check(n, sleeps.recv())));
        (0..300).for_each(|n| producer.send(sealed(n)).unwrap());
    });
}

/// disruptor, stress: consumers, two groups and a tap on a ring of two places, all whole and accounted for.
#[test]
fn stress() {
    const COUNT: u64 = 3000;
    let (name, mut producer) = ring::<[u64; 4]>(2);
    let consumers = [(); 2].map(|()| consumer::<[u64; 4]>(&name));
    let members = ["a", "a", "b"].map(|group| member::<[u64; 4]>(&name, group));
    let mut tap = tap::<[u64; 4]>(&name);
    std::thread::scope(|scope| {
        let consumers = consumers.map(|mut consumer| {
            scope.spawn(move || {
                (0..COUNT).for_each(|n| assert_eq!(opened(consumer.recv().unwrap()), n));
                assert_eq!(consumer.recv(), Err(RecvError::Closed));
            })
        });
        let members = members.map(|mut member| {
            scope.spawn(move || -> u64 {
                std::iter::from_fn(|| member.recv().ok()).map(|message| opened(message) + 1).sum()
            })
        });
        let tap = scope.spawn(move || {
            let mut last = None;
            while let Ok(message) = tap.recv() {
                let n = opened(message);
                assert!(last < Some(n));
                last = Some(n);
            }
            tap.received() + tap.lost()
        });
        (0..COUNT).for_each(|n| producer.send(sealed(n)).unwrap());
        drop(producer);
        for consumer in consumers {
            consumer.join().unwrap();
        }
        let [one, two, alone] = members.map(|member| member.join().unwrap());
        let all = COUNT * (COUNT + 1) / 2;
        assert_eq!((one + two, alone, tap.join().unwrap()), (all, all, COUNT));
    });
}

/// disruptor: a group's place outlives its members, so that another goes on where the last one stopped.
#[test]
fn a_group_goes_on_where_its_last_member_stopped() {
    let (name, mut producer) = ring::<u64>(8);
    let mut keeper = consumer::<u64>(&name);
    let mut next = 0;
    for lap in 0..20 {
        let mut member = member::<u64>(&name, "group");
        producer.send_batch(&[3 * lap, 3 * lap + 1, 3 * lap + 2]).unwrap();
        until(|| now(&mut keeper).is_empty());
        for _ in 0..2 + lap % 3 {
            match member.try_recv() {
                Ok(n) => {
                    assert_eq!(n, next);
                    next += 1;
                }
                Err(error) => assert_eq!((error, next), (TryRecvError::Empty, 3 * lap + 3)),
            }
        }
    }
    assert!(next >= 55, "{next}");
}
