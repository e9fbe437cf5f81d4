//! Where a ring lives, and how an end gets to it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use day3::Shared;
use fanout::inspect::{ConsumerInfo, Observer};
use fanout::memory::Ring;
use fanout::records::{self, ByteMemory, Local, Offer};
use fanout::segment::Mode;
use fanout::{Heap, JoinOptions, Memory, QueueName, QueueOptions, Start, Unattended, ends};
use testing::Dice;

use crate::ends::{
    MessageEnd, MessageTap, Producing, Reading, RecordEnd, RecordTap, Sending, Writing, give_back,
};
use crate::moods::Mood;
use crate::plan::{Message, Plan};

/// How long an end waits to be let in.
pub(crate) const LET_IN: Duration = Duration::from_secs(20);

/// A ring that can be joined.
#[derive(Clone, Debug)]
pub(crate) enum Home {
    Messages { memory: Arc<dyn Memory> },
    NamedMessages { name: String, capacity: u64 },
    Records { memory: Arc<dyn ByteMemory> },
    NamedRecords { name: String },
    Memfd { memory: Arc<dyn ByteMemory>, offer: Offer },
}

/// The part of an end that joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Broadcast(Start),
    Member { group: &'static str, start: Start, holds: bool },
    Tap(Start),
}

/// A ring, its producer, and the messages to send.
pub(crate) struct Stage {
    pub(crate) home: Home,
    pub(crate) sender: Box<dyn Sending>,
    pub(crate) plan: Plan,
}

/// Sequences begin anywhere, and also close to the largest number.
fn first(dice: &mut Dice, capacity: u64) -> u64 {
    dice.pick(&[0, 0, 8 * capacity, (1 << 32) - 8, u64::MAX - 8 * capacity + 1, 1 << 63]) & !7
}

/// What the names of this process's rings begin with.
pub(crate) fn prefix() -> String {
    format!("/fanout-adversary-{}-", std::process::id())
}

/// A name that no other test uses.
fn unique(seed: u64) -> String {
    format!("{}{seed:x}", prefix())
}

/// Builds a ring for up to `count` messages. Its kind, size and place are drawn at random.
pub(crate) fn build(dice: &mut Dice, count: u64) -> Stage {
    if dice.once_in(2) { build_messages(dice, count) } else { build_records(dice, count) }
}

/// What the producer does while no consumer is registered.
pub(crate) fn unattended(dice: &mut Dice) -> Unattended {
    let all = [Unattended::Overwrite, Unattended::Wait, Unattended::Refuse];
    dice.pick(&all)
}

fn build_messages(dice: &mut Dice, count: u64) -> Stage {
    let capacity = dice.pick(&[1, 1, 2, 2, 4, 8, 16, 64, 1024]);
    let (first, seed) = (first(dice, capacity), dice.word());
    let plan = Plan::messages(seed, count, first);
    let (home, producer) = if dice.once_in(2) {
        let memory = Heap::<Message>::new(capacity, first).expect("memory for a small ring");
        let unattended = unattended(dice);
        // SAFETY: the memory was made for this type, and has no other producer.
        let producer = unsafe {
            ends::Producer::<Message, Mood>::from_memory_with(memory.clone(), unattended)
        };
        (Home::Messages { memory }, producer)
    } else {
        named_messages(seed, capacity, first)
    };
    let sender = Box::new(Producing(producer.waiting(Mood::draw(dice))));
    Stage { home, sender, plan }
}

/// A ring of messages that other processes can open.
pub(crate) fn named_messages(
    seed: u64,
    capacity: u64,
    first: u64,
) -> (Home, ends::Producer<Message, Mood>) {
    let name = unique(seed);
    let options = QueueOptions::new(capacity).first(first);
    let producer = ends::Producer::create_with(&*name, &options).expect("a new name");
    (Home::NamedMessages { name, capacity }, producer)
}

fn build_records(dice: &mut Dice, count: u64) -> Stage {
    let capacity = dice.pick(&[4096, 4096, 4096, 8192, 1 << 16]);
    let (first, seed) = (first(dice, capacity), dice.word());
    let options = QueueOptions::new(capacity).first(first).when_nobody_listens(unattended(dice));
    let (home, writer) = match dice.below(3) {
        0 => {
            let memory = Local::new(&options).expect("memory for a small ring");
            // SAFETY: the memory has no other writer.
            let writer = unsafe {
                records::ends::Writer::<Mood>::from_memory_with(
                    memory.clone(),
                    options.unattended(),
                )
            };
            (Home::Records { memory }, writer)
        }
        1 => {
            let writer = records::ends::Writer::anonymous_with(&options).expect("a memfd");
            let (memory, offer) = (writer.memory().clone(), writer.offer());
            (Home::Memfd { memory, offer }, writer)
        }
        _ => named_records(seed, capacity, first),
    };
    let plan = Plan::records(seed, count, first, writer.largest());
    let sender = Box::new(Writing(writer.waiting(Mood::draw(dice))));
    Stage { home, sender, plan }
}

/// A ring of records that other processes can open.
pub(crate) fn named_records(
    seed: u64,
    capacity: u64,
    first: u64,
) -> (Home, records::ends::Writer<Mood>) {
    let name = unique(seed);
    let options = QueueOptions::new(capacity).first(first);
    let writer = records::ends::Writer::create_with(&*name, &options).expect("a new name");
    (Home::NamedRecords { name }, writer)
}

type Joined = Result<Box<dyn Reading>, String>;

fn failed(error: impl core::fmt::Display) -> String {
    error.to_string()
}

impl Home {
    /// Describes the ring in one line.
    pub(crate) fn line(&self) -> String {
        let of = |kind: &str, memory: &dyn Memory| {
            let Ring { capacity, first } = memory.ring();
            format!("{kind}, capacity {capacity}, first {first}")
        };
        match self {
            Self::Messages { memory } => of("messages on the heap", &**memory),
            Self::Records { memory } => of("records on the heap", &**memory),
            Self::Memfd { memory, .. } => of("records in a memfd", &**memory),
            Self::NamedMessages { capacity, .. } => format!("named messages, capacity {capacity}"),
            Self::NamedRecords { .. } => String::from("named records"),
        }
    }

    /// Whether messages have one size.
    pub(crate) fn is_of_messages(&self) -> bool {
        matches!(self, Self::Messages { .. } | Self::NamedMessages { .. })
    }

    /// Joins, or opens a tap.
    pub(crate) fn join(&self, part: &Part, timeout: Duration, dice: &mut Dice) -> Joined {
        let options = JoinOptions::new().timeout(timeout).label("adversary");
        match part {
            Part::Broadcast(start) if self.is_of_messages() => {
                self.consumer(*start, &options, Mood::draw(dice))
            }
            Part::Broadcast(start) => self.reader(*start, &options, Mood::draw(dice)),
            Part::Member { group, start, holds } => {
                let options = options.hold_when_empty(*holds);
                self.member(group, *start, &options, Mood::draw(dice))
            }
            Part::Tap(start) => self.tap(*start, &options, Mood::draw(dice)),
        }
    }

    fn consumer(&self, start: Start, options: &JoinOptions, mood: Mood) -> Joined {
        type Consumer = ends::Consumer<Message, Mood>;
        let (receiver, capacity) = match self {
            Self::NamedMessages { name, capacity } => {
                (Consumer::join_with(&**name, start, options), *capacity)
            }
            Self::Messages { memory } => {
                // SAFETY: the memory was made for this type.
                let joined = unsafe { Consumer::from_memory(memory.clone(), start, options) };
                (joined, memory.ring().capacity.get())
            }
            _ => return Err(String::from("a ring of records")),
        };
        let receiver = receiver.map_err(failed)?.waiting(mood);
        Ok(Box::new(MessageEnd { receiver, give_back: Some(give_back::message), capacity }))
    }

    fn reader(&self, start: Start, options: &JoinOptions, mood: Mood) -> Joined {
        type Reader = records::ends::Reader<Mood>;
        let receiver = match self {
            Self::NamedRecords { name } => Reader::join_with(&**name, start, options),
            Self::Memfd { offer, .. } => {
                Reader::from_fd(handed(offer, Mode::Reader)?, start, options)
            }
            // SAFETY: the memory holds a ring of records.
            Self::Records { memory } => unsafe {
                Reader::from_memory(memory.clone(), start, options)
            },
            _ => return Err(String::from("a ring of messages")),
        };
        let receiver = receiver.map_err(failed)?.waiting(mood);
        Ok(Box::new(RecordEnd { receiver, give_back: Some(give_back::records()) }))
    }

    fn member(&self, group: &str, start: Start, options: &JoinOptions, mood: Mood) -> Joined {
        if !self.is_of_messages() {
            return self.record_member(group, start, options, mood);
        }
        type Member = ends::Member<Message, Mood>;
        let (receiver, capacity) = match self {
            Self::NamedMessages { name, capacity } => {
                (Member::join_with(&**name, group, start, options), *capacity)
            }
            Self::Messages { memory } => {
                // SAFETY: the memory was made for this type.
                let joined = unsafe { Member::from_memory(memory.clone(), group, start, options) };
                (joined, memory.ring().capacity.get())
            }
            _ => return Err(String::from("a ring of records")),
        };
        let receiver = receiver.map_err(failed)?.waiting(mood);
        Ok(Box::new(MessageEnd { receiver, give_back: None, capacity }))
    }

    fn record_member(
        &self,
        group: &str,
        start: Start,
        options: &JoinOptions,
        mood: Mood,
    ) -> Joined {
        type Member = records::ends::Member<Mood>;
        let receiver = match self {
            Self::NamedRecords { name } => Member::join_with(&**name, group, start, options),
            Self::Memfd { offer, .. } => {
                Member::from_fd(handed(offer, Mode::Reader)?, group, start, options)
            }
            Self::Records { memory } => {
                // SAFETY: the memory holds a ring of records.
                unsafe { Member::from_memory(memory.clone(), group, start, options) }
            }
            _ => return Err(String::from("a ring of messages")),
        };
        let receiver = receiver.map_err(failed)?.waiting(mood);
        Ok(Box::new(RecordEnd { receiver, give_back: None }))
    }

    fn tap(&self, start: Start, options: &JoinOptions, mood: Mood) -> Joined {
        let tap: ends::Tap<Message, Mood> = match self {
            Self::NamedMessages { name, .. } => {
                ends::Tap::open_with(&**name, start, options).map_err(failed)?
            }
            // SAFETY: the memory was made for this type.
            Self::Messages { memory } => unsafe { ends::Tap::from_memory(memory.clone(), start) },
            _ => return self.record_tap(start, options, mood),
        };
        Ok(Box::new(MessageTap { tap: tap.waiting(mood), took_one: false }))
    }

    fn record_tap(&self, start: Start, options: &JoinOptions, mood: Mood) -> Joined {
        type Tap = records::ends::Tap<Mood>;
        let tap = match self {
            Self::NamedRecords { name } => {
                Tap::open_with(&**name, start, options).map_err(failed)?
            }
            Self::Memfd { offer, .. } => {
                Tap::from_fd(handed(offer, Mode::Observer)?, start, options).map_err(failed)?
            }
            Self::Records { memory } => {
                // SAFETY: the memory holds a ring of records.
                unsafe { Tap::from_memory(memory.clone(), start, options) }.map_err(failed)?
            }
            _ => return Err(String::from("a ring of messages")),
        };
        Ok(Box::new(RecordTap(tap.waiting(mood))))
    }

    /// The registered consumers.
    pub(crate) fn consumers(&self) -> Vec<ConsumerInfo> {
        match self {
            Self::Messages { memory } => day3::roster::list(memory.control()),
            Self::Records { memory } | Self::Memfd { memory, .. } => {
                day3::roster::list(memory.control())
            }
            Self::NamedMessages { name, .. } | Self::NamedRecords { name } => {
                let observer = queue(name).and_then(|name| Observer::open(&name, LET_IN).ok());
                observer.map(|observer| observer.snapshot().consumers).unwrap_or_default()
            }
        }
    }

    /// Frees a slot. Returns whether there was one to free.
    ///
    /// # Safety
    ///
    /// Its consumer must be dead, or must have borrowed nothing and do nothing any more.
    pub(crate) unsafe fn evict(&self, consumer: &ConsumerInfo) -> bool {
        match self {
            // SAFETY: as this function's caller promises.
            Self::Messages { memory } => unsafe {
                day3::roster::evict(&Shared::new(memory.clone()), consumer)
            },
            // SAFETY: as this function's caller promises.
            Self::Records { memory } | Self::Memfd { memory, .. } => unsafe {
                day3::roster::evict(&Shared::new(memory.clone()), consumer)
            },
            Self::NamedMessages { name, .. } | Self::NamedRecords { name } => {
                let Some(name) = queue(name) else { return false };
                // SAFETY: as this function's caller promises.
                unsafe { fanout::inspect::evict(&name, consumer, LET_IN) }.unwrap_or(false)
            }
        }
    }
}

fn queue(name: &str) -> Option<QueueName> {
    name.parse().ok()
}

fn handed(offer: &Offer, mode: Mode) -> Result<OwnedFd, String> {
    offer.descriptor(mode).map_err(failed)
}
