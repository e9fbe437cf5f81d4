//! The survivors, and what is expected of them.

mod asleep;
mod attended;
mod created;
mod orphaned;
mod toy;

pub(crate) use asleep::{ConsumersAsleep, ProducerAsleep};
pub(crate) use attended::{Attended, GROUP, NEW_GROUP, Released, WAITING};
pub(crate) use created::Created;
pub(crate) use orphaned::{Ends, Last, Orphaned, Resumed};
pub(crate) use toy::toys;

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use fanout::QueueName;
use fanout::error::{CreateError, Holder, SegmentCreateError, SendTimeoutError};

use crate::ends::{Kind, Part, Sending, Took};
use crate::witness::Witness;

/// How long a survivor waits for something that should come at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a producer waits for room before consumers look again.
const LOOK: Duration = Duration::from_millis(2);

/// How many messages a survivor sends together. The ring holds no multiple of it.
const BATCH: u64 = 3;

/// A producer that has witnesses.
struct Stage {
    kind: Kind,
    /// Nothing while it is lent out.
    producer: Option<Box<dyn Sending>>,
    witnesses: Vec<Witness>,
    /// How many messages were sent.
    sent: u64,
}

impl Stage {
    /// A new queue that nobody has joined.
    fn create(kind: Kind, name: &QueueName) -> anyhow::Result<Self> {
        let producer = Some(kind.create(name).context("a producer cannot take the name")?);
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

    fn producer(&mut self) -> anyhow::Result<&mut dyn Sending> {
        Ok(&mut **self.producer.as_mut().context("the producer is lent out")?)
    }

    /// Sends one message or some together. Witnesses make room if they are in the way.
    fn send(&mut self) -> anyhow::Result<()> {
        // A batch finds no room also where there is some.
        let len = if self.sent.is_multiple_of(2) { 1 } else { BATCH };
        let mut timeout = Duration::ZERO;
        let started = Instant::now();
        while !self.try_send(len, timeout)? {
            if started.elapsed() > PATIENCE {
                let listed = self.producer()?.consumers();
                bail!(
                    "the producer is stuck, though the living have read everything; {len} to send, \
                     and listed are {listed:?}"
                );
            }
            self.drain()?;
            // The producer may have to find out who is dead, and a member to take over from a dead one.
            timeout = LOOK;
        }
        Ok(())
    }

    /// Sends so many messages; says whether there was room in time.
    fn try_send(&mut self, len: u64, timeout: Duration) -> anyhow::Result<bool> {
        let (number, numbers) = (self.sent, self.sent..self.sent + len);
        let producer = self.producer()?;
        let sent = if len == 1 {
            producer.send_within(number, timeout)
        } else {
            producer.send_batch(numbers, timeout)
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
        let producer = self.producer()?;
        let (begin, distance) = (producer.sequence(), laps * producer.capacity());
        while self.producer()?.sequence().wrapping_sub(begin) <= distance {
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
        self.producer()?.close();
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
    let parts = [Part::Broadcast, Part::Member(GROUP), Part::Tap];
    for part in parts.into_iter().filter(|part| kind.has(*part)) {
        stage.join(name, part)?;
    }
    stage.laps(1)?;
    stage.close().context("the successor's consumers")
}

/// Clears away a queue whose producer has died, as the next producer does.
fn replace(kind: Kind, name: &QueueName) -> anyhow::Result<()> {
    let taken = kind.create(name).err();
    ensure!(
        matches!(
            taken,
            Some(CreateError::Segment(SegmentCreateError::Taken { by: Holder::Dead, .. }))
        ),
        "the name of a dead queue is to be taken by a dead producer, found {taken:?}"
    );
    let producer = kind.replace(name).context("a producer cannot replace a dead one's queue")?;
    drop(producer);
    Ok(())
}
