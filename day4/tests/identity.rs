//! The identity of a queue of records: every end knows it, also those with a room of their own.
#![cfg(not(loom))]

use std::time::Duration;

use day2::Mode;
use day3::{JoinOptions, Policy, QueueOptions, Start};
use day4::hosting::observe;
use day4::{Evictable, Local, Member, Reader, Tap, Writer};
use testing::Unique;

const IDENTITY: u64 = 0xfeed_f00d;

/// What the ends say that find the queue by its name.
fn said_by_all(name: &Unique) -> Vec<u64> {
    let evict = JoinOptions::new().policy(Policy::EvictAfter(Duration::from_secs(5)));
    let lossy = JoinOptions::new().policy(Policy::Lossy);
    vec![
        Reader::join(&**name, Start::Oldest).unwrap().identity(),
        Evictable::join(&**name, Start::Oldest, &evict).unwrap().identity(),
        Tap::open(&**name, Start::Oldest).unwrap().identity(),
        Tap::join(&**name, Start::Oldest, &lossy).unwrap().identity(),
        observe(name, Duration::ZERO).unwrap().snapshot().identity,
    ]
}

#[test]
fn every_end_says_the_identity_that_the_queue_was_given() {
    let name = Unique::new("given");
    let options = QueueOptions::new(4096).identity(IDENTITY);
    let writer = Writer::create_with(&*name, &options).unwrap();
    assert_eq!(writer.identity(), IDENTITY);
    assert_eq!(said_by_all(&name), [IDENTITY; 5]);
    let member = Member::join(&*name, "g", Start::Oldest).unwrap();
    assert_eq!(member.identity(), IDENTITY);
}

#[test]
fn guests_of_a_host_know_it_too() {
    let name = Unique::new("hosted");
    let options = QueueOptions::new(4096).identity(IDENTITY);
    let writer: Writer = Writer::host(&*name, &options).unwrap();
    assert_eq!(writer.identity(), IDENTITY);
    assert_eq!(said_by_all(&name), [IDENTITY; 5]);
}

#[test]
fn a_queue_that_is_given_none_has_its_own() {
    let (one, other): (Writer, Writer) =
        (Writer::anonymous(4096).unwrap(), Writer::anonymous(4096).unwrap());
    assert!(one.identity() != 0 && other.identity() != 0);
    assert_ne!(one.identity(), other.identity());
    let descriptor = one.descriptor(Mode::Reader).unwrap();
    let reader: Reader = Reader::from_fd(descriptor, Start::Oldest, &JoinOptions::new()).unwrap();
    assert_eq!(reader.identity(), one.identity());
}

#[test]
fn memory_of_one_process_has_none() {
    let local = Local::new(&QueueOptions::new(4096).identity(IDENTITY)).unwrap();
    // SAFETY: it was just made, and has no other writer.
    let writer: Writer = unsafe { Writer::from_memory(local) };
    assert_eq!(writer.identity(), 0);
}
