//! Ends that leave as if their process was killed.

use std::time::Duration;

use day3::{JoinOptions, RecvTimeoutError, Start};
use day4::reader::{Member, Reader};
use day4::writer::Writer;
use testing::Unique;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_abandoned_queue_waits_for_a_successor() {
    let name = Unique::new("abandoned");
    let mut writer: Writer = Writer::create(name.as_str(), 4096).unwrap();
    let options = JoinOptions::new().follow(true);
    let mut follows: Reader = Reader::join_with(name.as_str(), Start::Oldest, &options).unwrap();
    let mut does_not: Reader = Reader::join(name.as_str(), Start::Oldest).unwrap();
    writer.send(b"one").unwrap();
    writer.abandon();

    assert_eq!(&*follows.recv_timeout(SECOND).unwrap(), b"one");
    assert_eq!(&*does_not.recv_timeout(SECOND).unwrap(), b"one");
    assert!(matches!(does_not.recv_timeout(10 * SECOND), Err(RecvTimeoutError::End(_))));
    let mut successor: Writer = Writer::resume(name.as_str()).unwrap();
    assert_eq!((successor.sent(), successor.epoch()), (1, 1));
    successor.send(b"two").unwrap();
    assert_eq!(&*follows.recv_timeout(SECOND).unwrap(), b"two");
}

#[test]
fn what_an_abandoned_member_held_goes_to_the_next() {
    let name = Unique::new("abandoned-member");
    let mut writer: Writer = Writer::create(name.as_str(), 4096).unwrap();
    let options = JoinOptions::new().hold_when_empty(true);
    let join =
        || -> Member { Member::join_with(name.as_str(), "g", Start::Oldest, &options).unwrap() };
    let mut first = join();
    for message in [b"1", b"2", b"3"] {
        writer.send(message).unwrap();
    }
    let mut batch = first.recv_batch(4096).unwrap();
    assert_eq!(batch.len(), 3);
    batch.release_first(1);
    core::mem::forget(batch);
    first.abandon();
    writer.send(b"4").unwrap();

    let mut next = join();
    for (message, redelivered) in [(b"2", true), (b"3", true), (b"4", false)] {
        let record = next.recv_timeout(SECOND).unwrap();
        assert_eq!((&*record, record.redelivered()), (&message[..], redelivered));
    }
}
