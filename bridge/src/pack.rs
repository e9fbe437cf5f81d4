//! Several messages in one NATS message.
//!
//! A small message costs the server as much work as one of a kilobyte. So a bridge may pack messages, and the other bridge
//! unpacks them; their boundaries and kinds are kept.
//!
//! Each message of a ring of records takes 6 bytes more than it has:
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 0 | 4 | length of the message in bytes, without this header |
//! | 4 | 2 | its kind |
//! | 6 | length | the message |
//!
//! Numbers are little-endian, and nothing stands between two messages. Messages of one size stand one behind the other,
//! without headers.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::EnvelopeError;

/// Bytes in front of each message of a ring of records.
pub const HEADER: usize = 6;

/// Room that a pack has from the beginning, if it may have that much.
const RESERVED: usize = 1 << 20;

/// Collects messages.
#[derive(Debug)]
pub struct Packer {
    bytes: BytesMut,
    count: u32,
    /// Bytes that a pack may have.
    most: usize,
    /// Whether messages have headers.
    framed: bool,
}

impl Packer {
    /// A pack of at most `most` bytes; of messages of any size, or of one size.
    pub fn new(most: usize, framed: bool) -> Self {
        Self { bytes: BytesMut::new(), count: 0, most, framed }
    }

    /// From the next pack on, a pack has at most so many bytes.
    pub(crate) fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// Adds a message. Says whether there was room; a message that is too long for any pack is alone in its pack.
    pub fn push(&mut self, kind: u16, message: &[u8]) -> bool {
        let header = if self.framed { HEADER } else { 0 };
        let len = header + message.len();
        let Ok(message_len) = u32::try_from(message.len()) else { return false };
        if self.count > 0 && len > self.most - self.bytes.len().min(self.most) {
            return false;
        }
        if self.count == 0 {
            // The most that is allowed may be far more than what comes.
            self.bytes.reserve(self.most.min(RESERVED).max(len));
        }
        if self.framed {
            self.bytes.put_u32_le(message_len);
            self.bytes.put_u16_le(kind);
        }
        self.bytes.put_slice(message);
        self.count += 1;
        true
    }

    /// How many messages there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// What was collected, and how many messages that is; the next pack begins.
    pub fn take(&mut self) -> (Bytes, u32) {
        (self.bytes.split().freeze(), core::mem::take(&mut self.count))
    }
}

/// The messages in a pack of records, each with its kind.
pub fn records(mut pack: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), EnvelopeError>> {
    core::iter::from_fn(move || {
        if pack.is_empty() {
            return None;
        }
        let Some(next) = first_record(pack) else {
            let rest = core::mem::take(&mut pack).len();
            return Some(Err(EnvelopeError::Pack { rest }));
        };
        let (kind, message, behind) = next;
        pack = behind;
        Some(Ok((kind, message)))
    })
}

/// The first message of a pack, its kind in front of it, and what lies behind it.
pub(crate) fn first_record(pack: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (header, rest) = pack.split_at_checked(HEADER)?;
    let (len, kind) = header.split_at(4);
    let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
    let kind = u16::from_le_bytes(kind.try_into().ok()?);
    let (message, behind) = rest.split_at_checked(len)?;
    Some((kind, message, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_and_kinds_are_kept() {
        let messages: Vec<Vec<u8>> = (0..300usize).map(|n| vec![n as u8; n * 7 % 101]).collect();
        let (mut packer, mut packs, mut next) = (Packer::new(1000, true), Vec::new(), 0);
        while next < messages.len() {
            if packer.push(next as u16, &messages[next]) {
                next += 1;
            } else {
                packs.push(packer.take());
            }
        }
        packs.push(packer.take());
        assert!(packs.len() > 5 && packs.iter().all(|(pack, _)| pack.len() <= 1000));
        let mut unpacked = Vec::new();
        for (pack, count) in &packs {
            let found: Vec<_> = records(pack).map(Result::unwrap).collect();
            assert_eq!(found.len(), *count as usize);
            unpacked.extend(found.into_iter().map(|(kind, message)| (kind, message.to_vec())));
        }
        assert!(unpacked.into_iter().eq((0..300).zip(messages)));
    }

    #[test]
    fn a_message_longer_than_a_pack_is_alone() {
        let mut packer = Packer::new(10, true);
        assert!(packer.push(0, &[1; 50]) && !packer.push(0, b""));
        assert_eq!(packer.take().0.len(), 56);
    }

    #[test]
    fn a_bound_is_no_promise_of_memory() {
        let mut packer = Packer::new(usize::MAX, true);
        assert!(packer.push(0, b"one") && packer.push(0, b"another"));
        assert_eq!(packer.take().1, 2);
    }

    #[test]
    fn a_pack_that_was_cut_is_an_error() {
        let mut packer = Packer::new(100, true);
        assert!(packer.push(1, b"one") && packer.push(2, b"another"));
        let (pack, _) = packer.take();
        for len in 0..pack.len() {
            let found: Result<Vec<_>, _> = records(&pack[..len]).collect();
            let whole = [0, HEADER + 3].contains(&len);
            assert_eq!(found.is_ok(), whole, "{len}");
        }
    }

    #[test]
    fn messages_of_one_size_have_no_headers() {
        let mut packer = Packer::new(16, false);
        assert!(packer.push(0, &[1; 8]) && packer.push(0, &[2; 8]) && !packer.push(0, &[3; 8]));
        assert_eq!(packer.take().0, [[1; 8], [2; 8]].concat());
        assert_eq!(packer.count(), 0);
    }
}
