//! At the limit of descriptors. A test of its own, because the limit is the process's.
#![cfg(not(loom))]

use std::fs::File;
use std::time::Duration;

use day7::topics::{
    Publisher, PublisherOptions, RecvTimeoutError, Space, SubscribeOptions, Subscriber,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use testing::{DEADLINE, Unique, promptly};

const SHORT: Duration = Duration::from_millis(20);

/// It says so once, hears the others, and hears all of that one when there is room again.
#[test]
fn a_publisher_that_comes_while_there_are_no_descriptors_is_heard_later() {
    let name = Unique::new("topics-descriptors");
    let space = Space::open(&*name).unwrap();
    let create = || Publisher::create(&space, &PublisherOptions::new().capacity(1)).unwrap();
    let mut early = create();
    let mut subscriber = Subscriber::subscribe(&space, ">", &SubscribeOptions::new()).unwrap();
    let mut late = create();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, most).unwrap();
    let files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let refused = subscriber.recv_timeout(SHORT).unwrap_err();
    assert!(matches!(refused, RecvTimeoutError::End(_)), "{refused}");
    for round in 0..3u8 {
        assert_eq!(early.publish("early", &[round]), Ok(true));
        let heard = subscriber.recv_timeout(DEADLINE).unwrap();
        assert_eq!((&*heard.topic, &*heard.payload), ("early", &[round][..]));
        let nothing = subscriber.recv_timeout(SHORT).unwrap_err();
        assert!(matches!(nothing, RecvTimeoutError::TimedOut(_)), "{nothing}");
    }
    // More than its ring has room for.
    let count = 1000u64;
    let publishes = std::thread::spawn(move || {
        for number in 0..count {
            assert_eq!(late.publish("late", &number.to_ne_bytes()), Ok(true));
        }
        late.finish(DEADLINE)
    });
    let nothing = subscriber.recv_timeout(SHORT).unwrap_err();
    assert!(matches!(nothing, RecvTimeoutError::TimedOut(_)), "{nothing}");
    drop(files);
    for number in 0..count {
        let heard = subscriber.recv_timeout(DEADLINE).unwrap();
        assert_eq!((&*heard.topic, &*heard.payload), ("late", &number.to_ne_bytes()[..]));
    }
    promptly("the publisher is done", move || publishes.join().unwrap()).unwrap();
}
