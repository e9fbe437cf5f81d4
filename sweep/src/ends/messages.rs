//! The ends of a ring of messages of one size.

use std::ops::Range;
use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use fanout::ends::{Copying, CopyingCursor};
use fanout::error::{
    CreateError, EvictError, JoinError, ResumeError, SendTimeoutError, TrySendError,
};
use fanout::inspect::{Burial, ConsumerInfo, GroupInfo};
use fanout::{
    Adaptive, Consumer, Evictable, JoinOptions, Member, Policy, Producer, QueueName, QueueOptions,
    Start, Tap,
};

use super::alike::ends;
use super::{
    Counting, EVICTABLE, Filling, Marked, Part, Reading, Sending, Took, ended, first, timed, word,
};

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

ends! {
    producer: Producer<Message>, broadcast: Consumer<Message>, member: Member<Message>, tap: Tap<Message>,
    evictable: Evictable<Message>,
    batch: |most: usize| most, number: Message::number,
}

impl Filling for Producer<Message> {
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
}

impl<K: CopyingCursor + Send> Reading for Copying<Message, K, Adaptive>
where
    Self: Counting,
{
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

    fn wait(&mut self, timeout: Duration, numbers: &mut Vec<u64>) -> anyhow::Result<Took> {
        match self.recv_timeout(timeout) {
            Ok(message) => numbers.push(message.number()?),
            Err(nothing) => return timed(nothing),
        }
        Ok(Took::Some)
    }

    fn passed(&self) -> Option<u64> {
        self.counted()
    }
}
