//! At the limit of descriptors. A test of its own, because the limit is the process's.
#![cfg(not(loom))]

use std::fs::File;

use day3::{Consumer, JoinError, Producer, Start};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use testing::Unique;

/// A producer that is dropped removes its name, even if it cannot open anything any more.
#[test]
fn a_producer_without_descriptors_removes_its_name() {
    let name = Unique::new("descriptors");
    let producer = Producer::<u64>::create(&*name, 8).unwrap();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, most).unwrap();
    let files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(files.len() < 64);
    let refused = Consumer::<u64>::join(&*name, Start::Latest).unwrap_err();
    assert!(matches!(refused, JoinError::Open(_)), "{refused}");
    drop(producer);
    drop(files);
    let gone = Consumer::<u64>::join(&*name, Start::Latest).unwrap_err();
    assert!(gone.to_string().contains("no queue"), "{gone}");
}
