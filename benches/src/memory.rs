//! Bare memory that the sides of a run share.

use core::num::NonZeroUsize;
use std::os::fd::OwnedFd;

use anyhow::Context;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::unistd::ftruncate;

/// What may lie in shared memory.
///
/// # Safety
///
/// Zeros, and whatever another process writes, are a value of this type, which is changed through
/// atomics or by whoever owns it for the moment.
pub unsafe trait Shared: Sync + Sized + 'static {}

/// Memory for a `T`, zeroed.
///
/// # Errors
///
/// What the kernel says.
pub fn create<T: Shared>() -> anyhow::Result<OwnedFd> {
    let memory = memfd_create("fanout-compare", MFdFlags::MFD_CLOEXEC).context("memfd_create")?;
    ftruncate(&memory, i64::try_from(size_of::<T>())?).context("making room in memory")?;
    Ok(memory)
}

/// Maps it for the rest of this process's life.
///
/// # Errors
///
/// What the kernel says.
pub fn map<T: Shared>(memory: &OwnedFd) -> anyhow::Result<&'static T> {
    let len = NonZeroUsize::new(size_of::<T>()).context("nothing to map")?;
    let (rights, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe { mmap(None, len, rights, flags, memory, 0) };
    let start = start.context("mapping memory")?.cast::<T>();
    // SAFETY: page-aligned, as long as a `T`, never unmapped, and any bits are one.
    Ok(unsafe { start.as_ref() })
}
