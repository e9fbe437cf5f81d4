//! What the wheel moves: messages whose lengths look random and are the same for the same seed, each
//! byte of them written by one side and checked by the other.

use common::payload::{Message, fill, sum};

/// Where message lengths come from: SplitMix64, after Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators" (OOPSLA 2014), scaled to `0..=most` by the upper half of a product.
#[derive(Clone, Debug)]
pub(crate) struct Lengths {
    state: u64,
    /// One more than the longest.
    bound: u64,
    /// All messages are as long as the longest.
    fixed: bool,
}

impl Lengths {
    /// Uniform in `0..=most`.
    pub(crate) fn uniform(seed: u64, most: usize) -> Self {
        Self { state: seed, bound: most as u64 + 1, fixed: false }
    }

    /// Always `size`.
    pub(crate) fn fixed(size: usize) -> Self {
        Self { state: 0, bound: size as u64 + 1, fixed: true }
    }

    /// The longest there can be.
    pub(crate) fn most(&self) -> usize {
        self.bound as usize - 1
    }

    /// The length of the next message.
    #[inline]
    pub(crate) fn next(&mut self) -> usize {
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
    pub(crate) fn total(mut self, messages: u64) -> u64 {
        (0..messages).map(|_| self.next() as u64).sum()
    }
}

/// How much of each message is written and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// Every byte.
    All,
    /// The first [`FIRST`] bytes.
    First,
}

/// The bytes that [`Touch::First`] touches.
pub(crate) const FIRST: usize = 16;

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
pub(crate) struct Tally {
    /// Messages.
    pub(crate) count: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Over all bytes that were touched, in order.
    pub(crate) checksum: u64,
}

impl Tally {
    /// Counts one more message of `len` bytes whose words add up to `sum`.
    #[inline]
    pub(crate) fn add(&mut self, len: usize, sum: u64) {
        self.count += 1;
        self.bytes += len as u64;
        // Turned for each message: two that change places change it.
        self.checksum = self.checksum.rotate_left(7).wrapping_add(sum ^ len as u64);
    }

    /// Writes the next message into `place`, all of it, and counts it.
    #[inline]
    pub(crate) fn write(&mut self, place: &mut [u8], touch: Touch) {
        let len = place.len();
        let sum = write(&mut place[..touch.of(len)], self.count);
        self.add(len, sum);
    }

    /// Reads the next message and counts it.
    #[inline]
    pub(crate) fn read(&mut self, message: &[u8], touch: Touch) {
        let sum = read(&message[..touch.of(message.len())]);
        self.add(message.len(), sum);
    }
}

/// Writes message number `number` into `bytes`, which are aligned to 8; returns the sum of its words.
#[inline]
fn write(bytes: &mut [u8], number: u64) -> u64 {
    let first = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (words, tail) = bytes.split_at_mut(bytes.len() & !7);
    let words: &mut [Message<1>] = bytemuck::cast_slice_mut(words);
    let last = first.wrapping_add(words.len() as u64);
    // A message begins anywhere on a cache line, and a wide store across two of them is two.
    let (head, lines) = words.split_at_mut(to_line(words));
    let second = first.wrapping_add(head.len() as u64);
    let sum = fill(head, first).wrapping_add(fill(lines, second));
    for (place, byte) in tail.iter_mut().zip(last.to_le_bytes()) {
        *place = byte;
    }
    sum.wrapping_add(word(tail))
}

/// How many words it is to the next cache line.
#[inline]
fn to_line(words: &[Message<1>]) -> usize {
    words.as_ptr().align_offset(64).min(words.len())
}

/// The sum of the words of `bytes`, which are aligned to 8.
#[inline]
fn read(bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.split_at(bytes.len() & !7);
    let words: &[Message<1>] = bytemuck::cast_slice(words);
    let (head, lines) = words.split_at(to_line(words));
    sum(head).wrapping_add(sum(lines)).wrapping_add(word(tail))
}

/// Up to 7 bytes as a word.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// A buffer for one message that is aligned as a message has to be.
pub(crate) fn buffer(most: usize) -> Vec<u64> {
    vec![0; most.div_ceil(8)]
}
