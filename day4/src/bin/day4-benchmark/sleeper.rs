//! Sleeping until there is something to do: an eventfd for each side, and epoll.
//!
//! The plainest correct way, as a yardstick for Day 5's: an end that finds nothing goes to sleep at
//! once, and an end that has changed something makes a full fence each time.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Context;
use common::sync::{Ordering, fence, yield_now};
use day3::Wait;
use day3::doorbell::Doorbell;
use day3::doorbell::{ASLEEP, FENCED};
use day3::wait::Side;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{read, write};

/// A bell: one side sleeps on it, and the other rings it.
pub(crate) fn bell() -> anyhow::Result<OwnedFd> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    Ok(EventFd::from_value_and_flags(0, flags).context("eventfd")?.into())
}

/// Sleeps in epoll until the other side rings. The default sleeper has no bells, and yields.
///
/// Its side's word says that it sleeps: from before its last look until an end rings. The word also says
/// that the other end has to make a full fence before it looks at the word.
#[derive(Debug, Default)]
pub(crate) struct Sleeper(Option<Bells>);

#[derive(Debug)]
struct Bells {
    mine: OwnedFd,
    theirs: OwnedFd,
    epoll: Epoll,
}

impl Sleeper {
    /// Sleeps on the bell `mine`, and wakes the other side with `theirs`.
    pub(crate) fn new(mine: OwnedFd, theirs: OwnedFd) -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create")?;
        epoll.add(&mine, EpollEvent::new(EpollFlags::EPOLLIN, 0)).context("epoll_ctl")?;
        Ok(Self(Some(Bells { mine, theirs, epoll })))
    }
}

impl Bells {
    /// Sleeps until the bell rings or the deadline has passed. If epoll fails, the sleep is a short
    /// one, and its caller looks again.
    fn sleep(&self, deadline: Option<Instant>) {
        let left = |deadline: Instant| {
            // Rounded up, so that the sleep does not end too early.
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
            // edge: announce <-> ring. Either we see the change in the look that follows, or the end
            // that made it sees that we sleep. An end that does not know yet that it has to make a
            // fence may miss us.
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

    /// The end has rung for a sleeper on a futex, where none sleeps. The eventfd wakes the sleeper.
    fn rung(&self, _: Side) {
        if let Some(bells) = &self.0 {
            let _ = write(&bells.theirs, &1u64.to_ne_bytes());
        }
    }
}

/// How long the first sleep may be.
const FIRST_SLEEP: Duration = Duration::from_millis(10);
