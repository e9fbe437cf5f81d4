//! The memory that a client and its server share: two rings in one object without a name.
//!
//! | bytes | what |
//! |---:|---|
//! | 0 | the control of the ring of requests, its marks, and behind them the client's own [words](Words) |
//! | a page | the control of the ring of answers, and its marks |
//! | two pages | the requests; only the client maps them writable |
//! | behind them | the answers; only the server maps them writable |
//!
//! The server makes it, sealed against cutting, and gives the client a descriptor. Neither ring needs a lock of the
//! kernel's: each has one consumer, and who is alive the connection says.

use core::ffi::CStr;
use core::fmt;
use core::mem::offset_of;
use core::ptr::NonNull;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::sync::{AtomicU64, Ordering};
use common::{Capacity, OsError, QueueName, Sequence};
use crossbeam_utils::CachePadded;
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
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::stat::fstat;

use super::message::MOST_OUTSTANDING;

/// What the client says beside its ring.
///
/// A change raises the version of the [protocol](super::wire): no segment has it, so not
/// [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[repr(C)]
pub(super) struct Words {
    /// How many tasks it has issued.
    pub(super) issued: CachePadded<AtomicU64>,
    /// A bit for each place whose task it has cancelled.
    pub(super) cancelled: [AtomicU64; MOST_OUTSTANDING / 64],
}

const _: () = {
    assert!(offset_of!(Words, issued) == 0);
    assert!(offset_of!(Words, cancelled) == 128);
};

/// How much of a page each ring's control takes, with its marks.
const CONTROL: usize = (control_len(1) + TRAIL_BYTES) as usize;
/// Where the client's words begin: behind that.
const WORDS: usize = CONTROL.next_multiple_of(128);
const _: () = assert!(WORDS + size_of::<Words>() <= 4096);

/// How many bytes each ring has for messages: powers of two, and whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) requests: u64,
    pub(super) answers: u64,
}

/// The most bytes of one of the rings.
const MOST: u64 = 1 << 30;

impl Plan {
    /// `None` if these cannot be the sizes of two rings.
    pub(super) fn new(requests: u64, answers: u64) -> Option<Self> {
        let page = page_size();
        let fits = |bytes: u64| bytes.is_power_of_two() && (page..=MOST).contains(&bytes);
        (fits(requests) && fits(answers)).then_some(Self { requests, answers })
    }

    /// Whole pages for at least so many bytes.
    pub(super) fn rounded(bytes: u64) -> u64 {
        bytes.clamp(page_size(), MOST).next_power_of_two()
    }

    /// All bytes of the object.
    pub(super) fn total(self) -> u64 {
        2 * page_size() + self.requests + self.answers
    }
}

/// Who has the memory mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Party {
    Client,
    Server,
}

/// The connection of a client and its server: while it stands, both are alive.
#[derive(Debug)]
pub(super) enum Connection {
    /// A socket.
    Socket(OwnedFd),
    /// Both are in this thread.
    Local,
}

impl Connection {
    /// Whether the other end is there.
    pub(super) fn is_alive(&self) -> bool {
        let Self::Socket(socket) = self else { return true };
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        match recv(socket.as_raw_fd(), &mut [0], flags) {
            Ok(0) => false,
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => true,
            Err(_) => false,
        }
    }

    /// Ends it, for both ends, and also if there are copies of the descriptor.
    pub(super) fn hang_up(&self) {
        if let Self::Socket(socket) = self {
            let _ =
                nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        }
    }
}

/// The memory of one client, as one of the two has it mapped.
pub(super) struct Line {
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

/// Makes the object for a client's line, all zeros.
pub(super) fn create(plan: Plan) -> Result<OwnedFd, (&'static str, Errno)> {
    sealed(c"fanout-tasks", plan.total())
}

/// Makes an object of so many bytes, all zeros, whose size nobody can change.
pub(super) fn sealed(name: &CStr, bytes: u64) -> Result<OwnedFd, (&'static str, Errno)> {
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
pub(super) fn sealed_len(object: &OwnedFd) -> Result<Option<u64>, (&'static str, Errno)> {
    let seals = fcntl(object, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_truncate);
    if !seals.is_ok_and(|seals| seals.contains(SealFlag::F_SEAL_SHRINK)) {
        return Ok(None);
    }
    let stat = fstat(object).map_err(|errno| ("fstat", errno))?;
    Ok(Some(stat.st_size.max(0) as u64))
}

pub(super) fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

impl Line {
    /// Maps an object that [`create`] has made for this plan.
    pub(super) fn map(
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

    /// Makes both rings ready. Nobody else has the memory yet.
    pub(super) fn start(self: &Arc<Self>) {
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

    /// What the client says.
    pub(super) fn words(&self) -> &Words {
        let words = self.control(Which::Requests).as_ptr().wrapping_add(WORDS).cast::<Words>();
        // SAFETY: within the first page, aligned, all atomics, for as long as the mapping is there.
        unsafe { &*words }
    }

    /// Whether the client has cancelled the task in this place.
    pub(super) fn is_cancelled(&self, place: u32) -> bool {
        let (word, bit) = (place as usize / 64, place % 64);
        let word = self.words().cancelled.get(word);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> bit & 1 != 0)
    }

    /// Says whether the task in this place is cancelled.
    pub(super) fn set_cancelled(&self, place: u32, is_cancelled: bool) {
        let (word, bit) = (&self.words().cancelled[place as usize / 64], 1 << (place % 64));
        // Relaxed: what a server sees too late is a task that is done all the same.
        if is_cancelled {
            word.fetch_or(bit, Ordering::Relaxed);
        } else if word.load(Ordering::Relaxed) & bit != 0 {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// Which of the two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Requests,
    Answers,
}

/// One of the two rings.
#[derive(Debug)]
pub(super) struct Lane {
    line: Arc<Line>,
    which: Which,
    capacity: Capacity,
    leases: Leases,
    admission: Mutex<()>,
}

impl Lane {
    pub(super) fn new(line: &Arc<Line>, which: Which) -> Self {
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
