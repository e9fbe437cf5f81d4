//! The queue that is carried out, whatever its messages are.

use std::collections::VecDeque;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{QueueName, Sequence};
use day3::inspect::Observer;
use day3::ring::{RawBatch, RawMember, RawTap};
use day3::roster::ConsumerInfo;
use day3::{Ending, JoinError, JoinOptions, Policy, RecvTimeoutError, Start, TryRecvError, Wait};
use day4::reader::{Member, Records};
use day4::record_len;
use day4::tap::Tap;
use day5::Adaptive;

use crate::envelope::MessageType;
use crate::error::OutError;

/// Messages that a ring has lent. They count as read when they are released.
pub(crate) trait Lot {
    /// Whether they have a length each.
    const FRAMED: bool;
    /// The sequence of the first of them.
    fn first(&self) -> u64;
    /// How many there are.
    fn len(&self) -> usize;
    /// Those from this sequence on, each with its kind.
    fn from(&self, sequence: u64) -> impl Iterator<Item = (u16, &[u8])>;
    /// Whether another consumer had them before.
    fn redelivered(&self) -> bool;
    /// The first ones are where they should be.
    fn release_first(&mut self, n: usize);
    /// How many messages of the queue were missed before them.
    fn lost(&self) -> u64 {
        0
    }

    /// How much of the ring a message takes.
    fn step(message: &[u8]) -> u64 {
        if Self::FRAMED { record_len(message.len()) as u64 } else { 1 }
    }
}

impl<W: Wait> Lot for Records<'_, day3::group::MemberCursor<day3::Shared>, W> {
    const FRAMED: bool = true;

    fn first(&self) -> u64 {
        Records::first(self).get()
    }

    fn len(&self) -> usize {
        Records::len(self)
    }

    fn from(&self, sequence: u64) -> impl Iterator<Item = (u16, &[u8])> {
        self.iter_from(Sequence::new(sequence))
    }

    fn redelivered(&self) -> bool {
        Records::redelivered(self)
    }

    fn release_first(&mut self, n: usize) {
        Records::release_first(self, n);
    }
}

impl<W: Wait> Lot for RawBatch<'_, W> {
    const FRAMED: bool = false;

    fn first(&self) -> u64 {
        RawBatch::first(self).get()
    }

    fn len(&self) -> usize {
        RawBatch::len(self)
    }

    fn from(&self, sequence: u64) -> impl Iterator<Item = (u16, &[u8])> {
        let gone = sequence.wrapping_sub(Lot::first(self)) as usize;
        self.iter().skip(gone).map(|message| (0, message))
    }

    fn redelivered(&self) -> bool {
        RawBatch::redelivered(self)
    }

    fn release_first(&mut self, n: usize) {
        RawBatch::release_first(self, n);
    }
}

/// The end of a queue that lends lots.
pub(crate) trait Source {
    /// What it lends.
    type Lot<'a>: Lot
    where
        Self: 'a;

    /// Lends messages that together take at most `bytes` of the ring, or one.
    fn take(&mut self, bytes: usize, timeout: Duration) -> Result<Self::Lot<'_>, RecvTimeoutError>;
    /// What watches the queue.
    fn observer(&self) -> &Observer;
    /// The queue's identity.
    fn identity(&self) -> u64;
    /// What the messages are, unless they are records.
    fn message_type(&self) -> Option<&MessageType>;
    /// How the producer has ended.
    fn ending(&self) -> Ending;
    /// The number of its slot, if it is known.
    fn slot(&self) -> Option<usize>;
    /// Leaves as a process that is killed: what was lent and not released goes to the group's next member.
    fn abandon(self);
    /// The producer need not wait until the stream knows of the end.
    fn acknowledge_end(&self);

    /// Behind the last message of a queue that has ended.
    fn next(&self) -> u64 {
        self.observer().snapshot().published
    }

    /// How much of the ring is still to be carried.
    fn lag(&self) -> u64 {
        let snapshot = self.observer().snapshot();
        let own = snapshot.consumers.iter().find(|consumer| Some(consumer.slot) == self.slot());
        own.map_or(0, |own| own.lag)
    }

    /// The process of another living member of its group.
    fn other_member(&self) -> Option<u32> {
        let consumers = self.observer().snapshot().consumers;
        let own = consumers.iter().find(|consumer| Some(consumer.slot) == self.slot())?;
        let is_other = |other: &&ConsumerInfo| {
            other.slot != own.slot && other.kind == own.kind && other.alive != Some(false)
        };
        consumers.iter().find(is_other).map(|other| other.owner)
    }
}

/// How a bridge joins a queue.
///
/// Its group holds the producer back also while no bridge runs. Where it carries all, it holds the end, too: only the bridge
/// can tell the other hosts.
pub(crate) fn join_options(stream: &str, carries_all: bool) -> JoinOptions {
    let mut label = format!("bridge out {stream}");
    label.truncate(label.floor_char_boundary(day3::control::NAME_BYTES));
    JoinOptions::new().label(&label).hold_when_empty(true).hold_end(carries_all).follow(true)
}

/// A member of a group of a ring of records.
pub(crate) struct RecordsSource {
    member: Member<Adaptive>,
    observer: Observer,
}

impl RecordsSource {
    pub(crate) fn join(
        queue: &QueueName,
        group: &str,
        options: &JoinOptions,
    ) -> Result<Self, OutError> {
        let observer = observe(queue)?;
        let member = Member::join_with(queue.clone(), group, Start::Oldest, options)?;
        check_same(queue, &observer, member.identity())?;
        Ok(Self { member, observer })
    }
}

/// Watches the queue of this name. A bridge does so before it joins: a producer that waits for a consumer may send all it has
/// as soon as there is one, and then close the queue, which has no name any more.
fn observe(queue: &QueueName) -> Result<Observer, OutError> {
    Ok(Observer::open(queue, Duration::ZERO).map_err(JoinError::from)?)
}

/// Fails if the queue that is watched is not the one that was joined.
fn check_same(queue: &QueueName, observer: &Observer, joined: u64) -> Result<(), OutError> {
    match observer.snapshot().identity == joined {
        true => Ok(()),
        // It ended, and another one came, just now.
        false => Err(OutError::Replaced { queue: queue.clone() }),
    }
}

impl Source for RecordsSource {
    type Lot<'a> = Records<'a, day3::group::MemberCursor<day3::Shared>, Adaptive>;

    fn take(&mut self, bytes: usize, timeout: Duration) -> Result<Self::Lot<'_>, RecvTimeoutError> {
        self.member.recv_batch_timeout(bytes, timeout)
    }

    fn observer(&self) -> &Observer {
        &self.observer
    }

    fn identity(&self) -> u64 {
        self.member.identity()
    }

    fn message_type(&self) -> Option<&MessageType> {
        None
    }

    fn ending(&self) -> Ending {
        self.member.ending()
    }

    fn slot(&self) -> Option<usize> {
        Some(self.member.slot())
    }

    fn abandon(self) {
        self.member.abandon();
    }

    fn acknowledge_end(&self) {
        self.member.acknowledge_end();
    }
}

/// A member of a group of a ring of fixed messages.
pub(crate) struct FixedSource {
    member: RawMember<Adaptive>,
    message_type: MessageType,
    observer: Observer,
}

impl FixedSource {
    pub(crate) fn join(
        queue: &QueueName,
        group: &str,
        options: &JoinOptions,
    ) -> Result<Self, OutError> {
        let observer = observe(queue)?;
        let member = RawMember::join(queue.clone(), group, Start::Oldest, options)?;
        check_same(queue, &observer, member.identity())?;
        Ok(Self { message_type: member.messages(), member, observer })
    }
}

impl Source for FixedSource {
    type Lot<'a> = RawBatch<'a, Adaptive>;

    fn take(&mut self, bytes: usize, timeout: Duration) -> Result<Self::Lot<'_>, RecvTimeoutError> {
        let most = (bytes / self.message_type.size).max(1);
        self.member.recv_batch_timeout(most, timeout)
    }

    fn observer(&self) -> &Observer {
        &self.observer
    }

    fn identity(&self) -> u64 {
        self.member.identity()
    }

    fn message_type(&self) -> Option<&MessageType> {
        Some(&self.message_type)
    }

    fn ending(&self) -> Ending {
        self.member.ending()
    }

    fn slot(&self) -> Option<usize> {
        Some(self.member.slot())
    }

    fn abandon(self) {
        self.member.abandon();
    }

    fn acknowledge_end(&self) {
        self.member.acknowledge_end();
    }
}

/// Copies of messages of a queue whose producer waits for nobody.
#[derive(Debug, Default)]
pub(crate) struct Copies<const FRAMED: bool> {
    first: u64,
    messages: VecDeque<(u16, Vec<u8>)>,
    lost: u64,
}

impl<const FRAMED: bool> Lot for Copies<FRAMED> {
    const FRAMED: bool = FRAMED;

    fn first(&self) -> u64 {
        self.first
    }

    fn len(&self) -> usize {
        self.messages.len()
    }

    fn from(&self, sequence: u64) -> impl Iterator<Item = (u16, &[u8])> {
        let mut at = self.first;
        let is_before = move |message: &Vec<u8>| {
            let is_before = Sequence::new(at).is_before(Sequence::new(sequence));
            at = at.wrapping_add(Self::step(message));
            is_before
        };
        let mut is_before = is_before;
        let messages = self.messages.iter().skip_while(move |(_, message)| is_before(message));
        messages.map(|(kind, message)| (*kind, &message[..]))
    }

    fn redelivered(&self) -> bool {
        false
    }

    fn release_first(&mut self, n: usize) {
        let len: u64 = self.messages.drain(..n).map(|(_, message)| Self::step(&message)).sum();
        self.first = self.first.wrapping_add(len);
    }

    fn lost(&self) -> u64 {
        self.lost
    }
}

/// A tap of a ring of either sort.
pub(crate) trait Lossy {
    /// The next message, its kind, and its sequence.
    fn receive(&mut self, timeout: Duration) -> Result<(u64, u16, Vec<u8>), RecvTimeoutError>;
    /// How many messages it has missed.
    fn lost(&self) -> u64;
    /// What the messages are, unless they are records.
    fn message_type(&self) -> Option<&MessageType>;
    fn identity(&self) -> u64;
    fn ending(&self) -> Ending;
}

impl Lossy for Tap<Adaptive> {
    fn receive(&mut self, timeout: Duration) -> Result<(u64, u16, Vec<u8>), RecvTimeoutError> {
        let mut message = Vec::new();
        let kind = match timeout.is_zero() {
            true => self.try_recv_kind(&mut message).map_err(timed_out)?,
            false => self.recv_kind_timeout(&mut message, timeout)?,
        };
        let len = record_len(message.len()) as u64;
        Ok((self.next_sequence().get().wrapping_sub(len), kind, message))
    }

    fn lost(&self) -> u64 {
        Tap::lost(self)
    }

    fn message_type(&self) -> Option<&MessageType> {
        None
    }

    fn identity(&self) -> u64 {
        Tap::identity(self)
    }

    fn ending(&self) -> Ending {
        Tap::ending(self)
    }
}

/// There was nothing at once.
fn timed_out(error: TryRecvError) -> RecvTimeoutError {
    match error {
        TryRecvError::Empty => RecvTimeoutError::TimedOut(Duration::ZERO),
        TryRecvError::End(end) => RecvTimeoutError::End(end),
    }
}

/// A tap of a ring of fixed messages.
pub(crate) struct FixedTap {
    tap: RawTap,
    message_type: MessageType,
}

/// How often a tap of fixed messages looks. It has no way to sleep until the producer rings.
const TAP_LOOKS: Duration = Duration::from_micros(500);

impl Lossy for FixedTap {
    fn receive(&mut self, timeout: Duration) -> Result<(u64, u16, Vec<u8>), RecvTimeoutError> {
        let (began, mut message) = (Instant::now(), Vec::new());
        loop {
            match self.tap.try_recv(&mut message) {
                Ok(()) => return Ok((self.tap.next_sequence().minus(1).get(), 0, message)),
                Err(TryRecvError::Empty) if began.elapsed() < timeout => sleep(TAP_LOOKS),
                Err(error) => return Err(timed_out(error)),
            }
        }
    }

    fn lost(&self) -> u64 {
        self.tap.lost()
    }

    fn message_type(&self) -> Option<&MessageType> {
        Some(&self.message_type)
    }

    fn identity(&self) -> u64 {
        self.tap.identity()
    }

    fn ending(&self) -> Ending {
        self.tap.ending()
    }
}

/// A lossy consumer.
pub(crate) struct LossySource<T, const FRAMED: bool> {
    tap: T,
    observer: Observer,
    /// How many messages it had missed when it was asked last.
    lost: u64,
    /// A message that was received behind a gap.
    held: Option<(u64, u16, Vec<u8>)>,
    /// Messages before this sequence were carried by a bridge before this one. A tap has no place that the queue keeps.
    carried: Option<u64>,
}

/// One of a ring of records.
pub(crate) type LossyRecords = LossySource<Tap<Adaptive>, true>;
/// One of a ring of fixed messages.
pub(crate) type LossyFixed = LossySource<FixedTap, false>;

impl LossyRecords {
    pub(crate) fn join(queue: &QueueName, options: &JoinOptions) -> Result<Self, OutError> {
        let observer = observe(queue)?;
        let options = options.clone().policy(Policy::Lossy);
        Self::of(queue, observer, Tap::join(queue.clone(), Start::Oldest, &options)?)
    }
}

impl LossyFixed {
    pub(crate) fn join(queue: &QueueName, options: &JoinOptions) -> Result<Self, OutError> {
        let observer = observe(queue)?;
        let options = options.clone().policy(Policy::Lossy);
        let tap = RawTap::join(queue.clone(), Start::Oldest, &options)?;
        let message_type = tap.messages();
        Self::of(queue, observer, FixedTap { tap, message_type })
    }
}

impl<T: Lossy, const FRAMED: bool> LossySource<T, FRAMED> {
    fn of(queue: &QueueName, observer: Observer, tap: T) -> Result<Self, OutError> {
        check_same(queue, &observer, tap.identity())?;
        Ok(Self { tap, observer, lost: 0, held: None, carried: None })
    }

    /// Leaves out what comes before this sequence: the stream has it, or it was given up.
    pub(crate) fn behind(self, carried: Option<u64>) -> Self {
        Self { carried, ..self }
    }

    /// The next message that was not carried, its kind, and its sequence.
    fn receive(&mut self, timeout: Duration) -> Result<(u64, u16, Vec<u8>), RecvTimeoutError> {
        loop {
            let received = self.tap.receive(timeout)?;
            let is_old = |carried| Sequence::new(received.0).is_before(Sequence::new(carried));
            if !self.carried.is_some_and(is_old) {
                self.carried = None;
                return Ok(received);
            }
        }
    }
}

impl<T: Lossy, const FRAMED: bool> Source for LossySource<T, FRAMED> {
    type Lot<'a>
        = Copies<FRAMED>
    where
        T: 'a;

    fn take(
        &mut self,
        bytes: usize,
        timeout: Duration,
    ) -> Result<Copies<FRAMED>, RecvTimeoutError> {
        let (first, kind, message) = match self.held.take() {
            Some(held) => held,
            None => self.receive(timeout)?,
        };
        let lost = self.tap.lost();
        let mut copies = Copies { first, lost: lost - self.lost, ..Copies::default() };
        self.lost = lost;
        let mut len = message.len();
        copies.messages.push_back((kind, message));
        while len < bytes {
            let Ok((sequence, kind, message)) = self.receive(Duration::ZERO) else { break };
            if self.tap.lost() != self.lost {
                self.held = Some((sequence, kind, message));
                break;
            }
            len += message.len();
            copies.messages.push_back((kind, message));
        }
        Ok(copies)
    }

    fn observer(&self) -> &Observer {
        &self.observer
    }

    fn identity(&self) -> u64 {
        self.tap.identity()
    }

    fn message_type(&self) -> Option<&MessageType> {
        self.tap.message_type()
    }

    fn ending(&self) -> Ending {
        self.tap.ending()
    }

    fn slot(&self) -> Option<usize> {
        None
    }

    fn abandon(self) {}

    fn acknowledge_end(&self) {}
}
