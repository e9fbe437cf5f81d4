//! The ends of both kinds of rings behind one interface, so that each scenario is written once. Each message has a
//! number, and all of its bytes follow from that: one that is torn, half written or somebody else's is noticed.

mod alike;
mod messages;
mod records;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, ensure};
use fanout::error::{
    CreateError, EvictError, JoinError, RecvError, RecvTimeoutError, ResumeError, SendTimeoutError,
    TryRecvError, TrySendError,
};
use fanout::inspect::{Burial, ConsumerInfo, GroupInfo};
use fanout::{JoinOptions, Policy, QueueName, Start};
use testing::mix;

/// What a ring counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Messages of one size.
    Messages,
    /// The bytes of messages of any size.
    Records,
    /// The same, in a ring whose consumers have private rooms.
    Rooms,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Messages => "messages",
            Self::Records => "records",
            Self::Rooms => "rooms",
        })
    }
}

/// What a consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It sees every message.
    Broadcast,
    /// A member of this group.
    Member(&'static str),
    /// It only looks.
    Tap,
    /// It only looks, and is registered.
    Lossy,
    /// It sees every message, unless it reads nothing for an hour.
    Evictable,
}

/// The policy of an evictable consumer: no scenario takes that long.
const EVICTABLE: Policy = Policy::EvictAfter(Duration::from_secs(3600));

impl Kind {
    /// Those in which everything can be done.
    pub(crate) const ALL: [Self; 2] = [Self::Messages, Self::Records];

    /// Whether an end can be that in a ring of this kind.
    pub(crate) fn has(self, part: Part) -> bool {
        self != Self::Rooms || !matches!(part, Part::Member(_))
    }

    /// Creates a ring that is a few messages large, so that a lap is short.
    pub(crate) fn create(self, name: &QueueName) -> Result<Box<dyn Sending>, CreateError> {
        match self {
            Self::Messages => messages::create(name),
            Self::Records => records::create(name),
            Self::Rooms => records::host(name),
        }
    }

    /// Creates a ring in place of one whose producer has died.
    pub(crate) fn replace(self, name: &QueueName) -> Result<Box<dyn Sending>, CreateError> {
        match self {
            Self::Messages => messages::replace(name),
            Self::Records => records::replace(name),
            Self::Rooms => records::host(name),
        }
    }

    /// Takes over a ring whose producer has died.
    pub(crate) fn resume(self, name: &QueueName) -> Result<Box<dyn Sending>, ResumeError> {
        match self {
            Self::Messages => messages::resume(name),
            Self::Records | Self::Rooms => records::resume(name),
        }
    }

    /// Joins it, or opens a tap.
    pub(crate) fn join(
        self,
        name: &QueueName,
        part: Part,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Box<dyn Reading>, JoinError> {
        match self {
            Self::Messages => messages::join(name, part, start, options),
            Self::Records | Self::Rooms => records::join(name, part, start, options),
        }
    }
}

/// How a producer fills its ring: each kind in its own way.
pub(crate) trait Filling: Send {
    /// Sends a message if there is room for it now.
    fn try_send(&mut self, number: u64) -> Result<(), TrySendError>;
    /// Sends a message, waiting for room for at most that long.
    fn send_within(&mut self, number: u64, timeout: Duration) -> Result<(), SendTimeoutError>;
    /// Sends messages that become visible together, waiting for room for at most that long.
    fn send_batch(
        &mut self,
        numbers: Range<u64>,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError>;
    /// Sends a message that is written in place.
    fn send_in_place(&mut self, number: u64) -> anyhow::Result<()>;
}

/// A producer.
pub(crate) trait Sending: Filling {
    /// How far it has counted.
    fn sequence(&self) -> u64;
    /// How far a lap is.
    fn capacity(&self) -> u64;
    /// The registered consumers.
    fn consumers(&self) -> Vec<ConsumerInfo>;
    /// The groups that the ring knows.
    fn groups(&self) -> Vec<GroupInfo>;
    /// Frees the slot of a consumer.
    ///
    /// # Safety
    ///
    /// The consumer's process has ended.
    unsafe fn evict(&mut self, consumer: &ConsumerInfo) -> bool;
    /// Frees the slot of a consumer that is dead.
    fn evict_dead(&mut self, consumer: &ConsumerInfo) -> Result<Burial, EvictError>;
    /// Says that everything is sent.
    fn close(&mut self);
    /// Says that not everything is sent.
    fn abort(&mut self, reason: &str);
}

/// The first sequence of a ring. The sequences begin anew from zero while the scenarios run, so that a word that
/// nobody has written yet is not right by chance.
fn first(capacity: u64) -> u64 {
    capacity.wrapping_mul(4).wrapping_neg()
}

/// What a look at a ring has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Took {
    /// Messages.
    Some,
    /// Messages that a member had claimed before which has died.
    Again,
    /// Nothing now.
    Empty,
    /// The end: everything was sent.
    Closed,
    /// The end: not everything was sent.
    Aborted,
    /// The producer has died.
    Died,
}

/// A consumer, a member of a group, or a tap.
pub(crate) trait Reading: Send {
    /// Takes up to about `most` messages, and appends their numbers. It calls `held` twice: when it has taken
    /// them, and before it gives them back.
    fn take(
        &mut self,
        most: usize,
        numbers: &mut Vec<u64>,
        held: &mut dyn FnMut(),
    ) -> anyhow::Result<Took>;
    /// Takes up to about `most` messages, and gives the first back before the others. It calls `held` before and
    /// after that. An end that copies messages has none to give back.
    fn take_apart(&mut self, most: usize, held: &mut dyn FnMut()) -> anyhow::Result<Took> {
        self.take(most, &mut Vec::new(), held)
    }
    /// Waits for the next message for at most that long.
    fn wait(&mut self, timeout: Duration, numbers: &mut Vec<u64>) -> anyhow::Result<Took>;
    /// How many messages a tap has received or lost; other consumers say nothing.
    fn passed(&self) -> Option<u64> {
        None
    }
}

/// A consumer that may get what a dead one had claimed, and then says so.
trait Marked {
    /// Whether what it received last had been claimed before.
    fn again(&self) -> bool {
        false
    }

    /// It has taken messages: which.
    fn took(&self) -> Took {
        if self.again() { Took::Again } else { Took::Some }
    }
}

/// An end that copies, and may count what goes by.
trait Counting {
    /// How many messages it has received or lost, if it counts them.
    fn counted(&self) -> Option<u64> {
        None
    }
}

/// What a try that found no message says.
fn ended(nothing: TryRecvError) -> anyhow::Result<Took> {
    match nothing {
        TryRecvError::Empty => Ok(Took::Empty),
        TryRecvError::End(RecvError::Closed) => Ok(Took::Closed),
        TryRecvError::End(RecvError::Aborted) => Ok(Took::Aborted),
        TryRecvError::End(RecvError::ProducerDied) => Ok(Took::Died),
        TryRecvError::End(other) => Err(other.into()),
    }
}

/// What a wait that found no message says.
fn timed(nothing: RecvTimeoutError) -> anyhow::Result<Took> {
    match nothing {
        RecvTimeoutError::TimedOut(_) => Ok(Took::Empty),
        RecvTimeoutError::End(end) => ended(end.into()),
    }
}

/// Word `index` of the message of this number.
fn word(number: u64, index: usize) -> u64 {
    if index == 0 { number } else { mix(mix(number).wrapping_add(index as u64)) }
}

/// The number of the message of these bytes, if they are a message's, whole.
fn number_of(bytes: &[u8], expected: impl FnOnce(u64, &mut Vec<u8>)) -> anyhow::Result<u64> {
    let first = bytes.first_chunk().context("a message without a number")?;
    let number = u64::from_le_bytes(*first);
    let mut whole = Vec::new();
    expected(number, &mut whole);
    ensure!(
        whole == bytes,
        "a torn message: it says that it is number {number}, and is {bytes:02x?}"
    );
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_differs_in_one_bit_is_torn() {
        let plain = |number: u64, into: &mut Vec<u8>| {
            into.extend((0..4).flat_map(|index| word(number, index).to_le_bytes()));
        };
        let mut bytes = Vec::new();
        plain(7, &mut bytes);
        assert_eq!(number_of(&bytes, plain).unwrap(), 7);
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(number_of(&bytes, plain).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
