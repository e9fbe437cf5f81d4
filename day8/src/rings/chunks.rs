//! A stream of bytes over a ring of records. Nothing here waits.

use std::io::{self, IoSlice, IoSliceMut};

use day3::{RecvError, SendError, TryRecvError, TrySendError, Wait};
use day4::frame::HEADER;
use day4::reader::Reader;
use day4::record_len;
use day4::writer::Writer;

/// The end that takes chunks.
#[derive(Debug)]
pub(super) struct Incoming<W: Wait> {
    pub(super) ring: Reader<W>,
    /// How much of the next record was taken.
    offset: usize,
    has_ended: bool,
}

impl<W: Wait> Incoming<W> {
    pub(super) fn new(ring: Reader<W>) -> Self {
        Self { ring, offset: 0, has_ended: false }
    }

    /// Whether the end of the stream was found.
    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Copies what is there into these parts; how much. 0: the stream has ended. `None`: nothing has come.
    #[inline]
    pub(super) fn take(&mut self, parts: &mut [IoSliceMut<'_>]) -> io::Result<Option<usize>> {
        let room = parts.iter().fold(0, |sum, part| sum + part.len());
        if self.has_ended || room == 0 {
            return Ok(Some(0));
        }
        let mut scatter = Scatter { parts, part: 0, at: 0 };
        let mut taken = 0;
        while taken < room {
            let record = match self.ring.try_recv() {
                Ok(record) => record,
                Err(TryRecvError::End(RecvError::Closed)) => {
                    self.has_ended = true;
                    break;
                }
                Err(_) if taken > 0 => break,
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::End(why)) => return Err(no_input(why)),
            };
            if record.is_empty() {
                self.has_ended = true;
                break;
            }
            // Its writer may have changed its length since the last look.
            let Some(rest) = record.get(self.offset..) else { return Err(changed()) };
            let len = scatter.copy(rest);
            taken += len;
            if len < rest.len() {
                self.offset += len;
                record.give_back();
                break;
            }
            self.offset = 0;
        }
        Ok(Some(taken))
    }
}

/// Why no more comes.
#[cold]
pub(super) fn no_input(why: RecvError) -> io::Error {
    let kind = match why {
        RecvError::ProducerDied | RecvError::HungUp => io::ErrorKind::ConnectionReset,
        RecvError::Aborted => io::ErrorKind::ConnectionAborted,
        RecvError::Corrupt(_) | RecvError::Evicted => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, why)
}

#[cold]
fn changed() -> io::Error {
    let why =
        "a record has become shorter while it was read: its writer writes what no writer does";
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The end that puts chunks.
#[derive(Debug)]
pub(super) struct Outgoing<W: Wait> {
    pub(super) ring: Writer<W>,
    /// The longest chunk.
    most: usize,
}

impl<W: Wait> Outgoing<W> {
    pub(super) fn new(ring: Writer<W>) -> Self {
        // A quarter of the ring: one side reads while the other writes.
        let most = ring.capacity() as usize / 4 - HEADER;
        Self { ring, most }
    }

    /// Copies of these parts what there is room for; how much. `None`: the ring is full.
    #[inline]
    pub(super) fn put(&mut self, parts: &[IoSlice<'_>]) -> Result<Option<usize>, SendError> {
        let total = parts.iter().fold(0, |sum, part| sum + part.len());
        if total == 0 {
            return Ok(Some(0));
        }
        let most = self.most;
        let bytes = record_len(total) + total / most * (2 * HEADER);
        let mut batch = match self.ring.try_batch_up_to(bytes) {
            Ok(batch) => batch,
            Err(TrySendError::Full) => return Ok(None),
            Err(TrySendError::End(why)) => return Err(why),
        };
        let mut gather = Gather { parts, part: 0, at: 0 };
        // Not a few bytes at a time, each with a header and a wake-up of its own.
        let fewest = total.min(most / 4);
        let mut put = 0;
        while put < total {
            let Some(len) = batch.room().map(|room| room.min(most).min(total - put)) else { break };
            if len == 0 || (put == 0 && len < fewest) {
                break;
            }
            let pushed = batch.push_with(len, |place| gather.copy(place));
            debug_assert!(pushed.is_ok(), "there is room for it");
            put += len;
        }
        if put == 0 {
            return Ok(None);
        }
        batch.publish();
        Ok(Some(put))
    }

    /// How many bytes there is to be room for before a wait for room ends that has so many to put.
    pub(super) fn wanted(&self, parts: &[IoSlice<'_>]) -> usize {
        parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len())).min(self.most)
    }
}

/// Where the next byte of several parts goes.
struct Scatter<'a, 'b> {
    parts: &'a mut [IoSliceMut<'b>],
    part: usize,
    at: usize,
}

impl Scatter<'_, '_> {
    /// Copies as much as there is room for; how much.
    #[inline]
    fn copy(&mut self, from: &[u8]) -> usize {
        let mut rest = from;
        while let Some(part) = self.parts.get_mut(self.part)
            && !rest.is_empty()
        {
            let place = &mut part[self.at..];
            let len = place.len().min(rest.len());
            place[..len].copy_from_slice(&rest[..len]);
            rest = &rest[len..];
            self.at += len;
            if self.at == part.len() {
                (self.part, self.at) = (self.part + 1, 0);
            }
        }
        from.len() - rest.len()
    }
}

/// Where the next byte of several parts comes from.
struct Gather<'a, 'b> {
    parts: &'a [IoSlice<'b>],
    part: usize,
    at: usize,
}

impl Gather<'_, '_> {
    /// Fills the place; there is as much. How much that was.
    #[inline]
    fn copy(&mut self, into: &mut [u8]) -> usize {
        let mut filled = 0;
        while let Some(part) = self.parts.get(self.part)
            && filled < into.len()
        {
            let from = &part[self.at..];
            let len = from.len().min(into.len() - filled);
            into[filled..filled + len].copy_from_slice(&from[..len]);
            filled += len;
            self.at += len;
            if self.at == part.len() {
                (self.part, self.at) = (self.part + 1, 0);
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use common::sync::{AtomicU64, Ordering};
    use day3::{Start, Yield};
    use day4::frame::Frame;
    use testing::Unique;

    use super::*;

    fn ring(name: &Unique) -> (Writer, Incoming<Yield>) {
        let writer = Writer::create(name.bare(), 4096).unwrap();
        let reader = Reader::<Yield>::join(name.bare(), Start::Oldest).unwrap();
        (writer, Incoming::new(reader))
    }

    fn take(incoming: &mut Incoming<Yield>, room: usize) -> io::Result<Option<Vec<u8>>> {
        let mut into = vec![0; room];
        let (one, two) = into.split_at_mut(room / 3);
        let len = incoming.take(&mut [IoSliceMut::new(one), IoSliceMut::new(two)])?;
        Ok(len.map(|len| into[..len].to_vec()))
    }

    #[test]
    fn records_are_one_stream_and_an_empty_one_is_its_end() {
        let name = Unique::new("chunks");
        let (mut writer, mut incoming) = ring(&name);
        for chunk in [&b"ab"[..], b"cdefgh", b"i", b"jkl"] {
            writer.send(chunk).unwrap();
        }
        assert_eq!(take(&mut incoming, 4).unwrap().unwrap(), b"abcd");
        assert_eq!(take(&mut incoming, 2).unwrap().unwrap(), b"ef");
        assert_eq!(take(&mut incoming, 0).unwrap().unwrap(), b"", "no room for anything");
        assert_eq!(take(&mut incoming, 9).unwrap().unwrap(), b"ghijkl");
        assert_eq!(take(&mut incoming, 9).unwrap(), None);
        writer.send(b"m").unwrap();
        writer.send(b"").unwrap();
        writer.send(b"not any more").unwrap();
        assert_eq!(take(&mut incoming, 9).unwrap().unwrap(), b"m");
        for _ in 0..2 {
            assert_eq!(take(&mut incoming, 9).unwrap().unwrap(), b"");
        }
    }

    #[test]
    fn the_close_is_the_end_after_everything_was_taken() {
        let name = Unique::new("chunks");
        let (mut writer, mut incoming) = ring(&name);
        writer.send(b"last").unwrap();
        writer.close();
        assert_eq!(take(&mut incoming, 3).unwrap().unwrap(), b"las");
        assert_eq!(take(&mut incoming, 3).unwrap().unwrap(), b"t");
        assert_eq!(take(&mut incoming, 3).unwrap().unwrap(), b"");
    }

    #[test]
    fn a_record_that_shrinks_while_it_is_read_is_an_error() {
        let name = Unique::new("chunks");
        let (mut writer, mut incoming) = ring(&name);
        writer.send(&[7; 100]).unwrap();
        assert_eq!(take(&mut incoming, 60).unwrap().unwrap(), [7; 60]);
        // SAFETY: the ring's first header; nobody else writes it now.
        let header = unsafe { writer.memory().data().cast::<AtomicU64>().as_ref() };
        header.store(Frame::new(50, 0).word(), Ordering::Relaxed);
        assert_eq!(take(&mut incoming, 60).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_full_ring_takes_nothing_until_there_is_room_for_more_than_a_few_bytes() {
        let name = Unique::new("chunks");
        let (writer, mut incoming) = ring(&name);
        let mut outgoing = Outgoing::new(writer);
        let bytes: Vec<u8> = (0..9000u32).map(|n| (n % 251) as u8).collect();
        let mut put = 0;
        let mut received = Vec::new();
        while received.len() < bytes.len() {
            let (one, two) = bytes[put..].split_at((bytes.len() - put) / 3);
            match outgoing.put(&[IoSlice::new(one), IoSlice::new(two)]).unwrap() {
                Some(len) => put += len,
                None => {
                    let left = bytes.len() - put;
                    received.extend(take(&mut incoming, 100).unwrap().unwrap());
                    assert!(left > 0);
                }
            }
            if put == bytes.len() {
                received.extend(take(&mut incoming, 9000).unwrap().unwrap());
            }
        }
        assert_eq!(received, bytes);
        assert_eq!(outgoing.put(&[]).unwrap(), Some(0), "nothing is no empty record");
        assert_eq!(take(&mut incoming, 1).unwrap(), None);
    }
}
