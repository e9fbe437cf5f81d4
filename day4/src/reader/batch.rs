//! Batches: several records that are taken, read and given back together.

use core::cell::Cell;
use core::fmt;
use core::ptr::NonNull;

use common::Sequence;
use day3::group::MemberCursor;
use day3::measured::Measured;
use day3::sequencer::{ConsumerCursor, Run};
use day3::{Shared, Wait};

use super::{Receiver, Taken, corrupt};
use crate::data::{Data, Walk};
use crate::error::{Evicted, TryRecvError};
use crate::frame::Frame;

/// What a batch is taken from.
#[derive(Clone, Copy, Debug)]
pub(super) struct TakenRun {
    run: Run,
    /// Bytes of its first frame.
    first: u64,
    /// How much of it belongs to the batch, as far as that is known.
    progress: Progress,
}

/// How far a batch was walked through.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    len: u64,
    count: u64,
    /// Whether what follows does not belong to the batch.
    end: bool,
}

/// Takes a run that begins with at least one record.
///
/// Each header tells where the next one is, and its first read is a cache miss. A broadcast reader therefore
/// takes all that there is, and measures the batch while its messages are read: the headers come with them.
/// A member must claim no more than its batch, so it measures first.
#[inline]
pub(super) fn take_some<K: Measured>(
    cursor: &mut K,
    data: Data,
    bytes: usize,
) -> Result<TakenRun, TryRecvError> {
    let (mut progress, mut first, mut room) = (Progress::default(), 0, 0);
    let run = cursor.take_by(|run| {
        room = run.len;
        first = data.frame(run).map_or(0, Frame::size);
        if first == 0 || K::EXCLUSIVE {
            return if first == 0 { 0 } else { run.len };
        }
        let (len, count) = data.frames(run, bytes as u64);
        progress = Progress { len, count, end: true };
        len
    })?;
    if run.len == 0 {
        Err(corrupt(data, run.first, room).into())
    } else {
        Ok(TakenRun { run, first, progress })
    }
}

/// A message of a batch, and all that is known of it; see [`Records::frames`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered<'a> {
    /// The sequence at which its frame begins.
    pub sequence: Sequence,
    /// What kind of message its sender said it is.
    pub kind: u16,
    /// Whether it had been delivered before: in this queue, to a member of the group that died; or elsewhere, as its sender
    /// [said](crate::WriteBatch::push_redelivered).
    pub redelivered: bool,
    /// The message.
    pub bytes: &'a [u8],
}

/// Messages lent to be read; dropping it gives all their places back at once.
#[must_use = "its messages are given back when it is dropped"]
pub struct Records<'a, K: Measured, W: Wait> {
    receiver: &'a mut Receiver<K, W>,
    run: Run,
    /// Bytes that the batch may take.
    most: u64,
    progress: Cell<Progress>,
}

impl<'a, K: Measured, W: Wait> Records<'a, K, W> {
    #[inline]
    pub(super) fn new(receiver: &'a mut Receiver<K, W>, taken: TakenRun, bytes: usize) -> Self {
        let TakenRun { run, first, progress } = taken;
        Self { receiver, run, most: first.max(bytes as u64), progress: Cell::new(progress) }
    }

    /// The messages in order.
    #[inline]
    pub fn iter(&self) -> RecordsIter<'_, 'a, K, W> {
        RecordsIter(self.batch_iter())
    }

    /// The messages in order, each with its kind.
    #[inline]
    pub fn iter_with_kinds(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let mut iter = self.batch_iter();
        core::iter::from_fn(move || iter.message())
    }

    /// The messages in order, each with all that is known of it.
    #[inline]
    pub fn frames(&self) -> impl Iterator<Item = Delivered<'_>> {
        let mut iter = self.batch_iter();
        let again = self.receiver.cursor.redelivered();
        core::iter::from_fn(move || iter.delivered(again))
    }

    /// The messages from the one on that begins at the sequence `from`, each with its kind.
    ///
    /// # Panics
    ///
    /// If `from` is not within the batch, or just behind it.
    pub fn iter_from(&self, from: Sequence) -> impl Iterator<Item = (u16, &[u8])> {
        let (all, gone) = (self.measured(), from.since(self.run.first));
        assert!(gone <= all.len, "{from} is not one of the {} bytes of this batch", all.len);
        let mut walk = self.receiver.data.walk(Run { first: from, len: all.len - gone });
        core::iter::from_fn(move || {
            let (frame, start) = walk.next()?;
            let taken = Taken { start, frame, sequence: from };
            // SAFETY: released when the batch is dropped, or by `release_first`, which no slice of it outlives.
            Some((frame.kind, unsafe { taken.bytes() }))
        })
    }

    #[inline]
    fn batch_iter(&self) -> BatchIter<'_, 'a, K, W> {
        let walk = self.receiver.data.walk(self.run);
        BatchIter { records: self, walk, gone: Progress::default() }
    }

    /// How far the batch goes. Where no iterator has come to its end yet, this walks the rest.
    #[inline]
    fn measured(&self) -> Progress {
        if !self.progress.get().end {
            self.measure();
        }
        self.progress.get()
    }

    #[cold]
    fn measure(&self) {
        let gone = self.progress.get();
        let rest = Run { first: self.run.first.plus(gone.len), len: self.run.len - gone.len };
        let mut iter = BatchIter { records: self, walk: self.receiver.data.walk(rest), gone };
        while iter.next().is_some() {}
    }

    /// How many messages: at least one, until they are [released](Records::release_first).
    pub fn len(&self) -> usize {
        self.measured().count as usize
    }

    /// Whether all of them have been released.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives the places of the first `n` messages back, so that the producer may write there, and keeps
    /// the others.
    ///
    /// # Panics
    ///
    /// If it has fewer.
    pub fn release_first(&mut self, n: usize) {
        let all = self.measured();
        let (n, count) = (n as u64, all.count);
        assert!(n <= count, "{n} of {count} messages were to be released");
        let run = Run { first: self.run.first, len: all.len };
        let mut walk = self.receiver.data.walk(run);
        let sizes = (0..n).filter_map(|_| walk.next()).map(|(frame, _)| frame.size());
        let len = sizes.sum();
        self.receiver.waiter.changed(self.receiver.cursor.release_first(len));
        self.run = Run { first: self.run.first.plus(len), len: self.run.len - len };
        self.most = self.most.saturating_sub(len);
        self.progress.set(Progress { len: all.len - len, count: count - n, end: true });
    }

    /// The sequence at which the first frame begins.
    pub fn first(&self) -> Sequence {
        self.run.first
    }

    /// Ends the batch, as dropping it does, and says whether what was read of it can be trusted.
    ///
    /// # Errors
    ///
    /// [`Evicted`]: the consumer was evicted by force while it had borrowed, and the producer did not wait for it.
    #[inline]
    pub fn finish(self) -> Result<(), Evicted> {
        self.receiver.confirm()
    }
}

impl<W: Wait> Records<'_, MemberCursor<Shared>, W> {
    /// Whether its messages had been claimed before by a member that died. Of each message,
    /// [`frames`](Records::frames) also tells what its sender said.
    pub fn redelivered(&self) -> bool {
        self.receiver.redelivered()
    }
}

impl<K: Measured, W: Wait> fmt::Debug for Records<'_, K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("run", &self.run).finish_non_exhaustive()
    }
}

impl<W: Wait> Records<'_, ConsumerCursor<Shared>, W> {
    /// Gives the batch back unread: its messages come again with the next call.
    ///
    /// A member of a group cannot do this: what it has claimed goes to no other.
    pub fn give_back(self) {
        // Nothing of it is kept when it is dropped.
        self.progress.set(Progress { len: 0, count: 0, end: true });
    }
}

impl<'b, 'a, K: Measured, W: Wait> IntoIterator for &'b Records<'a, K, W> {
    type Item = &'b [u8];
    type IntoIter = RecordsIter<'b, 'a, K, W>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The messages of a batch in order; see [`Records::iter`].
pub struct RecordsIter<'b, 'a, K: Measured, W: Wait>(BatchIter<'b, 'a, K, W>);

impl<'b, K: Measured, W: Wait> Iterator for RecordsIter<'b, '_, K, W> {
    type Item = &'b [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'b [u8]> {
        self.0.message().map(|(_, message)| message)
    }
}

impl<K: Measured, W: Wait> fmt::Debug for RecordsIter<'_, '_, K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordsIter").field("gone", &self.0.gone).finish_non_exhaustive()
    }
}

/// Goes through a batch, and remembers how far it came.
struct BatchIter<'b, 'a, K: Measured, W: Wait> {
    records: &'b Records<'a, K, W>,
    walk: Walk,
    gone: Progress,
}

impl<'b, K: Measured, W: Wait> BatchIter<'b, '_, K, W> {
    /// The next message, and its kind.
    #[inline(always)]
    fn message(&mut self) -> Option<(u16, &'b [u8])> {
        let (frame, start) = self.next()?;
        let taken = Taken { start, frame, sequence: self.records.run.first };
        // SAFETY: released when the batch is dropped, which no slice of it outlives.
        Some((frame.kind, unsafe { taken.bytes() }))
    }

    /// The next message, and all that is known of it; `again` says that this queue has delivered the batch before.
    #[inline(always)]
    fn delivered(&mut self, again: bool) -> Option<Delivered<'b>> {
        let sequence = self.records.run.first.plus(self.gone.len);
        let (frame, start) = self.next()?;
        let taken = Taken { start, frame, sequence };
        // SAFETY: released when the batch is dropped, which no slice of it outlives.
        let bytes = unsafe { taken.bytes() };
        let redelivered = frame.is_redelivered() || again;
        Some(Delivered { sequence, kind: frame.kind, redelivered, bytes })
    }

    #[inline(always)]
    fn next(&mut self) -> Option<(Frame, NonNull<u8>)> {
        // Checked again where it is read again: a producer that means harm may have written.
        match self.walk.next() {
            Some(next) if self.gone.len + next.0.size() <= self.records.most => {
                self.gone.len += next.0.size();
                self.gone.count += 1;
                Some(next)
            }
            _ => {
                self.gone.end = true;
                None
            }
        }
    }
}

impl<K: Measured, W: Wait> Drop for BatchIter<'_, '_, K, W> {
    #[inline]
    fn drop(&mut self) {
        if self.gone.len >= self.records.progress.get().len {
            self.records.progress.set(self.gone);
        }
    }
}

impl<K: Measured, W: Wait> Drop for Records<'_, K, W> {
    #[inline]
    fn drop(&mut self) {
        let len = self.measured().len;
        self.receiver.cursor.truncate(len);
        self.receiver.release();
    }
}
