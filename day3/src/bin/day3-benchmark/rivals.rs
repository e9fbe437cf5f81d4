//! The rivals of the ring: a textbook ring, a bare ring, and the limits of the machine.

use std::sync::Arc;

use common::sync::{AtomicU64, Ordering, spin_loop};
use crossbeam_utils::CachePadded;

use bytemuck::Pod;
use day3::{Heap, Memory};
use yardstick::payload::{Payload, Tally, fill, sum};

/// Page-aligned places that two threads share. The type that holds them makes the rules.
struct Places<P: Pod> {
    memory: Arc<Heap<P>>,
    capacity: usize,
}

impl<P: Payload + Pod> Places<P> {
    fn new(capacity: usize) -> anyhow::Result<Self> {
        let room = capacity.next_power_of_two();
        Ok(Self { memory: Heap::new(room as u64, 0)?, capacity })
    }

    /// # Safety
    ///
    /// The caller must own these places until it hands them on.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the caller owns the places for now")]
    unsafe fn slice(&self, start: usize, len: usize) -> &mut [P] {
        assert!(start + len <= self.capacity);
        let first = self.memory.data().cast::<P>().as_ptr().wrapping_add(start);
        // SAFETY: in bounds (asserted), laid out like `P`, and owned by the caller alone.
        unsafe { core::slice::from_raw_parts_mut(first, len) }
    }
}

/// A way from one thread, which sends, to another, which receives.
pub(crate) trait Contender: Sync {
    /// Sends this many messages.
    fn send(&self, messages: u64) -> Tally;
    /// Receives this many messages.
    fn receive(&self, messages: u64) -> Tally;
}

/// (a) The ring of a first attempt: both indices SeqCst and side by side, the other's index read
/// for every message, `%`, one message at a time.
pub(crate) struct Textbook<P: Pod> {
    head: AtomicU64,
    tail: AtomicU64,
    places: Places<P>,
}

impl<P: Payload + Pod> Textbook<P> {
    pub(crate) fn new(capacity: usize) -> anyhow::Result<Self> {
        let places = Places::new(capacity)?;
        Ok(Self { head: AtomicU64::new(0), tail: AtomicU64::new(0), places })
    }

    fn capacity(&self) -> u64 {
        self.places.capacity as u64
    }
}

impl<P: Payload + Pod> Contender for Textbook<P> {
    fn send(&self, messages: u64) -> Tally {
        let mut tally = Tally::default();
        while tally.count < messages {
            let head = self.head.load(Ordering::SeqCst);
            if head - self.tail.load(Ordering::SeqCst) == self.capacity() {
                spin_loop();
                continue;
            }
            // SAFETY: the receiver has left this place and will not return before `head` moves.
            let place = unsafe { self.places.slice((head % self.capacity()) as usize, 1) };
            let sum = place[0].fill(tally.count);
            self.head.store(head + 1, Ordering::SeqCst);
            tally.add(1, sum);
        }
        tally
    }

    fn receive(&self, messages: u64) -> Tally {
        let mut tally = Tally::default();
        while tally.count < messages {
            let tail = self.tail.load(Ordering::SeqCst);
            if self.head.load(Ordering::SeqCst) == tail {
                spin_loop();
                continue;
            }
            // SAFETY: the sender has left this place and will not return before `tail` moves.
            let place = unsafe { self.places.slice((tail % self.capacity()) as usize, 1) };
            let sum = place[0].sum();
            self.tail.store(tail + 1, Ordering::SeqCst);
            tally.add(1, sum);
        }
        tally
    }
}

/// (d) The ring without many consumers, joining and closing: two cursors, each cached by the other
/// side, and batches.
pub(crate) struct Bare<P: Pod> {
    published: CachePadded<AtomicU64>,
    released: CachePadded<AtomicU64>,
    places: Places<P>,
    batch: u64,
}

impl<P: Payload + Pod> Bare<P> {
    pub(crate) fn new(capacity: usize, batch: usize) -> anyhow::Result<Self> {
        let cursor = || CachePadded::new(AtomicU64::new(0));
        let (published, released) = (cursor(), cursor());
        let (places, batch) = (Places::new(capacity)?, batch as u64);
        Ok(Self { published, released, places, batch })
    }

    #[inline(always)]
    fn spans(&self, first: u64, n: u64) -> [(usize, usize); 2] {
        let capacity = self.places.capacity;
        let start = first as usize & (capacity - 1);
        let head = (n as usize).min(capacity - start);
        [(start, head), (0, n as usize - head)]
    }
}

impl<P: Payload + Pod> Contender for Bare<P> {
    fn send(&self, messages: u64) -> Tally {
        let (mut tally, mut limit) = (Tally::default(), self.places.capacity as u64);
        while tally.count < messages {
            let first = tally.count;
            let n = self.batch.min(messages - first);
            while first + n > limit {
                limit = self.released.load(Ordering::Acquire) + self.places.capacity as u64;
                spin_loop();
            }
            for (start, len) in self.spans(first, n) {
                // SAFETY: before the limit, so the receiver has released these places.
                let places = unsafe { self.places.slice(start, len) };
                let sum = fill(places, tally.count);
                tally.add(len as u64, sum);
            }
            self.published.store(first + n, Ordering::Release);
        }
        tally
    }

    fn receive(&self, messages: u64) -> Tally {
        let (mut tally, mut known) = (Tally::default(), 0);
        while tally.count < messages {
            let first = tally.count;
            while known == first {
                known = self.published.load(Ordering::Acquire);
                spin_loop();
            }
            let n = self.batch.min(known - first);
            for (start, len) in self.spans(first, n) {
                // SAFETY: before `published`, so the sender has left these places.
                let places = unsafe { self.places.slice(start, len) };
                tally.add(len as u64, sum(places));
            }
            self.released.store(tally.count, Ordering::Release);
        }
        tally
    }
}

/// (f) The hand-over limit: the four quarters of a buffer go around. One side writes one quarter
/// while the other reads another, and nothing else happens.
pub(crate) struct HandOver<P: Pod> {
    written: CachePadded<AtomicU64>,
    read: CachePadded<AtomicU64>,
    places: Places<P>,
}

const QUARTERS: u64 = 4;

impl<P: Payload + Pod> HandOver<P> {
    pub(crate) fn new(capacity: usize) -> anyhow::Result<Self> {
        let cursor = || CachePadded::new(AtomicU64::new(0));
        let capacity = capacity.next_multiple_of(QUARTERS as usize);
        Ok(Self { written: cursor(), read: cursor(), places: Places::new(capacity)? })
    }

    fn quarter(&self) -> usize {
        self.places.capacity / QUARTERS as usize
    }

    /// How much of quarter number `turn` is needed for the messages that are left.
    #[inline(always)]
    fn span(&self, turn: u64, left: u64) -> (usize, usize) {
        let start = (turn % QUARTERS) as usize * self.quarter();
        (start, self.quarter().min(left as usize))
    }
}

impl<P: Payload + Pod> Contender for HandOver<P> {
    fn send(&self, messages: u64) -> Tally {
        let (mut tally, mut turn) = (Tally::default(), 0);
        while tally.count < messages {
            while turn - self.read.load(Ordering::Acquire) == QUARTERS {
                spin_loop();
            }
            let (start, len) = self.span(turn, messages - tally.count);
            // SAFETY: the reader has handed this quarter back.
            let places = unsafe { self.places.slice(start, len) };
            let sum = fill(places, tally.count);
            turn += 1;
            self.written.store(turn, Ordering::Release);
            tally.add(len as u64, sum);
        }
        tally
    }

    fn receive(&self, messages: u64) -> Tally {
        let (mut tally, mut turn) = (Tally::default(), 0);
        while tally.count < messages {
            while self.written.load(Ordering::Acquire) == turn {
                spin_loop();
            }
            let (start, len) = self.span(turn, messages - tally.count);
            // SAFETY: the writer has handed this quarter over.
            let places = unsafe { self.places.slice(start, len) };
            tally.add(len as u64, sum(places));
            turn += 1;
            self.read.store(turn, Ordering::Release);
        }
        tally
    }
}

/// (e) A plain copy of the same number of bytes by one thread, from one buffer of the ring's size
/// to another.
pub(crate) fn copy<P: Payload + Pod>(capacity: usize, messages: u64) -> Tally {
    let mut from = vec![P::ZERO; capacity];
    fill(&mut from, 0);
    let mut to = vec![P::ZERO; capacity];
    let mut tally = Tally::default();
    while tally.count < messages {
        let n = from.len().min((messages - tally.count) as usize);
        core::hint::black_box(&mut to[..n]).copy_from_slice(core::hint::black_box(&from[..n]));
        tally.add(n as u64, 0);
    }
    tally.sum = sum(&to);
    tally
}
