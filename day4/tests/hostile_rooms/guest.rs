//! A guest process, and all that it was given: two descriptors and a page.

use std::env;
use std::fs::{self, File};
use std::io::IoSliceMut;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::NonNull;
use std::time::Duration;

use common::sync::AtomicU64;
use day3::QueueOptions;
use day4::Writer;
use day4::rendezvous::{Serving, serve};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg,
    send, socket,
};
use testing::{Folder, another, mix};

/// The variable that tells a process which runs a test of another one what to do.
pub(crate) const TASK: &str = "FANOUT_TEST_TASK";

/// The variable with the path at which the ring is served.
const PATH: &str = "FANOUT_TEST_PATH";

/// Length of a page in bytes.
pub(crate) const PAGE: usize = 4096;

/// A ring whose consumers have private rooms, its writer, and where it is served.
pub(crate) struct House {
    pub(crate) writer: Writer,
    pub(crate) path: PathBuf,
    pub(crate) serving: Option<Serving>,
    _folder: Folder,
}

impl House {
    pub(crate) fn new(options: &QueueOptions) -> Self {
        let folder = Folder::new();
        let path = folder.join("ring");
        let writer = Writer::private(options).unwrap();
        let serving = Some(serve(&path, writer.offer()).unwrap());
        Self { writer, path, serving, _folder: folder }
    }

    /// A process of its own that does this. `entry` is the test that it runs.
    pub(crate) fn process(&self, entry: &str, task: &str) -> Command {
        let mut command = another(entry);
        command.env(TASK, task).env(PATH, &self.path);
        command
    }
}

/// In a process that a test has started: what it is to do.
pub(crate) fn task() -> String {
    // The test harness has begun the first line with the test's name.
    println!();
    env::var(TASK).unwrap_or_default()
}

/// In a process that a test has started: where the ring is served.
pub(crate) fn path() -> PathBuf {
    env::var_os(PATH).unwrap().into()
}

/// A message that says itself whether it is whole. Its number alone decides its length and content.
pub(crate) fn message(number: u64) -> Vec<u8> {
    let words = 2 + mix(number) % 12;
    let rest = (1..words).map(|at| mix(number.wrapping_add(at << 32)));
    [number].into_iter().chain(rest).flat_map(u64::to_le_bytes).collect()
}

/// The number of a message that is whole.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    let number = bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)).unwrap();
    assert_eq!(bytes, message(number), "message {number} is not as it was sent");
    number
}

/// What a host gives to a client that asks by hand for a room.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) ring: OwnedFd,
    pub(crate) page: OwnedFd,
    pub(crate) slot: u64,
}

/// The hello of a consumer that wants a room, and begins with the next message. It promises to go after that time, or
/// nothing.
fn hello(after: Option<Duration>) -> Vec<u8> {
    let mut bytes = b"FANOUT\0\0\x01\0\0\0\x03\0\0\0\x01\0\0\0".to_vec();
    bytes.extend(u32::from(after.is_some()).to_le_bytes());
    bytes.extend((after.unwrap_or_default().as_micros() as u64).to_le_bytes());
    bytes.resize(64, 0);
    bytes
}

/// A socket that has said hello, and has not listened yet.
pub(crate) fn knock(path: &Path, after: Option<Duration>) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    send(socket.as_raw_fd(), &hello(after), MsgFlags::MSG_NOSIGNAL).unwrap();
    socket
}

/// Moves in by hand, and promises nothing.
pub(crate) fn move_in(path: &Path) -> Given {
    move_in_for(path, None)
}

/// Moves in by hand.
pub(crate) fn move_in_for(path: &Path, after: Option<Duration>) -> Given {
    let socket = knock(path, after);
    let mut bytes = [0; 128];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut space = nix::cmsg_space!([i32; 2]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).unwrap();
    let numbers = message.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::ScmRights(numbers) => Some(numbers),
        _ => None,
    });
    // SAFETY: the kernel has just opened them for us.
    let own = |number: &i32| unsafe { OwnedFd::from_raw_fd(*number) };
    let mut descriptors: Vec<_> = numbers.unwrap().iter().map(own).collect();
    let slot = u64::from_le_bytes(*bytes[24..].first_chunk().unwrap());
    let page = descriptors.pop().unwrap();
    Given { ring: descriptors.pop().unwrap(), page, slot }
}

/// The pages that this process was given and has open, opened anew. A page is what it may write.
pub(crate) fn own_pages() -> Vec<File> {
    let is_page = |file: &File| {
        let mode = fcntl(file, FcntlArg::F_GETFL).map(OFlag::from_bits_truncate).unwrap();
        mode.contains(OFlag::O_RDWR) && file.metadata().unwrap().len() == PAGE as u64
    };
    let entries = fs::read_dir("/proc/self/fd").unwrap().flatten().map(|entry| entry.path());
    let is_memory = |path: &PathBuf| {
        fs::read_link(path).is_ok_and(|link| link.to_string_lossy().starts_with("/memfd:"))
    };
    let open = |path: PathBuf| File::options().read(true).write(true).open(path).ok();
    entries.filter(is_memory).filter_map(open).filter(is_page).collect()
}

/// The words of a page, as its guest may write them; mapped for good.
#[derive(Clone, Copy)]
pub(crate) struct Words(&'static [AtomicU64; PAGE / 8]);

/// Of a guest's words, which is which, in words from where they begin.
pub(crate) const CURSOR: usize = 0;
pub(crate) const LEFT: usize = 2;
/// The doorbell's two words, 32 bits each: the low half is the guest's, the high half the host's.
pub(crate) const DOORBELL: usize = 16;
/// The vital word is the low half of this one.
pub(crate) const VITAL: usize = 18;

impl Words {
    pub(crate) fn of(page: &impl AsFd) -> Self {
        let len = NonZeroUsize::new(PAGE).unwrap();
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, where the kernel finds room.
        let start = unsafe { mmap(None, len, access, MapFlags::MAP_SHARED, page, 0) }.unwrap();
        let words: NonNull<[AtomicU64; PAGE / 8]> = start.cast();
        // SAFETY: mapped for good, aligned, and all atomic words.
        Self(unsafe { words.as_ref() })
    }

    /// All words of the page.
    pub(crate) fn all(self) -> &'static [AtomicU64] {
        self.0
    }

    /// The word of this number among those of the guest in this slot.
    pub(crate) fn at(self, slot: usize, word: usize) -> &'static AtomicU64 {
        &self.0[slot % 8 * 64 + word]
    }
}
