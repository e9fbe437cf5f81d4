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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;
    use crate::heap::{Isolation, Pool};

    /// So large the buffers of this test grow.
    const MOST: usize = 32 << 10;

    #[derive(Clone, Debug)]
    enum Step {
        Reserve(usize),
        Push(usize),
        ReadInto(usize),
        Consume(usize),
        Take(usize),
        Join,
        Move,
        Release,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            2 => (0usize..40_000).prop_map(Step::Reserve),
            4 => (0usize..5_000).prop_map(Step::Push),
            3 => (0usize..9_000).prop_map(Step::ReadInto),
            5 => (0usize..6_000).prop_map(Step::Consume),
            2 => (0usize..6_000).prop_map(Step::Take),
            1 => Just(Step::Join),
            1 => Just(Step::Move),
            1 => Just(Step::Release),
        ];
        proptest::collection::vec(step, 0..200)
    }

    /// A buffer beside the same bytes in a list, and two heaps that it may lie in.
    struct Pair {
        buffer: Buffer,
        model: VecDeque<u8>,
        heaps: [Heap; 2],
        current: usize,
        next: u8,
    }

    impl Pair {
        fn fresh(&mut self, count: usize) -> Vec<u8> {
            let byte = || {
                self.next = self.next.wrapping_mul(31).wrapping_add(7);
                self.next
            };
            let bytes: Vec<u8> = std::iter::repeat_with(byte).take(count).collect();
            self.model.extend(&bytes);
            bytes
        }

        /// As `readv` does it: into the free parts, in order, as much as came.
        fn read_into(&mut self, count: usize) {
            let count = count.min(self.buffer.room());
            let bytes = self.fresh(count);
            let mut rest = &bytes[..];
            for mut part in self.buffer.room_slices() {
                let cut = part.len().min(rest.len());
                part[..cut].copy_from_slice(&rest[..cut]);
                rest = &rest[cut..];
            }
            assert!(rest.is_empty(), "less room than was said");
            self.buffer.commit(count);
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Reserve(room) => {
                    let heap = &self.heaps[self.current];
                    self.buffer.reserve(room, MOST, heap).unwrap();
                    assert!(self.buffer.room() >= room.min(MOST - self.buffer.len()));
                }
                Step::Push(count) => {
                    let bytes = self.fresh(count.min(self.buffer.room()));
                    self.buffer.push(&bytes);
                }
                Step::ReadInto(count) => self.read_into(count),
                Step::Consume(count) => {
                    let count = count.min(self.buffer.len());
                    self.buffer.consume(count);
                    self.model.drain(..count);
                }
                Step::Take(count) => {
                    let len = count.min(self.model.len());
                    let taken: Vec<u8> = self.model.drain(..len).collect();
                    assert_eq!(self.buffer.take(count), taken);
                }
                Step::Join => assert_eq!(self.buffer.contiguous(), self.model.make_contiguous()),
                Step::Move => {
                    self.current = 1 - self.current;
                    self.buffer.move_to(&self.heaps[self.current]).unwrap();
                }
                Step::Release if self.buffer.is_empty() => self.buffer.release(),
                Step::Release => {}
            }
        }

        fn is_same(&self) -> bool {
            let whole = self.buffer.slices(usize::MAX);
            let most = self.model.len() / 2;
            let half = self.buffer.slices(most);
            let both = |parts: [IoSlice<'_>; 2]| [&*parts[0], &*parts[1]].concat();
            both(whole).iter().eq(&self.model)
                && both(half).iter().eq(self.model.iter().take(most))
                && self.buffer.len() == self.model.len()
                && self.buffer.parts().concat().len() == self.model.len()
        }
    }

    proptest! {
        #[test]
        fn a_buffer_is_a_queue_of_bytes(steps in steps()) {
            for isolation in [Isolation::None, Isolation::Mprotect] {
                let pool: Rc<Pool> = Pool::new(isolation, 256 << 10);
                let heaps = [pool.heap().unwrap(), pool.heap().unwrap()];
                let own = heaps.clone();
                let mut pair = Pair {
                    buffer: Buffer::default(),
                    model: VecDeque::new(),
                    heaps,
                    current: 0,
                    next: 1,
                };
                for step in steps.clone() {
                    // Only the heap that the bytes are moved to is open, as in a coroutine.
                    let to = if matches!(step, Step::Move) { 1 - pair.current } else { pair.current };
                    let _open = own[to].open();
                    pair.step(step);
                    assert!(pair.is_same());
                }
            }
        }
    }
}
