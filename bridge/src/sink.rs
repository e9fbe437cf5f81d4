//! The queue that is carried in, whatever its messages are.

use core::iter::Peekable;
use std::time::Duration;

use common::QueueName;
use day2::Kind;
use day3::inspect::Snapshot;
use day3::ring::RawProducer;
use day3::{
    CreateError, Policy, QueueOptions, ResumeError, SendError, SendTimeoutError, TrySendError,
};
use day4::record_len;
use day4::writer::Writer;
use day5::Adaptive;

use crate::envelope::MessageType;

/// How many bytes of the ring are published together.
const BATCH: usize = 1 << 16;

/// The end of a queue that is written.
#[derive(Debug)]
pub(crate) enum Sink {
    /// A ring of records.
    Records(Writer<Adaptive>),
    /// A ring of fixed messages, and what they are.
    Fixed(RawProducer<Adaptive>, MessageType),
}

impl Sink {
    /// Creates the queue that begins at `first`, or takes over the one that a dead producer has left.
    pub(crate) fn create(
        queue: &QueueName,
        message_type: Option<&MessageType>,
        options: &QueueOptions,
    ) -> Result<Self, CreateError> {
        let Some(of) = message_type else {
            return Ok(Self::Records(Writer::create_with(queue.clone(), options)?));
        };
        Ok(Self::Fixed(RawProducer::create_with(queue.clone(), of, options)?, of.clone()))
    }

    /// Takes over the queue that a dead producer has left.
    pub(crate) fn resume(
        queue: &QueueName,
        left: &Snapshot,
        options: &QueueOptions,
    ) -> Result<Self, ResumeError> {
        if left.kind != Kind::Ring {
            let options = options.clone().message_type(&left.message_type);
            return Ok(Self::Records(Writer::resume_with(queue.clone(), &options)?));
        }
        let of = MessageType {
            name: left.message_type.clone(),
            size: left.message_size as usize,
            align: left.message_align as usize,
        };
        Ok(Self::Fixed(RawProducer::resume_with(queue.clone(), &of, options)?, of))
    }

    /// The sequence of the next message.
    pub(crate) fn next(&self) -> u64 {
        match self {
            Self::Records(writer) => writer.next_sequence().get(),
            Self::Fixed(producer, _) => producer.next_sequence().get(),
        }
    }

    /// What its messages are, unless they are records.
    pub(crate) fn message_type(&self) -> Option<&MessageType> {
        match self {
            Self::Records(_) => None,
            Self::Fixed(_, of) => Some(of),
        }
    }

    /// The longest message that it has room for.
    pub(crate) fn largest(&self) -> usize {
        match self {
            Self::Records(writer) => writer.largest(),
            Self::Fixed(_, of) => of.size,
        }
    }

    /// Publishes as many of these messages as there is room for now; says how many. Records are marked if another host may
    /// have worked on them.
    pub(crate) fn put<'m>(
        &mut self,
        redelivered: bool,
        messages: &mut Peekable<impl Iterator<Item = (u16, &'m [u8])>>,
    ) -> Result<u64, SendError> {
        match self {
            Self::Records(writer) => {
                // A batch has room for a message that is longer than most batches, too.
                let first = messages.peek().map_or(0, |(_, message)| record_len(message.len()));
                let mut batch = match writer.try_batch_up_to(BATCH.max(first)) {
                    Ok(batch) => batch,
                    Err(TrySendError::Full) => return Ok(0),
                    Err(TrySendError::End(end)) => return Err(end),
                };
                while let Some((kind, message)) = messages.peek() {
                    let pushed = match redelivered {
                        true => batch.push_redelivered(message, *kind),
                        false => batch.push_as(message, *kind),
                    };
                    if pushed.is_err() {
                        break;
                    }
                    messages.next();
                }
                let count = batch.len() as u64;
                if count > 0 {
                    batch.publish();
                }
                Ok(count)
            }
            Self::Fixed(producer, _) => {
                let mut count = 0;
                while let Some((_, message)) = messages.peek() {
                    match producer.try_send_batch(message) {
                        Ok(_) => count += 1,
                        Err(TrySendError::Full) => break,
                        Err(TrySendError::End(end)) => return Err(end),
                    }
                    messages.next();
                }
                Ok(count)
            }
        }
    }

    /// Waits until there is room for a message of this length. Says whether there is.
    pub(crate) fn wait_for_room(
        &mut self,
        len: usize,
        timeout: Duration,
    ) -> Result<bool, SendError> {
        match self {
            Self::Records(writer) => match writer.reserve_timeout(len, timeout) {
                Ok(_) => Ok(true),
                Err(SendTimeoutError::TimedOut(_)) => Ok(false),
                Err(SendTimeoutError::End(end)) => Err(end),
            },
            Self::Fixed(producer, _) => match producer.wait_for_room(timeout) {
                Ok(()) => Ok(true),
                Err(SendTimeoutError::TimedOut(_)) => Ok(false),
                Err(SendTimeoutError::End(end)) => Err(end),
            },
        }
    }

    /// Waits for consumers. Says whether they are there.
    pub(crate) fn wait_for_consumers(&mut self, count: usize, timeout: Duration) -> bool {
        match self {
            Self::Records(writer) => writer.wait_for_consumers(count, timeout).is_ok(),
            Self::Fixed(producer, _) => producer.wait_for_consumers(count, timeout).is_ok(),
        }
    }

    /// How far all consumers have read, and the groups that hold; `None` if there are neither.
    ///
    /// Groups are looked at first: what nobody has claimed then, its group's lag tells, and what somebody has claimed by then,
    /// that member's. The other way round, a claim in between would be in neither.
    pub(crate) fn read(&self) -> Option<u64> {
        let (groups, consumers) = match self {
            Self::Records(writer) => (writer.groups(), writer.consumers()),
            Self::Fixed(producer, _) => (producer.groups(), producer.consumers()),
        };
        let lags = consumers.iter().filter(|one| one.policy != Policy::Lossy).map(|one| one.lag);
        let waits = groups.iter().filter(|group| group.holds || group.members > 0);
        let most = lags.chain(waits.map(|group| group.lag)).max()?;
        Some(self.next().wrapping_sub(most))
    }

    /// Waits until all consumers have read everything. Says whether they have.
    pub(crate) fn drain(&mut self, timeout: Duration) -> bool {
        match self {
            Self::Records(writer) => writer.drain(timeout).is_ok(),
            Self::Fixed(producer, _) => producer.drain(timeout).is_ok(),
        }
    }

    /// Tells consumers how the queue has ended.
    pub(crate) fn end(&mut self, reason: Option<&str>) {
        match (self, reason) {
            (Self::Records(writer), Some(reason)) => writer.abort(reason),
            (Self::Records(writer), None) => writer.close(),
            (Self::Fixed(producer, _), Some(reason)) => producer.abort(reason),
            (Self::Fixed(producer, _), None) => producer.close(),
        }
    }

    /// Leaves the queue to the next bridge.
    pub(crate) fn abandon(self) {
        match self {
            Self::Records(writer) => writer.abandon(),
            Self::Fixed(producer, _) => producer.abandon(),
        }
    }
}
