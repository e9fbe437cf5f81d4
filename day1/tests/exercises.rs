//! The exercises of Day 1: each asks the same of your programs and of the solutions.
//!
//! `cargo test -p day1 --test exercises -- --ignored` asks it of yours.

mod support;

use crate::support::{Program, Unique, consumer_lines, producer_lines};

/// The programs that an exercise is about.
#[derive(Clone, Copy)]
struct Programs {
    producer: &'static str,
    consumer: &'static str,
}

const YOURS: Programs = Programs {
    producer: env!("CARGO_BIN_EXE_day1-producer"),
    consumer: env!("CARGO_BIN_EXE_day1-consumer"),
};

const SOLUTIONS: Programs = Programs {
    producer: env!("CARGO_BIN_EXE_day1-solution-producer"),
    consumer: env!("CARGO_BIN_EXE_day1-solution-consumer"),
};

#[test]
#[ignore = "exercise 1, yours to solve"]
fn exercise_1_the_consumer_waits() {
    the_consumer_waits_for_a_message(YOURS);
    the_consumer_gives_up(YOURS);
}

#[test]
#[ignore = "exercise 2, yours to solve"]
fn exercise_2_more_than_one_message() {
    every_message_arrives_in_order(YOURS);
    a_hundred_bytes_fit_and_no_more(YOURS);
    an_empty_message_is_refused(YOURS);
}

#[test]
fn solution_1_the_consumer_waits() {
    the_consumer_waits_for_a_message(SOLUTIONS);
    the_consumer_gives_up(SOLUTIONS);
}

#[test]
fn solution_2_more_than_one_message() {
    every_message_arrives_in_order(SOLUTIONS);
    a_hundred_bytes_fit_and_no_more(SOLUTIONS);
    an_empty_message_is_refused(SOLUTIONS);
}

#[test]
fn the_solutions_still_keep_the_contract() {
    let name = Unique::new();
    Program::start(SOLUTIONS.producer, &[&name, "--linger", "0"]).finish().well(&producer_lines(
        &name,
        &["Hello from producer"],
        "0",
    ));
    let consumer = Program::start(SOLUTIONS.consumer, &[&name]).finish();
    assert!(consumer.failed().starts_with(&format!("error: no queue {}:", &*name)));

    // Without --wait, a message that is not there yet is an empty one, as it was.
    name.set_len(100);
    Program::start(SOLUTIONS.consumer, &[&name]).finish().well(&consumer_lines(&name, &[""]));
}

/// The test is the producer, and takes its steps one by one.
fn the_consumer_waits_for_a_message(programs: Programs) {
    let name = Unique::new();
    let expected = consumer_lines(&name, &["Hello from the test"]);
    let mut consumer = Program::start(programs.consumer, &[&name, "--wait", "600"]);
    assert_eq!(consumer.line(), expected[0]);

    consumer.goes_on("there is no queue: it must wait");
    name.set_len(0);
    consumer.goes_on("the queue has no size yet: it must wait");
    name.set_len(100);
    consumer.goes_on("the queue holds no message yet: it must wait");
    // The first byte comes last, so that nobody can see half a message.
    name.poke(1, b"ello from the test");
    name.poke(0, b"H");

    consumer.finish().well(&expected[1..]);
}

fn the_consumer_gives_up(programs: Programs) {
    let name = Unique::new();
    for object in [None, Some(0), Some(100)] {
        if let Some(bytes) = object {
            name.set_len(bytes);
        }
        let consumer = Program::start(programs.consumer, &[&name, "--wait", "0.05"]).finish();
        consumer.failed();
        assert!(!consumer.stdout.contains("read a msg"), "{}", consumer.stdout);
    }
}

fn every_message_arrives_in_order(programs: Programs) {
    let name = Unique::new();
    let messages = ["one", "two", "three"];
    let mut arguments = vec![&*name, "--linger", "600"];
    arguments.extend(messages.iter().flat_map(|message| ["--message", message]));

    let producer = Program::start(programs.producer, &arguments);
    let expected = producer_lines(&name, &messages, "600");
    for line in &expected[..expected.len() - 1] {
        assert_eq!(producer.line(), *line);
    }
    let consumer = Program::start(programs.consumer, &[&name]).finish();
    consumer.well(&consumer_lines(&name, &messages));
}

fn a_hundred_bytes_fit_and_no_more(programs: Programs) {
    for (lengths, fits) in
        [(&[99][..], true), (&[100], false), (&[49, 49], true), (&[49, 50], false)]
    {
        let name = Unique::new();
        let messages: Vec<String> = lengths.iter().map(|&bytes| "m".repeat(bytes)).collect();
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
        let linger = if fits { "600" } else { "0" };
        let mut arguments = vec![&*name, "--linger", linger];
        arguments.extend(messages.iter().flat_map(|message| ["--message", message]));

        let producer = Program::start(programs.producer, &arguments);
        if fits {
            // Its lines say that the messages are there.
            (0..2 + messages.len()).for_each(|_| drop(producer.line()));
            let consumer = Program::start(programs.consumer, &[&name]).finish();
            consumer.well(&consumer_lines(&name, &messages));
        } else {
            let producer = producer.finish();
            producer.failed();
            assert!(!producer.stdout.contains("sent a msg"), "{}", producer.stdout);
            assert!(!name.exists());
        }
    }
}

fn an_empty_message_is_refused(programs: Programs) {
    let name = Unique::new();
    let arguments = [&name, "--linger", "0", "--message", "one", "--message", ""];
    Program::start(programs.producer, &arguments).finish().failed();
    assert!(!name.exists());
}
