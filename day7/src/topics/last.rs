//! The last value of each topic, for subscribers that come late.
//!
//! A table in a segment beside the publisher's ring: each entry is a latest value, as `fanout::latest` has it, of a
//! topic's name and its message. Only the publisher writes it.

use core::fmt;
use std::collections::HashMap;

use common::QueueName;
use common::sync::{AtomicU32, AtomicU64};
use core::ptr::NonNull;
use day2::header::{Expected, Geometry, Kind};
use day2::segment::page_size;
use day2::{CreateError, Mode, OpenError, Segment};

use crate::latest::cells::{Cells, HEAD_BYTES, Head, stride};

use super::names::{MOST_BYTES, Topic};

const MESSAGE_TYPE: &str = "topics/last/1";
/// An entry has two: it is read once by each subscriber that comes late.
const SLOTS: usize = 2;
/// A message's sequence, its lengths and kind, and its topic.
const HEADER_WORDS: usize = 2 + MOST_BYTES / 8;
/// The length of a message that is not kept, because it is too long.
const ABSENT: u32 = u32::MAX;

/// How much a publisher keeps for subscribers that come late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepLast {
    /// Of how many topics: those that come first.
    pub topics: usize,
    /// The longest message that is kept, in bytes.
    pub bytes: usize,
}

/// A last value.
#[derive(Clone, Debug)]
pub(crate) struct Last {
    pub(crate) sequence: u64,
    pub(crate) kind: u16,
    pub(crate) topic: Box<str>,
    pub(crate) payload: Vec<u8>,
}

/// A publisher's table.
pub(crate) struct Table {
    segment: Segment,
    /// How many words an entry's value has.
    words: usize,
    topics: usize,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("topics", &self.topics).finish_non_exhaustive()
    }
}

/// How many bytes an entry takes whose value has so many words; `None` if there is no such number.
fn entry_bytes(words: usize) -> Option<usize> {
    words.checked_add(16)?;
    HEAD_BYTES.checked_add(stride(words).checked_mul(8 * SLOTS)?)
}

fn expected(entry: usize) -> Expected<'static> {
    let (kind, element_align) = (Kind::Latest, HEAD_BYTES as u64);
    let element_size = entry as u64;
    Expected { kind, element_size, element_align, capacity: None, message_type: MESSAGE_TYPE }
}

impl Table {
    fn create(name: &QueueName, keep: KeepLast) -> Result<Self, CreateError> {
        let words = HEADER_WORDS.saturating_add(keep.bytes.div_ceil(8));
        let (capacity, size) = (keep.topics as u64, keep.bytes as u64);
        let entry = entry_bytes(words).ok_or(CreateError::TooLarge { capacity, size })?;
        let geometry = Geometry::plan(&expected(entry), capacity, 0, 4, page_size())?;
        let segment = Segment::create(name, geometry, 0o600, |_| ())?;
        Ok(Self { segment, words, topics: keep.topics })
    }

    /// Opens a publisher's table to read it.
    pub(crate) fn open(name: &QueueName) -> Result<Self, OpenError> {
        let segment = Segment::open(name, Mode::Observer, day2::segment::READY_TIMEOUT)?;
        let geometry = segment.geometry();
        let size = geometry.element_size() as usize;
        geometry.check(name, &expected(size))?;
        let stride_bytes = size.checked_sub(HEAD_BYTES).map(|bytes| bytes / (8 * SLOTS));
        // The words are those of the entry that has this size: a stride has room for no more.
        let words = stride_bytes.and_then(|stride| stride.checked_sub(1));
        let words =
            words.filter(|&words| words >= HEADER_WORDS && entry_bytes(words) == Some(size));
        let what = "an entry has no size that entries have";
        let damaged = OpenError::Damaged { name: name.clone(), what };
        let topics = geometry.capacity() as usize;
        Ok(Self { words: words.ok_or(damaged)?, topics, segment })
    }

    fn cells(&self, entry: usize) -> Cells<'_> {
        assert!(entry < self.topics);
        let bytes = HEAD_BYTES + stride(self.words) * 8 * SLOTS;
        // SAFETY: `topics` entries of so many bytes were planned or checked to fit into data.
        let head = unsafe { self.segment.data().add(entry * bytes) };
        // SAFETY: within the entry.
        let slots = unsafe { head.add(HEAD_BYTES) }.cast::<AtomicU64>();
        let slots = NonNull::slice_from_raw_parts(slots, SLOTS * stride(self.words));
        // SAFETY: data is page-aligned, an entry is a multiple of a head's alignment, the segment lives as long as what
        // is returned, and it is all atomics. Only the publisher stores, which has data mapped writable.
        let head = unsafe { head.cast::<Head>().as_ref() };
        // SAFETY: as above.
        let slots = unsafe { slots.as_ref() };
        // SAFETY: control has a page, is page-aligned, and is all atomics. Nobody sleeps there.
        let bell = unsafe { self.segment.control().cast::<AtomicU32>().as_ref() };
        Cells::new(head, bell, slots, self.words)
    }

    /// All values that are kept.
    pub(crate) fn read(&self) -> Vec<Last> {
        let mut words = vec![0u64; self.words];
        let mut found = Vec::new();
        for entry in 0..self.topics {
            let cells = self.cells(entry);
            if cells.version() == 0 {
                // Entries are used one after the other.
                break;
            }
            cells.copy(|at, word| words[at] = word);
            found.extend(parse(&words));
        }
        found
    }
}

/// The value in these words; `None` if none is kept, or if it is none.
fn parse(words: &[u64]) -> Option<Last> {
    let lengths = words[1];
    let (kind, topic_len, len) =
        (lengths as u16, (lengths >> 16) as u16 as usize, (lengths >> 32) as u32);
    let bytes: Vec<u8> = words[2..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    if len == ABSENT {
        return None;
    }
    let (topic, payload) = bytes.split_at_checked(MOST_BYTES)?;
    let topic = Topic::new(core::str::from_utf8(topic.get(..topic_len)?).ok()?).ok()?;
    let payload = payload.get(..len as usize)?.to_vec();
    Some(Last { sequence: words[0], kind, topic: topic.as_str().into(), payload })
}

/// What a publisher keeps.
#[derive(Debug)]
pub(crate) struct Keeper {
    table: Table,
    bytes: usize,
    /// Where a topic's entry is, and how often it was set.
    entries: HashMap<Box<str>, (usize, u64)>,
    /// Of how many messages nothing was kept.
    left_out: u64,
}

impl Keeper {
    pub(crate) fn create(name: &QueueName, keep: KeepLast) -> Result<Self, CreateError> {
        let table = Table::create(name, keep)?;
        Ok(Self { table, bytes: keep.bytes, entries: HashMap::new(), left_out: 0 })
    }

    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Keeps a message, if there is room for its topic, and for the message. One that is too long takes the place of the
    /// last value even so: what came before is not the last any more.
    pub(crate) fn keep(&mut self, topic: &str, kind: u16, sequence: u64, message: &[u8]) {
        let next = self.entries.len();
        if !self.entries.contains_key(topic) {
            if next == self.table.topics {
                self.left_out += 1;
                return;
            }
            self.entries.insert(topic.into(), (next, 0));
        }
        let Some((entry, version)) = self.entries.get_mut(topic) else { return };
        *version += 1;
        let is_kept = message.len() <= self.bytes && (message.len() as u64) < u64::from(ABSENT);
        self.left_out += u64::from(!is_kept);
        let (message, len) =
            if is_kept { (message, message.len() as u32) } else { (&[][..], ABSENT) };
        let lengths = u64::from(kind) | (topic.len() as u64) << 16 | u64::from(len) << 32;
        let mut name = [0; MOST_BYTES];
        name[..topic.len()].copy_from_slice(topic.as_bytes());
        let words = [sequence, lengths].into_iter();
        let words = words.chain(name.chunks(8).chain(message.chunks(8)).map(word));
        self.table.cells(*entry).set(*version, words);
    }

    /// Takes the last message of this topic back, which was not published after all: the one before is the last again.
    pub(crate) fn take_back(&mut self, topic: &str) {
        let Some((entry, version)) = self.entries.get_mut(topic) else { return };
        let cells = self.table.cells(*entry);
        // Without one before, its slot is zeros, and what has no topic is no message.
        let before = cells.before(*version);
        *version += 1;
        cells.set(*version, before.into_iter());
    }
}

/// Up to eight bytes, as a word.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use testing::Unique;

    #[test]
    fn what_is_taken_back_is_not_the_last() {
        let name = Unique::new("topics-back");
        let mut keeper = Keeper::create(&name, KeepLast { topics: 2, bytes: 8 }).unwrap();
        let kept = |keeper: &Keeper| -> Vec<_> {
            keeper.table.read().into_iter().map(|last| (last.sequence, last.payload)).collect()
        };
        keeper.keep("a", 0, 0, b"one");
        keeper.take_back("a");
        assert_eq!(kept(&keeper), [], "there was none before");
        keeper.keep("a", 0, 1, b"two");
        keeper.keep("b", 0, 2, b"other");
        for sequence in 3..6 {
            keeper.keep("a", 0, sequence, b"never");
            keeper.take_back("a");
        }
        assert_eq!(kept(&keeper), [(1, b"two".to_vec()), (2, b"other".to_vec())]);
    }
}
