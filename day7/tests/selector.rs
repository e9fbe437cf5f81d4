//! A selector over rings of every kind: whose turn it is, and that nothing is lost.

mod lines;
mod local;

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use common::sync::{Arc, AtomicBool, AtomicU32, Ordering};
use day2::page::CommonPage;
use day3::doorbell::ASLEEP;

use day3::{Consumer, Producer, Start, TryRecvError};
use day5::{Adaptive, Strategy};
use day7::ready::{MOST_SEATS, Posting, Seat};
use day7::selector::{AddError, Key, MOST_PLAIN, Selector, SelectorError, SelectorOptions, Turn};
use lines::{Kind, Line};
use testing::{Unique, another, promptly, run};

const MESSAGES: u64 = 2_000;

/// How a ring is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Adding {
    Seated,
    Plain,
}

type Lines = HashMap<Key, (Kind, Line)>;

/// Adds these rings, and starts their producers.
fn begin(
    selector: &mut Selector,
    rings: impl IntoIterator<Item = (Kind, Adding)>,
    count: u64,
) -> (Lines, Vec<thread::JoinHandle<()>>) {
    let (mut lines, mut threads) = (HashMap::new(), Vec::new());
    for (kind, adding) in rings {
        let mut line = kind.line();
        let key = match adding {
            Adding::Seated => selector.add_seated(line.outlook.clone()),
            Adding::Plain => selector.add(line.outlook.clone()),
        };
        let key = key.unwrap();
        let posting = selector.seat(key).map(|seat| Posting::new(seat, Adaptive::default()));
        assert_eq!(posting.is_some(), adding == Adding::Seated);
        threads.push(line.start(posting.unwrap_or_default(), count));
        lines.insert(key, (kind, line));
    }
    (lines, threads)
}

/// Serves all rings to their ends; checks that each brought its numbers in order.
fn serve(
    selector: &mut Selector,
    mut lines: Lines,
    count: u64,
    mut wait: impl FnMut(&mut Selector) -> Turn,
) {
    let mut next: HashMap<Key, u64> = HashMap::new();
    while !lines.is_empty() {
        let turn = wait(selector);
        let (kind, line) = lines.get_mut(&turn.key).expect("it was not removed");
        let (numbers, has_ended) = (line.pull)(turn.bytes);
        let next = next.entry(turn.key).or_default();
        for number in numbers {
            assert_eq!(number, *next, "{kind:?}");
            *next += 1;
        }
        if has_ended {
            assert_eq!(*next, count, "{kind:?}: all that was sent");
            assert!(selector.remove(turn.key));
            lines.remove(&turn.key);
        }
    }
    assert!(selector.is_empty());
}

fn serve_all(
    rings: Vec<(Kind, Adding)>,
    count: u64,
    wait: impl FnMut(&mut Selector) -> Turn + Send + 'static,
) {
    promptly("serving", move || {
        let mut selector = Selector::new().unwrap();
        let (lines, threads) = begin(&mut selector, rings, count);
        serve(&mut selector, lines, count, wait);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

fn try_until(selector: &mut Selector) -> Turn {
    loop {
        match selector.try_wait() {
            Some(turn) => return turn,
            None => thread::yield_now(),
        }
    }
}

fn wait_briefly(selector: &mut Selector) -> Turn {
    loop {
        if let Some(turn) = selector.wait_timeout(Duration::from_micros(50)) {
            return turn;
        }
    }
}

#[test]
fn each_kind_of_ring_alone() {
    for kind in Kind::ALL {
        for adding in [Adding::Seated, Adding::Plain] {
            serve_all(vec![(kind, adding)], MESSAGES, Selector::wait);
        }
    }
}

#[test]
fn a_mix_of_rings_with_and_without_seats() {
    let mix = || {
        let addings = [Adding::Seated, Adding::Plain];
        Kind::ALL.into_iter().zip(addings.into_iter().cycle()).collect()
    };
    serve_all(mix(), MESSAGES, Selector::wait);
    serve_all(mix(), MESSAGES, try_until);
    serve_all(mix(), MESSAGES, wait_briefly);
}

#[test]
fn six_producers_with_the_smallest_rings() {
    for kind in [Kind::Messages, Kind::Records] {
        serve_all(vec![(kind, Adding::Seated); 6], MESSAGES, Selector::wait);
    }
}

/// The whole file again, in a process where the kernel does not help.
#[test]
fn without_the_kernels_help() {
    for off in ["FANOUT_MEMBARRIER", "FANOUT_WAITV"] {
        let output = run(another("a_mix_without_help").env(off, "off"));
        assert!(output.status.success(), "{off}: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("1 passed"), "{said}");
    }
}

#[test]
#[ignore = "run by without_the_kernels_help"]
fn a_mix_without_help() {
    let addings = [Adding::Seated, Adding::Plain];
    let mix = || Kind::ALL.into_iter().zip(addings.into_iter().cycle()).collect();
    // Fewer: where a ring is missed, it costs a slice.
    serve_all(mix(), 300, Selector::wait);
    serve_all(vec![(Kind::Records, Adding::Seated); 3], 300, wait_briefly);
}

/// A ring with one place, its producer not yet started, and its consumer.
fn ring(name: &Unique) -> (Producer<u64>, Consumer<u64>) {
    let producer = Producer::create(name.bare(), 8).unwrap();
    (producer, Consumer::join(name.bare(), Start::Oldest).unwrap())
}

/// What is due now, with the turns of new rings that have nothing left out.
fn next(selector: &mut Selector) -> Option<Turn> {
    selector.wait_timeout(Duration::ZERO)
}

#[test]
fn nothing_is_nobodys_turn() {
    let mut selector = Selector::new().unwrap();
    assert_eq!(next(&mut selector), None);
    let name = Unique::new("idle");
    let (mut producer, mut consumer) = ring(&name);
    let key = selector.add_seated(consumer.outlook()).unwrap();
    assert_eq!(next(&mut selector), None);
    producer.send(1).unwrap();
    let turn = selector.wait();
    assert_eq!((turn.key, turn.was_rung), (key, false));
    assert_eq!(next(&mut selector).unwrap().key, key, "until it is received");
    assert_eq!(consumer.try_recv(), Ok(1));
    assert_eq!(next(&mut selector), None);
}

#[test]
fn a_ring_that_has_ended_has_a_turn_until_it_is_removed() {
    let (name, mut selector) = (Unique::new("ended"), Selector::new().unwrap());
    let (producer, mut consumer) = ring(&name);
    let key = selector.add(consumer.outlook()).unwrap();
    assert_eq!(selector.wait_timeout(Duration::from_millis(1)), None);
    drop(producer);
    for _ in 0..3 {
        assert_eq!(selector.wait().key, key, "each slice");
        assert!(matches!(consumer.try_recv(), Err(TryRecvError::End(_))));
    }
    assert!(selector.remove(key));
    assert!(!selector.remove(key) && !selector.contains(key) && selector.is_empty());
    assert_eq!(next(&mut selector), None);
}

#[test]
fn the_end_of_a_seated_ring_is_rung() {
    let (name, mut selector) = (Unique::new("end-rung"), Selector::new().unwrap());
    let (producer, consumer) = ring(&name);
    let key = selector.add_seated(consumer.outlook()).unwrap();
    let seat = selector.seat(key).unwrap();
    let producer = producer.waiting(Posting::new(seat, Adaptive::default()));
    assert_eq!(selector.wait_timeout(Duration::from_millis(1)), None);
    drop(producer);
    let turn = selector.wait();
    assert!(turn.key == key && turn.was_rung, "{turn:?}");
}

#[test]
fn a_consumer_that_was_evicted_or_has_left_has_a_turn() {
    let (name, mut selector) = (Unique::new("evicted"), Selector::new().unwrap());
    let (mut producer, mut consumer) = ring(&name);
    let key = selector.add_seated(consumer.outlook()).unwrap();
    assert_eq!(selector.wait_timeout(Duration::from_millis(1)), None);
    let listed = producer.consumers().remove(0);
    // SAFETY: the consumer has borrowed nothing.
    assert!(unsafe { producer.evict(&listed) });
    assert_eq!(selector.wait().key, key);
    let evicted = consumer.try_recv();
    assert!(matches!(evicted, Err(TryRecvError::End(day3::RecvError::Evicted))), "{evicted:?}");
    drop(consumer);
    assert_eq!(selector.wait().key, key, "the outlook keeps the memory");
}

#[test]
fn a_bell_has_a_turn_for_each_time_that_it_was_rung() {
    let mut selector = Selector::new().unwrap();
    let (bell, other) = (selector.add_bell().unwrap(), selector.add_bell().unwrap());
    assert_eq!(next(&mut selector), None);
    let seat = selector.seat(bell).unwrap();
    let ringer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(5));
        seat.ring();
        seat.ring();
    });
    let turn = selector.wait();
    assert!(turn.key == bell && turn.was_rung, "{turn:?}");
    ringer.join().unwrap();
    while next(&mut selector).is_some() {}
    assert!(selector.wake(other));
    assert_eq!(selector.wait().key, other);
    assert_eq!(next(&mut selector), None);
    assert!(selector.remove(bell) && !selector.wake(bell) && selector.seat(bell).is_none());
}

#[test]
fn a_reader_tells_of_room() {
    let (name, mut selector) = (Unique::new("room"), Selector::new().unwrap());
    let (producer, consumer) = ring(&name);
    let bell = selector.add_bell().unwrap();
    let seat = selector.seat(bell).unwrap();
    let mut consumer = consumer.waiting(Posting::new(seat, Adaptive::default()));
    assert_eq!(next(&mut selector), None);
    promptly("a sleeping producer", move || {
        // It sleeps at its doorbell whenever the ring is full.
        let mut producer = producer.waiting(day5::Sleep::default());
        let sender =
            thread::spawn(move || (0..1000).for_each(|number| producer.send(number).unwrap()));
        let mut received = 0;
        let turn = loop {
            thread::sleep(Duration::from_millis(1));
            received += u64::from(consumer.try_recv().is_ok());
            if let Some(turn) = next(&mut selector) {
                break turn;
            }
        };
        assert!(turn.key == bell && turn.was_rung);
        (received..1000).for_each(|number| assert_eq!(consumer.recv(), Ok(number)));
        sender.join().unwrap();
    });
}

#[test]
fn a_key_names_one_ring_only() {
    let mut selector = Selector::with_options(&SelectorOptions::new().seats(1)).unwrap();
    let first = selector.add_bell().unwrap();
    let full = selector.add_bell();
    assert!(matches!(full, Err(AddError::Seats { seats: 1 })), "{full:?}");
    assert!(selector.remove(first));
    let second = selector.add_bell().unwrap();
    assert_ne!(first, second);
    assert!(!selector.contains(first) && selector.contains(second) && selector.len() == 1);
}

#[test]
fn what_cannot_be_is_refused() {
    for found in [0, u64::MAX] {
        let refused = Selector::with_options(&SelectorOptions::new().quantum(found));
        assert!(matches!(refused, Err(SelectorError::Quantum { found: told }) if told == found));
    }
    for seats in [0, MOST_SEATS + 1] {
        let refused = Selector::with_options(&SelectorOptions::new().seats(seats));
        assert!(matches!(refused, Err(SelectorError::Board(_))), "{seats}");
    }
    let (name, mut selector) = (Unique::new("many-plain"), Selector::new().unwrap());
    let (mut producer, mut consumer) = ring(&name);
    for _ in 0..MOST_PLAIN {
        selector.add(consumer.outlook()).unwrap();
    }
    let refused = selector.add(consumer.outlook());
    assert!(matches!(refused, Err(AddError::Plain)), "{refused:?}");
    // All of them are the same consumer's.
    promptly("120 rings without a seat", move || {
        let sender = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            producer.send(5).unwrap();
            producer
        });
        selector.wait();
        assert_eq!(consumer.try_recv(), Ok(5));
        sender.join().unwrap();
    });
}

#[test]
fn a_batch_that_is_held_or_forgotten_comes_again() {
    let (name, mut selector) = (Unique::new("held"), Selector::new().unwrap());
    let (mut producer, mut consumer) = ring(&name);
    let key = selector.add_seated(consumer.outlook()).unwrap();
    (0..4).for_each(|number| producer.send(number).unwrap());
    for _ in 0..100 {
        let turn = selector.wait();
        assert_eq!(turn.key, key);
        assert!(turn.bytes <= 2 << 16, "what is not used is not saved up: {}", turn.bytes);
        std::mem::forget(consumer.try_recv_batch(2).unwrap());
    }
    let batch = consumer.try_recv_batch(4).unwrap();
    assert!((&batch).into_iter().eq(&[0, 1, 2, 3]));
    assert_eq!(selector.wait().key, key, "it is not released yet");
    drop(batch);
    assert_eq!(next(&mut selector), None);
}

#[test]
fn a_seat_is_checked() {
    let mut selector = Selector::with_options(&SelectorOptions::new().seats(3)).unwrap();
    let bell = selector.add_bell().unwrap();
    let (descriptor, number) = selector.seat_descriptor(bell).unwrap().unwrap();
    let copy = || descriptor.try_clone().unwrap();
    for wrong in [3, 64, 1024, usize::MAX] {
        let refused = Seat::from_fd(copy(), wrong).unwrap_err().to_string();
        assert!(refused.contains("the board has 3 seats"), "{refused}");
    }
    let strange = CommonPage::new(&"/fanout-strange".parse().unwrap()).unwrap();
    let refused = Seat::from_fd(strange.descriptor().unwrap(), 0).unwrap_err().to_string();
    assert!(refused.contains("expected a board"), "{refused}");
    let unsealed =
        nix::sys::memfd::memfd_create("unsealed", nix::sys::memfd::MFdFlags::empty()).unwrap();
    nix::unistd::ftruncate(&unsealed, 4096).unwrap();
    let refused = Seat::from_fd(unsealed, 0).unwrap_err().to_string();
    assert!(refused.contains("not sealed"), "{refused}");
    // And the right one rings.
    Seat::from_fd(copy(), number).unwrap().ring();
    assert_eq!(selector.wait().key, bell);
}

/// A producer that writes over the whole board: it costs time, and nothing else.
#[test]
fn forged_bits_lose_nothing() {
    promptly("serving beside a vandal", || {
        let mut selector = Selector::new().unwrap();
        let rings = [Kind::Messages, Kind::Records, Kind::Group].map(|kind| (kind, Adding::Seated));
        let (lines, threads) = begin(&mut selector, rings, 200);
        let (descriptor, _) = {
            let bell = selector.add_bell().unwrap();
            let handed = selector.seat_descriptor(bell).unwrap().unwrap();
            selector.remove(bell);
            handed
        };
        let label = "/fanout-vandal".parse().unwrap();
        let board = CommonPage::from_fd(&label, descriptor).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let vandal = thread::spawn(move || {
            let mut word = 0;
            while !over.load(Ordering::Relaxed) {
                for value in [u32::MAX, 0, ASLEEP, 0x5555_5555] {
                    word = (word + 1) % 1024;
                    // SAFETY: within the page.
                    let place = unsafe { board.start().cast::<AtomicU32>().add(word) };
                    // SAFETY: aligned, and everybody uses the page as atomic words.
                    let place = unsafe { place.as_ref() };
                    place.store(value, Ordering::Relaxed);
                }
                thread::yield_now();
            }
        });
        serve(&mut selector, lines, 200, Selector::wait);
        is_over.store(true, Ordering::Relaxed);
        vandal.join().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// A forked child has the board mapped, too. What it takes there would be lost: a bell is nowhere else.
#[test]
fn a_forked_child_takes_no_ring_from_its_parent() {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    let mut selector = Selector::new().unwrap();
    let bell = selector.add_bell().unwrap();
    selector.seat(bell).unwrap().ring();
    // SAFETY: the child only looks at its copy of the selector, which allocates nothing, and exits without running
    // anything else.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let has_turn = selector.try_wait().is_some();
            // SAFETY: it ends the child at once.
            unsafe { nix::libc::_exit(has_turn.into()) }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            assert_eq!(selector.try_wait().map(|turn| turn.key), Some(bell));
        }
    }
}

/// However it waits, a selector ends its wait when the time is up, and hears who rings meanwhile.
#[test]
fn every_way_to_wait_ends_in_time_and_hears() {
    for strategy in Strategy::ALL {
        promptly(strategy.name(), move || {
            let options = SelectorOptions::new().waiting(strategy);
            let mut selector = Selector::with_options(&options).unwrap();
            assert_eq!(selector.wait_timeout(Duration::ZERO), None);
            assert_eq!(selector.wait_timeout(Duration::from_millis(2)), None);
            let bell = selector.add_bell().unwrap();
            let seat = selector.seat(bell).unwrap();
            let ringer = thread::spawn(move || {
                thread::sleep(Duration::from_millis(2));
                seat.ring()
            });
            assert_eq!(selector.wait().key, bell);
            ringer.join().unwrap();
            match strategy {
                Strategy::Spin | Strategy::Yield => assert_eq!(selector.sleeps(), 0),
                Strategy::Sleep => assert!(selector.sleeps() > 0),
                // Whether it comes to sleep depends on how fast it spins.
                Strategy::Adaptive => {}
            }
        });
    }
}
