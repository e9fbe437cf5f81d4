//! Descriptors that become readable.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::DEADLINE;

/// Whether the descriptor is readable now.
pub fn is_ready(descriptor: &impl AsFd) -> bool {
    polled(descriptor, PollTimeout::ZERO)
}

/// Waits until the descriptor is readable, and fails if it never is.
#[track_caller]
pub fn until_ready(descriptor: &impl AsFd) {
    assert!(polled(descriptor, PollTimeout::try_from(DEADLINE).unwrap()), "never ready");
}

fn polled(descriptor: &impl AsFd, timeout: PollTimeout) -> bool {
    poll(&mut [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)], timeout).unwrap() == 1
}
