//! Sleeping until there is something to do: an eventfd for each side, and epoll.
//!
//! The plainest way that is correct, as a measure for the one that Day 5 builds: whoever finds nothing
//! goes to sleep at once, and whoever changes something pays for a full fence each time.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use common::sync::{AtomicU32, Ordering, fence, yield_now};
use day3::Wait;
use day3::control::Doorbell;
use day3::wait::Side;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{read, write};

/// A bell for one side to sleep by, and for the other to ring.
pub(crate) fn bell() -> anyhow::Result<OwnedFd> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    Ok(EventFd::from_value_and_flags(0, flags).context("eventfd")?.into())
}

/// Sleeps in epoll until the other side rings. One without bells, the default one, yields.
///
/// Its side's word is 1 from before its last look until somebody rings.
#[derive(Debug, Default)]
pub(crate) struct Sleeper(Option<Bells>);

#[derive(Debug)]
struct Bells {
    mine: OwnedFd,
    theirs: OwnedFd,
    epoll: Epoll,
}

impl Sleeper {
    /// Sleeps by the bell `mine`, and wakes the other side by `theirs`.
    pub(crate) fn new(mine: OwnedFd, theirs: OwnedFd) -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create")?;
        epoll.add(&mine, EpollEvent::new(EpollFlags::EPOLLIN, 0)).context("epoll_ctl")?;
        Ok(Self(Some(Bells { mine, theirs, epoll })))
    }
}

impl Bells {
    /// Sleeps until the bell rings or the deadline has passed. A failure is a short sleep: whoever
    /// waits looks again.
    fn sleep(&self, deadline: Option<Instant>) {
        let left = |deadline: Instant| {
            // Rounded up, so that one who wakes is not too early.
            let left = deadline.saturating_duration_since(Instant::now());
            left.saturating_add(Duration::from_micros(999)).try_into().unwrap_or(EpollTimeout::MAX)
        };
        let timeout = deadline.map_or(EpollTimeout::NONE, left);
        let _ = self.epoll.wait(&mut [EpollEvent::empty()], timeout);
        let _ = read(&self.mine, &mut [0; 8]);
    }
}

impl Wait for Sleeper {
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        loop {
            if let Some(answer) = poll() {
                return Some(answer);
            }
            let (Some(bells), Some(word)) = (&self.0, side.word(doorbell)) else {
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return None;
                }
                yield_now();
                continue;
            };
            word.store(1, Ordering::Relaxed);
            // edge: announce <-> change. Either we see below what has changed, or the one who
            // changed it sees that we sleep.
            fence(Ordering::SeqCst);
            let answer = poll();
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if answer.is_none() && !late {
                bells.sleep(deadline);
            }
            word.store(0, Ordering::Relaxed);
            if answer.is_some() || late {
                return answer;
            }
        }
    }

    #[inline]
    fn wake(&self, side: Side, doorbell: &Doorbell) {
        // edge: announce <-> change
        fence(Ordering::SeqCst);
        if let Some(word) = side.word(doorbell)
            && word.load(Ordering::Relaxed) != 0
        {
            self.ring(word);
        }
    }
}

impl Sleeper {
    /// Rings for a sleeper that nobody has rung for yet.
    #[cold]
    fn ring(&self, word: &AtomicU32) {
        if word.swap(0, Ordering::Relaxed) != 0
            && let Some(bells) = &self.0
        {
            let _ = write(&bells.theirs, &1u64.to_ne_bytes());
        }
    }
}
