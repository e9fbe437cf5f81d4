//! How a message lies in the ring.
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 0 | 4 | length of the message in bytes, without this header |
//! | 4 | 2 | kind: for the program; 0 unless the sender says otherwise |
//! | 6 | 2 | tag: `fr`, or `fR` for a message that had been delivered before; a reader notices a word that is no header |
//! | 8 | length | the message |
//! | … | 0–7 | padding to the next multiple of 8; whatever was there before |
//!
//! Numbers are little-endian. The header is written and read as one atomic word.
//!
//! It is part of the segment's layout: a change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).

/// Bytes of a frame's header; also what frames are aligned to.
pub const HEADER: usize = 8;

/// The last two bytes of a header.
const TAG: u16 = u16::from_le_bytes(*b"fr");

/// The same, of a message that had been delivered before.
const AGAIN: u16 = u16::from_le_bytes(*b"fR");

/// One bit differs, so that a reader looks for both tags at once.
const _: () = assert!((TAG ^ AGAIN).is_power_of_two());

/// The longest message that a header can tell of, whatever the ring: 4 GiB less 8 bytes.
pub const MOST: usize = u32::MAX as usize - 7;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Length of the message in bytes.
    pub len: u32,
    /// For the program: the queue does not look at it.
    pub kind: u16,
    /// As it stands in the header: a truth value here would cost a reader some instructions a message.
    tag: u16,
}

impl Frame {
    /// The header of a message of so many bytes, of this kind, that is delivered for the first time.
    #[inline]
    pub const fn new(len: u32, kind: u16) -> Self {
        Self { len, kind, tag: TAG }
    }

    /// The same, of a message that had been delivered before, elsewhere.
    #[inline]
    pub const fn again(len: u32, kind: u16) -> Self {
        Self { len, kind, tag: AGAIN }
    }

    /// Whether the sender says that the message had been delivered before, elsewhere.
    #[inline]
    pub const fn is_redelivered(self) -> bool {
        self.tag == AGAIN
    }

    /// The header as one word.
    #[inline]
    pub const fn word(self) -> u64 {
        let word = self.len as u64 | (self.kind as u64) << 32 | (self.tag as u64) << 48;
        word.to_le()
    }

    /// What this word says; `None` if it is no header, or the frame would not end within `room` bytes.
    #[inline]
    pub const fn parse(word: u64, room: u64) -> Option<Self> {
        let word = u64::from_le(word);
        let frame = Self { len: word as u32, kind: (word >> 32) as u16, tag: (word >> 48) as u16 };
        let is_header = frame.tag == TAG || frame.tag == AGAIN;
        if is_header && frame.size() <= room { Some(frame) } else { None }
    }

    /// Bytes of ring that it takes.
    #[inline]
    pub const fn size(self) -> u64 {
        (self.len as u64 + (HEADER as u64 + 7)) & !7
    }
}

const _: () = {
    let bytes = [3, 0, 0, 0, 2, 1, b'f', b'r'];
    assert!(Frame::new(3, 0x102).word() == u64::from_ne_bytes(bytes));
    assert!(Frame::new(3, 0x102).size() == 16);
    let again = [3, 0, 0, 0, 2, 1, b'f', b'R'];
    assert!(Frame::again(3, 0x102).word() == u64::from_ne_bytes(again));
};

/// Bytes of ring that a message of `message` bytes takes: its header, the message, and padding to a
/// multiple of 8; `usize::MAX` if that is more than can be counted.
#[inline]
pub const fn record_len(message: usize) -> usize {
    match message.checked_add(HEADER + 7) {
        Some(sum) => sum & !7,
        None => usize::MAX,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_beyond_counting_are_the_largest() {
        assert_eq!(record_len(0), 8);
        assert_eq!(record_len(1), 16);
        assert_eq!(record_len(usize::MAX), usize::MAX);
        assert_eq!(record_len(usize::MAX - 14), usize::MAX);
        assert_eq!(record_len(usize::MAX - 15), usize::MAX - 7);
        assert!(Frame::new(u32::MAX, 0).size() > u64::from(u32::MAX));
    }

    /// Of the 65,536 tags, two are headers'.
    #[test]
    fn no_other_tag_is_a_header() {
        let without = Frame::new(5, 7).word() & !(0xffff_u64 << 48).to_le();
        let tags = (0..=u16::MAX).filter(|&tag| {
            let word = without | (u64::from(tag) << 48).to_le();
            Frame::parse(word, 16).is_some()
        });
        assert!(tags.eq([*b"fR", *b"fr"].map(u16::from_le_bytes)));
    }

    proptest! {
        #[test]
        fn a_header_says_what_was_written(len: u32, kind: u16, redelivered: bool) {
            let frame = if redelivered { Frame::again(len, kind) } else { Frame::new(len, kind) };
            prop_assert_eq!(frame.is_redelivered(), redelivered);
            prop_assert_eq!(Frame::parse(frame.word(), frame.size()), Some(frame));
            prop_assert_eq!(Frame::parse(frame.word(), frame.size() - 1), None);
            prop_assert_eq!(frame.size(), record_len(len as usize) as u64);
            prop_assert!(frame.size().is_multiple_of(8));
        }

        #[test]
        fn what_is_parsed_ends_within_the_room(word: u64, room: u64) {
            if let Some(frame) = Frame::parse(word, room) {
                prop_assert!(frame.size() <= room);
                prop_assert_eq!(frame.word(), word);
            }
        }
    }
}
