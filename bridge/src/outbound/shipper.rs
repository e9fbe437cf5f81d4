//! Messages on their way to the stream: sent, acknowledged, and sent again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_nats::header::{
    HeaderValue, NATS_EXPECTED_LAST_MESSAGE_ID, NATS_EXPECTED_LAST_SEQUENCE,
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{Message, StatusCode, Subject, Subscriber};
use bytes::{Bytes, BytesMut};
use common::Sequence;
use futures_util::{FutureExt, StreamExt};

use super::OutOptions;
use crate::envelope::{Content, Envelope, MessageType, Position, describe};
use crate::error::{OutError, StreamError};
use crate::pack::{self, Packer, first_record};
use crate::progress::{Progress, State};
use crate::retry::{Pauses, persist};
use crate::source::{Lot, Source};
use crate::stream::{Tail, Track};

/// The most NATS messages that wait for an acknowledgement.
const WINDOW: usize = 1024;
/// The most bytes that do. With more, the server's own queue grows, and its work with it.
const WINDOW_BYTES: usize = 1 << 20;
/// An acknowledgement is asked for at least so often.
const ASK_EVERY: usize = 64;
/// The same, in bytes.
const ASK_BYTES: usize = 128 << 10;
/// After a pause that long, the window begins small again.
const IDLE: Duration = Duration::from_millis(100);
/// For how long a bridge listens whether another one writes to its subject.
const LISTEN: Duration = Duration::from_secs(1);
/// An acknowledgement that has not come by then does not come.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How much memory is taken at once for copies of small messages.
const ROOM: usize = 64 << 10;
/// What headers of our own take at most, beside a type's name.
const HEADERS: usize = 320;

/// Sends lots to the stream.
pub(super) struct Shipper<'a> {
    track: &'a Track,
    progress: &'a Progress,
    subject: Subject,
    /// Where acknowledgements come. It is one subject: one for each would cost the server more.
    inbox: Subject,
    acks: Subscriber,
    /// The queue's identity.
    identity: u64,
    message_type: Option<MessageType>,
    /// Whether the stream counts as the queue counts.
    copies: bool,
    /// Whether a message names the one that it expects before it, instead of its number. With numbers alone, a message could
    /// be refused because somebody else's came first, and the next one be taken, whose number is right again. That is found
    /// out, and ends the bridge.
    ///
    /// Not where several servers keep the stream: one that was away and catches up does not know the last message's name
    /// (nats-server 2.9), refuses what the others take, and loses all that follows when it leads.
    links: bool,
    /// Where the next message is, as the stream counts; `None` before anything is known.
    at: Option<Position>,
    /// The same, behind what the stream is known to have.
    stored_to: Option<Position>,
    /// What the next message expects to be the last.
    expected: u64,
    packer: Option<Packer>,
    /// Room for copies of small messages.
    room: BytesMut,
    flight: VecDeque<Sent>,
    /// Bytes in flight.
    bytes: usize,
    window: usize,
    /// Whether the stream has no other subject: then one counts what all have written.
    is_alone: bool,
    /// Whether the stream had no messages when it was last asked, and got none since.
    is_empty: bool,
    /// Whether messages are sent without ids: the server knows one that the stream does not have.
    is_unnamed: bool,
    /// Bytes and NATS messages since the last one with an id.
    unasked: (usize, usize),
    /// Messages that were missed before the next one that is sent.
    lost: u64,
    reconnects: u64,
    /// When the last acknowledgement came.
    heard: Instant,
    pauses: Pauses,
    /// What an acknowledgement said while others said that messages were stored.
    trouble: Option<Trouble>,
    /// The most bytes of a NATS message, without headers.
    largest: usize,
    /// The most bytes of a pack, if the server takes them.
    pack: usize,
}

/// A NATS message on its way.
#[derive(Debug)]
struct Sent {
    /// How many messages of the lot it holds.
    messages: usize,
    /// Behind its last message, in the queue.
    end: u64,
    bytes: usize,
    /// Behind its last message, as the stream counts.
    behind: Position,
    /// The stream's sequence that it should get.
    sequence: u64,
    /// Whether an acknowledgement was asked for.
    asks: bool,
    /// Its id, until the next message names it.
    id: Option<HeaderValue>,
    at: Instant,
}

/// What became of messages that were sent.
enum News {
    /// So many of the lot's first ones are in the stream.
    Stored { messages: usize },
    /// Nobody knows, or the server has refused one.
    Trouble(Trouble),
}

enum Trouble {
    /// No acknowledgement came, or it says that something else is in the stream.
    Unknown,
    /// The server knows a message's id. That says nothing of those before it, nor whether the stream still has it.
    Duplicate,
    /// There is no room. `alone`: in this stream, whatever others of the account hold.
    Full {
        alone: bool,
    },
    Refused(StreamError),
}

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    /// The message's number in the stream.
    sequence: u64,
    /// Whether the server knew its id.
    duplicate: bool,
}

impl Answer {
    /// Reads what a server says of a message that it has stored, `{"stream":"NAME", "seq":NUMBER}`. Where several servers keep
    /// a stream, each message is answered, and a parser of JSON would cost more than the message. It reads whatever else
    /// there is.
    fn plain(text: &[u8]) -> Option<Self> {
        let rest = text.strip_prefix(br#"{"stream":""#)?;
        let name = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let digits = rest[name..].strip_prefix(br#"", "seq":"#)?.strip_suffix(b"}")?;
        let is_number = digits.iter().all(u8::is_ascii_digit);
        let sequence = core::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
        Some(Self { sequence, duplicate: false })
    }
}

/// One NATS message to be.
struct Packet {
    envelope: Envelope,
    payload: Bytes,
    messages: usize,
    /// How much of the queue its messages take.
    len: u64,
}

impl<'a> Shipper<'a> {
    pub(super) async fn new(
        track: &'a Track,
        options: &OutOptions,
        source: &impl Source,
        progress: &'a Progress,
    ) -> Result<Self, OutError> {
        let (inbox, acks) = subscribe(track).await?;
        let message_type = source.message_type().cloned();
        let packer = options.pack.map(|most| Packer::new(most, message_type.is_none()));
        let mut shipper = Self {
            track,
            progress,
            subject: Subject::from(track.subject.as_str()),
            inbox,
            acks,
            identity: source.identity(),
            message_type,
            copies: options.group.is_none() && !options.lossy,
            links: false,
            at: None,
            stored_to: None,
            expected: 0,
            packer,
            room: BytesMut::new(),
            flight: VecDeque::new(),
            bytes: 0,
            window: 1,
            is_alone: track.is_alone,
            is_empty: false,
            is_unnamed: false,
            unasked: (0, 0),
            lost: 0,
            reconnects: progress.reconnects.get(),
            heard: Instant::now(),
            pauses: Pauses::new(),
            trouble: None,
            largest: 0,
            pack: options.pack.unwrap_or(0),
        };
        shipper.measure();
        Ok(shipper)
    }

    /// Learns what the server takes. It may be another server than before.
    fn measure(&mut self) {
        let type_len = self.message_type.as_ref().map_or(0, |of| of.name.len() * 8);
        let largest = self.track.client.max_payload().saturating_sub(HEADERS + type_len);
        if largest != self.largest {
            self.largest = largest;
            if let Some(packer) = &mut self.packer {
                packer.limit(self.pack.min(largest));
            }
        }
    }

    /// What is on its way counts no more: it is found out what has arrived.
    fn forget_flight(&mut self) {
        (self.bytes, self.unasked, self.trouble) = (0, (0, 0), None);
        self.flight.clear();
    }

    /// Whether the queue's messages have a length each.
    fn is_framed(&self) -> bool {
        self.message_type.is_none()
    }

    /// In a stream of several subjects nobody can tell which number a message will get: one is on its way at a time. So it
    /// is where a message that is missing could not be found out.
    fn full_window(&self) -> usize {
        if self.is_alone && (self.copies || self.links) { WINDOW } else { 1 }
    }

    /// Brings all messages of a lot to the stream, and releases each when it is there.
    pub(super) async fn ship<L: Lot>(&mut self, lot: &mut L) -> Result<(), OutError> {
        self.forget_flight();
        self.lost += lot.lost();
        self.progress.lost.add(lot.lost());
        if self.at.is_none() {
            self.check_writers().await?;
            self.find_out(lot).await?;
        }
        if self.heard.elapsed() > IDLE {
            // Another bridge may have written meanwhile, by mistake. The first message would be refused because of its number,
            // and a later one, whose number is right again, be taken: so the first one goes alone.
            self.window = 1;
        }
        while lot.len() > 0 {
            self.send(lot).await?;
            match self.news().await {
                News::Stored { messages } => {
                    lot.release_first(messages);
                    (self.is_empty, self.is_unnamed) = (false, false);
                    self.heard = Instant::now();
                    self.pauses.reset();
                    self.window = (self.window * 2).min(self.full_window());
                    self.progress.set_state(State::Carrying);
                }
                News::Trouble(trouble) => self.recover(lot, trouble).await?,
            }
            self.progress.set_oldest(self.flight.front().map(|sent| sent.at));
        }
        Ok(())
    }

    /// Asks the stream what it has, and goes on from there.
    async fn recover<L: Lot>(&mut self, lot: &mut L, trouble: Trouble) -> Result<(), OutError> {
        self.forget_flight();
        self.window = 1;
        self.progress.resumptions.add(1);
        let was_empty = core::mem::take(&mut self.is_empty);
        let mut is_refused_by_empty = false;
        match trouble {
            Trouble::Unknown => {}
            // The messages that the next one expects before it keep a second one out as well.
            Trouble::Duplicate => self.is_unnamed = true,
            Trouble::Full { alone } => {
                self.progress.set_state(State::StreamFull);
                is_refused_by_empty = alone && was_empty;
            }
            Trouble::Refused(error) => return Err(error.into()),
        }
        // What goes wrong again and again must not keep two cores busy.
        self.pauses.pause().await;
        self.find_out(lot).await?;
        if is_refused_by_empty && self.is_empty && lot.len() > 0 {
            return Err(OutError::NoRoom {
                stream: self.track.name.clone(),
                sequence: lot.first(),
            });
        }
        Ok(())
    }

    /// Fails if another bridge is just carrying another queue to the subject.
    async fn check_writers(&self) -> Result<(), OutError> {
        if !self.copies {
            return Ok(());
        }
        let (track, framed) = (self.track, self.is_framed());
        let mut looked = None;
        loop {
            let tail = persist(self.progress, async || track.tail(framed).await).await?;
            let Some(last) = tail.last else { return Ok(()) };
            if last.envelope.source.identity == self.identity || last.envelope.is_end() {
                return Ok(());
            }
            match looked {
                // Its queue has not ended. Perhaps its host has; or its bridge carries on at this moment.
                None => looked = Some(tail.expected),
                Some(before) if before == tail.expected => return Ok(()),
                Some(_) => return Err(OutError::Intruder { stream: track.name.clone() }),
            }
            tokio::time::sleep(LISTEN).await;
        }
    }

    /// Learns from the stream's last message where to go on, and releases what the stream has.
    async fn find_out<L: Lot>(&mut self, lot: &mut L) -> Result<(), OutError> {
        // What comes to the old inbox answers what was sent before.
        (self.inbox, self.acks) = subscribe(self.track).await?;
        let track = self.track;
        let framed = self.is_framed();
        let tail = persist(self.progress, async || track.tail(framed).await).await?;
        self.reconnects = self.progress.reconnects.get();
        (self.is_alone, self.is_empty) = (tail.is_alone, tail.is_empty);
        self.links = tail.is_alone && !tail.is_replicated;
        self.window = self.window.min(self.full_window());
        self.expected = tail.expected;
        let stored = self.stored(lot, &tail)?;
        if self.copies && stored > 0 {
            let (first, last) = (lot.first(), tail.last.as_ref().expect("it stores something"));
            persist(self.progress, async || track.check_whole(first, last, framed).await).await?;
        }
        let (mut len, mut count) = (0, 0);
        for (_, message) in lot.from(lot.first()) {
            if len >= stored {
                break;
            }
            len += L::step(message);
            count += 1;
        }
        if len != stored {
            let (found, expected) = (stored, len);
            return Err(OutError::Boundary { found, expected });
        }
        self.place(lot.first().wrapping_add(stored), &tail)?;
        lot.release_first(count);
        self.progress.repeated.add(count as u64);
        Ok(())
    }

    /// How much of this lot the stream has.
    fn stored<L: Lot>(&self, lot: &L, tail: &Tail) -> Result<u64, OutError> {
        let Some(last) = &tail.last else { return Ok(0) };
        if last.envelope.source.identity != self.identity {
            return match self.copies && self.at.is_some() && !last.envelope.is_end() {
                true => Err(OutError::Intruder { stream: self.track.name.clone() }),
                false => Ok(0),
            };
        }
        let (first, end) = (Sequence::new(lot.first()), Sequence::new(last.source_end));
        if !self.copies {
            // Another member of the group may have written it. Then the server knows by their ids what it has of ours.
            let len = lot.from(lot.first()).map(|(_, message)| L::step(message)).sum();
            let is_ours = first.is_before(end) && end.since(first) <= len;
            return Ok(if is_ours { end.since(first) } else { 0 });
        }
        if first.is_before(end) {
            return Ok(end.since(first));
        }
        if end != first {
            let stream = self.track.name.clone();
            return Err(OutError::Gap { stream, found: first.get(), expected: end.get() });
        }
        Ok(0)
    }

    /// The next message has this sequence in the queue: where is it, as the stream counts?
    fn place(&mut self, sequence: u64, tail: &Tail) -> Result<(), OutError> {
        let here = Position { identity: self.identity, sequence };
        if self.copies {
            self.at = Some(here);
            return Ok(());
        }
        let last = tail.last.as_ref().filter(|last| last.envelope.at != last.envelope.source);
        self.at = Some(match (last, self.stored_to) {
            (Some(last), _) if last.envelope.message_type != self.message_type => {
                return Err(OutError::TypeDiffers {
                    stream: self.track.name.clone(),
                    expected: describe(last.envelope.message_type.as_ref()),
                    found: describe(self.message_type.as_ref()),
                });
            }
            (Some(last), _) => last.end,
            (None, Some(at)) => at,
            (None, None) => Position { identity: day2::identity::random(), sequence: 0 },
        });
        self.stored_to = self.at;
        Ok(())
    }

    /// Sends messages of the lot that are not on their way yet, as many as the window allows.
    async fn send<L: Lot>(&mut self, lot: &L) -> Result<(), OutError> {
        let redelivered = lot.redelivered();
        // Without anything in flight, this is the first message of the lot that is not in the stream.
        let (mut sequence, mut lost) = match self.flight.back() {
            Some(last) => (last.end, 0),
            None => (lot.first(), self.lost),
        };
        let mut messages = lot.from(sequence).peekable();
        let now = Instant::now();
        self.measure();
        while self.has_room() && messages.peek().is_some() {
            let mut packet = self.packet::<L>(sequence, &mut messages)?;
            packet.envelope.redelivered = redelivered;
            packet.envelope.lost = core::mem::take(&mut lost);
            sequence = sequence.wrapping_add(packet.len);
            let is_last = messages.peek().is_none();
            self.publish(packet, is_last, now).await?;
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.flight.len() < self.window && (self.bytes < WINDOW_BYTES || self.flight.is_empty())
    }

    /// The next NATS message: one message of the queue, or as many as a pack holds.
    fn packet<'m, L: Lot>(
        &mut self,
        sequence: u64,
        messages: &mut core::iter::Peekable<impl Iterator<Item = (u16, &'m [u8])>>,
    ) -> Result<Packet, OutError> {
        let (mut len, mut count) = (0, 0);
        let (content, payload) = match &mut self.packer {
            None => {
                let (kind, message) = messages.next().expect("the caller has seen one");
                (len, count) = (L::step(message), 1);
                (Content::One { kind }, copied(message, &mut self.room))
            }
            Some(packer) => {
                while let Some((kind, message)) = messages.peek() {
                    if !packer.push(*kind, message) {
                        break;
                    }
                    len += L::step(message);
                    count += 1;
                    messages.next();
                }
                let (payload, count) = packer.take();
                match first_record(&payload) {
                    // Without a header in front of it there may be room for it.
                    Some((kind, ..)) if L::FRAMED && count == 1 && payload.len() > self.largest => {
                        (Content::One { kind }, payload.slice(pack::HEADER..))
                    }
                    _ => (Content::Pack { count }, payload),
                }
            }
        };
        if payload.len() > self.largest {
            let (found, most) = (payload.len(), self.largest);
            return Err(OutError::TooLarge { sequence, found, most });
        }
        let at = self.at.expect("the stream was asked first");
        let source = Position { identity: self.identity, sequence };
        let message_type = self.message_type.clone();
        let envelope = Envelope { source, message_type, ..Envelope::new(at, content) };
        self.at = Some(Position { sequence: at.sequence.wrapping_add(len), ..at });
        Ok(Packet { envelope, payload, messages: count, len })
    }

    /// Publishes. Where messages name one another, an acknowledgement is asked for now and then, of the last one of the window,
    /// and of the `last` one of all: it speaks for all before it, because each of them was refused or has the right one
    /// before it.
    async fn publish(&mut self, packet: Packet, last: bool, now: Instant) -> Result<(), OutError> {
        let Packet { envelope, payload, messages, len } = packet;
        let end = envelope.source.sequence.wrapping_add(len);
        let (bytes, sequence) = (payload.len(), self.expected + 1);
        self.unasked = (self.unasked.0 + bytes, self.unasked.1 + 1);
        self.bytes += bytes;
        let is_boundary = last
            || self.flight.len() + 1 >= self.window
            || self.bytes >= WINDOW_BYTES
            || self.unasked.0 >= ASK_BYTES
            || self.unasked.1 >= ASK_EVERY;
        let asks = is_boundary || !self.links || self.is_unnamed;
        let with_id = (is_boundary || self.links) && !self.is_unnamed;
        let (mut headers, id) = envelope.headers_and_id(with_id);
        match self.flight.back_mut().and_then(|before| before.id.take()) {
            Some(before) => headers.insert(NATS_EXPECTED_LAST_MESSAGE_ID, before),
            None => {
                let name = match self.is_alone {
                    true => NATS_EXPECTED_LAST_SEQUENCE,
                    false => NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
                };
                headers.insert(name, HeaderValue::from(self.expected));
            }
        }
        self.expected = sequence;
        let (id, behind) = (id.filter(|_| self.links), self.at.expect("the packet has one"));
        let sent = Sent { messages, end, bytes, behind, sequence, asks, id, at: now };
        let (client, subject) = (&self.track.client, self.subject.clone());
        let published = if asks {
            let inbox = self.inbox.clone();
            client.publish_with_reply_and_headers(subject, inbox, headers, payload).await
        } else {
            client.publish_with_headers(subject, headers, payload).await
        };
        published.map_err(|error| OutError::Publish { why: error.to_string() })?;
        self.flight.push_back(sent);
        if is_boundary {
            self.unasked = (0, 0);
            // The client's own task writes to the socket.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Waits for the next acknowledgement, and takes those that came with it.
    async fn news(&mut self) -> News {
        if let Some(trouble) = self.trouble.take() {
            return News::Trouble(trouble);
        }
        let mut stored = 0;
        let Some(oldest) = self.flight.front().map(|sent| sent.at) else {
            return News::Stored { messages: 0 };
        };
        loop {
            let next = tokio::time::timeout(ACK_TIMEOUT / 50, self.acks.next()).await;
            let ack = match next {
                Ok(Some(ack)) => ack,
                Ok(None) => return News::Trouble(Trouble::Unknown),
                Err(_) => {
                    if let Some(why) = self.prohibition() {
                        let name = self.track.name.clone();
                        return News::Trouble(Trouble::Refused(StreamError::Refused { name, why }));
                    }
                    let is_new = self.progress.reconnects.get() != self.reconnects;
                    if is_new || oldest.elapsed() > ACK_TIMEOUT {
                        return News::Trouble(Trouble::Unknown);
                    }
                    continue;
                }
            };
            // Others may have come with it.
            let mut next = Some(ack);
            while let Some(ack) = next {
                match self.understand(&ack) {
                    Ok(messages) => stored += messages,
                    Err(trouble) if stored == 0 => return News::Trouble(trouble),
                    Err(trouble) => {
                        self.trouble = Some(trouble);
                        break;
                    }
                }
                next = self.acks.next().now_or_never().flatten();
            }
            return News::Stored { messages: stored };
        }
    }

    /// What the server has said if we may not publish here. It does not answer such a message.
    fn prohibition(&self) -> Option<String> {
        let quoted = format!("Publish to \"{}\"", self.subject).escape_debug().to_string();
        self.progress.complaint().filter(|complaint| complaint.contains(&quoted))
    }

    /// How many messages an acknowledgement speaks for.
    fn understand(&mut self, ack: &Message) -> Result<usize, Trouble> {
        if ack.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(Trouble::Unknown);
        }
        let answer = match Answer::plain(&ack.payload) {
            Some(answer) => answer,
            None => match serde_json::from_slice(&ack.payload).map_err(|_| Trouble::Unknown)? {
                Response::<PublishAck>::Ok(PublishAck { sequence, duplicate, .. }) => {
                    Answer { sequence, duplicate }
                }
                Response::Err { error } => return Err(self.refusal(&error)),
            },
        };
        // They come in the order of the messages. Where messages name one another, others may stand between them.
        let links = self.links && !self.is_unnamed;
        let is_next = |sent: &Sent| match answer.duplicate {
            // The server knows it by its id, which is all there is to know where others have written since.
            true => !self.copies,
            false => !self.is_alone || links || sent.sequence == answer.sequence,
        };
        let place = self.flight.iter().position(|sent| sent.asks);
        let Some(place) = place.filter(|place| is_next(&self.flight[*place])) else {
            return Err(if answer.duplicate { Trouble::Duplicate } else { Trouble::Unknown });
        };
        if !self.is_alone {
            self.expected = answer.sequence;
        }
        // The first of them told it.
        self.lost = 0;
        let (mut messages, mut bytes) = (0, 0);
        for sent in self.flight.drain(..=place) {
            messages += sent.messages;
            bytes += sent.bytes;
            if !answer.duplicate {
                self.stored_to = Some(sent.behind);
            }
        }
        self.bytes -= bytes;
        self.progress.messages.add(messages as u64);
        self.progress.bytes.add(bytes as u64);
        self.progress.packets.add(place as u64 + 1);
        Ok(messages)
    }

    fn refusal(&self, error: &async_nats::jetstream::Error) -> Trouble {
        let name = self.track.name.clone();
        match error.error_code() {
            ErrorCode::STREAM_WRONG_LAST_MESSAGE_ID
            | ErrorCode::STREAM_WRONG_LAST_SEQUENCE
            | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => Trouble::Unknown,
            ErrorCode::STREAM_STORE_FAILED => Trouble::Full { alone: true },
            ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
            | ErrorCode::INSUFFICIENT_RESOURCES
            | ErrorCode::STORAGE_RESOURCES_EXCEEDED
            | ErrorCode::MEMORY_RESOURCES_EXCEEDED => Trouble::Full { alone: false },
            _ if error.code() == 503 => Trouble::Unknown,
            _ => Trouble::Refused(StreamError::Refused { name, why: error.to_string() }),
        }
    }

    /// Says in the stream that nothing comes behind this sequence.
    pub(super) async fn end(&mut self, next: u64, reason: Option<&str>) -> Result<(), OutError> {
        let content = if reason.is_some() { Content::Aborted } else { Content::Closed };
        let mut lot = Nothing { first: next };
        loop {
            self.forget_flight();
            let (track, framed) = (self.track, self.is_framed());
            let tail = persist(self.progress, async || track.tail(framed).await).await?;
            (self.is_alone, self.expected) = (tail.is_alone, tail.expected);
            let said = tail.last.as_ref().is_some_and(|last| {
                last.envelope.is_end() && last.envelope.source.identity == self.identity
            });
            if said {
                return Ok(());
            }
            self.stored(&lot, &tail)?;
            self.place(next, &tail)?;
            let source = Position { identity: self.identity, sequence: next };
            let at = self.at.expect("it was just set");
            let message_type = self.message_type.clone();
            let envelope = Envelope { source, message_type, ..Envelope::new(at, content) };
            let payload = Bytes::copy_from_slice(reason.unwrap_or_default().as_bytes());
            let packet = Packet { envelope, payload, messages: 0, len: 0 };
            self.publish(packet, true, Instant::now()).await?;
            match self.news().await {
                News::Stored { .. } if self.flight.is_empty() => return Ok(()),
                News::Stored { .. } => {}
                News::Trouble(trouble) => self.recover(&mut lot, trouble).await?,
            }
        }
    }
}

/// A copy of a message. Small ones share their memory: to take some for each would cost more than to copy it.
fn copied(message: &[u8], room: &mut BytesMut) -> Bytes {
    if message.len() > ROOM / 16 {
        return Bytes::copy_from_slice(message);
    }
    if room.capacity() < message.len() {
        *room = BytesMut::with_capacity(ROOM);
    }
    room.extend_from_slice(message);
    room.split().freeze()
}

/// A new place for acknowledgements.
async fn subscribe(track: &Track) -> Result<(Subject, Subscriber), OutError> {
    let inbox = Subject::from(track.client.new_inbox());
    let acks = track.client.subscribe(inbox.clone()).await;
    Ok((inbox, acks.map_err(|error| OutError::Runtime { why: error.to_string() })?))
}

/// A lot without messages, at the end of a queue.
struct Nothing {
    first: u64,
}

impl Lot for Nothing {
    const FRAMED: bool = true;

    fn first(&self) -> u64 {
        self.first
    }

    fn len(&self) -> usize {
        0
    }

    fn from(&self, _sequence: u64) -> impl Iterator<Item = (u16, &[u8])> {
        core::iter::empty()
    }

    fn redelivered(&self) -> bool {
        false
    }

    fn release_first(&mut self, _n: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_answer_is_read_as_a_parser_reads_it() {
        let parsed = |text: &str| match serde_json::from_str(text) {
            Ok(Response::<PublishAck>::Ok(PublishAck { sequence, duplicate, .. })) => {
                Some(Answer { sequence, duplicate })
            }
            _ => None,
        };
        for text in [
            r#"{"stream":"PRICES", "seq":1}"#,
            r#"{"stream":"A_b-3", "seq":18446744073709551615}"#,
            r#"{"stream":"", "seq":0}"#,
        ] {
            assert_eq!(Answer::plain(text.as_bytes()), parsed(text), "{text}");
            assert!(parsed(text).is_some(), "{text}");
        }
        for text in [
            "",
            "{}",
            r#"{"stream":"PRICES", "seq":}"#,
            r#"{"stream":"PRICES", "seq":+1}"#,
            r#"{"stream":"PRICES", "seq":1"#,
            r#"{"stream":"PRICES", "seq":18446744073709551616}"#,
            r#"{"stream":"PRICES", "seq":1, "duplicate":true}"#,
            r#"{"stream":"PRICES", "domain":"hub", "seq":1}"#,
            r#"{"stream":"A\", \"seq\":7}", "seq":1}"#,
            r#"{"error":{"code":503,"err_code":10077,"description":"x"},"stream":"PRICES","seq":0}"#,
        ] {
            assert_eq!(Answer::plain(text.as_bytes()), None, "{text}");
        }
    }
}
