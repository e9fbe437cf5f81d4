//! The ends that copy: the writer may overwrite what they read.

use core::fmt;
use std::time::Duration;

use common::sync::Ordering;
use day3::measured::Measured;
use day3::sequencer::{ConsumerCursor, Cursor, Run, Unavailable};
use day3::wait::{Side, Waiter};
use day3::{Ending, Shared, Wait, Yield};

use crate::data::Data;
use crate::error::{RecvError, RecvTimeoutError, TryRecvError};
use crate::frame::Frame;
use crate::reader::corrupt;
use crate::tap::TapCursor;

mod sealed {
    pub trait Sealed {}
}

/// A cursor of an end that copies: what the writer may overwrite is copied first, and confirmed after that.
pub trait CopyingCursor: sealed::Sealed + fmt::Debug {
    /// What an end with this cursor is called.
    const NAME: &'static str;

    /// All that there is to copy: one sequence or more.
    ///
    /// # Errors
    ///
    /// Why there is nothing to copy: [`Unavailable`].
    fn look(&mut self) -> Result<Run, Unavailable>;

    /// Says whether the copy of one message, which took this run, can be trusted.
    ///
    /// # Errors
    ///
    /// Why no copy can: [`Unavailable`].
    fn confirm_one(&mut self, run: Run) -> Result<bool, Unavailable>;

    /// Says whether it can be trusted that no message begins where this run, which is all that there is, begins.
    ///
    /// # Errors
    ///
    /// Why nothing can: [`Unavailable`].
    fn confirm_none(&mut self, all: Run) -> Result<bool, Unavailable>;

    /// Releases the message that was copied last, where the writer waits for that. Says whether the writer slept, and
    /// was woken.
    fn release(&mut self) -> bool;
}

impl sealed::Sealed for TapCursor {}

impl CopyingCursor for TapCursor {
    const NAME: &'static str = "Tap";

    fn look(&mut self) -> Result<Run, Unavailable> {
        self.take(u64::MAX)
    }

    fn confirm_one(&mut self, run: Run) -> Result<bool, Unavailable> {
        Ok(self.confirm_one(run))
    }

    fn confirm_none(&mut self, all: Run) -> Result<bool, Unavailable> {
        Ok(self.torn(all) == 0 || self.confirm_one(all))
    }

    fn release(&mut self) -> bool {
        false
    }
}

impl sealed::Sealed for ConsumerCursor<Shared> {}

impl CopyingCursor for ConsumerCursor<Shared> {
    const NAME: &'static str = "Evictable";

    fn look(&mut self) -> Result<Run, Unavailable> {
        self.take(u64::MAX)
    }

    fn confirm_one(&mut self, run: Run) -> Result<bool, Unavailable> {
        self.truncate(run.len);
        self.confirm().map(|()| true)
    }

    fn confirm_none(&mut self, _: Run) -> Result<bool, Unavailable> {
        self.give_back();
        self.confirm().map(|()| true)
    }

    fn release(&mut self) -> bool {
        Cursor::release(self)
    }
}

/// An end that lends nothing, because the writer may overwrite what it reads: it copies a message, and then asks
/// whether the copy can be trusted. Its cursor `K` says how it comes by its records.
///
/// Use it as [`Tap`](crate::tap::Tap) or [`Evictable`](crate::evictable::Evictable).
pub struct Copying<K, W: Wait = Yield> {
    pub(crate) cursor: K,
    data: Data,
    pub(crate) waiter: Waiter<W>,
}

impl<K: CopyingCursor, W: Wait> fmt::Debug for Copying<K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(K::NAME).field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

impl<K: CopyingCursor, W: Wait> Copying<K, W> {
    pub(crate) fn with_cursor(cursor: K, shared: Shared, side: Side) -> Self {
        let data = Data::of(shared.memory());
        Self { cursor, data, waiter: Waiter::new(shared, side) }
    }
}

impl<K: CopyingCursor, W: Wait> Copying<K, W> {
    /// The same end, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> Copying<K, V> {
        let Self { cursor, data, waiter } = self;
        Copying { cursor, data, waiter: waiter.waiting(wait) }
    }

    /// The number that tells this queue from all others, and that it has in common with its copies; 0 in memory of one
    /// process.
    pub fn identity(&self) -> u64 {
        self.waiter.shared().identity()
    }

    /// How the writer has ended: after [`RecvError::Aborted`], why.
    pub fn ending(&self) -> Ending {
        self.waiter.shared().ending()
    }

    /// Copies the next message that can be had, if there is one now, into `into`, which it replaces;
    /// says how long it is.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`]; what `into` holds then means nothing.
    pub fn try_recv(&mut self, into: &mut Vec<u8>) -> Result<usize, TryRecvError> {
        self.try_recv_kind(into).map(|_| into.len())
    }

    /// As [`Copying::try_recv`]; says of what kind the message is.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`]; what `into` holds then means nothing.
    pub fn try_recv_kind(&mut self, into: &mut Vec<u8>) -> Result<u16, TryRecvError> {
        let kind = copy(&mut self.cursor, self.data, into)?;
        self.release();
        Ok(kind)
    }

    /// Copies the next message that can be had, waiting for it; says how long it is.
    ///
    /// # Errors
    ///
    /// [`RecvError`]; what `into` holds then means nothing.
    pub fn recv(&mut self, into: &mut Vec<u8>) -> Result<usize, RecvError> {
        let Self { cursor, data, waiter } = self;
        waiter.receive(|| copy(cursor, *data, into))?;
        self.release();
        Ok(into.len())
    }

    /// Copies the next message that can be had, waiting for at most `timeout`; says how long it is.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`]; what `into` holds then means nothing.
    pub fn recv_timeout(
        &mut self,
        into: &mut Vec<u8>,
        timeout: Duration,
    ) -> Result<usize, RecvTimeoutError> {
        self.recv_kind_timeout(into, timeout).map(|_| into.len())
    }

    /// As [`Copying::recv_timeout`]; says of what kind the message is.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`]; what `into` holds then means nothing.
    pub fn recv_kind_timeout(
        &mut self,
        into: &mut Vec<u8>,
        timeout: Duration,
    ) -> Result<u16, RecvTimeoutError> {
        let Self { cursor, data, waiter } = self;
        let kind = waiter.receive_within(timeout, || copy(cursor, *data, into))?;
        self.release();
        Ok(kind)
    }

    #[inline]
    fn release(&mut self) {
        self.waiter.changed(self.cursor.release());
    }
}

/// Copies the next message that can be had now, and makes sure of the copy; says of what kind it is.
fn copy(
    cursor: &mut impl CopyingCursor,
    data: Data,
    into: &mut Vec<u8>,
) -> Result<u16, TryRecvError> {
    loop {
        let all = cursor.look()?;
        // Where the writer has overwritten it meanwhile, what is taken for a header may be any word.
        let Some(frame) = data.frame(all) else {
            if cursor.confirm_none(all)? {
                return Err(corrupt(data, all.first, all.len).into());
            }
            continue;
        };
        let run = Run { first: all.first, len: frame.size() };
        copy_words(data, run, frame, into);
        if cursor.confirm_one(run)? {
            return Ok(frame.kind);
        }
    }
}

/// Copies the message of a frame, word by word.
fn copy_words(data: Data, run: Run, frame: Frame, into: &mut Vec<u8>) {
    into.clear();
    into.reserve(run.len as usize);
    let words = (8..run.len).step_by(8);
    into.extend(words.flat_map(|offset| {
        data.word(run.first.plus(offset)).load(Ordering::Relaxed).to_ne_bytes()
    }));
    into.truncate(frame.len as usize);
}
