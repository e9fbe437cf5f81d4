//! What the two programs print, to the letter, and what they do when something is wrong.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::signal::Signal;
use testing::{Program, Unique, eventually};

use crate::support::{consumer_lines, producer_lines, start, start_held_after};

const PRODUCER: &str = env!("CARGO_BIN_EXE_day1-producer");
const CONSUMER: &str = env!("CARGO_BIN_EXE_day1-consumer");
const HELLO: &str = "Hello from producer";
/// Longer than any test takes; the producer is killed long before.
const LONG: &str = "600";

/// A producer that has sent its message, and stays until this is dropped.
fn producer_at_work(name: &str) -> Program {
    let mut producer = start(PRODUCER, &[name, "--linger", LONG]);
    for expected in &producer_lines(name, &[HELLO], LONG)[..3] {
        assert_eq!(producer.next_line(), *expected);
    }
    producer
}

#[test]
fn the_default_queue_is_the_contract_to_the_letter() {
    let (_lock, name) = Unique::shared("/queue");
    let mut producer = start(PRODUCER, &[]);
    producer.line("Producer sent");
    let consumer = start(CONSUMER, &[]).finish();
    let producer = producer.finish();

    assert_eq!(
        producer.lines.join("\n") + "\n",
        "Producer creating the shared-memory queue /queue...\n\
         Producer created the shared-memory queue /queue of size 100 and mapped it into memory.\n\
         Producer sent a msg \"Hello from producer\" into the queue.\n\
         Producer closed the queue after 5 seconds and exit...\n"
    );
    assert_eq!(
        consumer.stdout,
        "Consumer attaching to the shared-memory queue /queue...\n\
         Consumer attached to the shared-memory queue /queue.\n\
         Consumer read a msg from queue: \"Hello from producer\"\n\
         Consumer closed the queue and exit...\n"
    );
    assert_eq!((producer.stderr + &consumer.stderr).as_str(), "");
    assert_eq!((producer.status.code(), consumer.status.code()), (Some(0), Some(0)));
    assert!(!name.exists());
}

#[test]
fn a_producer_says_how_long_it_stayed_and_leaves_nothing_behind() {
    for seconds in ["0", "0.25"] {
        let name = Unique::new("day1");
        let producer = start(PRODUCER, &["--linger", seconds, name.as_str()]).finish();
        producer.says(&producer_lines(name.as_str(), &[HELLO], seconds));
        assert!(!name.exists());
    }
}

#[test]
fn a_name_may_come_without_its_slash() {
    let name = Unique::new("day1");
    let bare = name.bare();
    let _producer = producer_at_work(name.as_str());
    start(CONSUMER, &[bare]).finish().says(&consumer_lines(name.as_str(), &[HELLO]));
    let producer = start(PRODUCER, &[bare]).finish();
    assert!(producer.badly().starts_with(&format!("error: {} is taken:", name.as_str())));
}

#[test]
fn reading_takes_nothing_away() {
    let name = Unique::new("day1");
    let _producer = producer_at_work(name.as_str());
    for _ in 0..2 {
        start(CONSUMER, &[name.as_str()]).finish().says(&consumer_lines(name.as_str(), &[HELLO]));
    }
}

#[test]
fn a_consumer_without_a_producer_says_so() {
    let name = Unique::new("day1");
    let consumer = start(CONSUMER, &[name.as_str()]).finish();
    assert!(consumer.badly().starts_with(&format!("error: no queue {}:", name.as_str())));
    assert_eq!(consumer.lines, consumer_lines(name.as_str(), &[])[..1]);
    assert!(!name.exists());
}

#[test]
fn a_second_producer_leaves_the_queue_of_the_first_alone() {
    let name = Unique::new("day1");
    let _first = producer_at_work(name.as_str());
    let inode = name.path().metadata().unwrap().ino();

    let second = start(PRODUCER, &[name.as_str(), "--linger", "0"]).finish();
    assert!(second.badly().starts_with(&format!("error: {} is taken:", name.as_str())));
    assert_eq!(second.lines, producer_lines(name.as_str(), &[], "0")[..1]);

    assert_eq!(name.path().metadata().unwrap().ino(), inode);
    start(CONSUMER, &[name.as_str()]).finish().says(&consumer_lines(name.as_str(), &[HELLO]));
}

#[test]
fn an_object_that_is_too_small_is_refused_before_it_is_mapped() {
    let name = Unique::new("day1");
    for bytes in [0, 1, 99] {
        name.set_len(bytes);
        let consumer = start(CONSUMER, &[name.as_str()]).finish();
        let start = format!("error: {} has {bytes} bytes, expected 100:", name.as_str());
        assert!(consumer.badly().starts_with(&start), "{}", consumer.stderr);
        assert_eq!(consumer.lines, consumer_lines(name.as_str(), &[])[..1]);
        assert_eq!(name.path().metadata().unwrap().len(), bytes);
    }
}

#[test]
fn any_object_that_is_large_enough_is_believed() {
    // The weakness that Day 2 repairs: nothing says "this is a queue", or "the message is there".
    let name = Unique::new("day1");
    for (bytes, poke, message) in [
        (100, String::new(), String::new()),
        (100, "x".repeat(100), "x".repeat(100)),
        (10_000, "y".repeat(101), "y".repeat(100)),
        (10_000, "a\x1bb\0\0c".to_owned(), r"a\u{1b}b".to_owned()),
    ] {
        name.set_len(0);
        name.set_len(bytes);
        name.poke(0, poke.as_bytes());
        let consumer = start(CONSUMER, &[name.as_str()]).finish();
        consumer.says(&consumer_lines(name.as_str(), &[&message]));
    }
}

#[test]
fn only_this_user_may_open_the_queue() {
    let name = Unique::new("day1");
    let _producer = producer_at_work(name.as_str());
    let found = name.path().metadata().unwrap();
    assert_eq!((found.mode() & 0o777, found.len()), (0o600, 100));
}

#[test]
fn the_producer_maps_for_writing_and_the_consumer_for_reading() {
    let name = Unique::new("day1");
    let rights = |program: u32| {
        let maps = fs::read_to_string(format!("/proc/{program}/maps")).unwrap();
        let line = maps.lines().find(|line| line.ends_with(name.path().to_str().unwrap()))?;
        Some(line.split(' ').nth(1).unwrap().to_owned())
    };
    let producer = producer_at_work(name.as_str());
    assert_eq!(rights(producer.id()).as_deref(), Some("rw-s"));

    let line = &consumer_lines(name.as_str(), &[])[0];
    let (consumer, _reader) = start_held_after(line, CONSUMER, &[name.as_str()]);
    eventually("the consumer has mapped the queue", || rights(consumer.id()).is_some());
    assert_eq!(rights(consumer.id()).as_deref(), Some("r--s"));
}

#[test]
fn a_producer_that_fails_midway_removes_its_queue() {
    let name = Unique::new("day1");
    let line = &producer_lines(name.as_str(), &[], LONG)[0];
    let arguments = [name.as_str(), "--linger", LONG];
    let (producer, reader) = start_held_after(line, PRODUCER, &arguments);
    eventually("the producer has created the queue", || name.exists());
    drop(reader);
    assert!(!producer.finish().status.success());
    assert!(!name.exists());
}

#[test]
fn a_producer_that_is_killed_leaves_its_name_behind() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let name = Unique::new("day1");
        let first = producer_at_work(name.as_str());
        first.signal(signal);
        assert!(!first.finish().status.success());
        assert!(name.exists());

        start(CONSUMER, &[name.as_str()]).finish().says(&consumer_lines(name.as_str(), &[HELLO]));
        let second = start(PRODUCER, &[name.as_str()]).finish();
        assert!(second.badly().contains(&format!("remove /dev/shm{}", name.as_str())));
    }
}

#[test]
fn bad_arguments_are_refused_before_anything_is_made() {
    for arguments in [
        &["--linger", "-1"][..],
        &["--linger", "inf"],
        &["--linger", "soon"],
        &["--linger"],
        &["a/b"],
        &[""],
    ] {
        let producer = start(PRODUCER, arguments).finish();
        assert_eq!(producer.status.code(), Some(2), "{arguments:?}");
        assert!(producer.stderr.starts_with("error: "), "{arguments:?}: {}", producer.stderr);
        assert_eq!(producer.stdout, "");
    }
}
