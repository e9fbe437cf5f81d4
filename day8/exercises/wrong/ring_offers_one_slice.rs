//! Wrong: only the first slice of the room is offered; a caller that asks again gets the rest.

#[derive(Debug)]
pub(crate) struct TooMany {
    pub(crate) there_are: usize,
}

pub(crate) struct RingBuffer {
    bytes: Box<[u8]>,
    head: usize,
    len: usize,
}

impl RingBuffer {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity].into(), head: 0, len: 0 }
    }

    pub(crate) fn room(&mut self) -> [&mut [u8]; 2] {
        let capacity = self.bytes.len();
        let end = self.head + self.len;
        if end < capacity {
            [&mut self.bytes[end..], &mut []]
        } else {
            [&mut self.bytes[end - capacity..self.head], &mut []]
        }
    }

    pub(crate) fn commit(&mut self, bytes: usize) -> Result<(), TooMany> {
        let there_are = self.bytes.len() - self.len;
        if bytes > there_are {
            return Err(TooMany { there_are });
        }
        self.len += bytes;
        Ok(())
    }

    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        let capacity = self.bytes.len();
        let end = self.head + self.len;
        if end <= capacity {
            [&self.bytes[self.head..end], &[]]
        } else {
            [&self.bytes[self.head..], &self.bytes[..end - capacity]]
        }
    }

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
