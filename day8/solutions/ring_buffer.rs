//! Exercise 2: a connection's buffer, which is one slice or two.

/// More bytes were named than there are. Nothing has changed.
#[derive(Debug)]
pub(crate) struct TooMany {
    /// How many there are.
    pub(crate) there_are: usize,
}

/// A ring of bytes. `readv` fills its room, `writev` sends what is in it, and nothing is moved in between.
pub(crate) struct RingBuffer {
    bytes: Box<[u8]>,
    /// Where the oldest byte lies.
    head: usize,
    /// How many are in it. A second place instead would be the same one when it is full and when it is empty.
    len: usize,
}

impl RingBuffer {
    /// An empty buffer for so many bytes, at least 1. It has all of its memory now, and never gets more.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity].into(), head: 0, len: 0 }
    }

    /// All memory in which nothing lies, in the order in which it is to be filled. It is two slices only where the
    /// room goes on at the front; the second one is empty otherwise, and both are if the buffer is full.
    ///
    /// An empty buffer is one slice, from the front to the end, so that the next read is in one piece.
    pub(crate) fn room(&mut self) -> [&mut [u8]; 2] {
        let capacity = self.bytes.len();
        let end = self.head + self.len;
        if end < capacity {
            let (before, behind) = self.bytes.split_at_mut(end);
            [behind, &mut before[..self.head]]
        } else {
            [&mut self.bytes[end - capacity..self.head], &mut []]
        }
    }

    /// So many bytes were laid into the room, from its beginning; now they are in the buffer. Nothing was consumed
    /// since [`room`](Self::room) was called.
    ///
    /// More than fit into the room are refused, however many: then nothing changes.
    pub(crate) fn commit(&mut self, bytes: usize) -> Result<(), TooMany> {
        let there_are = self.bytes.len() - self.len;
        if bytes > there_are {
            return Err(TooMany { there_are });
        }
        self.len += bytes;
        Ok(())
    }

    /// All that is in the buffer, the oldest byte first. It is two slices only where it goes on at the front; the second
    /// one is empty otherwise, and both are if the buffer is empty.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        let capacity = self.bytes.len();
        let end = self.head + self.len;
        if end <= capacity {
            [&self.bytes[self.head..end], &[]]
        } else {
            [&self.bytes[self.head..], &self.bytes[..end - capacity]]
        }
    }

    /// The oldest bytes, so many of them, are not needed any more.
    ///
    /// More than are in the buffer are refused, however many: then nothing changes.
    pub(crate) fn consume(&mut self, bytes: usize) -> Result<(), TooMany> {
        if bytes > self.len {
            return Err(TooMany { there_are: self.len });
        }
        self.len -= bytes;
        self.head += bytes;
        if self.len == 0 {
            self.head = 0;
        } else if self.head >= self.bytes.len() {
            self.head -= self.bytes.len();
        }
        Ok(())
    }
}
