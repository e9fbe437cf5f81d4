//! Bad input, bad memory, bad producers: each gives an error that says so, and nothing outside the
//! mapping is read.
#![cfg(not(loom))]

#[allow(dead_code, reason = "not every test needs every home")]
mod home;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use common::QueueName;
use common::sync::{AtomicU64, Ordering};
use day2::{Kind, Mode, OpenError};
use day3::{Consumer, JoinError, JoinOptions, Producer, QueueOptions, Start};
use day4::frame::Frame;
use day4::{
    ByteMemory, Corrupt, CreateError, Local, Member, ReadError, Reader, RecvError,
    RecvTimeoutError, Tap, TryRecvError, Writer,
};
use home::{Home, InMemfd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use proptest::prelude::*;
use testing::Unique;

const PAGE: u64 = 4096;

/// A ring in this process that a test can damage.
struct Spoiled {
    memory: Arc<dyn ByteMemory>,
    writer: Writer,
}

impl Spoiled {
    fn new() -> Self {
        let memory: Arc<dyn ByteMemory> = Local::new(&QueueOptions::new(PAGE)).unwrap();
        // SAFETY: made just now, and this is its only writer.
        let writer = unsafe { Writer::from_memory(memory.clone()) };
        Self { memory, writer }
    }

    fn reader(&self) -> Reader {
        // SAFETY: a ring of records.
        unsafe { Reader::from_memory(self.memory.clone(), Start::Oldest, &JoinOptions::new()) }
            .unwrap()
    }

    fn member(&self) -> Member {
        // SAFETY: a ring of records.
        unsafe { Member::from_memory(self.memory.clone(), "g", Start::Oldest, &JoinOptions::new()) }
            .unwrap()
    }

    fn tap(&self) -> Tap {
        // SAFETY: a ring of records.
        unsafe { Tap::from_memory(self.memory.clone(), Start::Oldest, &JoinOptions::new()) }
            .unwrap()
    }

    /// Overwrites the word at this byte of the ring.
    fn spoil(&self, offset: usize, word: u64) {
        assert!(offset.is_multiple_of(8) && offset < PAGE as usize);
        // SAFETY: inside the ring.
        let place = unsafe { self.memory.data().add(offset) }.cast::<AtomicU64>();
        // SAFETY: aligned, mapped, and not written elsewhere at this moment.
        unsafe { place.as_ref() }.store(word, Ordering::Relaxed);
    }
}

fn is_corrupt(error: TryRecvError, at: u64, word: u64) -> bool {
    let TryRecvError::End(RecvError::Corrupt(corrupt)) = error else { return false };
    matches!(corrupt, Corrupt::Record { sequence, found, .. } if (sequence, found) == (at, word))
}

/// With this word where the second of three records begins, every kind of reader gets an error.
fn everyone_refuses(word: u64) {
    let mut ring = Spoiled::new();
    let (mut reader, mut batches, mut member, mut tap) =
        (ring.reader(), ring.reader(), ring.member(), ring.tap());
    for message in [b"first", b"other", b"third"] {
        ring.writer.try_send(message).unwrap();
    }
    ring.spoil(16, word);
    assert_eq!(&*reader.try_recv().unwrap(), b"first");
    assert_eq!(&*member.try_recv().unwrap(), b"first");
    assert_eq!(batches.try_recv_batch(usize::MAX).unwrap().len(), 1, "what is whole is delivered");
    let mut message = Vec::new();
    assert_eq!(tap.try_recv(&mut message), Ok(5));
    for _ in 0..3 {
        assert!(is_corrupt(reader.try_recv().unwrap_err(), 16, word));
        assert!(is_corrupt(member.try_recv().unwrap_err(), 16, word));
        assert!(is_corrupt(batches.try_recv_batch(usize::MAX).unwrap_err(), 16, word));
        assert!(is_corrupt(tap.try_recv(&mut message).unwrap_err(), 16, word));
    }
    let error = reader.recv().unwrap_err();
    assert!(matches!(error, RecvError::Corrupt(_)));
    let error = RecvTimeoutError::End(error);
    assert_eq!(reader.recv_timeout(std::time::Duration::MAX).err(), Some(error));
    assert!(matches!(reader.read_vectored(&mut []), Err(ReadError::End(RecvError::Corrupt(_)))));
    let text = error.to_string();
    let parts = ["expected a record at byte 16", &format!("{word:#018x}"), "start it again"];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn a_corrupt_length_is_an_error_for_everyone() {
    let good = Frame::new(5, 0);
    everyone_refuses(0);
    everyone_refuses(u64::MAX);
    for len in [u32::MAX, u32::MAX - 7, u32::MAX / 2, 4096, 4088, 25] {
        everyone_refuses(Frame::new(len, good.kind).word());
    }
    // The right length with a wrong tag.
    everyone_refuses(good.word() ^ (1 << 63));
}

proptest! {
    /// Whatever lies in the ring, reading gives messages or an error, and never a fault (the pages
    /// beyond are not mapped).
    #[test]
    fn any_bytes_at_all_are_messages_or_an_error(
        words in prop::collection::vec(prop_oneof![
            any::<u64>(),
            (0u32..5000).prop_map(|len| Frame::new(len, 0).word()),
        ], 512),
    ) {
        let mut ring = Spoiled::new();
        let (mut reader, mut member, mut tap) = (ring.reader(), ring.member(), ring.tap());
        let most = ring.writer.largest();
        ring.writer.try_reserve(most).unwrap().publish(most);
        for (i, &word) in words.iter().enumerate() {
            ring.spoil(8 * i, word);
        }
        let mut bytes = 0;
        while let Ok(batch) = reader.try_recv_batch(1000) {
            bytes += batch.iter().map(|message| message.iter().map(|&b| usize::from(b & 1)).sum::<usize>()).sum::<usize>();
        }
        let mut shared = 0;
        while let Ok(record) = member.try_recv() {
            shared += record.iter().map(|&b| usize::from(b & 1)).sum::<usize>();
        }
        prop_assert_eq!(bytes, shared);
        let mut message = Vec::new();
        while tap.try_recv(&mut message).is_ok() {
            prop_assert!(message.len() < PAGE as usize);
        }
    }
}

/// Damage through the file of a named ring, as another process with write access could do it.
#[test]
fn a_length_spoiled_in_the_file_is_an_error_in_the_reader() {
    let name = Unique::new("errors");
    let mut writer = Writer::create(&*name, PAGE).unwrap();
    let mut reader = Reader::join(&*name, Start::Oldest).unwrap();
    writer.try_send(b"good").unwrap();
    let file = std::fs::File::options().write(true).open(name.path());
    let data = std::fs::metadata(name.path()).unwrap().len() - PAGE;
    file.unwrap().write_all_at(&u32::MAX.to_le_bytes(), data).unwrap();
    assert!(matches!(reader.recv(), Err(RecvError::Corrupt(_))));
}

#[test]
fn a_ring_of_another_kind_or_type_is_refused() {
    let name = Unique::new("errors");
    let producer = Producer::<u64>::create(&*name, 8).unwrap();
    let error = Reader::join(&*name, Start::Latest).err();
    let Some(JoinError::Open(error @ OpenError::Kind { .. })) = error else { panic!("{error:?}") };
    assert!(error.to_string().contains("is a ring, expected a ring of records"), "{error}");
    drop(producer);

    let options = QueueOptions::new(PAGE).message_type("ticks/1");
    let _writer = Writer::create_with(&*name, &options).unwrap();
    let error = Consumer::<u64>::join(&*name, Start::Latest).err();
    let Some(JoinError::Open(OpenError::Kind { expected, found, .. })) = error else {
        panic!("{error:?}")
    };
    assert_eq!((expected, found), (Kind::Ring, Kind::Records));
    let error = Reader::join(&*name, Start::Latest).err();
    assert!(matches!(error, Some(JoinError::Open(OpenError::MessageType { .. }))), "{error:?}");
    let named = JoinOptions::new().message_type("ticks/1");
    Reader::join_with(&*name, Start::Latest, &named).unwrap();
}

#[test]
fn what_cannot_be_a_ring_is_refused() {
    let create = |options: &QueueOptions| Writer::anonymous_with(options).err();
    assert!(matches!(create(&QueueOptions::new(0)), Some(CreateError::Capacity(_))));
    assert!(matches!(create(&QueueOptions::new(u64::MAX)), Some(CreateError::Capacity(_))));
    assert!(matches!(create(&QueueOptions::new((1 << 40) + 1)), Some(CreateError::Capacity(_))));
    let error = create(&QueueOptions::new(PAGE).first(12));
    assert!(matches!(error, Some(CreateError::First { found: 12 })), "{error:?}");
    assert!(matches!(Writer::create("a/b", PAGE), Err(CreateError::Name(_))));
    let name = Unique::new("errors");
    let _writer = Writer::create(&*name, PAGE).unwrap();
    let error = Writer::create(&*name, PAGE).err();
    let taken = matches!(&error, Some(CreateError::Segment(day2::CreateError::Taken { .. })));
    assert!(taken, "{error:?}");
    // Missing queues, and impossible sizes: errors, and no name is left.
    let name = Unique::new("errors");
    assert!(matches!(
        Reader::join(&*name, Start::Latest),
        Err(JoinError::Open(OpenError::NotFound { .. }))
    ));
    let error = Writer::create(&*name, 1 << 39).err();
    let full = matches!(&error, Some(CreateError::Segment(day2::CreateError::NoSpace { .. })));
    assert!(full, "{error:?}");
    assert!(!name.exists());
}

fn from_fd(descriptor: OwnedFd) -> Option<OpenError> {
    match Reader::from_fd(
        descriptor,
        Start::Latest,
        &JoinOptions::new().timeout(Default::default()),
    ) {
        Ok(_) => None,
        Err(JoinError::Open(error)) => Some(error),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_descriptor_of_something_else_is_refused() {
    let error = from_fd(std::fs::File::open("/dev/null").unwrap().into());
    assert!(matches!(error, Some(OpenError::NotRegular { .. })), "{error:?}");
    let error = from_fd(std::fs::File::open("/").unwrap().into());
    assert!(matches!(error, Some(OpenError::NotRegular { .. })), "{error:?}");
    // These are not sealed: another process could truncate them.
    let error = from_fd(std::fs::File::open("/proc/self/exe").unwrap().into());
    assert!(matches!(error, Some(OpenError::NotSealed { .. })), "{error:?}");
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let error = from_fd(memfd_create("day4-other", flags).unwrap());
    assert!(matches!(error, Some(OpenError::NotSealed { .. })), "{error:?}");
}

#[test]
fn a_memfd_cannot_be_cut_off_and_a_taps_not_be_written() {
    let (home, writer) = InMemfd::with_writer(PAGE, 0);
    let descriptor = writer.descriptor(Mode::Reader).unwrap();
    let error = nix::unistd::ftruncate(descriptor.as_fd(), 0);
    assert_eq!(error, Err(nix::errno::Errno::EPERM));
    let descriptor = writer.descriptor(Mode::Observer).unwrap();
    let error = nix::unistd::write(descriptor.as_fd(), b"x");
    assert_eq!(error, Err(nix::errno::Errno::EBADF));
    drop(home);
    // A ring in the memory of one process has no descriptor.
    let ring = Spoiled::new();
    assert!(ring.writer.descriptor(Mode::Reader).is_err());
}

#[test]
fn two_that_join_through_one_descriptor_exclude_one_another() {
    let writer = Writer::anonymous(PAGE).unwrap();
    let descriptor = writer.descriptor(Mode::Reader).unwrap();
    let label: QueueName = "/day4-lock".parse().unwrap();
    let open = || {
        let timeout = std::time::Duration::from_secs(2);
        day2::Segment::from_fd(&label, descriptor.as_fd(), Mode::Reader, timeout).unwrap()
    };
    let (first, second) = (open(), open());
    let held = first.lock(Default::default()).unwrap();
    assert!(second.lock(Default::default()).is_err());
    drop(held);
    drop(second.lock(Default::default()).unwrap());
}
