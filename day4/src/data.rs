//! The bytes of a ring, as this process has them mapped.

use core::ptr::NonNull;

use common::cache::{AHEAD, prefetch};
use common::sync::{AtomicU64, Ordering};
use common::{Capacity, Sequence};
use day3::Memory;
use day3::sequencer::Run;

use crate::frame::{Frame, HEADER};

/// The bytes of a ring: as many as its capacity from any sequence on are one slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data {
    start: NonNull<u8>,
    capacity: Capacity,
}

// SAFETY: an address and a length; what is done with the bytes is for the handles to know, which
// keep the memory.
unsafe impl Send for Data {}

impl Data {
    /// The bytes of a ring whose memory is mapped twice in a row.
    pub(crate) fn of(memory: &dyn Memory) -> Self {
        Self { start: memory.data(), capacity: memory.ring().capacity }
    }

    /// The byte of this sequence. Up to a capacity of bytes from there on are mapped.
    #[inline(always)]
    pub(crate) fn at(&self, sequence: Sequence) -> NonNull<u8> {
        // SAFETY: an index is below the capacity, and data is mapped for twice that.
        unsafe { self.start.add(self.capacity.index(sequence)) }
    }

    /// The message of the frame that begins at this sequence.
    #[inline(always)]
    pub(crate) fn message_at(&self, frame: Sequence) -> NonNull<u8> {
        // SAFETY: as in `at`, and a header is shorter than any capacity.
        unsafe { self.at(frame).add(HEADER) }
    }

    /// The word of this sequence. Sequences of frames are multiples of 8; another, which only a forged
    /// cursor can say, is rounded down to one.
    #[inline(always)]
    pub(crate) fn word(&self, sequence: Sequence) -> &AtomicU64 {
        let place = self.at(sequence.minus(sequence.get() % HEADER as u64)).cast::<AtomicU64>();
        // SAFETY: mapped for as long as the handle that holds us keeps the memory; aligned, as data
        // is page-aligned and the sequence was rounded to a multiple of 8.
        unsafe { place.as_ref() }
    }

    /// The first frame of a run; `None` if no frame begins there, or it would not end within the run.
    #[inline(always)]
    pub(crate) fn frame(&self, run: Run) -> Option<Frame> {
        if run.len < HEADER as u64 || !is_aligned(run) {
            return None;
        }
        // What is mapped from there on is one lap, whatever the run says.
        let room = run.len.min(self.capacity.get());
        ahead(self.at(run.first), room);
        Frame::parse(self.word(run.first).load(Ordering::Relaxed), room)
    }

    /// The frames of a run, from its begin on.
    ///
    /// # Panics
    ///
    /// If the run is longer than the ring: beyond that nothing is mapped.
    #[inline(always)]
    pub(crate) fn walk(&self, run: Run) -> Walk {
        assert!(
            run.len <= self.capacity.get(),
            "a run of {} in a ring of {}",
            run.len,
            self.capacity
        );
        Walk { at: self.at(run.first), left: run.len }
    }

    /// The first frames of a run, as many as take up to `most` bytes together, but at least one: how long they
    /// are, and how many. (0, 0) if no frame begins there.
    #[inline]
    pub(crate) fn frames(&self, run: Run, most: u64) -> (u64, u64) {
        let (mut walk, mut count) = (self.walk(run), 0);
        let mut len = 0;
        while let Some((frame, _)) = walk.next() {
            if count > 0 && len + frame.size() > most {
                break;
            }
            len += frame.size();
            count += 1;
        }
        (len, count)
    }
}

/// Whether a frame can begin where this run does.
#[inline(always)]
fn is_aligned(run: Run) -> bool {
    run.first.get().is_multiple_of(HEADER as u64)
}

/// Writes the header of a frame whose message is in place; says how long the frame is.
#[inline(always)]
pub(crate) fn seal(word: &AtomicU64, len: usize, kind: u16) -> u64 {
    seal_as(word, Frame::new(len as u32, kind))
}

/// The same, with a header that is known.
#[inline(always)]
pub(crate) fn seal_as(word: &AtomicU64, header: Frame) -> u64 {
    // Relaxed: the header is published with its message.
    word.store(header.word(), Ordering::Relaxed);
    header.size()
}

/// Asks for what is to be read soon, if there is that much. Only a frame's header tells where the next frame
/// begins. So without a hint each header would come from the writer's core only after the one before it.
#[inline(always)]
fn ahead(at: NonNull<u8>, left: u64) {
    if left > AHEAD as u64 {
        prefetch(at.as_ptr().wrapping_add(AHEAD));
    }
}

/// Goes from frame to frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    at: NonNull<u8>,
    /// Bytes from there to the end of the run: at most a capacity, so all of them are mapped in a row.
    left: u64,
}

impl Walk {
    /// The next frame, and where its message begins. `None` at the end of the run, where there is no frame, or
    /// where the frame would not end within the run.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<(Frame, NonNull<u8>)> {
        if self.left < HEADER as u64 {
            return None;
        }
        ahead(self.at, self.left);
        // SAFETY: mapped, as some of the run is left, and aligned, as frames are to 8 bytes.
        let word = unsafe { self.at.cast::<AtomicU64>().as_ref() };
        let frame = Frame::parse(word.load(Ordering::Relaxed), self.left)?;
        // SAFETY: a header is left.
        let message = unsafe { self.at.add(HEADER) };
        // SAFETY: the frame ends within what is left, as it was checked to.
        self.at = unsafe { self.at.add(frame.size() as usize) };
        self.left -= frame.size();
        Some((frame, message))
    }
}
