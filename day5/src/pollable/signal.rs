//! Where the signal of a pollable end comes from, and how a try in vain asks for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use common::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use day3::doorbell::Doorbell;
use day3::wait::{Side, Wait};
use day3::{RecvError, TryRecvError};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::arm;
use crate::bridge::{Bridge, Post};
use crate::doorbell::Ticket;
use crate::eventfd::Alarm;
use crate::notifier::{Connection, NotifyError, failed};
use crate::strategy::{Adaptive, PRODUCERS_SLICE, SLICE};

/// The naps of an end that is never woken: the first, and the longest.
const NAPS: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(4));

/// The origin of the signal.
#[derive(Debug)]
enum Source {
    /// From the producer. `set` is an epoll of the connection and the alarm.
    Connected { set: OwnedFd, line: Connection, slice: Alarm },
    /// From the bridge's thread.
    Bridged(Arc<Post>),
    /// From an alarm clock. `nap` is the length of the next nap, in nanoseconds.
    Napping { alarm: Alarm, nap: AtomicU64 },
}

/// What an end and its way to wait share.
#[derive(Debug)]
pub(super) struct Signal {
    source: Source,
    sleeps: AtomicU64,
    signals: AtomicU64,
    is_hung_up: AtomicBool,
}

impl Signal {
    fn new(source: Source) -> Arc<Self> {
        let (sleeps, signals) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { source, sleeps, signals, is_hung_up: AtomicBool::new(false) })
    }

    pub(super) fn connected(line: Connection) -> Result<Arc<Self>, NotifyError> {
        let set = epoll::create(CreateFlags::CLOEXEC).map_err(failed("epoll_create1"))?;
        let slice = Alarm::new().map_err(failed("timerfd_create"))?;
        for descriptor in [line.as_fd(), slice.as_fd()] {
            epoll::add(&set, descriptor, EventData::new_u64(0), EventFlags::IN)
                .map_err(failed("epoll_ctl"))?;
        }
        Ok(Self::new(Source::Connected { set, line, slice }))
    }

    pub(super) fn bridged(bridge: &Bridge) -> Arc<Self> {
        Self::new(Source::Bridged(Arc::clone(bridge.post())))
    }

    pub(super) fn napping() -> io::Result<Arc<Self>> {
        let alarm = Alarm::new()?;
        let nap = AtomicU64::new(NAPS.0.as_nanos() as u64);
        Ok(Self::new(Source::Napping { alarm, nap }))
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Connected { set, .. } => set.as_fd(),
            Source::Bridged(post) => post.counter().as_fd(),
            Source::Napping { alarm, .. } => alarm.as_fd(),
        }
    }

    /// Takes back old signals. Returns whether there were any.
    fn clear(&self) -> bool {
        match &self.source {
            Source::Connected { line, slice, .. } => {
                let (signals, is_over) = line.take();
                if is_over {
                    self.is_hung_up.store(true, Ordering::Relaxed);
                }
                // Each of them is asked, whatever the others answer.
                self.count(signals) | slice.take() | is_over
            }
            Source::Bridged(post) => self.count(post.counter().take()),
            Source::Napping { .. } => true,
        }
    }

    fn count(&self, signals: u64) -> bool {
        self.signals.fetch_add(signals, Ordering::Relaxed);
        signals > 0
    }

    /// How often the end has announced a sleep.
    pub(super) fn sleeps(&self) -> u64 {
        self.sleeps.load(Ordering::Relaxed)
    }

    /// How many signals it has taken back.
    pub(super) fn signals(&self) -> u64 {
        self.signals.load(Ordering::Relaxed)
    }

    /// Why there is nothing.
    pub(super) fn nothing(&self) -> TryRecvError {
        if self.is_hung_up.load(Ordering::Relaxed) {
            RecvError::HungUp.into()
        } else {
            TryRecvError::Empty
        }
    }

    /// There was something, so the next nap is a short one.
    pub(super) fn found(&self) {
        if let Source::Napping { nap, .. } = &self.source {
            nap.store(NAPS.0.as_nanos() as u64, Ordering::Relaxed);
        }
    }
}

/// The way to wait of a [`Pollable`](crate::Pollable). A wait with a timeout of zero that finds nothing leaves an
/// announcement behind. All other waits are `V`'s, and so is the ringing.
#[derive(Debug, Default)]
pub struct Armed<V = Adaptive> {
    inner: V,
    signal: Option<Arc<Signal>>,
    /// The announcement that still stands.
    ticket: Option<Ticket>,
}

impl<V> Armed<V> {
    pub(super) fn new(inner: V, signal: &Arc<Signal>) -> Self {
        Self { inner, signal: Some(Arc::clone(signal)), ticket: None }
    }
}

impl<V: Wait> Wait for Armed<V> {
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        if let Some(answer) = poll() {
            return Some(answer);
        }
        let is_over = |deadline| Instant::now() >= deadline;
        match &self.signal {
            Some(signal) if deadline.is_some_and(is_over) => {
                sleep_elsewhere(signal, &mut self.ticket, side, doorbell, poll)
            }
            _ => self.inner.until(side, doorbell, deadline, poll),
        }
    }

    fn rung(&self, side: Side) {
        self.inner.rung(side);
    }
}

/// Arms the descriptor after a look in vain. `ticket` is the announcement that was made before.
fn sleep_elsewhere<R>(
    signal: &Signal,
    ticket: &mut Option<Ticket>,
    side: Side,
    doorbell: &Doorbell,
    mut poll: impl FnMut() -> Option<R>,
) -> Option<R> {
    if let Source::Napping { alarm, nap } = &signal.source {
        let now = nap.load(Ordering::Relaxed);
        nap.store((2 * now).min(NAPS.1.as_nanos() as u64), Ordering::Relaxed);
        alarm.set(Duration::from_nanos(now));
        signal.sleeps.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    // A tap can only nap.
    let word = side.word(doorbell)?;
    // Guests ring at words of their own, which the thread does not watch: it looks often.
    let has_rooms = side == Side::Producer && doorbell.rooms.is_some();
    let slice = if has_rooms { PRODUCERS_SLICE } else { SLICE };
    let clear = || signal.clear();
    let look = || {
        signal.sleeps.fetch_add(1, Ordering::Relaxed);
        poll()
    };
    arm::arm(word, ticket, clear, look, |announced| match &signal.source {
        // The producer may miss this sleep.
        Source::Connected { slice, .. } if announced.is_fenced() => slice.set(SLICE),
        // SAFETY: the doorbell belongs to the end that `Pollable` gave this way to wait to.
        // `Pollable` keeps the end until after it has dropped the bridge, and never hands it out in
        // a way that could replace it.
        Source::Bridged(post) => unsafe { post.watch(word, announced, slice) },
        _ => {}
    })
}
