//! The messages to send. Each follows from the seed and its number, so each end knows by itself what
//! it has to find, and where.

use day4::frame::{Frame, MOST};
use fanout::records::record_len;
use testing::mix;

/// A message of a ring of messages: its number, and three words that follow from it.
pub(crate) type Message = [u64; 4];

/// All messages of a round.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    seed: u64,
    /// The length of the longest record; 0 for a ring of messages.
    largest: usize,
    /// Where each message begins, and where the last message ends.
    starts: Vec<u64>,
}

impl Plan {
    /// Messages of one size. The first has this sequence.
    pub(crate) fn messages(seed: u64, count: u64, first: u64) -> Self {
        let starts = (0..=count).map(|number| first.wrapping_add(number)).collect();
        Self { seed, largest: 0, starts }
    }

    /// Records of up to `largest` bytes. The first begins at this sequence.
    pub(crate) fn records(seed: u64, count: u64, first: u64, largest: usize) -> Self {
        let mut this = Self { seed, largest, starts: vec![first] };
        let mut start = first;
        for number in 0..count {
            start = start.wrapping_add(record_len(this.len(number)) as u64);
            this.starts.push(start);
        }
        this
    }

    /// How many messages there are.
    pub(crate) fn count(&self) -> u64 {
        self.starts.len() as u64 - 1
    }

    /// The sequence at which message `number` begins. For the number after the last, where all
    /// messages end.
    pub(crate) fn start(&self, number: u64) -> u64 {
        self.starts[number as usize]
    }

    /// The number of the message that begins at this sequence.
    pub(crate) fn number_at(&self, sequence: u64) -> Option<u64> {
        // Sequences may wrap, but distances from the first sequence do not.
        let first = self.starts[0];
        let from_first = sequence.wrapping_sub(first);
        let found =
            self.starts.binary_search_by_key(&from_first, |start| start.wrapping_sub(first));
        found.ok().map(|number| number as u64)
    }

    /// The length of record `number`: often 0, sometimes the whole ring.
    pub(crate) fn len(&self, number: u64) -> usize {
        let dice = mix(self.seed ^ number);
        let most = self.largest.min(MOST) as u64;
        let scale = match dice % 64 {
            0 => return most as usize,
            1..8 => return 0,
            8..40 => 24,
            40..56 => 200,
            56..62 => most / 4,
            _ => most,
        };
        ((dice >> 8) % (scale.min(most) + 1)) as usize
    }

    /// The record of this number: every other one is full of words that look like a record's header.
    pub(crate) fn record(&self, number: u64, into: &mut Vec<u8>) {
        into.clear();
        let len = self.len(number);
        let looks_like_headers = mix(number) & 1 == 0;
        for index in 0..len.div_ceil(8) as u64 {
            let word = mix(self.seed ^ number << 20 ^ index);
            let header = Frame::new((word % 64) as u32, word as u16).word();
            let word = if looks_like_headers { header } else { word };
            into.extend_from_slice(&word.to_ne_bytes());
        }
        into.truncate(len);
    }

    /// The message of this number.
    pub(crate) fn message(&self, number: u64) -> Message {
        let word = mix(self.seed ^ number);
        [number, word, !word, mix(word)]
    }

    /// The number of this message, if it is whole. `at` is where it began, if that is known.
    pub(crate) fn identify(&self, at: Option<u64>, bytes: &[u8]) -> Result<u64, String> {
        let number = match at {
            Some(at) => self.number_at(at).ok_or(format!("no message begins at {at}"))?,
            None => bytemuck::pod_read_unaligned::<u64>(&bytes[..8]),
        };
        if number >= self.count() {
            return Err(format!("there is no message {number}"));
        }
        let mut expected = Vec::new();
        if self.largest > 0 {
            self.record(number, &mut expected);
        } else {
            expected.extend_from_slice(bytemuck::bytes_of(&self.message(number)));
        }
        if bytes == expected {
            return Ok(number);
        }
        let (found, wanted) = (bytes.len(), expected.len());
        Err(format!("message {number} was damaged: {found} bytes, expected {wanted}"))
    }
}
