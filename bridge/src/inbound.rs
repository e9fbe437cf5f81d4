//! From a stream to a queue of this host.
//!
//! The queue is a copy: it has the identity of the queue on the other host, and each message has its sequence. So the queue
//! itself says what comes next, also after a crash, and the bridge looks in the stream where that is. It needs no
//! acknowledgements, and stores nothing anywhere else.

mod intake;
mod pull;
mod reply;
mod sharing;

use core::iter::Peekable;
use std::time::{Duration, Instant, SystemTime};

use async_nats::jetstream::consumer::DeliverPolicy;
use common::{QueueName, Sequence};
use day2::segment::READY_TIMEOUT;
use day2::{OpenError, RemoveError, Segment, SucceedError};
use day3::control::SLOTS;
use day3::inspect::{Observer, Snapshot};
use day3::roster::ConsumerKind;
use day3::{QueueOptions, ResumeError, Unattended};

use crate::envelope::{Content, Envelope, MessageType, Position, describe};
use crate::error::{InError, StreamError};
use crate::outbound::Outcome;
use crate::progress::{Progress, State};
use crate::retry::{Pauses, connect, persist, unless_stopped};
use crate::runtime::{apart, runtime};
use crate::server::ServerOptions;
use crate::sink::Sink;
use crate::stop::Stop;
use crate::stream::{Fault, StreamOptions, Track};
use intake::{Delivered, Intake};

/// Where in the stream a new queue begins. A queue that is there goes on where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum From {
    /// With the oldest message that the stream has.
    Oldest,
    /// With the next message.
    Latest,
    /// With this message of the stream, or the first one behind it.
    Sequence(u64),
    /// With the first message that the stream got at this time or later.
    Time(SystemTime),
}

impl From {
    fn policy(self) -> DeliverPolicy {
        match self {
            Self::Oldest => DeliverPolicy::All,
            Self::Latest => DeliverPolicy::New,
            Self::Sequence(sequence) => {
                DeliverPolicy::ByStartSequence { start_sequence: sequence.max(1) }
            }
            Self::Time(time) => DeliverPolicy::ByStartTime { start_time: time.into() },
        }
    }
}

/// What to carry in, and how.
#[derive(Clone, Debug)]
pub struct InOptions {
    queue: QueueName,
    stream: StreamOptions,
    from: From,
    group: Option<String>,
    capacity: u64,
    slots: usize,
    permissions: u32,
    unattended: Unattended,
    wait_for: usize,
    lossy: bool,
    follow: bool,
    wait_for_stream: bool,
}

impl InOptions {
    /// Carries the stream's messages, from the oldest one on, to a queue of 1 MiB. While nobody listens, it waits.
    pub fn new(queue: QueueName, stream: StreamOptions) -> Self {
        Self {
            queue,
            stream,
            from: From::Oldest,
            group: None,
            capacity: 1 << 20,
            slots: SLOTS,
            permissions: 0o600,
            unattended: Unattended::Wait,
            wait_for: 1,
            lossy: false,
            follow: false,
            wait_for_stream: true,
        }
    }

    /// Where a new queue begins.
    #[must_use]
    pub fn from(mut self, from: From) -> Self {
        self.from = from;
        self
    }

    /// Shares the stream's messages with the bridges of other hosts that name the same group: each message goes to one of
    /// the hosts. It is acknowledged when that host's consumers have read it; otherwise it goes to another host, marked as
    /// redelivered. Such a queue is no copy: it counts by itself, and has no end.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// How many bytes a new queue holds, rounded up to what a ring can have.
    #[must_use]
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// How many consumers a new queue has room for, taps not counted.
    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// Who may open a new queue: octal permissions, as of a file.
    #[must_use]
    pub fn permissions(mut self, permissions: u32) -> Self {
        self.permissions = permissions;
        self
    }

    /// What to do with messages while no consumer is attached: to wait, unless said otherwise.
    #[must_use]
    pub fn unattended(mut self, unattended: Unattended) -> Self {
        self.unattended = unattended;
        self
    }

    /// Holds the first message until so many consumers are attached; 1 unless said otherwise.
    #[must_use]
    pub fn wait_for(mut self, consumers: usize) -> Self {
        self.wait_for = consumers;
        self
    }

    /// Goes on where the stream has lost messages: they are counted, and the queue gives way to a new one.
    #[must_use]
    pub fn lossy(mut self, lossy: bool) -> Self {
        self.lossy = lossy;
        self
    }

    /// When the queue has ended, goes on with the next one that the stream holds.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Whether to wait for the stream if the server has none of that name yet.
    #[must_use]
    pub fn wait_for_stream(mut self, wait: bool) -> Self {
        self.wait_for_stream = wait;
        self
    }

    /// The queue's name.
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// How a queue of these messages is made.
    fn queue_options(&self, message_type: Option<&MessageType>) -> QueueOptions {
        let capacity = match message_type {
            None => self.capacity,
            Some(of) => (self.capacity / of.size as u64).max(1).next_power_of_two(),
        };
        QueueOptions::new(capacity)
            .consumers(self.slots)
            .permissions(self.permissions)
            .when_nobody_listens(self.unattended)
    }
}

/// Carries a stream in until its queue ends, or until somebody asks to stop. It blocks its thread, also within an async
/// task: call it by [`spawn_blocking`](tokio::task::spawn_blocking) there.
///
/// When it stops or fails, it leaves the queue as a killed process does: consumers that follow stay attached, and the next
/// bridge goes on.
///
/// # Errors
///
/// [`InError`]; the queue keeps what was published in it.
pub fn carry(
    server: &ServerOptions,
    options: &InOptions,
    progress: &Progress,
    stop: &Stop,
) -> Result<Outcome, InError> {
    match apart(|| carry_here(server, options, progress, stop)) {
        Ok(outcome) => outcome,
        Err(error) => Err(InError::Runtime { why: error.to_string() }),
    }
}

fn carry_here(
    server: &ServerOptions,
    options: &InOptions,
    progress: &Progress,
    stop: &Stop,
) -> Result<Outcome, InError> {
    let runtime = runtime().map_err(|error| InError::Runtime { why: error.to_string() })?;
    let name = format!("fanout bridge in {}", options.queue);
    let client = unless_stopped(stop, connect(server, &name, progress));
    let Some(client) = runtime.block_on(client) else { return Ok(Outcome::Stopped) };
    let client = client?;
    let Some(track) = runtime.block_on(unless_stopped(stop, open(&client, options, progress)))
    else {
        return Ok(Outcome::Stopped);
    };
    let inbound = Inbound { runtime, track: track?, options, progress, stop };
    let outcome = match &options.group {
        None => inbound.carry_all(),
        Some(group) => inbound.share(group),
    };
    progress.set_state(State::Ended);
    outcome
}

/// The stream, when there is one.
async fn open(
    client: &async_nats::Client,
    options: &InOptions,
    progress: &Progress,
) -> Result<Track, StreamError> {
    let mut pauses = Pauses::new();
    persist(progress, async || match Track::open(client, &options.stream, false).await {
        Err(Fault::Refused(StreamError::NotFound { .. })) if options.wait_for_stream => {
            pauses.pause().await;
            Err(Fault::Away)
        }
        opened => opened,
    })
    .await
}

struct Inbound<'a> {
    runtime: tokio::runtime::Runtime,
    track: Track,
    options: &'a InOptions,
    progress: &'a Progress,
    stop: &'a Stop,
}

/// How one queue has ended, and where in the stream the next one begins.
struct End {
    outcome: Outcome,
    next: u64,
    /// Whether another one follows in any case.
    goes_on: bool,
}

/// Where one queue begins.
enum Begin {
    /// A new queue, at this message of the stream.
    New(DeliverPolicy),
    /// The queue that a dead producer has left.
    Left(Box<Snapshot>),
}

/// How long a killed process takes to be gone, at most.
const DYING: Duration = Duration::from_secs(2);
/// Why a queue ends that the stream says nothing more of.
const LOST: &str = "the queue on the other host was lost before its producer had closed it";
/// Why a queue ends whose stream has a gap.
const GAP: &str = "the stream has lost messages";

impl Inbound<'_> {
    fn carry_all(&self) -> Result<Outcome, InError> {
        let mut begin = self.begin()?;
        loop {
            let Some(end) = self.carry_one(begin)? else { return Ok(Outcome::Stopped) };
            if !self.options.follow && !end.goes_on {
                return Ok(end.outcome);
            }
            begin = Begin::New(DeliverPolicy::ByStartSequence { start_sequence: end.next });
        }
    }

    /// What is there under the queue's name.
    fn begin(&self) -> Result<Begin, InError> {
        let queue = &self.options.queue;
        loop {
            match Observer::open(queue, READY_TIMEOUT) {
                Ok(observer) => return Ok(Begin::Left(Box::new(observer.snapshot()))),
                Err(OpenError::NotFound { .. }) => {
                    return Ok(Begin::New(self.options.from.policy()));
                }
                // A bridge was killed while it created the queue.
                Err(OpenError::NotReady { .. }) if Segment::is_unfinished(queue) => {
                    self.remove_dead()?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Removes the name that a killed bridge has left.
    fn remove_dead(&self) -> Result<(), InError> {
        match Segment::remove_dead(&self.options.queue) {
            Ok(()) | Err(RemoveError::Open(OpenError::NotFound { .. })) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Carries one queue; `None` if it is time to stop.
    fn carry_one(&self, begin: Begin) -> Result<Option<End>, InError> {
        let mut feed = match begin {
            Begin::New(policy) => Feed::new(Intake::new(&self.track, policy)),
            Begin::Left(left) => match self.go_on(&left)? {
                Some(feed) => feed,
                None => return Ok(None),
            },
        };
        let outcome = self.run(&mut feed);
        if let (Ok(None) | Err(_), Some(sink)) = (&outcome, feed.sink) {
            // The next bridge goes on.
            sink.abandon();
        }
        outcome
    }

    /// Goes on with the queue that is there; `None` if it is time to stop.
    fn go_on(&self, left: &Snapshot) -> Result<Option<Feed<'_>>, InError> {
        let next = Position { identity: left.identity, sequence: left.published };
        let find = persist(self.progress, async || self.track.find(next).await);
        let Some(start) = self.runtime.block_on(unless_stopped(self.stop, find)) else {
            return Ok(None);
        };
        let policy = match start? {
            0 => DeliverPolicy::All,
            start_sequence => DeliverPolicy::ByStartSequence { start_sequence },
        };
        let mut feed = Feed::new(Intake::new(&self.track, policy));
        feed.next = Some(next);
        if !left.closed {
            feed.sink = match self.resume(left)? {
                Some(sink) => Some(sink),
                None => return Ok(None),
            };
            // The bridge before this one may have been killed while the first message waited for its consumers.
            feed.is_new = left.published == left.first;
        }
        Ok(Some(feed))
    }

    /// Takes over the queue that is there. A producer that was killed may take a moment to be gone; `None` if it is time to
    /// stop before.
    fn resume(&self, left: &Snapshot) -> Result<Option<Sink>, InError> {
        let (began, options) = (Instant::now(), self.options.queue_options(None));
        loop {
            match Sink::resume(&self.options.queue, left, &options) {
                Err(ResumeError::Succeed(SucceedError::Living { .. }))
                    if began.elapsed() < DYING =>
                {
                    if self.stop.is_stopped() {
                        return Ok(None);
                    }
                    self.runtime.block_on(async { tokio::time::sleep(Stop::SLICE).await });
                }
                resumed => return Ok(Some(resumed?)),
            }
        }
    }

    /// Takes what the stream delivers, and publishes it.
    fn run(&self, feed: &mut Feed<'_>) -> Result<Option<End>, InError> {
        self.progress.set_state(State::Carrying);
        let mut burst = Vec::new();
        loop {
            let filled = unless_stopped(self.stop, feed.intake.burst(&mut burst, self.progress));
            let Some(filled) = self.runtime.block_on(filled) else { return Ok(None) };
            filled?;
            let mut rest = &burst[..];
            while let Some(first) = rest.first() {
                match self.judge(feed, first)? {
                    Verdict::Skip => rest = &rest[1..],
                    Verdict::End(end) => {
                        // Consumers wait for the end of a queue without a message, too.
                        let is_empty = feed.next.is_none() || feed.is_new;
                        if is_empty && !self.prepare(feed, first)? {
                            return Ok(None);
                        }
                        return self.finish(feed, end);
                    }
                    Verdict::Take => match self.take(feed, rest)? {
                        Some(behind) => rest = behind,
                        None => return Ok(None),
                    },
                }
            }
        }
    }

    /// What is to be done with a delivery.
    fn judge(&self, feed: &mut Feed<'_>, first: &Delivered) -> Result<Verdict, InError> {
        let at = first.envelope.at;
        let Some(next) = feed.next else {
            if !first.envelope.is_end() {
                return Ok(Verdict::Take);
            }
            // The end of a queue whose messages the stream has no more, with other queues behind it.
            return Ok(match first.pending {
                0 => Verdict::End(self.end_of(first)),
                _ => Verdict::Skip,
            });
        };
        let (expected, found) = (Sequence::new(next.sequence), Sequence::new(at.sequence));
        if at.identity != next.identity {
            if feed.found {
                let outcome = Outcome::Aborted { reason: LOST.to_owned() };
                return Ok(Verdict::End(End { outcome, next: first.number, goes_on: false }));
            }
            if first.pending > 0 {
                return Ok(Verdict::Skip);
            }
            let (queue, stream) = (self.options.queue.clone(), self.track.name.clone());
            return Err(InError::OtherQueue { queue, stream });
        }
        feed.found = true;
        if expected.is_before(found) {
            return self.gap(feed, first, next);
        }
        if first.envelope.is_end() {
            return Ok(Verdict::End(self.end_of(first)));
        }
        if expected.since(found) >= first.len {
            self.progress.repeated.add(first.count());
            return Ok(Verdict::Skip);
        }
        Ok(Verdict::Take)
    }

    fn end_of(&self, last: &Delivered) -> End {
        let outcome = match last.envelope.content {
            Content::Aborted => {
                Outcome::Aborted { reason: String::from_utf8_lossy(&last.payload).into_owned() }
            }
            _ => Outcome::Closed,
        };
        End { outcome, next: last.number + 1, goes_on: false }
    }

    fn gap(&self, feed: &Feed<'_>, first: &Delivered, next: Position) -> Result<Verdict, InError> {
        let (expected, found) = (next.sequence, first.envelope.at.sequence);
        if !self.options.lossy {
            let (stream, message) = (self.track.name.clone(), first.number);
            return Err(InError::Gap { stream, expected, found, message });
        }
        self.progress.lost.add(match self.track.is_alone {
            true => first.number.saturating_sub(feed.carried + 1),
            false => 1,
        });
        let outcome = Outcome::Aborted { reason: GAP.to_owned() };
        Ok(Verdict::End(End { outcome, next: first.number, goes_on: true }))
    }

    /// Makes the queue if there is none, and waits for the consumers of a new one. Says whether they are there, and it is not
    /// time to stop.
    fn prepare(&self, feed: &mut Feed<'_>, first: &Delivered) -> Result<bool, InError> {
        let sink = match &mut feed.sink {
            Some(sink) => sink,
            None => {
                (feed.found, feed.is_new) = (true, true);
                feed.sink.insert(self.create(first)?)
            }
        };
        if feed.is_new {
            feed.is_new = !self.wait_for_consumers(sink);
        }
        Ok(!feed.is_new)
    }

    /// Publishes the first deliveries that belong together; says what comes behind them, or `None` if it is time to stop.
    fn take<'d>(
        &self,
        feed: &mut Feed<'_>,
        rest: &'d [Delivered],
    ) -> Result<Option<&'d [Delivered]>, InError> {
        let first = &rest[0];
        let next = *feed.next.get_or_insert(first.envelope.at);
        if !self.prepare(feed, first)? {
            return Ok(None);
        }
        let sink = feed.sink.as_mut().expect("it was just prepared");
        let mut end = first.envelope.at;
        let redelivered = first.envelope.redelivered;
        let together = rest.iter().take_while(|delivered| {
            let envelope = &delivered.envelope;
            let follows =
                envelope.at == end && !envelope.is_end() && envelope.redelivered == redelivered;
            end.sequence = end.sequence.wrapping_add(delivered.len);
            follows
        });
        let (together, behind) = rest.split_at(together.count());
        for delivered in together {
            self.check_type(sink, delivered)?;
        }
        let skipped = first.count_before(next.sequence.wrapping_sub(first.envelope.at.sequence));
        let skipped = skipped.ok_or_else(|| InError::Boundary {
            queue: self.options.queue.clone(),
            stream: self.track.name.clone(),
            message: first.number,
        })?;
        let count: u64 = together.iter().map(Delivered::count).sum();
        let mut messages = together.iter().flat_map(Delivered::messages).skip(skipped).peekable();
        if !self.put(sink, redelivered, &mut messages)? {
            return Ok(None);
        }
        feed.next = Some(Position { sequence: sink.next(), ..next });
        feed.carried = together.last().map_or(feed.carried, |last| last.number);
        let bytes: usize = together.iter().map(|delivered| delivered.payload.len()).sum();
        self.progress.messages.add(count - skipped as u64);
        self.progress.bytes.add(bytes as u64);
        self.progress.packets.add(together.len() as u64);
        // What a bridge has missed that nobody waits for.
        self.progress.lost.add(together.iter().map(|delivered| delivered.envelope.lost).sum());
        Ok(Some(behind))
    }

    fn check_type(&self, sink: &Sink, delivered: &Delivered) -> Result<(), InError> {
        if sink.message_type() == delivered.envelope.message_type.as_ref() {
            return Ok(());
        }
        Err(InError::TypeDiffers {
            queue: self.options.queue.clone(),
            stream: self.track.name.clone(),
            message: delivered.number,
            expected: describe(sink.message_type()),
            found: describe(delivered.envelope.message_type.as_ref()),
        })
    }

    /// A new queue that begins with this delivery.
    fn create(&self, first: &Delivered) -> Result<Sink, InError> {
        let Envelope { at, message_type, .. } = &first.envelope;
        let options = self.options.queue_options(message_type.as_ref());
        let options = options.first(at.sequence).identity(at.identity);
        Ok(Sink::create(&self.options.queue, message_type.as_ref(), &options)?)
    }

    /// Waits for the consumers of a new queue. Says whether they are there, and it is not time to stop.
    fn wait_for_consumers(&self, sink: &mut Sink) -> bool {
        self.progress.set_state(State::WaitingForConsumers);
        while !sink.wait_for_consumers(self.options.wait_for, Stop::SLICE) {
            if self.stop.is_stopped() {
                return false;
            }
            self.turn();
        }
        self.progress.set_state(State::Carrying);
        true
    }

    /// Publishes all these messages; says whether it has, and was not asked to stop.
    fn put<'m>(
        &self,
        sink: &mut Sink,
        redelivered: bool,
        messages: &mut Peekable<impl Iterator<Item = (u16, &'m [u8])>>,
    ) -> Result<bool, InError> {
        while let Some(&(_, message)) = messages.peek() {
            let (len, most) = (message.len(), sink.largest());
            if len > most {
                return Err(InError::TooLarge { sequence: sink.next(), found: len, most });
            }
            if sink.put(redelivered, messages)? > 0 {
                continue;
            }
            while !sink.wait_for_room(len, Stop::SLICE)? {
                if self.stop.is_stopped() {
                    return Ok(false);
                }
                self.progress.set_state(State::QueueFull);
                self.turn();
            }
            self.progress.set_state(State::Carrying);
        }
        Ok(true)
    }

    /// Ends the queue as the other one has ended, and waits until its consumers know. `None` if it is time to stop before:
    /// then the queue keeps its name, for groups that have yet to read it.
    fn finish(&self, feed: &mut Feed<'_>, end: End) -> Result<Option<End>, InError> {
        let reason = match &end.outcome {
            Outcome::Aborted { reason } => Some(reason.as_str()),
            _ => None,
        };
        match &mut feed.sink {
            None if feed.next.is_some() => {
                // The bridge before this one had closed the queue, and was killed before it had removed the name.
                while self.is_held() {
                    if self.stop.is_stopped() {
                        return Ok(None);
                    }
                    self.runtime.block_on(async { tokio::time::sleep(Stop::SLICE).await });
                }
                self.remove_dead()?;
            }
            None => {}
            Some(sink) => {
                sink.end(reason);
                while !sink.drain(Stop::SLICE) {
                    if self.stop.is_stopped() {
                        return Ok(None);
                    }
                    self.turn();
                }
            }
        }
        feed.sink = None;
        Ok(Some(end))
    }

    /// Whether a group holds something of the queue that a dead producer has closed. Others keep it without its name.
    fn is_held(&self) -> bool {
        let Ok(observer) = Observer::open(&self.options.queue, Duration::ZERO) else {
            return false;
        };
        let Snapshot { groups, consumers, .. } = observer.snapshot();
        groups.iter().filter(|group| group.holds).any(|group| {
            // A member that has died may hold what its group has claimed.
            let is_of = |of: &ConsumerKind| matches!(of, ConsumerKind::Member { group: name } if *name == group.name);
            let in_hand = consumers.iter().any(|one| is_of(&one.kind) && one.lag > 0);
            group.lag > 0 || group.holds_end || in_hand
        })
    }

    /// Lets the client answer the server.
    fn turn(&self) {
        self.runtime.block_on(async { tokio::time::sleep(Duration::ZERO).await });
    }
}

/// What is to be done with a delivery.
enum Verdict {
    /// It brings nothing new, or belongs to another queue.
    Skip,
    Take,
    End(End),
}

/// The end of a queue that is written, and what it is written from.
struct Feed<'a> {
    intake: Intake<'a>,
    sink: Option<Sink>,
    /// Whether nothing was published in the queue, and its consumers are still waited for.
    is_new: bool,
    /// What the queue needs next; before the first message of a new queue, nobody knows.
    next: Option<Position>,
    /// Whether a message of the queue has come.
    found: bool,
    /// The stream's number of the last message that was carried.
    carried: u64,
}

impl<'a> Feed<'a> {
    fn new(intake: Intake<'a>) -> Self {
        Self { intake, sink: None, is_new: false, next: None, found: false, carried: 0 }
    }
}
