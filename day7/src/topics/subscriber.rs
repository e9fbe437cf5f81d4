//! The end that subscribes.

use core::fmt;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use common::process::Origin;
use day2::{LeaseError, LockError, OpenError};
use day3::outlook::Outlook;
use day3::{JoinError, JoinOptions, Policy, Start, wait};
use day4::TryRecvError;
use day4::evictable::Evictable;
use day4::reader::Reader;
use day4::tap::Tap;
use day5::Adaptive;
use nix::errno::Errno;

use crate::selector::{Key, Selector, SelectorOptions};

use super::error::{JoinSpaceError, RecvError, RecvTimeoutError};
use super::last::{Last, Table};
use super::names::Pattern;
use super::publisher::{HEADER, MESSAGE_TYPE};
use super::space::{PublisherInfo, Seat, Space, table_name};
use super::words;

/// How many messages that nobody here wants a subscriber skips in one publisher's turn.
const MOST_SKIPPED: usize = 64;
/// How many turns a call gives each publisher whose messages nobody here wants: more than the default ring has of them.
const MOST_PASSES: usize = 512;
/// The shortest pause between two looks of a lossy subscriber.
const SHORTEST_PAUSE: Duration = Duration::from_micros(20);
/// The longest pause between two looks of a lossy subscriber, whose rings no selector watches.
const LONGEST_PAUSE: Duration = Duration::from_millis(1);
/// How often such a subscriber looks again at once.
const LOOKS: u32 = 64;
/// How long a subscriber sleeps before it looks whether a publisher has come. Those that it knows wake it.
const NEWCOMERS: Duration = Duration::from_millis(5);
/// A turn of the selector's is only a reason to look: this subscriber takes turns itself, message by message.
const QUANTUM: u64 = 1 << 40;

/// How a subscriber subscribes.
#[derive(Clone, Debug, Default)]
pub struct SubscribeOptions {
    policy: Policy,
    with_last: bool,
    label: String,
}

impl SubscribeOptions {
    /// Publishers wait for this subscriber; it gets what is published from now on.
    pub fn new() -> Self {
        Self::default()
    }

    /// What publishers are to do when this subscriber lags.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Begins with the last message of each topic, as far as publishers [keep](super::PublisherOptions::keep_last) them.
    #[must_use]
    pub fn with_last(mut self) -> Self {
        self.with_last = true;
        self
    }

    /// A text that tells the operator who this is.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        self.label = label.to_owned();
        self
    }
}

/// A message that was published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Its topic.
    pub topic: String,
    /// The message.
    pub payload: Vec<u8>,
    /// The kind that its publisher has given it; 0 unless it has said otherwise.
    pub kind: u16,
    /// The process of its publisher.
    pub process: u32,
    /// Which publisher it is from: no other in this space has this number.
    pub publisher: u64,
    /// Its place among this publisher's messages, wanted or not.
    pub sequence: u64,
    /// How many messages of this publisher, of whatever topic, this subscriber has missed since the last that it got.
    pub missed: u64,
    /// Whether it was published before this subscriber came: it is the last message of its topic.
    pub is_last: bool,
}

/// Why nothing more comes from a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Departed {
    /// It is done, and all of its messages were read.
    Closed,
    /// It has died, and all of its messages were read.
    Died,
    /// It has evicted this subscriber, which had kept it waiting for longer than promised, or was told to by an operator.
    Evicted,
    /// Its ring cannot be read: what is said why.
    Broken(String),
}

/// What a look at publishers has found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Message,
    Nothing,
    /// Messages that nobody here wants. There may be more behind them.
    Unwanted,
}

/// A publisher from which nothing more comes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Departure {
    /// Its process.
    pub process: u32,
    /// Which publisher it was: as in [`Published::publisher`].
    pub publisher: u64,
    /// Why.
    pub why: Departed,
}

/// The end of a publisher's ring that the policy asks for.
enum End {
    Reader(Reader<Adaptive>),
    Tap(Tap<Adaptive>),
    Evictable(Evictable<Adaptive>),
}

impl End {
    /// What a selector watches. A lossy end has nothing of that kind.
    fn outlook(&self) -> Option<Outlook> {
        match self {
            Self::Reader(reader) => Some(reader.outlook()),
            Self::Evictable(end) => Some(end.outlook()),
            Self::Tap(_) => None,
        }
    }
}

/// A publisher whose ring we have joined.
struct Source {
    info: PublisherInfo,
    end: End,
    /// What the selector knows it by.
    key: Option<Key>,
    seen: Seen,
}

/// What this subscriber has seen of a publisher.
struct Seen {
    /// The number of the next message in the ring; unknown before the first, if we came in the middle.
    expected: Option<u64>,
    /// Missed, and not told yet.
    missed: u64,
    /// The last messages that were delivered from the table. What the ring holds up to there has been seen.
    lasts: HashMap<Box<str>, u64>,
}

/// An end that receives what is published under topics that match its patterns.
///
/// It takes turns between publishers. Dropping it ends the subscription.
pub struct Subscriber {
    /// Where it sleeps while no ring has anything.
    selector: Selector,
    sources: Vec<Source>,
    /// Whose turn is next.
    turn: usize,
    lasts: VecDeque<Published>,
    departures: Vec<Departure>,
    /// Publishers that need not be looked at again.
    known: HashSet<u64>,
    /// Publishers whose rings could not be joined yet, and when to try again. Each was told once.
    late: HashSet<u64>,
    look_again: Option<Instant>,
    seats: Vec<Seat>,
    patterns: Vec<Pattern>,
    options: SubscribeOptions,
    /// What the register was when we looked last.
    generation: u64,
    buffer: Vec<u8>,
    origin: Origin,
    space: Space,
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("patterns", &self.patterns).finish_non_exhaustive()
    }
}

impl Subscriber {
    /// Subscribes to the topics that match a pattern. What is published after this returns will be heard.
    ///
    /// # Errors
    ///
    /// [`JoinSpaceError`].
    pub fn subscribe(
        space: &Space,
        pattern: &str,
        options: &SubscribeOptions,
    ) -> Result<Self, JoinSpaceError> {
        Self::subscribe_all(space, &[pattern], options)
    }

    /// Subscribes to the topics that match at least one of these patterns.
    ///
    /// # Errors
    ///
    /// [`JoinSpaceError`].
    pub fn subscribe_all(
        space: &Space,
        patterns: &[impl AsRef<str>],
        options: &SubscribeOptions,
    ) -> Result<Self, JoinSpaceError> {
        let patterns = patterns.iter().map(|pattern| Pattern::new(pattern.as_ref()));
        let patterns = patterns.collect::<Result<Vec<_>, _>>()?;
        if patterns.is_empty() {
            return Err(JoinSpaceError::NoPattern);
        }
        let mut this = Self {
            selector: Selector::with_options(&SelectorOptions::new().seats(1).quantum(QUANTUM))?,
            sources: Vec::new(),
            turn: 0,
            lasts: VecDeque::new(),
            departures: Vec::new(),
            known: HashSet::new(),
            late: HashSet::new(),
            look_again: None,
            seats: Vec::new(),
            patterns,
            options: options.clone(),
            generation: 0,
            buffer: Vec::new(),
            origin: Origin::here(),
            space: space.clone(),
        };
        // Where this fails, what was registered is given back when `this` is dropped.
        for pattern in &this.patterns {
            this.seats.push(space.add_pattern(pattern, options.policy)?);
        }
        this.look()?;
        Ok(this)
    }

    /// The patterns.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// How many publishers this subscriber listens to.
    pub fn publishers(&self) -> usize {
        self.sources.len()
    }

    /// The publishers from which nothing more comes, since the last call.
    pub fn take_departures(&mut self) -> Vec<Departure> {
        core::mem::take(&mut self.departures)
    }

    /// The next message, if there is one now.
    ///
    /// # Errors
    ///
    /// [`RecvError`]; the subscriber can be used on.
    pub fn try_recv(&mut self) -> Result<Option<Published>, RecvError> {
        let mut published = Published::default();
        Ok(self.try_recv_into(&mut published)?.then_some(published))
    }

    /// As [`try_recv`](Self::try_recv), into a message that was used before: nothing is allocated if it has room. Says
    /// whether there was one.
    ///
    /// # Errors
    ///
    /// [`RecvError`]; the subscriber can be used on.
    pub fn try_recv_into(&mut self, into: &mut Published) -> Result<bool, RecvError> {
        Ok(self.search(into)? == Found::Message)
    }

    /// Looks for the next message behind those that nobody here wants.
    fn search(&mut self, into: &mut Published) -> Result<Found, RecvError> {
        let mut found = Found::Unwanted;
        for _ in 0..MOST_PASSES {
            if found != Found::Unwanted {
                break;
            }
            found = self.pass(into)?;
        }
        Ok(found)
    }

    /// Gives each publisher a turn, until one has a message.
    fn pass(&mut self, into: &mut Published) -> Result<Found, RecvError> {
        if !self.origin.is_here() {
            return Err(RecvError::Forked);
        }
        if self.space.generation() != self.generation
            || self.look_again.is_some_and(|time| Instant::now() >= time)
        {
            self.look()?;
        }
        if let Some(last) = self.lasts.pop_front() {
            *into = last;
            return Ok(Found::Message);
        }
        let mut found = Found::Nothing;
        for _ in 0..self.sources.len() {
            // A publisher that has gone since has made the list shorter.
            if self.sources.is_empty() {
                break;
            }
            let at = self.turn % self.sources.len();
            self.turn = at + 1;
            let Self { sources, patterns, buffer, .. } = self;
            match sources[at].next(patterns, buffer, into) {
                Ok(Found::Message) => return Ok(Found::Message),
                Ok(Found::Nothing) => {}
                Ok(Found::Unwanted) => found = Found::Unwanted,
                Err(why) => self.part(at, why)?,
            }
        }
        Ok(found)
    }

    /// The next message, waiting for it.
    ///
    /// # Errors
    ///
    /// [`RecvError`]; the subscriber can be used on.
    pub fn recv(&mut self) -> Result<Published, RecvError> {
        loop {
            if let Some(published) = self.recv_by(None)? {
                return Ok(published);
            }
        }
    }

    /// The next message, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`]; the subscriber can be used on.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Published, RecvTimeoutError> {
        self.recv_by(wait::end_of(timeout))?.ok_or(RecvTimeoutError::TimedOut(timeout))
    }

    fn recv_by(&mut self, deadline: Option<Instant>) -> Result<Option<Published>, RecvError> {
        let (mut looks, mut pause) = (0, SHORTEST_PAUSE);
        loop {
            let mut published = Published::default();
            let found = self.search(&mut published)?;
            if found == Found::Message {
                return Ok(Some(published));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            if found == Found::Unwanted {
                (looks, pause) = (0, SHORTEST_PAUSE);
                continue;
            }
            if self.sources.iter().all(|source| source.key.is_some()) {
                let left =
                    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                let _ = self.selector.wait_timeout(left.unwrap_or(NEWCOMERS).min(NEWCOMERS));
                continue;
            }
            looks += 1;
            if looks < LOOKS {
                std::thread::yield_now();
            } else {
                std::thread::sleep(pause);
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
        }
    }

    /// Somebody has come or gone: joins the rings of publishers that have come, and says so.
    #[cold]
    fn look(&mut self) -> Result<(), JoinSpaceError> {
        // All that came up to this generation are in the register that we read after it.
        let generation = self.space.generation();
        words::subscribed();
        let publishers = self.space.publishers();
        self.known.retain(|known| publishers.iter().any(|info| info.generation == *known));
        self.late.retain(|late| publishers.iter().any(|info| info.generation == *late));
        let (mut outcome, mut joined) = (Ok(()), generation);
        for info in publishers {
            let publisher = info.generation;
            if !self.known.insert(publisher) {
                continue;
            }
            let Err(error) = self.join(info) else { continue };
            if may_pass(&error) {
                // It keeps what it publishes until we have joined, as for any that has not looked yet.
                self.known.remove(&publisher);
                joined = joined.min(publisher.saturating_sub(1));
                if !self.late.insert(publisher) {
                    continue;
                }
            }
            outcome = Err(error);
        }
        for seat in &self.seats {
            self.space.has_joined(seat, joined);
        }
        self.generation = generation;
        self.look_again = (joined != generation).then(|| Instant::now() + NEWCOMERS);
        outcome
    }

    fn join(&mut self, info: PublisherInfo) -> Result<(), JoinSpaceError> {
        // A publisher that came after us begins for us with its first message. One that came between two of our
        // patterns may not have copied what the second wants: it is as one that was there before.
        let last = self.seats.last().map_or(0, |seat| seat.generation);
        let is_later = info.generation > last;
        if !info.lives && !is_later {
            return Ok(());
        }
        let start = if is_later { Start::Oldest } else { Start::Latest };
        let options = JoinOptions::new()
            .label(&self.options.label)
            .message_type(MESSAGE_TYPE)
            .policy(self.options.policy);
        let end = match self.options.policy {
            Policy::Lossy => Tap::join(&info.ring, start, &options).map(End::Tap),
            Policy::EvictAfter(_) => {
                Evictable::join(&info.ring, start, &options).map(End::Evictable)
            }
            _ => Reader::join_with(&info.ring, start, &options).map(End::Reader),
        };
        let end = match end {
            Ok(end) => end,
            // It has gone meanwhile.
            Err(JoinError::Open(OpenError::NotFound { .. })) => return Ok(()),
            Err(error) => {
                return Err(JoinSpaceError::Join { ring: info.ring, error: Box::new(error) });
            }
        };
        let expected = is_later.then_some(0);
        // Rings that have ended and are not read to their end may be more than a selector takes.
        let key = end.outlook().and_then(|outlook| self.selector.add(outlook).ok());
        let seen = Seen { expected, missed: 0, lasts: HashMap::new() };
        let mut source = Source { info, end, key, seen };
        if self.options.with_last && !is_later && source.info.keeps_last {
            self.take_lasts(&mut source);
        }
        self.sources.push(source);
        Ok(())
    }

    /// Reads the last values of a publisher whose ring we have joined. What it publishes meanwhile may be in both.
    fn take_lasts(&mut self, source: &mut Source) {
        // A publisher that has gone meanwhile has no table any more.
        let Ok(table) = Table::open(&table_name(&source.info.ring)) else { return };
        for Last { sequence, kind, topic, payload } in table.read() {
            if !self.patterns.iter().any(|pattern| pattern.matches(&topic)) {
                continue;
            }
            self.lasts.push_back(Published {
                topic: topic.to_string(),
                payload,
                kind,
                process: source.info.process,
                publisher: source.info.generation,
                sequence,
                missed: 0,
                is_last: true,
            });
            source.seen.lasts.insert(topic, sequence);
        }
    }

    /// Nothing more comes from a publisher.
    #[cold]
    fn part(&mut self, at: usize, why: Departed) -> Result<(), RecvError> {
        let Source { info, key, .. } = self.sources.remove(at);
        if let Some(key) = key {
            self.selector.remove(key);
        }
        // The next one has taken its place.
        self.turn = at;
        if why == Departed::Died {
            // Without the lock, somebody else does it.
            let _ = self.space.reap(&info);
        }
        let (process, publisher) = (info.process, info.generation);
        self.departures.push(Departure { process, publisher, why });
        Ok(())
    }
}

impl Source {
    /// The next message that matches, unless others are to have their turn first.
    fn next(
        &mut self,
        patterns: &[Pattern],
        buffer: &mut Vec<u8>,
        into: &mut Published,
    ) -> Result<Found, Departed> {
        for _ in 0..MOST_SKIPPED {
            let Self { end, seen, .. } = self;
            let taken = match end {
                End::Reader(reader) => reader.try_recv().map(|record| {
                    let kind = record.kind();
                    seen.take(patterns, kind, &record, into)
                }),
                End::Tap(tap) => {
                    let kind = tap.try_recv_kind(buffer);
                    if kind.is_ok() && seen.expected.is_none() {
                        seen.missed = tap.lost();
                    }
                    kind.map(|kind| seen.take(patterns, kind, buffer, into))
                }
                End::Evictable(end) => {
                    let kind = end.try_recv_kind(buffer);
                    kind.map(|kind| seen.take(patterns, kind, buffer, into))
                }
            };
            match taken {
                Ok(true) => {
                    into.process = self.info.process;
                    into.publisher = self.info.generation;
                    return Ok(Found::Message);
                }
                Ok(false) => {}
                Err(TryRecvError::Empty) => return Ok(Found::Nothing),
                Err(TryRecvError::End(end)) => return Err(departed(end)),
            }
        }
        Ok(Found::Unwanted)
    }
}

/// Whether a ring that could not be joined may be joined later: what was short was the process's, or the kernel's.
fn may_pass(error: &JoinSpaceError) -> bool {
    let JoinSpaceError::Join { error, .. } = error else { return false };
    let errno = match &**error {
        JoinError::Lock(LockError::Busy { .. }) => return true,
        JoinError::Open(OpenError::System { errno, .. })
        | JoinError::Lock(LockError::System { errno, .. })
        | JoinError::Lease(LeaseError::System { errno, .. }) => *errno,
        _ => return false,
    };
    let short = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOLCK];
    short.contains(&Errno::from_raw(errno.raw_os_error()))
}

fn departed(end: day4::RecvError) -> Departed {
    match end {
        day4::RecvError::Closed => Departed::Closed,
        // A publisher whose thread has panicked.
        day4::RecvError::ProducerDied | day4::RecvError::Aborted => Departed::Died,
        day4::RecvError::Evicted => Departed::Evicted,
        other => Departed::Broken(other.to_string()),
    }
}

impl Seen {
    /// Takes a message of a ring apart. Says whether it is wanted here.
    fn take(
        &mut self,
        patterns: &[Pattern],
        kind: u16,
        record: &[u8],
        into: &mut Published,
    ) -> bool {
        let Some(message) = parse(record) else { return false };
        if let Some(expected) = self.expected {
            // Others' rings may say anything.
            self.missed = self.missed.saturating_add(message.number.saturating_sub(expected));
        }
        self.expected = Some(message.number.wrapping_add(1));
        if !patterns.iter().any(|pattern| pattern.matches(message.topic)) {
            return false;
        }
        if self.lasts.get(message.topic).is_some_and(|&seen| message.sequence <= seen) {
            return false;
        }
        into.topic.clear();
        into.topic.push_str(message.topic);
        into.payload.clear();
        into.payload.extend_from_slice(message.payload);
        (into.kind, into.sequence, into.is_last) = (kind, message.sequence, false);
        into.missed = core::mem::take(&mut self.missed);
        true
    }
}

/// What lies in a ring.
struct Message<'a> {
    sequence: u64,
    number: u64,
    topic: &'a str,
    payload: &'a [u8],
}

/// `None` if it is no message of a publisher's.
fn parse(record: &[u8]) -> Option<Message<'_>> {
    let (sequence, rest) = record.split_first_chunk::<8>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (&len, rest) = rest.split_first()?;
    let (topic, payload) = rest.split_at_checked(len.into())?;
    debug_assert_eq!(record.len(), HEADER + topic.len() + payload.len());
    Some(Message {
        sequence: u64::from_ne_bytes(*sequence),
        number: u64::from_ne_bytes(*number),
        topic: core::str::from_utf8(topic).ok()?,
        payload,
    })
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        for seat in &self.seats {
            self.space.remove_pattern(seat);
        }
    }
}
