//! A queue's identity: every end of the queue knows it, and no other queue has it.
#![cfg(not(loom))]

use std::time::Duration;

use day3::inspect::Observer;
use day3::ring::RawTap;
use day3::{
    Consumer, Evictable, Heap, JoinOptions, Member, Policy, Producer, QueueOptions, Start, Tap,
};
use testing::Unique;

/// What each end of the ring says.
fn said_by_all(name: &Unique, producer: &Producer<u64>) -> Vec<u64> {
    let options = JoinOptions::new();
    let evict = options.clone().policy(Policy::EvictAfter(Duration::from_secs(5)));
    let lossy = options.clone().policy(Policy::Lossy);
    vec![
        producer.identity(),
        Consumer::<u64>::join(&**name, Start::Oldest).unwrap().identity(),
        Member::<u64>::join(&**name, "g", Start::Oldest).unwrap().identity(),
        Evictable::<u64>::join(&**name, Start::Oldest, &evict).unwrap().identity(),
        Tap::<u64>::open(&**name, Start::Oldest).unwrap().identity(),
        Tap::<u64>::join(&**name, Start::Oldest, &lossy).unwrap().identity(),
        RawTap::open(&**name, Start::Oldest, &options).unwrap().identity(),
        Observer::open(name, Duration::ZERO).unwrap().snapshot().identity,
    ]
}

#[test]
fn every_end_says_the_identity_that_the_queue_was_given() {
    let name = Unique::new("given");
    let options = QueueOptions::new(8).identity(0xfeed_f00d);
    let producer = Producer::<u64>::create_with(&*name, &options).unwrap();
    assert_eq!(said_by_all(&name, &producer), [0xfeed_f00d; 8]);
}

#[test]
fn a_queue_that_is_given_none_has_its_own() {
    let (name, another) = (Unique::new("own"), Unique::new("other"));
    let producer = Producer::<u64>::create(&*name, 8).unwrap();
    let options = QueueOptions::new(8).identity(0);
    let other = Producer::<u64>::create_with(&*another, &options).unwrap();
    let identity = producer.identity();
    assert_eq!(said_by_all(&name, &producer), [identity; 8]);
    assert!(identity != 0 && other.identity() != 0);
    assert_ne!(identity, other.identity());
}

#[test]
fn memory_of_one_process_has_none() {
    let heap = Heap::<u64>::new(8, 0).unwrap();
    // SAFETY: it was just made for such messages, and has no other producer.
    let producer = unsafe { Producer::<u64>::from_memory(heap.clone()) };
    let options = JoinOptions::new();
    // SAFETY: it was made for such messages.
    let consumer = unsafe { Consumer::<u64>::from_memory(heap, Start::Oldest, &options) }.unwrap();
    assert_eq!((producer.identity(), consumer.identity()), (0, 0));
}
