//! What the stream delivers, in order, and without a gap.

use core::slice::ChunksExact;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use async_nats::{Message, Subject};
use bytes::Bytes;

use super::pull::{AHEAD, Arrival, Pull};
use super::reply::Reply;
use crate::envelope::{Content, Envelope};
use crate::error::{EnvelopeError, InError, StreamError};
use crate::pack;
use crate::progress::Progress;
use crate::retry::{Pauses, check_allowed, persist};
use crate::stream::{Fault, Track, length};
use day4::record_len;

/// How many bytes of them are published together.
const BURST: usize = 1 << 20;
/// A message of a shared consumer that is not acknowledged for this long goes to another host.
pub(super) const ACK_WAIT: Duration = Duration::from_secs(30);
/// For how long the server keeps a consumer that nobody asks.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// A NATS message that has come.
pub(super) struct Delivered {
    pub(super) envelope: Envelope,
    pub(super) payload: Bytes,
    /// Its number in the stream.
    pub(super) number: u64,
    /// How many come behind it, as the server knows.
    pub(super) pending: u64,
    /// How much of a ring its messages take.
    pub(super) len: u64,
    /// By what it is acknowledged, where the consumer shares it with others.
    pub(super) receipt: Option<Receipt>,
}

/// The subject by which a message is acknowledged.
pub(super) type Receipt = Subject;

/// A consumer of the stream, which is made anew as often as it takes.
pub(super) struct Intake<'a> {
    track: &'a Track,
    policy: DeliverPolicy,
    /// The consumer's name, if other hosts share it.
    group: Option<String>,
    /// Whether the shared consumer was there before.
    is_known: bool,
    /// How often the consumer was made anew since something was delivered.
    in_vain: u32,
    messages: Option<Pull>,
    /// How many messages this consumer has delivered.
    delivered: u64,
    pauses: Pauses,
}

impl<'a> Intake<'a> {
    pub(super) fn new(track: &'a Track, policy: DeliverPolicy) -> Self {
        Self {
            track,
            policy,
            group: None,
            is_known: false,
            in_vain: 0,
            messages: None,
            delivered: 0,
            pauses: Pauses::new(),
        }
    }

    /// Shares the consumer of this name, which acknowledges, with other hosts.
    pub(super) fn shared(self, group: &str) -> Self {
        // Of several subjects, each has a consumer of its own.
        let name = match self.track.is_alone {
            true => group.to_owned(),
            false => format!("{group}-{}", self.track.subject.replace('.', "-")),
        };
        Self { group: Some(name), ..self }
    }

    /// Leaves what has come and was not asked for yet. A shared consumer delivers it again.
    pub(super) fn hang_up(&mut self) {
        self.messages = None;
    }

    /// Fills `burst`, whose room is used again, with the next messages: one that it waits for, and those that came with it.
    pub(super) async fn burst(
        &mut self,
        burst: &mut Vec<Delivered>,
        progress: &Progress,
    ) -> Result<(), InError> {
        burst.clear();
        let first = loop {
            let messages = match &mut self.messages {
                Some(messages) => messages,
                None => {
                    let messages = self.consume(progress).await?;
                    self.messages.insert(messages)
                }
            };
            if let Some(message) = messages.next(progress).await
                && let Some(delivered) = self.accept(message)?
            {
                break delivered;
            }
            self.start_anew(progress).await?;
        };
        self.pauses.reset();
        self.in_vain = 0;
        let mut bytes = first.payload.len();
        burst.push(first);
        while let Some(messages) = &mut self.messages
            && bytes < BURST
            && burst.len() < AHEAD
        {
            let accepted = match messages.try_next() {
                Arrival::Nothing => break,
                // An error waits until what stands before it is carried. Then it comes again.
                Arrival::Message(message) => self.accept(message).ok().flatten(),
                Arrival::End => None,
            };
            match accepted {
                Some(delivered) => {
                    bytes += delivered.payload.len();
                    burst.push(delivered);
                }
                None => self.messages = None,
            }
        }
        // The server counts NATS messages; what they hold follows from what was carried so far.
        let packets = progress.packets.get().max(1);
        let behind = burst.last().map_or(0, |last| last.pending);
        let share = |carried: u64| behind.saturating_mul(carried.max(packets)) / packets;
        progress.lag_messages.set(share(progress.messages.get()));
        progress.lag_bytes.set(share(progress.bytes.get()));
        Ok(())
    }

    async fn start_anew(&mut self, progress: &Progress) -> Result<(), StreamError> {
        self.messages = None;
        progress.resumptions.add(1);
        check_allowed(progress)?;
        self.pauses.pause().await;
        self.in_vain += 1;
        // Perhaps the client cannot read the next message, and hangs up whenever it comes.
        let next = match self.policy {
            DeliverPolicy::All => 1,
            DeliverPolicy::ByStartSequence { start_sequence } => start_sequence,
            _ => return Ok(()),
        };
        // Nobody knows which message of a shared consumer comes next.
        if self.in_vain > 1
            && self.group.is_none()
            && let Err(Fault::Refused(error)) = self.track.at_or_after(next).await
        {
            return Err(error);
        }
        Ok(())
    }

    /// A consumer that begins behind what was delivered.
    async fn consume(&mut self, progress: &Progress) -> Result<Pull, StreamError> {
        if self.policy == DeliverPolicy::New {
            // A second consumer must not begin later than the first one.
            let start_sequence = persist(progress, async || self.track.next().await).await?;
            self.policy = DeliverPolicy::ByStartSequence { start_sequence };
        }
        self.delivered = 0;
        let pull = persist(progress, async || self.try_consume(progress).await).await?;
        self.is_known = true;
        Ok(pull)
    }

    async fn try_consume(&self, progress: &Progress) -> Result<Pull, Fault> {
        self.track.check_same().await?;
        let own = Config {
            deliver_policy: self.policy,
            filter_subject: self.track.subject.clone(),
            ..Config::default()
        };
        let stream = &self.track.stream;
        let consumer = match &self.group {
            None => {
                let config = Config {
                    ack_policy: AckPolicy::None,
                    memory_storage: true,
                    inactive_threshold: FORGOTTEN,
                    ..own
                };
                stream.create_consumer(config).await.map_err(|error| self.fault(&error))?
            }
            Some(group) => {
                let config = Config {
                    durable_name: Some(group.clone()),
                    ack_policy: AckPolicy::Explicit,
                    ack_wait: ACK_WAIT,
                    max_ack_pending: 2 * AHEAD as i64,
                    ..own
                };
                self.check_known(group).await?;
                let made = stream.get_or_create_consumer(group, config).await;
                let made = made.map_err(|error| self.fault(&error))?;
                self.check_consumer(group, &made.cached_info().config)?;
                made
            }
        };
        Pull::begin(self.track, &consumer, self.group.is_some(), progress).await
    }

    /// A shared consumer that was deleted is not made anew: it would begin again with work that is done.
    async fn check_known(&self, group: &str) -> Result<(), Fault> {
        if !self.is_known {
            return Ok(());
        }
        match self.track.stream.consumer_info(group).await {
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => {
                let (name, group) = (self.track.name.clone(), group.to_owned());
                Err(StreamError::ConsumerGone { name, group }.into())
            }
            // What else may be wrong, the next request says.
            _ => Ok(()),
        }
    }

    /// A consumer that was there may be somebody else's.
    fn check_consumer(&self, group: &str, found: &consumer::Config) -> Result<(), StreamError> {
        let differs = |what, expected: &str, found: String| {
            let (name, group, expected) =
                (self.track.name.clone(), group.to_owned(), expected.to_owned());
            Err(StreamError::OtherConsumer { name, group, what, expected, found })
        };
        if found.ack_policy != AckPolicy::Explicit {
            return differs("ack policy", "explicit", format!("{:?}", found.ack_policy));
        }
        if found.max_deliver > 0 {
            return differs("max deliver", "without a limit", found.max_deliver.to_string());
        }
        if found.ack_wait < ACK_WAIT {
            let least = format!("of at least {} s", ACK_WAIT.as_secs());
            return differs("ack wait", &least, format!("{:?}", found.ack_wait));
        }
        if found.max_waiting == 1 {
            // The server would refuse the second of the two requests that a bridge makes, and that ends the first one.
            return differs("max waiting", "of at least 2", "1".to_owned());
        }
        if found.headers_only {
            // Messages would come without what they say, as if they were empty.
            return differs("delivery", "of whole messages", "headers only".to_owned());
        }
        let is_all = self.track.is_alone && found.filter_subject.is_empty();
        if !is_all && found.filter_subject != self.track.subject {
            return differs("filter", &self.track.subject, found.filter_subject.clone());
        }
        Ok(())
    }

    fn fault(&self, error: &ConsumerError) -> Fault {
        match error.kind() {
            ConsumerErrorKind::JetStream(error) => self.track.fault(&error),
            ConsumerErrorKind::TimedOut | ConsumerErrorKind::Request => Fault::Away,
            ConsumerErrorKind::InvalidConsumerType => {
                let (name, group) =
                    (self.track.name.clone(), self.group.clone().unwrap_or_default());
                let (expected, found) = ("pull".to_owned(), "push".to_owned());
                StreamError::OtherConsumer { name, group, what: "kind", expected, found }.into()
            }
            _ => {
                let name = self.track.name.clone();
                StreamError::Refused { name, why: error.to_string() }.into()
            }
        }
    }

    /// Reads a message; `None` if one before it was lost on its way.
    fn accept(&mut self, message: Message) -> Result<Option<Delivered>, InError> {
        let reply = message.reply.as_deref().and_then(Reply::parse);
        let Some(Reply { delivered: times, stream: number, consumer: count, pending }) = reply
        else {
            return Ok(None);
        };
        if self.group.is_none() && count != self.delivered + 1 {
            return Ok(None);
        }
        self.delivered = count;
        let receipt = message.reply.filter(|_| self.group.is_some());
        let foreign = |error| InError::Stream(self.track.foreign(number, error));
        let mut envelope = Envelope::parse(message.headers.as_ref()).map_err(foreign)?;
        envelope.redelivered |= times > 1;
        let payload = message.payload;
        let len = checked_length(&envelope, &payload).map_err(foreign)?;
        if self.group.is_none() {
            self.policy = DeliverPolicy::ByStartSequence { start_sequence: number + 1 };
        }
        Ok(Some(Delivered { envelope, payload, number, pending, len, receipt }))
    }
}

/// How much of a ring the messages take; whether they are what the envelope says.
fn checked_length(envelope: &Envelope, payload: &[u8]) -> Result<u64, EnvelopeError> {
    let size = envelope.message_type.as_ref().map(|of| of.size);
    let len = length(envelope, payload, size.is_none())?;
    let expected = match (envelope.content, size) {
        (Content::One { .. }, Some(size)) => size,
        (Content::Pack { count }, Some(size)) => size.saturating_mul(count as usize),
        _ => payload.len(),
    };
    if expected != payload.len() {
        return Err(EnvelopeError::Pack { rest: payload.len().abs_diff(expected) });
    }
    Ok(len)
}

impl Delivered {
    /// How many messages it holds.
    pub(super) fn count(&self) -> u64 {
        self.messages().count() as u64
    }

    /// The messages, each with its kind.
    pub(super) fn messages(&self) -> Messages<'_> {
        match (self.envelope.content, &self.envelope.message_type) {
            (Content::Closed | Content::Aborted, _) => Messages::One(None),
            (Content::One { kind }, _) => Messages::One(Some((kind, &self.payload))),
            (Content::Pack { .. }, None) => Messages::Records(&self.payload),
            (Content::Pack { .. }, Some(of)) => Messages::Fixed(self.payload.chunks_exact(of.size)),
        }
    }

    /// How many messages take the first `len` of the ring; `None` if none of them ends there.
    pub(super) fn count_before(&self, len: u64) -> Option<usize> {
        let is_framed = self.envelope.message_type.is_none();
        let (mut gone, mut count, mut messages) = (0, 0, self.messages());
        while gone < len {
            let (_, message) = messages.next()?;
            gone += if is_framed { record_len(message.len()) as u64 } else { 1 };
            count += 1;
        }
        (gone == len).then_some(count)
    }
}

/// The messages of a delivery.
pub(super) enum Messages<'m> {
    One(Option<(u16, &'m [u8])>),
    /// What is left of a pack that was checked.
    Records(&'m [u8]),
    Fixed(ChunksExact<'m, u8>),
}

impl<'m> Iterator for Messages<'m> {
    type Item = (u16, &'m [u8]);

    fn next(&mut self) -> Option<(u16, &'m [u8])> {
        match self {
            Self::One(message) => message.take(),
            Self::Fixed(chunks) => Some((0, chunks.next()?)),
            Self::Records(rest) => {
                let (kind, message, behind) = pack::first_record(rest)?;
                *rest = behind;
                Some((kind, message))
            }
        }
    }
}
