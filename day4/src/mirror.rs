//! The same pages, mapped twice in a row.
//!
//! ```text
//!            guard |        data        |     data again     | guard
//! addresses        start                start + len          start + 2 len
//! object           0 ............... len 0 ............... len
//! ```
//!
//! Byte `i` and byte `len + i` are the same byte. So `n <= len` bytes from any place on are one slice,
//! also where the ring wraps. The pages before and after may not be touched at all: a read or write beyond the
//! second mapping is a fault, and does not reach other memory.

use core::ffi::c_void;
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use std::io;
use std::os::fd::BorrowedFd;

use day2::segment::page_size;
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// What may be done with the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only: a write is a fault.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

/// Pages that are mapped twice in a row, until this is dropped.
#[derive(Debug)]
pub struct Mirror {
    reservation: AddressRange,
    len: usize,
}

/// Address space that no other mapping gets.
#[derive(Debug)]
struct AddressRange {
    start: NonNull<c_void>,
    len: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread; the callers know what may be done with its
// bytes.
unsafe impl Send for AddressRange {}
// SAFETY: as above.
unsafe impl Sync for AddressRange {}

impl Mirror {
    /// Maps `len` bytes of an object, from `offset` on, twice. Both are multiples of the page size.
    ///
    /// # Errors
    ///
    /// What the kernel said; `EINVAL` for lengths and offsets that are not whole pages.
    pub fn map(object: BorrowedFd<'_>, offset: u64, len: u64, access: Access) -> io::Result<Self> {
        let offset = i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        let mirror = Self::reserve(len)?;
        let protection = match access {
            Access::ReadOnly => ProtFlags::PROT_READ,
            Access::ReadWrite => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        };
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        for half in [mirror.half(0), mirror.half(1)] {
            let len = mirror.half_len();
            // SAFETY: the pages lie in our own reservation, so nothing else is replaced.
            unsafe { mmap(Some(half), len, protection, flags, object, offset) }?;
        }
        Ok(mirror)
    }

    /// `len` bytes of new memory, all zero, that only this process and its forks see, twice.
    ///
    /// # Errors
    ///
    /// What the kernel said; `EINVAL` for a length that is not whole pages.
    pub fn anonymous(len: u64) -> io::Result<Self> {
        let mirror = Self::reserve(len)?;
        let (first, second) = (mirror.half(0), mirror.half(1));
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        // SAFETY: the pages lie in our own reservation, so nothing else is replaced.
        unsafe { mmap_anonymous(Some(first), mirror.half_len(), protection, flags) }?;
        let (len, flags) = (mirror.len, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED);
        let (from, to) = (first.get() as *mut c_void, second.get() as *mut c_void);
        // SAFETY: with an old length of 0, mremap(2) maps shared pages once more; to where the second
        // half of our own reservation is.
        let mapped = unsafe { libc::mremap(from, 0, len, flags, to) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(mirror)
    }

    /// Finds room for both halves and a page before and after, none of which may be touched yet.
    fn reserve(len: u64) -> io::Result<Self> {
        let page = page_size();
        if len == 0 || !len.is_multiple_of(page) {
            return Err(Errno::EINVAL.into());
        }
        let total = len.checked_mul(2).and_then(|both| both.checked_add(2 * page));
        let total = total.and_then(|total| usize::try_from(total).ok()).ok_or(Errno::ENOMEM)?;
        let wanted = NonZeroUsize::new(total).ok_or(Errno::EINVAL)?;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping, where the kernel finds room, replaces no other.
        let start = unsafe { mmap_anonymous(None, wanted, ProtFlags::PROT_NONE, flags) }?;
        Ok(Self { reservation: AddressRange { start, len: total }, len: len as usize })
    }

    /// Where the bytes are: `2 * len` of them, the second half the same as the first.
    pub fn start(&self) -> NonNull<u8> {
        let page = page_size() as usize;
        // SAFETY: the reservation is longer than a page.
        unsafe { self.reservation.start.cast::<u8>().add(page) }
    }

    /// How many bytes there are, counted once.
    #[expect(clippy::len_without_is_empty, reason = "it has a page or more")]
    pub fn len(&self) -> usize {
        self.len
    }

    fn half(&self, half: usize) -> NonZeroUsize {
        self.start().addr().saturating_add(half * self.len)
    }

    fn half_len(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.len).unwrap_or(NonZeroUsize::MIN)
    }
}

impl Drop for AddressRange {
    fn drop(&mut self) {
        // SAFETY: reserved by us, and every handle that reaches into it holds the mirror.
        let unmapped = unsafe { munmap(self.start, self.len) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use nix::unistd::ftruncate;
    use std::os::fd::AsFd;

    fn every_byte_is_there_twice(mirror: &Mirror) {
        let len = mirror.len();
        for i in [0, 1, 8, len / 2, len - 1] {
            // SAFETY: inside the first half.
            let once = unsafe { mirror.start().add(i) };
            // SAFETY: inside the second half.
            let again = unsafe { mirror.start().add(len + i) };
            for (from, to, value) in [(once, again, 7u8), (again, once, 9u8)] {
                // SAFETY: mapped writable, and ours alone.
                unsafe { from.write_volatile(value) };
                // SAFETY: mapped.
                assert_eq!(unsafe { to.read_volatile() }, value, "byte {i} of {len}");
            }
        }
    }

    #[test]
    fn what_is_written_in_one_half_is_read_in_the_other() {
        every_byte_is_there_twice(&Mirror::anonymous(page_size()).unwrap());
        every_byte_is_there_twice(&Mirror::anonymous(4 * page_size()).unwrap());
        let object = memfd_create("day4-mirror", MFdFlags::MFD_CLOEXEC).unwrap();
        ftruncate(&object, 3 * page_size() as i64).unwrap();
        let map = |offset, len| Mirror::map(object.as_fd(), offset, len, Access::ReadWrite);
        every_byte_is_there_twice(&map(0, page_size()).unwrap());
        every_byte_is_there_twice(&map(page_size(), 2 * page_size()).unwrap());
    }

    #[test]
    fn what_is_not_whole_pages_is_refused() {
        let error = |mapped: io::Result<Mirror>| mapped.err().and_then(|e| e.raw_os_error());
        for len in [0, 1, page_size() - 1, page_size() + 8] {
            assert_eq!(error(Mirror::anonymous(len)), Some(Errno::EINVAL as i32), "{len}");
        }
        let too_much = u64::MAX - page_size() + 1;
        assert_eq!(error(Mirror::anonymous(too_much)), Some(Errno::ENOMEM as i32));
    }

    #[test]
    fn a_dropped_mirror_leaves_no_mapping() {
        let mirror = Mirror::anonymous(16 * page_size()).unwrap();
        let (start, len) = (mirror.start().addr().get(), 2 * mirror.len());
        drop(mirror);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let left = maps.lines().filter(|line| {
            let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let address = |text| usize::from_str_radix(text, 16).unwrap();
            address(from) < start + len && start < address(to) && line.contains("rw-s")
        });
        assert_eq!(left.count(), 0);
    }
}
