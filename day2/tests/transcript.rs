//! What the two programs print, to the letter.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use common::QueueName;
use day2::{LogReader, LogWriter};
use testing::{Program, Unique, eventually};

fn producer(arguments: &[&str]) -> Program {
    Program::start(Command::new(env!("CARGO_BIN_EXE_day2-producer")).args(arguments))
}

fn consumer(arguments: &[&str]) -> Program {
    Program::start(Command::new(env!("CARGO_BIN_EXE_day2-consumer")).args(arguments))
}

fn producer_lines(name: &str) -> Vec<String> {
    let text = format!(
        "creating spmc_queue {name} of size 100 and capacity 10 with mode writer\n\
         spmc_queue created\n\
         destroying spmc_queue {name} of mode writer\n\
         spmc_queue destroyed\n"
    );
    text.lines().map(str::to_owned).collect()
}

fn consumer_lines(name: &str) -> Vec<String> {
    let text = format!(
        "creating spmc_queue {name} of size 100 and capacity 10 with mode reader\n\
         spmc_queue created\n\
         Received message from producer: Hello from spmc_queue producer!\n\
         destroying spmc_queue {name} of mode reader\n\
         spmc_queue destroyed\n"
    );
    text.lines().map(str::to_owned).collect()
}

/// Runs both with the same arguments; the consumer starts once the queue is there.
fn run_both(name: &QueueName, arguments: &[&str]) {
    let path = format!("/dev/shm{name}");
    let producer = producer(arguments);
    eventually("the queue exists", || std::fs::exists(&path).unwrap());
    let consumer = consumer(arguments).finish();
    let producer = producer.finish();

    producer.says(&producer_lines(name.as_str()));
    consumer.says(&consumer_lines(name.as_str()));
    assert!(!std::fs::exists(&path).unwrap(), "{path} is left behind");
}

#[test]
fn the_lines_are_the_contract() {
    let name = Unique::new("transcript");
    run_both(&name, &[name.as_str()]);
}

#[test]
fn a_name_may_come_without_its_slash() {
    let name = Unique::new("no-slash");
    run_both(&name, &[name.bare()]);
}

#[test]
fn the_default_name_is_the_contracts() {
    let (_lock, name) = Unique::shared("/spmc_test_queue");
    run_both(&name, &[]);
}

#[test]
fn a_consumer_without_a_producer_says_so() {
    let name = Unique::new("alone");
    let output = consumer(&[name.as_str()]).finish();
    let stderr = output.badly();
    assert!(stderr.starts_with(&format!("error: no queue {}:", *name)), "{stderr}");
    assert!(!name.exists());
}

#[test]
fn a_producer_whose_name_is_taken_says_so_and_touches_nothing() {
    let name = Unique::new("taken");
    let _writer = LogWriter::<u64>::create(&name, 3).unwrap();
    let before = name.state();
    let stderr = producer(&[name.as_str()]).finish().badly();
    assert!(
        stderr
            .starts_with(&format!("error: {} is taken by a queue whose producer is alive", *name)),
        "{stderr}"
    );
    assert_eq!(name.state(), before);
}

#[test]
fn a_producer_gives_up_when_no_reader_comes_and_cleans_up() {
    let name = Unique::new("nobody");
    let stderr = producer(&["--wait", "0.01", name.as_str()]).finish().badly();
    assert!(stderr.contains("no reader came"), "{stderr}");
    assert!(!name.exists());
}

#[test]
fn a_producer_waits_for_the_reader_before_it_publishes() {
    let name = Unique::new("waits");
    let producer = producer(&[name.as_str()]);
    eventually("the queue exists", || name.exists());
    let reader = LogReader::<[u8; 100]>::open(&name, 10).unwrap();
    eventually("the message is there", || !reader.is_empty());
    producer.finish().says(&producer_lines(name.as_str()));
    // The name is gone, the memory is not.
    assert!(reader.get(0).unwrap().starts_with(b"Hello from spmc_queue producer!\0"));
}

#[test]
fn a_killed_producer_leaves_its_name_behind() {
    // A week's lesson in one test: no destructor runs in a process that is killed. Day 6 deals with
    // it.
    let name = Unique::new("killed");
    let first = producer(&[name.as_str()]);
    eventually("the queue exists", || name.exists());
    let inode = name.metadata().ino();
    first.kill();
    assert_eq!(name.metadata().ino(), inode);
    let stderr = producer(&[name.as_str()]).finish().badly();
    assert!(stderr.contains("is taken by a queue whose producer has died"), "{stderr}");
}

#[test]
fn a_bad_name_or_wait_is_refused() {
    for arguments in [&["a/b"][..], &[""], &["--wait", "-1"], &["--wait", "inf"]] {
        let output = producer(arguments).finish();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn the_measurement_runs_and_cleans_up() {
    let mut measure = Command::new(env!("CARGO_BIN_EXE_day2-measure"));
    let child = Program::start(measure.args(["--mib", "1", "--repeats", "1"]));
    let left = Unique::given(&format!("/day2-measure-{}", child.id()));
    let output = child.finish();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.lines.len(), 11);
    assert!(!left.exists());
}
