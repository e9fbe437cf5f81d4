//! The ends of a ring of records: messages of any size.

use std::ops::Range;
use std::time::Duration;

use fanout::error::{
    CreateError, EvictError, JoinError, ResumeError, SendTimeoutError, TrySendError,
};
use fanout::inspect::{ConsumerInfo, GroupInfo};
use fanout::records::ends::{self, Cursor};
use fanout::records::{Evictable, Member, Reader, Tap, Writer, record_len};
use fanout::{Adaptive, JoinOptions, Policy, QueueName, QueueOptions, Start};

use super::{EVICTABLE, Marked, Part, Reading, Sending, Took, ended, first, timed, word};

/// How many bytes the ring holds: a page, the least that there is.
const CAPACITY: u64 = 4096;
/// A message is at least this long, so that a lap is short.
const SHORTEST: usize = 200;
/// A message is shorter than this.
const LONGEST: usize = 264;

/// The bytes of the message of this number. Neighbours differ in length.
fn bytes(number: u64, into: &mut Vec<u8>) {
    let len = SHORTEST + (word(number, 1) as usize) % (LONGEST - SHORTEST);
    into.extend((0..len.div_ceil(8)).flat_map(|index| word(number, index).to_le_bytes()));
    into.truncate(len);
}

fn message(number: u64) -> Vec<u8> {
    let mut message = Vec::new();
    bytes(number, &mut message);
    message
}

fn number_of(message: &[u8]) -> anyhow::Result<u64> {
    super::number_of(message, bytes)
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
    Ok(Box::new(Writer::resume(name.clone())?))
}

fn create_with(name: &QueueName, options: &QueueOptions) -> Result<Box<dyn Sending>, CreateError> {
    Ok(Box::new(Writer::create_with(name.clone(), options)?))
}

pub(super) fn join(
    name: &QueueName,
    part: Part,
    start: Start,
    options: &JoinOptions,
) -> Result<Box<dyn Reading>, JoinError> {
    let name = name.clone();
    Ok(match part {
        Part::Broadcast => Box::new(Reader::join_with(name, start, options)?),
        Part::Member(group) => Box::new(Member::join_with(name, group, start, options)?),
        Part::Tap => Box::new(Tap::open_with(name, start, options)?),
        Part::Lossy => {
            let options = options.clone().policy(Policy::Lossy);
            Box::new(Tap::join(name, start, &options)?)
        }
        Part::Evictable => {
            let options = options.clone().policy(EVICTABLE);
            Box::new(Evictable::join(name, start, &options)?)
        }
    })
}

impl Sending for Writer {
    fn try_send(&mut self, number: u64) -> Result<(), TrySendError> {
        self.try_send(&message(number))
    }

    fn send_within(&mut self, number: u64, timeout: Duration) -> Result<(), SendTimeoutError> {
        self.send_timeout(&message(number), timeout)
    }

    fn send_batch(
        &mut self,
        numbers: Range<u64>,
        timeout: Duration,
    ) -> Result<(), SendTimeoutError> {
        let messages: Vec<_> = numbers.map(message).collect();
        let room = messages.iter().map(|message| record_len(message.len())).sum();
        let mut batch = self.batch_timeout(room, timeout)?;
        for message in &messages {
            batch.push(message).expect("the batch has room for these messages");
        }
        batch.publish();
        Ok(())
    }

    fn send_in_place(&mut self, number: u64) -> anyhow::Result<()> {
        let message = message(number);
        // More room than is published.
        let mut reservation = self.try_reserve(LONGEST)?;
        reservation.fill(0xff);
        reservation[..message.len()].copy_from_slice(&message);
        reservation.publish(message.len());
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

impl Marked for Reader {}

impl Marked for Member {
    fn again(&self) -> bool {
        self.redelivered()
    }
}

impl<K: Cursor + Send> Reading for ends::Receiver<K, Adaptive>
where
    Self: Marked,
{
    fn take(
        &mut self,
        most: usize,
        numbers: &mut Vec<u64>,
        held: &mut dyn FnMut(),
    ) -> anyhow::Result<Took> {
        let batch = match self.try_recv_batch(most * record_len(LONGEST)) {
            Ok(batch) => batch,
            Err(nothing) => return ended(nothing),
        };
        held();
        for message in &batch {
            numbers.push(number_of(message)?);
        }
        held();
        drop(batch);
        Ok(self.took())
    }

    fn take_apart(&mut self, most: usize, held: &mut dyn FnMut()) -> anyhow::Result<Took> {
        let mut batch = match self.try_recv_batch(most * record_len(LONGEST)) {
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
            Ok(message) => numbers.push(number_of(&message)?),
            Err(nothing) => return timed(nothing),
        }
        Ok(self.took())
    }
}

impl Reading for Evictable {
    fn take(
        &mut self,
        most: usize,
        numbers: &mut Vec<u64>,
        held: &mut dyn FnMut(),
    ) -> anyhow::Result<Took> {
        let mut message = Vec::new();
        for taken in 0..most {
            match self.try_recv(&mut message) {
                Ok(_) => numbers.push(number_of(&message)?),
                Err(nothing) if taken == 0 => return ended(nothing),
                Err(_) => break,
            }
        }
        held();
        Ok(Took::Some)
    }

    fn take_apart(&mut self, most: usize, held: &mut dyn FnMut()) -> anyhow::Result<Took> {
        self.take(most, &mut Vec::new(), held)
    }

    fn wait(&mut self, timeout: Duration, numbers: &mut Vec<u64>) -> anyhow::Result<Took> {
        let mut message = Vec::new();
        match self.recv_timeout(&mut message, timeout) {
            Ok(_) => numbers.push(number_of(&message)?),
            Err(nothing) => return timed(nothing),
        }
        Ok(Took::Some)
    }
}

impl Reading for Tap {
    fn take(
        &mut self,
        most: usize,
        numbers: &mut Vec<u64>,
        held: &mut dyn FnMut(),
    ) -> anyhow::Result<Took> {
        let mut message = Vec::new();
        for taken in 0..most {
            match self.try_recv(&mut message) {
                Ok(_) => numbers.push(number_of(&message)?),
                Err(nothing) if taken == 0 => return ended(nothing),
                Err(_) => break,
            }
        }
        held();
        Ok(Took::Some)
    }

    fn take_apart(&mut self, most: usize, held: &mut dyn FnMut()) -> anyhow::Result<Took> {
        self.take(most, &mut Vec::new(), held)
    }

    fn wait(&mut self, timeout: Duration, numbers: &mut Vec<u64>) -> anyhow::Result<Took> {
        let mut message = Vec::new();
        match self.recv_timeout(&mut message, timeout) {
            Ok(_) => numbers.push(number_of(&message)?),
            Err(nothing) => return timed(nothing),
        }
        Ok(Took::Some)
    }

    fn passed(&self) -> Option<u64> {
        Some(self.received() + self.lost())
    }
}
