//! The exercises of Day 1: each checks the same promises of your programs and of the solutions.
//!
//! `cargo test -p day1 --test exercises -- --ignored` checks yours. The programs in
//! `day1/exercises/wrong/` are wrong on purpose: each must fail here, for the reason that stands
//! beside its name.

mod support;

use std::fs;
use std::thread;

use testing::judge::awake::{A_WHILE, Who, sleeps};
use testing::judge::{breaks, timeout};
use testing::{Ended, Program, Unique};

use crate::support::{consumer_lines, producer_lines};

/// The programs of an exercise, each with its first arguments.
#[derive(Clone, Copy)]
struct Programs {
    producer: &'static [&'static str],
    consumer: &'static [&'static str],
}

const YOURS: Programs = Programs {
    producer: &[env!("CARGO_BIN_EXE_day1-producer")],
    consumer: &[env!("CARGO_BIN_EXE_day1-consumer")],
};

const SOLUTIONS: Programs = Programs {
    producer: &[env!("CARGO_BIN_EXE_day1-solution-producer")],
    consumer: &[env!("CARGO_BIN_EXE_day1-solution-consumer")],
};

const WRONG_PRODUCER: &str = env!("CARGO_BIN_EXE_day1-wrong-producer");
const WRONG_CONSUMER: &str = env!("CARGO_BIN_EXE_day1-wrong-consumer");

fn start(program: &[&str], arguments: &[&str]) -> Program {
    support::start(program[0], &[&program[1..], arguments].concat())
}

#[test]
#[ignore = "exercise 1, yours to solve"]
fn exercise_1_the_consumer_waits() {
    a_consumer_that_waits(YOURS);
}

#[test]
#[ignore = "exercise 2, yours to solve"]
fn exercise_2_more_than_one_message() {
    more_than_one_message(YOURS);
}

#[test]
fn solution_1_the_consumer_waits() {
    a_consumer_that_waits(SOLUTIONS);
}

#[test]
fn solution_2_more_than_one_message() {
    more_than_one_message(SOLUTIONS);
}

#[test]
fn wrong_consumers_fail() {
    let fails = |promise: &str, consumer: &'static [&str]| {
        let programs = Programs { consumer, ..SOLUTIONS };
        breaks(promise, || a_consumer_that_waits(programs));
    };
    fails("it sleeps while it waits for an object", &[WRONG_CONSUMER, "spins"]);
    fails("it sleeps while it waits for a size", &[WRONG_CONSUMER, "spins-for-the-message"]);
    fails("it gives up when the time is up", &[WRONG_CONSUMER, "never-gives-up"]);
    fails("the queue has no size yet: it must wait", &[WRONG_CONSUMER, "believes-the-name"]);
    fails("what the producer made is left", &[WRONG_CONSUMER, "removes-the-queue"]);
    fails("it prints what it should", &[WRONG_CONSUMER, "loses-the-last"]);
}

#[test]
fn wrong_producers_fail() {
    let fails = |promise: &str, producer: &'static [&str]| {
        let programs = Programs { producer, ..SOLUTIONS };
        breaks(promise, || more_than_one_message(programs));
    };
    fails("every message arrives", &[WRONG_PRODUCER, "loses-the-last"]);
    fails("no room: it refuses", &[WRONG_PRODUCER, "counts-no-zero-bytes"]);
    fails("an empty message: it refuses", &[WRONG_PRODUCER, "sends-an-empty-one"]);
    fails("its name goes with it", &[WRONG_PRODUCER, "leaves-the-name"]);
    fails("another's object stays as it was", &[WRONG_PRODUCER, "removes-anothers"]);
    fails("the name is taken: it refuses", &[WRONG_PRODUCER, "takes-anothers"]);
}

#[test]
fn the_solutions_still_keep_the_contract() {
    let name = Unique::new("day1");
    start(SOLUTIONS.producer, &[name.as_str(), "--linger", "0"]).finish().says(&producer_lines(
        name.as_str(),
        &["Hello from producer"],
        "0",
    ));
    let consumer = start(SOLUTIONS.consumer, &[name.as_str()]).finish();
    assert!(consumer.badly().starts_with(&format!("error: no queue {}:", name.as_str())));

    // Without --wait, a message that is not there yet is read as an empty one, as before.
    name.set_len(100);
    start(SOLUTIONS.consumer, &[name.as_str()])
        .finish()
        .says(&consumer_lines(name.as_str(), &[""]));
}

fn a_consumer_that_waits(programs: Programs) {
    the_consumer_waits_for_a_message(programs);
    the_consumer_gives_up(programs);
}

fn more_than_one_message(programs: Programs) {
    every_message_arrives_in_order(programs);
    a_hundred_bytes_fit_and_no_more(programs);
    an_empty_message_is_refused(programs);
    what_another_has_made_is_left_alone(programs);
}

/// The test plays the producer, one step at a time.
fn the_consumer_waits_for_a_message(programs: Programs) {
    let name = Unique::new("day1");
    let expected = consumer_lines(name.as_str(), &["Hello from the test"]);
    let mut consumer = start(programs.consumer, &[name.as_str(), "--wait", "600"]);
    assert_eq!(consumer.next_line(), expected[0], "it says that it is attaching");

    waits(&mut consumer, "an object", "there is no queue: it must wait");
    name.set_len(0);
    waits(&mut consumer, "a size", "the queue has no size yet: it must wait");
    name.set_len(100);
    waits(&mut consumer, "a message", "the queue holds no message yet: it must wait");
    // The first byte is written last, so that no reader sees half a message.
    name.poke(1, b"ello from the test");
    name.poke(0, b"H");

    let ended = consumer.finish_within(timeout(), "it goes on when there is a message");
    let printed: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(printed, expected[1..], "it prints what it should");
    ended.says(&expected[1..]);
    assert!(name.exists(), "what the producer made is left to the producer");
}

/// Fails if the consumer does not wait, or if it burns a core while it waits.
fn waits(consumer: &mut Program, waiting_for: &str, why: &str) {
    consumer.goes_on(why);
    sleeps(Who::Process(consumer.id()), waiting_for, || {
        thread::sleep(A_WHILE);
        consumer.goes_on(why);
    });
}

fn the_consumer_gives_up(programs: Programs) {
    let name = Unique::new("day1");
    for object in [None, Some(0), Some(100)] {
        if let Some(bytes) = object {
            name.set_len(bytes);
        }
        let consumer = start(programs.consumer, &[name.as_str(), "--wait", "0.05"]);
        let consumer = consumer.finish_within(timeout(), "it gives up when the time is up");
        refused(&consumer, "no message: it says what was missing");
        let stdout = consumer.stdout;
        assert!(!stdout.contains("read a msg"), "it has read nothing, and says so: {stdout}");
    }
}

/// Fails unless the program has ended with exit code 1 and one line on stderr.
#[track_caller]
fn refused(ended: &Ended, why: &str) {
    let Ended { status, stderr, .. } = ended;
    assert_eq!(status.code(), Some(1), "{why}, with exit code 1, but: {status}, {stderr:?}");
    ended.badly();
}

fn every_message_arrives_in_order(programs: Programs) {
    let name = Unique::new("day1");
    let messages = ["one", "two", "three"];
    for linger in ["600", "0"] {
        let mut arguments = vec![name.as_str(), "--linger", linger];
        arguments.extend(messages.iter().flat_map(|message| ["--message", message]));

        let mut producer = start(programs.producer, &arguments);
        let expected = producer_lines(name.as_str(), &messages, linger);
        for line in &expected[..expected.len() - 1] {
            assert_eq!(producer.next_line(), *line, "it prints what it does");
        }
        if linger == "0" {
            producer.finish_within(timeout(), "it ends").says(&expected[expected.len() - 1..]);
            assert!(!name.exists(), "its name goes with it");
        } else {
            let consumer = start(programs.consumer, &[name.as_str()]).finish();
            let expected = consumer_lines(name.as_str(), &messages);
            assert_eq!(consumer.lines, expected, "every message arrives, in order");
            consumer.says(&expected);
            drop(producer);
            name.remove();
        }
    }
}

fn a_hundred_bytes_fit_and_no_more(programs: Programs) {
    for (lengths, fits) in
        [(&[99][..], true), (&[100], false), (&[49, 49], true), (&[49, 50], false)]
    {
        let name = Unique::new("day1");
        let messages: Vec<String> = lengths.iter().map(|&bytes| "m".repeat(bytes)).collect();
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
        let linger = if fits { "600" } else { "0" };
        let mut arguments = vec![name.as_str(), "--linger", linger];
        arguments.extend(messages.iter().flat_map(|message| ["--message", message]));

        let mut producer = start(programs.producer, &arguments);
        if fits {
            // After these lines the messages are in the queue.
            (0..2 + messages.len()).for_each(|_| drop(producer.next_line()));
            let consumer = start(programs.consumer, &[name.as_str()]).finish();
            consumer.says(&consumer_lines(name.as_str(), &messages));
        } else {
            let producer = producer.finish();
            refused(&producer, "there is no room: it refuses");
            let stdout = producer.stdout;
            assert!(!stdout.contains("sent a msg"), "it has sent nothing, and says so: {stdout}");
            assert!(!name.exists(), "it refuses before it creates anything");
        }
    }
}

fn an_empty_message_is_refused(programs: Programs) {
    let name = Unique::new("day1");
    let arguments = [name.as_str(), "--linger", "0", "--message", "one", "--message", ""];
    refused(&start(programs.producer, &arguments).finish(), "an empty message: it refuses");
    assert!(!name.exists(), "it refuses before it creates anything");
}

fn what_another_has_made_is_left_alone(programs: Programs) {
    let name = Unique::new("day1");
    name.set_len(100);
    name.poke(0, b"another's");
    let before = fs::read(name.path()).unwrap();
    let too_long = "m".repeat(100);
    for (message, why) in
        [("mine", "the name is taken: it refuses"), (&too_long, "there is no room: it refuses")]
    {
        let arguments = [name.as_str(), "--linger", "0", "--message", message];
        let producer = start(programs.producer, &arguments).finish();
        let after = fs::read(name.path()).ok();
        refused(&producer, why);
        assert_eq!(after.as_ref(), Some(&before), "another's object stays as it was");
    }
}
