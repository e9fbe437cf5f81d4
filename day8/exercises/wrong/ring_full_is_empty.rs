//! Wrong: it remembers two places, which are the same one when it is full and when it is empty.

#[derive(Debug)]
pub(crate) struct TooMany {
    pub(crate) there_are: usize,
}

pub(crate) struct RingBuffer {
    bytes: Box<[u8]>,
    head: usize,
    tail: usize,
}

impl RingBuffer {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity].into(), head: 0, tail: 0 }
    }

    fn len(&self) -> usize {
        let capacity = self.bytes.len();
        (self.tail + capacity - self.head) % capacity
    }

    pub(crate) fn room(&mut self) -> [&mut [u8]; 2] {
        let capacity = self.bytes.len();
        let end = self.head + self.len();
        if end < capacity {
            let (before, behind) = self.bytes.split_at_mut(end);
            [behind, &mut before[..self.head]]
        } else {
            [&mut self.bytes[end - capacity..self.head], &mut []]
        }
    }

    pub(crate) fn commit(&mut self, bytes: usize) -> Result<(), TooMany> {
        let there_are = self.bytes.len() - self.len();
        if bytes > there_are {
            return Err(TooMany { there_are });
        }
        self.tail = (self.tail + bytes) % self.bytes.len();
        Ok(())
    }

    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        let capacity = self.bytes.len();
        let end = self.head + self.len();
        if end <= capacity {
            [&self.bytes[self.head..end], &[]]
        } else {
            [&self.bytes[self.head..], &self.bytes[..end - capacity]]
        }
    }

    pub(crate) fn consume(&mut self, bytes: usize) -> Result<(), TooMany> {
        let there_are = self.len();
        if bytes > there_are {
            return Err(TooMany { there_are });
        }
        self.head = (self.head + bytes) % self.bytes.len();
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
        }
        Ok(())
    }
}
