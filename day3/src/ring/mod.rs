//! Messages of a type `T`, in the places that the sequencer grants.

mod copying;
mod element;
mod evictable;
mod producer;
mod raw;
mod receiver;
mod tap;

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::sync::Arc;

use bytemuck::Pod;
use common::sync::{AtomicU8, AtomicU64, Ordering};
use common::{Capacity, NameError, QueueName, Sequence};
use day2::Mode;

use crate::error::JoinError;
use crate::memory::{Memory, NamedMemory};
use crate::options::JoinOptions;
use crate::sequencer::Run;

pub use copying::{Copying, CopyingCursor};
pub(crate) use element::Raw;
pub use element::{Element, MessageType};
pub use evictable::Evictable;
pub use producer::{Producer, Reservation};
pub use raw::{RawBatch, RawMember, RawProducer, RawTap};
pub use receiver::{Batch, Consumer, Member, Receiver};
pub use tap::Tap;

/// The places of a ring, as this process has them mapped.
pub(crate) struct Places<T> {
    start: NonNull<u8>,
    capacity: Capacity,
    /// How many bytes a message has.
    size: usize,
    messages: PhantomData<NonNull<T>>,
}

/// The places of a run that lie in one piece.
type Part<T> = NonNull<[<T as Element>::Unit]>;

impl<T: Pod> Places<T> {
    pub(crate) fn new(memory: &dyn Memory) -> Self {
        // SAFETY: a message of this type has as many bytes, and the memory was made for such messages.
        unsafe { Self::of_size(memory, size_of::<T>()) }
    }
}

impl<T: Element> Places<T> {
    /// The places of messages that have so many bytes.
    ///
    /// # Safety
    ///
    /// The memory was made for messages of this size.
    pub(crate) unsafe fn of_size(memory: &dyn Memory, size: usize) -> Self {
        let (start, capacity) = (memory.data(), memory.ring().capacity);
        Self { start, capacity, size, messages: PhantomData }
    }

    /// How many bytes a message has.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// How many units so many messages have.
    #[inline(always)]
    pub(crate) fn units(&self, messages: usize) -> usize {
        messages * T::units(self.size)
    }

    #[inline(always)]
    pub(crate) fn at(&self, sequence: Sequence) -> NonNull<T::Unit> {
        let start = self.start.cast::<T::Unit>();
        // SAFETY: an index is below the capacity, and data has room for that many.
        unsafe { start.add(self.units(self.capacity.index(sequence))) }
    }

    /// The places of a run: up to the end of the ring, and from its start.
    #[inline]
    pub(crate) fn of(&self, run: Run) -> (Part<T>, Part<T>) {
        assert!(
            run.len <= self.capacity.get(),
            "a run of {} in a ring of {}",
            run.len,
            self.capacity
        );
        let (head, tail) = self.capacity.places(run.first, run.len);
        let slice = |start, places| NonNull::slice_from_raw_parts(start, self.units(places));
        (slice(self.at(run.first), head.len()), slice(self.start.cast(), tail.len()))
    }
}

/// Copies a message that the producer may be writing at this moment.
///
/// A torn copy is no undefined behaviour on our side: every word is read by a relaxed atomic load.
///
/// # Safety
///
/// `place` is a place of a ring: readable, and aligned to 8 bytes if its size is a multiple of 8.
#[inline]
unsafe fn read_words<T: Pod>(place: NonNull<T>) -> T {
    let mut copy = MaybeUninit::<T>::uninit();
    let (from, to) = (place.as_ptr(), copy.as_mut_ptr());
    if size_of::<T>().is_multiple_of(8) {
        let (from, to) = (from.cast::<AtomicU64>(), to.cast::<u64>());
        for i in 0..size_of::<T>() / 8 {
            // SAFETY: inside the place, and aligned: data is, and the size is a multiple of 8.
            let word = unsafe { &*from.wrapping_add(i) };
            let word = word.load(Ordering::Relaxed);
            // SAFETY: inside the copy, wherever that is aligned.
            unsafe { to.wrapping_add(i).write_unaligned(word) };
        }
    } else {
        let (from, to) = (from.cast::<AtomicU8>(), to.cast::<u8>());
        for i in 0..size_of::<T>() {
            // SAFETY: inside the place.
            let byte = unsafe { &*from.wrapping_add(i) };
            let byte = byte.load(Ordering::Relaxed);
            // SAFETY: inside the copy.
            unsafe { to.wrapping_add(i).write(byte) };
        }
    }
    // SAFETY: every byte was written, and every bit pattern is a `T`.
    unsafe { copy.assume_init() }
}

fn open<T, N>(name: N, mode: Mode, options: &JoinOptions) -> Result<Arc<dyn Memory>, JoinError>
where
    T: Pod,
    N: TryInto<QueueName, Error: Into<NameError>>,
{
    let name = name.try_into().map_err(Into::into)?;
    options.when_there(|| {
        Ok(Arc::new(NamedMemory::open::<T>(&name, mode, options)?) as Arc<dyn Memory>)
    })
}
