//! Who buries the dead at the limit of descriptors. A test of its own, because the limit is the process's.
#![cfg(not(loom))]
#![forbid(unsafe_code)]

use std::env;
use std::fs::File;
use std::process::Stdio;
use std::thread::sleep;

use day3::roster::EvictError;
use day3::{Consumer, JoinOptions, Member, Producer, QueueOptions, Start};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use testing::{DEADLINE, Process, Unique, another, eventually};

/// Run as a process of its own: a member that holds a message, and a consumer of another queue, until it is killed.
#[test]
#[ignore = "a part of the other test"]
fn a_part() {
    let (Ok(full), Ok(late)) = (env::var("FANOUT_FULL"), env::var("FANOUT_LATE")) else { return };
    let mut member = Member::<u64>::join(&*full, "g", Start::Oldest).unwrap();
    let _batch = member.recv_batch(1).unwrap();
    let options = JoinOptions::new().wait_for_queue(DEADLINE);
    let _consumer = Consumer::<u64>::join_with(&*late, Start::Oldest, &options).unwrap();
    sleep(DEADLINE);
}

/// Takes all descriptors but so many.
fn take_all_but(left: usize) -> Vec<File> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, most).unwrap();
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    files.truncate(files.len() - left);
    files
}

#[test]
fn a_producer_that_can_open_nothing_buries_the_dead() {
    let (full, late) = (Unique::new("full-table"), Unique::new("late-table"));
    let mut producer = Producer::<u64>::create(&*full, 4).unwrap();
    producer.send_batch(&[0, 1, 2, 3]).unwrap();
    let mut part = another("a_part");
    part.env("FANOUT_FULL", full.as_str()).env("FANOUT_LATE", late.as_str());
    // It has no pipe to this process: that would be descriptors that come free when it dies.
    let mut part = Process::start(part.stdout(Stdio::null()).stderr(Stdio::null()));
    eventually("a claim", || producer.groups().iter().any(|group| group.lag == 3));

    // What a producer opens before the first file that it can do without: its object, and its role.
    let files = take_all_but(2);
    let options = QueueOptions::new(4);
    let mut unprepared = Producer::<u64>::create_with(&*late, &options).unwrap();
    assert!(File::open("/dev/null").is_err(), "no descriptor is left");
    eventually("a consumer", || unprepared.consumers().len() == 1);
    part.kill();
    assert!(File::open("/dev/null").is_err(), "no descriptor is left");

    assert_eq!(producer.send_timeout(4, DEADLINE), Ok(()));
    assert_eq!(producer.take_deaths().len(), 1);
    assert!(producer.consumers().is_empty());

    // Where there was no room for the open file that is kept for this, it says so.
    let dead = &unprepared.consumers()[0];
    let refused = unprepared.evict_dead(dead).unwrap_err();
    assert!(matches!(refused, EvictError::System { slot: 0, .. }), "{refused}");
    assert!(refused.to_string().contains("perhaps dead"), "{refused}");
    drop(files);
    eventually("a grave", || unprepared.evict_dead(dead).is_ok());
}
