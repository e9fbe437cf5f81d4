//! The two programs, to the letter, and what they do when something is wrong.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::signal::Signal;

use crate::support::{Program, Unique, consumer_lines, eventually, producer_lines};

const PRODUCER: &str = env!("CARGO_BIN_EXE_day1-producer");
const CONSUMER: &str = env!("CARGO_BIN_EXE_day1-consumer");
const HELLO: &str = "Hello from producer";
/// Longer than any test takes; the producer is killed long before.
const LONG: &str = "600";

/// A producer whose message is in its queue, and which stays until it is dropped.
fn producer_at_work(name: &str) -> Program {
    let producer = Program::start(PRODUCER, &[name, "--linger", LONG]);
    for expected in &producer_lines(name, &[HELLO], LONG)[..3] {
        assert_eq!(producer.line(), *expected);
    }
    producer
}

#[test]
fn the_default_queue_is_the_contract_to_the_letter() {
    let (_lock, name) = Unique::default_name();
    let producer = Program::start(PRODUCER, &[]);
    let started: String = (0..3).map(|_| producer.line()).collect();
    let consumer = Program::start(CONSUMER, &[]).finish();
    let producer = producer.finish();

    assert_eq!(
        started + &producer.stdout,
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
        let name = Unique::new();
        let producer = Program::start(PRODUCER, &["--linger", seconds, &name]).finish();
        producer.well(&producer_lines(&name, &[HELLO], seconds));
        assert!(!name.exists());
    }
}

#[test]
fn a_name_may_come_without_its_slash() {
    let name = Unique::new();
    let bare = &name[1..];
    let _producer = producer_at_work(&name);
    Program::start(CONSUMER, &[bare]).finish().well(&consumer_lines(&name, &[HELLO]));
    let producer = Program::start(PRODUCER, &[bare]).finish();
    assert!(producer.failed().starts_with(&format!("error: {} is taken:", &*name)));
}

#[test]
fn reading_takes_nothing_away() {
    let name = Unique::new();
    let _producer = producer_at_work(&name);
    for _ in 0..2 {
        Program::start(CONSUMER, &[&name]).finish().well(&consumer_lines(&name, &[HELLO]));
    }
}

#[test]
fn a_consumer_without_a_producer_says_so() {
    let name = Unique::new();
    let consumer = Program::start(CONSUMER, &[&name]).finish();
    assert!(consumer.failed().starts_with(&format!("error: no queue {}:", &*name)));
    assert_eq!(consumer.stdout, consumer_lines(&name, &[])[0]);
    assert!(!name.exists());
}

#[test]
fn a_second_producer_leaves_the_queue_of_the_first_alone() {
    let name = Unique::new();
    let _first = producer_at_work(&name);
    let inode = name.path().metadata().unwrap().ino();

    let second = Program::start(PRODUCER, &[&name, "--linger", "0"]).finish();
    assert!(second.failed().starts_with(&format!("error: {} is taken:", &*name)));
    assert_eq!(second.stdout, producer_lines(&name, &[], "0")[0]);

    assert_eq!(name.path().metadata().unwrap().ino(), inode);
    Program::start(CONSUMER, &[&name]).finish().well(&consumer_lines(&name, &[HELLO]));
}

#[test]
fn an_object_that_is_too_small_is_refused_before_it_is_mapped() {
    let name = Unique::new();
    for bytes in [0, 1, 99] {
        name.set_len(bytes);
        let consumer = Program::start(CONSUMER, &[&name]).finish();
        let start = format!("error: {} has {bytes} bytes, expected 100:", &*name);
        assert!(consumer.failed().starts_with(&start), "{}", consumer.stderr);
        assert_eq!(consumer.stdout, consumer_lines(&name, &[])[0]);
        assert_eq!(name.path().metadata().unwrap().len(), bytes);
    }
}

#[test]
fn any_object_that_is_large_enough_is_believed() {
    // The weakness that Day 2 is about: nothing says "this is a queue", or "the message is there".
    let name = Unique::new();
    for (bytes, poke, message) in [
        (100, String::new(), String::new()),
        (100, "x".repeat(100), "x".repeat(100)),
        (10_000, "y".repeat(101), "y".repeat(100)),
        (10_000, "a\x1bb\0\0c".to_owned(), r"a\u{1b}b".to_owned()),
    ] {
        name.set_len(0);
        name.set_len(bytes);
        name.poke(0, poke.as_bytes());
        let consumer = Program::start(CONSUMER, &[&name]).finish();
        consumer.well(&consumer_lines(&name, &[&message]));
    }
}

#[test]
fn only_this_user_may_open_the_queue() {
    let name = Unique::new();
    let _producer = producer_at_work(&name);
    let found = name.path().metadata().unwrap();
    assert_eq!((found.mode() & 0o777, found.len()), (0o600, 100));
}

#[test]
fn the_producer_maps_for_writing_and_the_consumer_for_reading() {
    let name = Unique::new();
    let rights = |program: u32| {
        let maps = fs::read_to_string(format!("/proc/{program}/maps")).unwrap();
        let line = maps.lines().find(|line| line.ends_with(name.path().to_str().unwrap()))?;
        Some(line.split(' ').nth(1).unwrap().to_owned())
    };
    let producer = producer_at_work(&name);
    assert_eq!(rights(producer.id()).as_deref(), Some("rw-s"));

    let line = &consumer_lines(&name, &[])[0];
    let (consumer, _reader) = Program::start_held_after(line, CONSUMER, &[&name]);
    eventually("the consumer has mapped the queue", || rights(consumer.id()).is_some());
    assert_eq!(rights(consumer.id()).as_deref(), Some("r--s"));
}

#[test]
fn a_producer_that_fails_midway_removes_its_queue() {
    let name = Unique::new();
    let line = &producer_lines(&name, &[], LONG)[0];
    let arguments = [&name, "--linger", LONG];
    let (producer, reader) = Program::start_held_after(line, PRODUCER, &arguments);
    eventually("the producer has created the queue", || name.exists());
    drop(reader);
    assert!(!producer.finish().status.success());
    assert!(!name.exists());
}

#[test]
fn a_producer_that_is_killed_leaves_its_name_behind() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let name = Unique::new();
        let first = producer_at_work(&name);
        first.signal(signal);
        assert!(!first.finish().status.success());
        assert!(name.exists());

        Program::start(CONSUMER, &[&name]).finish().well(&consumer_lines(&name, &[HELLO]));
        let second = Program::start(PRODUCER, &[&name]).finish();
        assert!(second.failed().contains(&format!("remove /dev/shm{}", &*name)));
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
        let producer = Program::start(PRODUCER, arguments).finish();
        assert_eq!(producer.status.code(), Some(2), "{arguments:?}");
        assert!(producer.stderr.starts_with("error: "), "{arguments:?}: {}", producer.stderr);
        assert_eq!(producer.stdout, "");
    }
}
