//! Who survives, and what is expected of those.

mod asleep;
mod attended;
mod created;
mod orphaned;
mod toy;

pub(crate) use asleep::{ConsumersAsleep, ProducerAsleep};
pub(crate) use attended::{Attended, GROUP, Loss, NEW_GROUP, WAITING};
pub(crate) use created::Created;
pub(crate) use orphaned::{Ends, Last, Orphaned};
pub(crate) use toy::toys;

use std::time::Duration;

use anyhow::{Context, ensure};
use fanout::QueueName;
use fanout::error::SendTimeoutError;
use fanout::segment::Segment;

use crate::ends::{Kind, Part, Sending, Took};
use crate::witness::Witness;

/// How long a survivor waits for something that should come at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many messages a survivor sends together. The ring holds no multiple of it.
const BATCH: u64 = 3;

/// A producer that has witnesses.
struct Stage {
    kind: Kind,
    producer: Box<dyn Sending>,
    witnesses: Vec<Witness>,
    /// How many messages were sent.
    sent: u64,
}

impl Stage {
    /// A new queue that nobody has joined.
    fn create(kind: Kind, name: &QueueName) -> anyhow::Result<Self> {
        let producer = kind.create(name).context("a producer cannot take the name")?;
        Ok(Self { kind, producer, witnesses: Vec::new(), sent: 0 })
    }

    /// A witness joins at the next message.
    fn join(&mut self, name: &QueueName, part: Part) -> anyhow::Result<()> {
        self.witnesses.push(Witness::latest(self.kind, name, part, self.sent)?);
        Ok(())
    }

    /// A witness joins at the oldest message.
    fn join_oldest(&mut self, name: &QueueName, part: Part) -> anyhow::Result<()> {
        self.witnesses.push(Witness::oldest(self.kind, name, part)?);
        Ok(())
    }

    /// Sends one message or some together. Witnesses make room if they are in the way.
    fn send(&mut self) -> anyhow::Result<()> {
        // A batch finds no room also where there is some.
        let len = if self.sent.is_multiple_of(2) { 1 } else { BATCH };
        if self.try_send(len, Duration::ZERO)? {
            return Ok(());
        }
        self.drain()?;
        let went_on = self.try_send(len, PATIENCE)?;
        let consumers = || self.producer.consumers();
        ensure!(
            went_on,
            "the producer is stuck, though the living have read everything; {len} to send, and listed are {:?}",
            consumers()
        );
        Ok(())
    }

    /// Sends so many messages; says whether there was room in time.
    fn try_send(&mut self, len: u64, timeout: Duration) -> anyhow::Result<bool> {
        let numbers = self.sent..self.sent + len;
        let sent = if len == 1 {
            self.producer.send_within(self.sent, timeout)
        } else {
            self.producer.send_batch(numbers, timeout)
        };
        match sent {
            Ok(()) => self.sent += len,
            Err(SendTimeoutError::TimedOut(_)) => return Ok(false),
            Err(end) => return Err(end.into()),
        }
        Ok(true)
    }

    /// Sends so many messages, for which there is room.
    fn send_exactly(&mut self, messages: u64) -> anyhow::Result<()> {
        for _ in 0..messages {
            ensure!(self.try_send(1, Duration::ZERO)?, "there is no room for {messages} messages");
        }
        Ok(())
    }

    /// Sends so many laps, and a bit more.
    fn laps(&mut self, laps: u64) -> anyhow::Result<()> {
        let (begin, distance) = (self.producer.sequence(), laps * self.producer.capacity());
        while self.producer.sequence().wrapping_sub(begin) <= distance {
            self.send()?;
        }
        Ok(())
    }

    /// All witnesses read what there is.
    fn drain(&mut self) -> anyhow::Result<()> {
        for witness in &mut self.witnesses {
            let took = witness.drain()?;
            ensure!(took == Took::Empty, "{:?} found {took:?}", witness.part());
        }
        Ok(())
    }

    /// The producer closes, and all witnesses read to the end.
    fn close(&mut self) -> anyhow::Result<()> {
        self.producer.close();
        for witness in &mut self.witnesses {
            let took = witness.drain()?;
            ensure!(took == Took::Closed, "{:?} found {took:?} at the end", witness.part());
            witness.has_all(self.sent)?;
        }
        Ok(())
    }
}

/// A successor takes the name: sends a lap and more to consumers of its own, and leaves nothing.
fn succeed(kind: Kind, name: &QueueName) -> anyhow::Result<()> {
    let mut stage = Stage::create(kind, name).context("the successor")?;
    for part in [Part::Broadcast, Part::Member(GROUP), Part::Tap] {
        stage.join(name, part)?;
    }
    stage.laps(1)?;
    stage.close().context("the successor's consumers")
}

/// What a survivor has to do today before another producer can take the name of a dead one.
fn free_the_name(name: &QueueName) -> anyhow::Result<()> {
    if Segment::remove(name).is_ok() {
        return Ok(());
    }
    // `Segment::remove` takes only a whole queue for a queue, and says: rm.
    match std::fs::remove_file(format!("/dev/shm{name}")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
