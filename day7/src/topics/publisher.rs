//! The end that publishes.

use core::fmt;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use common::process::forks;
use common::sync::{AtomicU64, Ordering};
use day3::control::SLOTS;
use day3::{Policy, QueueOptions, TimedOut, wait};
use day4::writer::Writer;
use day4::{SendTimeoutError, TrySendError, record_len};
use day5::Adaptive;

use super::error::{JoinSpaceError, PublishError, TryPublishError};
use super::last::{KeepLast, Keeper};
use super::names::{Pattern, Topic};
use super::space::{Seat, Space, SubscriberInfo, ring_name, table_name};
use super::words;

/// What stands before a message in the ring: its sequence, its number in the ring, the length of its topic; then the
/// topic.
pub(crate) const HEADER: usize = 17;
/// What messages of a publisher's ring are called in its header.
pub(crate) const MESSAGE_TYPE: &str = "topics/message/1";
/// How many topics a publisher remembers. A publisher that uses more forgets all of them, and begins again.
const MOST_REMEMBERED: usize = 1 << 16;

/// How a publisher is created.
#[derive(Clone, Debug)]
pub struct PublisherOptions {
    capacity: u64,
    subscribers: usize,
    keep: Option<KeepLast>,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self { capacity: 1 << 20, subscribers: SLOTS, keep: None }
    }
}

impl PublisherOptions {
    /// A ring of a megabyte for 64 subscribers; no last values are kept.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes the publisher's ring holds.
    #[must_use]
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// How many subscribers the ring has room for.
    #[must_use]
    pub fn subscribers(mut self, most: usize) -> Self {
        self.subscribers = most;
        self
    }

    /// Keeps the last message of each of so many topics, for subscribers that come late. Each publish then costs a
    /// second copy, and a fence.
    #[must_use]
    pub fn keep_last(mut self, keep: KeepLast) -> Self {
        self.keep = Some(keep);
        self
    }
}

/// An end that publishes messages under topics. There may be many in a [`Space`].
///
/// Dropping it tells subscribers that it is done, and removes its ring's name. Those that have joined its ring read the
/// rest. One that has not looked since this publisher was created does not hear it any more. [`finish`](Self::finish)
/// waits until all have joined, and have read everything: call it before a publisher is dropped.
pub struct Publisher {
    writer: Writer<Adaptive>,
    keeper: Option<Keeper>,
    seat: Seat,
    /// What subscribers want, as of this generation.
    patterns: Vec<Pattern>,
    generation: u64,
    wanted: HashMap<Box<str>, bool>,
    /// The subscribers that were there before us and may not have joined yet, and until when we wait for them.
    awaited: Vec<(SubscriberInfo, Option<Instant>)>,
    first: u64,
    sequence: u64,
    unwanted: u64,
    /// How many sequences belong to messages that were not published after all.
    taken_back: u64,
    forks: u64,
    space: Space,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

/// Each publisher of a process has a number.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// How long a call may wait for room.
#[derive(Clone, Copy)]
enum Timeout {
    None,
    Until(Instant),
    ForEver,
}

impl Publisher {
    /// Creates a publisher, and registers it: all subscribers join its ring, now or when they look next.
    ///
    /// # Errors
    ///
    /// [`JoinSpaceError`].
    pub fn create(space: &Space, options: &PublisherOptions) -> Result<Self, JoinSpaceError> {
        let process = u64::from(std::process::id());
        let queue = QueueOptions::new(options.capacity)
            .consumers(options.subscribers)
            .message_type(MESSAGE_TYPE)
            .or_replace();
        let (ring, number, writer) = loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let ring = ring_name(space.name(), process, number);
            match Writer::<Adaptive>::create_with(&ring, &queue) {
                Ok(writer) => break (ring, number, writer),
                // In another container, another process may have our number.
                Err(day4::CreateError::Segment(day2::CreateError::Taken { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let table = options.keep.map(|keep| {
            let name = table_name(&ring);
            let _ = day2::Segment::remove_dead(&name);
            Keeper::create(&name, keep)
        });
        let keeper = table.transpose()?;
        let first = writer.next_sequence().get();
        // The ring is there before the register says so.
        let (seat, before) = space.add_publisher(number, keeper.is_some())?;
        let awaited = before.into_iter().filter_map(|subscriber| match subscriber.policy {
            Policy::Lossy => None,
            Policy::EvictAfter(after) => Some((subscriber, Some(wait::deadline(after)))),
            _ => Some((subscriber, None)),
        });
        Ok(Self {
            awaited: awaited.collect(),
            writer,
            keeper,
            seat,
            patterns: Vec::new(),
            // That of no register: the first look is a change.
            generation: 0,
            wanted: HashMap::new(),
            first,
            sequence: 0,
            unwanted: 0,
            taken_back: 0,
            forks: forks(),
            space: space.clone(),
        })
    }

    /// Publishes a message, waiting for as long as a subscriber that blocks is a lap behind. Says whether anybody wants
    /// it; if not, nothing was copied.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; nothing was published.
    pub fn publish(&mut self, topic: &str, message: &[u8]) -> Result<bool, PublishError> {
        match self.publish_within(topic, message, 0, Timeout::ForEver) {
            Ok(wanted) => Ok(wanted),
            Err(TryPublishError::End(end)) => Err(end),
            Err(TryPublishError::Full) => unreachable!("it waits for ever"),
        }
    }

    /// Publishes a message if there is room for it now, or if nobody wants it.
    ///
    /// # Errors
    ///
    /// [`TryPublishError`]; nothing was published.
    pub fn try_publish(&mut self, topic: &str, message: &[u8]) -> Result<bool, TryPublishError> {
        self.publish_within(topic, message, 0, Timeout::None)
    }

    /// Publishes a message of this kind, waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`TryPublishError`]; it is full if there was no room in time. Nothing was published.
    pub fn publish_timeout(
        &mut self,
        topic: &str,
        message: &[u8],
        kind: u16,
        timeout: Duration,
    ) -> Result<bool, TryPublishError> {
        self.publish_within(topic, message, kind, Timeout::Until(wait::deadline(timeout)))
    }

    fn publish_within(
        &mut self,
        topic: &str,
        message: &[u8],
        kind: u16,
        timeout: Timeout,
    ) -> Result<bool, TryPublishError> {
        let mut wanted = self.wants(topic).map_err(PublishError::Topic)?;
        if wanted {
            // What is not published, because there is no room for it, is not kept either.
            self.copy(topic, message, kind, timeout, true)?;
        } else if self.keeper.is_some() {
            wanted = self.keep_unwanted(topic, message, kind, timeout)?;
        }
        self.unwanted += u64::from(!wanted);
        self.sequence += 1;
        Ok(wanted)
    }

    /// Keeps a message that nobody wants. Says whether somebody came meanwhile who does: then it was copied, too.
    fn keep_unwanted(
        &mut self,
        topic: &str,
        message: &[u8],
        kind: u16,
        timeout: Timeout,
    ) -> Result<bool, TryPublishError> {
        // The table is that of the process which has created it. Where a message is copied, the ring says the same.
        if self.forks != forks() {
            return Err(PublishError::Send(day4::SendError::Forked).into());
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.keep(topic, kind, self.sequence, message);
        }
        words::kept();
        if !self.wants(topic).map_err(PublishError::Topic)? {
            return Ok(false);
        }
        let copied = self.copy(topic, message, kind, timeout, false);
        if copied.is_err() {
            if let Some(keeper) = &mut self.keeper {
                keeper.take_back(topic);
            }
            // Who came may have read it, and takes what has its sequence for the same message.
            (self.sequence, self.taken_back) = (self.sequence + 1, self.taken_back + 1);
        }
        copied.map(|()| true)
    }

    /// Copies a message into the ring; keeps it, too, if it is to be kept.
    fn copy(
        &mut self,
        topic: &str,
        message: &[u8],
        kind: u16,
        timeout: Timeout,
        keeps: bool,
    ) -> Result<(), TryPublishError> {
        let len = HEADER + topic.len() + message.len();
        if !self.awaited.is_empty() && !self.wait_for_joins(len, timeout) {
            return Err(TryPublishError::Full);
        }
        let (sequence, number) = (self.sequence, self.writer.sent());
        let reserved = match timeout {
            Timeout::None => self.writer.try_reserve(len).map_err(|error| match error {
                TrySendError::Full => TryPublishError::Full,
                TrySendError::End(end) => PublishError::Send(end).into(),
            }),
            Timeout::Until(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.writer.reserve_timeout(len, left).map_err(|error| match error {
                    SendTimeoutError::TimedOut(_) => TryPublishError::Full,
                    SendTimeoutError::End(end) => PublishError::Send(end).into(),
                })
            }
            Timeout::ForEver => {
                self.writer.reserve(len).map_err(|end| PublishError::Send(end).into())
            }
        };
        let mut place = reserved?;
        place[..8].copy_from_slice(&sequence.to_ne_bytes());
        place[8..16].copy_from_slice(&number.to_ne_bytes());
        place[16] = topic.len() as u8;
        let (name, rest) = place[HEADER..].split_at_mut(topic.len());
        name.copy_from_slice(topic.as_bytes());
        rest.copy_from_slice(message);
        if let Some(keeper) = self.keeper.as_mut().filter(|_| keeps) {
            // Before it is published: who joins the ring too late for it finds it in the table.
            keeper.keep(topic, kind, sequence, message);
        }
        place.publish_as(len, kind);
        Ok(())
    }

    /// Waits, before anything in the ring is overwritten, for the subscribers that were there before this publisher:
    /// they begin with its first message. Says whether it may go on.
    #[cold]
    fn wait_for_joins(&mut self, len: usize, timeout: Timeout) -> bool {
        let end = self.writer.next_sequence().get().wrapping_add(record_len(len) as u64);
        if end.wrapping_sub(self.first) <= self.writer.capacity() {
            return true;
        }
        loop {
            let now = Instant::now();
            let (space, generation) = (&self.space, self.seat.generation);
            self.awaited.retain(|(subscriber, until)| {
                until.is_none_or(|until| now < until) && space.is_to_join(subscriber, generation)
            });
            if self.awaited.is_empty() {
                return true;
            }
            match timeout {
                Timeout::None => return false,
                Timeout::Until(deadline) if now >= deadline => return false,
                _ => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }

    /// Whether some subscriber wants messages of this topic. If not, they are not copied.
    ///
    /// # Errors
    ///
    /// [`TopicError`](super::TopicError).
    pub fn is_wanted(&mut self, topic: &str) -> Result<bool, super::TopicError> {
        self.wants(topic)
    }

    #[inline]
    fn wants(&mut self, topic: &str) -> Result<bool, super::TopicError> {
        let generation = self.space.generation();
        if generation != self.generation {
            self.look(generation);
        }
        match self.wanted.get(topic) {
            Some(&wanted) => Ok(wanted),
            None => self.match_all(topic),
        }
    }

    /// Somebody has come or gone.
    #[cold]
    fn look(&mut self, generation: u64) {
        self.generation = generation;
        self.wanted.clear();
        let living = self.space.subscribers().into_iter().filter(|subscriber| subscriber.lives);
        self.patterns = living.map(|subscriber| subscriber.pattern).collect();
    }

    #[cold]
    fn match_all(&mut self, topic: &str) -> Result<bool, super::TopicError> {
        let topic = Topic::new(topic)?;
        let wanted = self.patterns.iter().any(|pattern| pattern.matches(topic.as_str()));
        if self.wanted.len() >= MOST_REMEMBERED {
            self.wanted.clear();
        }
        self.wanted.insert(topic.as_str().into(), wanted);
        Ok(wanted)
    }

    /// How many messages were published.
    pub fn published(&self) -> u64 {
        self.sequence - self.taken_back
    }

    /// How many of them nobody wanted: they were not copied.
    pub fn unwanted(&self) -> u64 {
        self.unwanted
    }

    /// Of how many messages the last values do not tell, because there was no room for their topic, or because they were
    /// too long.
    pub fn not_kept(&self) -> u64 {
        self.keeper.as_ref().map_or(0, Keeper::left_out)
    }

    /// The longest message that fits under this topic, in bytes.
    pub fn largest(&self, topic: &str) -> usize {
        self.writer.largest().saturating_sub(HEADER + topic.len())
    }

    /// How many subscribers have joined this publisher's ring.
    pub fn joined(&self) -> usize {
        self.writer.consumers().len()
    }

    /// The name of its ring, which `fanout stat` shows.
    pub fn ring(&self) -> common::QueueName {
        let process = u64::from(std::process::id());
        let all = self.space.publishers();
        let own = all.into_iter().find(|info| info.generation == self.seat.generation);
        own.map_or_else(|| ring_name(self.space.name(), process, 0), |info| info.ring)
    }

    /// Says that nothing more comes, and waits until all subscribers have read everything: also those that were there
    /// before this publisher, and have not joined its ring yet.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] after `timeout`; it can be called again.
    pub fn finish(&mut self, timeout: Duration) -> Result<(), TimedOut> {
        let started = Instant::now();
        self.writer.close();
        let Self { awaited, space, seat, writer, .. } = self;
        if writer.sent() > 0 {
            wait::poll(timeout, || {
                let now = Instant::now();
                awaited.retain(|(subscriber, until)| {
                    until.is_none_or(|until| now < until)
                        && space.is_to_join(subscriber, seat.generation)
                });
                awaited.is_empty()
            })?;
        }
        writer.drain(timeout.saturating_sub(started.elapsed()))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.space.remove_publisher(&self.seat);
    }
}
