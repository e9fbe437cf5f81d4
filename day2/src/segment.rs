//! One shared-memory object, mapped.

use core::fmt;
use core::ptr::NonNull;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use common::process::Origin;
use common::sync::{AtomicBool, Ordering};
use common::{OsError, QueueName};
use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open, posix_fallocate};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::{FileStat, Mode as Permissions, SFlag, fchmod, fstat, lstat};
use nix::unistd::{SysconfVar, sysconf};

use crate::error::{
    CreateError, DescriptorError, LeaseError, LockError, OpenError, RemoveError, create_error,
    open_error,
};
use crate::header::{Geometry, Header};
use crate::lease::{HELD, JOINING, Lease, Role, Spare, set_lock};
use crate::trust::Trust;

mod successor;

/// How long an opener waits for a creator to finish, unless the caller says otherwise.
pub const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// A segment without a name is sealed: it cannot be truncated, which would be a SIGBUS for every
/// process that has it mapped. It cannot grow, and the seals cannot be taken off.
pub(crate) const SEALS: SealFlag =
    SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

/// The mode bit of an object whose header is not written yet. It is there from the moment in which the object is, so
/// an empty object says whether a creator of queues has left it, or another program. Ordinary files have no use for it.
const UNFINISHED: Permissions = Permissions::S_ISVTX;

/// How often a waiting opener looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What a mapping may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Writes messages: control and data are mapped writable.
    Writer,
    /// Reads messages and publishes its position: control is writable, data read-only.
    Reader,
    /// Only looks: everything is read-only.
    Observer,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
            Self::Observer => "observer",
        })
    }
}

/// One shared-memory object, mapped: a header, control and data, each on pages of its own.
///
/// The header is copied into private memory and checked once; see [`Segment::geometry`]. The segment
/// that created the object removes its name when it is dropped, if the name still means that object.
/// A process that has the object mapped keeps the memory.
///
/// # Examples
///
/// ```
/// # mod fanout { pub mod segment { pub use day2::{*, header::Expected, segment::*}; } }
/// use fanout::segment::{Expected, Geometry, Kind, Mode, READY_TIMEOUT, Segment, page_size};
///
/// let name = format!("/doc-segment-{}", std::process::id()).parse()?;
/// let expected = Expected::messages::<u64>(Kind::Log, "u64");
/// let geometry = Geometry::plan(&expected, 10, 0, 256, page_size())?;
/// let writer = Segment::create(&name, geometry, 0o600, |_control| ())?;
///
/// let reader = Segment::open(&name, Mode::Reader, READY_TIMEOUT)?;
/// assert_eq!(reader.geometry(), writer.geometry());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Segment {
    name: QueueName,
    mode: Mode,
    geometry: Geometry,
    control: MmapRaw,
    data: MmapRaw,
    locked: AtomicBool,
    object: Object,
}

/// The open object, and what its producer holds of it. They go in this order: a name is removed with the
/// lease in hand, and while the file is open, no other object can have its inode.
#[derive(Debug)]
struct Object {
    claim: Option<Claim>,
    lease: Option<Lease>,
    /// Which process has marked it as open by an end.
    held: OnceLock<Origin>,
    spare: OnceLock<Arc<Spare>>,
    file: OwnedFd,
}

impl Segment {
    /// Creates a segment, calls `fill` with the start of its control, and only then lets others
    /// open it.
    ///
    /// Control and data are zero when `fill` sees them. `permissions` are the object's mode bits;
    /// with 0o600 only its owner can open it. The space is reserved: later writes cannot run out of
    /// it.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing is left behind, and an object that was there before stays
    /// untouched.
    pub fn create(
        name: &QueueName,
        geometry: Geometry,
        permissions: u32,
        fill: impl FnOnce(NonNull<u8>),
    ) -> Result<Self, CreateError> {
        let mode = Permissions::from_bits_truncate(permissions);
        let object = loop {
            if let Some(object) = Object::create(name, mode)? {
                break object;
            }
        };
        reserve(name, &object.file, geometry.total_len())?;
        Self::found(name, object, mode, geometry, fill)
    }

    /// Creates a segment without a name (`memfd_create(2)`). Other processes get it as a descriptor.
    /// Otherwise it behaves as [`Segment::create`].
    ///
    /// It is sealed: no process, not even this one, can truncate it while it is mapped elsewhere.
    /// `label` is its name in errors and in `/proc`.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn anonymous(
        label: &QueueName,
        geometry: Geometry,
        permissions: u32,
        fill: impl FnOnce(NonNull<u8>),
    ) -> Result<Self, CreateError> {
        let this = Self::unsealed(label, geometry, permissions, fill)?;
        this.seal(SEALS)?;
        Ok(this)
    }

    /// Creates a segment without a name, as [`Segment::anonymous`], that can still be truncated. It is to be
    /// [sealed](Self::seal_for_readers) before another process gets it.
    ///
    /// # Errors
    ///
    /// [`CreateError`].
    pub fn unsealed(
        label: &QueueName,
        geometry: Geometry,
        permissions: u32,
        fill: impl FnOnce(NonNull<u8>),
    ) -> Result<Self, CreateError> {
        let failed = |call| move |errno| create_error(label, call, errno);
        let file = memfd(label).map_err(failed("memfd_create"))?;
        let lease = Some(Lease::take(label, file.as_fd(), Role::Producer)?);
        let mode = Permissions::from_bits_truncate(permissions);
        fchmod(&file, mode).map_err(failed("fchmod"))?;
        reserve(label, &file, geometry.total_len())?;
        let object =
            Object { claim: None, lease, held: OnceLock::new(), spare: OnceLock::new(), file };
        Self::found(label, object, mode, geometry, fill)
    }

    /// Seals a segment that was made [unsealed](Self::unsealed): from now on no process can map it writable, or
    /// truncate it. The mappings that exist go on.
    ///
    /// # Errors
    ///
    /// [`CreateError::System`]; Linux before 5.1 has no such seal.
    pub fn seal_for_readers(&self) -> Result<(), CreateError> {
        self.seal(SEALS | SealFlag::F_SEAL_FUTURE_WRITE)
    }

    fn seal(&self, seals: SealFlag) -> Result<(), CreateError> {
        let sealed = fcntl(&self.object.file, FcntlArg::F_ADD_SEALS(seals));
        sealed.map(drop).map_err(|errno| create_error(&self.name, "fcntl(F_ADD_SEALS)", errno))
    }

    /// Maps an object that is new and long enough, calls `fill`, and marks it as ready.
    fn found(
        name: &QueueName,
        object: Object,
        permissions: Permissions,
        geometry: Geometry,
        fill: impl FnOnce(NonNull<u8>),
    ) -> Result<Self, CreateError> {
        let failed = |errno| create_error(name, "mmap", errno);
        let map = |offset, len| map(&object.file, Access::ReadWrite, offset, len).map_err(failed);
        let header = map(0, page_size())?;
        let geometry = geometry.identified();
        let (control, data) = (geometry.control(), geometry.data());
        let control = map(control.offset, control.len)?;
        let data = map(data.offset, data.len)?;

        view(&header).fill(&geometry);
        // The header says by now whose object it is: the mark for that goes.
        fchmod(&object.file, permissions).map_err(|errno| create_error(name, "fchmod", errno))?;
        fill(start(&control));
        view(&header).set_ready();
        let (name, mode, locked) = (name.clone(), Mode::Writer, AtomicBool::new(false));
        Ok(Self { name, mode, geometry, control, data, locked, object })
    }

    /// Opens a segment, waiting up to `timeout` for its creator to finish.
    ///
    /// A name that does not exist is an error at once, and so is an object that another user owns. The object's
    /// real size is checked before more than its first page is mapped.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the object is left as it was.
    pub fn open(name: &QueueName, mode: Mode, timeout: Duration) -> Result<Self, OpenError> {
        Self::open_trusting(name, mode, timeout, Trust::OwnUser)
    }

    /// Opens a segment that may belong to another user; otherwise as [`Segment::open`].
    ///
    /// # Errors
    ///
    /// [`OpenError`]; [`OpenError::Owner`] if `trust` does not cover the object's owner.
    pub fn open_trusting(
        name: &QueueName,
        mode: Mode,
        timeout: Duration,
        trust: Trust,
    ) -> Result<Self, OpenError> {
        Self::enter(name, open_named(name, mode, trust)?, mode, timeout)
    }

    /// Opens a segment by a descriptor that another process has handed over; otherwise as
    /// [`Segment::open`].
    ///
    /// The object is opened anew, through `/proc/self/fd`: a lock belongs to an open file, and two
    /// handles of one open file do not exclude one another. An object that is not sealed against
    /// truncation is refused.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; [`OpenError::NotSealed`] also for an object that is no memfd.
    pub fn from_fd(
        label: &QueueName,
        descriptor: BorrowedFd<'_>,
        mode: Mode,
        timeout: Duration,
    ) -> Result<Self, OpenError> {
        size(label, &descriptor)?;
        let seals = seals_of(label, descriptor)?;
        if mode != Mode::Observer && seals.contains(SealFlag::F_SEAL_FUTURE_WRITE) {
            return Err(OpenError::ReadOnly { name: label.clone() });
        }
        let file = reopen(descriptor, mode)
            .map_err(|errno| open_error(label, "open(/proc/self/fd)", errno))?;
        Self::enter(label, file, mode, timeout)
    }

    /// Opens a segment read-only, by a descriptor that was made for this process alone: it is not opened anew. So the
    /// object's permissions do not matter. Otherwise as [`Segment::from_fd`].
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn received(
        label: &QueueName,
        descriptor: OwnedFd,
        timeout: Duration,
    ) -> Result<Self, OpenError> {
        size(label, &descriptor)?;
        seals_of(label, descriptor.as_fd())?;
        Self::enter(label, descriptor, Mode::Observer, timeout)
    }

    /// Checks and maps an object that is open already.
    fn enter(
        name: &QueueName,
        file: OwnedFd,
        mode: Mode,
        timeout: Duration,
    ) -> Result<Self, OpenError> {
        let failed = |call| move |errno| open_error(name, call, errno);
        let header = wait_until_ready(name, &file, timeout)?;
        at_least(name, &file, page_size())?;
        let geometry = view(&header).read(name, page_size())?;
        at_least(name, &file, geometry.total_len())?;

        let (control, data) = (geometry.control(), geometry.data());
        let control_access =
            if mode == Mode::Observer { Access::ReadOnly } else { Access::ReadWrite };
        let data_access = if mode == Mode::Writer { Access::ReadWrite } else { Access::ReadOnly };
        let control =
            map(&file, control_access, control.offset, control.len).map_err(failed("mmap"))?;
        let data = map(&file, data_access, data.offset, data.len).map_err(failed("mmap"))?;
        let (name, locked) = (name.clone(), AtomicBool::new(false));
        let object = Object {
            claim: None,
            lease: None,
            held: OnceLock::new(),
            spare: OnceLock::new(),
            file,
        };
        Ok(Self { name, mode, geometry, control, data, locked, object })
    }

    /// Removes the name of a queue, even of another process's. A process that has the queue mapped
    /// keeps the memory.
    ///
    /// # Errors
    ///
    /// [`RemoveError`]; an object that cannot be opened as a queue is not removed.
    pub fn remove(name: &QueueName) -> Result<(), RemoveError> {
        Self::open(name, Mode::Observer, Duration::ZERO)?.remove_name()
    }

    fn remove_name(&self) -> Result<(), RemoveError> {
        Named::new(&self.name, &self.object.file)?.remove()
    }

    /// Marks this segment as open by an end of the queue, until it is dropped or its process ends. The
    /// mark is a kernel lock that all ends share. Callers that only look, as `fanout stat` does, set no mark.
    ///
    /// Where somebody [removes](Self::remove_unused) the queue at this moment, it waits until that is done.
    ///
    /// # Errors
    ///
    /// [`OpenError::System`].
    pub fn hold(&self) -> Result<(), OpenError> {
        let started = Instant::now();
        loop {
            match set_lock(&self.object.file, libc::F_RDLCK, HELD) {
                Err(Errno::EAGAIN | Errno::EACCES) if started.elapsed() < READY_TIMEOUT => {
                    std::thread::sleep(LOOK_AGAIN);
                }
                answer => {
                    if answer.is_ok() {
                        let _ = self.object.held.set(Origin::here());
                        if self.mode != Mode::Observer {
                            self.keep_spare();
                        }
                    }
                    return answer
                        .map_err(|errno| open_error(&self.name, "fcntl(F_OFD_SETLK)", errno));
                }
            }
        }
    }

    pub(crate) fn spare(&self) -> Option<&Arc<Spare>> {
        self.object.spare.get()
    }

    pub(crate) fn set_spare(&self, spare: Spare) {
        // If another thread was faster, one is enough.
        let _ = self.object.spare.set(Arc::new(spare));
    }

    /// Whether the object has no name any more: nobody else will find it. So it is with all that were made
    /// without a name.
    pub fn is_nameless(&self) -> bool {
        fstat(&self.object.file).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Whether the queue has a producer that is alive, in whatever pid namespace it runs. If the kernel
    /// does not tell, we assume so.
    pub fn has_producer(&self) -> bool {
        self.is_leased(Role::Producer)
    }

    /// Removes the name now, if this segment created it; a second call does nothing.
    pub fn unlink(&mut self) {
        self.object.claim = None;
    }

    /// Leaves the name as it is when this is dropped.
    pub fn leave_name(&self) {
        if let Some(claim) = &self.object.claim {
            claim.stays.store(true, Ordering::Relaxed);
        }
    }

    /// The segment's name.
    pub fn name(&self) -> &QueueName {
        &self.name
    }

    /// The mode in which this segment is mapped.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// A descriptor of the object for another process. It is opened anew, read-only if `mode` is
    /// [`Mode::Observer`], and closed on exec.
    ///
    /// # Errors
    ///
    /// [`DescriptorError`], for example if `/proc` is not mounted.
    pub fn descriptor(&self, mode: Mode) -> Result<OwnedFd, DescriptorError> {
        reopen(self.object.file.as_fd(), mode)
            .map_err(|errno| DescriptorError::new(self.name.clone(), OsError::new(errno)))
    }

    /// Where data begins in the object, in bytes.
    pub fn data_offset(&self) -> u64 {
        self.geometry.data().offset
    }

    /// The checked, private copy of the header.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The start of control, page-aligned.
    ///
    /// It may be read while the segment lives, and written unless the mode is [`Mode::Observer`].
    pub fn control(&self) -> NonNull<u8> {
        start(&self.control)
    }

    /// Length of control in bytes.
    pub fn control_len(&self) -> usize {
        self.control.len()
    }

    /// The start of data, page-aligned.
    ///
    /// It may be read while the segment lives, and written if the mode is [`Mode::Writer`].
    pub fn data(&self) -> NonNull<u8> {
        start(&self.data)
    }

    /// Length of data in bytes.
    pub fn data_len(&self) -> usize {
        self.data.len()
    }

    /// Takes the segment's lock, which the kernel releases when the process that holds it dies.
    ///
    /// It is an open-file-description lock (`fcntl(2)`) on the first byte: two handles exclude one
    /// another even within one process, and so do two threads that share a handle. An observer
    /// cannot lock: the kernel wants a file that is open for writing.
    ///
    /// # Errors
    ///
    /// [`LockError::Busy`] if another process or thread held it until `timeout` had passed.
    pub fn lock(&self, timeout: Duration) -> Result<SegmentLock<'_>, LockError> {
        let started = Instant::now();
        loop {
            match self.try_lock() {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) => {}
                Err(errno) => {
                    let (name, call) = (self.name.clone(), "fcntl(F_OFD_SETLK)");
                    return Err(LockError::System { name, call, errno: OsError::new(errno) });
                }
            }
            if started.elapsed() >= timeout {
                return Err(LockError::Busy { name: self.name.clone(), waited: timeout });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn try_lock(&self) -> Result<Option<SegmentLock<'_>>, Errno> {
        // The kernel's lock belongs to the open file, so it cannot tell two threads with one handle
        // apart.
        // edge: unlock -> lock
        if self.locked.swap(true, Ordering::Acquire) {
            return Ok(None);
        }
        // Dropped below unless the kernel agrees. To unlock a lock that we do not hold changes
        // nothing.
        let lock = SegmentLock { segment: self };
        match set_lock(&self.object.file, libc::F_WRLCK, JOINING) {
            Ok(()) => Ok(Some(lock)),
            Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.object.file.as_fd()
    }
}

/// The segment's lock, held until this is dropped.
#[must_use = "it is unlocked when it is dropped"]
#[derive(Debug)]
pub struct SegmentLock<'a> {
    segment: &'a Segment,
}

impl Drop for SegmentLock<'_> {
    fn drop(&mut self) {
        // Unlocking cannot fail; if it did, closing the file would release what we hold.
        let _ = set_lock(&self.segment.object.file, libc::F_UNLCK, JOINING);
        // edge: unlock -> lock
        self.segment.locked.store(false, Ordering::Release);
    }
}

impl Object {
    /// Creates an object of this name, and takes the producer's role at once: a creator that is alive
    /// must be seen to be.
    ///
    /// `None` if this process was stopped in between for so long that another one took it for dead, and
    /// removes the name.
    fn create(name: &QueueName, mode: Permissions) -> Result<Option<Self>, CreateError> {
        let failed = |call| move |errno| create_error(name, call, errno);
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
        let file = shm_open(name.as_str(), flags, mode | UNFINISHED).map_err(failed("shm_open"))?;
        let identity = identity(&fstat(&file).map_err(failed("fstat"))?);
        let claim = Claim::of(Named { name: name.clone(), identity });

        // The umask has removed some of these bits, and the lease needs the owner's.
        let owners = mode | UNFINISHED | Permissions::S_IRUSR | Permissions::S_IWUSR;
        fchmod(&file, owners).map_err(failed("fchmod"))?;
        let lease = match Lease::take(name, file.as_fd(), Role::Producer) {
            Err(LeaseError::Busy { .. }) => {
                // The process that has the lease removes the name. If we did it too, one of us might remove
                // another queue's.
                core::mem::forget(claim);
                return Ok(None);
            }
            answer => answer?,
        };
        let is_there = fstat(&file).map_err(failed("fstat"))?.st_nlink > 0;
        Ok(is_there.then_some(Self {
            claim: Some(claim),
            lease: Some(lease),
            held: OnceLock::new(),
            spare: OnceLock::new(),
            file,
        }))
    }
}

/// A name, and the object that it meant. The object must be open: otherwise another one may get its
/// identity.
#[derive(Debug)]
struct Named {
    name: QueueName,
    identity: (u64, u64),
}

impl Named {
    fn new(name: &QueueName, file: &OwnedFd) -> Result<Self, OpenError> {
        let stat = fstat(file).map_err(|errno| open_error(name, "fstat", errno))?;
        Ok(Self { name: name.clone(), identity: identity(&stat) })
    }

    /// Whether the name still means the object. It may have been removed, and given to another one.
    fn is_valid(&self) -> bool {
        // By its path: a process at its limit of descriptors cannot open it.
        let path = format!("/dev/shm{}", self.name.as_str());
        lstat(path.as_str()).is_ok_and(|stat| identity(&stat) == self.identity)
    }

    /// Removes the name, if it still means the object.
    fn remove(&self) -> Result<(), RemoveError> {
        if !self.is_valid() {
            return Ok(());
        }
        shm_unlink(self.name.as_str()).map_err(|errno| {
            let (name, call) = (self.name.clone(), "shm_unlink");
            RemoveError::System { name, call, errno: OsError::new(errno) }
        })
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // A child that was forked a moment ago has a copy of the file until it calls exec. Unlocking ends the mark for
        // the copy, too; closing does not.
        if self.held.get().is_some_and(|origin| origin.is_here()) {
            let _ = set_lock(&self.file, libc::F_UNLCK, HELD);
        }
    }
}

/// The name of an object that this process created, or took over.
#[derive(Debug)]
struct Claim {
    named: Named,
    origin: Origin,
    /// Whether the name is left as it is.
    stays: AtomicBool,
}

impl Claim {
    fn of(named: Named) -> Self {
        Self { named, origin: Origin::here(), stays: AtomicBool::new(false) }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A child that was forked from the creator has a copy of this claim, and must not remove
        // the name.
        if self.origin.is_here() && !self.stays.load(Ordering::Relaxed) {
            let _ = self.named.remove();
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Access {
    ReadOnly,
    ReadWrite,
}

pub(crate) fn identity(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Makes an object without a name, which can be sealed.
pub(crate) fn memfd(label: &QueueName) -> Result<OwnedFd, Errno> {
    memfd_create(label.bare(), MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
}

/// The seals of an object that cannot be truncated.
pub(crate) fn seals_of(name: &QueueName, object: BorrowedFd<'_>) -> Result<SealFlag, OpenError> {
    let seals = fcntl(object, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_truncate);
    let sealed = seals.ok().filter(|seals| seals.contains(SealFlag::F_SEAL_SHRINK));
    sealed.ok_or_else(|| OpenError::NotSealed { name: name.clone() })
}

/// Size of a page in bytes.
pub fn page_size() -> u64 {
    match sysconf(SysconfVar::PAGE_SIZE) {
        Ok(Some(bytes)) if bytes > 0 => bytes as u64,
        _ => 4096,
    }
}

/// How many processors the machine has switched on: at least one.
pub fn processors() -> usize {
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN);
    online.ok().flatten().and_then(|n| usize::try_from(n).ok()).map_or(1, |n| n.max(1))
}

/// Sets the size, and makes the kernel reserve every page now.
pub(crate) fn reserve(name: &QueueName, file: &impl AsFd, bytes: u64) -> Result<(), CreateError> {
    loop {
        return match posix_fallocate(file, 0, bytes as i64) {
            Ok(()) => Ok(()),
            Err(Errno::EINTR) => continue,
            Err(Errno::ENOSPC | Errno::EFBIG | Errno::ENOMEM) => {
                Err(CreateError::NoSpace { name: name.clone(), bytes })
            }
            Err(errno) => Err(create_error(name, "posix_fallocate", errno)),
        };
    }
}

fn map(file: &OwnedFd, access: Access, offset: u64, len: u64) -> Result<MmapRaw, Errno> {
    let mut options = MmapOptions::new();
    options.offset(offset).len(usize::try_from(len).map_err(|_| Errno::EOVERFLOW)?);
    let mapped = match access {
        Access::ReadOnly => options.map_raw_read_only(file),
        Access::ReadWrite => options.map_raw(file),
    };
    mapped.map_err(|error| error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw))
}

/// Opens an object by its name, if its owner is trusted.
fn open_named(name: &QueueName, mode: Mode, trust: Trust) -> Result<OwnedFd, OpenError> {
    let access = if mode == Mode::Observer { OFlag::O_RDONLY } else { OFlag::O_RDWR };
    // O_NONBLOCK: a pipe of that name must not block us.
    let flags = access | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    let file = shm_open(name.as_str(), flags, Permissions::empty())
        .map_err(|errno| not_opened(name, errno))?;
    // What has been opened stays the same object, whatever happens to the name.
    trust.check(name, &file)?;
    Ok(file)
}

/// Why there is nothing to open. The kernel says the same of a socket and of a device.
fn not_opened(name: &QueueName, errno: Errno) -> OpenError {
    let is_socket = || {
        let path = format!("/dev/shm{}", name.as_str());
        let kind = lstat(path.as_str()).map(|stat| SFlag::from_bits_truncate(stat.st_mode));
        kind.is_ok_and(|kind| kind & SFlag::S_IFMT == SFlag::S_IFSOCK)
    };
    match open_error(name, "shm_open", errno) {
        OpenError::NotRegular { name } if is_socket() => OpenError::Socket { name },
        error => error,
    }
}

/// Opens the object of a descriptor once more, with the rights of `mode`.
pub(crate) fn reopen(descriptor: BorrowedFd<'_>, mode: Mode) -> Result<OwnedFd, Errno> {
    let access = if mode == Mode::Observer { OFlag::O_RDONLY } else { OFlag::O_RDWR };
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    open(path.as_str(), access | OFlag::O_CLOEXEC, Permissions::empty())
}

fn start(map: &MmapRaw) -> NonNull<u8> {
    NonNull::new(map.as_mut_ptr()).expect("a mapping does not start at address zero")
}

fn view(map: &MmapRaw) -> &Header {
    assert!(map.len() >= size_of::<Header>());
    // SAFETY: the mapping is page-aligned, longer than a header (asserted), lives as long as the
    // reference, and a header is all atomics, for which every bit pattern is valid.
    unsafe { &*map.as_ptr().cast::<Header>() }
}

fn size(name: &QueueName, file: &impl AsFd) -> Result<u64, OpenError> {
    let stat = fstat(file).map_err(|errno| open_error(name, "fstat", errno))?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFREG {
        return Err(OpenError::NotRegular { name: name.clone() });
    }
    Ok(stat.st_size.max(0) as u64)
}

/// Maps the header read-only, once the creator has marked it as ready.
fn wait_until_ready(
    name: &QueueName,
    file: &OwnedFd,
    timeout: Duration,
) -> Result<MmapRaw, OpenError> {
    let started = Instant::now();
    loop {
        if let Some(header) = first_page(name, file)?
            && view(&header).is_ready(name)?
        {
            return Ok(header);
        }
        if started.elapsed() >= timeout {
            return Err(OpenError::NotReady { name: name.clone(), waited: timeout });
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Maps the first page read-only; `None` while the object is empty, as a new one is.
///
/// An object shorter than a page reads as zeros to the end of its page.
fn first_page(name: &QueueName, file: &OwnedFd) -> Result<Option<MmapRaw>, OpenError> {
    if size(name, file)? == 0 {
        return Ok(None);
    }
    let header = map(file, Access::ReadOnly, 0, page_size());
    header.map(Some).map_err(|errno| open_error(name, "mmap", errno))
}

/// Fails if the object is shorter: touching a page that it does not have would be a SIGBUS.
pub(crate) fn at_least(name: &QueueName, file: &OwnedFd, expected: u64) -> Result<(), OpenError> {
    let found = size(name, file)?;
    if found < expected {
        return Err(OpenError::Truncated { name: name.clone(), expected, found });
    }
    Ok(())
}
