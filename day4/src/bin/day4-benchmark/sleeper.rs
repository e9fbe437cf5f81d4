//! Sleeping until there is something to do: an eventfd for each side, and epoll.
//!
//! The plainest way that is correct, as a measure for the one that Day 5 builds: whoever finds nothing
//! goes to sleep at once, and whoever changes something pays for a full fence each time.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use common::sync::{Ordering, fence, yield_now};
use day3::Wait;
use day3::control::Doorbell;
use day3::doorbell::{ASLEEP, FENCED};
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
/// Its side's word says that it sleeps from before its last look until an end rings, and that ends have to
/// make a full fence before they look at the word.
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
            // edge: announce <-> ring. Either we see below what has changed, or the end that changed it
            // sees that we sleep; but for one that did not know yet that it has to make a fence.
            let before = word.fetch_or(ASLEEP | FENCED, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            let answer = poll();
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if answer.is_none() && !late {
                let first = (before & FENCED == 0).then(|| Instant::now() + FIRST_SLEEP);
                bells.sleep(deadline.into_iter().chain(first).min());
            }
            word.fetch_and(!ASLEEP, Ordering::Relaxed);
            if answer.is_some() || late {
                return answer;
            }
        }
    }

    /// The end has rung for a sleeper, on a futex that nobody sleeps on: the eventfd is what wakes it.
    fn rung(&self, _: Side) {
        if let Some(bells) = &self.0 {
            let _ = write(&bells.theirs, &1u64.to_ne_bytes());
        }
    }
}

/// How long the first sleep may be.
const FIRST_SLEEP: Duration = Duration::from_millis(10);
