//! Work that several hosts share: each message goes to one of them.
//!
//! The server hands each message to one of the bridges that share a consumer, and to another one if it is not acknowledged
//! in time. A bridge acknowledges a message when the consumers of its queue have read it. So work is done at least once, and
//! what may have been done before is marked.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use async_nats::jetstream::AckKind;
use common::Sequence;

use super::intake::{ACK_WAIT, Delivered, Intake, Receipt};
use super::{Begin, Inbound};
use crate::envelope::{Position, hash};
use crate::error::{InError, StreamError};
use crate::outbound::Outcome;
use crate::progress::State;
use crate::retry::check_allowed;
use crate::sink::Sink;
use crate::stop::Stop;

/// How many messages that were done are remembered. More than the server has on their way to one host.
const DONE: usize = 8192;
/// After this time the server is told again that somebody works on a message.
const AGAIN: Duration = Duration::from_secs(ACK_WAIT.as_secs() / 3);
/// What the server has not heard of for so long, it gives to another host, or has just given.
const LATE: Duration = Duration::from_secs(ACK_WAIT.as_secs() * 5 / 6);

/// The messages that the server counts as ours.
struct Held {
    /// They were published, and somebody has yet to read them.
    unread: VecDeque<Receivable>,
    /// They are to be published when there is room.
    waiting: VecDeque<Delivered>,
    /// When the server last heard of those that wait.
    told: Instant,
    /// When the client was last asked for more.
    asked: Instant,
    /// The stream's numbers of all of them.
    numbers: HashSet<u64>,
    /// Those of messages that were done last: the server may have delivered them once more before it knew.
    done: VecDeque<u64>,
}

struct Receivable {
    /// Behind its last message, in the queue.
    end: u64,
    /// Its number in the stream.
    number: u64,
    receipt: Receipt,
    /// When the server last heard of it.
    told: Instant,
}

impl Held {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            unread: VecDeque::new(),
            waiting: VecDeque::new(),
            told: now,
            asked: now,
            numbers: HashSet::new(),
            done: VecDeque::new(),
        }
    }

    /// Takes what was delivered just now.
    fn take(&mut self, burst: &mut Vec<Delivered>) {
        self.told = Instant::now();
        for delivered in burst.drain(..) {
            // What is here already is worked on once.
            if self.numbers.insert(delivered.number) {
                self.waiting.push_back(delivered);
            }
        }
    }

    /// Whether this process stood still for so long that what waits belongs to another host, or comes again.
    fn is_late(&self) -> bool {
        self.told.elapsed() >= LATE
    }

    /// The next message to be published.
    fn next(&mut self) -> Option<Delivered> {
        if self.is_late() {
            for late in self.waiting.drain(..) {
                self.numbers.remove(&late.number);
            }
        }
        self.waiting.pop_front()
    }

    fn is_done(&self, number: u64) -> bool {
        self.done.contains(&number)
    }

    /// Everything of this message was read.
    fn finish(&mut self, number: u64) {
        self.numbers.remove(&number);
        if self.done.len() == DONE {
            self.done.pop_front();
        }
        self.done.push_back(number);
    }
}

impl Inbound<'_> {
    /// Carries this host's share of the stream until somebody asks to stop.
    pub(super) fn share(&self, group: &str) -> Result<Outcome, InError> {
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || "./\\*>".contains(c);
        if group.is_empty() || group.contains(is_odd) {
            return Err(StreamError::Group { found: group.to_owned() }.into());
        }
        let text = format!("{} {} {group}", self.track.name, self.track.subject);
        let identity = hash(&text);
        let (policy, mut sink) = match self.begin()? {
            Begin::New(policy) => (policy, None),
            Begin::Left(left) if left.identity == identity => match self.resume(&left)? {
                Some(sink) => (self.options.from.policy(), Some(sink)),
                None => return Ok(Outcome::Stopped),
            },
            Begin::Left(_) => {
                let (queue, stream) = (self.options.queue.clone(), self.track.name.clone());
                return Err(InError::OtherQueue { queue, stream });
            }
        };
        let mut intake = Intake::new(&self.track, policy).shared(group);
        let outcome = self.share_from(&mut intake, &mut sink, identity);
        if let Some(sink) = sink {
            sink.abandon();
        }
        outcome
    }

    fn share_from(
        &self,
        intake: &mut Intake<'_>,
        sink: &mut Option<Sink>,
        identity: u64,
    ) -> Result<Outcome, InError> {
        let (mut held, mut burst) = (Held::new(), Vec::new());
        self.progress.set_state(State::Carrying);
        while self.next_share(intake, &mut burst, sink.as_ref(), &mut held)? {
            if held.asked.elapsed() >= LATE {
                // This may have waited in the client for too long: it comes again, here or on another host.
                intake.hang_up();
                held.asked = Instant::now();
                continue;
            }
            held.asked = Instant::now();
            held.take(&mut burst);
            while let Some(delivered) = held.next() {
                if !self.publish_share(sink, &mut held, delivered, identity)? {
                    return Ok(Outcome::Stopped);
                }
            }
            self.settle(sink.as_ref(), &mut held);
        }
        Ok(Outcome::Stopped)
    }

    /// The next deliveries; says whether there are any, and it is not time to stop. Meanwhile it acknowledges what was read.
    ///
    /// What the intake has begun goes on from one look to the next: on a slow line, making a consumer takes longer.
    fn next_share(
        &self,
        intake: &mut Intake<'_>,
        burst: &mut Vec<Delivered>,
        sink: Option<&Sink>,
        held: &mut Held,
    ) -> Result<bool, InError> {
        let mut filled = core::pin::pin!(intake.burst(burst, self.progress));
        while !self.stop.is_stopped() {
            let slice = async { tokio::time::timeout(Stop::SLICE, filled.as_mut()).await };
            if let Ok(filled) = self.runtime.block_on(slice) {
                return filled.map(|()| true);
            }
            check_allowed(self.progress)?;
            self.settle(sink, held);
            held.asked = Instant::now();
        }
        Ok(false)
    }

    /// Publishes one delivery; says whether it has, and was not asked to stop.
    fn publish_share(
        &self,
        sink: &mut Option<Sink>,
        held: &mut Held,
        mut delivered: Delivered,
        identity: u64,
    ) -> Result<bool, InError> {
        let Some(receipt) = delivered.receipt.take() else { return Ok(true) };
        let number = delivered.number;
        let is_again = delivered.envelope.redelivered && held.is_done(number);
        // An end concerns all hosts, and reaches one.
        if is_again || delivered.envelope.is_end() {
            self.tell(&receipt, AckKind::Ack);
            held.finish(number);
            return Ok(true);
        }
        let sink = match sink {
            Some(sink) => sink,
            None => {
                delivered.envelope.at = Position { identity, sequence: 0 };
                sink.insert(self.create(&delivered)?)
            }
        };
        // Nothing was published in it yet: it is new, or the bridge before this one was killed while it waited.
        if sink.next() == 0 {
            if !self.wait_for_consumers(sink) {
                return Ok(false);
            }
            if held.is_late() {
                // The message is another host's by now.
                held.numbers.remove(&number);
                return Ok(true);
            }
        }
        self.check_type(sink, &delivered)?;
        let mut messages = delivered.messages().peekable();
        while let Some(&(_, message)) = messages.peek() {
            let (len, most) = (message.len(), sink.largest());
            if len > most {
                return Err(InError::TooLarge { sequence: sink.next(), found: len, most });
            }
            if sink.put(delivered.envelope.redelivered, &mut messages)? > 0 {
                continue;
            }
            sink.wait_for_room(len, Stop::SLICE)?;
            self.settle(Some(sink), held);
            if self.stop.is_stopped() {
                return Ok(false);
            }
        }
        self.progress.messages.add(delivered.count());
        self.progress.bytes.add(delivered.payload.len() as u64);
        self.progress.packets.add(1);
        let (end, told) = (sink.next(), Instant::now());
        held.unread.push_back(Receivable { end, number, receipt, told });
        Ok(true)
    }

    /// Acknowledges what was read, and has the server wait for the rest.
    fn settle(&self, sink: Option<&Sink>, held: &mut Held) {
        let read = sink.and_then(Sink::read).map(Sequence::new);
        while let (Some(first), Some(read)) = (held.unread.front(), read) {
            if read.is_before(Sequence::new(first.end)) {
                break;
            }
            self.tell(&first.receipt, AckKind::Ack);
            let number = first.number;
            held.unread.pop_front();
            held.finish(number);
        }
        for unread in &mut held.unread {
            if unread.told.elapsed() > AGAIN {
                self.tell(&unread.receipt, AckKind::Progress);
                unread.told = Instant::now();
            }
        }
        if held.told.elapsed() > AGAIN && !held.is_late() {
            for receipt in held.waiting.iter().filter_map(|waiting| waiting.receipt.as_ref()) {
                self.tell(receipt, AckKind::Progress);
            }
            held.told = Instant::now();
        }
        self.progress.set_oldest(held.unread.front().map(|first| first.told));
    }

    /// What does not reach the server makes it deliver the message again.
    fn tell(&self, receipt: &Receipt, what: AckKind) {
        let told = self.track.client.publish(receipt.clone(), what.into());
        let told = async { _ = tokio::time::timeout(Stop::SLICE, told).await };
        self.runtime.block_on(told);
    }
}
