//! The memory of a line: two rings in one object without a name.
//!
//! | bytes | what |
//! |---:|---|
//! | 0 | the control of the ring of requests, its marks, and behind them [room](Line::room) for words of the client's own |
//! | a page | the control of the ring of answers, and its marks |
//! | two pages | the requests; only the client maps them writable |
//! | behind them | the answers; only the server maps them writable |
//!
//! The server makes it, sealed against cutting, and gives the client a descriptor. Neither ring needs a lock of the
//! kernel's: each has one consumer, and who is alive the connection says.

use core::ffi::CStr;
use core::fmt;
use core::ptr::NonNull;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Capacity, OsError, QueueName, Sequence};
use day2::segment::page_size;
use day2::{DescriptorError, LeaseError, LockError, Mode, Role};
use day3::Memory;
use day3::control::{Control, control_len};
use day3::landing::Landing;
use day3::link::{Lease, Leases};
use day3::memory::{TRAIL_BYTES, locked};
use day3::roster::Ring;
use day4::ByteMemory;
use day4::marks::Marks;
use day4::mirror::{Access, Mirror};
use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;

use super::connection::Connection;

/// How much of a page each ring's control takes, with its marks.
const CONTROL: usize = (control_len(1) + TRAIL_BYTES) as usize;
/// Where the client's own words begin: behind that.
const WORDS: usize = CONTROL.next_multiple_of(128);
/// How many bytes there are for them.
pub(crate) const ROOM: usize = 4096 - WORDS;

/// How many bytes each ring has for messages: powers of two, and whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    requests: u64,
    answers: u64,
}

/// The most bytes of one of the rings.
const MOST: u64 = 1 << 30;

impl Plan {
    /// `None` if these cannot be the sizes of two rings.
    pub fn new(requests: u64, answers: u64) -> Option<Self> {
        let page = page_size();
        let fits = |bytes: u64| bytes.is_power_of_two() && (page..=MOST).contains(&bytes);
        (fits(requests) && fits(answers)).then_some(Self { requests, answers })
    }

    /// Whole pages for at least so many bytes, as far as a ring can be that large: the size of one ring.
    pub fn rounded(bytes: u64) -> u64 {
        bytes.clamp(page_size(), MOST).next_power_of_two()
    }

    /// How many bytes the ring of requests has.
    pub fn requests(self) -> u64 {
        self.requests
    }

    /// How many bytes the ring of answers has.
    pub fn answers(self) -> u64 {
        self.answers
    }

    /// All bytes of the object.
    pub fn total(self) -> u64 {
        2 * page_size() + self.requests + self.answers
    }
}

/// Who has the memory mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Client,
    Server,
}

/// The memory of one client, as one of the two has it mapped.
pub struct Line {
    control: MmapRaw,
    requests: Mirror,
    answers: Mirror,
    plan: Plan,
    party: Party,
    connection: Arc<Connection>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// Makes an object of so many bytes, all zeros, whose size nobody can change.
pub(crate) fn sealed(name: &CStr, bytes: u64) -> Result<OwnedFd, (&'static str, Errno)> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let object = memfd_create(name, flags).map_err(|errno| ("memfd_create", errno))?;
    reserve(&object, bytes)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&object, FcntlArg::F_ADD_SEALS(seals)).map_err(|errno| ("fcntl(F_ADD_SEALS)", errno))?;
    Ok(object)
}

/// Sets the size of an object, and makes the kernel reserve every page now.
fn reserve(object: &OwnedFd, bytes: u64) -> Result<(), (&'static str, Errno)> {
    let len = i64::try_from(bytes).map_err(|_| ("posix_fallocate", Errno::EFBIG))?;
    loop {
        match nix::fcntl::posix_fallocate(object, 0, len) {
            Err(Errno::EINTR) => {}
            done => return done.map_err(|errno| ("posix_fallocate", errno)),
        }
    }
}

/// How long an object is, in bytes; `None` if it could be cut short while it is mapped.
pub(crate) fn sealed_len(object: &OwnedFd) -> Result<Option<u64>, (&'static str, Errno)> {
    let seals = fcntl(object, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_truncate);
    if !seals.is_ok_and(|seals| seals.contains(SealFlag::F_SEAL_SHRINK)) {
        return Ok(None);
    }
    let stat = fstat(object).map_err(|errno| ("fstat", errno))?;
    Ok(Some(stat.st_size.max(0) as u64))
}

pub(crate) fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

impl Line {
    /// Maps an object that was [made](sealed) for this plan.
    pub(crate) fn map(
        object: &OwnedFd,
        plan: Plan,
        party: Party,
        connection: Arc<Connection>,
    ) -> Result<Arc<Self>, (&'static str, Errno)> {
        let failed = |error: std::io::Error| ("mmap", errno_of(&error));
        let page = page_size();
        let control = MmapOptions::new().len(2 * page as usize).map_raw(object).map_err(failed)?;
        let access = |owner| if party == owner { Access::ReadWrite } else { Access::ReadOnly };
        let map = |offset, len, owner| {
            Mirror::map(object.as_fd(), offset, len, access(owner)).map_err(failed)
        };
        let requests = map(2 * page, plan.requests, Party::Client)?;
        let answers = map(2 * page + plan.requests, plan.answers, Party::Server)?;
        Ok(Arc::new(Self { control, requests, answers, plan, party, connection }))
    }

    /// Whether the other end is there.
    pub fn is_alive(&self) -> bool {
        self.connection.is_alive()
    }

    /// Makes both rings ready. Nobody else has the memory yet.
    pub(crate) fn start(self: &Arc<Self>) {
        for which in [Which::Requests, Which::Answers] {
            let lane = Lane::new(self, which);
            // SAFETY: it is zeros, and no other end has it yet.
            unsafe { lane.control().start_at(Sequence::new(0)) };
            // SAFETY: as above.
            unsafe { lane.marks().start_at(Sequence::new(0)) };
        }
    }

    /// Where this ring's control begins.
    fn control(&self, which: Which) -> NonNull<u8> {
        let page = if which == Which::Requests { 0 } else { page_size() as usize };
        let start = self.control.as_mut_ptr().wrapping_add(page);
        NonNull::new(start).expect("a mapping does not start at address zero")
    }

    /// Where the client has [`ROOM`] bytes of its own, aligned to 128: mapped as long as this is, written by others.
    pub(crate) fn room(&self) -> NonNull<u8> {
        let start = self.control(Which::Requests).as_ptr().wrapping_add(WORDS);
        NonNull::new(start).expect("a mapping does not end at address zero")
    }
}

/// Which of the two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Requests,
    Answers,
}

/// One of the two rings.
#[derive(Debug)]
pub(crate) struct Lane {
    line: Arc<Line>,
    which: Which,
    capacity: Capacity,
    leases: Leases,
    admission: Mutex<()>,
}

impl Lane {
    pub(crate) fn new(line: &Arc<Line>, which: Which) -> Self {
        let bytes = match which {
            Which::Requests => line.plan.requests,
            Which::Answers => line.plan.answers,
        };
        let capacity = Capacity::new(bytes).expect("a plan has powers of two");
        let (leases, admission) = (Leases::new(1), Mutex::new(()));
        Self { line: Arc::clone(line), which, capacity, leases, admission }
    }

    fn mirror(&self) -> &Mirror {
        match self.which {
            Which::Requests => &self.line.requests,
            Which::Answers => &self.line.answers,
        }
    }
}

/// What a line is called in errors.
fn nameless() -> QueueName {
    "/fanout-tasks".parse().expect("a valid name")
}

// SAFETY: the line's mappings stay in place for as long as it lives; they are page-aligned; the plan says that data is
// the capacity; the side that writes a ring has it writable.
unsafe impl Memory for Lane {
    fn control(&self) -> &Control {
        let control = Control::at(self.line.control(self.which), 1);
        // SAFETY: page-aligned, long enough (asserted), and all atomics.
        unsafe { control.as_ref() }
    }

    fn data(&self) -> NonNull<u8> {
        self.mirror().start()
    }

    fn ring(&self) -> Ring {
        Ring { capacity: self.capacity, first: Sequence::new(0) }
    }

    fn landing(&self) -> &dyn Landing {
        self.marks()
    }

    /// Each ring has one consumer, and that joins once.
    fn locked(&self, timeout: Duration, f: &mut dyn FnMut()) -> Result<(), LockError> {
        locked(&self.admission, timeout, f)
    }

    fn lease(&self, role: Role) -> Result<Lease, LeaseError> {
        self.leases.take(role)
    }

    /// The other end is alive as long as the connection is.
    fn is_leased(&self, _: Role) -> bool {
        self.line.connection.is_alive()
    }

    fn can_be_resumed(&self) -> bool {
        false
    }

    fn watch(&self, role: Role) -> Lease {
        let is_servers = self.line.party == Party::Server && self.which == Which::Answers;
        // A client that sleeps is woken when the server dies. A server is told by its connections.
        match role {
            Role::Producer if is_servers => day3::memory::watch(self.control(), role),
            _ => Box::new(()),
        }
    }
}

// SAFETY: a mirror is the data, twice.
unsafe impl ByteMemory for Lane {
    fn marks(&self) -> &Marks {
        let marks = self.line.control(self.which).as_ptr().wrapping_add(control_len(1) as usize);
        let marks = NonNull::new(marks).expect("a mapping does not end at address zero");
        // SAFETY: behind control, within its page (asserted), and all atomics.
        unsafe { marks.cast::<Marks>().as_ref() }
    }

    /// Nobody else gets it.
    fn descriptor(&self, _: Mode) -> Result<OwnedFd, DescriptorError> {
        Err(DescriptorError::new(nameless(), OsError::new(Errno::EPERM)))
    }
}
