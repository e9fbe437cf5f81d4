//! From a queue of this host to a stream.
//!
//! The bridge is the only member of a group of the queue, for which the queue keeps its place also while the bridge does not
//! run. It publishes what the queue lends, and gives back what the stream has acknowledged. Each message says which message
//! it expects to stand before it in the stream, so an acknowledgement speaks for all before it, and no message can be
//! written twice, by a retry or by a second bridge. After any error the stream's last message tells where to go on.

mod shipper;

use std::time::{Duration, Instant};

use common::QueueName;
use day2::{Kind, OpenError};
use day3::inspect::{Observer, Snapshot};
use day3::{Ending, JoinError, RecvError, RecvTimeoutError};
use day4::record_len;

use crate::envelope::hash;
use crate::error::OutError;
use crate::progress::{Progress, State};
use crate::retry::{connect, persist, unless_stopped};
use crate::runtime::{apart, runtime};
use crate::server::ServerOptions;
use crate::source::{
    FixedSource, Lossy, LossyFixed, LossyRecords, LossySource, RecordsSource, Source, join_options,
};
use crate::stop::Stop;
use crate::stream::{Last, StreamOptions, Track};
use shipper::Shipper;

/// What to carry out, and how.
#[derive(Clone, Debug)]
pub struct OutOptions {
    queue: QueueName,
    stream: StreamOptions,
    group: Option<String>,
    pack: Option<usize>,
    lossy: bool,
    follow: bool,
    wait_for_queue: bool,
}

impl OutOptions {
    /// Carries all messages of the queue to the stream, each in a NATS message of its own; waits for the queue.
    pub fn new(queue: QueueName, stream: StreamOptions) -> Self {
        Self {
            queue,
            stream,
            group: None,
            pack: None,
            lossy: false,
            follow: false,
            wait_for_queue: true,
        }
    }

    /// Shares the queue's messages with the other members of this group, instead of carrying all of them.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Puts several messages into one NATS message of at most so many bytes; a longer message goes alone.
    #[must_use]
    pub fn pack(mut self, bytes: usize) -> Self {
        self.pack = Some(bytes);
        self
    }

    /// Lets the queue's producer go on while the bridge is too slow: messages are missed, and counted.
    #[must_use]
    pub fn lossy(mut self, lossy: bool) -> Self {
        self.lossy = lossy;
        self
    }

    /// When the queue has ended, waits for the next one of that name.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Whether to wait for the queue if there is none yet.
    #[must_use]
    pub fn wait_for_queue(mut self, wait: bool) -> Self {
        self.wait_for_queue = wait;
        self
    }

    /// The queue's name.
    pub fn queue(&self) -> &QueueName {
        &self.queue
    }
}

/// How a bridge has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The queue was closed, and all of it was carried.
    Closed,
    /// The producer gave up; what it had sent was carried.
    Aborted {
        /// Why, as it said.
        reason: String,
    },
    /// Somebody asked the bridge to stop.
    Stopped,
}

impl Outcome {
    fn of(ending: Ending) -> Self {
        match ending {
            Ending::Aborted { reason } => Self::Aborted { reason },
            _ => Self::Closed,
        }
    }
}

/// What a bridge has done with what its queue had.
enum Step {
    Shipped,
    /// There was nothing.
    Idle,
    /// There will be nothing more.
    Ended,
    Stopped,
    Failed(OutError),
}

/// How long a bridge looks for another bridge that is just leaving.
const LEAVING: Duration = Duration::from_secs(2);
/// How long a producer may take from the queue's name to the queue.
const CREATING: Duration = Duration::from_secs(2);
/// For how long a stream remembers the ids of messages.
const REMEMBERS: Duration = Duration::from_secs(1);
/// How many bytes of the ring are sent together.
const LOT: usize = 4 << 20;
/// How often the lag is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Carries a queue out until it ends, or until somebody asks to stop. It blocks its thread, also within an async
/// task: call it by [`spawn_blocking`](tokio::task::spawn_blocking) there.
///
/// # Errors
///
/// [`OutError`]; what the stream has not acknowledged stays in the queue.
pub fn carry(
    server: &ServerOptions,
    options: &OutOptions,
    progress: &Progress,
    stop: &Stop,
) -> Result<Outcome, OutError> {
    match apart(|| carry_here(server, options, progress, stop)) {
        Ok(outcome) => outcome,
        Err(error) => Err(OutError::Runtime { why: error.to_string() }),
    }
}

fn carry_here(
    server: &ServerOptions,
    options: &OutOptions,
    progress: &Progress,
    stop: &Stop,
) -> Result<Outcome, OutError> {
    let runtime = runtime().map_err(|error| OutError::Runtime { why: error.to_string() })?;
    let name = format!("fanout bridge out {}", options.queue);
    let client = unless_stopped(stop, connect(server, &name, progress));
    let Some(client) = runtime.block_on(client) else { return Ok(Outcome::Stopped) };
    let client = client?;
    let mut stream = options.stream.clone();
    if options.group.is_none() {
        // Each message names the one before it. Only work that several members share needs to be known again later.
        stream.remembers = Some(REMEMBERS);
    }
    let open = persist(progress, async || Track::open(&client, &stream, true).await);
    let Some(track) = runtime.block_on(unless_stopped(stop, open)) else {
        return Ok(Outcome::Stopped);
    };
    let mut track = track?;
    track.check_keeps(options.lossy)?;
    let bridge = Outbound { runtime, track, options, progress, stop };
    let outcome = bridge.carry_all();
    // What was published last may still be in the client.
    let flush = async { tokio::time::timeout(Stop::SLICE, client.flush()).await };
    let _ = bridge.runtime.block_on(flush);
    progress.set_state(State::Ended);
    outcome
}

struct Outbound<'a> {
    runtime: tokio::runtime::Runtime,
    track: Track,
    options: &'a OutOptions,
    progress: &'a Progress,
    stop: &'a Stop,
}

impl Outbound<'_> {
    fn carry_all(&self) -> Result<Outcome, OutError> {
        // The queue that has ended keeps its name until its other consumers have read it.
        let mut done = None;
        loop {
            let Some(snapshot) = self.wait_for_queue(done)? else { return Ok(Outcome::Stopped) };
            let outcome = match self.carry_one(&snapshot) {
                // It ended just before the bridge had joined.
                Err(OutError::Replaced { .. })
                | Err(OutError::Join(JoinError::Open(OpenError::NotFound { .. }))) => continue,
                outcome => outcome?,
            };
            if !self.options.follow || outcome == Outcome::Stopped {
                return Ok(outcome);
            }
            done = Some(snapshot.identity);
        }
    }

    fn carry_one(&self, snapshot: &Snapshot) -> Result<Outcome, OutError> {
        let group = group_name(self.options, &self.track);
        let queue = &self.options.queue;
        let options = join_options(&self.track.name, self.options.group.is_none());
        match snapshot.kind {
            Kind::Ring if self.options.lossy => self.miss(LossyFixed::join(queue, &options)?),
            _ if self.options.lossy => self.miss(LossyRecords::join(queue, &options)?),
            Kind::Ring => self.carry_from(FixedSource::join(queue, &group, &options)?),
            _ => self.carry_from(RecordsSource::join(queue, &group, &options)?),
        }
    }

    /// Carries what a lossy consumer gets, from where the stream ends: the queue keeps no place for it.
    fn miss<T: Lossy, const FRAMED: bool>(
        &self,
        source: LossySource<T, FRAMED>,
    ) -> Result<Outcome, OutError> {
        let tail = persist(self.progress, async || self.track.tail(FRAMED).await);
        let tail = self.runtime.block_on(unless_stopped(self.stop, tail));
        let Some(tail) = tail.transpose()? else { return Ok(Outcome::Stopped) };
        let is_ours = |last: &Last| last.envelope.source.identity == source.identity();
        let last = tail.last.filter(is_ours);
        self.carry_from(source.behind(last.map(|last| last.source_end)))
    }

    /// The queue, when there is one that is not `done`; `None` if it is time to stop.
    fn wait_for_queue(&self, done: Option<u64>) -> Result<Option<Snapshot>, OutError> {
        self.progress.set_state(State::WaitingForQueue);
        while !self.stop.is_stopped() {
            match Observer::open(&self.options.queue, CREATING).map(|open| open.snapshot()) {
                Ok(snapshot) if Some(snapshot.identity) != done => return Ok(Some(snapshot)),
                Ok(_) => {}
                Err(OpenError::NotFound { .. })
                    if self.options.wait_for_queue || done.is_some() => {}
                Err(error) => return Err(JoinError::from(error).into()),
            }
            self.turn(Stop::SLICE);
        }
        Ok(None)
    }

    /// Lets the client answer the server.
    fn turn(&self, duration: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(duration).await });
    }

    fn carry_from<S: Source>(&self, mut source: S) -> Result<Outcome, OutError> {
        if self.options.group.is_none() && !self.check_alone(&source)? {
            source.abandon();
            return Ok(Outcome::Stopped);
        }
        let shipper = Shipper::new(&self.track, self.options, &source, self.progress);
        let mut shipper = self.runtime.block_on(shipper)?;
        self.progress.set_state(State::Carrying);
        let mut watch = Watch::new(&self.options.queue);
        let mut given_up = false;
        let end = loop {
            match self.step(&mut source, &mut shipper) {
                Step::Shipped => {
                    watch.look(&source, self.progress);
                }
                Step::Idle => {
                    self.turn(Duration::ZERO);
                    // The producer may have sent more before it died, or may have closed the queue.
                    if given_up {
                        break Ending::Aborted { reason: REPLACED.to_owned() };
                    }
                    given_up = watch.look(&source, self.progress) && watch.is_given_up(&source);
                }
                Step::Ended => break source.ending(),
                Step::Stopped => {
                    source.abandon();
                    return Ok(Outcome::Stopped);
                }
                Step::Failed(error) => {
                    source.abandon();
                    return Err(error);
                }
            }
        };
        self.finish(&mut shipper, source, end)
    }

    /// Ships what the queue has now, or waits for it a moment.
    fn step<S: Source>(&self, source: &mut S, shipper: &mut Shipper<'_>) -> Step {
        if self.stop.is_stopped() {
            return Step::Stopped;
        }
        let mut lot = match source.take(LOT, Stop::SLICE) {
            Ok(lot) => lot,
            Err(RecvTimeoutError::TimedOut(_)) => return Step::Idle,
            Err(RecvTimeoutError::End(RecvError::Closed | RecvError::Aborted)) => {
                return Step::Ended;
            }
            Err(RecvTimeoutError::End(error)) => return Step::Failed(error.into()),
        };
        let shipped = self.runtime.block_on(unless_stopped(self.stop, shipper.ship(&mut lot)));
        let why = match shipped {
            Some(Ok(())) => return Step::Shipped,
            Some(Err(error)) => Step::Failed(error),
            None => Step::Stopped,
        };
        // What was not acknowledged goes to the next bridge.
        core::mem::forget(lot);
        why
    }

    /// Tells the stream how the queue has ended.
    fn finish<S: Source>(
        &self,
        shipper: &mut Shipper<'_>,
        source: S,
        end: Ending,
    ) -> Result<Outcome, OutError> {
        let reason = match &end {
            Ending::Aborted { reason } => Some(reason.as_str()),
            _ => None,
        };
        if self.options.group.is_some() {
            // Other hosts may go on.
            return Ok(Outcome::of(end));
        }
        let told = shipper.end(source.next(), reason);
        match self.runtime.block_on(unless_stopped(self.stop, told)) {
            Some(told) => told?,
            None => {
                source.abandon();
                return Ok(Outcome::Stopped);
            }
        }
        source.acknowledge_end();
        Ok(Outcome::of(end))
    }

    /// Another bridge that carries the same queue to the same stream would take messages away from this one. Says whether
    /// there is none, or `false` if it is time to stop.
    fn check_alone(&self, source: &impl Source) -> Result<bool, OutError> {
        let began = Instant::now();
        loop {
            let Some(process) = source.other_member() else { return Ok(true) };
            if self.stop.is_stopped() {
                return Ok(false);
            }
            if began.elapsed() > LEAVING {
                let (queue, stream) = (self.options.queue.clone(), self.track.name.clone());
                return Err(OutError::Busy { queue, stream, process });
            }
            self.turn(Stop::SLICE);
        }
    }
}

/// Why a stream says that its queue was given up, although no producer said so.
const REPLACED: &str = "the producer died, and its queue was removed";

/// Looks at the queue from outside now and then.
struct Watch<'a> {
    queue: &'a QueueName,
    looked: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(queue: &'a QueueName) -> Self {
        Self { queue, looked: None }
    }

    /// Looks how much is to be carried, if it is time; says whether it was.
    fn look(&mut self, source: &impl Source, progress: &Progress) -> bool {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return false;
        }
        self.looked = Some(Instant::now());
        // A ring of records counts bytes, and a ring of fixed messages counts messages: the other number follows from
        // what was carried so far.
        let (lag, carried) = (source.lag(), progress.messages.get().max(1));
        let (messages, bytes) = match source.message_type() {
            Some(of) => (lag, lag.saturating_mul(of.size as u64)),
            None => {
                let average = progress.bytes.get() / carried;
                (lag / record_len(average as usize).max(1) as u64, lag)
            }
        };
        progress.lag_messages.set(messages);
        progress.lag_bytes.set(bytes);
        true
    }

    /// Whether the producer has died, and nobody can go on: the name that a successor would need is gone, or is another
    /// queue's now.
    fn is_given_up(&self, source: &impl Source) -> bool {
        if source.observer().snapshot().producer_lives {
            return false;
        }
        match Observer::open(self.queue, Duration::ZERO) {
            Ok(observer) => observer.snapshot().identity != source.identity(),
            Err(error) => matches!(error, OpenError::NotFound { .. }),
        }
    }
}

/// The group whose place the queue keeps for this bridge. A name of the whole subject may be too long for a queue.
fn group_name(options: &OutOptions, track: &Track) -> String {
    if let Some(group) = &options.group {
        return group.clone();
    }
    let name = format!("bridge {} {}", track.name, track.subject);
    let plain = format!("bridge {}", track.name);
    let is_plain = track.subject == format!("fanout.{}", track.name);
    match is_plain && plain.len() <= day3::control::NAME_BYTES {
        true => plain,
        false => format!("bridge {:016x}", hash(&name)),
    }
}
