//! The first page of a segment: what the segment is.

use core::fmt;
use core::mem::{offset_of, size_of};

use common::QueueName;
use common::sync::{AtomicU32, AtomicU64, Ordering};

use crate::error::{CreateError, OpenError, type_name_error};
use crate::identity;

/// The first eight bytes of every segment: `FANOUT` and two zeros, as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"FANOUT\0\0");

/// The version of the layout that this crate reads and writes.
///
/// Every change to what lies in a segment raises it, so that programs of another version refuse to open
/// the segment. A new kind needs no new version: a program that does not know it refuses it by its number.
/// These layouts depend on it, and assertions stand beside each of them: [`Header`], a
/// log's control, Day 3's `Control` with its lines and the words of its doorbell, Day 4's `Marks` and
/// `Frame`, Day 7's latest value and its topic space.
pub const LAYOUT_VERSION: u32 = 5;

/// The most bytes that the name of a message type may have.
pub const MOST_TYPE_NAME: usize = 256;

/// State of a segment that its creator is still filling.
const CREATING: u32 = 0;

/// State of a segment that is ready for use: `REDY`, as a little-endian number.
const READY: u32 = u32::from_le_bytes(*b"REDY");

/// The first page, byte for byte. The creator writes it once, before it sets the state to ready.
///
/// Numbers are little-endian, and bytes outside the fields are zero. A change raises
/// [`LAYOUT_VERSION`].
///
/// | offset | bytes | field |
/// |---:|---:|---|
/// | 0 | 8 | magic: `FANOUT` and two zeros |
/// | 8 | 4 | layout version: 5 |
/// | 12 | 4 | state: 0 while being created, then `REDY` |
/// | 16 | 4 | kind: 1 a log, 2 a ring, 3 a ring of records, 4 a latest value, 5 a topic space |
/// | 20 | 4 | alignment of a message |
/// | 24 | 8 | size of a message in bytes |
/// | 32 | 8 | capacity in messages |
/// | 40 | 8 | offset of control |
/// | 48 | 8 | length of control |
/// | 56 | 8 | offset of data |
/// | 64 | 8 | length of data |
/// | 72 | 8 | the first sequence |
/// | 80 | 8 | how many consumers control has room for (Day 3); 0 in a log |
/// | 88 | 8 | length of the type name in bytes |
/// | 96 | 8 | identity: a random number, the same in each copy of the queue |
/// | 128 | 256 | the type name |
#[repr(C)]
pub struct Header {
    magic: AtomicU64,
    layout_version: AtomicU32,
    state: AtomicU32,
    kind: AtomicU32,
    element_align: AtomicU32,
    element_size: AtomicU64,
    capacity: AtomicU64,
    control_offset: AtomicU64,
    control_len: AtomicU64,
    data_offset: AtomicU64,
    data_len: AtomicU64,
    first: AtomicU64,
    consumers: AtomicU64,
    type_name_len: AtomicU64,
    identity: AtomicU64,
    reserved: [AtomicU64; 3],
    type_name: [AtomicU64; MOST_TYPE_NAME / 8],
}

const _: () = {
    assert!(offset_of!(Header, magic) == 0);
    assert!(offset_of!(Header, layout_version) == 8);
    assert!(offset_of!(Header, state) == 12);
    assert!(offset_of!(Header, kind) == 16);
    assert!(offset_of!(Header, element_align) == 20);
    assert!(offset_of!(Header, element_size) == 24);
    assert!(offset_of!(Header, capacity) == 32);
    assert!(offset_of!(Header, control_offset) == 40);
    assert!(offset_of!(Header, control_len) == 48);
    assert!(offset_of!(Header, data_offset) == 56);
    assert!(offset_of!(Header, data_len) == 64);
    assert!(offset_of!(Header, first) == 72);
    assert!(offset_of!(Header, consumers) == 80);
    assert!(offset_of!(Header, type_name_len) == 88);
    assert!(offset_of!(Header, identity) == 96);
    assert!(offset_of!(Header, type_name) == 128);
    assert!(size_of::<Header>() == 384);
};

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Day 2's bounded log.
    Log,
    /// Day 3's ring of messages of one size.
    Ring,
    /// Day 4's ring of records of any size, which counts bytes.
    Records,
    /// Day 7's last value only.
    Latest,
    /// Day 7's register of the publishers and subscribers of topics.
    Topics,
    /// A kind that only a later version knows, by its number.
    Other(u32),
}

impl Kind {
    const fn number(self) -> u32 {
        match self {
            Self::Log => 1,
            Self::Ring => 2,
            Self::Records => 3,
            Self::Latest => 4,
            Self::Topics => 5,
            Self::Other(number) => number,
        }
    }

    const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Log,
            2 => Self::Ring,
            3 => Self::Records,
            4 => Self::Latest,
            5 => Self::Topics,
            number => Self::Other(number),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => f.write_str("log"),
            Self::Ring => f.write_str("ring"),
            Self::Records => f.write_str("ring of records"),
            Self::Latest => f.write_str("latest value"),
            Self::Topics => f.write_str("topic space"),
            Self::Other(number) => write!(f, "queue of unknown kind {number}"),
        }
    }
}

/// What the header says, copied into private memory and checked, so that no other process can
/// change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    kind: Kind,
    element_size: u64,
    element_align: u64,
    capacity: u64,
    message_type: String,
    first: u64,
    consumers: u64,
    identity: u64,
    control: Region,
    data: Region,
}

/// A run of whole pages in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// What an opener expects of a segment.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// The kind of queue.
    pub kind: Kind,
    /// Size of a message in bytes.
    pub element_size: u64,
    /// Alignment of a message in bytes.
    pub element_align: u64,
    /// Capacity in messages; `None` takes whatever the creator chose.
    pub capacity: Option<u64>,
    /// Name of the message type.
    pub message_type: &'a str,
}

impl<'a> Expected<'a> {
    /// Messages of type `T`, known as `message_type`; any capacity.
    pub fn messages<T>(kind: Kind, message_type: &'a str) -> Self {
        let (element_size, element_align) = (size_of::<T>() as u64, align_of::<T>() as u64);
        Self { kind, element_size, element_align, capacity: None, message_type }
    }
}

impl Geometry {
    /// Plans a segment: one page of header, then `control_len` bytes, then the messages. Each part
    /// begins on a page of its own and has at least one page. `page` is the size of a page in bytes.
    ///
    /// # Errors
    ///
    /// [`CreateError::Element`], [`CreateError::TypeName`], [`CreateError::TooLarge`].
    pub fn plan(
        expected: &Expected<'_>,
        capacity: u64,
        first: u64,
        control_len: u64,
        page: u64,
    ) -> Result<Self, CreateError> {
        let (size, align) = (expected.element_size, expected.element_align);
        if size == 0 || !align.is_power_of_two() || align > page {
            return Err(CreateError::Element { size, align });
        }
        if expected.message_type.len() > MOST_TYPE_NAME {
            return Err(type_name_error(expected.message_type.len()));
        }
        let too_large = CreateError::TooLarge { capacity, size };
        let pages = |bytes: u64| bytes.max(1).checked_next_multiple_of(page);
        let plan = || {
            let control = Region { offset: page, len: pages(control_len)? };
            let offset = page.checked_add(control.len)?;
            let data = Region { offset, len: pages(size.checked_mul(capacity)?)? };
            // The kernel measures files in signed 64-bit numbers.
            i64::try_from(data.offset.checked_add(data.len)?).ok()?;
            Some((control, data))
        };
        let (control, data) = plan().ok_or(too_large)?;
        let message_type = expected.message_type.to_owned();
        let kind = expected.kind;
        let (element_size, element_align) = (size, align);
        let (consumers, identity) = (0, 0);
        Ok(Self {
            kind,
            element_size,
            element_align,
            capacity,
            message_type,
            first,
            consumers,
            identity,
            control,
            data,
        })
    }

    /// The same, with room for so many consumers in control.
    #[must_use]
    pub fn for_consumers(mut self, consumers: usize) -> Self {
        self.consumers = consumers as u64;
        self
    }

    /// The same, of a queue that has this identity. Without it, or with 0, the segment gets a random one when it is
    /// created.
    #[must_use]
    pub fn with_identity(mut self, identity: u64) -> Self {
        self.identity = identity;
        self
    }

    /// The same, with an identity in any case.
    pub(crate) fn identified(self) -> Self {
        match self.identity {
            0 => self.with_identity(identity::random()),
            _ => self,
        }
    }

    /// The same, with room for at least so many bytes in data, beside the messages.
    ///
    /// # Errors
    ///
    /// [`CreateError::TooLarge`].
    pub fn with_data(mut self, bytes: u64, page: u64) -> Result<Self, CreateError> {
        let (capacity, size) = (self.capacity, self.element_size);
        let too_large = CreateError::TooLarge { capacity, size };
        let Some(len) = bytes.max(self.data.len).checked_next_multiple_of(page) else {
            return Err(too_large);
        };
        let end = self.data.offset.checked_add(len).and_then(|end| i64::try_from(end).ok());
        self.data.len = len;
        end.map(|_| self).ok_or(too_large)
    }

    /// How many consumers control is said to have room for.
    pub fn consumers(&self) -> u64 {
        self.consumers
    }

    /// The number that tells this queue from all others, and that copies of it have in common. In a plan it is 0,
    /// unless it was [given](Self::with_identity).
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// What the segment holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Size of a message in bytes.
    pub fn element_size(&self) -> u64 {
        self.element_size
    }

    /// Alignment of a message in bytes.
    pub fn element_align(&self) -> u64 {
        self.element_align
    }

    /// Capacity in messages.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Name of the message type.
    pub fn message_type(&self) -> &str {
        &self.message_type
    }

    /// The sequence of the first message ever.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Length of the whole segment in bytes.
    pub fn total_len(&self) -> u64 {
        self.data.offset + self.data.len
    }

    pub(crate) fn control(&self) -> Region {
        self.control
    }

    pub(crate) fn data(&self) -> Region {
        self.data
    }

    /// Compares with what an opener expects.
    ///
    /// # Errors
    ///
    /// The variant of [`OpenError`] for the first difference.
    pub fn check(&self, name: &QueueName, expected: &Expected<'_>) -> Result<(), OpenError> {
        let name = || name.clone();
        if self.kind != expected.kind {
            let (expected, found) = (expected.kind, self.kind);
            return Err(OpenError::Kind { name: name(), expected, found });
        }
        if self.element_size != expected.element_size {
            let (expected, found) = (expected.element_size, self.element_size);
            return Err(OpenError::ElementSize { name: name(), expected, found });
        }
        if self.element_align != expected.element_align {
            let (expected, found) = (expected.element_align, self.element_align);
            return Err(OpenError::ElementAlign { name: name(), expected, found });
        }
        if let Some(capacity) = expected.capacity.filter(|&capacity| capacity != self.capacity) {
            let (expected, found) = (capacity, self.capacity);
            return Err(OpenError::Capacity { name: name(), expected, found });
        }
        if self.message_type != expected.message_type {
            let (expected, found) = (expected.message_type.to_owned(), self.message_type.clone());
            return Err(OpenError::MessageType { name: name(), expected, found });
        }
        Ok(())
    }

    /// Checks that the parts lie one behind the other on whole pages, and are large enough.
    fn check_itself(&self, name: &QueueName, page: u64) -> Result<(), OpenError> {
        let damaged = |what| Err(OpenError::Damaged { name: name.clone(), what });
        let (control, data) = (self.control, self.data);
        let on_pages = |region: Region| {
            region.offset.is_multiple_of(page) && region.len.is_multiple_of(page) && region.len > 0
        };
        if control.offset != page || !on_pages(control) {
            return damaged("its control lies elsewhere");
        }
        if control.offset.checked_add(control.len) != Some(data.offset) || !on_pages(data) {
            return damaged("its data lies elsewhere");
        }
        let end = data.offset.checked_add(data.len);
        if end.is_none_or(|end| i64::try_from(end).is_err()) {
            return damaged("its data has no end");
        }
        let align = self.element_align;
        if self.element_size == 0 || !align.is_power_of_two() || align > page {
            return damaged("no message has that size and alignment");
        }
        if self.element_size.checked_mul(self.capacity).is_none_or(|bytes| bytes > data.len) {
            return damaged("its messages do not fit into its data");
        }
        Ok(())
    }
}

impl Header {
    /// Writes everything but the state.
    pub(crate) fn fill(&self, geometry: &Geometry) {
        // Relaxed throughout: nobody may read these before the state says ready.
        let order = Ordering::Relaxed;
        self.state.store(CREATING, order);
        self.magic.store(MAGIC, order);
        self.layout_version.store(LAYOUT_VERSION, order);
        self.kind.store(geometry.kind.number(), order);
        self.element_align.store(geometry.element_align as u32, order);
        self.element_size.store(geometry.element_size, order);
        self.capacity.store(geometry.capacity, order);
        self.control_offset.store(geometry.control.offset, order);
        self.control_len.store(geometry.control.len, order);
        self.data_offset.store(geometry.data.offset, order);
        self.data_len.store(geometry.data.len, order);
        self.first.store(geometry.first, order);
        self.consumers.store(geometry.consumers, order);
        self.identity.store(geometry.identity, order);
        let name = geometry.message_type.as_bytes();
        self.type_name_len.store(name.len() as u64, order);
        for (word, bytes) in self.type_name.iter().zip(name.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(padded), order);
        }
    }

    /// Marks the segment as ready for use.
    pub(crate) fn set_ready(&self) {
        // edge: ready -> open. An opener that reads READY sees everything written before it.
        self.state.store(READY, Ordering::Release);
    }

    /// Whether the creator is done.
    ///
    /// # Errors
    ///
    /// [`OpenError::Magic`] and [`OpenError::Damaged`], as soon as this can no longer become a queue.
    pub(crate) fn is_ready(&self, name: &QueueName) -> Result<bool, OpenError> {
        // edge: ready -> open
        let state = self.state.load(Ordering::Acquire);
        let found = self.magic.load(Ordering::Relaxed);
        match (found, state) {
            (MAGIC, READY) => Ok(true),
            (MAGIC | 0, CREATING) => Ok(false),
            (MAGIC, _) => {
                let what = "its state is neither being created nor ready";
                Err(OpenError::Damaged { name: name.clone(), what })
            }
            _ => Err(OpenError::Magic { name: name.clone(), expected: MAGIC, found }),
        }
    }

    /// Whether it begins as a queue does, ready or not.
    pub(crate) fn has_magic(&self) -> bool {
        self.magic.load(Ordering::Relaxed) == MAGIC
    }

    /// Copies the geometry into private memory and checks that it makes sense.
    ///
    /// # Errors
    ///
    /// [`OpenError::Version`], [`OpenError::Damaged`].
    pub(crate) fn read(&self, name: &QueueName, page: u64) -> Result<Geometry, OpenError> {
        let order = Ordering::Relaxed;
        let found = self.layout_version.load(order);
        if found != LAYOUT_VERSION {
            let expected = LAYOUT_VERSION;
            return Err(OpenError::Version { name: name.clone(), expected, found });
        }
        let len = self.type_name_len.load(order);
        let damaged = |what| OpenError::Damaged { name: name.clone(), what };
        if len > MOST_TYPE_NAME as u64 {
            return Err(damaged("the name of its message type is too long"));
        }
        let mut bytes: Vec<u8> =
            self.type_name.iter().flat_map(|word| word.load(order).to_le_bytes()).collect();
        bytes.truncate(len as usize);
        let message_type = String::from_utf8(bytes)
            .map_err(|_| damaged("the name of its message type is no UTF-8"))?;
        let geometry = Geometry {
            kind: Kind::from_number(self.kind.load(order)),
            element_size: self.element_size.load(order),
            element_align: u64::from(self.element_align.load(order)),
            capacity: self.capacity.load(order),
            message_type,
            first: self.first.load(order),
            consumers: self.consumers.load(order),
            identity: self.identity.load(order),
            control: Region {
                offset: self.control_offset.load(order),
                len: self.control_len.load(order),
            },
            data: Region { offset: self.data_offset.load(order), len: self.data_len.load(order) },
        };
        geometry.check_itself(name, page)?;
        Ok(geometry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testing::{Dice, number_from_environment};

    /// How many headers are damaged, unless `FANOUT_DAMAGES` says so.
    const DAMAGES: u64 = 1_000_000;

    /// A header page of a ring, as its creator leaves it.
    fn page_of_a_ring(capacity: u64) -> [AtomicU64; 48] {
        let words: [AtomicU64; 48] = core::array::from_fn(|_| AtomicU64::new(0));
        let expected = Expected::messages::<u64>(Kind::Ring, "u64");
        let geometry = Geometry::plan(&expected, capacity, 0, 384 * 5, 4096).unwrap();
        header(&words).fill(&geometry.for_consumers(4));
        header(&words).set_ready();
        words
    }

    fn header(words: &[AtomicU64; 48]) -> &Header {
        const { assert!(size_of::<[AtomicU64; 48]>() == size_of::<Header>()) };
        // SAFETY: as long, as aligned, and both are all atomics.
        unsafe { &*words.as_ptr().cast() }
    }

    /// A word that somebody might write there.
    fn word(dice: &mut Dice, old: u64) -> u64 {
        match dice.below(8) {
            0 => dice.word(),
            1 => 1 << dice.below(64),
            2 => (1 << dice.below(64)) - 1,
            3 => old.wrapping_add(dice.below(3)).wrapping_sub(1),
            4 => old ^ (1 << dice.below(64)),
            5 => old.wrapping_mul(2),
            6 => old.wrapping_neg(),
            _ => 4096 * dice.below(5),
        }
    }

    /// Whatever stands in the header: it is refused, or what it says can be mapped.
    #[test]
    fn a_damaged_header_is_refused_or_says_what_can_be_mapped() {
        let (name, mut dice) = ("/damaged".parse().unwrap(), Dice::seeded());
        let damages = number_from_environment("FANOUT_DAMAGES").unwrap_or(DAMAGES);
        let order = Ordering::Relaxed;
        let (mut refused, mut mapped) = (0u64, 0u64);
        for _ in 0..damages {
            let words = page_of_a_ring(8 << dice.below(3));
            for _ in 0..=dice.below(3) {
                // Not the first two words, which have tests of their own, in most of the cases.
                let at = if dice.below(16) == 0 { dice.below(48) } else { 2 + dice.below(10) };
                let at = &words[at as usize];
                at.store(word(&mut dice, at.load(order)), order);
            }
            if !matches!(header(&words).is_ready(&name), Ok(true)) {
                refused += 1;
                continue;
            }
            let Ok(geometry) = header(&words).read(&name, 4096) else {
                refused += 1;
                continue;
            };
            mapped += 1;
            let (control, data, total) =
                (geometry.control(), geometry.data(), geometry.total_len());
            for region in [control, data] {
                assert!(
                    region.offset >= 4096 && region.offset.is_multiple_of(4096),
                    "{geometry:?}"
                );
                assert!(region.offset.checked_add(region.len).unwrap() <= total, "{geometry:?}");
            }
            assert!(control.offset + control.len <= data.offset, "{geometry:?}");
            let needed = geometry.capacity().checked_mul(geometry.element_size());
            assert!(needed.is_some_and(|needed| needed <= data.len), "{geometry:?}");
        }
        println!("headers damaged: {damages}; refused {refused}, mapped {mapped}");
        assert!(refused > 0 && mapped > 0);
    }
}
