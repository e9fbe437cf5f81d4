//! Queues that are waited for beside sockets: signals are counted, and nothing is lost.
#![cfg(not(loom))]

#[macro_use]
mod queue;

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::sync::Ordering;
use day3::doorbell::ASLEEP;
use day3::doorbell::Doorbell;
use day3::link::Link;
use day3::ring::{Consumer, Member, Producer};
use day3::wait::Side;
use day3::{JoinOptions, Memory, Shared, Start, Wait};
use day3::{RecvError, TryRecvError};
use day4::reader::Reader;
use day4::writer::Writer;
use day5::notifier::NotifyError;
use day5::{Adaptive, Connection, Notifier, Notify, Pollable, Sleep};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use queue::{consumer, pair, ring};
use testing::{
    DEADLINE, Dice, Folder, Program, Unique, another, eventually, is_ready, until_ready,
};

/// The variable that tells a process which runs [`a_child_of_another_test`] what to do.
const TASK: &str = "FANOUT_TEST_TASK";
/// The variable with the queue's name.
const QUEUE: &str = "FANOUT_TEST_QUEUE";
/// The variable with the path that the producer listens at.
const PATH: &str = "FANOUT_TEST_PATH";

/// How many messages another process gets.
const MESSAGES: u64 = 100_000;

fn member(memory: &Arc<dyn Memory>) -> Member<u64> {
    // SAFETY: made for this type.
    unsafe { Member::from_memory(memory.clone(), "g", Start::Oldest, &JoinOptions::new()) }.unwrap()
}

#[test]
fn messages_are_not_signalled_and_sleeps_are() {
    let (mut producer, mut consumer, notifier) = pair(1024);
    for round in 0..200 {
        (0..1000).for_each(|number| producer.send(1000 * round + number).unwrap());
        (0..1000).for_each(|number| assert_eq!(consumer.try_recv(), Ok(1000 * round + number)));
    }
    assert_eq!(
        (notifier.signals(), consumer.sleeps()),
        (0, 0),
        "nobody slept for 200,000 messages"
    );

    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty), "the announcement stands");
    assert!(!is_ready(&consumer));
    (0..1000).for_each(|number| producer.send(number).unwrap());
    assert!(is_ready(&consumer));
    (0..1000).for_each(|number| assert_eq!(consumer.try_recv(), Ok(number)));
    assert_eq!((notifier.signals(), consumer.sleeps()), (1, 1), "one sleep, 1000 messages");

    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    assert!(!is_ready(&consumer), "the old signal was taken back");
    assert_eq!((consumer.signals(), consumer.sleeps()), (1, 2));
}

#[test]
fn nothing_is_lost_and_nobody_is_signalled_more_often_than_it_slept() {
    let (mut producer, mut consumer, notifier) = pair(64);
    let mut dice = Dice::seeded();
    let sender = thread::spawn(move || {
        for number in 0..3 * MESSAGES {
            if dice.once_in(60) {
                thread::sleep(dice.pause(Duration::from_micros(100)));
            }
            producer.send(number).unwrap();
        }
    });
    for number in 0..3 * MESSAGES {
        assert_eq!(next!(consumer), Ok(number));
    }
    assert_eq!(next!(consumer), Err(RecvError::Closed));
    sender.join().unwrap();
    let (signals, sleeps) = (consumer.signals(), consumer.sleeps());
    println!("{} messages, {sleeps} sleeps, {signals} signals", 3 * MESSAGES);
    assert!(sleeps > 100, "it hardly ever slept: {sleeps}");
    assert!(signals <= sleeps && notifier.signals() <= sleeps + 1, "{signals} for {sleeps} sleeps");
}

#[test]
fn records_are_polled_for_and_read_in_place() {
    let name = Unique::new("records");
    let folder = Folder::new();
    let place = folder.join("socket");
    let notifier = Notifier::bind(&place).unwrap();
    let writer = Writer::<Adaptive>::create(&*name, 1 << 14).unwrap();
    let mut writer = writer.waiting(Notify::new(notifier.clone(), Adaptive::default()));
    let reader = Reader::<Adaptive>::join(&*name, Start::Oldest).unwrap();
    let mut reader = Pollable::connect(reader, &place).unwrap();
    let mut dice = Dice::seeded();
    let sender = thread::spawn(move || {
        for number in 0..MESSAGES {
            if dice.once_in(60) {
                thread::sleep(dice.pause(Duration::from_micros(100)));
            }
            let message = [number as u8; 300];
            writer.send(&message[..number as usize % 300]).unwrap();
        }
    });
    let mut number = 0;
    let end = loop {
        let nothing = match reader.try_recv_batch(2000) {
            Ok(records) => {
                for record in records.iter() {
                    assert_eq!(record.len() as u64, number % 300);
                    assert!(record.iter().all(|byte| *byte == number as u8));
                    number += 1;
                }
                continue;
            }
            Err(nothing) => nothing,
        };
        match nothing {
            TryRecvError::Empty => until_ready(&reader),
            TryRecvError::End(end) => break end,
        }
    };
    sender.join().unwrap();
    assert_eq!((end, number), (RecvError::Closed, MESSAGES));
    let sleeps = reader.sleeps();
    assert!(sleeps > 0 && reader.signals() <= sleeps, "{} for {sleeps}", reader.signals());
    assert!(!place.exists(), "the producer has removed its socket");
}

#[test]
fn a_queue_and_a_socket_wait_in_one_poll() {
    let (mut producer, mut consumer, _bells) = pair(8);
    let (mut far, mut near) = UnixStream::pair().unwrap();
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    let ready = |consumer: &Pollable<Consumer<u64>>, near: &UnixStream, timeout: PollTimeout| {
        let both = [consumer.as_fd(), near.as_fd()];
        let mut polled = both.map(|one: BorrowedFd<'_>| PollFd::new(one, PollFlags::POLLIN));
        poll(&mut polled, timeout).unwrap();
        polled.map(|one| one.any().unwrap())
    };
    let long = PollTimeout::try_from(DEADLINE).unwrap();
    assert_eq!(ready(&consumer, &near, PollTimeout::ZERO), [false, false]);
    far.write_all(b"x").unwrap();
    assert_eq!(ready(&consumer, &near, long), [false, true]);
    producer.send(1).unwrap();
    assert_eq!(ready(&consumer, &near, long), [true, true]);
    near.read_exact(&mut [0]).unwrap();
    assert_eq!(ready(&consumer, &near, long), [true, false]);
    assert_eq!(consumer.try_recv(), Ok(1));
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(ready(&consumer, &near, PollTimeout::ZERO), [false, false]);
}

#[test]
fn an_edge_triggered_epoll_gets_an_edge_for_each_sleep() {
    let (mut producer, mut consumer, _bells) = pair(8);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    epoll.add(&consumer, EpollEvent::new(flags, 7)).unwrap();
    let events = |timeout: PollTimeout| {
        let mut events = [EpollEvent::empty(); 4];
        let n = epoll.wait(&mut events, timeout).unwrap();
        events[..n].iter().map(EpollEvent::data).collect::<Vec<_>>()
    };
    for number in 0..100 {
        assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(events(PollTimeout::ZERO), [0u64; 0]);
        producer.send(number).unwrap();
        assert_eq!(events(PollTimeout::try_from(DEADLINE).unwrap()), [7]);
        assert_eq!(events(PollTimeout::ZERO), [0u64; 0], "one edge");
        assert_eq!(consumer.try_recv(), Ok(number));
    }
}

#[test]
fn a_consumer_that_connects_to_a_producer_that_does_nothing_is_not_overlooked() {
    let folder = Folder::new();
    let place = folder.join("socket");
    let (memory, producer) = ring(8);
    let notifier = Notifier::bind(&place).unwrap();
    let mut producer = producer.waiting(Notify::new(notifier.clone(), Sleep::default()));
    let mut consumers = [(); 3].map(|()| {
        let mut consumer = Pollable::connect(consumer(&memory), &place).unwrap();
        assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
        consumer
    });
    assert_eq!(notifier.peers(), 0, "nobody has let them in yet");
    producer.send(5).unwrap();
    assert_eq!((notifier.peers(), notifier.signals()), (3, 3));
    for consumer in &mut consumers {
        assert!(is_ready(consumer));
        assert_eq!(consumer.try_recv(), Ok(5));
    }
}

#[test]
fn consumers_that_hung_up_are_forgotten() {
    let (memory, producer) = ring(8);
    let notifier = Notifier::default();
    let mut producer = producer.waiting(Notify::new(notifier.clone(), Adaptive::default()));
    let mut stays =
        Pollable::with_connection(consumer(&memory), notifier.connection().unwrap()).unwrap();
    let goes =
        Pollable::with_connection(consumer(&memory), notifier.connection().unwrap()).unwrap();
    assert_eq!(notifier.peers(), 2);
    drop(goes);
    // A process that another test is just starting may have a copy of the connection for a moment.
    eventually("it is forgotten", || {
        assert_eq!(stays.try_recv(), Err(TryRecvError::Empty));
        producer.send(1).unwrap();
        assert_eq!(next!(stays), Ok(1));
        notifier.peers() == 1
    });
    let before = notifier.signals();
    assert_eq!(stays.try_recv(), Err(TryRecvError::Empty));
    producer.send(2).unwrap();
    assert_eq!(notifier.signals(), before + 1);
}

#[test]
fn the_end_makes_the_descriptor_readable() {
    let (mut producer, mut closed, _bells) = pair(8);
    assert_eq!(closed.try_recv(), Err(TryRecvError::Empty));
    producer.send(1).unwrap();
    producer.close();
    assert_eq!(next!(closed), Ok(1));
    assert_eq!(next!(closed), Err(RecvError::Closed));

    let (producer, mut dropped, _bells) = pair(8);
    assert_eq!(dropped.try_recv(), Err(TryRecvError::Empty));
    drop(producer);
    assert!(is_ready(&dropped));
    assert_eq!(next!(dropped), Err(RecvError::Closed));

    let (producer, mut left, notifier) = pair(8);
    assert_eq!(left.try_recv(), Err(TryRecvError::Empty));
    let mut producer = producer.waiting(Adaptive::default());
    assert!(is_ready(&left));
    assert_eq!(next!(left), Err(RecvError::HungUp));
    let late = notifier.connection().unwrap();
    until_ready(&late_line(late));
    producer.send(3).unwrap();
    assert_eq!(left.try_recv(), Ok(3), "what comes is read all the same");
    producer.send(4).unwrap();
    assert_eq!(left.into_inner().recv(), Ok(4));
}

/// An armed consumer of a ring of its own, on this connection, at which no producer answers.
fn late_line(line: Connection) -> Pollable<Consumer<u64>> {
    let (memory, _producer) = ring(8);
    let mut late = Pollable::with_connection(consumer(&memory), line).unwrap();
    assert!(late.try_recv().is_err());
    late
}

#[test]
fn members_of_a_group_share_what_they_are_signalled_for() {
    let (memory, producer) = ring(32);
    let notifier = Notifier::default();
    let mut producer = producer.waiting(Notify::new(notifier.clone(), Adaptive::default()));
    let members = [(); 3].map(|()| {
        let mut member =
            Pollable::with_connection(member(&memory), notifier.connection().unwrap()).unwrap();
        thread::spawn(move || {
            let mut mine = Vec::new();
            loop {
                match next!(member) {
                    Ok(number) => mine.push(number),
                    Err(end) => return (mine, end),
                }
            }
        })
    });
    let mut dice = Dice::seeded();
    for number in 0..20_000 {
        if dice.once_in(100) {
            thread::sleep(dice.pause(Duration::from_micros(200)));
        }
        producer.send(number).unwrap();
    }
    drop(producer);
    let mut all = Vec::new();
    for member in members {
        let (mine, end) = member.join().unwrap();
        assert_eq!(end, RecvError::Closed);
        all.extend(mine);
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..20_000));
}

#[test]
fn bridges_need_nothing_from_the_other_side() {
    let name = Unique::new("bridge");
    let producer = Producer::<u64, Adaptive>::create(&*name, 4).unwrap();
    let consumer = Consumer::<u64, Adaptive>::join(&*name, Start::Oldest).unwrap();
    let mut producer = Pollable::bridged(producer).unwrap();
    let mut consumer = Pollable::bridged(consumer).unwrap();
    let mut dice = Dice::seeded();
    let sender = thread::spawn(move || {
        for number in 0..MESSAGES / 5 {
            if dice.once_in(40) {
                thread::sleep(dice.pause(Duration::from_micros(200)));
            }
            while producer.try_send(number).is_err() {
                until_ready(&producer);
            }
        }
        (producer.signals(), producer.sleeps())
    });
    for number in 0..MESSAGES / 5 {
        assert_eq!(next!(consumer), Ok(number));
    }
    assert_eq!(next!(consumer), Err(RecvError::Closed));
    let (signals, sleeps) = sender.join().unwrap();
    assert!(signals <= sleeps, "{signals} for {sleeps}");
    let (signals, sleeps) = (consumer.signals(), consumer.sleeps());
    assert!(sleeps > 0 && signals <= sleeps, "{signals} for {sleeps}");
}

#[test]
fn a_bridge_looks_by_itself_where_nobody_rings() {
    let (memory, mut producer) = ring(8);
    let mut consumer = Pollable::bridged(consumer(&memory)).unwrap();
    for number in 0..3 {
        assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
        // As if the producer had been killed between clearing the bit and waking.
        Shared::new(memory.clone()).doorbell().consumers.fetch_and(!ASLEEP, Ordering::Relaxed);
        producer.send(number).unwrap();
        assert_eq!(next!(consumer), Ok(number));
    }
}

/// Runs a task in a process of its own, where threads can be counted: once with `futex_waitv`, and once
/// without.
fn on_both_kernels(task: &str) {
    for waitv in ["on", "off"] {
        let mut command = child(task, "/none", Path::new("none"));
        let mut process = Program::start(command.env("FANOUT_WAITV", waitv));
        process.line("end: none left");
        process.finish().well();
    }
}

#[test]
fn the_end_of_a_bridge_ends_its_thread() {
    on_both_kernels("end bridges");
}

#[test]
fn hundreds_of_bridges_share_a_few_threads_and_lose_nothing() {
    on_both_kernels("many bridges");
}

#[test]
fn a_forked_child_disturbs_none_of_its_parents_ends() {
    let mut process = Program::start(&mut child("fork", "/none", Path::new("none")));
    process.line("end: as before");
    process.finish().well();
}

/// Forks a child that drops its copies of two ends, and makes one of its own.
fn fork_with_ends() {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};
    let (memory, mut sends) = ring(8);
    let mut bridged = Pollable::bridged(consumer(&memory)).unwrap();
    let (mut signals, mut connected, notifier) = pair(8);
    assert_eq!(bridged.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(connected.try_recv(), Err(TryRecvError::Empty));
    // SAFETY: the child does not have the other threads, and touches nothing that they could be in
    // the middle of: the bridge's thread sleeps, and the test's harness waits.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let works = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                drop((bridged, signals, connected, notifier));
                let (memory, mut own) = ring(8);
                let mut mine = Pollable::bridged(consumer(&memory)).unwrap();
                assert_eq!(mine.try_recv(), Err(TryRecvError::Empty));
                own.send(1).unwrap();
                assert_eq!(next!(mine), Ok(1));
            }));
            // SAFETY: the parent's destructors and exit handlers must not run here.
            unsafe { nix::libc::_exit(works.is_err().into()) }
        }
        ForkResult::Parent { child } => {
            let mut ended = WaitStatus::StillAlive;
            eventually("the child ends", || {
                ended = waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap();
                ended != WaitStatus::StillAlive
            });
            assert_eq!(ended, WaitStatus::Exited(child, 0));
        }
    }
    assert!(!is_ready(&connected), "nobody has hung up");
    sends.send(2).unwrap();
    signals.send(3).unwrap();
    assert_eq!(next!(bridged), Ok(2));
    assert_eq!(next!(connected), Ok(3));
    println!("end: as before");
}

/// How many messages each of many consumers gets.
const FEW_MESSAGES: u64 = 200;

/// Bridges 300 consumers of five rings, some of which leave in the middle.
fn many_bridges() {
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let mut producers = Vec::new();
    let mut all = Vec::new();
    for _ in 0..5 {
        let (memory, producer) = ring(16);
        producers.push(producer);
        all.extend((0..60).map(|_| (Pollable::bridged(consumer(&memory)).unwrap(), 0)));
    }
    for (one, _) in &mut all {
        assert_eq!(one.try_recv(), Err(TryRecvError::Empty));
    }
    let more = threads() - before;
    let has_waitv = env::var("FANOUT_WAITV").as_deref() == Ok("on");
    assert!(more <= 3 || !has_waitv, "{more} threads for {} bridges", all.len());
    let senders: Vec<_> =
        producers.into_iter().map(|one| thread::spawn(|| pause_often(one))).collect();
    let mut dice = Dice::seeded();
    while !all.is_empty() {
        let mut ready: Vec<_> =
            all.iter().map(|(one, _)| PollFd::new(one.as_fd(), PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(DEADLINE).unwrap();
        assert!(poll(&mut ready, timeout).unwrap() > 0, "never ready");
        let ready: Vec<_> = ready.iter().map(|one| one.any().unwrap()).collect();
        // From the back, so that the indices before stay valid.
        for (at, _) in ready.into_iter().enumerate().rev().filter(|&(_, is_ready)| is_ready) {
            if has_ended(&mut all[at]) || dice.once_in(1000) {
                drop(all.swap_remove(at));
            }
        }
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    eventually("no thread is left", || threads() == before);
    println!("end: none left");
}

/// Reads all there is. Returns whether the end was reached.
fn has_ended((one, next): &mut (Pollable<Consumer<u64>>, u64)) -> bool {
    loop {
        match one.try_recv() {
            Ok(number) => assert_eq!(number, std::mem::replace(next, *next + 1)),
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::End(end)) => {
                assert_eq!((end, *next), (RecvError::Closed, FEW_MESSAGES));
                return true;
            }
        }
    }
}

/// Sends the messages that each of many consumers gets.
fn pause_often(mut producer: Producer<u64, Adaptive>) {
    for number in 0..FEW_MESSAGES {
        if number % 16 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        producer.send(number).unwrap();
    }
}

/// Ends bridges at work and at rest, and counts this process's threads.
fn end_bridges() {
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let bridge = || {
        let (memory, producer) = ring(8);
        let mut consumer = Pollable::bridged(consumer(&memory)).unwrap();
        assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
        (producer, consumer)
    };
    let (mut producer, consumer) = bridge();
    assert!(threads() > before);
    let mut plain = consumer.into_inner();
    producer.send(1).unwrap();
    assert_eq!(plain.recv(), Ok(1));
    for _ in 0..100 {
        let (producer, consumer) = bridge();
        drop(producer);
        drop(consumer);
        drop(bridge());
    }
    eventually("no thread is left", || threads() == before);
    println!("end: none left");
}

#[test]
fn a_producer_that_signals_waits_for_room_behind_a_bridge() {
    let (memory, producer) = ring(4);
    let notifier = Notifier::default();
    let mut consumer =
        Pollable::with_connection(consumer(&memory), notifier.connection().unwrap()).unwrap();
    let notify = Notify::new(notifier, Adaptive::default());
    let mut producer = Pollable::bridged_with(producer, notify).unwrap();
    let sender = thread::spawn(move || {
        for number in 0..20_000 {
            while producer.try_send(number).is_err() {
                until_ready(&producer);
            }
        }
    });
    for number in 0..20_000 {
        assert_eq!(next!(consumer), Ok(number));
    }
    assert_eq!(next!(consumer), Err(RecvError::Closed));
    sender.join().unwrap();
}

#[test]
fn taps_nap() {
    let name = Unique::new("tap");
    let mut producer = Producer::<u64, Adaptive>::create(&*name, 1024).unwrap();
    let tap = day3::Tap::<u64>::open(&*name, Start::Oldest).unwrap();
    let mut tap = Pollable::napping(tap).unwrap();
    for number in 0..20 {
        assert_eq!(tap.try_recv(), Err(TryRecvError::Empty));
        producer.send(number).unwrap();
        assert_eq!(next!(tap), Ok(number));
    }
    let name = Unique::new("tap");
    let mut writer = Writer::<Adaptive>::create(&*name, 4096).unwrap();
    let tap = day4::Tap::open(&*name, Start::Oldest).unwrap();
    let (mut tap, mut into) = (Pollable::napping(tap).unwrap(), Vec::new());
    assert_eq!(tap.try_recv(&mut into), Err(TryRecvError::Empty));
    writer.send(b"one").unwrap();
    drop(writer);
    let end = loop {
        match tap.try_recv(&mut into) {
            Ok(len) => assert_eq!((len, &into[..]), (3, &b"one"[..])),
            Err(TryRecvError::Empty) => until_ready(&tap),
            Err(TryRecvError::End(end)) => break end,
        }
    };
    assert_eq!(end, RecvError::Closed);
}

#[test]
fn an_evicted_consumer_learns_of_it() {
    let (mut producer, mut consumer, _bells) = pair(8);
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    let info = producer.consumers().remove(0);
    // SAFETY: the consumer is alive, but has borrowed nothing: there is no message.
    assert!(unsafe { producer.evict(&info) });
    producer.send(1).unwrap();
    assert_eq!(next!(consumer), Err(RecvError::Evicted));
}

#[test]
fn a_rendezvous_is_another_door() {
    let folder = Folder::new();
    let place = folder.join("socket");
    let writer = Writer::<Adaptive>::anonymous(4096).unwrap();
    let serving = day4::rendezvous::serve(&place, writer.offer()).unwrap();
    let (memory, _producer) = ring(8);
    let mut consumer = Pollable::connect(consumer(&memory), &place).unwrap();
    assert_eq!(next!(consumer), Err(RecvError::HungUp));
    eventually("it is counted", || serving.turned_away() == 1);
    assert_eq!(serving.admitted(), 0);
}

#[test]
fn paths_that_cannot_be_are_told_apart() {
    let folder = Folder::new();
    let place = folder.join("socket");
    let path = || place.clone();
    assert_eq!(Connection::connect(path()).unwrap_err(), NotifyError::NotFound { path: path() });
    fs::write(path(), "something else").unwrap();
    assert_eq!(Connection::connect(path()).unwrap_err(), NotifyError::NotASocket { path: path() });
    assert_eq!(Notifier::bind(path()).unwrap_err(), NotifyError::NotASocket { path: path() });
    assert_eq!(fs::read_to_string(path()).unwrap(), "something else");
    fs::remove_file(path()).unwrap();

    let notifier = Notifier::bind(path()).unwrap();
    assert_eq!(Notifier::bind(path()).unwrap_err(), NotifyError::InUse { path: path() });
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(path()).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    drop(notifier);
    assert!(!place.exists());

    let nowhere = path().join("no/folder");
    assert_eq!(Notifier::bind(&nowhere).unwrap_err(), NotifyError::NotFound { path: nowhere });
    for wrong in ["", "a\0b", &"x".repeat(108)] {
        assert_eq!(Notifier::bind(wrong).unwrap_err(), NotifyError::Path { path: wrong.into() });
        assert_eq!(
            Connection::connect(wrong).unwrap_err(),
            NotifyError::Path { path: wrong.into() }
        );
    }
}

// The same between processes.

#[test]
#[ignore = "other tests start it as a process of its own"]
fn a_child_of_another_test() {
    let name = || env::var(QUEUE).unwrap();
    let path = || PathBuf::from(env::var_os(PATH).unwrap());
    // The test harness has begun the first line with the test's name.
    println!();
    match env::var(TASK).as_deref() {
        Ok("read") => read(&name(), &path()),
        Ok("send and hang") => send_and_hang(&name(), &path()),
        Ok("publish and hang") => publish_and_hang(&name(), &path()),
        Ok("without room") => without_room(),
        Ok("end bridges") => end_bridges(),
        Ok("many bridges") => many_bridges(),
        Ok("fork") => fork_with_ends(),
        _ => println!("no task: nothing to do"),
    }
}

/// A command that runs this program with a task.
fn child(task: &str, name: &str, path: &Path) -> Command {
    let mut command = another("a_child_of_another_test");
    command.env(TASK, task).env(QUEUE, name).env(PATH, path);
    command
}

/// Reads all there is, while it also waits for a socket that stays silent.
fn read(name: &str, path: &Path) {
    let consumer = Consumer::<u64>::join(name, Start::Oldest).unwrap();
    let mut consumer = Pollable::connect(consumer, path).unwrap();
    println!("joined");
    let mut expected = 0;
    let end = loop {
        match next!(consumer) {
            Ok(number) => assert_eq!(number, expected),
            Err(end) => break end,
        }
        expected += 1;
    };
    println!("end: {end:?} {expected} {} {}", consumer.sleeps(), consumer.signals());
}

/// Sends two messages, and then hangs for ever.
fn send_and_hang(name: &str, path: &Path) {
    let notifier = Notifier::bind(path).unwrap();
    let producer = Producer::<u64, Adaptive>::create(name, 8).unwrap();
    let mut producer = producer.waiting(Notify::new(notifier, Adaptive::default()));
    println!("created");
    producer.wait_for_consumers(1, DEADLINE).unwrap();
    producer.send(0).unwrap();
    producer.send(1).unwrap();
    println!("sent");
    thread::sleep(2 * DEADLINE);
}

/// Sends to a consumer in another process. Returns that consumer's numbers of sleeps and signals.
fn send_to_another_process(membarrier: &str) -> (u64, u64) {
    let name = Unique::new("process");
    let folder = Folder::new();
    let place = folder.join("socket");
    let notifier = Notifier::bind(&place).unwrap();
    let producer = Producer::<u64, Adaptive>::create(&*name, 64).unwrap();
    let mut producer = producer.waiting(Notify::new(notifier.clone(), Adaptive::default()));
    let mut command = child("read", name.as_str(), &place);
    let mut reader = Program::start(command.env("FANOUT_MEMBARRIER", membarrier));
    reader.line("joined");
    let mut dice = Dice::seeded();
    for number in 0..MESSAGES {
        if dice.once_in(100) {
            thread::sleep(dice.pause(Duration::from_micros(200)));
        }
        producer.send(number).unwrap();
    }
    drop(producer);
    let end = reader.line("end: ");
    reader.finish().well();
    let words: Vec<_> = end.split(' ').collect();
    assert_eq!(words[1..3], ["Closed", &MESSAGES.to_string()], "{end}");
    let (sleeps, signals) = (words[3].parse().unwrap(), words[4].parse().unwrap());
    println!("membarrier {membarrier}: {MESSAGES} messages, {sleeps} sleeps, {signals} signals");
    assert!(notifier.signals() <= sleeps + 1, "{} for {sleeps}", notifier.signals());
    (sleeps, signals)
}

#[test]
fn another_process_is_signalled_once_per_sleep() {
    let (sleeps, signals) = send_to_another_process("on");
    assert!(sleeps > 0 && signals <= sleeps + 1, "{signals} for {sleeps} sleeps");
}

#[test]
fn it_works_where_the_kernel_makes_no_fences() {
    let (sleeps, signals) = send_to_another_process("off");
    assert!(sleeps > 0 && signals <= sleeps + 1, "{signals} for {sleeps} sleeps");
}

#[test]
fn a_producer_that_is_killed_hangs_up() {
    let name = Unique::new("killed");
    let folder = Folder::new();
    let place = folder.join("socket");
    let mut producer = Program::start(&mut child("send and hang", name.as_str(), &place));
    producer.line("created");
    let consumer = Consumer::<u64>::join(&*name, Start::Oldest).unwrap();
    let mut consumer = Pollable::connect(consumer, &place).unwrap();
    producer.line("sent");
    assert_eq!(next!(consumer), Ok(0));
    assert_eq!(consumer.try_recv(), Ok(1));
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    assert!(!is_ready(&consumer));
    producer.kill();
    // Whichever is seen first: the descriptor was hung up, or the producer is dead.
    let ends = [RecvError::HungUp, RecvError::ProducerDied].map(Err);
    assert!(ends.contains(&next!(consumer)));
    assert!(ends.contains(&next!(consumer)), "and stays so");
    let path = || place.clone();
    assert_eq!(Connection::connect(path()).unwrap_err(), NotifyError::Stale { path: path() });
    assert_eq!(Notifier::bind(path()).unwrap_err(), NotifyError::Stale { path: path() });
}

/// A way to wait that hangs for ever before it signals.
#[derive(Debug, Default)]
struct Stuck(Notify);

impl Wait for Stuck {
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        self.0.until(side, doorbell, deadline, poll)
    }

    fn rung(&self, _: Side) {
        println!("published");
        thread::sleep(2 * DEADLINE);
    }
}

/// Publishes a message, and hangs before it signals.
fn publish_and_hang(name: &str, path: &Path) {
    let notifier = Notifier::bind(path).unwrap();
    let producer = Producer::<u64, Adaptive>::create(name, 8).unwrap();
    let mut producer = producer.waiting(Stuck(Notify::new(notifier, Adaptive::default())));
    println!("created");
    // When stdin is closed, the consumer is armed.
    std::io::stdin().read_exact(&mut [0]).unwrap_err();
    producer.send(5).unwrap();
}

#[test]
fn a_producer_that_is_killed_before_it_signals_costs_no_message() {
    let name = Unique::new("killed");
    let folder = Folder::new();
    let place = folder.join("socket");
    let mut producer = Program::start(&mut child("publish and hang", name.as_str(), &place));
    producer.line("created");
    let consumer = Consumer::<u64>::join(&*name, Start::Oldest).unwrap();
    let mut consumer = Pollable::connect(consumer, &place).unwrap();
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    producer.hang_up();
    producer.line("published");
    assert!(!is_ready(&consumer), "nobody has signalled");
    producer.kill();
    until_ready(&consumer);
    assert_eq!(consumer.try_recv(), Ok(5));
    let end = next!(consumer);
    assert!(matches!(end, Err(RecvError::HungUp | RecvError::ProducerDied)), "{end:?}");
}

/// Lets a consumer connect to a producer that is at its limit of descriptors.
fn without_room() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let folder = Folder::new();
    let place = folder.join("socket");
    let (memory, producer) = ring(8);
    let notifier = Notifier::bind(&place).unwrap();
    let mut producer = producer.waiting(Notify::new(notifier.clone(), Adaptive::default()));
    let mut consumer = Pollable::connect(consumer(&memory), &place).unwrap();
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    let next = std::os::fd::AsRawFd::as_raw_fd(&fs::File::open("/dev/null").unwrap());
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, next as u64, hard).unwrap();
    producer.send(1).unwrap();
    assert_eq!(next!(consumer), Ok(1));
    assert_eq!(next!(consumer), Err(RecvError::HungUp));
    assert_eq!((notifier.peers(), notifier.turned_away()), (0, 1));
    println!("end: told");
}

#[test]
fn a_consumer_for_which_there_is_no_descriptor_is_told() {
    let mut process = Program::start(&mut child("without room", "/none", Path::new("none")));
    process.line("end: told");
    process.finish().well();
}
