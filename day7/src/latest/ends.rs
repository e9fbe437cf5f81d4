//! The ends of a latest value.

use core::fmt;
use core::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytemuck::Pod;
use common::process::{Origin, forks};
use common::sync::AtomicU32;
use common::{NameError, QueueName};
use day2::{DescriptorError, Watch};
use day3::doorbell::{Doorbell, attach};
use day3::vigil::Vigil;
use day3::wait::{self, Side};
use day3::{CreateError, JoinError, JoinOptions, QueueOptions, ResumeError, Wait};
use day5::Adaptive;

use super::cells::Look;
use super::error::{ChangedTimeoutError, Ended};
use super::memory::Memory;

/// The end that sets a latest value. There is one.
///
/// To set a value takes as many steps as the value has words, and a few more, whatever readers do: the writer waits for
/// nobody. Dropping it tells readers that no more values come, and removes the name. Readers keep the last value.
///
/// # Examples
///
/// ```
/// # mod fanout { pub use day7::latest; }
/// use fanout::latest::{LatestReader, LatestWriter};
///
/// let name = format!("/doc-latest-{}", std::process::id());
/// let mut writer = LatestWriter::create(&name, 20.5f64)?;
/// let mut reader = LatestReader::<f64>::open(&name)?; // in another process
/// assert_eq!(reader.get(), 20.5);
///
/// writer.set(21.0);
/// writer.update(|celsius| *celsius += 0.25);
/// assert_eq!(reader.changed()?, 21.25); // It sleeps until there is a newer one.
/// assert_eq!(reader.get_if_newer(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LatestWriter<T: Pod> {
    // It goes before the memory, in which its word lies.
    _watch: Option<Watch>,
    value: T,
    version: u64,
    origin: Origin,
    forks: u64,
    memory: Arc<Memory>,
}

impl<T: Pod> fmt::Debug for LatestWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatestWriter").field("version", &self.version).finish_non_exhaustive()
    }
}

/// A latest value between the threads of this process.
pub fn local<T: Pod>(first: T) -> (LatestWriter<T>, LatestReader<T>) {
    let writer = LatestWriter::begin(Memory::heap::<T>(), first);
    let reader = LatestReader::over(writer.memory.clone());
    (writer, reader)
}

impl<T: Pod> LatestWriter<T> {
    /// Creates the latest value `name`, which is `first` to begin with.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; in particular the name may be taken: there is one writer.
    pub fn create<N>(name: N, first: T) -> Result<Self, CreateError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        Self::create_with(name, first, &QueueOptions::new(1))
    }

    /// Creates the latest value `name`. What the options say of capacity and consumers means nothing here.
    ///
    /// With [`QueueOptions::or_resume`] it takes over from a writer that has died. Then the value stays as it is, and
    /// `first` is only set if the dead writer had not set any.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; in particular the name may be taken: there is one writer.
    pub fn create_with<N>(name: N, first: T, options: &QueueOptions) -> Result<Self, CreateError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        let create = || Ok(Self::begin(Memory::create::<T>(Some(&name), options)?, first));
        options.establish(&name, create, || {
            let memory = Memory::succeed::<T>(&name, options)?;
            Ok::<_, ResumeError>(Self::begin(memory, first))
        })
    }

    /// Creates a latest value without a name, for processes that get a [descriptor](Self::descriptor) of it.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn anonymous(first: T) -> Result<Self, CreateError> {
        let memory = Memory::create::<T>(None, &QueueOptions::new(1))?;
        Ok(Self::begin(memory, first))
    }

    /// The writer in this memory, which has no other.
    fn begin(memory: Memory, first: T) -> Self {
        attach(memory.cells().bell());
        let memory = Arc::new(memory);
        // SAFETY: this end keeps the memory, and drops the watch before it.
        let _watch = unsafe { memory.watch() };
        let version = memory.cells().version();
        let (origin, forks) = (Origin::here(), forks());
        let mut this = Self { _watch, value: first, version, origin, forks, memory };
        if version == 0 {
            this.set(first);
        } else {
            this.value = copy(&this.memory).1;
        }
        this
    }

    /// Sets the value. In a child that was forked from the writer's process it does nothing.
    #[inline]
    pub fn set(&mut self, value: T) {
        if self.is_forked() {
            return;
        }
        self.value = value;
        self.version += 1;
        let bytes = bytemuck::bytes_of(&self.value).chunks(8);
        self.memory.cells().set(self.version, bytes.map(word));
    }

    /// Changes the value. Readers see it as it was, or as it is when `change` is done. If `change` panics, it stays as it
    /// was.
    pub fn update(&mut self, change: impl FnOnce(&mut T)) {
        let mut value = self.value;
        change(&mut value);
        self.set(value);
    }

    /// The value, as it was set last.
    pub fn get(&self) -> T {
        self.value
    }

    /// How many values were set, the first included, also by writers that have died.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A descriptor for [`LatestReader::from_fd`] in another process; `None` if this is a [`local`] one.
    ///
    /// # Errors
    ///
    /// [`DescriptorError`].
    pub fn descriptor(&self) -> Result<Option<OwnedFd>, DescriptorError> {
        self.memory.descriptor().transpose()
    }

    #[inline]
    fn is_forked(&self) -> bool {
        self.forks != forks()
    }
}

impl<T: Pod> Drop for LatestWriter<T> {
    fn drop(&mut self) {
        if self.origin.is_here() {
            self.memory.cells().close(std::thread::panicking());
        }
    }
}

/// Up to eight bytes, as a word.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}

/// The newest value, and its version.
#[inline]
fn copy<T: Pod>(memory: &Memory) -> (u64, T) {
    let mut value = T::zeroed();
    let bytes = bytemuck::bytes_of_mut(&mut value);
    let version = memory.cells().copy(|at, word| {
        let place = &mut bytes[8 * at..];
        let len = place.len().min(8);
        place[..len].copy_from_slice(&word.to_ne_bytes()[..len]);
    });
    (version, value)
}

/// An end that reads a latest value. There may be any number of them, and the writer does not notice.
///
/// It never sees half of a value, and never an older one than before. It cannot write the value: it has that mapped
/// read-only. A clone has seen what the original has seen.
pub struct LatestReader<T: Pod, W: Wait = Adaptive> {
    memory: Arc<Memory>,
    seen: u64,
    wait: W,
    vigil: Vigil,
    _values: PhantomData<fn() -> T>,
}

impl<T: Pod, W: Wait> fmt::Debug for LatestReader<T, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatestReader").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl<T: Pod, W: Wait> Clone for LatestReader<T, W> {
    fn clone(&self) -> Self {
        Self { seen: self.seen, ..Self::over(self.memory.clone()) }
    }
}

impl<T: Pod> LatestReader<T> {
    /// Opens the latest value `name`.
    ///
    /// # Errors
    ///
    /// [`JoinError`]; among them that there is none, and that its type is another.
    pub fn open<N>(name: N) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        Self::open_with(name, &JoinOptions::new())
    }

    /// Opens the latest value `name`. Of the options, those count that say how long to wait for it, whom to trust, and
    /// what its type is called.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn open_with<N>(name: N, options: &JoinOptions) -> Result<Self, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        Ok(Self::over(Arc::new(Memory::open::<T>(&name, options)?)))
    }

    /// Opens the latest value behind this descriptor, which another process has handed over.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn from_fd(descriptor: OwnedFd, options: &JoinOptions) -> Result<Self, JoinError> {
        let memory = Memory::from_fd::<T>(descriptor.as_fd(), options)?;
        Ok(Self::over(Arc::new(memory)))
    }
}

impl<T: Pod, W: Wait> LatestReader<T, W> {
    fn over(memory: Arc<Memory>) -> Self {
        let (seen, wait, vigil) = (0, W::default(), Vigil::of_consumer());
        Self { memory, seen, wait, vigil, _values: PhantomData }
    }

    /// The same reader, waiting another way.
    pub fn waiting<V: Wait>(self, wait: V) -> LatestReader<T, V> {
        let Self { memory, seen, vigil, .. } = self;
        LatestReader { memory, seen, wait, vigil, _values: PhantomData }
    }

    /// A copy of the newest value. It does not wait.
    #[inline]
    pub fn get(&mut self) -> T {
        let (version, value) = copy(&self.memory);
        self.seen = version;
        value
    }

    /// A copy of the newest value, if it is newer than the last one that this reader has got.
    #[inline]
    pub fn get_if_newer(&mut self) -> Option<T> {
        (self.version() > self.seen).then(|| self.get())
    }

    /// The number of the newest value. The first has the number 1, and each set adds one.
    #[inline]
    pub fn version(&self) -> u64 {
        self.memory.cells().version()
    }

    /// The number of the last value that this reader has got; 0 before the first.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Waits until there is a newer value than the last one that this reader has got, and copies it. It waits
    /// adaptively: after a short while it sleeps.
    ///
    /// # Errors
    ///
    /// [`Ended`]: the last value is seen, and the writer is done or dead.
    pub fn changed(&mut self) -> Result<T, Ended> {
        loop {
            if let Some(changed) = self.changed_by(None) {
                return changed;
            }
        }
    }

    /// As [`changed`](Self::changed), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`ChangedTimeoutError`].
    pub fn changed_timeout(&mut self, timeout: Duration) -> Result<T, ChangedTimeoutError> {
        match self.changed_by(wait::end_of(timeout)) {
            Some(changed) => Ok(changed?),
            None => Err(ChangedTimeoutError::TimedOut(timeout)),
        }
    }

    fn changed_by(&mut self, deadline: Option<Instant>) -> Option<Result<T, Ended>> {
        let Self { memory, seen, wait, vigil, .. } = self;
        let cells = memory.cells();
        // Nobody rings for the writer, which waits for nobody.
        let producer = AtomicU32::new(0);
        let (consumers, vital) = (cells.bell(), cells.vital());
        let doorbell = Doorbell { consumers, producer: &producer, rooms: None, vital };
        let poll = || look(memory, *seen, vigil);
        let looked = wait::until(wait, Side::Consumer, &doorbell, deadline, poll)?;
        Some(looked.map(|()| self.get()))
    }
}

/// What a reader that waits finds: a newer value, the end, or nothing yet.
fn look(memory: &Memory, seen: u64, vigil: &mut Vigil) -> Option<Result<(), Ended>> {
    let cells = memory.cells();
    match cells.look(seen) {
        Look::Newer => {
            vigil.end();
            return Some(Ok(()));
        }
        Look::Closed => return Some(Err(Ended::Closed)),
        Look::Aborted => return Some(Err(Ended::WriterDied)),
        Look::Nothing => {}
    }
    let asks = vigil.in_vain() || cells.vital().is_dying();
    if !asks || memory.has_writer() {
        return None;
    }
    // What it set before it died.
    match cells.look(seen) {
        Look::Newer => Some(Ok(())),
        Look::Closed => Some(Err(Ended::Closed)),
        Look::Nothing | Look::Aborted => Some(Err(Ended::WriterDied)),
    }
}
