//! The exercises of Day 2: each checks the same promises of your function and of the solution.
//!
//! Write yours in `day2/exercises/`; `cargo test -p day2 --test exercises -- --ignored` checks it. The
//! functions in `day2/exercises/wrong/` are wrong on purpose: each must fail here, for the reason that
//! stands beside its name.

#[path = "../exercises/inspect.rs"]
mod inspect_exercise;
#[path = "../solutions/inspect.rs"]
mod inspect_solution;
#[path = "../exercises/wait_for.rs"]
mod wait_for_exercise;
#[path = "../solutions/wait_for.rs"]
mod wait_for_solution;

#[path = "../exercises/wrong"]
mod wrong {
    pub(crate) mod inspect_counts_itself;
    pub(crate) mod inspect_leaks;
    pub(crate) mod inspect_tidies_up;
    pub(crate) mod wait_for_asks_the_clock_first;
    pub(crate) mod wait_for_ignores_the_timeout;
    pub(crate) mod wait_for_sleeps_through;
    pub(crate) mod wait_for_spins;
    pub(crate) mod wait_for_takes_the_last;
    pub(crate) mod wait_for_waits_for_ever;
}

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use common::QueueName;
use day2::header::Expected;
use day2::segment::page_size;
use day2::{Geometry, Kind, LogReader, LogWriter, OpenError, Segment};
use testing::judge::awake::{A_WHILE, Who, sleeps};
use testing::judge::{breaks, comes_back, far_away, joined};
use testing::{Unique, unprivileged};

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitError {
    /// It had not come when the timeout had passed.
    TimedOut,
    /// The log has no place of that index, so the message will never come.
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

#[test]
fn wrong_ways_to_wait_for_a_message_fail() {
    let fails =
        |promise: &str, wrong: WaitFor| breaks(promise, || every_promise_of_wait_for(wrong));
    fails("it sleeps while it waits for a message", wrong::wait_for_spins::wait_for);
    fails("a message that is there", wrong::wait_for_asks_the_clock_first::wait_for);
    fails("the message at the index", wrong::wait_for_takes_the_last::wait_for);
    fails("as soon as it is there", wrong::wait_for_sleeps_through::wait_for);
    fails("when the deadline has passed", wrong::wait_for_ignores_the_timeout::wait_for);
    fails("NoSuchPlace at once", wrong::wait_for_waits_for_ever::wait_for);
}

#[test]
fn wrong_ways_to_inspect_fail() {
    let fails = |promise: &str, wrong: Inspect| breaks(promise, || every_promise_of_inspect(wrong));
    fails("the right to read the object is enough", wrong::inspect_counts_itself::inspect);
    fails("nothing stays open, and nothing mapped", wrong::inspect_leaks::inspect);
    fails("what is no segment stays as it was", wrong::inspect_tidies_up::inspect);
}

fn every_promise_of_wait_for(wait_for: WaitFor) {
    a_message_that_is_there_needs_no_time(wait_for);
    a_message_that_comes_is_returned(wait_for);
    a_message_that_does_not_come_is_a_timeout(wait_for);
    a_message_that_cannot_come_is_not_waited_for(wait_for);
}

fn every_promise_of_inspect(inspect: Inspect) {
    any_kind_is_described(inspect);
    inspecting_changes_nothing(inspect);
    what_is_no_segment_is_an_error(inspect);
}

/// Calls `f` with a name on another thread, and fails if `f` does not return. This function keeps the
/// name, because a thread that hangs never drops what it holds.
#[track_caller]
fn comes_back_with<T: Send + 'static>(
    promise: &str,
    what: &str,
    f: impl FnOnce(&QueueName) -> T + Send + 'static,
) -> T {
    let name = Unique::new(what);
    let lent = QueueName::clone(&name);
    comes_back(promise, move || f(&lent))
}

fn a_message_that_is_there_needs_no_time(wait_for: WaitFor) {
    comes_back_with("a message that is there is returned at once", "wait-there", move |name| {
        let mut writer = LogWriter::<u64>::create(name, 10).unwrap();
        let reader = LogReader::open(name, 10).unwrap();
        for message in [40, 41, 42] {
            writer.append(&message).unwrap();
        }
        let there = "a message that is there is returned, however short the deadline";
        assert_eq!(wait_for(&reader, 0, Duration::ZERO), Ok(40), "{there}");
        assert_eq!(wait_for(&reader, 2, far_away()), Ok(42), "{there}");
    });
}

fn a_message_that_comes_is_returned(wait_for: WaitFor) {
    comes_back_with("a message is returned as soon as it is there", "wait-comes", move |name| {
        let mut writer = LogWriter::<u64>::create(name, 10).unwrap();
        let reader = LogReader::open(name, 10).unwrap();
        let deadline = far_away();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_for(&reader, 1, deadline));
            // The message before it must not be taken for the message at the index.
            writer.append(&1).unwrap();
            thread::sleep(Duration::from_millis(20));
            if waiting.is_finished() {
                panic!("it waits for the message at the index 1, but: {:?}", joined(waiting));
            }
            writer.append(&2).unwrap();
            assert_eq!(joined(waiting), Ok(2), "the message at the index is returned");
        });
    });
}

fn a_message_that_does_not_come_is_a_timeout(wait_for: WaitFor) {
    comes_back_with("it says TimedOut when the deadline has passed", "wait-timeout", move |name| {
        let _writer = LogWriter::<u64>::create(name, 10).unwrap();
        let reader = LogReader::open(name, 10).unwrap();
        for deadline in [Duration::ZERO, Duration::from_millis(20)] {
            let started = Instant::now();
            let found = wait_for(&reader, 9, deadline);
            assert_eq!(found, Err(WaitError::TimedOut), "it says TimedOut");
            assert!(started.elapsed() >= deadline, "it does not give up before the deadline");
        }
    });

    let name = Unique::new("wait-asleep");
    let _writer = LogWriter::<u64>::create(&name, 10).unwrap();
    let reader = LogReader::open(&name, 10).unwrap();
    sleeps(Who::ThisThread, "a message", || {
        assert_eq!(wait_for(&reader, 9, A_WHILE), Err(WaitError::TimedOut), "it says TimedOut");
    });
}

fn a_message_that_cannot_come_is_not_waited_for(wait_for: WaitFor) {
    for index in [10, 11, u64::MAX] {
        let no_such_place = "it says NoSuchPlace at once if there is no such place";
        let outcome = comes_back_with(no_such_place, "wait-never", move |name| {
            let _writer = LogWriter::<u64>::create(name, 10).unwrap();
            let reader = LogReader::open(name, 10).unwrap();
            wait_for(&reader, index, far_away())
        });
        assert_eq!(outcome, Err(WaitError::NoSuchPlace { capacity: 10 }), "{no_such_place}");
    }
}

fn any_kind_is_described(inspect: Inspect) {
    let name = Unique::new("inspect-log");
    let _writer = LogWriter::<[u8; 100]>::create(&name, 10).unwrap();
    let bytes = 3 * page_size();
    let expected =
        format!("log: 10 x [u8; 100], 100 bytes each aligned to 1, {bytes} bytes in all");
    assert_eq!(inspect(&name).expect("any kind is described"), expected);

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
    assert_eq!(inspect(&name).expect("any kind is described"), expected);
}

fn inspecting_changes_nothing(inspect: Inspect) {
    let name = Unique::new("inspect-looks");
    let writer = LogWriter::<u64>::create(&name, 10).unwrap();
    name.set_mode(0o444);
    let before = (name.state(), traces(&name));
    unprivileged(|| inspect(&name)).expect("the right to read the object is enough");
    assert_eq!(name.state(), before.0, "it changes nothing");
    assert_eq!(traces(&name), before.1, "nothing stays open, and nothing mapped");
    assert!(!writer.wait_for_reader(Duration::ZERO), "it is not counted as a reader");
}

fn what_is_no_segment_is_an_error(inspect: Inspect) {
    let name = Unique::new("inspect-none");
    let found = inspect(&name);
    assert!(matches!(found, Err(OpenError::NotFound { .. })), "it says NotFound: {found:?}");
    name.write(b"a shopping list");
    let before = name.state();
    let found = inspect(&name);
    assert!(matches!(found, Err(OpenError::Magic { .. })), "it says Magic: {found:?}");
    assert_eq!(name.state(), before, "what is no segment stays as it was");
}

/// How many of this process's mappings and descriptors are of this object.
fn traces(name: &Unique) -> (usize, usize) {
    let path = name.path();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let maps = maps.lines().filter(|line| line.ends_with(path.to_str().unwrap())).count();
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    // Another test may close its descriptor meanwhile; that one is not ours.
    let open = open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == path)).count();
    (maps, open)
}
