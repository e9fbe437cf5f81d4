//! The exercises of Day 2: each asks the same of your function and of the solution.
//!
//! Write yours in `day2/exercises/`; `cargo test -p day2 --test exercises -- --ignored` asks it of them.

mod common;

#[path = "../exercises/inspect.rs"]
mod inspect_exercise;
#[path = "../solutions/inspect.rs"]
mod inspect_solution;
#[path = "../exercises/wait_for.rs"]
mod wait_for_exercise;
#[path = "../solutions/wait_for.rs"]
mod wait_for_solution;

use std::thread;
use std::time::{Duration, Instant};

use ::common::QueueName;
use day2::header::Expected;
use day2::segment::page_size;
use day2::{Geometry, Kind, LogReader, LogWriter, OpenError, Segment};

use crate::common::{DEADLINE, Unique, promptly, unprivileged};

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitError {
    /// It had not come when the deadline had passed.
    TimedOut,
    /// The log has fewer places than that: it will never come.
    NoSuchPlace {
        /// How many messages the log has room for.
        capacity: u64,
    },
}

type WaitFor = fn(&LogReader<u64>, u64, Duration) -> Result<u64, WaitError>;
type Inspect = fn(&QueueName) -> Result<String, OpenError>;

#[test]
#[ignore = "exercise 1, yours to solve"]
fn exercise_1_wait_for_a_message() {
    every_promise_of_wait_for(wait_for_exercise::wait_for);
}

#[test]
#[ignore = "exercise 2, yours to solve"]
fn exercise_2_say_what_a_segment_is() {
    every_promise_of_inspect(inspect_exercise::inspect);
}

#[test]
fn solution_1_wait_for_a_message() {
    every_promise_of_wait_for(wait_for_solution::wait_for);
}

#[test]
fn solution_2_say_what_a_segment_is() {
    every_promise_of_inspect(inspect_solution::inspect);
}

fn every_promise_of_wait_for(wait_for: WaitFor) {
    a_message_that_is_there_needs_no_time(wait_for);
    a_message_that_comes_is_returned(wait_for);
    a_message_that_does_not_come_is_a_timeout(wait_for);
    a_message_that_cannot_come_is_not_waited_for(wait_for);
}

fn every_promise_of_inspect(inspect: Inspect) {
    any_kind_is_described(inspect);
    whoever_inspects_only_looks(inspect);
    what_is_no_segment_is_an_error(inspect);
}

fn a_message_that_is_there_needs_no_time(wait_for: WaitFor) {
    let name = Unique::new("wait-there");
    let mut writer = LogWriter::<u64>::create(&name, 10).unwrap();
    let reader = LogReader::open(&name, 10).unwrap();
    for message in [40, 41, 42] {
        writer.append(&message).unwrap();
    }
    assert_eq!(wait_for(&reader, 0, Duration::ZERO), Ok(40));
    assert_eq!(wait_for(&reader, 2, DEADLINE), Ok(42));
}

fn a_message_that_comes_is_returned(wait_for: WaitFor) {
    let name = Unique::new("wait-comes");
    let mut writer = LogWriter::<u64>::create(&name, 10).unwrap();
    let reader = LogReader::open(&name, 10).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_for(&reader, 1, DEADLINE));
        // The message before it must not be taken for it.
        writer.append(&1).unwrap();
        thread::sleep(Duration::from_millis(20));
        assert!(!waiting.is_finished(), "message 1 is not there: {:?}", waiting.join().unwrap());
        writer.append(&2).unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(2));
    });
}

fn a_message_that_does_not_come_is_a_timeout(wait_for: WaitFor) {
    let name = Unique::new("wait-timeout");
    let _writer = LogWriter::<u64>::create(&name, 10).unwrap();
    let reader = LogReader::open(&name, 10).unwrap();
    for deadline in [Duration::ZERO, Duration::from_millis(20)] {
        let started = Instant::now();
        assert_eq!(wait_for(&reader, 9, deadline), Err(WaitError::TimedOut));
        assert!(started.elapsed() >= deadline, "it gave up before the deadline");
    }
}

fn a_message_that_cannot_come_is_not_waited_for(wait_for: WaitFor) {
    for index in [10, 11, u64::MAX] {
        let outcome = promptly(move || {
            let name = Unique::new("wait-never");
            let _writer = LogWriter::<u64>::create(&name, 10).unwrap();
            let reader = LogReader::open(&name, 10).unwrap();
            wait_for(&reader, index, 100 * DEADLINE)
        });
        assert_eq!(outcome, Err(WaitError::NoSuchPlace { capacity: 10 }));
    }
}

fn any_kind_is_described(inspect: Inspect) {
    let name = Unique::new("inspect-log");
    let _writer = LogWriter::<[u8; 100]>::create(&name, 10).unwrap();
    let bytes = 3 * page_size();
    let expected =
        format!("log: 10 x [u8; 100], 100 bytes each aligned to 1, {bytes} bytes in all");
    assert_eq!(inspect(&name).unwrap(), expected);

    let name = Unique::new("inspect-ring");
    let messages = Expected {
        kind: Kind::Ring,
        element_size: 64,
        element_align: 32,
        capacity: None,
        message_type: "weather::Reading",
    };
    let geometry = Geometry::plan(&messages, 1024, 0, 256, page_size()).unwrap();
    let bytes = geometry.total_len();
    let _segment = Segment::create(&name, geometry, 0o600, |_| ()).unwrap();
    let expected =
        format!("ring: 1024 x weather::Reading, 64 bytes each aligned to 32, {bytes} bytes in all");
    assert_eq!(inspect(&name).unwrap(), expected);
}

fn whoever_inspects_only_looks(inspect: Inspect) {
    let name = Unique::new("inspect-looks");
    let writer = LogWriter::<u64>::create(&name, 10).unwrap();
    name.set_mode(0o444);
    let before = name.state();
    unprivileged(|| inspect(&name)).expect("who may read the object may inspect it");
    assert_eq!(name.state(), before);
    assert!(!writer.wait_for_reader(Duration::ZERO), "it was counted as a reader");
}

fn what_is_no_segment_is_an_error(inspect: Inspect) {
    let name = Unique::new("inspect-none");
    assert!(matches!(inspect(&name), Err(OpenError::NotFound { .. })));
    name.write(b"a shopping list");
    assert!(matches!(inspect(&name), Err(OpenError::Magic { .. })));
}
