//! What crossbeam-channel asks, also of its selector.

use std::time::Duration;

use fanout::error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
use fanout::pollable::Pollable;
use fanout::{Consumer, Producer, QueueOptions, Unattended};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use testing::{is_ready, mix, until_ready};

use crate::help::{
    CLOSED, LONG, Name, SHORT, consumer, member, now, opened, pair, rest, ring, sealed, until,
};

/// crossbeam-channel: one message in, the same one out, then nothing.
#[test]
fn smoke() {
    let (_name, mut producer, mut consumer) = pair::<u8>(1);
    producer.send(7).unwrap();
    assert_eq!(consumer.try_recv(), Ok(7));
    producer.send(8).unwrap();
    assert_eq!(consumer.recv(), Ok(8));
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(consumer.recv_timeout(SHORT), Err(RecvTimeoutError::TimedOut(SHORT)));
}

/// crossbeam-channel: a channel knows how much it holds, and holds as much.
#[test]
fn capacity_is_what_was_asked_for() {
    for capacity in [1, 2, 4, 64, 1024] {
        let (_name, mut producer, mut consumer) = pair::<u64>(capacity);
        assert_eq!(producer.capacity(), capacity);
        (0..capacity).for_each(|n| assert_eq!(producer.try_send(n), Ok(())));
        assert_eq!(producer.try_send(0), Err(TrySendError::Full));
        assert!(now(&mut consumer).into_iter().eq(0..capacity));
    }
}

/// crossbeam-channel: it can be asked how many messages wait, and the answer is right at every step.
#[test]
fn length_empty_and_full_agree() {
    let (_name, mut producer, mut consumer) = pair::<u8>(2);
    let lag = |producer: &Producer<u8>| producer.consumers()[0].lag;
    assert_eq!(lag(&producer), 0);
    producer.send(1).unwrap();
    assert_eq!(lag(&producer), 1);
    producer.send(2).unwrap();
    assert_eq!(lag(&producer), 2);
    assert_eq!(producer.try_send(3), Err(TrySendError::Full));
    assert_eq!(consumer.recv(), Ok(1));
    assert_eq!(lag(&producer), 1);
}

/// crossbeam-channel: `try_recv` says empty, then the message, then the end.
#[test]
fn try_recv_goes_through_its_states() {
    let (_name, mut producer, mut consumer) = pair::<u8>(128);
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    producer.send(7).unwrap();
    assert_eq!(consumer.try_recv(), Ok(7));
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    producer.close();
    assert_eq!(consumer.try_recv(), Err(CLOSED));
}

/// crossbeam-channel: `recv` in another thread gets three messages, then the end.
#[test]
fn recv_waits_for_each_and_for_the_end() {
    let (_name, mut producer, mut consumer) = pair::<u8>(128);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            assert_eq!(consumer.recv(), Ok(7));
            assert_eq!(consumer.recv(), Ok(8));
            assert_eq!(consumer.recv(), Ok(9));
            consumer.recv()
        });
        producer.send(7).unwrap();
        producer.send(8).unwrap();
        producer.send(9).unwrap();
        producer.close();
        assert_eq!(receiver.join().unwrap(), Err(RecvError::Closed));
    });
}

/// crossbeam-channel: `recv_timeout` says that it is late, then the message, then the end.
#[test]
fn recv_timeout_goes_through_its_states() {
    let (_name, mut producer, mut consumer) = pair::<u8>(128);
    assert_eq!(consumer.recv_timeout(SHORT), Err(RecvTimeoutError::TimedOut(SHORT)));
    producer.send(7).unwrap();
    assert_eq!(consumer.recv_timeout(LONG), Ok(7));
    assert_eq!(
        consumer.recv_timeout(Duration::ZERO),
        Err(RecvTimeoutError::TimedOut(Duration::ZERO))
    );
    drop(producer);
    assert_eq!(consumer.recv_timeout(LONG), Err(RecvTimeoutError::End(RecvError::Closed)));
}

/// crossbeam-channel: a timeout that is over at the beginning still gets what is there.
#[test]
fn recv_timeout_of_nothing_gets_what_is_there() {
    let (_name, mut producer, mut consumer) = pair::<u8>(2);
    producer.send(7).unwrap();
    assert_eq!(consumer.recv_timeout(Duration::ZERO), Ok(7));
    producer.send(8).unwrap();
    assert_eq!(consumer.recv_batch_timeout(9, Duration::ZERO).unwrap().len(), 1);
}

/// crossbeam-channel: `try_send` sends, says full, sends again, and is refused when all have left.
#[test]
fn try_send_goes_through_its_states() {
    let name = Name::new();
    let options = QueueOptions::new(1).when_nobody_listens(Unattended::Refuse);
    let mut producer = Producer::<u8>::create_with(&*name, &options).unwrap();
    let mut consumer = consumer::<u8>(&name);
    assert_eq!(producer.try_send(1), Ok(()));
    assert_eq!(producer.try_send(2), Err(TrySendError::Full));
    assert_eq!(consumer.recv(), Ok(1));
    assert_eq!(producer.try_send(3), Ok(()));
    drop(consumer);
    assert_eq!(producer.try_send(4), Err(TrySendError::End(SendError::Abandoned)));
}

/// crossbeam-channel: `send` waits for room, and messages keep their order.
#[test]
fn send_waits_for_room() {
    let (_name, mut producer, mut consumer) = pair::<u8>(1);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in [7, 8, 9] {
                producer.send(n).unwrap();
            }
        });
        assert_eq!(rest(&mut consumer), [7, 8, 9]);
    });
}

/// crossbeam-channel: `send_timeout` says that it is late, sends when there is room, and is refused at
/// the end.
#[test]
fn send_timeout_goes_through_its_states() {
    let (_name, mut producer, mut consumer) = pair::<u8>(2);
    assert_eq!(producer.send_timeout(1, SHORT), Ok(()));
    assert_eq!(producer.send_timeout(2, Duration::ZERO), Ok(()));
    assert_eq!(producer.send_timeout(3, SHORT), Err(SendTimeoutError::TimedOut(SHORT)));
    assert_eq!(consumer.recv(), Ok(1));
    assert_eq!(producer.send_timeout(4, LONG), Ok(()));
    producer.close();
    let closed = Err(SendTimeoutError::End(SendError::Closed));
    assert_eq!(producer.send_timeout(5, LONG), closed);
    assert_eq!(rest(&mut consumer), [2, 4]);
}

/// crossbeam-channel: to send when nobody listens is an error for a queue made so.
#[test]
fn send_after_the_receivers_are_gone() {
    let name = Name::new();
    let options = QueueOptions::new(16).when_nobody_listens(Unattended::Refuse);
    let mut producer = Producer::<u8>::create_with(&*name, &options).unwrap();
    let consumer = consumer::<u8>(&name);
    (0..3).for_each(|n| producer.send(n).unwrap());
    drop(consumer);
    assert_eq!(producer.send(3), Err(SendError::Abandoned));
    assert_eq!(producer.try_send(3), Err(TrySendError::End(SendError::Abandoned)));
    let end = Err(SendTimeoutError::End(SendError::Abandoned));
    assert_eq!(producer.send_timeout(3, LONG), end);
    assert_eq!(producer.next_sequence().get(), 3);
}

/// crossbeam-channel: what was sent before the sender left comes, then the end, whatever is called.
#[test]
fn recv_after_the_sender_is_gone() {
    let (_name, mut producer, mut consumer) = pair::<u8>(128);
    (1..4).for_each(|n| producer.send(n).unwrap());
    drop(producer);
    assert_eq!(consumer.recv(), Ok(1));
    assert_eq!(consumer.try_recv(), Ok(2));
    assert_eq!(consumer.recv_timeout(Duration::ZERO), Ok(3));
    assert_eq!(consumer.recv(), Err(RecvError::Closed));
    assert_eq!(consumer.try_recv(), Err(CLOSED));
    assert_eq!(consumer.recv_timeout(LONG), Err(RecvTimeoutError::End(RecvError::Closed)));
    assert_eq!(consumer.recv_batch(9).unwrap_err(), RecvError::Closed);
}

/// crossbeam-channel: a sender that waits is woken when the last receiver leaves, and refused. The receiver leaves at
/// another moment each time: the sender may be asleep, or just looking at the ring.
#[test]
fn a_leaving_receiver_wakes_the_sender() {
    for pause in 0..200 {
        let name = Name::new();
        let options = QueueOptions::new(1).when_nobody_listens(Unattended::Refuse);
        let mut producer = Producer::<u8>::create_with(&*name, &options).unwrap();
        let consumer = consumer::<u8>(&name);
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || (producer.send(1), producer.send(2)));
            until(|| fanout_lag(&name) == Some(1));
            (0..100 * pause).for_each(|_| std::hint::spin_loop());
            drop(consumer);
            assert_eq!(sender.join().unwrap(), (Ok(()), Err(SendError::Abandoned)), "{pause}");
        });
    }
}

/// What an observer says that the first consumer is behind.
fn fanout_lag(name: &str) -> Option<u64> {
    let name = name.parse().unwrap();
    let observer = fanout::inspect::Observer::open(&name, LONG).unwrap();
    observer.snapshot().consumers.first().map(|consumer| consumer.lag)
}

/// crossbeam-channel: receivers that wait are woken when the sender leaves, all of them.
#[test]
fn a_leaving_sender_wakes_every_receiver() {
    let (name, producer, first) = pair::<u8>(1);
    let consumers = [first, consumer(&name), consumer(&name)];
    let mut member = member::<u8>(&name, "group");
    std::thread::scope(|scope| {
        let waiting = consumers.map(|mut consumer| scope.spawn(move || consumer.recv()));
        let worker = scope.spawn(move || member.recv());
        drop(producer);
        for receiver in waiting {
            assert_eq!(receiver.join().unwrap(), Err(RecvError::Closed));
        }
        assert_eq!(worker.join().unwrap(), Err(RecvError::Closed));
    });
}

/// crossbeam-channel: one sender, one receiver, many messages, three places.
#[test]
fn one_to_one() {
    let (_name, mut producer, mut consumer) = pair::<[u64; 4]>(4);
    std::thread::scope(|scope| {
        scope.spawn(move || (0..20_000).for_each(|n| producer.send(sealed(n)).unwrap()));
        (0..20_000).for_each(|n| assert_eq!(opened(consumer.recv().unwrap()), n));
        assert_eq!(consumer.recv(), Err(RecvError::Closed));
    });
}

/// crossbeam-channel: receivers that share get every message, each once.
#[test]
fn receivers_that_share_get_each_message_once() {
    const COUNT: u64 = 20_000;
    let (name, mut producer) = ring::<[u64; 4]>(4);
    let members = [(); 4].map(|()| member(&name, "group"));
    std::thread::scope(|scope| {
        let members = members.map(|mut member| {
            scope.spawn(move || -> Vec<u64> {
                let all = std::iter::from_fn(|| member.recv().ok());
                all.map(opened).collect()
            })
        });
        (0..COUNT).for_each(|n| producer.send(sealed(n)).unwrap());
        drop(producer);
        let mut all = Vec::new();
        for member in members {
            let mine = member.join().unwrap();
            assert!(mine.is_sorted(), "a member's own are in order");
            all.extend(mine);
        }
        all.sort_unstable();
        assert!(all.into_iter().eq(0..COUNT));
    });
}

/// crossbeam-channel: many channels of one message each, sender and receiver in threads.
#[test]
fn oneshots() {
    for n in 0..100 {
        let (_name, mut producer, mut consumer) = pair::<u64>(1);
        std::thread::scope(|scope| {
            let receiver = scope.spawn(move || consumer.recv());
            scope.spawn(move || producer.send(n).unwrap());
            assert_eq!(receiver.join().unwrap(), Ok(n));
        });
    }
}

/// crossbeam-channel: short timeouts on both sides, and nothing is lost, doubled or moved.
#[test]
fn timeouts_on_both_sides_lose_nothing() {
    let (_name, mut producer, mut consumer) = pair::<u64>(2);
    let tiny = Duration::from_micros(20);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..2000 {
                until(|| producer.send_timeout(n, tiny).is_ok());
            }
        });
        for n in 0..2000 {
            let got = loop {
                match consumer.recv_timeout(tiny) {
                    Err(RecvTimeoutError::TimedOut(waited)) => assert_eq!(waited, tiny),
                    other => break other,
                }
            };
            assert_eq!(got, Ok(n));
        }
    });
}

/// crossbeam-channel: either end is dropped at whatever moment, and the other one gets to its end.
#[test]
fn ends_are_dropped_at_every_moment() {
    for moment in 0..40 {
        let (_name, mut producer, mut consumer) = pair::<u64>(4);
        std::thread::scope(|scope| {
            scope.spawn(move || (0..moment).for_each(|n| producer.send(n).unwrap()));
            assert!(rest(&mut consumer).into_iter().eq(0..moment));
        });
        let (_name, mut producer, mut consumer) = pair::<u64>(4);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                (0..moment).for_each(|n| assert_eq!(consumer.recv(), Ok(n)));
            });
            (0..moment + 40).for_each(|n| producer.send(n).unwrap());
        });
        assert!(producer.is_abandoned());
    }
}

/// crossbeam-channel: what was sent is there at once: no look after a send comes back empty.
#[test]
fn what_was_sent_is_there() {
    let (name, mut producer, mut consumer) = pair::<u64>(2);
    let mut member = member::<u64>(&name, "group");
    for n in 0..1000 {
        producer.send(n).unwrap();
        assert_eq!(consumer.try_recv(), Ok(n));
        assert_eq!(member.try_recv(), Ok(n));
    }
}

/// crossbeam-channel: a channel's address goes through a channel, and so on, twenty deep.
#[test]
fn channels_through_channels() {
    let names: Vec<_> = (0..20).map(|_| Name::new()).collect();
    let (first, mut producer, mut consumer) = pair::<u64>(1);
    for name in &names {
        let next = Producer::<u64>::create(&**name, 1).unwrap();
        let number = name.rsplit('-').next().unwrap().parse().unwrap();
        producer.send(number).unwrap();
        let found = consumer.recv().unwrap();
        let found = format!("/fanout-test-peers-{}-{found}", std::process::id());
        consumer = Consumer::join(found.as_str(), fanout::Start::Oldest).unwrap();
        producer = next;
    }
    producer.send(99).unwrap();
    assert_eq!(consumer.recv(), Ok(99));
    drop(first);
}

/// crossbeam-channel: a loop over what is there now ends without the sender's end.
#[test]
fn a_loop_over_what_is_there_ends() {
    let (_name, mut producer, mut consumer) = pair::<u64>(8);
    assert!(now(&mut consumer).is_empty());
    producer.send_batch(&[1, 2, 3]).unwrap();
    assert_eq!(now(&mut consumer), [1, 2, 3]);
    producer.send_batch(&[4]).unwrap();
    assert_eq!(now(&mut consumer), [4]);
}

/// crossbeam-channel: a loop that is left early leaves the rest where it is.
#[test]
fn a_loop_that_is_left_leaves_the_rest() {
    let (_name, mut producer, mut consumer) = pair::<u64>(8);
    producer.send_batch(&[1, 2, 3, 4, 5]).unwrap();
    let mut sum = 0;
    while sum < 3 {
        sum += consumer.recv().unwrap();
    }
    producer.close();
    assert_eq!(rest(&mut consumer), [3, 4, 5]);
}

/// crossbeam-channel: a great many messages, one thread, one receiver.
#[test]
fn a_lot() {
    let (_name, mut producer, mut consumer) = pair::<u64>(1024);
    for lap in 0..50 {
        (0..1024).for_each(|n| producer.try_send(mix(lap << 32 | n)).unwrap());
        (0..1024).for_each(|n| assert_eq!(consumer.try_recv(), Ok(mix(lap << 32 | n))));
    }
}

/// crossbeam-channel, ready: what was there before the selection is found at once.
#[test]
fn what_is_there_before_the_selection_is_found() {
    let (_name, mut producer, consumer) = pair::<u8>(4);
    producer.send(1).unwrap();
    let mut consumer = Pollable::bridged(consumer).unwrap();
    assert_eq!(consumer.try_recv(), Ok(1));
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
}

/// crossbeam-channel, ready: a selection becomes ready for a message, and is not ready before.
#[test]
fn a_selection_becomes_ready_for_a_message() {
    let (_name, mut producer, consumer) = pair::<u8>(4);
    let mut consumer = Pollable::bridged(consumer).unwrap();
    for n in 0..5 {
        assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
        producer.send(n).unwrap();
        until_ready(&consumer);
        assert_eq!(consumer.try_recv(), Ok(n));
    }
}

/// crossbeam-channel, ready: the end makes a selection ready, and stays.
#[test]
fn a_selection_becomes_ready_for_the_end() {
    let (_name, producer, consumer) = pair::<u8>(4);
    let mut consumer = Pollable::bridged(consumer).unwrap();
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    std::thread::scope(|scope| {
        scope.spawn(move || drop(producer));
        let end = loop {
            until_ready(&consumer);
            match consumer.try_recv() {
                Err(TryRecvError::Empty) => {}
                other => break other,
            }
        };
        assert_eq!(end, Err(CLOSED));
        assert_eq!(consumer.try_recv(), Err(CLOSED));
    });
}

/// crossbeam-channel, ready: a selection to send becomes ready when a receiver has read, or left.
#[test]
fn a_selection_to_send_becomes_ready_for_room() {
    let (_name, producer, mut consumer) = pair::<u8>(1);
    let mut producer = Pollable::bridged(producer).unwrap();
    assert_eq!(producer.try_send(1), Ok(()));
    assert_eq!(producer.try_send(2), Err(TrySendError::Full));
    assert_eq!(consumer.recv(), Ok(1));
    until_ready(&producer);
    assert_eq!(producer.try_send(3), Ok(()));
    assert_eq!(producer.try_send(4), Err(TrySendError::Full));
    drop(consumer);
    until_ready(&producer);
    assert_eq!(producer.try_send(5), Ok(()));
    producer.close();
    assert_eq!(producer.try_send(6), Err(TrySendError::End(SendError::Closed)));
}

/// crossbeam-channel, ready: of two channels the one with a message is ready, then the other, then both.
#[test]
fn a_selection_knows_which_is_ready() {
    let (_one, mut first, one) = pair::<u8>(4);
    let (_two, mut second, two) = pair::<u8>(4);
    let (mut one, mut two) = (Pollable::bridged(one).unwrap(), Pollable::bridged(two).unwrap());
    assert_eq!(one.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(two.try_recv(), Err(TryRecvError::Empty));
    second.send(2).unwrap();
    until_ready(&two);
    assert_eq!((one.try_recv(), two.try_recv()), (Err(TryRecvError::Empty), Ok(2)));
    first.send(1).unwrap();
    second.send(3).unwrap();
    assert_eq!((one.try_recv(), two.try_recv()), (Ok(1), Ok(3)));
}

/// crossbeam-channel, ready: a selection that is not completed takes no message from any receiver.
#[test]
fn a_forgotten_selection_takes_nothing() {
    let (name, mut producer, consumer) = pair::<u8>(4);
    let mut other = crate::help::consumer::<u8>(&name);
    let mut selected = Pollable::bridged(consumer).unwrap();
    assert_eq!(selected.try_recv(), Err(TryRecvError::Empty));
    producer.send(1).unwrap();
    until_ready(&selected);
    let mut consumer = selected.into_inner();
    assert_eq!(consumer.try_recv(), Ok(1));
    assert_eq!(other.try_recv(), Ok(1));
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
}

/// crossbeam-channel, ready: members of one group may all be told, and one of them gets the message.
#[test]
fn members_that_select_share() {
    let (name, mut producer) = ring::<u8>(4);
    let [mut one, mut two] =
        [(); 2].map(|()| Pollable::bridged(member::<u8>(&name, "group")).unwrap());
    assert_eq!(one.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(two.try_recv(), Err(TryRecvError::Empty));
    producer.send(1).unwrap();
    until(|| is_ready(&one) || is_ready(&two));
    let got = [one.try_recv(), two.try_recv()];
    assert_eq!(got, [Ok(1), Err(TryRecvError::Empty)]);
}

/// crossbeam-channel, ready: a tap can be selected, too.
#[test]
fn a_tap_that_selects_is_ready_in_time() {
    let (name, mut producer) = ring::<u8>(4);
    let mut tap = Pollable::napping(crate::help::tap::<u8>(&name)).unwrap();
    assert_eq!(tap.try_recv(), Err(TryRecvError::Empty));
    producer.send(1).unwrap();
    until(|| {
        until_ready(&tap);
        tap.try_recv() == Ok(1)
    });
    drop(producer);
    assert_eq!(tap.try_recv(), Err(CLOSED));
}

/// crossbeam-channel, ready: three channels, three senders, one selector; nothing is lost or moved.
#[test]
fn a_selector_serves_three_senders() {
    const COUNT: u64 = 1500;
    let rings = [pair::<u64>(2), pair::<u64>(2), pair::<u64>(2)];
    std::thread::scope(|scope| {
        let mut names = Vec::new();
        let mut ends: Vec<_> = rings
            .into_iter()
            .map(|(name, mut producer, consumer)| {
                names.push(name);
                scope.spawn(move || (0..COUNT).for_each(|n| producer.send(n).unwrap()));
                (Pollable::bridged(consumer).unwrap(), 0)
            })
            .collect();
        while !ends.is_empty() {
            ends.retain_mut(|(end, next)| {
                loop {
                    match end.try_recv() {
                        Ok(n) => {
                            assert_eq!(n, *next);
                            *next += 1;
                        }
                        Err(TryRecvError::Empty) => return true,
                        Err(end) => {
                            assert_eq!((end, *next), (CLOSED, COUNT));
                            return false;
                        }
                    }
                }
            });
            let mut polled: Vec<_> =
                ends.iter().map(|(end, _)| PollFd::new(end.as_fd(), PollFlags::POLLIN)).collect();
            if !polled.is_empty() {
                poll(&mut polled, PollTimeout::NONE).unwrap();
            }
        }
    });
}
