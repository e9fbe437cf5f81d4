//! The end that only looks.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::sync::yield_now;
use common::{NameError, QueueName, Sequence};
use day2::{Mode, OpenError};
use day3::landing::{Landing, Mark};
use day3::sequencer::Run;
use day3::tap::{intact, torn};
use day3::wait::Side;
use day3::{JoinError, JoinOptions, Policy, Shared, Start, Wait, Yield};

use crate::copying::Copying;
use crate::data::Data;
use crate::memory::{ByteMemory, Segmented};

/// A reader that is registered nowhere, maps everything read-only, and never slows the producer. Once
/// it has caught up, [`received`](Copying::received) + [`lost`](Copying::lost) is the number of messages sent
/// since it began.
///
/// It may copy a message at the moment in which the producer overwrites it: it reads relaxed atomic
/// words, and throws away what it cannot trust. The producer's own writes are ordinary ones, as in
/// every sequence lock over plain data.
pub type Tap<W = Yield> = Copying<TapCursor, W>;

/// A tap's place in a ring of records.
pub type TapCursor = day3::tap::TapCursor<Shared, Trailing>;

/// Lands on the producer's marks.
#[derive(Debug)]
pub struct Trailing(Arc<dyn ByteMemory>);

impl Landing for Trailing {
    fn at_or_after(&self, from: Sequence) -> Option<Mark> {
        self.0.marks().at_or_after(from)
    }
}

impl<W: Wait> Tap<W> {
    /// Opens the ring `name` to look at what goes by.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn open<N>(name: N, start: Start) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        Self::open_with(name, start, &JoinOptions::new())
    }

    /// Opens the ring `name` to look at what goes by. A tap has no label: no list shows it.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn open_with<N>(name: N, start: Start, options: &JoinOptions) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        Self::look(Segmented::look(name, options)?, start, options)
    }

    /// Looks at the ring behind this descriptor, which may be open for reading only.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn from_fd(
        descriptor: OwnedFd,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        Self::look(Segmented::from_fd(descriptor, Mode::Observer, options)?, start, options)
    }

    /// A tap on this ring; errors give it the segment's name.
    fn look(
        memory: Arc<Segmented>,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        let name = memory.segment().name().clone();
        // SAFETY: checked to be a ring of records.
        unsafe { Self::from_memory(memory, start, options) }.map_err(|slow| slow.error(name))
    }

    /// A tap on the ring in this memory.
    ///
    /// # Errors
    ///
    /// [`NoFooting`].
    ///
    /// # Safety
    ///
    /// The memory holds a ring of records.
    pub unsafe fn from_memory(
        memory: Arc<dyn ByteMemory>,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, NoFooting> {
        let shared = Shared::new(memory.clone());
        let cursor = begin(shared.clone(), memory, start, options)?;
        Ok(Self::with_cursor(cursor, shared, Side::Tap))
    }

    /// Joins the ring `name` as a lossy consumer: a tap that is registered, so that `fanout stat` shows it, with its
    /// label, how far it is, and how many messages it has missed. It is woken like any consumer. The writer does not
    /// wait for it.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join<N>(name: N, start: Start, options: &JoinOptions) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        // Also where the options do not say so: it is what this end is.
        let promised = match options.promised() {
            Policy::Block => options.clone().policy(Policy::Lossy),
            _ => options.clone(),
        };
        let memory = Segmented::join(name.clone(), start, &promised)?;
        Self::register(memory, start, options, name)
    }

    /// A lossy consumer of the ring in this memory; see [`Tap::join`].
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    ///
    /// # Safety
    ///
    /// The memory holds a ring of records.
    pub unsafe fn join_memory(
        memory: Arc<dyn ByteMemory>,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        Self::register(memory, start, options, "/fanout-memory".parse()?)
    }

    /// A lossy consumer of this ring of records; errors give it this name.
    fn register(
        memory: Arc<dyn ByteMemory>,
        start: Start,
        options: &JoinOptions,
        name: QueueName,
    ) -> Result<Self, JoinError> {
        let shared = Shared::new(memory.clone());
        let cursor =
            begin(shared.clone(), memory, start, options).map_err(|slow| slow.error(name))?;
        // SAFETY: on this ring.
        let cursor = unsafe { shared.register(cursor, start, options) }?;
        Ok(Self::with_cursor(cursor, shared, Side::Consumer))
    }
}

/// A tap's place in this ring.
fn begin(
    shared: Shared,
    memory: Arc<dyn ByteMemory>,
    start: Start,
    options: &JoinOptions,
) -> Result<TapCursor, NoFooting> {
    let data = Data::of(&*memory);
    let waited = options.join_timeout();
    let started = Instant::now();
    let begin = loop {
        if let Some(mark) = footing(&*memory, data, start) {
            break mark;
        }
        if started.elapsed() >= waited {
            return Err(NoFooting { waited });
        }
        yield_now();
    };
    let (ring, follows) = (memory.ring(), options.follows() && memory.can_be_resumed());
    let cursor = TapCursor::landing(shared, ring, Trailing(memory), begin);
    Ok(cursor.following(follows))
}

/// A tap found no place to begin: the producer was faster, or was stopped while it left a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found no place to begin within {waited:?}: the producer is too fast, or was stopped; try again"
)]
#[non_exhaustive]
pub struct NoFooting {
    /// How long this call looked.
    pub waited: Duration,
}

impl NoFooting {
    fn error(self, name: QueueName) -> JoinError {
        OpenError::NotReady { name, waited: self.waited }.into()
    }
}

/// Where a tap begins, and the number of the message there; `None` if the producer was faster.
fn footing(memory: &dyn ByteMemory, data: Data, start: Start) -> Option<Mark> {
    let (control, ring) = (memory.control(), memory.ring());
    if start == Start::Oldest {
        return memory.marks().at_or_after(intact(control, ring));
    }
    // From the last mark on, message by message, to know the number of the next one.
    let published = control.published();
    let mut mark = memory.marks().at_or_before(published)?;
    while mark.sequence != published {
        let run = Run { first: mark.sequence, len: published.since(mark.sequence) };
        let frame = data.frame(run);
        if run.len > ring.capacity.get() || torn(control, ring, run) > 0 {
            return None;
        }
        let size = frame?.size();
        mark = Mark { sequence: mark.sequence.plus(size), number: mark.number.wrapping_add(1) };
    }
    Some(mark)
}

impl<W: Wait> Tap<W> {
    /// Messages received.
    pub fn received(&self) -> u64 {
        self.cursor.received()
    }

    /// Messages that this tap has not received: the producer had overwritten them, or was about to.
    pub fn lost(&self) -> u64 {
        self.cursor.lost()
    }

    /// The sequence of the next byte that it will look at.
    pub fn next_sequence(&self) -> Sequence {
        self.cursor.next()
    }
}
