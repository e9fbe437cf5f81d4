//! Messages that can be checked: all of a message follows from its number.

use std::fmt::Write;
use std::sync::LazyLock;

use testing::mix;

/// What messages are like. With a message's number, it says every byte of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The shortest message.
    pub(crate) least: usize,
    /// The longest message.
    pub(crate) most: usize,
    /// Whether messages have various kinds; otherwise all have kind 0.
    pub(crate) kinds: bool,
    /// Whether some messages look like a frame of a ring, or like lines of the NATS protocol.
    pub(crate) looks: bool,
    /// Whether they are [`Fixed`] messages, in a ring of those.
    pub(crate) fixed: bool,
}

/// A message in a ring of fixed messages.
pub(crate) type Fixed = [u64; 4];

/// What that type is called on all hosts.
pub(crate) const FIXED_TYPE: &str = "four-words/1";

/// Bytes that look like what carries them.
const LOOKS: [&[u8]; 12] = [
    b"PUB fanout.S 5\r\nhello\r\n",
    b"NATS/1.0\r\nNats-Msg-Id: 1-1\r\nFanout-End: closed\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"+OK\r\n",
    b"-ERR 'Authorization Violation'\r\n",
    b"PING\r\n",
    b"\r\n",
    b"\0",
    b"\x05\0\0\0\0\0frhello\0\0\0\x05\0\0\0\0\0fR",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"{\"error\":{\"code\":503}}",
    b"MSG fanout.S 1 0\r\n\r\n",
];

/// Bytes of which messages are parts.
static NOISE: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..1 << 14).flat_map(|n| mix(n).to_le_bytes()).collect());

/// Where a message's part of the noise may begin.
const OFFSETS: u64 = 1 << 12;

/// Bytes of a message's number. Shorter messages do not have it, nor do those that look like something else.
pub(crate) const NUMBER: usize = 8;

impl Shape {
    /// All messages have this length.
    pub(crate) fn of_length(bytes: usize) -> Self {
        Self::of_lengths(bytes, bytes)
    }

    /// Messages of these lengths.
    pub(crate) fn of_lengths(least: usize, most: usize) -> Self {
        assert!(least <= most && most + OFFSETS as usize <= NOISE.len());
        Self { least, most, kinds: false, looks: false, fixed: false }
    }

    /// Fixed messages.
    pub(crate) fn fixed() -> Self {
        Self { fixed: true, ..Self::of_length(size_of::<Fixed>()) }
    }

    /// With various kinds.
    pub(crate) fn with_kinds(mut self) -> Self {
        self.kinds = true;
        self
    }

    /// With messages that look like frames, or like the NATS protocol.
    pub(crate) fn with_looks(mut self) -> Self {
        self.looks = true;
        self
    }

    /// What a message looks like, if it looks like something.
    fn look(&self, number: u64) -> Option<&'static [u8]> {
        let picked = mix(number ^ 0x100c);
        (self.looks && picked.is_multiple_of(3))
            .then(|| LOOKS[(picked >> 8) as usize % LOOKS.len()])
    }

    /// How long a message is.
    pub(crate) fn length(&self, number: u64) -> usize {
        match self.look(number) {
            Some(look) => look.len(),
            None => self.least + (mix(number) % (self.most - self.least + 1) as u64) as usize,
        }
    }

    /// What kind it is.
    pub(crate) fn kind(&self, number: u64) -> u16 {
        let picked = mix(number ^ 0x6b1d);
        if self.kinds && picked.is_multiple_of(2) { (picked >> 16) as u16 } else { 0 }
    }

    /// Writes a message.
    pub(crate) fn write(&self, number: u64, message: &mut Vec<u8>) {
        message.clear();
        if let Some(look) = self.look(number) {
            message.extend_from_slice(look);
            return;
        }
        let length = self.length(number);
        let from = (mix(number ^ 0x0015e) % OFFSETS) as usize;
        message.extend_from_slice(&NOISE[from..from + length]);
        if let Some(place) = message.first_chunk_mut::<NUMBER>() {
            *place = number.to_le_bytes();
        }
    }

    /// How much of the ring a message takes: bytes, or in a ring of fixed messages one message.
    pub(crate) fn room(&self, number: u64) -> u64 {
        if self.fixed { 1 } else { day4::record_len(self.length(number)) as u64 }
    }

    /// What the messages before this one take: its sequence, less that of the first.
    pub(crate) fn offset(&self, number: u64) -> u64 {
        (0..number).map(|number| self.room(number)).sum()
    }

    /// The checksum of messages from this number to before that.
    pub(crate) fn checksum(&self, numbers: std::ops::Range<u64>) -> u64 {
        let (mut sum, mut message) = (0, Vec::new());
        for number in numbers {
            self.write(number, &mut message);
            sum = checksum(sum, self.kind(number), &message);
        }
        sum
    }

    /// As text, for another process.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let Self { least, most, kinds, looks, fixed } = self;
        write!(text, "{least} {most} {kinds} {looks} {fixed}").unwrap();
        text
    }

    /// From that text.
    pub(crate) fn parse(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let [least, most, kinds, looks, fixed] = words[..] else { panic!("no shape: {text:?}") };
        Self {
            least: least.parse().unwrap(),
            most: most.parse().unwrap(),
            kinds: kinds.parse().unwrap(),
            looks: looks.parse().unwrap(),
            fixed: fixed.parse().unwrap(),
        }
    }
}

/// The checksum of messages, with one more. It depends on their order, their kinds and their lengths.
pub(crate) fn checksum(sum: u64, kind: u16, message: &[u8]) -> u64 {
    let start = sum.rotate_left(7) ^ u64::from(kind) ^ (message.len() as u64) << 16;
    let (words, rest) = message.as_chunks::<8>();
    let sum = words.iter().fold(start, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| sum.rotate_left(8) ^ u64::from(*byte))
}
