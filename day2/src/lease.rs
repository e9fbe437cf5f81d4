//! Who is alive: a kernel lock for each role in a queue.
//!
//! The kernel releases a lock when its holder dies, however it dies, and in whatever pid namespace it
//! ran. So a lock says what a process id in shared memory cannot: that its holder lives. Nobody else
//! gets the role before the kernel has closed the dead process's files, and by then none of its threads
//! runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use common::sync::{AtomicBool, Ordering};
use common::{OsError, QueueName};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::mman::shm_open;
use nix::sys::stat::{Mode as Permissions, fstat};

use crate::error::LeaseError;
pub use crate::role::Role;
use crate::segment::{Mode, Segment, identity, reopen};
use crate::unshared::Unshared;

/// The byte that is locked while a consumer joins.
pub(crate) const JOINING: i64 = 0;
/// The byte on which every end but the producer has a shared lock.
pub(crate) const HELD: i64 = 1;
/// The byte on which the producer has a lock.
const PRODUCER: i64 = 2;
/// The byte that a process locks while it removes the name. Meanwhile it has the producer's lease, and is no
/// producer.
pub(crate) const REMOVING: i64 = 3;
/// The byte on which the consumer in slot 0 has a lock; the other slots' bytes follow.
const SLOTS: i64 = 64;

/// The byte of the object that is locked for a role. Locks need no bytes to be there.
fn byte(role: Role) -> i64 {
    match role {
        Role::Producer => PRODUCER,
        Role::Slot(slot) => SLOTS + i64::from(slot),
    }
}

/// A role in a queue, held until this is dropped or its process dies.
///
/// It is an open-file-description lock (`fcntl(2)`) on an open file that no other lease uses meanwhile, so two
/// leases exclude one another also within one process. It does not need the [`Segment`] that it was taken from.
///
/// # After a fork
///
/// The lease stays with the parent. The child has a copy of this value, and dropping the copy does
/// nothing. The child's copy of the open file is closed before other code runs in the child. So a
/// role is free when the parent has died, even if its child goes on. A child that a raw `clone(2)` makes
/// keeps its copy of the file open. It keeps a dead parent's roles until it ends or calls `exec`.
///
/// # Examples
///
/// ```
/// # mod fanout { pub mod segment { pub use day2::{*, header::Expected, segment::*}; } }
/// use fanout::segment::{Expected, Geometry, Kind, Mode, READY_TIMEOUT, Role, Segment, page_size};
///
/// let name = format!("/doc-lease-{}", std::process::id()).parse()?;
/// let expected = Expected::messages::<u64>(Kind::Log, "u64");
/// let geometry = Geometry::plan(&expected, 10, 0, 256, page_size())?;
/// let producer = Segment::create(&name, geometry, 0o600, |_control| ())?;
/// let consumer = Segment::open(&name, Mode::Reader, READY_TIMEOUT)?;
/// assert!(consumer.is_leased(Role::Producer));
///
/// let lease = consumer.lease(Role::Slot(5))?;
/// assert!(producer.is_leased(Role::Slot(5)) && producer.lease(Role::Slot(5)).is_err());
/// drop(lease); // Or: its process dies.
/// assert!(!producer.is_leased(Role::Slot(5)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the role is given back when the lease is dropped"]
#[derive(Debug)]
pub struct Lease {
    role: Role,
    file: Locked,
}

/// The open file that a lease is a lock on.
#[derive(Debug)]
enum Locked {
    Own(Unshared),
    Spare(Borrowed),
}

impl Locked {
    fn file(&self) -> &Unshared {
        match self {
            Self::Own(file) => file,
            Self::Spare(spare) => &spare.0.file,
        }
    }
}

/// An open file that is kept for leases that are taken for a moment: at that moment the process may not be able to open
/// one. It serves one lease at a time, because locks of one open file do not exclude one another.
#[derive(Debug)]
pub(crate) struct Spare {
    file: Unshared,
    is_lent: AtomicBool,
}

impl Spare {
    pub(crate) fn open(name: &QueueName, object: BorrowedFd<'_>) -> Result<Self, Errno> {
        let file = Unshared::open(|| open_anew(name, object))?;
        Ok(Self { file, is_lent: AtomicBool::new(false) })
    }

    /// Lends it, unless it is lent. A forked child has no copy of it.
    fn lend(self: &Arc<Self>) -> Option<Borrowed> {
        // edge: lend -> lend
        let is_free = self.file.is_here() && !self.is_lent.swap(true, Ordering::Acquire);
        is_free.then(|| Borrowed(self.clone()))
    }
}

#[derive(Debug)]
struct Borrowed(Arc<Spare>);

impl Drop for Borrowed {
    fn drop(&mut self) {
        // edge: lend -> lend. The lock is gone before the next borrower takes one.
        self.0.is_lent.store(false, Ordering::Release);
    }
}

impl Lease {
    /// Takes a role in the queue of this object.
    pub(crate) fn take(
        name: &QueueName,
        object: BorrowedFd<'_>,
        role: Role,
    ) -> Result<Self, LeaseError> {
        let file = Unshared::open(|| open_anew(name, object));
        let file = file.map_err(|errno| refused(name, "open(/proc/self/fd)", errno))?;
        Self::lock(name, Locked::Own(file), role)
    }

    fn lock(name: &QueueName, file: Locked, role: Role) -> Result<Self, LeaseError> {
        match set_lock(file.file(), libc::F_WRLCK, byte(role)) {
            Ok(()) => Ok(Self { role, file }),
            Err(Errno::EAGAIN | Errno::EACCES) => {
                Err(LeaseError::Busy { name: name.clone(), role })
            }
            Err(errno) => Err(refused(name, "fcntl(F_OFD_SETLK)", errno)),
        }
    }

    /// Which role this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether this process took it. It is not so in a forked child, whose copy holds nothing.
    pub fn is_here(&self) -> bool {
        self.file.file().is_here()
    }
}

fn refused(name: &QueueName, call: &'static str, errno: Errno) -> LeaseError {
    LeaseError::System { name: name.clone(), call, errno: OsError::new(errno) }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_here() {
            // Closing is not enough while a child of a raw clone(2) has a copy of the file. Unlocking
            // cannot fail.
            let _ = set_lock(self.file.file(), libc::F_UNLCK, byte(self.role));
        }
    }
}

/// Locks a whole object, on this open file, for as long as a descriptor of this open file is somewhere.
pub(crate) fn occupy(file: &impl AsFd) -> Result<(), Errno> {
    set_lock(file, libc::F_WRLCK, SLOTS)
}

/// Ends what [`occupy`] has begun.
pub(crate) fn release(file: &impl AsFd) {
    // Unlocking cannot fail; if it did, closing the file would release what we hold.
    let _ = set_lock(file, libc::F_UNLCK, SLOTS);
}

/// Says, on this open file, that the process lives that hands the object out.
pub(crate) fn vouch(file: &impl AsFd) -> Result<(), Errno> {
    set_lock(file, libc::F_WRLCK, PRODUCER)
}

/// Whether another open file than this one [vouches](vouch) for the object.
pub(crate) fn is_vouched_for(file: &impl AsFd) -> bool {
    is_locked(file, libc::F_RDLCK, PRODUCER)
}

/// Whether another open file than this one [occupies](occupy) the object.
pub(crate) fn is_occupied(file: &impl AsFd) -> bool {
    is_locked(file, libc::F_RDLCK, SLOTS)
}

impl Segment {
    /// Takes a role in this queue, which the kernel gives back when the process dies. It does not wait.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Busy`] if somebody has the role, even this process.
    pub fn lease(&self, role: Role) -> Result<Lease, LeaseError> {
        match Lease::take(self.name(), self.as_fd(), role) {
            Err(error @ LeaseError::System { .. }) => self.borrow(role).unwrap_or(Err(error)),
            answer => answer,
        }
    }

    /// The same, for a moment: if this segment [keeps](Self::keep_spare) an open file for that, none is opened. So it
    /// works also in a process that cannot open any more, or is no longer allowed to open this one.
    ///
    /// # Errors
    ///
    /// As [`Segment::lease`].
    pub fn lease_briefly(&self, role: Role) -> Result<Lease, LeaseError> {
        self.borrow(role).unwrap_or_else(|| Lease::take(self.name(), self.as_fd(), role))
    }

    /// Takes a role with the open file that this segment keeps, if it keeps one that is not lent.
    fn borrow(&self, role: Role) -> Option<Result<Lease, LeaseError>> {
        let spare = self.spare()?.lend()?;
        Some(Lease::lock(self.name(), Locked::Spare(spare), role))
    }

    /// Keeps one more open file of this object, so that a role can be [taken for a moment](Self::lease_briefly) at any
    /// time. Where none can be opened now, none is kept.
    pub fn keep_spare(&self) {
        if self.spare().is_none()
            && let Ok(spare) = Spare::open(self.name(), self.as_fd())
        {
            self.set_spare(spare);
        }
    }

    /// Whether somebody has this role, this process included. If the kernel does not tell, we assume
    /// so.
    pub fn is_leased(&self, role: Role) -> bool {
        is_leased(self, role)
    }
}

pub(crate) fn is_leased(object: &impl AsFd, role: Role) -> bool {
    // A lease is a lock for writing. A process that may only read the object can lock it for reading: that says nothing.
    is_locked(object, libc::F_RDLCK, byte(role))
}

/// Opens an object anew: a lock belongs to an open file.
fn open_anew(name: &QueueName, object: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    match reopen(object, Mode::Writer) {
        // Perhaps /proc is not mounted. Then by its name, if it has one that still means it.
        Err(Errno::ENOENT) => {
            let file = shm_open(name.as_str(), OFlag::O_RDWR, Permissions::empty())?;
            let is_same = identity(&fstat(&file)?) == identity(&fstat(object)?);
            if is_same { Ok(file) } else { Err(Errno::ENOENT) }
        }
        answer => answer,
    }
}

/// Whether another open file than this one has a lock on this byte that excludes a lock of this kind. If the kernel
/// does not tell, we assume that one has.
pub(crate) fn is_locked(file: &impl AsFd, kind: i32, byte: i64) -> bool {
    let mut lock = lock(kind, byte);
    match fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock)) {
        Ok(_) => lock.l_type != libc::F_UNLCK as i16,
        Err(_) => true,
    }
}

pub(crate) fn set_lock(file: &impl AsFd, kind: i32, byte: i64) -> Result<(), Errno> {
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock(kind, byte))).map(drop)
}

fn lock(kind: i32, byte: i64) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}
