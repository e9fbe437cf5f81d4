//! What a batch tells of each of its messages, and the mark of a message that another host had delivered before.
#![cfg(not(loom))]

use std::io::Write as _;

use day3::{JoinOptions, Start};
use day4::{BatchFull, Member, Reader, Tap, Writer, record_len};
use testing::{Program, Unique, another};

/// Sends messages of 0 to 9 bytes; each third had been delivered before. Each has its number as its kind.
fn send_marked(writer: &mut Writer, numbers: core::ops::Range<u16>) {
    let mut batch = writer.batch(4096).unwrap();
    for n in numbers {
        let message = vec![n as u8; usize::from(n % 10)];
        match n % 3 {
            0 => batch.push_redelivered(&message, n).unwrap(),
            _ => batch.push_as(&message, n).unwrap(),
        }
    }
    batch.publish();
}

/// A message: sequence, kind, mark, length.
type Seen = (u64, u16, bool, usize);

/// What is expected of those messages, the first of which begins there.
fn marked(numbers: core::ops::Range<u16>, mut at: u64) -> Vec<Seen> {
    let message = |n: u16| {
        let (len, sequence) = (usize::from(n % 10), at);
        at += record_len(len) as u64;
        (sequence, n, n.is_multiple_of(3), len)
    };
    numbers.map(message).collect()
}

macro_rules! frames {
    ($records:expr) => {
        $records
            .frames()
            .map(|one| {
                assert!(one.bytes.iter().all(|&byte| byte == one.kind as u8));
                (one.sequence.get(), one.kind, one.redelivered, one.bytes.len())
            })
            .collect::<Vec<Seen>>()
    };
}

#[test]
fn readers_and_members_are_told_of_each_message() {
    let name = Unique::new("frames");
    let mut writer = Writer::create(&*name, 8192).unwrap();
    let mut reader = Reader::join(&*name, Start::Oldest).unwrap();
    let mut member = Member::join(&*name, "g", Start::Oldest).unwrap();
    let mut at = 0;
    // Often enough to go around the ring.
    for round in 0..60 {
        let numbers = round * 7..round * 7 + 20;
        send_marked(&mut writer, numbers.clone());
        let expected = marked(numbers, at);
        let lent = reader.recv_batch(4096).unwrap();
        assert_eq!(frames!(lent), expected);
        // A second time, and after the first one was given up in the middle.
        lent.frames().nth(5).unwrap();
        assert_eq!(frames!(lent), expected);
        drop(lent);
        let mut lent = member.recv_batch(4096).unwrap();
        assert!(!lent.redelivered(), "no member has died");
        assert_eq!(frames!(lent), expected);
        lent.release_first(8);
        assert_eq!(frames!(lent), expected[8..]);
        assert_eq!((lent.len(), lent.first().get()), (12, expected[8].0));
        drop(lent);
        at = writer.next_sequence().get();
    }
    assert!(at > 2 * writer.capacity(), "it has not gone around: {at}");
}

#[test]
fn single_records_tell_it_too_and_others_see_the_message_as_ever() {
    let name = Unique::new("record");
    let mut writer = Writer::create(&*name, 4096).unwrap();
    let mut reader = Reader::join(&*name, Start::Oldest).unwrap();
    let mut member = Member::join(&*name, "g", Start::Oldest).unwrap();
    let mut tap = Tap::open(&*name, Start::Oldest).unwrap();
    send_marked(&mut writer, 8..11);
    for (sequence, kind, redelivered, len) in marked(8..11, 0) {
        let record = reader.try_recv().unwrap();
        let told = (record.sequence().get(), record.kind(), record.redelivered(), record.len());
        assert_eq!(told, (sequence, kind, redelivered, len));
        let record = member.try_recv().unwrap();
        assert_eq!((record.kind(), record.redelivered()), (kind, redelivered));
        drop(record);
        assert!(!member.redelivered(), "no member of this queue has died");
        let mut copy = Vec::new();
        assert_eq!(tap.try_recv(&mut copy), Ok(len));
    }
    send_marked(&mut writer, 11..14);
    let lent = reader.recv_batch(4096).unwrap();
    assert!(lent.iter_with_kinds().map(|(kind, bytes)| (kind, bytes.len())).eq([
        (11, 1),
        (12, 2),
        (13, 3)
    ]));
}

#[test]
fn what_does_not_fit_is_not_added() {
    let name = Unique::new("full");
    let mut writer = Writer::create(&*name, 4096).unwrap();
    let mut batch = writer.batch(32).unwrap();
    batch.push_redelivered(b"sixteen", 1).unwrap();
    let error = batch.push_redelivered(&[0; 9], 2).unwrap_err();
    assert!(matches!(error, BatchFull { len: 9, room: 16, .. }), "{error}");
    assert_eq!(batch.len(), 1);
}

/// The queue of a part of another test.
const QUEUE: &str = "FANOUT_TEST_QUEUE";

#[test]
#[ignore = "a part of another test"]
fn a_member_that_is_killed() {
    let Ok(name) = std::env::var(QUEUE) else { return };
    let mut member = Member::join(&name, "g", Start::Oldest).unwrap();
    // Five messages of 8 to 16 bytes and their headers.
    let lent =
        member.recv_batch(marked(0..5, 0).iter().map(|one| record_len(one.3)).sum()).unwrap();
    assert_eq!(lent.len(), 5);
    std::mem::forget(lent);
    println!("holds");
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn what_a_dead_member_held_is_marked_whatever_its_sender_said() {
    let name = Unique::new("heir");
    let mut writer = Writer::create(&*name, 4096).unwrap();
    send_marked(&mut writer, 0..9);
    let mut dead = Program::start(another("a_member_that_is_killed").env(QUEUE, name.bare()));
    while !dead.next_line().ends_with("holds") {}
    dead.kill();
    let mut heir = Member::join_with(&*name, "g", Start::Oldest, &JoinOptions::new()).unwrap();
    let mut seen = Vec::new();
    while let Ok(lent) = heir.try_recv_batch(4096) {
        seen.extend(frames!(lent));
    }
    let mut expected = marked(0..9, 0);
    expected[..5].iter_mut().for_each(|one| one.2 = true);
    assert_eq!(seen, expected);
}
