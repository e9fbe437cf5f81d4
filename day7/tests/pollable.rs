//! A selector that is waited for with `poll`, and one that is awaited.

mod lines;
mod local;

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::thread::JoinHandle;

use day5::Adaptive;
use day7::ready::Posting;
use day7::selector::{Key, PollableSelector, Selector, Turn};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use testing::{another, promptly, run};

use lines::{Kind, Line};

const MESSAGES: u64 = 1_000;

fn is_readable(selector: &PollableSelector, timeout: PollTimeout) -> bool {
    poll(&mut [PollFd::new(selector.as_fd(), PollFlags::POLLIN)], timeout).unwrap() > 0
}

/// The next turn: try until there is nothing, wait for the descriptor, try again.
fn polled(selector: &mut PollableSelector) -> Turn {
    loop {
        if let Some(turn) = selector.try_wait() {
            return turn;
        }
        assert!(is_readable(selector, PollTimeout::NONE));
    }
}

/// A ring of each kind; every other one has no seat.
fn begin(selector: &mut Selector, at: usize, kind: Kind) -> (Key, Line, JoinHandle<()>) {
    let mut line = kind.line();
    let outlook = line.outlook.clone();
    let key =
        if at.is_multiple_of(2) { selector.add_seated(outlook) } else { selector.add(outlook) };
    let key = key.unwrap();
    let posting = selector.seat(key).map(|seat| Posting::new(seat, Adaptive::default()));
    let thread = line.start(posting.unwrap_or_default(), MESSAGES);
    (key, line, thread)
}

fn begin_all(selector: &mut Selector) -> (HashMap<Key, Line>, Vec<JoinHandle<()>>) {
    let (mut lines, mut threads) = (HashMap::new(), Vec::new());
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        let (key, line, thread) = begin(selector, at, kind);
        lines.insert(key, line);
        threads.push(thread);
    }
    (lines, threads)
}

/// Takes what the turn brings; says how many messages, and forgets the ring at its end.
fn take(selector: &mut Selector, lines: &mut HashMap<Key, Line>, turn: Turn) -> u64 {
    let (numbers, has_ended) = (lines.get_mut(&turn.key).unwrap().pull)(turn.bytes);
    if has_ended {
        selector.remove(turn.key);
        lines.remove(&turn.key);
    }
    numbers.len() as u64
}

fn serve_by_poll() {
    let mut selector = Selector::new().unwrap();
    // Some before, and some after it got its descriptor.
    let (mut lines, mut threads) = begin_all(&mut selector);
    let mut selector = selector.into_pollable().unwrap();
    let (more, others) = begin_all(&mut selector);
    lines.extend(more);
    threads.extend(others);
    let mut received = 0;
    while !lines.is_empty() {
        let turn = polled(&mut selector);
        received += take(&mut selector, &mut lines, turn);
    }
    assert_eq!(received, 2 * Kind::ALL.len() as u64 * MESSAGES);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn each_kind_of_ring_by_poll() {
    promptly("serving by poll", serve_by_poll);
}

#[test]
#[ignore = "run by poll_without_the_kernels_help"]
fn poll_without_help() {
    promptly("serving by poll", serve_by_poll);
}

#[test]
fn poll_without_the_kernels_help() {
    for off in ["FANOUT_MEMBARRIER", "FANOUT_WAITV"] {
        let output = run(another("poll_without_help").env(off, "off"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{off}: {said}");
    }
}

#[test]
fn a_bell_makes_the_descriptor_readable() {
    let mut selector = Selector::new().unwrap().into_pollable().unwrap();
    let bell = selector.add_bell().unwrap();
    let seat = selector.seat(bell).unwrap();
    for _ in 0..20 {
        assert_eq!(selector.try_wait(), None);
        assert!(seat.ring(), "the selector has announced a sleep");
        assert!(is_readable(&selector, PollTimeout::NONE));
        assert_eq!(selector.try_wait().map(|turn| turn.key), Some(bell));
    }
}

/// Its bits are found at the moment when the selector is about to sleep, and belong to nobody.
#[test]
fn a_seat_that_is_rung_for_nobody_does_not_keep_the_descriptor_from_being_armed() {
    let mut selector = Selector::new().unwrap().into_pollable().unwrap();
    let gone = selector.add_bell().unwrap();
    let seat = selector.seat(gone).unwrap();
    assert!(selector.remove(gone));
    let rounds = std::sync::Arc::new(std::sync::Mutex::new(0));
    let ringer = std::thread::spawn({
        let rounds = std::sync::Arc::clone(&rounds);
        // Until the selector was about to sleep often enough.
        move || {
            while *rounds.lock().unwrap() < 2_000 {
                for _ in 0..100 {
                    seat.ring();
                }
            }
        }
    });
    let timeout = PollTimeout::try_from(testing::DEADLINE).unwrap();
    while !ringer.is_finished() {
        assert_eq!(selector.try_wait(), None);
        // At the latest when the slice is over.
        let is_readable = is_readable(&selector, timeout);
        *rounds.lock().unwrap() += if is_readable { 1 } else { 2_000 };
        assert!(is_readable, "it was not armed");
    }
    ringer.join().unwrap();
}

#[test]
fn a_ring_that_was_removed_leaves_nothing_behind() {
    let mut selector = Selector::new().unwrap().into_pollable().unwrap();
    for _ in 0..50 {
        let mut line = Kind::Messages.line();
        let key = selector.add(line.outlook.clone()).unwrap();
        assert_eq!(selector.try_wait(), None);
        // The thread that watches its doorbell lets go of it before the memory goes.
        assert!(selector.remove(key));
        line.start(Posting::default(), 0).join().unwrap();
        drop(line);
    }
    assert_eq!(selector.try_wait(), None);
}

#[cfg(feature = "tokio")]
#[test]
fn turns_are_awaited() {
    promptly("awaiting turns", || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let selector = Selector::new().unwrap();
            let mut selector = day7::selector::AsyncSelector::new(selector).unwrap();
            let (mut lines, threads) = begin_all(selector.get_mut());
            let mut received = 0;
            while !lines.is_empty() {
                let turn = selector.wait().await.unwrap();
                received += take(selector.get_mut(), &mut lines, turn);
            }
            assert_eq!(received, Kind::ALL.len() as u64 * MESSAGES);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    });
}
