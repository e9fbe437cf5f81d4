//! Exercise 2: a connection's buffer, which is one slice or two.

/// More bytes were named than there are. Nothing has changed.
#[derive(Debug)]
pub(crate) struct TooMany {
    /// How many there are.
    pub(crate) there_are: usize,
}

/// A ring of bytes. `readv` fills its room, `writev` sends what is in it, and nothing is moved in between.
pub(crate) struct RingBuffer {}

impl RingBuffer {
    /// An empty buffer for so many bytes, at least 1. It has all of its memory now, and never gets more.
    pub(crate) fn new(capacity: usize) -> Self {
        let _ = capacity;
        Self {}
    }

    /// All memory in which nothing lies, in the order in which it is to be filled. It is two slices only where the
    /// room goes on at the front; the second one is empty otherwise, and both are if the buffer is full.
    ///
    /// An empty buffer is one slice, from the front to the end, so that the next read is in one piece.
    pub(crate) fn room(&mut self) -> [&mut [u8]; 2] {
        [&mut [], &mut []]
    }

    /// So many bytes were laid into the room, from its beginning; now they are in the buffer. Nothing was consumed
    /// since [`room`](Self::room) was called.
    ///
    /// More than fit into the room are refused, however many: then nothing changes.
    pub(crate) fn commit(&mut self, bytes: usize) -> Result<(), TooMany> {
        let _ = bytes;
        Err(TooMany { there_are: 0 })
    }

    /// All that is in the buffer, the oldest byte first. It is two slices only where it goes on at the front; the second
    /// one is empty otherwise, and both are if the buffer is empty.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [&[], &[]]
    }

    /// The oldest bytes, so many of them, are not needed any more.
    ///
    /// More than are in the buffer are refused, however many: then nothing changes.
    pub(crate) fn consume(&mut self, bytes: usize) -> Result<(), TooMany> {
        let _ = bytes;
        Err(TooMany { there_are: 0 })
    }
}
