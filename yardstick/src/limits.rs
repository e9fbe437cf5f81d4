//! The limits of this machine: a copy by one thread, and bare memory handed back and forth.

use core::hint::black_box;
use core::ptr::NonNull;
use std::io;
use std::os::fd::OwnedFd;

use crate::bytes::{Lengths, Tally};
use crate::memory;
use crate::payload::{Message, fill, sum};
use common::sync::{AtomicU64, Ordering, spin_loop};

/// Two buffers of the ring's size, and one thread that copies from one to the other.
pub struct Copy {
    from: Vec<Message<1>>,
    to: Vec<Message<1>>,
}

impl Copy {
    /// Two buffers of `capacity` bytes. All their pages are there already.
    pub fn new(capacity: u64) -> Self {
        let room = (capacity / 8) as usize;
        let (mut from, mut to) = (vec![Message::default(); room], vec![Message::default(); room]);
        fill(&mut from, 1);
        fill(&mut to, 0);
        Self { from, to }
    }

    /// Copies `messages` messages of these lengths, rounded up to words, one behind the other, each to
    /// the same place in the other buffer. The loop does nothing else; the copy is compared afterwards.
    /// A message that is longer than the buffer does not fit.
    ///
    /// # Errors
    ///
    /// If the copy differs from what was copied.
    pub fn run(&mut self, messages: u64, mut lengths: Lengths) -> io::Result<Tally> {
        let Self { from, to } = self;
        let mut tally = Tally::default();
        let (mut start, mut most) = (0, 0);
        for _ in 0..messages {
            let len = lengths.draw();
            let words = len.div_ceil(8);
            if start + words > from.len() {
                start = 0;
            }
            let end = start + words;
            black_box(&mut to[start..end]).copy_from_slice(black_box(&from[start..end]));
            tally.add(len, 0);
            most = most.max(end);
            start = end;
        }
        if from[..most] != to[..most] {
            return Err(io::Error::other("the copy differs from what was copied"));
        }
        Ok(tally)
    }
}

const QUARTERS: usize = 4;

/// Says which side owns a quarter. Nothing else is written on its cache line, nor on the
/// neighbouring line.
#[repr(C, align(128))]
struct Flag(AtomicU64);

const WRITERS: u64 = 0;
const READERS: u64 = 1;

/// A buffer of the ring's size that two processes share in quarters: one side writes a quarter while
/// the other reads another. They do nothing else.
pub struct HandOver {
    flags: &'static [Flag; QUARTERS],
    /// The data, page-aligned.
    data: NonNull<Message<1>>,
    /// Words in a quarter.
    quarter: usize,
}

/// The flags have a page to themselves.
const FLAGS: usize = 4096;

impl HandOver {
    /// Memory for [`HandOver::map`], zeroed: the writer owns all quarters. `capacity` is in bytes.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn create(capacity: u64) -> io::Result<OwnedFd> {
        memory::create_bytes(FLAGS + capacity as usize)
    }

    /// Maps it for the rest of this process's life.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    ///
    /// # Safety
    ///
    /// Of all mappings of this memory, in whatever process, one is to send and one to receive: two that do the
    /// same would have the same quarter.
    pub unsafe fn map(memory: &OwnedFd, capacity: u64) -> io::Result<Self> {
        let start = memory::map_bytes(memory, FLAGS + capacity as usize)?;
        // SAFETY: the first page holds the flags, is never unmapped, and any bits are a flag.
        let flags = unsafe { start.cast().as_ref() };
        // SAFETY: the mapping is longer than the page of flags.
        let data = unsafe { start.byte_add(FLAGS) }.cast();
        Ok(Self { flags, data, quarter: capacity as usize / 8 / QUARTERS })
    }

    /// The first `words` of a quarter.
    ///
    /// # Safety
    ///
    /// The caller must own the quarter until it hands it on.
    #[expect(clippy::mut_from_ref, reason = "the caller owns the quarter for now")]
    unsafe fn words(&self, quarter: usize, words: usize) -> &mut [Message<1>] {
        assert!(quarter < QUARTERS && words <= self.quarter);
        let first = self.data.as_ptr().wrapping_add(quarter * self.quarter);
        // SAFETY: inside the mapping (asserted), and owned by the caller alone.
        unsafe { core::slice::from_raw_parts_mut(first, words) }
    }

    /// Passes `bytes` bytes through, rounded up to words. It takes each quarter when the flag says
    /// `mine`, calls `work` on as much of it as is needed, and sets the flag to `theirs`.
    #[inline(always)]
    fn turn(
        &self,
        bytes: u64,
        (mine, theirs): (u64, u64),
        mut work: impl FnMut(&mut [Message<1>], u64) -> u64,
    ) -> Tally {
        let mut tally = Tally::default();
        let (mut left, mut done) = (bytes.div_ceil(8) as usize, 0);
        while left > 0 {
            let quarter = tally.count as usize % QUARTERS;
            let flag = &self.flags[quarter].0;
            // edge: hand over -> take
            while flag.load(Ordering::Acquire) != mine {
                spin_loop();
            }
            let words = left.min(self.quarter);
            // SAFETY: the flag says that the quarter is ours.
            let sum = work(unsafe { self.words(quarter, words) }, done);
            // edge: hand over -> take
            flag.store(theirs, Ordering::Release);
            tally.add(words * 8, sum);
            left -= words;
            done += words as u64;
        }
        tally
    }

    /// The side that writes.
    pub fn send(&self, bytes: u64) -> Tally {
        self.turn(bytes, (WRITERS, READERS), fill)
    }

    /// The side that reads.
    pub fn receive(&self, bytes: u64) -> Tally {
        self.turn(bytes, (READERS, WRITERS), |words, _| sum(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_what_was_written() {
        let (memory, bytes) = (HandOver::create(4096).unwrap(), 10_000);
        // SAFETY: one of the two sends, and the other receives.
        let side = || unsafe { HandOver::map(&memory, 4096) };
        let sent = std::thread::scope(|scope| {
            let received = scope.spawn(|| side().map(|side| side.receive(bytes)));
            let sent = side().unwrap().send(bytes);
            assert_eq!(received.join().unwrap().unwrap(), sent);
            sent
        });
        assert_eq!(sent.bytes, bytes);
    }

    #[test]
    fn a_copy_goes_around_its_buffer() {
        let tally = Copy::new(256).run(100, Lengths::uniform(1, 200)).unwrap();
        assert_eq!(tally.count, 100);
        assert_eq!(tally.bytes, Lengths::uniform(1, 200).total(100));
    }
}
