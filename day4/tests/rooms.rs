//! Rings whose consumers have private rooms.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use common::sync::{AtomicU32, Ordering};
use day3::{JoinError, JoinOptions, Policy, QueueOptions, RecvError, Start};
use day4::rendezvous::{ConnectError, RendezvousError, Serving, serve};
use day4::{Evictable, Member, Reader, Tap, Writer};
use testing::Unique;

const DEADLINE: Duration = Duration::from_secs(30);

/// A path that no other test has.
fn socket(what: &str) -> PathBuf {
    std::env::temp_dir().join(format!("fanout-rooms-{what}-{}", std::process::id()))
}

fn private(what: &str, options: &QueueOptions) -> (Writer, Serving, PathBuf) {
    let path = socket(what);
    let writer = Writer::private(options).unwrap();
    let serving = serve(&path, writer.offer()).unwrap();
    (writer, serving, path)
}

#[test]
fn guests_of_every_kind_read_what_is_sent() {
    let (mut writer, _serving, path) = private("kinds", &QueueOptions::new(4096));
    let mut reader: Reader = Reader::connect(&path, Start::Oldest).unwrap();
    let evictable = JoinOptions::new().policy(Policy::EvictAfter(DEADLINE));
    let mut evictable: Evictable = Evictable::connect(&path, Start::Oldest, &evictable).unwrap();
    let options = JoinOptions::new().label("lossy");
    let mut lossy: Tap = Tap::connect_lossy(&path, Start::Oldest, &options).unwrap();
    let mut tap: Tap = Tap::connect(&path, Start::Oldest).unwrap();
    assert_eq!(writer.consumers().len(), 3);
    assert_eq!(writer.consumers()[2].label, "lossy");
    let mut bytes = Vec::new();
    for number in 0..1000u64 {
        let message = number.to_le_bytes();
        writer.send(&message).unwrap();
        assert_eq!(&*reader.recv_timeout(DEADLINE).unwrap(), &message);
        evictable.recv_timeout(&mut bytes, DEADLINE).unwrap();
        assert_eq!(bytes, message);
        lossy.recv_timeout(&mut bytes, DEADLINE).unwrap();
        assert_eq!(bytes, message);
        tap.recv_timeout(&mut bytes, DEADLINE).unwrap();
        assert_eq!(bytes, message);
    }
    writer.close();
    assert_eq!(reader.recv().err(), Some(RecvError::Closed));
    drop((reader, evictable, lossy));
    assert_eq!(writer.consumers(), [], "they have left");
}

#[test]
fn a_guest_holds_the_writer_back_until_it_has_read_or_left() {
    let (mut writer, _serving, path) = private("gate", &QueueOptions::new(4096));
    let mut reader: Reader = Reader::connect(&path, Start::Oldest).unwrap();
    let message = [7; 1000];
    while writer.try_send(&message).is_ok() {}
    assert!(writer.send_timeout(&message, Duration::from_millis(20)).is_err());
    drop(reader.recv().unwrap());
    writer.send_timeout(&message, DEADLINE).unwrap();
    assert!(writer.try_send(&message).is_err());
    drop(reader);
    for _ in 0..100 {
        writer.send_timeout(&message, DEADLINE).unwrap();
    }
    assert_eq!(writer.take_deaths(), []);
}

#[test]
fn a_writer_and_guests_that_wait_wake_each_other() {
    let (mut writer, _serving, path) = private("wake", &QueueOptions::new(4096));
    let readers: Vec<Reader> =
        (0..3).map(|_| Reader::connect(&path, Start::Oldest).unwrap()).collect();
    const MESSAGES: u64 = 20_000;
    thread::scope(|scope| {
        for mut reader in readers {
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    assert_eq!(&*reader.recv_timeout(DEADLINE).unwrap(), &number.to_le_bytes());
                }
            });
        }
        for number in 0..MESSAGES {
            writer.send_timeout(&number.to_le_bytes(), DEADLINE).unwrap();
        }
    });
}

#[test]
fn a_guest_that_joins_while_others_read_loses_nothing() {
    let (mut writer, _serving, path) = private("join", &QueueOptions::new(4096).consumers(2));
    let done = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let mut reader: Reader = match Reader::connect(&path, Start::Oldest) {
                        Ok(reader) => reader,
                        Err(ConnectError::Rendezvous(RendezvousError::Full {
                            most: 2, ..
                        })) => {
                            continue;
                        }
                        Err(error) => panic!("{error}"),
                    };
                    let mut last: Option<u64> = None;
                    for _ in 0..50 {
                        let record = reader.recv_timeout(DEADLINE).unwrap();
                        let number = u64::from_le_bytes((*record).try_into().unwrap());
                        assert!(last.is_none_or(|last| number == last + 1), "{last:?}, {number}");
                        last = Some(number);
                    }
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let mut number = 0u64;
        while done.load(Ordering::Relaxed) < 2 {
            writer.send_timeout(&number.to_le_bytes(), DEADLINE).unwrap();
            number += 1;
        }
    });
}

#[test]
fn a_private_ring_says_what_it_has_not() {
    let options = QueueOptions::new(4096).consumers(1).lag_limit(Duration::from_secs(1));
    let (writer, _serving, path) = private("refuses", &options);
    let error = Member::connect(&path, "g", Start::Oldest).unwrap_err();
    assert!(matches!(error, ConnectError::Rendezvous(RendezvousError::Rooms { .. })), "{error}");
    let error = Reader::connect(&path, Start::Oldest).unwrap_err();
    let limit = |error: &ConnectError| match error {
        ConnectError::Rendezvous(RendezvousError::Limit { limit, .. }) => Some(*limit),
        _ => None,
    };
    assert_eq!(limit(&error), Some(Duration::from_secs(1)), "{error}");
    let promise = |after| JoinOptions::new().policy(Policy::EvictAfter(after));
    let too_long = promise(Duration::from_secs(2));
    let error = Evictable::connect(&path, Start::Oldest, &too_long).unwrap_err();
    assert!(limit(&error).is_some(), "{error}");
    let enough = promise(Duration::from_secs(1));
    let first: Evictable = Evictable::connect(&path, Start::Oldest, &enough).unwrap();
    let error = Evictable::connect(&path, Start::Oldest, &enough).unwrap_err();
    assert!(
        matches!(error, ConnectError::Rendezvous(RendezvousError::Full { most: 1, .. })),
        "{error}"
    );
    drop(first);
    drop(Evictable::connect(&path, Start::Oldest, &enough).unwrap());
    // What a tap gets cannot be used as a consumer.
    let ring = writer.descriptor(day2::Mode::Observer).unwrap();
    let error = Reader::from_fd(ring, Start::Oldest, &JoinOptions::new());
    let error = error.unwrap_err();
    assert!(matches!(error, JoinError::Open(day2::OpenError::ReadOnly { .. })), "{error}");
    assert!(writer.descriptor(day2::Mode::Reader).is_err());
}

#[test]
fn a_hosted_queue_is_found_by_its_name() {
    let name = Unique::new("hosted");
    let mut writer: Writer = Writer::host(&*name, &QueueOptions::new(4096)).unwrap();
    let error = Writer::host(&*name, &QueueOptions::new(4096)).unwrap_err();
    assert!(error.to_string().contains("taken"), "{error}");
    let error = Writer::create(&*name, 4096).unwrap_err();
    assert!(
        matches!(&error, day3::CreateError::Segment(day2::CreateError::Taken { .. })),
        "{error}"
    );
    let mut reader: Reader = Reader::join(&*name, Start::Oldest).unwrap();
    let mut tap: Tap = Tap::open(&*name, Start::Oldest).unwrap();
    let mut lossy: Tap = Tap::join(&*name, Start::Oldest, &JoinOptions::new()).unwrap();
    let error = Member::join(&*name, "g", Start::Oldest).unwrap_err();
    assert!(matches!(error, JoinError::NoGroups), "{error}");
    writer.send(b"found").unwrap();
    assert_eq!(&*reader.recv_timeout(DEADLINE).unwrap(), b"found");
    let mut bytes = Vec::new();
    tap.recv_timeout(&mut bytes, DEADLINE).unwrap();
    lossy.recv_timeout(&mut bytes, DEADLINE).unwrap();
    assert_eq!(bytes, b"found");
    drop(writer);
    assert_eq!(reader.recv().err(), Some(RecvError::Closed));
    let error = Reader::join(&*name, Start::Oldest).unwrap_err();
    assert!(matches!(error, JoinError::Open(day2::OpenError::NotFound { .. })), "{error}");
}
