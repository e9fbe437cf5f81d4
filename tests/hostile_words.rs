//! What a process that may write control can do to healthy ends, one word at a time. No call may hang
//! beyond its timeout, and none may panic. `tests/adversary` has found these.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use common::sync::{AtomicU64, Ordering};
use fanout::records::{ByteMemory, Local, Reader, Tap, Writer};
use fanout::{Consumer, Heap, JoinOptions, Member, Memory, Producer, QueueOptions, Start};

/// How long a call without a reason to wait may take on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Words of control, by their offset in bytes; see `day3/src/control.rs`.
const RESERVED: usize = 0;
const PUBLISHED: usize = 8;
const CLAIMED: usize = 384 + 256;

/// One word of a ring's control.
fn word(memory: &dyn Memory, offset: usize) -> &AtomicU64 {
    let control: *const AtomicU64 = std::ptr::from_ref(memory.control()).cast();
    // SAFETY: control is longer than that, and consists of atomic words.
    let word = unsafe { control.add(offset / 8) };
    // SAFETY: aligned, and mapped for as long as the memory lives.
    unsafe { &*word }
}

/// The words of a ring's marks: 32 marks of 4 words each. The second word of a mark says how many
/// messages came before it.
fn marks(memory: &dyn ByteMemory) -> &[AtomicU64] {
    let marks = std::ptr::from_ref(memory.marks()).cast::<AtomicU64>();
    // SAFETY: aligned, all atomic words, and mapped for as long as the memory lives.
    unsafe { std::slice::from_raw_parts(marks, 32 * 4) }
}

/// Calls `f` on a thread of its own, and returns its answer. Fails if `f` does not return, and
/// leaves the thread behind.
fn within_timeout<R: Send + 'static>(what: &str, f: impl FnOnce() -> R + Send + 'static) -> R {
    let (answer, answered) = channel();
    std::thread::spawn(move || answer.send(f()));
    match answered.recv_timeout(TIMEOUT) {
        Ok(answer) => answer,
        Err(error) => panic!("{what}: {error}"),
    }
}

fn joining() -> JoinOptions {
    JoinOptions::new().timeout(Duration::from_millis(50))
}

/// A ring of messages with two messages in it, and its producer.
fn messages() -> (Arc<Heap<u64>>, Producer<u64>) {
    let memory = Heap::<u64>::new(8, 0).unwrap();
    // SAFETY: the memory was made for this type, and has no other producer.
    let mut producer = unsafe { Producer::<u64>::from_memory(memory.clone()) };
    producer.try_send_batch(&[1, 2]).unwrap();
    (memory, producer)
}

/// A ring of records with some records in it, all of 8 bytes, and its writer.
fn records() -> (Arc<Local>, Writer) {
    let memory = Local::new(&QueueOptions::new(4096)).unwrap();
    // SAFETY: the memory has no other writer.
    let mut writer = unsafe { Writer::from_memory(memory.clone()) };
    for _ in 0..2000 {
        writer.try_send(&[]).unwrap();
    }
    (memory, writer)
}

/// A consumer that joins holds the ring's lock, so while it hangs no other consumer can join.
#[test]
fn joining_ends_where_published_lies_before_what_is_reserved() {
    let (memory, _producer) = messages();
    word(&*memory, RESERVED).store(1 << 40, Ordering::Relaxed);
    let joined = within_timeout("joining", move || {
        // SAFETY: the memory was made for this type.
        unsafe { Consumer::<u64>::from_memory(memory, Start::Latest, &joining()) }.map(drop)
    });
    // Whatever the result, the call has returned.
    drop(joined);
}

#[test]
fn joining_at_the_oldest_record_ends_where_published_lies_before_what_is_reserved() {
    let (memory, _writer) = records();
    word(&*memory, PUBLISHED).store(0, Ordering::Relaxed);
    word(&*memory, RESERVED).store(1 << 40, Ordering::Relaxed);
    let joined = within_timeout("joining", move || {
        // SAFETY: the memory holds a ring of records.
        unsafe { Reader::from_memory(memory, Start::Oldest, &joining()) }.map(drop)
    });
    drop(joined);
}

#[test]
fn opening_a_tap_ends_where_more_is_published_than_the_ring_has_room_for() {
    let (memory, _writer) = records();
    word(&*memory, PUBLISHED).fetch_add(1 << 60, Ordering::Relaxed);
    let opened = within_timeout("opening", move || {
        // SAFETY: the memory holds a ring of records.
        unsafe { Tap::from_memory(memory, Start::Latest, &joining()) }.map(drop)
    });
    let _: Result<(), _> = opened;
}

/// In a release build, the reader would not panic but read an atomic word that is not aligned.
#[test]
fn a_reader_that_joins_where_no_record_can_begin_does_not_panic() {
    let (memory, _writer) = records();
    word(&*memory, PUBLISHED).fetch_add(1, Ordering::Relaxed);
    within_timeout("reading", move || {
        // SAFETY: the memory holds a ring of records.
        let reader = unsafe { Reader::from_memory(memory.clone(), Start::Latest, &joining()) };
        word(&*memory, PUBLISHED).fetch_add(8, Ordering::Relaxed);
        let mut reader = reader.unwrap();
        drop(reader.try_recv());
    });
}

#[test]
fn a_member_whose_group_claims_where_no_record_can_begin_does_not_panic() {
    let (memory, _writer) = records();
    within_timeout("reading", move || {
        // SAFETY: the memory holds a ring of records.
        let member = unsafe {
            fanout::records::Member::from_memory(memory.clone(), "group", Start::Oldest, &joining())
        };
        word(&*memory, CLAIMED).fetch_add(1, Ordering::Relaxed);
        let mut member = member.unwrap();
        drop(member.try_recv());
    });
}

/// The mark says where a record begins, and the reader believes it.
#[test]
fn a_reader_that_lands_on_a_mark_where_no_record_can_begin_does_not_panic() {
    let (memory, _writer) = records();
    within_timeout("reading", move || {
        for word in marks(&*memory) {
            word.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the memory holds a ring of records.
        let reader = unsafe { Reader::from_memory(memory.clone(), Start::Oldest, &joining()) };
        drop(reader.unwrap().try_recv());
    });
}

/// Any process may write how many messages came before a mark.
#[test]
fn a_tap_that_loses_more_than_can_be_counted_does_not_panic() {
    let (memory, mut writer) = records();
    within_timeout("reading", move || {
        // SAFETY: the memory holds a ring of records.
        let mut tap =
            unsafe { Tap::from_memory(memory.clone(), Start::Oldest, &joining()) }.unwrap();
        let mut into = Vec::new();
        for lap in 0..6u64 {
            for _ in 0..2000 {
                writer.try_send(&[]).unwrap();
            }
            for mark in marks(&*memory).chunks(4) {
                mark[1].store((lap % 2) << 62 | lap << 61, Ordering::Relaxed);
            }
            let _: Result<usize, _> = tap.try_recv(&mut into);
        }
    });
}

/// The oldest record seems to lie half a circle ahead, and its nearest mark behind the tap.
#[test]
fn a_tap_comes_back_where_published_lies_half_a_circle_away() {
    let (memory, writer) = records();
    let outcome = within_timeout("reading", move || {
        // SAFETY: the memory holds a ring of records.
        let mut tap =
            unsafe { Tap::from_memory(memory.clone(), Start::Oldest, &joining()) }.unwrap();
        let mut into = Vec::new();
        while tap.try_recv(&mut into).is_ok() {}
        let published = writer.next_sequence().get().wrapping_add(11) ^ 1 << 63;
        drop(writer);
        word(&*memory, PUBLISHED).store(published, Ordering::Relaxed);
        tap.recv_timeout(&mut into, Duration::from_millis(1))
    });
    let _: Result<usize, _> = outcome;
}

/// It may get messages that another member has read, or that were never sent. But this call returns, and
/// so does the next.
#[test]
fn a_member_whose_group_claims_nonsense_comes_back() {
    for nonsense in [0, 1, u64::MAX, 1 << 63, 1 << 40] {
        let (memory, mut producer) = messages();
        within_timeout("reading", move || {
            // SAFETY: the memory was made for this type.
            let member = unsafe {
                Member::<u64>::from_memory(memory.clone(), "group", Start::Oldest, &joining())
            };
            let mut member = member.unwrap();
            word(&*memory, CLAIMED).store(nonsense, Ordering::Relaxed);
            for _ in 0..3 {
                let _: Result<u64, _> = member.recv_timeout(Duration::from_millis(1));
                let _: Result<(), _> = producer.send_timeout(3, Duration::from_millis(1));
            }
        });
    }
}
