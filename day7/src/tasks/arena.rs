//! The memory of a client's buffers: it hands the whole of it to the server once, and then only says which part.

use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::sync::{AtomicU8, AtomicU64, Ordering};
use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use offset_allocator::{Allocation, Allocator};

use crate::line::{errno_of, sealed, sealed_len};

use super::error::{ArenaFull, OutOfBounds};
use super::message::Span;

/// Buffers begin at multiples of this many bytes: a cache line.
const UNIT: u64 = 64;

/// The most bytes of an arena.
pub const MOST_ARENA: u64 = 1 << 36;

/// The most buffers at once.
const MOST_BUFFERS: u64 = 1 << 16;

/// The arena of a client, which keeps to itself what is taken.
pub(super) struct Arena {
    map: MmapRaw,
    object: OwnedFd,
    taken: Mutex<Allocator>,
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Arena {
    /// An arena of so many bytes, rounded up.
    pub(super) fn new(bytes: u64) -> Result<Arc<Self>, (&'static str, Errno)> {
        let units = whole(bytes.clamp(UNIT, MOST_ARENA).div_ceil(UNIT));
        let bytes = units * UNIT;
        let object = sealed(c"fanout-arena", bytes)?;
        let map = map(&object, bytes)?;
        // The allocator needs a place for what is free, too.
        let most = units.min(MOST_BUFFERS) as u32 + 2;
        let taken = Mutex::new(Allocator::with_max_allocs(units as u32, most));
        Ok(Arc::new(Self { map, object, taken }))
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// The object, to hand over.
    pub(super) fn object(&self) -> &OwnedFd {
        &self.object
    }

    fn taken(&self) -> MutexGuard<'_, Allocator> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends a part of so many bytes.
    pub(super) fn lend(self: &Arc<Self>, len: usize) -> Result<Buffer, ArenaFull> {
        let full = || ArenaFull { len, arena: self.len() };
        let units = (len as u64).div_ceil(UNIT).max(1);
        let units = u32::try_from(units).map_err(|_| full())?;
        let allocation = self.taken().allocate(units).ok_or_else(full)?;
        Ok(Buffer { arena: Arc::clone(self), allocation, len })
    }
}

/// So many units, rounded up to a number that the allocator gives in one piece: it knows sizes by their four highest
/// bits, and does not find what lies between two of them.
fn whole(units: u64) -> u64 {
    let bits = u64::BITS - units.leading_zeros();
    units.next_multiple_of(1 << bits.saturating_sub(4))
}

fn map(object: &OwnedFd, bytes: u64) -> Result<MmapRaw, (&'static str, Errno)> {
    let len = usize::try_from(bytes).map_err(|_| ("mmap", Errno::ENOMEM))?;
    MmapOptions::new().len(len).map_raw(object).map_err(|error| ("mmap", errno_of(&error)))
}

/// A part of a client's arena, which the server can read or write while a task has it.
///
/// While no task has it, it is this process's alone. It holds whatever was there before. Dropping it gives it back.
pub struct Buffer {
    arena: Arc<Arena>,
    allocation: Allocation,
    len: usize,
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Buffer {
    fn place(&self) -> NonNull<[u8]> {
        let offset = u64::from(self.allocation.offset) * UNIT;
        let start = self.arena.map.as_mut_ptr().wrapping_add(offset as usize);
        let start = NonNull::new(start).expect("a mapping does not start at address zero");
        NonNull::slice_from_raw_parts(start, self.len)
    }

    /// Where it is in the arena.
    pub(super) fn span(&self) -> Span {
        let offset = u64::from(self.allocation.offset) * UNIT;
        Span { offset, len: self.len as u64 }
    }

    /// Whether it is a part of this arena.
    pub(super) fn is_of(&self, arena: Option<&Arc<Arena>>) -> bool {
        arena.is_some_and(|arena| Arc::ptr_eq(arena, &self.arena))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the allocator lent these bytes of the mapping to us alone, and a server writes only what a task has.
        unsafe { self.place().as_ref() }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { self.place().as_mut() }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.arena.taken().free(self.allocation);
    }
}

/// A client's arena, as the server has it mapped. The client may write it at any time.
pub(super) struct Foreign {
    map: MmapRaw,
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreign").field("len", &self.map.len()).finish_non_exhaustive()
    }
}

/// Why a client's arena was not mapped.
#[derive(Debug)]
pub(super) enum NotMapped {
    /// The client could cut it short.
    NotSealed,
    /// It is shorter than the client says, or longer than any may be.
    Length(u64),
    /// The kernel refused something.
    System(&'static str, Errno),
}

impl Foreign {
    /// Maps the arena behind this descriptor, which has so many bytes, as the client says.
    pub(super) fn map(object: &OwnedFd, bytes: u64) -> Result<Self, NotMapped> {
        let system = |(call, errno)| NotMapped::System(call, errno);
        let found = sealed_len(object).map_err(system)?.ok_or(NotMapped::NotSealed)?;
        if found < bytes || !(1..=MOST_ARENA).contains(&bytes) {
            return Err(NotMapped::Length(found));
        }
        Ok(Self { map: map(object, bytes).map_err(system)? })
    }

    /// The bytes of this part; `None` if the arena does not have all of them.
    pub(super) fn part(&self, span: Span) -> Option<NonNull<[u8]>> {
        let end = span.offset.checked_add(span.len)?;
        if end > self.map.len() as u64 {
            return None;
        }
        let start = NonNull::new(self.map.as_mut_ptr().wrapping_add(span.offset as usize))?;
        Some(NonNull::slice_from_raw_parts(start, span.len as usize))
    }
}

/// A client's buffer, as a procedure sees it. The client keeps its mapping, and may write there meanwhile: so the bytes
/// are copied, and each copy may differ from the one before.
#[derive(Clone, Copy, Debug)]
struct Part(NonNull<[u8]>);

// SAFETY: all access is by atomic operations; who made the part keeps the mapping.
unsafe impl Send for Part {}

impl Part {
    fn len(self) -> usize {
        self.0.len()
    }

    /// The part from `offset` on that is `len` bytes long.
    fn within(self, offset: usize, len: usize) -> Result<NonNull<u8>, OutOfBounds> {
        let most = self.len();
        if offset.checked_add(len).is_none_or(|end| end > most) {
            return Err(OutOfBounds { offset, len, most });
        }
        // SAFETY: within the part.
        Ok(unsafe { self.0.cast::<u8>().add(offset) })
    }

    fn read(self, offset: usize, into: &mut [u8]) -> Result<(), OutOfBounds> {
        let start = self.within(offset, into.len())?;
        // SAFETY: as many bytes from there on are mapped.
        unsafe { copy_out(start, into) };
        Ok(())
    }

    fn write(self, offset: usize, from: &[u8]) -> Result<(), OutOfBounds> {
        let start = self.within(offset, from.len())?;
        // SAFETY: as many bytes from there on are mapped, writable.
        unsafe { copy_in(from, start) };
        Ok(())
    }
}

/// How many of `len` bytes from `start` on come before the first whole word.
fn before_words(start: NonNull<u8>, len: usize) -> usize {
    start.as_ptr().align_offset(align_of::<AtomicU64>()).min(len)
}

/// # Safety
///
/// As many bytes from `from` on are mapped.
unsafe fn copy_out(from: NonNull<u8>, into: &mut [u8]) {
    let byte = |at: usize| {
        // SAFETY: within what is mapped.
        let place = unsafe { from.add(at) }.cast::<AtomicU8>();
        // SAFETY: mapped; others reach it by atomic operations, or are other processes.
        unsafe { place.as_ref() }.load(Ordering::Relaxed)
    };
    let (head, len) = (before_words(from, into.len()), into.len());
    into[..head].iter_mut().enumerate().for_each(|(at, to)| *to = byte(at));
    let (words, tail) = into[head..].as_chunks_mut::<8>();
    for (at, to) in words.iter_mut().enumerate() {
        // SAFETY: within what is mapped, at a whole word.
        let place = unsafe { from.add(head + 8 * at) }.cast::<AtomicU64>();
        // SAFETY: as for a byte.
        *to = unsafe { place.as_ref() }.load(Ordering::Relaxed).to_ne_bytes();
    }
    let rest = len - tail.len();
    tail.iter_mut().enumerate().for_each(|(at, to)| *to = byte(rest + at));
}

/// # Safety
///
/// As many bytes from `into` on are mapped, writable.
unsafe fn copy_in(from: &[u8], into: NonNull<u8>) {
    let put = |at: usize, byte: u8| {
        // SAFETY: within what is mapped.
        let place = unsafe { into.add(at) }.cast::<AtomicU8>();
        // SAFETY: mapped; others reach it by atomic operations, or are other processes.
        unsafe { place.as_ref() }.store(byte, Ordering::Relaxed);
    };
    let head = before_words(into, from.len());
    from[..head].iter().enumerate().for_each(|(at, byte)| put(at, *byte));
    let (words, tail) = from[head..].as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        // SAFETY: within what is mapped, at a whole word.
        let place = unsafe { into.add(head + 8 * at) }.cast::<AtomicU64>();
        // SAFETY: as for a byte.
        unsafe { place.as_ref() }.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
    }
    let rest = from.len() - tail.len();
    tail.iter().enumerate().for_each(|(at, byte)| put(rest + at, *byte));
}

/// A buffer that a procedure reads.
///
/// It lies in the client's memory, and the client can write there at any time. So the bytes are copied, and two copies
/// may differ.
#[derive(Debug)]
pub struct Input(Part);

impl Input {
    /// # Safety
    ///
    /// The bytes are mapped while this lives.
    pub(super) unsafe fn new(part: NonNull<[u8]>) -> Self {
        Self(Part(part))
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the bytes from `offset` on that fill `into`.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`]; `into` is as it was.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfBounds> {
        self.0.read(offset, into)
    }

    /// A copy of all of it.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        let _ = self.read(0, &mut bytes);
        bytes
    }

    /// Where it is: for a procedure that trusts its clients, or that computes with raw pointers.
    pub fn as_ptr(&self) -> *const [u8] {
        self.0.0.as_ptr()
    }
}

/// A buffer that a procedure writes. It may also read what was there.
#[derive(Debug)]
pub struct Output(Part);

impl Output {
    /// # Safety
    ///
    /// The bytes are mapped, writable, while this lives.
    pub(super) unsafe fn new(part: NonNull<[u8]>) -> Self {
        Self(Part(part))
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the bytes from `offset` on that fill `into`.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`]; `into` is as it was.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfBounds> {
        self.0.read(offset, into)
    }

    /// Writes these bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`]; nothing was written.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), OutOfBounds> {
        self.0.write(offset, bytes)
    }

    /// Where it is: for a procedure that trusts its clients, or that computes with raw pointers.
    pub fn as_mut_ptr(&mut self) -> *mut [u8] {
        self.0.0.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    #[test]
    fn every_part_of_an_arena_is_copied_in_and_out_as_it_is() {
        let arena = Arena::new(4096).unwrap();
        let foreign = Foreign::map(arena.object(), arena.len()).unwrap();
        let bytes: Vec<u8> = (0..200u8).collect();
        for offset in 0..20 {
            for len in 0..40 {
                let span = Span { offset, len };
                let part = foreign.part(span).unwrap();
                // SAFETY: the mapping outlives it.
                let input = unsafe { Input::new(part) };
                // SAFETY: as above.
                let mut output = unsafe { Output::new(part) };
                let bytes = &bytes[len as usize..2 * len as usize];
                output.write(0, bytes).unwrap();
                assert_eq!(input.to_vec(), bytes);
                let beyond = output.write(1, bytes);
                assert!(beyond.is_err(), "{len}");
            }
        }
    }

    #[test]
    fn what_the_arena_does_not_have_is_no_part() {
        let arena = Arena::new(4096).unwrap();
        let foreign = Foreign::map(arena.object(), 4096).unwrap();
        for (offset, len) in [(4096, 1), (4095, 2), (0, 4097), (u64::MAX, 2), (2, u64::MAX)] {
            assert_eq!(foreign.part(Span { offset, len }), None, "{offset} {len}");
        }
        assert!(foreign.part(Span { offset: 4096, len: 0 }).is_some());
        assert!(matches!(Foreign::map(arena.object(), 4097), Err(NotMapped::Length(4096))));
        let unsealed = memfd_create("unsealed", MFdFlags::MFD_CLOEXEC).unwrap();
        assert!(matches!(Foreign::map(&unsealed, 1), Err(NotMapped::NotSealed)));
    }

    #[test]
    fn buffers_are_apart_and_come_back() {
        let arena = Arena::new(1024).unwrap();
        let mut lent: Vec<_> = (0..16u8).map(|_| arena.lend(64).unwrap()).collect();
        assert!(arena.lend(1).is_err(), "all is lent");
        for (n, buffer) in lent.iter_mut().enumerate() {
            buffer.fill(n as u8);
        }
        assert!(lent.iter().enumerate().all(|(n, buffer)| buffer.iter().all(|b| *b == n as u8)));
        drop(lent);
        assert_eq!(arena.lend(1024).unwrap().len(), 1024);
        assert!(arena.lend(usize::MAX).is_err());
        assert!(arena.lend(0).unwrap().is_empty());
    }
}
