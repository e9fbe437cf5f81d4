//! Descriptors that the sides of a run inherit, and how many there may be.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};

/// Allows this process, and those that it starts, as many descriptors as the system lets it. How many these are.
///
/// # Errors
///
/// What the kernel says.
pub fn allow_all() -> io::Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(most)
}

/// The descriptor and a copy of it, one for each side.
///
/// # Errors
///
/// What the kernel says.
pub fn both(descriptor: OwnedFd) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok((descriptor.try_clone()?, descriptor))
}

/// Takes over an inherited descriptor, and keeps it from being inherited further.
///
/// # Errors
///
/// If there is no such descriptor.
///
/// # Safety
///
/// The process that started us must have passed it on for us to own, and we must take it over only
/// once.
pub unsafe fn inherited(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor <= 2 {
        return Err(io::Error::other(format!("descriptor {descriptor} was not passed on")));
    }
    // SAFETY: the caller promises that the descriptor is ours.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .map_err(|error| io::Error::other(format!("a descriptor was not passed on: {error}")))?;
    Ok(descriptor)
}

/// Makes room in the kernel for about `bytes` bytes on their way through a socket, in either direction.
/// More than the system's limit needs `CAP_NET_ADMIN`; without it, the limit is what we get.
///
/// For a Unix socket only the sender's side counts.
///
/// # Errors
///
/// What the kernel says.
pub fn make_room(end: &impl AsFd, bytes: usize) -> io::Result<()> {
    if setsockopt(end, sockopt::SndBufForce, &bytes).is_err() {
        setsockopt(end, sockopt::SndBuf, &bytes)?;
    }
    if setsockopt(end, sockopt::RcvBufForce, &bytes).is_err() {
        setsockopt(end, sockopt::RcvBuf, &bytes)?;
    }
    Ok(())
}
