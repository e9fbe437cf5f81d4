//! Pages that a process shares one by one, each with one other process.
//!
//! What a process may write in a segment, it may damage for everybody who has the segment mapped. A page of its own it
//! can damage for itself and the process that shares it. The process that hands the pages out has them side by
//! side, and reads them as words that anybody may have written.

use core::ffi::c_void;
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use std::os::fd::{AsFd, OwnedFd};

use common::QueueName;
use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use nix::sys::uio::pwrite;

use crate::error::{CreateError, OpenError, create_error, open_error};
use crate::lease::{is_occupied, is_vouched_for, occupy, release, vouch};
use crate::segment::{Mode, SEALS, at_least, memfd, page_size, reopen, reserve, seals_of};
use crate::unshared::Unshared;

/// The pages of the process that hands them out, side by side. Each is zeros until it is shared.
#[derive(Debug)]
pub struct Pages {
    start: NonNull<c_void>,
    count: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread. This type gives out addresses alone.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// So many pages, of [`page_size`] bytes each.
    ///
    /// # Errors
    ///
    /// [`CreateError::System`]; `label` is their name in errors.
    pub fn new(label: &QueueName, count: usize) -> Result<Self, CreateError> {
        let failed = |errno| create_error(label, "mmap", errno);
        let len = count.checked_mul(page_size() as usize).and_then(NonZeroUsize::new);
        let len = len.ok_or_else(|| failed(Errno::EINVAL))?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping, where the kernel finds room, replaces no other.
        let start = unsafe { mmap_anonymous(None, len, access, flags) }.map_err(failed)?;
        Ok(Self { start, count })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Where this page is. It may be read and written while `self` lives, and whenever a process shares it, that
    /// process may write it.
    ///
    /// # Panics
    ///
    /// If there are not as many.
    pub fn at(&self, page: usize) -> NonNull<u8> {
        assert!(page < self.count, "page {page} of {}", self.count);
        // SAFETY: within the mapping.
        unsafe { self.start.cast::<u8>().add(page * page_size() as usize) }
    }

    /// Puts a new page in this place. It is zeros but for `words`, which begin at byte `offset`. Returns what tells
    /// whether the other process has it, and the descriptor for that process.
    ///
    /// A process that shared the page which was in this place keeps that one. A thread that reads this place meanwhile
    /// reads the old page or the new one.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; this place stays as it was.
    pub fn share(
        &self,
        page: usize,
        new: NewPage,
        offset: usize,
        words: &[u64],
    ) -> Result<(SharedPage, OwnedFd), CreateError> {
        let NewPage { label, file, theirs } = new;
        let failed = |call, errno| create_error(&label, call, errno);
        let place = self.at(page);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        pwrite(&file, &bytes, offset as i64).map_err(|errno| failed("pwrite", errno))?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        let (address, len) = (place.addr(), page_size() as usize);
        let len = NonZeroUsize::new(len).unwrap_or(NonZeroUsize::MIN);
        // SAFETY: one page of our own mapping is replaced. Other threads reach it through `at`, as memory that anybody
        // may write.
        let mapped = unsafe { mmap(Some(address), len, access, flags, &file, 0) };
        mapped.map_err(|errno| failed("mmap", errno))?;
        Ok((SharedPage { file }, theirs))
    }
}

/// A page that is in no place yet.
#[derive(Debug)]
pub struct NewPage {
    label: QueueName,
    file: Unshared,
    theirs: OwnedFd,
}

impl NewPage {
    /// A page of zeros, and a descriptor for another process, which [occupies](SharedPage::is_occupied) it.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; `label` is its name in errors.
    pub fn new(label: &QueueName) -> Result<Self, CreateError> {
        let failed = |call| move |errno| create_error(label, call, errno);
        let file = Unshared::open(|| memfd(label)).map_err(failed("memfd_create"))?;
        vouch(&file).map_err(failed("fcntl(F_OFD_SETLK)"))?;
        reserve(label, &file, page_size())?;
        // It cannot be cut short: that would be a SIGBUS here.
        fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS)).map_err(failed("fcntl(F_ADD_SEALS)"))?;
        let theirs = reopen(file.as_fd(), Mode::Writer).map_err(failed("open(/proc/self/fd)"))?;
        occupy(&theirs).map_err(failed("fcntl(F_OFD_SETLK)"))?;
        Ok(Self { label: label.clone(), file, theirs })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: mapped by us, and all that was given out are addresses that are good while this lives.
        let unmapped = unsafe { munmap(self.start, self.count * page_size() as usize) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

/// A page that another process has, or has had.
#[derive(Debug)]
pub struct SharedPage {
    /// The lock on it says that this process is alive.
    file: Unshared,
}

impl SharedPage {
    /// Whether a process has the descriptor that was made for it. It ends when the process dies, or gives the page
    /// back. If the kernel does not tell, we assume so.
    pub fn is_occupied(&self) -> bool {
        is_occupied(&self.file)
    }
}

/// A page that another process has handed over.
#[derive(Debug)]
pub struct OwnPage {
    map: MmapRaw,
    /// The lock on it says that this process is alive.
    file: Unshared,
}

impl OwnPage {
    /// Maps the page behind this descriptor, which [`Pages::share`] made.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; `label` is its name in errors.
    pub fn map(label: &QueueName, descriptor: OwnedFd) -> Result<Self, OpenError> {
        seals_of(label, descriptor.as_fd())?;
        at_least(label, &descriptor, page_size())?;
        let failed = |call| move |errno| open_error(label, call, errno);
        // A copy of the descriptor is the same open file, and so has the same lock.
        let copy = || descriptor.try_clone().map_err(|_| Errno::EMFILE);
        let file = Unshared::open(copy).map_err(failed("fcntl(F_DUPFD_CLOEXEC)"))?;
        let map = map_page(&descriptor).map_err(|errno| open_error(label, "mmap", errno))?;
        Ok(Self { map, file })
    }

    /// Whether the process is alive that handed the page over. If the kernel does not tell, we assume so.
    ///
    /// No third process has the page open. So none can hold a lock on it in that process's place.
    pub fn has_host(&self) -> bool {
        is_vouched_for(&self.file)
    }

    /// Where it is: [`page_size`] bytes, which may be read and written while this lives.
    pub fn start(&self) -> NonNull<u8> {
        NonNull::new(self.map.as_mut_ptr()).expect("a mapping does not start at address zero")
    }
}

impl Drop for OwnPage {
    fn drop(&mut self) {
        if self.file.is_here() {
            // Closing is not enough while a child of a raw clone(2) has a copy of the file.
            release(&self.file);
        }
    }
}

/// A page that any number of processes share, and any of them may write. It has no name: a process gets it as a
/// descriptor.
#[derive(Debug)]
pub struct CommonPage {
    map: MmapRaw,
    file: OwnedFd,
}

impl CommonPage {
    /// A page of zeros. It is sealed: nobody can cut it short.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; `label` is its name in errors.
    pub fn new(label: &QueueName) -> Result<Self, CreateError> {
        let failed = |call| move |errno| create_error(label, call, errno);
        let file = memfd(label).map_err(failed("memfd_create"))?;
        reserve(label, &file, page_size())?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS)).map_err(failed("fcntl(F_ADD_SEALS)"))?;
        let map = map_page(&file).map_err(failed("mmap"))?;
        Ok(Self { map, file })
    }

    /// The page behind this descriptor.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotSealed`] for what could be cut short, [`OpenError`] for what is too short, or cannot be mapped
    /// writable. `label` is its name in errors.
    pub fn from_fd(label: &QueueName, file: OwnedFd) -> Result<Self, OpenError> {
        seals_of(label, file.as_fd())?;
        at_least(label, &file, page_size())?;
        let map = map_page(&file).map_err(|errno| open_error(label, "mmap", errno))?;
        Ok(Self { map, file })
    }

    /// A descriptor of it for another process.
    ///
    /// # Errors
    ///
    /// What the kernel said: this process is at its limit of descriptors.
    pub fn descriptor(&self) -> std::io::Result<OwnedFd> {
        self.file.try_clone()
    }

    /// Where it is: [`page_size`] bytes, which may be read and written while this lives, and which others write, too.
    pub fn start(&self) -> NonNull<u8> {
        NonNull::new(self.map.as_mut_ptr()).expect("a mapping does not start at address zero")
    }
}

fn map_page(file: &OwnedFd) -> Result<MmapRaw, Errno> {
    let map = MmapOptions::new().len(page_size() as usize).map_raw(file);
    map.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}
