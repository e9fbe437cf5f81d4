//! The exercises of Day 4: each asks the same of your function and of the solution.
//!
//! Write yours in `day4/exercises/`; `cargo test -p day4 --test exercises -- --ignored` asks it of them.
#![cfg(not(loom))]

#[path = "../exercises/frames.rs"]
mod frames_exercise;
#[path = "../solutions/frames.rs"]
mod frames_solution;
#[path = "../exercises/splice.rs"]
mod splice_exercise;
#[path = "../solutions/splice.rs"]
mod splice_solution;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};

use day3::{JoinOptions, QueueOptions, Start};
use day4::frame::Frame;
use day4::{ByteMemory, Local, Reader, TryRecvError, Writer};

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

fn frame(message: &[u8], kind: u16) -> Vec<u8> {
    let mut bytes = Frame { len: message.len() as u32, kind }.word().to_ne_bytes().to_vec();
    bytes.extend(message);
    // Padding is whatever was there before.
    bytes.resize(bytes.len().next_multiple_of(8), 0xee);
    bytes
}

fn every_promise_of_frames(frames: Frames) {
    assert_eq!(frames(&[]), Ok(vec![]));
    let messages: Vec<Vec<u8>> = (0..20).map(|len| vec![len as u8; len]).collect();
    let mut ring = Vec::new();
    for (message, kind) in messages.iter().zip(0..) {
        ring.extend(frame(message, kind));
    }
    let found = frames(&ring).expect("every frame is one");
    assert!(found.iter().eq(&messages), "{found:?}");

    // Cut off anywhere: the frames before it are whole, this one is none.
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
            assert_eq!(frames(&ring[..end]), Err(last), "cut off at {end}");
        }
    }
    // A length that cannot be, and a tag that is none.
    let at = starts[6];
    for len in [u32::MAX, u32::MAX - 7, ring.len() as u32] {
        let mut spoiled = ring.clone();
        spoiled[at..at + 4].copy_from_slice(&len.to_le_bytes());
        assert_eq!(frames(&spoiled), Err(at), "a length of {len}");
    }
    let mut spoiled = ring.clone();
    spoiled[at + 7] ^= 1;
    assert_eq!(frames(&spoiled), Err(at), "a tag that is none");
}

/// An input that gives what it was told to, read by read.
struct Script(VecDeque<io::Result<Vec<u8>>>);

impl Read for Script {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.pop_front() {
            None => Ok(0),
            Some(Err(error)) => Err(error),
            Some(Ok(mut bytes)) => {
                let rest = bytes.split_off(bytes.len().min(into.len()));
                into[..bytes.len()].copy_from_slice(&bytes);
                if !rest.is_empty() {
                    self.0.push_front(Ok(rest));
                }
                Ok(bytes.len())
            }
        }
    }
}

fn every_promise_of_splice(splice: Splice) {
    let memory: std::sync::Arc<dyn ByteMemory> = Local::new(&QueueOptions::new(1 << 16)).unwrap();
    // SAFETY: made just now, and this is its only writer.
    let mut writer = unsafe { Writer::over(memory.clone()) };
    // SAFETY: a ring of records.
    let reader = unsafe { Reader::over(memory, Start::Oldest, &JoinOptions::new()) };
    let mut reader = reader.unwrap();
    let mut received = || {
        let mut messages = Vec::new();
        loop {
            match reader.try_recv() {
                Ok(record) => messages.push(record.to_vec()),
                Err(error) => {
                    assert_eq!(error, TryRecvError::Empty);
                    return messages;
                }
            }
        }
    };
    let mut run = |script: Vec<io::Result<Vec<u8>>>, chunk| {
        splice(&mut Script(script.into()), &mut writer, chunk).map_err(|error| error.kind())
    };

    assert_eq!(run(vec![], 100), Ok(0));
    assert!(received().is_empty(), "nothing is no message");

    let bytes: Vec<u8> = (0..1000u32).map(|i| (i * i) as u8).collect();
    let interrupted = || Err(ErrorKind::Interrupted.into());
    let script = vec![
        interrupted(),
        Ok(bytes[..3].to_vec()),
        interrupted(),
        interrupted(),
        Ok(bytes[3..].to_vec()),
    ];
    assert_eq!(run(script, 100), Ok(1000));
    let messages = received();
    assert!(messages.iter().all(|message| (1..=100).contains(&message.len())));
    assert_eq!(messages.concat(), bytes);

    let script = vec![Ok(b"before".to_vec()), Err(ErrorKind::ConnectionReset.into())];
    assert_eq!(run(script, 4), Err(ErrorKind::ConnectionReset));
    assert_eq!(received().concat(), b"before", "what was read was sent");
    assert_eq!(run(vec![Ok(b"after".to_vec())], 8), Ok(5));
    assert_eq!(received(), [b"after"]);
}
