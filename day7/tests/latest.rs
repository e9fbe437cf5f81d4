//! A latest value: between threads and processes, with writers that die.
#![cfg(not(loom))]

use std::thread;
use std::time::{Duration, Instant};

use common::QueueName;
use common::sync::{Arc, AtomicBool, Ordering};
use day2::{CreateError as SegmentError, Holder, Mode, OpenError, Segment, Trust};
use day3::{CreateError, JoinError, JoinOptions, QueueOptions, ResumeError};
use day5::{Sleep, Spin, Yield};
use day7::latest::{ChangedTimeoutError, Ended, LatestReader, LatestWriter, local};
use testing::{DEADLINE, Dice, Process, Unique, another, eventually, promptly};

/// So large that it takes a while to copy; all of its words are the same.
type Large = [u64; 200];

/// What names the value for a test that runs in another process.
const NAME: &str = "DAY7_TEST_LATEST";
const FIRST: Large = [0; 200];

fn large(number: u64) -> Large {
    [number; 200]
}

/// Its number, if it is whole.
fn whole(value: Large) -> u64 {
    assert!(value.iter().all(|&word| word == value[0]), "torn: {value:?}");
    value[0]
}

/// The same test over every kind of memory.
fn everywhere(test: fn(LatestWriter<Large>, LatestReader<Large>)) {
    let (writer, reader) = local(FIRST);
    test(writer, reader);
    let name = Unique::new("latest");
    let writer = LatestWriter::create(&*name, FIRST).unwrap();
    let reader = LatestReader::open(&*name).unwrap();
    test(writer, reader);
    assert!(!name.exists(), "the writer removes the name");
    let writer = LatestWriter::anonymous(FIRST).unwrap();
    let descriptor = writer.descriptor().unwrap().unwrap();
    test(writer, LatestReader::from_fd(descriptor, &JoinOptions::new()).unwrap());
}

#[test]
fn a_reader_gets_the_newest_value_and_only_newer_ones() {
    everywhere(|mut writer, mut reader| {
        assert_eq!((reader.seen(), reader.version(), whole(reader.get())), (0, 1, 0));
        assert_eq!(reader.get_if_newer(), None);
        for number in 1..=9 {
            writer.set(large(number));
        }
        assert_eq!(reader.get_if_newer().map(whole), Some(9), "those in between are skipped");
        writer.update(|value| value.iter_mut().for_each(|word| *word += 1));
        let mut clone = reader.clone();
        assert_eq!((reader.changed().map(whole), clone.changed().map(whole)), (Ok(10), Ok(10)));
        assert_eq!((reader.seen(), reader.version(), writer.version()), (11, 11, 11));
        assert_eq!(whole(writer.get()), 10);
        let short = Duration::from_millis(1);
        let nothing = reader.changed_timeout(short);
        assert_eq!(nothing, Err(ChangedTimeoutError::TimedOut(short)));
        writer.set(large(11));
        drop(writer);
        assert_eq!(reader.changed().map(whole), Ok(11), "the last value comes before the end");
        assert_eq!(reader.changed(), Err(Ended::Closed));
        let end = reader.changed_timeout(Duration::MAX);
        assert_eq!(end, Err(ChangedTimeoutError::End(Ended::Closed)));
        assert_eq!(whole(reader.get()), 11, "the last value stays");
    });
}

#[test]
fn a_change_that_panics_changes_nothing() {
    everywhere(|mut writer, mut reader| {
        let _ = reader.get();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            writer.update(|value| {
                value[0] = 7;
                panic!("a change that gives up");
            });
        }));
        assert!(outcome.is_err());
        assert_eq!((whole(writer.get()), reader.get_if_newer()), (0, None));
        writer.update(|value| *value = large(value[0] + 1));
        assert_eq!(reader.get_if_newer().map(whole), Some(1));
    });
}

#[test]
fn a_writer_whose_thread_panics_is_dead() {
    everywhere(|writer, mut reader| {
        let thread = thread::spawn(move || {
            let _writer = writer;
            panic!("a writer that gives up");
        });
        assert!(thread.join().is_err());
        assert_eq!(reader.changed().map(whole), Ok(0));
        assert_eq!(reader.changed(), Err(Ended::WriterDied));
    });
}

/// Readers that copy all the time make progress while the writer writes all the time, and the other way round.
#[test]
fn six_threads_on_two_cores_see_whole_values_in_order() {
    everywhere(|mut writer, reader| {
        const LAST: u64 = 20_000;
        thread::scope(|scope| {
            for how in 0..5 {
                let mut reader = reader.clone();
                scope.spawn(move || {
                    let (mut last, mut got) = (0, 0u64);
                    while last < LAST {
                        let value = match how {
                            0 => reader.get(),
                            1 => reader.changed().unwrap(),
                            2 => reader.changed_timeout(DEADLINE).unwrap(),
                            3 => reader.get_if_newer().unwrap_or(large(last)),
                            _ => {
                                thread::yield_now();
                                reader.get()
                            }
                        };
                        let number = whole(value);
                        assert!(number >= last, "{number} after {last}");
                        assert_eq!(reader.seen(), number + 1, "each set has a number");
                        (last, got) = (number, got + 1);
                    }
                    println!("reader {how}: {got} copies of {LAST}");
                });
            }
            for number in 1..=LAST {
                writer.set(large(number));
            }
        });
        assert_eq!(writer.version(), LAST + 1);
    });
}

/// Every way to wait is woken by the next value.
#[test]
fn sleepers_are_woken_by_each_value() {
    everywhere(|mut writer, reader| {
        const ROUNDS: u64 = 200;
        fn follow<W: day3::Wait>(mut reader: LatestReader<Large, W>) {
            let mut last = whole(reader.get());
            while last < ROUNDS {
                let number = whole(reader.changed().unwrap());
                assert!(number > last, "{number} after {last}");
                last = number;
            }
        }
        let mut threads = vec![
            {
                let reader = reader.clone().waiting(Sleep::in_slices(DEADLINE));
                thread::spawn(move || follow(reader))
            },
            {
                let reader = reader.clone().waiting(Yield);
                thread::spawn(move || follow(reader))
            },
            {
                let reader = reader.clone().waiting(Spin);
                thread::spawn(move || follow(reader))
            },
        ];
        threads.push(thread::spawn(move || follow(reader)));
        let mut dice = Dice::seeded();
        for number in 1..=ROUNDS {
            dice.pause(Duration::from_millis(1));
            writer.set(large(number));
        }
        eventually("all readers have seen the last value", || {
            threads.iter().all(thread::JoinHandle::is_finished)
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn every_size_of_value_is_whole() {
    fn check<const N: usize>() {
        let (mut writer, mut reader) = local([1u8; N]);
        assert_eq!(reader.get(), [1; N]);
        for byte in 2..20 {
            writer.set([byte; N]);
            assert_eq!(reader.changed(), Ok([byte; N]));
        }
    }
    check::<1>();
    check::<7>();
    check::<8>();
    check::<9>();
    check::<15>();
    check::<120>();
    check::<121>();
    check::<4096>();
}

#[test]
fn one_writer_of_a_name_and_one_type() {
    let name = Unique::new("latest-type");
    assert!(matches!(
        LatestReader::<u64>::open(&*name),
        Err(JoinError::Open(OpenError::NotFound { .. }))
    ));
    let _writer = LatestWriter::create(&*name, 1u64).unwrap();
    let second = LatestWriter::create(&*name, 2u64);
    let Err(CreateError::Segment(SegmentError::Taken { by: Holder::Living, .. })) = second else {
        panic!("{second:?}");
    };
    let other = LatestReader::<i64>::open(&*name);
    let Err(JoinError::Open(OpenError::MessageType { expected, found, .. })) = other else {
        panic!("{other:?}");
    };
    assert_eq!((expected.as_str(), found.as_str()), ("i64", "u64"));
    assert!(matches!(
        LatestReader::<u32>::open(&*name),
        Err(JoinError::Open(OpenError::ElementSize { .. }))
    ));
    assert!(matches!(
        day4::Reader::join(&*name, day3::Start::Latest),
        Err(JoinError::Open(OpenError::Kind { .. }))
    ));
    assert_eq!(LatestReader::<u64>::open(&*name).unwrap().get(), 1);
    let nothing = LatestWriter::create("/fanout-test-nothing", ());
    assert!(matches!(nothing, Err(CreateError::Segment(SegmentError::Element { .. }))));
}

/// A segment that says that it is one, and has no room for its slots, is refused.
#[test]
fn a_segment_without_room_for_the_slots_is_refused() {
    use day2::header::{Expected, Geometry, Kind};
    use day2::segment::page_size;
    let name = Unique::new("latest-damaged");
    let expected = Expected::messages::<Large>(Kind::Latest, std::any::type_name::<Large>());
    let geometry = Geometry::plan(&expected, 1, 0, 4, page_size()).unwrap();
    let _segment = Segment::create(&name, geometry, 0o600, |_| ()).unwrap();
    let refused = LatestReader::<Large>::open(&*name);
    assert!(matches!(refused, Err(JoinError::Open(OpenError::Damaged { .. }))), "{refused:?}");
}

#[test]
fn a_reader_waits_for_a_writer_that_starts_later() {
    let name = Unique::new("latest-later");
    let late: QueueName = name.clone();
    let thread = thread::spawn(move || {
        let options = JoinOptions::new().wait_for_queue(DEADLINE);
        LatestReader::<u64>::open_with(&late, &options).unwrap().get()
    });
    let _writer = LatestWriter::create(&*name, 42u64).unwrap();
    assert_eq!(promptly("a value", move || thread.join().unwrap()), 42);
}

/// Control is all that a reader may write. Whatever it writes there, the value stays whole, and the writer goes on.
#[test]
fn a_hostile_reader_cannot_hurt_the_value_nor_stop_the_writer() {
    let name = Unique::new("latest-hostile");
    let mut writer = LatestWriter::create(&*name, FIRST).unwrap();
    let mut reader = LatestReader::<Large>::open(&*name).unwrap();
    let hostile = Segment::open_trusting(&name, Mode::Reader, DEADLINE, Trust::OwnUser).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let until = is_over.clone();
    let forger = thread::spawn(move || {
        let word = hostile.control().cast::<common::sync::AtomicU32>();
        let mut dice = Dice::seeded();
        while !until.load(Ordering::Relaxed) {
            // SAFETY: control is mapped writable, page-aligned, and all atomics.
            unsafe { word.as_ref() }.store(dice.word() as u32, Ordering::Relaxed);
        }
    });
    for number in 1..=20_000 {
        writer.set(large(number));
        assert_eq!(whole(reader.changed_timeout(DEADLINE).unwrap()), number);
    }
    is_over.store(true, Ordering::Relaxed);
    forger.join().unwrap();
}

/// In another process: sets values as fast as it can, until it is killed.
#[test]
#[ignore = "a part of other tests"]
fn a_writer_of_another_test() {
    let Ok(name) = std::env::var(NAME) else { return };
    let options = QueueOptions::new(1).or_resume();
    let mut writer = LatestWriter::create_with(&name, FIRST, &options).unwrap();
    let started = Instant::now();
    while started.elapsed() < 2 * DEADLINE {
        writer.update(|value| *value = large(value[0] + 1));
    }
}

/// Writers are killed at any moment. Readers, one of them asleep, see whole values in order, are told of each death, and
/// go on with the successor.
#[test]
fn writers_that_are_killed_leave_the_last_whole_value() {
    let name = Unique::new("latest-killed");
    let mut command = another("a_writer_of_another_test");
    command.env(NAME, name.as_str()).stdout(std::process::Stdio::null());
    let mut dice = Dice::seeded();
    let mut writer = Process::start(&mut command);
    let options = JoinOptions::new().wait_for_queue(DEADLINE);
    let mut reader = LatestReader::<Large>::open_with(&*name, &options).unwrap();
    let mut last = 0;
    for round in 0..20 {
        for _ in 0..dice.below(300) {
            let number = whole(reader.changed_timeout(DEADLINE).unwrap());
            assert!(number > last, "{number} after {last}");
            last = number;
        }
        let mut sleeper = reader.clone().waiting(Sleep::in_slices(DEADLINE));
        let sleeping = thread::spawn(move || while sleeper.changed().is_ok() {});
        dice.pause(Duration::from_millis(1));
        writer.kill();
        let end = promptly("the end of a wait", move || sleeping.join().map(drop));
        assert!(end.is_ok());
        while let Ok(value) = reader.changed_timeout(DEADLINE) {
            last = whole(value);
        }
        assert_eq!(reader.changed(), Err(Ended::WriterDied));
        assert_eq!(whole(reader.get()), last);
        assert_eq!(reader.seen(), last + 1, "round {round}: no number was skipped");
        writer = Process::start(&mut command);
        eventually("a successor's value", || reader.get_if_newer().is_some());
        last = whole(reader.get());
    }
    writer.kill();
}

/// Without `or_resume` the name of a dead writer is taken; and its value can be replaced.
#[test]
fn a_dead_writers_name_is_taken_over_or_replaced_as_the_options_say() {
    let name = Unique::new("latest-dead");
    let mut command = another("a_writer_of_another_test");
    let mut writer =
        Process::start(command.env(NAME, name.as_str()).stdout(std::process::Stdio::null()));
    let options = JoinOptions::new().wait_for_queue(DEADLINE);
    let mut old = LatestReader::<Large>::open_with(&*name, &options).unwrap();
    writer.kill();
    let taken = LatestWriter::create(&*name, FIRST);
    let Err(CreateError::Segment(SegmentError::Taken { by: Holder::Dead, .. })) = taken else {
        panic!("{taken:?}");
    };
    let other = LatestWriter::create_with(&*name, 0u64, &QueueOptions::new(1).or_resume());
    let Err(CreateError::Resume(ResumeError::Open(OpenError::ElementSize { .. }))) = other else {
        panic!("{other:?}");
    };
    let resumed = LatestWriter::create_with(&*name, FIRST, &QueueOptions::new(1).or_resume());
    let resumed = resumed.unwrap();
    assert_eq!(whole(resumed.get()), whole(old.get()), "the value stays");
    drop(resumed);
    assert_eq!(old.changed(), Err(Ended::Closed));
    let replaced = LatestWriter::create_with(&*name, 7u64, &QueueOptions::new(1).or_replace());
    assert_eq!(LatestReader::<u64>::open(&*name).unwrap().get(), replaced.unwrap().get());
}
