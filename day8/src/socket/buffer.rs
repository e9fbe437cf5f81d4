//! A ring of bytes in a coroutine's heap: one or two slices for `readv`, one or two for `writev`.

use std::io::{IoSlice, IoSliceMut};

use crate::heap::{Heap, HeapBox, HeapError};

/// So much a buffer has at first, in bytes.
const FIRST: usize = 4 << 10;

/// A ring of bytes. Nothing is moved in it, but when somebody asks for one slice of what lies in two.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Option<HeapBox<[u8]>>,
    head: usize,
    len: usize,
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn capacity(&self) -> usize {
        self.bytes.as_ref().map_or(0, HeapBox::len)
    }

    /// How many bytes more fit.
    pub(crate) fn room(&self) -> usize {
        self.capacity() - self.len
    }

    /// The heap that it lies in.
    pub(crate) fn heap(&self) -> Option<&Heap> {
        self.bytes.as_ref().map(HeapBox::heap)
    }

    /// Has so much room, or all that is allowed, in this heap.
    pub(crate) fn reserve(
        &mut self,
        room: usize,
        most: usize,
        heap: &Heap,
    ) -> Result<(), HeapError> {
        let wanted = self.len.saturating_add(room).min(most);
        if wanted <= self.capacity() {
            return Ok(());
        }
        self.place(wanted.next_power_of_two().max(FIRST), heap)
    }

    /// Moves to another heap.
    pub(crate) fn move_to(&mut self, heap: &Heap) -> Result<(), HeapError> {
        if self.is_empty() {
            self.release();
            return Ok(());
        }
        self.place(self.capacity(), heap)
    }

    fn place(&mut self, capacity: usize, heap: &Heap) -> Result<(), HeapError> {
        let mut bytes = heap.alloc_bytes(capacity)?;
        if !self.is_empty() {
            let from = self.heap().cloned();
            let _open = from.as_ref().map(Heap::open);
            let _to = heap.open();
            let [first, second] = self.parts();
            bytes[..first.len()].copy_from_slice(first);
            bytes[first.len()..self.len].copy_from_slice(second);
        }
        self.bytes = Some(bytes);
        self.head = 0;
        Ok(())
    }

    /// Gives its memory back. It has to be empty.
    pub(crate) fn release(&mut self) {
        assert!(self.is_empty());
        self.bytes = None;
        self.head = 0;
    }

    /// What is in it.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        let Some(bytes) = &self.bytes else { return [&[], &[]] };
        let end = self.head + self.len;
        if end <= bytes.len() {
            [&bytes[self.head..end], &[]]
        } else {
            [&bytes[self.head..], &bytes[..end - bytes.len()]]
        }
    }

    /// The same, at most so many bytes, as the kernel takes it.
    pub(crate) fn slices(&self, most: usize) -> [IoSlice<'_>; 2] {
        let [first, second] = self.parts();
        let first = &first[..first.len().min(most)];
        let second = &second[..second.len().min(most - first.len())];
        [IoSlice::new(first), IoSlice::new(second)]
    }

    /// What is free in it.
    pub(crate) fn room_slices(&mut self) -> [IoSliceMut<'_>; 2] {
        let (head, len) = (self.head, self.len);
        let Some(bytes) = &mut self.bytes else {
            return [IoSliceMut::new(&mut []), IoSliceMut::new(&mut [])];
        };
        let capacity = bytes.len();
        let end = head + len;
        if end >= capacity {
            [IoSliceMut::new(&mut bytes[end - capacity..head]), IoSliceMut::new(&mut [])]
        } else {
            let (before, behind) = bytes.split_at_mut(end);
            [IoSliceMut::new(behind), IoSliceMut::new(&mut before[..head])]
        }
    }

    /// So many bytes were laid where it was free.
    pub(crate) fn commit(&mut self, count: usize) {
        assert!(count <= self.room());
        self.len += count;
    }

    /// So many bytes were taken.
    pub(crate) fn consume(&mut self, count: usize) {
        assert!(count <= self.len);
        self.len -= count;
        self.head += count;
        if self.len == 0 {
            self.head = 0;
        } else if self.head >= self.capacity() {
            self.head -= self.capacity();
        }
    }

    /// Copies these bytes in. They have to fit.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room());
        let [mut first, mut second] = self.room_slices();
        let cut = bytes.len().min(first.len());
        first[..cut].copy_from_slice(&bytes[..cut]);
        second[..bytes.len() - cut].copy_from_slice(&bytes[cut..]);
        self.len += bytes.len();
    }

    /// What is in it, in one slice.
    pub(crate) fn contiguous(&mut self) -> &[u8] {
        let (head, len) = (self.head, self.len);
        let Some(bytes) = &mut self.bytes else { return &[] };
        if head + len > bytes.len() {
            bytes.rotate_left(head);
            self.head = 0;
        }
        &bytes[self.head..self.head + len]
    }

    /// Takes so many bytes, in one slice. They lie there until something is put in.
    pub(crate) fn take(&mut self, count: usize) -> &[u8] {
        let len = self.contiguous().len().min(count);
        let start = self.head;
        self.consume(len);
        match &self.bytes {
            Some(bytes) => &bytes[start..start + len],
            None => &[],
        }
    }
}
