//! What can go wrong with the sweep itself.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::WaitStatus;

/// Why a sweep could not go on. It says nothing about queues.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The kernel refused.
    #[error("{call} failed: {errno}; a sweep needs fork(2) and ptrace(2)")]
    System {
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// A victim ended, or got a signal that nobody sent.
    #[error(
        "a victim should stop at a mark or after an instruction, found {found:?}: see what it printed"
    )]
    Victim {
        /// What happened to it.
        found: WaitStatus,
    },
    /// A victim hangs.
    #[error("a victim did not go on within {waited:?}: its operation waits for something")]
    Stuck {
        /// How long the tracer waited.
        waited: Duration,
    },
    /// A victim's operation does not end.
    #[error(
        "an operation has not ended after {steps} instructions: it loops, or is no single operation"
    )]
    Endless {
        /// How many it has run.
        steps: usize,
    },
    /// A child that is forked from a process with several threads may find their locks locked.
    #[error(
        "a sweep forks, so its process has one thread, found {found}: run it as a program of its own"
    )]
    Threads {
        /// How many threads there are.
        found: usize,
    },
}

impl SweepError {
    pub(crate) fn io(call: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |error| {
            let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
            Self::System { call, errno }
        }
    }

    /// Whether one victim behaves as it should not, and the sweep can go on with the next.
    pub(crate) fn is_a_victim(&self) -> bool {
        matches!(self, Self::Victim { .. } | Self::Stuck { .. } | Self::Endless { .. })
    }

    pub(crate) fn system(call: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::System { call, errno }
    }
}
