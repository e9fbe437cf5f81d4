//! The ends of a ring of records: messages of any size.

use std::ops::Range;
use std::time::Duration;

use fanout::error::{
    CreateError, EvictError, JoinError, ResumeError, SendTimeoutError, TrySendError,
};
use fanout::inspect::{Burial, ConsumerInfo, GroupInfo};
use fanout::records::ends::{Copying, CopyingCursor};
use fanout::records::error::HostError;
use fanout::records::{Evictable, Member, Reader, Tap, Writer, record_len};
use fanout::{Adaptive, JoinOptions, Policy, QueueName, QueueOptions, Start};

use super::alike::ends;
use super::{
    Counting, EVICTABLE, Filling, Marked, Part, Reading, Sending, Took, ended, first, timed, word,
};

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

/// Hosts a ring whose consumers have private rooms.
pub(super) fn host(name: &QueueName) -> Result<Box<dyn Sending>, CreateError> {
    match Writer::host(name.clone(), &options()) {
        Ok(writer) => Ok(Box::new(writer)),
        Err(HostError::Create(error)) => Err(error),
        Err(error) => Err(CreateError::Mirror(std::io::Error::other(error))),
    }
}

ends! {
    producer: Writer, broadcast: Reader, member: Member, tap: Tap, evictable: Evictable,
    batch: |most: usize| most * record_len(LONGEST), number: number_of,
}

impl Filling for Writer {
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
}

impl<K: CopyingCursor + Send> Reading for Copying<K, Adaptive>
where
    Self: Counting,
{
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

    fn wait(&mut self, timeout: Duration, numbers: &mut Vec<u64>) -> anyhow::Result<Took> {
        let mut message = Vec::new();
        match self.recv_timeout(&mut message, timeout) {
            Ok(_) => numbers.push(number_of(&message)?),
            Err(nothing) => return timed(nothing),
        }
        Ok(Took::Some)
    }

    fn passed(&self) -> Option<u64> {
        self.counted()
    }
}
