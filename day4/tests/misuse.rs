//! Safe programs that misuse a ring of records, and memory with impossible content.
#![cfg(not(loom))]

use std::io::{BufRead, IoSliceMut, Read};
use std::sync::Arc;
use std::time::Duration;

use common::sync::{AtomicU64, Ordering};
use day3::control::{SLOTS, control_len};
use day3::{JoinError, JoinOptions, Memory, QueueOptions, Start, TryRecvError, TrySendError};
use day4::frame::{Frame, HEADER};
use day4::io::ReadRecords;
use day4::{ByteMemory, Local, Member, ReadError, Reader, RecvError, Tap, Writer};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use testing::Unique;

const PAGE: u64 = 4096;
const MOMENT: Duration = Duration::from_millis(5);

struct Ring(Arc<Local>);

impl Ring {
    fn new(capacity: u64) -> (Self, Writer) {
        let memory = Local::new(&QueueOptions::new(capacity)).unwrap();
        // SAFETY: it was just made, and has no other writer.
        let writer = unsafe { Writer::from_memory(memory.clone()) };
        (Self(memory), writer)
    }

    fn reader(&self) -> Reader {
        // SAFETY: a ring of records.
        unsafe { Reader::from_memory(self.0.clone(), Start::Latest, &JoinOptions::new()) }.unwrap()
    }

    fn member(&self) -> Member {
        // SAFETY: a ring of records.
        unsafe { Member::from_memory(self.0.clone(), "g", Start::Latest, &JoinOptions::new()) }
            .unwrap()
    }

    /// A consumer that joins at the oldest message, if it may join.
    fn late_reader(&self) -> Result<Reader, JoinError> {
        // SAFETY: a ring of records.
        unsafe { Reader::from_memory(self.0.clone(), Start::Oldest, &JoinOptions::new()) }
    }

    fn tap(&self) -> Tap {
        // SAFETY: a ring of records.
        unsafe { Tap::from_memory(self.0.clone(), Start::Oldest, &JoinOptions::new()) }.unwrap()
    }

    /// Overwrites a word of the data.
    fn spoil(&self, offset: usize, word: u64) {
        assert!(offset.is_multiple_of(8) && offset < PAGE as usize);
        // SAFETY: inside the ring.
        let place = unsafe { self.0.data().add(offset) }.cast::<AtomicU64>();
        // SAFETY: aligned and mapped.
        unsafe { place.as_ref() }.store(word, Ordering::Relaxed);
    }
}

/// A message whose bytes look like headers, with its number in front.
fn message(number: u64, words: usize) -> Vec<u8> {
    let header = Frame::new(8 * (number as u32 % 40), 0).word();
    let words = (1..words).map(|_| header);
    [number].into_iter().chain(words).flat_map(u64::to_le_bytes).collect()
}

/// Six members on the smallest ring there is, with batches as large as the ring and larger. A member that
/// is preempted between two looks never takes a run that is longer than the ring.
#[test]
fn six_members_share_a_small_ring_in_large_batches() {
    const MANY: u64 = 60_000;
    let (ring, mut writer) = Ring::new(PAGE);
    let members: Vec<_> = (0..6).map(|_| ring.member()).collect();
    std::thread::scope(|scope| {
        let shares: Vec<_> = members
            .into_iter()
            .enumerate()
            .map(|(which, mut member)| {
                let bytes = [1, 256, 4096, 8192, 1 << 20, usize::MAX][which];
                scope.spawn(move || {
                    let mut share = Vec::new();
                    while let Ok(batch) = member.recv_batch(bytes) {
                        for record in batch.iter() {
                            let number = u64::from_le_bytes(record[..8].try_into().unwrap());
                            assert_eq!(record, message(number, 1 + number as usize % 30));
                            share.push(number);
                        }
                    }
                    assert!(share.is_sorted());
                    share
                })
            })
            .collect();
        for number in 0..MANY {
            writer.send(&message(number, 1 + number as usize % 30)).unwrap();
        }
        drop(writer);
        let mut all: Vec<u64> =
            shares.into_iter().flat_map(|share| share.join().unwrap()).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..MANY), "each message went to one member");
    });
}

/// A header that promises more than there is: no reader believes it, and a tap allocates no more than the
/// ring holds.
#[test]
fn a_forged_header_is_an_error_and_costs_no_memory() {
    for len in [1 << 12, 1 << 20, 1 << 29, u32::MAX - 7, u32::MAX] {
        let (ring, mut writer) = Ring::new(PAGE);
        let (mut reader, mut member, mut tap) = (ring.reader(), ring.member(), ring.tap());
        writer.send(b"eight by").unwrap();
        ring.spoil(0, Frame::new(len, 0).word());
        let mut copy = Vec::new();
        let corrupt = |error| matches!(error, TryRecvError::End(RecvError::Corrupt(_)));
        assert!(corrupt(tap.try_recv(&mut copy).unwrap_err()), "{len}");
        assert!(copy.capacity() <= PAGE as usize, "room for {}", copy.capacity());
        assert!(corrupt(reader.try_recv().unwrap_err()), "{len}");
        assert!(corrupt(reader.try_recv_batch(usize::MAX).unwrap_err()), "{len}");
        assert!(corrupt(member.try_recv().unwrap_err()), "{len}");
        assert!(corrupt(member.try_recv_batch(usize::MAX).unwrap_err()), "{len}");
    }
}

/// Whatever the shared words say, calls return, and nothing outside the ring is read: the pages around it
/// are not accessible.
#[test]
fn any_forged_word_is_survived() {
    let words = control_len(SLOTS) as usize / 8 + 256;
    let lines = [0, 1, 2, 3, 4, 32, 48, 49, 50, 51, 52, 53, 64, 96, 97, 98, 99, 100, 101, 112];
    let claimed = (384 + 256) / 8;
    let marks = control_len(SLOTS) as usize / 8;
    let more = [claimed, claimed + 1, marks, marks + 1, marks + 2, marks + 5];
    for word in lines.into_iter().chain(more) {
        for forged in [0, 1, 8, 12, 4096, 4104, 4112, 1 << 40, 1 << 63, u64::MAX - 7, u64::MAX] {
            let (ring, mut writer) = Ring::new(PAGE);
            let (mut reader, mut member, mut tap) = (ring.reader(), ring.member(), ring.tap());
            for number in 0..9 {
                writer.send(&message(number, 3)).unwrap();
            }
            assert!(word < words);
            let (start, offset) = match word.checked_sub(marks) {
                Some(offset) => (std::ptr::from_ref(ring.0.marks()).cast::<AtomicU64>(), offset),
                None => (std::ptr::from_ref(ring.0.control()).cast::<AtomicU64>(), word),
            };
            // SAFETY: within control, or within the marks.
            let place = unsafe { start.add(offset) };
            // SAFETY: they are atomic words, which any thread may write.
            unsafe { &*place }.store(forged, Ordering::Relaxed);
            let mut copy = Vec::new();
            for _ in 0..3 {
                let _ = writer.send_timeout(&message(9, 3), Duration::from_micros(50));
                let _ = reader.try_recv_batch(usize::MAX).map(|batch| batch.iter().count());
                let _ = member.try_recv_batch(usize::MAX).map(|batch| batch.iter().count());
                let _ = tap.try_recv(&mut copy);
                let _ = reader.try_recv().map(|record| record.len());
                let _ = member.try_recv().map(|record| record.len());
            }
            let options = JoinOptions::new().timeout(MOMENT);
            // SAFETY: a ring of records.
            let late = unsafe { Tap::from_memory(ring.0.clone(), Start::Latest, &options) };
            let _ = (late.is_ok(), ring.late_reader().is_ok());
        }
    }
}

/// A member with too little room for a message is told the length of that message, and never of
/// another.
#[test]
fn a_message_that_does_not_fit_has_a_length_that_was_sent() {
    const MANY: u64 = 20_000;
    let (ring, mut writer) = Ring::new(PAGE);
    let (mut small, mut large) = (ring.member(), ring.member());
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut count = 0;
            loop {
                let mut buffer = [0; 64];
                match small.read_vectored(&mut [IoSliceMut::new(&mut buffer)]) {
                    Ok(len) => {
                        assert!(len == 16 || len == 64, "{len}");
                        count += 1;
                    }
                    Err(ReadError::NoRoom { len, room: 64 }) => assert_eq!(len, 1024),
                    Err(ReadError::End(RecvError::Closed)) => return count,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let working = scope.spawn(move || {
            let mut count = 0;
            while let Ok(record) = large.recv() {
                assert!([16, 64, 1024].contains(&record.len()));
                count += 1;
            }
            count
        });
        for number in 0..MANY {
            writer.send(&message(number, [2, 8, 128][number as usize % 3])).unwrap();
        }
        drop(writer);
        assert_eq!(reading.join().unwrap() + working.join().unwrap(), MANY);
    });
}

#[test]
fn records_are_released_in_part_or_given_back() {
    let (ring, mut writer) = Ring::new(PAGE);
    let (mut reader, mut member) = (ring.reader(), ring.member());
    // Each takes 1024 bytes of ring.
    let full = |writer: &mut Writer, from: u64| {
        (from..from + 4).for_each(|number| writer.try_send(&message(number, 127)).unwrap());
        assert_eq!(writer.try_send(&[]), Err(TrySendError::Full));
    };
    full(&mut writer, 0);
    assert_eq!(member.try_recv_batch(usize::MAX).unwrap().len(), 4);
    reader.try_recv().unwrap().give_back();
    reader.try_recv_batch(usize::MAX).unwrap().give_back();
    let mut batch = reader.try_recv_batch(3 * 1024).unwrap();
    batch.release_first(2);
    assert_eq!((batch.len(), batch.iter().count()), (1, 1));
    assert_eq!(batch.iter().next().unwrap(), message(2, 127));
    writer.try_send(&message(4, 127)).unwrap();
    writer.try_send(&message(5, 127)).unwrap();
    assert_eq!(writer.try_send(&[]), Err(TrySendError::Full), "room for two, no more");
    batch.release_first(1);
    assert!(batch.is_empty());
    batch.give_back();
    for number in 3..6 {
        assert_eq!(*reader.try_recv().unwrap(), message(number, 127));
    }

    drop(reader);
    let mut batch = member.try_recv_batch(usize::MAX).unwrap();
    batch.release_first(1);
    writer.try_send(&message(6, 127)).unwrap();
    writer.try_send(&message(7, 127)).unwrap();
    writer.try_send(&message(8, 127)).unwrap();
    assert_eq!(writer.try_send(&[]), Err(TrySendError::Full), "one is in hand");
}

#[test]
#[should_panic(expected = "2 of 1 messages were to be released")]
fn more_records_than_there_are_cannot_be_released() {
    let (ring, mut writer) = Ring::new(PAGE);
    let mut reader = ring.reader();
    writer.send(b"one").unwrap();
    reader.try_recv_batch(usize::MAX).unwrap().release_first(2);
}

/// If a caller consumes more of a stream than it was shown, the message ends there.
#[test]
fn more_than_there_is_can_be_consumed() {
    let (ring, mut writer) = Ring::new(PAGE);
    let mut reader = ring.reader();
    writer.send(b"first").unwrap();
    writer.send(b"second").unwrap();
    writer.close();
    let mut stream = ReadRecords::new(&mut reader);
    stream.consume(3);
    assert_eq!(stream.fill_buf().unwrap(), b"first");
    stream.consume(usize::MAX);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "second");
}

/// A closed ring of records takes no more, and an aborted one says why.
#[test]
fn ends_are_told_apart() {
    for reason in [None, Some("the disk is full")] {
        let (ring, mut writer) = Ring::new(PAGE);
        let (mut reader, mut tap) = (ring.reader(), ring.tap());
        writer.send(b"x").unwrap();
        match reason {
            Some(reason) => writer.abort(reason),
            None => writer.close(),
        }
        let closed = day4::SendError::Closed;
        assert_eq!(writer.send(b"late"), Err(closed));
        assert_eq!(writer.try_send(b"late"), Err(closed.into()));
        assert_eq!(writer.reserve(8).unwrap_err(), closed);
        assert_eq!(writer.batch(8).unwrap_err(), closed);
        assert_eq!(writer.try_batch_up_to(64).unwrap_err(), closed.into());
        assert_eq!(&*reader.recv().unwrap(), b"x");
        let end = if reason.is_some() { RecvError::Aborted } else { RecvError::Closed };
        assert_eq!(reader.recv().unwrap_err(), end);
        let mut copy = Vec::new();
        assert_eq!(tap.recv(&mut copy), Ok(1));
        assert_eq!(tap.recv(&mut copy), Err(end));
        let ending = reason.map_or(day3::Ending::Finished, |reason| day3::Ending::Aborted {
            reason: reason.to_owned(),
        });
        assert_eq!((reader.ending(), tap.ending()), (ending.clone(), ending));
    }
}

/// A consumer that joins at the oldest record gets all of the first lap. A tap that was lapped loses what
/// is gone, and at most a part of the ring more.
#[test]
fn late_comers_get_what_there_is() {
    let (ring, mut writer) = Ring::new(PAGE);
    // Each takes 64 bytes of ring, so 64 of them are a lap.
    (0..64).for_each(|number| writer.send(&message(number, 7)).unwrap());
    let mut late = ring.tap();
    let mut copy = Vec::new();
    late.try_recv(&mut copy).unwrap();
    assert_eq!(copy, message(0, 7), "nothing is overwritten yet");
    // SAFETY: a ring of records.
    let reader = unsafe { Reader::from_memory(ring.0.clone(), Start::Oldest, &JoinOptions::new()) };
    assert_eq!(reader.unwrap().try_recv_batch(usize::MAX).unwrap().len(), 64);
    (64..200).for_each(|number| writer.send(&message(number, 7)).unwrap());
    writer.close();
    let mut count = 1;
    while late.try_recv(&mut copy).is_ok() {
        count += 1;
    }
    assert_eq!((late.received(), late.received() + late.lost()), (count, 200));
    let whole = 64 - HEADER as u64;
    assert!(count > whole, "{count} of 64 that are there, and the first one");
}

/// A child sends nothing of what the parent had reserved, and claims nothing in the name of the parent's member.
#[test]
fn copies_in_a_forked_child_send_and_take_nothing() {
    let name = Unique::new("fork-records");
    let mut writer = Writer::create(&*name, PAGE).unwrap();
    let mut member = Member::join(&*name, "g", Start::Oldest).unwrap();
    for message in [b"0", b"1", b"2"] {
        writer.send(message).unwrap();
    }
    assert_eq!(&*member.recv().unwrap(), b"0");
    let reservation = writer.reserve(3).unwrap();
    // SAFETY: the child uses the ends that it has copies of, and ends.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            reservation.publish(3);
            let mut batch = writer.batch(64).unwrap_or_else(|_| exit(0));
            batch.push(b"of the child").unwrap();
            batch.publish();
            exit(1);
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
        }
    }
    let mut batch = writer.batch(64).unwrap();
    batch.push(b"of the parent").unwrap();
    // SAFETY: as above.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            batch.publish();
            let forked = matches!(member.try_recv(), Err(TryRecvError::End(RecvError::Forked)));
            exit(i32::from(!forked));
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
        }
    }
    for message in [b"1", b"2"] {
        assert_eq!(&*member.recv().unwrap(), message);
    }
    assert_eq!(member.try_recv().map(drop), Err(TryRecvError::Empty), "the child has sent nothing");
}

/// Ends a child at once, without its parent's exit handlers.
fn exit(code: i32) -> ! {
    // SAFETY: it does nothing else.
    unsafe { nix::libc::_exit(code) }
}
