//! The memory that a ring of records lives in: a segment with a name or without, or memory of this process.

use core::fmt::Debug;
use core::ptr::NonNull;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Capacity, NameError, OsError, QueueName, Sequence};
use day2::header::{Expected, Geometry, Kind};
use day2::segment::page_size;
use day2::{DescriptorError, Holder, LeaseError, LockError, Mode, OpenError, Role, Segment};
use day3::control::{Control, SLOTS, control_len};
use day3::landing::Landing;
use day3::link::{HeapLines, Lease, Link};
use day3::memory::{ODD_CONTROL, TRAIL_BYTES, consumers_of, hold, successor};
use day3::roster::Ring;
use day3::{JoinError, JoinOptions, Memory, QueueOptions, Start};
use nix::errno::Errno;

use crate::error::{CreateError, ResumeError};
use crate::frame::HEADER;
use crate::hosting::{self, HostState};
use crate::marks::Marks;
use crate::mirror::{Access, Mirror};
use crate::rendezvous::{ConnectError, client};
use crate::rooms::Host;

/// The marks lie behind the shared lines that any ring has.
const _: () = assert!(size_of::<Marks>() as u64 == TRAIL_BYTES);

/// Where a ring of records is.
///
/// # Safety
///
/// As for [`Memory`], with bytes for messages; and data is mapped twice in a row, 8-byte aligned.
pub unsafe trait ByteMemory: Memory {
    /// The trail of marks.
    fn marks(&self) -> &Marks;

    /// A new descriptor of it for another process.
    ///
    /// # Errors
    ///
    /// [`DescriptorError`]; for memory of one process always.
    fn descriptor(&self, mode: Mode) -> Result<OwnedFd, DescriptorError>;

    /// The host of this ring's consumers, if they have private rooms, and this is its memory.
    fn host(self: Arc<Self>) -> Option<Arc<Host>> {
        None
    }
}

/// A ring of records in a segment, between processes.
#[derive(Debug)]
pub struct Segmented {
    segment: Segment,
    consumers: usize,
    mirror: Mirror,
    ring: Ring,
}

/// What messages are called in the header, unless the options say otherwise.
const MESSAGE_TYPE: &str = "bytes";

impl Segmented {
    /// Creates a ring under this name; without one, in a memfd.
    pub(crate) fn create(
        name: Option<&QueueName>,
        options: &QueueOptions,
    ) -> Result<Self, CreateError> {
        let this = Self::make(options, |geometry, fill| match name {
            Some(name) => Segment::create(name, geometry, options.mode(), fill).map_err(by_host),
            None => Segment::anonymous(&nameless(), geometry, options.mode(), fill),
        })?;
        this.segment.keep_spare();
        Ok(this)
    }

    /// Creates a ring in a memfd that no other process can map writable.
    pub(crate) fn create_sealed(options: &QueueOptions) -> Result<Self, CreateError> {
        let this = Self::make(options, |geometry, fill| {
            // Who can open it for writing can lock it, which others take for a sign of life.
            Segment::unsealed(&nameless(), geometry, options.mode() & !0o222, fill)
        })?;
        // Now that everything is mapped that this process writes.
        this.segment.seal_for_readers()?;
        Ok(this)
    }

    fn make(
        options: &QueueOptions,
        create: impl FnOnce(Geometry, &dyn Fn(NonNull<u8>)) -> Result<Segment, day2::CreateError>,
    ) -> Result<Self, CreateError> {
        let ring = plan(options)?;
        let message_type = options.message_type_or(MESSAGE_TYPE);
        let consumers = options.consumer_slots()?;
        let geometry = Geometry::plan(
            &expected(message_type),
            ring.capacity.get(),
            ring.first.get(),
            control_len(consumers) + TRAIL_BYTES,
            page_size(),
        )?
        .for_consumers(consumers)
        .with_identity(options.identity_number());
        let fill = |start: NonNull<u8>| {
            // SAFETY: control is page-aligned, as long as was planned, zero, and no other end has it yet.
            let control = unsafe { Control::at(start, consumers).as_ref() };
            // SAFETY: no other end has the memory yet.
            unsafe { control.start_at(ring.first) };
            // SAFETY: the marks lie behind control, within what was planned.
            let marks = unsafe { marks_behind(start, consumers).as_ref() };
            // SAFETY: no other end has the memory yet.
            unsafe { marks.start_at(ring.first) };
        };
        let segment = create(geometry, &fill)?;
        let mirror = mirror(&segment, Access::ReadWrite).map_err(CreateError::Mirror)?;
        Ok(Self { segment, consumers, mirror, ring })
    }

    /// Opens the ring of this name, for any end that reads: what it gives is checked to be a ring of records. If the
    /// name is that of a [hosted](Writer::host) queue, `hosted` gets the path of its server's socket.
    fn open<N, M: ?Sized>(
        name: N,
        mode: Mode,
        options: &JoinOptions,
        opened: impl Fn(Arc<Self>) -> Arc<M>,
        hosted: impl Fn(&QueueName, &Path) -> Result<Arc<M>, ConnectError>,
    ) -> Result<Arc<M>, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        options.when_there(|| {
            let (timeout, trust) = (options.join_timeout(), options.trust());
            let segment = match Segment::open_trusting(&name, mode, timeout, trust) {
                Err(OpenError::Socket { .. }) => {
                    let path = socket_of(&name);
                    return hosted(&name, &path).map_err(|error| error.of_queue(&name, &path));
                }
                segment => segment?,
            };
            let this = Self::enter(segment, options)?;
            hold(&this.segment, this.control())?;
            Ok(opened(Arc::new(this)))
        })
    }

    /// Opens the ring of this name for a member of a group.
    pub(crate) fn open_for_group<N>(name: N, options: &JoinOptions) -> Result<Arc<Self>, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        Self::open(name, Mode::Reader, options, |this| this, |_, _| Err(JoinError::NoGroups.into()))
    }

    /// Opens the ring of this name to look at.
    pub(crate) fn look<N>(name: N, options: &JoinOptions) -> Result<Arc<Self>, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let trust = Some(options.trust());
        let hosted = |name: &QueueName, path: &Path| client::look(path, name, options, trust);
        Self::open(name, Mode::Observer, options, |this| this, hosted)
    }

    /// Opens the ring of this name for a consumer that begins there.
    pub(crate) fn join<N>(
        name: N,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Arc<dyn ByteMemory>, JoinError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let trust = Some(options.trust());
        let hosted =
            |name: &QueueName, path: &Path| client::enter(path, name, start, options, trust);
        Self::open(name, Mode::Reader, options, |this| this as Arc<dyn ByteMemory>, hosted)
    }

    /// Opens the ring of this name as the writer that comes after a dead one.
    pub(crate) fn succeed(name: &QueueName, options: &QueueOptions) -> Result<Self, ResumeError> {
        let message_type = options.message_type_or(MESSAGE_TYPE);
        let (segment, (consumers, ring)) =
            successor(name, options, |segment| Ok(ring_of(segment, message_type)?))?;
        match mirror(&segment, Access::ReadWrite) {
            Ok(mirror) => Ok(Self { segment, consumers, mirror, ring }),
            Err(error) => {
                segment.leave_name();
                Err(ResumeError::Mirror(OsError::new(error)))
            }
        }
    }

    /// Opens the ring behind this descriptor, as [`open`](Self::open) does by name.
    pub(crate) fn from_fd(
        descriptor: OwnedFd,
        mode: Mode,
        options: &JoinOptions,
    ) -> Result<Arc<Self>, JoinError> {
        let (label, timeout) = (nameless(), options.join_timeout());
        let segment = Segment::from_fd(&label, descriptor.as_fd(), mode, timeout)?;
        let this = Self::enter(segment, options)?;
        this.segment.hold()?;
        Ok(Arc::new(this))
    }

    pub(crate) fn enter(segment: Segment, options: &JoinOptions) -> Result<Self, JoinError> {
        let (consumers, ring) = ring_of(&segment, options.message_type_or(MESSAGE_TYPE))?;
        // Readers have their mapping of data read-only, so that they cannot spoil it for others.
        let access =
            if segment.mode() == Mode::Writer { Access::ReadWrite } else { Access::ReadOnly };
        let mirror = mirror(&segment, access).map_err(|error| OpenError::System {
            name: segment.name().clone(),
            call: "mmap (twice)",
            errno: OsError::new(error),
        })?;
        Ok(Self { segment, consumers, mirror, ring })
    }

    /// The segment.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}

/// Says so if it is a host that has the name: to a segment's creator it is a stranger.
fn by_host(error: day2::CreateError) -> day2::CreateError {
    let day2::CreateError::Taken { name, by: Holder::Stranger } = error else { return error };
    let by = match hosting::state(&name) {
        Some(HostState::Living) => Holder::Living,
        Some(HostState::Dead) => Holder::Dead,
        _ => Holder::Stranger,
    };
    day2::CreateError::Taken { name, by }
}

/// Where the server of a hosted queue of this name listens: where the queue would be, if it had its name itself.
pub(crate) fn socket_of(name: &QueueName) -> PathBuf {
    PathBuf::from(format!("/dev/shm{}", name.as_str()))
}

/// Where the marks are of a ring of records whose control begins here.
fn marks_behind(control: NonNull<u8>, consumers: usize) -> NonNull<Marks> {
    let marks = control.as_ptr().wrapping_add(control_len(consumers) as usize);
    NonNull::new(marks).expect("a mapping does not end at address zero").cast()
}

/// For how many consumers the ring in this segment has room, and what else is to be known of it.
fn ring_of(segment: &Segment, message_type: &str) -> Result<(usize, Ring), OpenError> {
    let geometry = segment.geometry();
    let name = segment.name();
    geometry.check(name, &expected(message_type))?;
    let damaged = |what| OpenError::Damaged { name: name.clone(), what };
    let capacity = Capacity::new(geometry.capacity())
        .map_err(|_| damaged("its capacity is no power of two"))?;
    if !capacity.get().is_multiple_of(page_size()) || segment.data_len() as u64 != capacity.get() {
        return Err(damaged("its data is not its capacity, in whole pages"));
    }
    let consumers = consumers_of(segment).ok_or_else(|| damaged(ODD_CONTROL))?;
    let first = Sequence::new(geometry.first());
    if !first.get().is_multiple_of(HEADER as u64) {
        return Err(damaged("its first sequence is no multiple of 8"));
    }
    Ok((consumers, Ring { capacity, first }))
}

fn mirror(segment: &Segment, access: Access) -> io::Result<Mirror> {
    Mirror::map(segment.as_fd(), segment.data_offset(), segment.data_len() as u64, access)
}

/// What a segment without a name is called in errors, and in `/proc`.
pub(crate) fn nameless() -> QueueName {
    "/fanout-memfd".parse().expect("a valid name")
}

fn expected(message_type: &str) -> Expected<'_> {
    let (element_size, element_align, capacity) = (1, HEADER as u64, None);
    Expected { kind: Kind::Records, element_size, element_align, capacity, message_type }
}

/// Rounds the capacity up to one that can be mapped twice and indexed with a mask.
fn plan(options: &QueueOptions) -> Result<Ring, CreateError> {
    let found = options.capacity();
    let rounded = found.max(page_size()).checked_next_power_of_two();
    let capacity = match rounded {
        Some(rounded) if found > 0 => Capacity::new(rounded)?,
        // Zero, and what cannot be rounded up, stay as they are: they are refused.
        _ => Capacity::new(found)?,
    };
    let first = options.first_sequence();
    if !first.is_multiple_of(HEADER as u64) {
        return Err(CreateError::First { found: first });
    }
    Ok(Ring { capacity, first: Sequence::new(first) })
}

// SAFETY: the segment's and the mirror's mappings stay in place for as long as they live; they are
// page-aligned; the geometry, planned or checked, says that data is the capacity; a creator's are
// writable.
unsafe impl Memory for Segmented {
    fn control(&self) -> &Control {
        let control = Control::at(self.segment.control(), self.consumers);
        // SAFETY: page-aligned, long enough (planned at create, checked at open), and all atomics.
        unsafe { control.as_ref() }
    }

    fn data(&self) -> NonNull<u8> {
        self.mirror.start()
    }

    fn ring(&self) -> Ring {
        self.ring
    }

    fn leave_name(&self) {
        self.segment.leave_name();
    }

    fn geometry(&self) -> Option<&Geometry> {
        Some(self.segment.geometry())
    }

    fn landing(&self) -> &dyn Landing {
        self.marks()
    }

    fn locked(&self, timeout: Duration, f: &mut dyn FnMut()) -> Result<(), LockError> {
        let _lock = self.segment.lock(timeout)?;
        f();
        Ok(())
    }

    fn lease(&self, role: Role) -> Result<Lease, LeaseError> {
        Ok(Box::new(self.segment.lease(role)?))
    }

    fn lease_briefly(&self, role: Role) -> Result<Lease, LeaseError> {
        Ok(Box::new(self.segment.lease_briefly(role)?))
    }

    fn is_leased(&self, role: Role) -> bool {
        self.segment.is_leased(role)
    }

    fn can_be_resumed(&self) -> bool {
        !self.segment.is_nameless()
    }

    fn watch(&self, role: Role) -> Lease {
        day3::memory::watch(self.control(), role)
    }
}

// SAFETY: the mirror is the data, twice.
unsafe impl ByteMemory for Segmented {
    fn marks(&self) -> &Marks {
        let marks = marks_behind(self.segment.control(), self.consumers);
        // SAFETY: behind control, within its length (planned at create, checked at open), and all atomics.
        unsafe { marks.as_ref() }
    }

    fn descriptor(&self, mode: Mode) -> Result<OwnedFd, DescriptorError> {
        self.segment.descriptor(mode)
    }
}

/// A ring of records within one process, between threads: the same protocol, where tools can watch it.
#[derive(Debug)]
pub struct Local {
    lines: HeapLines<SLOTS>,
    marks: Box<Marks>,
    mirror: Mirror,
    ring: Ring,
    admission: Mutex<()>,
}

impl Local {
    /// Room for `capacity` bytes, rounded up to a power of two of at least a page.
    ///
    /// # Errors
    ///
    /// [`CreateError::Capacity`], [`CreateError::First`], [`CreateError::Mirror`].
    pub fn new(options: &QueueOptions) -> Result<Arc<Self>, CreateError> {
        let ring = plan(options)?;
        let mirror = Mirror::anonymous(ring.capacity.get()).map_err(CreateError::Mirror)?;
        let (lines, marks) = (HeapLines::new(ring.first), Box::new(Marks::new(ring.first)));
        Ok(Arc::new(Self { lines, marks, mirror, ring, admission: Mutex::new(()) }))
    }
}

// SAFETY: box and mirror stay where they are until this is dropped, page-aligned, writable, with room
// for the capacity.
unsafe impl Memory for Local {
    fn control(&self) -> &Control {
        &self.lines
    }

    fn data(&self) -> NonNull<u8> {
        self.mirror.start()
    }

    fn ring(&self) -> Ring {
        self.ring
    }

    fn landing(&self) -> &dyn Landing {
        &*self.marks
    }

    fn locked(&self, timeout: Duration, f: &mut dyn FnMut()) -> Result<(), LockError> {
        day3::memory::locked(&self.admission, timeout, f)
    }

    fn lease(&self, role: Role) -> Result<Lease, LeaseError> {
        self.lines.lease(role)
    }

    fn is_leased(&self, role: Role) -> bool {
        self.lines.is_leased(role)
    }
}

// SAFETY: the mirror is the data, twice.
unsafe impl ByteMemory for Local {
    fn marks(&self) -> &Marks {
        &self.marks
    }

    fn descriptor(&self, _: Mode) -> Result<OwnedFd, DescriptorError> {
        Err(DescriptorError::new(nameless(), OsError::new(Errno::ENOTSUP)))
    }
}

/// What can make descriptors of a ring for other processes, wherever the writer is.
#[derive(Clone, Debug)]
pub struct Offer {
    memory: Arc<dyn ByteMemory>,
}

impl Offer {
    pub(crate) fn new(memory: Arc<dyn ByteMemory>) -> Self {
        Self { memory }
    }

    /// A new descriptor: opened anew, for reading only if `mode` is [`Mode::Observer`].
    ///
    /// # Errors
    ///
    /// [`DescriptorError`].
    pub fn descriptor(&self, mode: Mode) -> Result<OwnedFd, DescriptorError> {
        self.memory.descriptor(mode)
    }

    /// The host of this ring's consumers, if they have private rooms.
    pub(crate) fn host(&self) -> Option<Arc<Host>> {
        Arc::clone(&self.memory).host()
    }
}
