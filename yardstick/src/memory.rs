//! Bare memory that both sides of a run share.

use core::ffi::c_void;
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::stat::fstat;
use nix::unistd::ftruncate;

/// Types that may lie in shared memory.
///
/// # Safety
///
/// Zeros, and whatever another process writes, must be a valid value of this type. It is changed
/// through atomics, or by the side that owns it at the time.
pub unsafe trait Shared: Sync + Sized + 'static {}

/// Memory for one `T`, zeroed.
///
/// # Errors
///
/// What the kernel says.
pub fn create<T: Shared>() -> io::Result<OwnedFd> {
    create_bytes(size_of::<T>())
}

/// Maps it for the rest of this process's life.
///
/// # Errors
///
/// What the kernel says, or if `memory` has no room for a `T`.
pub fn map<T: Shared>(memory: &impl AsFd) -> io::Result<&'static T> {
    let start = map_bytes(memory, size_of::<T>())?.cast::<T>();
    assert!(start.is_aligned(), "a type is aligned to a page at most");
    // SAFETY: aligned (asserted), as long as a `T`, never unmapped, and any bits are a valid `T`.
    Ok(unsafe { start.as_ref() })
}

/// Memory of `len` bytes, zeroed.
///
/// # Errors
///
/// What the kernel says.
pub fn create_bytes(len: usize) -> io::Result<OwnedFd> {
    let memory = memfd_create("fanout-benchmark", MFdFlags::MFD_CLOEXEC)?;
    ftruncate(&memory, i64::try_from(len).map_err(io::Error::other)?)?;
    Ok(memory)
}

/// Maps the first `len` bytes for the rest of this process's life. Returns their address, which is
/// page-aligned.
///
/// # Errors
///
/// What the kernel says, or if `memory` is shorter.
pub fn map_bytes(memory: &impl AsFd, len: usize) -> io::Result<NonNull<c_void>> {
    let length = NonZeroUsize::new(len).ok_or_else(|| io::Error::other("nothing to map"))?;
    let found = fstat(memory)?.st_size;
    if usize::try_from(found).is_ok_and(|found| found < len) {
        let short = format!("{len} bytes of memory were expected, found {found}");
        return Err(io::Error::other(short));
    }
    let (rights, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
    // SAFETY: a new mapping, at an address that the kernel chooses.
    Ok(unsafe { mmap(None, length, rights, flags, memory, 0) }?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::sync::{AtomicU64, Ordering};

    struct Word(AtomicU64);

    // SAFETY: any bits are a valid atomic integer.
    unsafe impl Shared for Word {}

    #[test]
    fn two_mappings_are_the_same_memory() {
        let memory = create::<Word>().unwrap();
        let (one, other) = (map::<Word>(&memory).unwrap(), map::<Word>(&memory).unwrap());
        one.0.store(7, Ordering::Relaxed);
        assert_eq!(other.0.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn memory_that_is_too_short_is_an_error() {
        let memory = create_bytes(4096).unwrap();
        let error = map_bytes(&memory, 4097).unwrap_err();
        assert_eq!(error.to_string(), "4097 bytes of memory were expected, found 4096");
        assert!(map_bytes(&memory, 0).is_err());
    }
}
