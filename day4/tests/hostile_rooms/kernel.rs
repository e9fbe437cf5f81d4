//! What the kernel refuses a guest.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use day3::QueueOptions;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mprotect};
use nix::unistd::{ftruncate, write};

use crate::guest::{House, PAGE, move_in};

const ALL: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

/// Maps the first page, and says what the kernel answers.
fn map(file: &impl AsFd, access: ProtFlags) -> Result<std::ptr::NonNull<std::ffi::c_void>, Errno> {
    // SAFETY: a new mapping, where the kernel finds room.
    unsafe { mmap(None, NonZeroUsize::new(PAGE).unwrap(), access, MapFlags::MAP_SHARED, file, 0) }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap())
}

#[test]
fn a_guest_cannot_write_the_ring_or_cut_it_short() {
    let house = House::new(&QueueOptions::new(4096));
    let given = move_in(&house.path);
    let ring = &given.ring;
    assert_eq!(map(ring, ALL), Err(Errno::EACCES));
    let mapped = map(ring, ProtFlags::PROT_READ).unwrap();
    // SAFETY: a mapping of our own, which nobody looks into.
    let raised = unsafe { mprotect(mapped, PAGE, ALL) };
    assert_eq!(raised, Err(Errno::EACCES));
    assert_eq!(write(ring, b"x"), Err(Errno::EBADF), "it is open for reading");
    assert_eq!(ftruncate(ring, 0), Err(Errno::EINVAL), "it is open for reading");
    let seals = SealFlag::F_SEAL_WRITE;
    assert_eq!(fcntl(ring, FcntlArg::F_ADD_SEALS(seals)), Err(Errno::EPERM));

    // A process of the writer's own user opens it anew.
    let path = format!("/proc/self/fd/{}", ring.as_raw_fd());
    if let Ok(again) = File::options().read(true).write(true).open(path) {
        assert_eq!(map(&again, ALL), Err(Errno::EPERM));
        let mapped = map(&again, ProtFlags::PROT_READ).unwrap();
        // SAFETY: as above.
        let raised = unsafe { mprotect(mapped, PAGE, ALL) };
        assert_eq!(raised, Err(Errno::EACCES));
        assert_eq!(write(&again, b"x"), Err(Errno::EPERM));
        assert_eq!(errno(&again.write_at(b"x", 64).unwrap_err()), Errno::EPERM);
        assert_eq!(ftruncate(&again, 0), Err(Errno::EPERM));
        assert_eq!(ftruncate(&again, 1 << 30), Err(Errno::EPERM));
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        assert_eq!(fallocate(&again, hole, 0, PAGE as i64), Err(Errno::EPERM));
        assert_eq!(fcntl(&again, FcntlArg::F_ADD_SEALS(seals)), Err(Errno::EPERM));
    }
}

#[test]
fn a_guest_cannot_cut_its_own_page_short_or_make_it_longer() {
    let house = House::new(&QueueOptions::new(4096));
    let given = move_in(&house.path);
    let page = &given.page;
    assert_eq!(ftruncate(page, 0), Err(Errno::EPERM));
    assert_eq!(ftruncate(page, 1 << 30), Err(Errno::EPERM));
    let far = fallocate(page, FallocateFlags::empty(), 0, 1 << 30);
    assert_eq!(far, Err(Errno::EPERM));
    let seals = SealFlag::F_SEAL_WRITE;
    assert_eq!(fcntl(page, FcntlArg::F_ADD_SEALS(seals)), Err(Errno::EPERM));
    // A hole in it is zeros for the host, too.
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(page, hole, 0, PAGE as i64).unwrap();
    drop(house.writer);
}
