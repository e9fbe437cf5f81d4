//! A bounded list of messages in a segment: one writer, many readers, no wraparound yet.

use core::marker::PhantomData;
use core::mem::offset_of;
use core::ptr::NonNull;
use std::time::{Duration, Instant};

use bytemuck::Pod;
use common::QueueName;
use common::sync::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;

use crate::error::{CreateError, OpenError};
use crate::header::{Expected, Geometry, Kind};
use crate::segment::{Mode, READY_TIMEOUT, Segment, page_size};

/// The control of a log. The writer's word and the readers' word lie on separate cache lines.
///
/// It is part of the segment's layout: a change raises [`LAYOUT_VERSION`](crate::header::LAYOUT_VERSION).
#[repr(C)]
struct LogControl {
    /// How many messages may be read.
    published: CachePadded<AtomicU64>,
    /// How many readers are attached.
    readers: CachePadded<AtomicU64>,
}

const _: () = {
    assert!(offset_of!(LogControl, published) == 0);
    assert!(offset_of!(LogControl, readers) == 128);
    // Control has at least a page, and no page is smaller than this.
    assert!(size_of::<LogControl>() <= 4096);
};

/// The message was not appended: all places of the log are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is full: all {capacity} places are taken, and a log never frees one")]
#[non_exhaustive]
pub struct LogFull {
    /// How many messages the log holds.
    pub capacity: u64,
}

/// The writer of a log.
///
/// # Examples
///
/// ```
/// # mod fanout { pub use day2 as segment; }
/// use fanout::segment::{LogReader, LogWriter};
///
/// let name = format!("/doc-log-{}", std::process::id()).parse()?;
/// let mut writer = LogWriter::<u64>::create(&name, 10)?;
/// let reader = LogReader::<u64>::open(&name, 10)?;
/// writer.append(&42)?;
/// assert_eq!((reader.get(0), reader.get(1)), (Some(42), None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LogWriter<T> {
    segment: Segment,
    len: u64,
    _messages: PhantomData<T>,
}

impl<T: Pod> LogWriter<T> {
    /// Creates a log with room for `capacity` messages.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn create(name: &QueueName, capacity: u64) -> Result<Self, CreateError> {
        let control = size_of::<LogControl>() as u64;
        let geometry = Geometry::plan(&expected::<T>(), capacity, 0, control, page_size())?;
        // A new segment's control is zero: no message, no reader.
        let segment = Segment::create(name, geometry, 0o600, |_| ())?;
        Ok(Self { segment, len: 0, _messages: PhantomData })
    }

    /// Writes a message into the next free place and publishes it.
    ///
    /// # Errors
    ///
    /// [`LogFull`] once all places are taken; the log stays as it was.
    pub fn append(&mut self, message: &T) -> Result<(), LogFull> {
        let capacity = self.segment.geometry().capacity();
        if self.len == capacity {
            return Err(LogFull { capacity });
        }
        let place = place::<T>(&self.segment, self.len);
        // SAFETY: the place lies inside data (`len` is below the capacity), is aligned for `T`, and
        // is mapped writable. No reader looks at it before `published` covers it.
        unsafe { place.write(*message) };
        self.len += 1;
        // edge: publish -> observe. The message is written before the count that includes it.
        control(&self.segment).published.store(self.len, Ordering::Release);
        Ok(())
    }

    /// Waits until a reader is attached. Returns whether one came before the timeout.
    pub fn wait_for_reader(&self, timeout: Duration) -> bool {
        let started = Instant::now();
        while control(&self.segment).readers.load(Ordering::Relaxed) == 0 {
            if started.elapsed() >= timeout {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

/// A reader of a log.
#[derive(Debug)]
pub struct LogReader<T> {
    segment: Segment,
    _messages: PhantomData<T>,
}

impl<T: Pod> LogReader<T> {
    /// Opens a log that should have room for `capacity` messages.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open(name: &QueueName, capacity: u64) -> Result<Self, OpenError> {
        let segment = Segment::open(name, Mode::Reader, READY_TIMEOUT)?;
        segment.hold()?;
        let expected = Expected { capacity: Some(capacity), ..expected::<T>() };
        segment.geometry().check(name, &expected)?;
        control(&segment).readers.fetch_add(1, Ordering::Relaxed);
        Ok(Self { segment, _messages: PhantomData })
    }

    /// How many messages the log has room for.
    pub fn capacity(&self) -> u64 {
        self.segment.geometry().capacity()
    }

    /// How many messages may be read.
    pub fn len(&self) -> u64 {
        // edge: publish -> observe
        let published = control(&self.segment).published.load(Ordering::Acquire);
        published.min(self.capacity())
    }

    /// Whether there is no message yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of the message at `index`; `None` if it is not written yet.
    pub fn get(&self, index: u64) -> Option<T> {
        if index >= self.len() {
            return None;
        }
        let place = place::<T>(&self.segment, index);
        // SAFETY: the place lies inside data, is aligned for `T`, was written before it was
        // published, and a log never overwrites; `Pod` makes every bit pattern a `T`.
        Some(unsafe { place.read() })
    }
}

impl<T> Drop for LogReader<T> {
    fn drop(&mut self) {
        control(&self.segment).readers.fetch_sub(1, Ordering::Relaxed);
    }
}

fn expected<T>() -> Expected<'static> {
    Expected::messages::<T>(Kind::Log, core::any::type_name::<T>())
}

fn control(segment: &Segment) -> &LogControl {
    // SAFETY: control is page-aligned, is long enough (asserted above), lives as long as the segment,
    // and is all atomics, for which every bit pattern is valid.
    unsafe { segment.control().cast::<LogControl>().as_ref() }
}

fn place<T>(segment: &Segment, index: u64) -> NonNull<T> {
    debug_assert!((index + 1) * size_of::<T>() as u64 <= segment.data_len() as u64);
    // SAFETY: callers pass an index below the capacity, and capacity messages fit into data.
    unsafe { segment.data().cast::<T>().add(index as usize) }
}
