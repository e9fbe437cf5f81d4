//! Messages of bytes for benchmarks. Their lengths look random, but the same seed gives the same
//! lengths. One side writes each byte, and the other side checks it.

use crate::payload::{Message, Payload, fill, sum};

/// A source of message lengths: SplitMix64, after Steele, Lea and Flood, "Fast splittable pseudorandom
/// number generators" (OOPSLA 2014), scaled to `0..=most` by the upper half of a product.
#[derive(Clone, Debug)]
pub struct Lengths {
    state: u64,
    /// The longest length plus one.
    bound: u64,
    /// Whether all messages are as long as the longest.
    fixed: bool,
}

impl Lengths {
    /// Uniform in `0..=most`.
    pub fn uniform(seed: u64, most: usize) -> Self {
        Self { state: seed, bound: most as u64 + 1, fixed: false }
    }

    /// Always `size`.
    pub fn fixed(size: usize) -> Self {
        Self { state: 0, bound: size as u64 + 1, fixed: true }
    }

    /// The longest possible length.
    pub fn most(&self) -> usize {
        self.bound as usize - 1
    }

    /// The length of the next message.
    #[inline(always)]
    pub fn draw(&mut self) -> usize {
        if self.fixed {
            return self.most();
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * u128::from(self.bound)) >> 64) as usize
    }

    /// How many bytes the next `messages` messages have together.
    pub fn total(mut self, messages: u64) -> u64 {
        if self.fixed {
            return messages * self.most() as u64;
        }
        (0..messages).map(|_| self.draw() as u64).sum()
    }
}

/// How much of each message is written and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Every byte.
    All,
    /// The first [`FIRST`] bytes.
    First,
}

/// The bytes that [`Touch::First`] touches.
pub const FIRST: usize = 16;

impl Touch {
    fn of(self, len: usize) -> usize {
        match self {
            Self::All => len,
            Self::First => len.min(FIRST),
        }
    }
}

/// What one side moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The checksum of all bytes that were touched, in order.
    pub checksum: u64,
}

impl Tally {
    /// Counts one more message of `len` bytes whose words add up to `sum`.
    #[inline(always)]
    pub fn add(&mut self, len: usize, sum: u64) {
        self.count += 1;
        self.bytes += len as u64;
        // Rotated for each message, so that swapping two messages changes it.
        self.checksum = self.checksum.rotate_left(7).wrapping_add(sum ^ len as u64);
    }

    /// Writes the next message, which fills `place`, and counts it.
    #[inline(always)]
    pub fn write(&mut self, place: &mut [u8], touch: Touch) {
        let len = place.len();
        let sum = write(&mut place[..touch.of(len)], self.count);
        self.add(len, sum);
    }

    /// Reads the next message and counts it.
    #[inline(always)]
    pub fn read(&mut self, message: &[u8], touch: Touch) {
        let sum = read(&message[..touch.of(message.len())]);
        self.add(message.len(), sum);
    }
}

/// Writes message number `number` into `bytes`, which are aligned to 8. Returns the sum of its words.
///
/// Messages of one word and of one cache line are written here: a queue that moves hundreds of
/// millions of them should not be measured by a call, or by registers that the code for long messages
/// needs.
#[inline(always)]
fn write(bytes: &mut [u8], number: u64) -> u64 {
    let first = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    if let Ok(word) = <&mut [u8; 8]>::try_from(&mut *bytes) {
        *word = first.to_le_bytes();
        return first;
    }
    if let Ok(line) = <&mut [u8; 64]>::try_from(&mut *bytes) {
        let words: &mut Message<8> = bytemuck::cast_mut(line);
        return words.fill(first);
    }
    write_long(bytes, first)
}

#[inline(never)]
fn write_long(bytes: &mut [u8], first: u64) -> u64 {
    let (words, tail) = bytes.split_at_mut(bytes.len() & !7);
    let last = first.wrapping_add(words.len() as u64 / 8);
    let words: &mut [Message<1>] = bytemuck::cast_slice_mut(words);
    // A message can begin anywhere on a cache line, and a wide store that crosses two lines becomes
    // two stores.
    let (head, lines) = words.split_at_mut(to_line(words));
    let second = first.wrapping_add(head.len() as u64);
    let sum = fill(head, first).wrapping_add(fill(lines, second));
    for (place, byte) in tail.iter_mut().zip(last.to_le_bytes()) {
        *place = byte;
    }
    sum.wrapping_add(word(tail))
}

/// How many words it is to the next cache line.
#[inline(always)]
fn to_line(words: &[Message<1>]) -> usize {
    words.as_ptr().align_offset(64).min(words.len())
}

/// The sum of the words of `bytes`.
#[inline(always)]
fn read(bytes: &[u8]) -> u64 {
    if let Ok(word) = <&[u8; 8]>::try_from(bytes) {
        return u64::from_le_bytes(*word);
    }
    if let Ok(line) = <&[u8; 64]>::try_from(bytes) {
        let words: Message<8> = bytemuck::pod_read_unaligned(line);
        return words.sum();
    }
    read_long(bytes)
}

#[inline(never)]
fn read_long(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.split_at(bytes.len() & !7);
    let words = match bytemuck::try_cast_slice::<u8, Message<1>>(words) {
        Ok(words) => {
            let (head, lines) = words.split_at(to_line(words));
            sum(head).wrapping_add(sum(lines))
        }
        // A queue that copies messages may put them at any address.
        Err(_) => words.chunks_exact(8).fold(0u64, |sum, bytes| sum.wrapping_add(word(bytes))),
    };
    words.wrapping_add(word(tail))
}

/// Up to 8 bytes as a word.
#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// A buffer for one message, aligned as a message has to be.
pub fn buffer(most: usize) -> Vec<u64> {
    vec![0; most.div_ceil(8)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_what_is_read_wherever_it_lies() {
        for len in (0..200).chain([4095, 4096]) {
            let (mut sent, mut received) = (Tally::default(), Tally::default());
            let mut words = buffer(len);
            let message = &mut bytemuck::cast_slice_mut(&mut words)[..len];
            sent.write(message, Touch::All);
            for offset in 0..8 {
                let moved = [&vec![0; offset][..], message].concat();
                received = Tally::default();
                received.read(&moved[offset..], Touch::All);
                assert_eq!(received, sent, "{len} bytes, {offset} further on");
            }
            if let Some(byte) = message.last_mut() {
                *byte ^= 1;
                let mut other = Tally::default();
                other.read(message, Touch::All);
                assert_ne!(other, received, "{len} bytes, one of them another");
            }
        }
    }

    #[test]
    fn lengths_are_the_same_for_the_same_seed_and_within_bounds() {
        let take =
            |mut lengths: Lengths| (0..1000).map(move |_| lengths.draw()).collect::<Vec<_>>();
        let lengths = take(Lengths::uniform(7, 100));
        assert_eq!(lengths, take(Lengths::uniform(7, 100)));
        assert_ne!(lengths, take(Lengths::uniform(8, 100)));
        assert!(lengths.contains(&0) && lengths.contains(&100));
        assert!(lengths.iter().all(|len| *len <= 100));
        let total = Lengths::uniform(7, 100).total(1000);
        assert_eq!(total, lengths.iter().map(|len| *len as u64).sum());
        assert_eq!(take(Lengths::fixed(9)), [9; 1000]);
    }
}
