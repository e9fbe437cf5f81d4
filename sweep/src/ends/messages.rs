//! The ends of a ring of messages of one size.

use std::ops::Range;
use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use fanout::ends::Cursor;
use fanout::error::{
    CreateError, EvictError, JoinError, ResumeError, SendTimeoutError, TrySendError,
};
use fanout::inspect::{ConsumerInfo, GroupInfo};
use fanout::{
    Adaptive, Consumer, Evictable, JoinOptions, Member, Policy, Producer, QueueName, QueueOptions,
    Start, Tap, ends,
};

use super::{EVICTABLE, Marked, Part, Reading, Sending, Took, ended, first, timed, word};

/// How many messages the ring holds.
const CAPACITY: u64 = 16;
/// How many words a message has.
const WORDS: usize = 8;

/// A message whose words all follow from the first.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Message([u64; WORDS]);

impl Message {
    fn new(number: u64) -> Self {
        Self(core::array::from_fn(|index| word(number, index)))
    }

    fn number(&self) -> anyhow::Result<u64> {
        super::number_of(bytemuck::bytes_of(self), |number, whole| {
            whole.extend_from_slice(bytemuck::bytes_of(&Self::new(number)));
        })
    }
}

fn options() -> QueueOptions {
    QueueOptions::new(CAPACITY).first(first(CAPACITY))
}

pub(super) fn create(name: &QueueName) -> Result<Box<dyn Sending>, CreateError> {
    create_with(name, &options())
}

pub(super) fn replace(name: &QueueName) -> Result<Box<dyn Sending>, CreateError> {
    create_with(name, &options().or_replace())
}

pub(super) fn resume(name: &QueueName) -> Result<Box<dyn Sending>, ResumeError> {
    Ok(Box::new(Producer::<Message>::resume(name.clone())?))
}

fn create_with(name: &QueueName, options: &QueueOptions) -> Result<Box<dyn Sending>, CreateError> {
    Ok(Box::new(Producer::<Message>::create_with(name.clone(), options)?))
}

pub(super) fn join(
    name: &QueueName,
    part: Part,
    start: Start,
    options: &JoinOptions,
) -> Result<Box<dyn Reading>, JoinError> {
    let name = name.clone();
    Ok(match part {
        Part::Broadcast => Box::new(Consumer::<Message>::join_with(name, start, options)?),
        Part::Member(group) => Box::new(Member::<Message>::join_with(name, group, start, options)?),
        Part::Tap => Box::new(Tap::<Message>::open_with(name, start, options)?),
        Part::Lossy => {
            let options = options.clone().policy(Policy::Lossy);
            Box::new(Tap::<Message>::join(name, start, &options)?)
        }
        Part::Evictable => {
            let options = options.clone().policy(EVICTABLE);
            Box::new(Evictable::<Message>::join(name, start, &options)?)
        }
    })
}

impl Sending for Producer<Message> {
    fn try_send(&mut self, number: u64) -> Result<(), TrySendError> {
        self.try_send(Message::new(number))
    }

    fn send_within(&mut self, number: u64, timeout: Duration) -> Result<(), SendTimeoutError> {
        self.send_timeout(Message::new(number), timeout)
    }

    fn send_batch(
        &mut self,
        numbers: Range<u64>,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError> {
        let messages: Vec<_> = numbers.map(Message::new).collect();
        let reservation = self.reserve_timeout(messages.len(), timeout)?;
        reservation.fill(&messages).publish();
        Ok(())
    }

    fn send_in_place(&mut self, number: u64) -> anyhow::Result<()> {
        // One place more than is published.
        let mut reservation = self.try_reserve(2)?;
        let (head, tail) = reservation.slices();
        for (place, number) in head.iter_mut().chain(tail).zip(number..) {
            *place = Message::new(number);
        }
        reservation.publish_first(1);
        Ok(())
    }

    fn sequence(&self) -> u64 {
        self.next_sequence().get()
    }

    fn capacity(&self) -> u64 {
        self.capacity()
    }

    fn consumers(&self) -> Vec<ConsumerInfo> {
        self.consumers()
    }

    fn groups(&self) -> Vec<GroupInfo> {
        self.groups()
    }

    unsafe fn evict(&mut self, consumer: &ConsumerInfo) -> bool {
        // SAFETY: the caller says that its process has ended.
        unsafe { self.evict(consumer) }
    }

    fn evict_dead(&mut self, consumer: &ConsumerInfo) -> Result<bool, EvictError> {
        self.evict_dead(consumer)
    }

    fn close(&mut self) {
        self.close();
    }

    fn abort(&mut self, reason: &str) {
        self.abort(reason);
    }
}

impl Marked for Consumer<Message> {}

impl Marked for Member<Message> {
    fn again(&self) -> bool {
        self.redelivered()
    }
}

impl<K: Cursor + Send> Reading for ends::Receiver<Message, K, Adaptive>
where
    Self: Marked,
{
    fn take(
        &mut self,
        most: usize,
        numbers: &mut Vec<u64>,
        held: &mut dyn FnMut(),
    ) -> anyhow::Result<Took> {
        let batch = match self.try_recv_batch(most) {
            Ok(batch) => batch,
            Err(nothing) => return ended(nothing),
        };
        held();
        for message in &batch {
            numbers.push(message.number()?);
        }
        held();
        drop(batch);
        Ok(self.took())
    }

    fn take_apart(&mut self, most: usize, held: &mut dyn FnMut()) -> anyhow::Result<Took> {
        let mut batch = match self.try_recv_batch(most) {
            Ok(batch) => batch,
            Err(nothing) => return ended(nothing),
        };
        held();
        batch.release_first(1);
        held();
        Ok(Took::Some)
    }

    fn wait(&mut self, timeout: Duration, numbers: &mut Vec<u64>) -> anyhow::Result<Took> {
        match self.recv_timeout(timeout) {
            Ok(message) => numbers.push(message.number()?),
            Err(nothing) => return timed(nothing),
        }
        Ok(self.took())
    }
}

impl Reading for Evictable<Message> {
    fn take(
        &mut self,
        most: usize,
        numbers: &mut Vec<u64>,
        held: &mut dyn FnMut(),
    ) -> anyhow::Result<Took> {
        let mut messages = vec![Message::zeroed(); most];
        let taken = match self.try_recv_into(&mut messages) {
            Ok(taken) => taken,
            Err(nothing) => return ended(nothing),
        };
        held();
        for message in &messages[..taken] {
            numbers.push(message.number()?);
        }
        Ok(Took::Some)
    }

    fn take_apart(&mut self, most: usize, held: &mut dyn FnMut()) -> anyhow::Result<Took> {
        self.take(most, &mut Vec::new(), held)
    }

    fn wait(&mut self, timeout: Duration, numbers: &mut Vec<u64>) -> anyhow::Result<Took> {
        match self.recv_timeout(timeout) {
            Ok(message) => numbers.push(message.number()?),
            Err(nothing) => return timed(nothing),
        }
        Ok(Took::Some)
    }
}

impl Reading for Tap<Message> {
    fn take(
        &mut self,
        most: usize,
        numbers: &mut Vec<u64>,
        held: &mut dyn FnMut(),
    ) -> anyhow::Result<Took> {
        let mut messages = vec![Message::zeroed(); most];
        let taken = match self.try_recv_into(&mut messages) {
            Ok(taken) => taken,
            Err(nothing) => return ended(nothing),
        };
        held();
        for message in &messages[..taken] {
            numbers.push(message.number()?);
        }
        Ok(Took::Some)
    }

    fn take_apart(&mut self, most: usize, held: &mut dyn FnMut()) -> anyhow::Result<Took> {
        self.take(most, &mut Vec::new(), held)
    }

    fn wait(&mut self, timeout: Duration, numbers: &mut Vec<u64>) -> anyhow::Result<Took> {
        match self.recv_timeout(timeout) {
            Ok(message) => numbers.push(message.number()?),
            Err(nothing) => return timed(nothing),
        }
        Ok(Took::Some)
    }

    fn passed(&self) -> Option<u64> {
        Some(self.received() + self.lost())
    }
}
