//! The exercises of Day 4: each checks the same promises of your function and of the solution.
//!
//! Write yours in `day4/exercises/`; `cargo test -p day4 --test exercises -- --ignored` checks it. The
//! functions in `day4/exercises/wrong/` are wrong on purpose: each must fail here, for the reason that
//! stands beside its name.
#![cfg(not(loom))]

#[path = "../exercises/frames.rs"]
mod frames_exercise;
#[path = "../solutions/frames.rs"]
mod frames_solution;
#[path = "../exercises/splice.rs"]
mod splice_exercise;
#[path = "../solutions/splice.rs"]
mod splice_solution;

#[path = "../exercises/wrong"]
mod wrong {
    pub(crate) mod frames_believes_a_length;
    pub(crate) mod frames_forgets_the_padding;
    pub(crate) mod frames_ignores_the_tag;
    pub(crate) mod splice_copies;
    pub(crate) mod splice_copies_into_the_grant;
    pub(crate) mod splice_gives_up_on_a_signal;
    pub(crate) mod splice_loses_the_last;
    pub(crate) mod splice_sends_the_end;
}

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::sync::Arc;

use day3::{JoinOptions, QueueOptions, Start};
use day4::frame::Frame;
use day4::{ByteMemory, Local, Reader, TryRecvError, Writer};
use testing::judge::{breaks, comes_back};

type Frames = fn(&[u8]) -> Result<Vec<&[u8]>, usize>;
type Splice = fn(&mut Script, &mut Writer, usize) -> io::Result<u64>;

#[test]
#[ignore = "exercise 1, yours to solve"]
fn exercise_1_the_format_by_hand() {
    every_promise_of_frames(frames_exercise::frames);
}

#[test]
#[ignore = "exercise 2, yours to solve"]
fn exercise_2_no_copy_in_between() {
    every_promise_of_splice(splice_exercise::splice);
}

#[test]
fn solution_1_the_format_by_hand() {
    every_promise_of_frames(frames_solution::frames);
}

#[test]
fn solution_2_no_copy_in_between() {
    every_promise_of_splice(splice_solution::splice);
}

#[test]
fn wrong_ways_to_cut_frames_fail() {
    let fails = |promise: &str, wrong: Frames| breaks(promise, || every_promise_of_frames(wrong));
    fails("a frame that is cut off is none", wrong::frames_believes_a_length::frames);
    fails("a frame that is cut off is none", wrong::frames_forgets_the_padding::frames);
    fails("a tag that is none", wrong::frames_ignores_the_tag::frames);
}

#[test]
fn wrong_ways_to_splice_fail() {
    let fails = |promise: &str, wrong: Splice| breaks(promise, || every_promise_of_splice(wrong));
    fails("there is no copy in between", wrong::splice_copies::splice);
    fails("there is no copy in between", wrong::splice_copies_into_the_grant::splice);
    fails("nothing is no message", wrong::splice_sends_the_end::splice);
    fails("tries a read that was interrupted again", wrong::splice_gives_up_on_a_signal::splice);
    fails("what was read was sent", wrong::splice_loses_the_last::splice);
}

fn frame(message: &[u8], kind: u16) -> Vec<u8> {
    let mut bytes = Frame::new(message.len() as u32, kind).word().to_ne_bytes().to_vec();
    bytes.extend(message);
    // Padding keeps the bytes that were there before.
    bytes.resize(bytes.len().next_multiple_of(8), 0xee);
    bytes
}

fn every_promise_of_frames(frames: Frames) {
    comes_back("it comes to the end of the bytes", move || every_frame_is_cut(frames));
}

fn every_frame_is_cut(frames: Frames) {
    assert_eq!(frames(&[]), Ok(vec![]), "without bytes there is no frame");
    let messages: Vec<Vec<u8>> = (0..20).map(|len| vec![len as u8; len]).collect();
    let mut ring = Vec::new();
    for (message, kind) in messages.iter().zip(0..) {
        ring.extend(frame(message, kind));
    }
    let found = frames(&ring).expect("every frame is one");
    assert!(found.iter().eq(&messages), "every message is found, as it is: {found:?}");

    // Cut off at any byte: the frames before it are whole, and this frame is not.
    let starts: Vec<usize> = messages
        .iter()
        .scan(0, |end, message| {
            *end += frame(message, 0).len();
            Some(*end)
        })
        .collect();
    for end in 1..ring.len() {
        if !starts.contains(&end) {
            let last = starts.iter().rev().find(|&&start| start < end).copied().unwrap_or(0);
            assert_eq!(
                frames(&ring[..end]),
                Err(last),
                "a frame that is cut off is none: after {end} bytes"
            );
        }
    }
    // An impossible length, and an impossible tag.
    let at = starts[6];
    for len in [u32::MAX, u32::MAX - 7, ring.len() as u32] {
        let mut spoiled = ring.clone();
        spoiled[at..at + 4].copy_from_slice(&len.to_le_bytes());
        assert_eq!(frames(&spoiled), Err(at), "no length is believed, such as {len}");
    }
    let mut spoiled = ring.clone();
    spoiled[at + 7] ^= 1;
    assert_eq!(frames(&spoiled), Err(at), "a tag that is none");
}

/// An input that gives its reads one after another, and remembers the address of each.
#[derive(Default)]
struct Script {
    reads: VecDeque<io::Result<Vec<u8>>>,
    read_to: Vec<Range<*const u8>>,
}

impl Read for Script {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.reads.pop_front() {
            None => Ok(0),
            Some(Err(error)) => Err(error),
            Some(Ok(mut bytes)) => {
                let rest = bytes.split_off(bytes.len().min(into.len()));
                let into = &mut into[..bytes.len()];
                into.copy_from_slice(&bytes);
                self.read_to.push(into.as_ptr_range());
                if !rest.is_empty() {
                    self.reads.push_front(Ok(rest));
                }
                Ok(bytes.len())
            }
        }
    }
}

fn every_promise_of_splice(splice: Splice) {
    comes_back("it comes to the end of the input", move || {
        all_that_is_read_is_sent(splice);
        it_is_read_to_where_it_lies(splice);
    });
}

fn ring() -> (Writer, Reader) {
    let memory: Arc<dyn ByteMemory> = Local::new(&QueueOptions::new(1 << 16)).unwrap();
    // SAFETY: made just now, and this is its only writer.
    let writer = unsafe { Writer::from_memory(memory.clone()) };
    // SAFETY: a ring of records.
    let reader = unsafe { Reader::from_memory(memory, Start::Oldest, &JoinOptions::new()) };
    (writer, reader.unwrap())
}

/// Calls `see` with each message that is there.
fn drain(reader: &mut Reader, mut see: impl FnMut(&[u8])) {
    loop {
        match reader.try_recv() {
            Ok(record) => see(&record),
            Err(error) => {
                assert_eq!(error, TryRecvError::Empty);
                return;
            }
        }
    }
}

fn received(reader: &mut Reader) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    drain(reader, |message| messages.push(message.to_vec()));
    messages
}

fn all_that_is_read_is_sent(splice: Splice) {
    let (mut writer, mut reader) = ring();
    let mut run = |script: Vec<io::Result<Vec<u8>>>, chunk| {
        let mut script = Script { reads: script.into(), ..Script::default() };
        splice(&mut script, &mut writer, chunk).map_err(|error| error.kind())
    };

    assert_eq!(run(vec![], 100), Ok(0), "it says how many bytes");
    assert!(received(&mut reader).is_empty(), "nothing is no message");

    let bytes: Vec<u8> = (0..1000u32).map(|i| (i * i) as u8).collect();
    let interrupted = || Err(ErrorKind::Interrupted.into());
    let script = vec![
        interrupted(),
        Ok(bytes[..3].to_vec()),
        interrupted(),
        interrupted(),
        Ok(bytes[3..].to_vec()),
    ];
    let said = run(script, 100);
    assert_ne!(said, Err(ErrorKind::Interrupted), "it tries a read that was interrupted again");
    assert_eq!(said, Ok(1000), "it says how many bytes");
    let messages = received(&mut reader);
    let sizes: Vec<usize> = messages.iter().map(Vec::len).collect();
    assert!(sizes.iter().all(|size| (1..=100).contains(size)), "1 to 100 bytes: {sizes:?}");
    assert_eq!(messages.concat(), bytes, "what was read was sent");

    let script =
        vec![Ok(b"bef".to_vec()), Ok(b"ore".to_vec()), Err(ErrorKind::ConnectionReset.into())];
    assert_eq!(run(script, 4), Err(ErrorKind::ConnectionReset), "it passes an error on");
    assert_eq!(received(&mut reader).concat(), b"before", "what was read was sent");
    let said = run(vec![Ok(b"after".to_vec())], 8);
    assert_eq!(said, Ok(5), "after an error the ring can be used on");
    assert_eq!(received(&mut reader), [b"after"], "what was read was sent");
}

/// Several times around the ring, so that messages lie across its end, too.
fn it_is_read_to_where_it_lies(splice: Splice) {
    let (mut writer, mut reader) = ring();
    for lap in 0..5u8 {
        let mut script = Script::default();
        script.reads.extend((0..20).map(|i| Ok(vec![lap; 500 * (1 + i % 3)])));
        let said = splice(&mut script, &mut writer, 1000).map_err(|error| error.kind());
        assert!(said.is_ok_and(|bytes| bytes > 0), "it says how many bytes: {said:?}");
        let mut messages = Vec::new();
        drain(&mut reader, |message| messages.push(message.as_ptr_range()));
        for to in script.read_to {
            // The writer's mapping is also the reader's.
            let lies = messages.iter().any(|at| at.start <= to.start && to.end <= at.end);
            assert!(lies, "there is no copy in between: it was read to {to:?}, outside the ring");
        }
    }
}
