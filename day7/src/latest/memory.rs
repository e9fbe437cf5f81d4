//! Where a latest value is: in a segment with a name or without, or in memory of this process.

use core::fmt;
use core::ptr::NonNull;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use bytemuck::Pod;
use common::QueueName;
use common::sync::{AtomicU32, AtomicU64};
use day2::header::{Expected, Geometry, Kind};
use day2::segment::{READY_TIMEOUT, page_size};
use day2::{CreateError, DescriptorError, Mode, OpenError, Segment};
use day3::{JoinError, JoinOptions, QueueOptions, ResumeError};

use super::cells::{Cells, HEAD_BYTES, Head, HeapCells, SLOTS, stride};

/// How often an opener looks whether the first value is there.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// A latest value in memory.
pub(crate) struct Memory {
    place: Place,
    words: usize,
}

enum Place {
    Segment(Segment),
    Heap(HeapCells),
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cells().fmt(f)
    }
}

/// How many words a value takes.
pub(crate) const fn words<T>() -> usize {
    size_of::<T>().div_ceil(8)
}

/// How many bytes of data a latest value of so many words takes.
fn data_bytes(words: usize) -> u64 {
    (HEAD_BYTES + SLOTS * stride(words) * 8) as u64
}

fn expected<T>(message_type: &str) -> Expected<'_> {
    Expected::messages::<T>(Kind::Latest, message_type)
}

fn nameless() -> QueueName {
    "/fanout-memfd".parse().expect("a valid name")
}

impl Memory {
    /// A latest value of this process alone.
    pub(crate) fn heap<T>() -> Self {
        let words = words::<T>();
        Self { place: Place::Heap(HeapCells::new(SLOTS, words)), words }
    }

    /// Creates a segment under this name; without one, in a memfd.
    pub(crate) fn create<T: Pod>(
        name: Option<&QueueName>,
        options: &QueueOptions,
    ) -> Result<Self, CreateError> {
        let message_type = options.message_type_or(core::any::type_name::<T>());
        let (words, page) = (words::<T>(), page_size());
        let control = size_of::<AtomicU32>() as u64;
        let geometry = Geometry::plan(&expected::<T>(message_type), 1, 0, control, page)?
            .with_data(data_bytes(words), page)?;
        // New memory is zero: no value, nobody asleep.
        let segment = match name {
            Some(name) => Segment::create(name, geometry, options.mode(), |_| ())?,
            None => Segment::anonymous(&nameless(), geometry, options.mode(), |_| ())?,
        };
        Ok(Self { place: Place::Segment(segment), words })
    }

    /// Opens the segment of a writer that has died, to go on in its place.
    pub(crate) fn succeed<T: Pod>(
        name: &QueueName,
        options: &QueueOptions,
    ) -> Result<Self, ResumeError> {
        let segment = Segment::succeed_trusting(name, READY_TIMEOUT, options.trust())?;
        let message_type = options.message_type_or(core::any::type_name::<T>());
        if let Err(error) = check::<T>(&segment, message_type) {
            segment.leave_name();
            return Err(error.into());
        }
        let mut this = Self { place: Place::Segment(segment), words: words::<T>() };
        if this.cells().is_closed() {
            this.leave_name();
            return Err(ResumeError::Ended { name: name.clone() });
        }
        Ok(this)
    }

    fn leave_name(&mut self) {
        if let Place::Segment(segment) = &mut self.place {
            segment.leave_name();
        }
    }

    /// Opens the latest value of this name to read it.
    pub(crate) fn open<T: Pod>(name: &QueueName, options: &JoinOptions) -> Result<Self, JoinError> {
        options.when_there(|| {
            let (timeout, trust) = (options.join_timeout(), options.trust());
            let segment = Segment::open_trusting(name, Mode::Reader, timeout, trust)?;
            let this = Self::enter::<T>(segment, options)?;
            this.is_there(name)
                .then_some(this)
                .ok_or_else(|| JoinError::Open(OpenError::NotFound { name: name.clone() }))
        })
    }

    /// Opens the latest value behind this descriptor to read it.
    pub(crate) fn from_fd<T: Pod>(
        descriptor: BorrowedFd<'_>,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        let timeout = options.join_timeout();
        let segment = Segment::from_fd(&nameless(), descriptor, Mode::Reader, timeout)?;
        Ok(Self::enter::<T>(segment, options)?)
    }

    /// Whether a writer can still be found under the name, or has ended properly.
    fn is_there(&self, _name: &QueueName) -> bool {
        match &self.place {
            Place::Segment(segment) => !segment.is_nameless() || self.cells().is_closed(),
            Place::Heap(_) => true,
        }
    }

    /// Checks what is there, and waits for the first value.
    fn enter<T: Pod>(segment: Segment, options: &JoinOptions) -> Result<Self, OpenError> {
        check::<T>(&segment, options.message_type_or(core::any::type_name::<T>()))?;
        segment.hold()?;
        let this = Self { place: Place::Segment(segment), words: words::<T>() };
        let (started, waited) = (Instant::now(), options.join_timeout());
        while this.cells().version() == 0 {
            if started.elapsed() >= waited {
                return Err(OpenError::NotReady { name: this.name(), waited });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(this)
    }

    fn name(&self) -> QueueName {
        match &self.place {
            Place::Segment(segment) => segment.name().clone(),
            Place::Heap(_) => nameless(),
        }
    }

    /// Whether there is a writer. If the kernel does not tell, we assume so.
    pub(crate) fn has_writer(&self) -> bool {
        match &self.place {
            Place::Segment(segment) => segment.has_producer(),
            Place::Heap(_) => true,
        }
    }

    /// Has the kernel mark the vital word when this process dies.
    ///
    /// # Safety
    ///
    /// This is the writer's memory, and it stays until what this returns is dropped.
    pub(crate) unsafe fn watch(&self) -> Option<day2::Watch> {
        match &self.place {
            // SAFETY: it lies in data, which a writer has mapped writable; the caller keeps the memory.
            Place::Segment(_) => unsafe { day2::watch(NonNull::from(self.cells().vital())) },
            Place::Heap(_) => None,
        }
    }

    /// A descriptor for another process; for memory of one process there is none.
    pub(crate) fn descriptor(&self) -> Option<Result<OwnedFd, DescriptorError>> {
        match &self.place {
            Place::Segment(segment) => Some(segment.descriptor(Mode::Reader)),
            Place::Heap(_) => None,
        }
    }

    #[inline]
    pub(crate) fn cells(&self) -> Cells<'_> {
        let segment = match &self.place {
            Place::Segment(segment) => segment,
            Place::Heap(heap) => return heap.cells(),
        };
        // SAFETY: data is page-aligned, was planned or checked to be long enough, lives as long as the segment, and is
        // all atomics, for which every bit pattern is valid. Only the writer, which has data mapped writable, stores.
        let head = unsafe { segment.data().cast::<Head>().as_ref() };
        // SAFETY: as above, for control, which has at least a page, and which readers have mapped writable, too.
        let bell = unsafe { segment.control().cast::<AtomicU32>().as_ref() };
        // SAFETY: the slots begin behind the head, within data.
        let start = unsafe { segment.data().add(HEAD_BYTES) }.cast::<AtomicU64>();
        let slots = NonNull::slice_from_raw_parts(start, SLOTS * stride(self.words));
        // SAFETY: so many words were planned or checked to be there; otherwise as for the head.
        let slots = unsafe { slots.as_ref() };
        Cells::new(head, bell, slots, self.words)
    }
}

/// Whether the segment holds a latest value of this type.
fn check<T: Pod>(segment: &Segment, message_type: &str) -> Result<(), OpenError> {
    let (name, geometry) = (segment.name(), segment.geometry());
    geometry.check(name, &expected::<T>(message_type))?;
    if (segment.data_len() as u64) < data_bytes(words::<T>()) {
        let what = "its data has no room for its slots";
        return Err(OpenError::Damaged { name: name.clone(), what });
    }
    Ok(())
}
