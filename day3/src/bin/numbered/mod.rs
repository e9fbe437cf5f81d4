//! What `day3-producer` sends and `day3-consumer` checks: messages that carry their own sequence.

/// A sequence, six words that follow from it, and a check word over these seven: 64 bytes.
pub(crate) type Message = [u64; 8];

/// The size of a message in bytes.
pub(crate) const SIZE: usize = size_of::<Message>();

/// The message with this sequence.
#[inline]
pub(crate) fn message(sequence: u64) -> Message {
    let mut message = [0; 8];
    let (mut word, mut check) = (sequence, 0u64);
    for place in &mut message[..7] {
        *place = word;
        check = check.rotate_left(9) ^ word;
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    }
    message[7] = check;
    message
}

/// A sum of check words. It does not depend on their order, nor on how many consumers add them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checksum(u64);

impl Checksum {
    #[inline]
    pub(crate) fn add(&mut self, message: &Message) {
        self.0 = self.0.wrapping_add(message[7]);
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}
