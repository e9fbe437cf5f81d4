//! A selector that is waited for with `poll`, beside sockets.

use core::fmt;
use core::ops::{Deref, DerefMut};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use common::sync::{Arc, Ordering};
use day5::bridge::Bridge;
use day5::doorbell::Ticket;
use day5::strategy::SLICE;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::{Selector, Turn};

/// What makes a selector's descriptor readable: a bridge for the board, and one for each ring without a seat.
pub(super) struct Watch {
    board: Bridge,
    set: Arc<OwnedFd>,
    /// The board's ticket, while it is watched.
    armed: Option<Ticket>,
}

impl Watch {
    fn start() -> io::Result<Self> {
        let set = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let board = start(&set)?;
        Ok(Self { board, set, armed: None })
    }

    /// A bridge for one ring more.
    pub(super) fn bridge(&self) -> io::Result<Bridge> {
        start(&self.set)
    }

    /// Whether there were signals.
    fn has_signals(&self) -> bool {
        let mut events = Vec::with_capacity(1);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        epoll::wait(&self.set, spare_capacity(&mut events), Some(&now)).is_ok_and(|n| n > 0)
    }
}

fn start(set: &OwnedFd) -> io::Result<Bridge> {
    let bridge = Bridge::start()?;
    let counter = bridge.post().counter();
    epoll::add(set, counter.as_fd(), EventData::new_u64(0), EventFlags::IN)?;
    Ok(bridge)
}

impl Selector {
    /// The same selector, with a descriptor: see [`PollableSelector`].
    ///
    /// # Errors
    ///
    /// What the kernel said: no descriptor, or no thread. The selector is lost then.
    pub fn into_pollable(mut self) -> io::Result<PollableSelector> {
        let set = self.watch()?;
        Ok(PollableSelector { selector: self, set })
    }

    /// From now on a try in vain makes this descriptor readable, when there is something.
    pub(crate) fn watch(&mut self) -> io::Result<Arc<OwnedFd>> {
        let watch = Watch::start()?;
        for slot in &mut self.slots {
            if let Some(entry) = slot.entry.as_deref_mut().filter(|entry| entry.seat.is_none()) {
                entry.bridge = Some(watch.bridge()?);
            }
        }
        let set = Arc::clone(&watch.set);
        self.watch = Some(watch);
        Ok(set)
    }

    /// After a look in vain: takes back old signals, announces a sleep everywhere, looks once more, and has threads
    /// watch the doorbells.
    #[cold]
    pub(super) fn arm(&mut self) -> Option<Turn> {
        let watch = self.watch.as_mut()?;
        let has_signals = watch.has_signals();
        if has_signals {
            watch.board.post().counter().take();
            let plain =
                self.plain.iter().filter_map(|&index| self.slots[index as usize].entry.as_ref());
            for bridge in plain.filter_map(|entry| entry.bridge.as_ref()) {
                bridge.post().counter().take();
            }
        }
        let stands = |ticket: Ticket| self.board.word().load(Ordering::Relaxed) == ticket.word();
        // Nothing was rung since, and no watch has ended: nothing has changed since the call that has armed.
        if !has_signals && self.active.is_empty() && watch.armed.is_some_and(stands) {
            return None;
        }
        watch.armed = None;
        self.keep_time();
        let Some(ticket) = self.announce() else {
            let turn = self.look();
            if turn.is_none()
                && let Some(watch) = &self.watch
            {
                // What was found was nobody's: a seat that was rung for a ring that is gone. Nothing is armed, and so
                // the caller is to come again.
                watch.board.post().counter().signal();
            }
            return turn;
        };
        let watch = self.watch.as_mut()?;
        watch.armed = Some(ticket);
        // SAFETY: the board is declared after the watch, and so lives longer than the bridge.
        unsafe { watch.board.post().watch(self.board.word(), ticket, SLICE) };
        for &index in &self.plain {
            let Some(entry) = self.slots[index as usize].entry.as_deref() else { continue };
            if let (Some(bridge), Some(outlook), Some(ticket)) =
                (&entry.bridge, &entry.outlook, entry.ticket)
            {
                // SAFETY: the outlook keeps the word, and is declared after the bridge, and so lives longer.
                unsafe { bridge.post().watch(outlook.word(), ticket, SLICE) };
            }
        }
        None
    }
}

/// A [`Selector`] with a descriptor for `poll`, `epoll`, `mio` or `io_uring`.
///
/// The rule is that of [`Pollable`](day5::Pollable): **try until there is nothing; then wait for the descriptor; then try
/// again.** A [`try_wait`](Selector::try_wait) that finds nothing arms the descriptor. Do not read from it.
///
/// A thread of this process sleeps in its place: one for all rings that have a seat, and for up to 126 others. So it
/// costs two thread switches per sleep. The descriptor is readable after each slice, too, when the selector is to look at all rings.
pub struct PollableSelector {
    selector: Selector,
    set: Arc<OwnedFd>,
}

impl fmt::Debug for PollableSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PollableSelector").field(&self.selector).finish()
    }
}

impl Deref for PollableSelector {
    type Target = Selector;

    fn deref(&self) -> &Selector {
        &self.selector
    }
}

impl DerefMut for PollableSelector {
    fn deref_mut(&mut self) -> &mut Selector {
        &mut self.selector
    }
}

impl AsFd for PollableSelector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}

impl AsRawFd for PollableSelector {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(feature = "tokio")]
mod asynchronous {
    use core::fmt;
    use core::future::poll_fn;
    use core::task::{Context, Poll, ready};
    use std::io;

    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use super::PollableSelector;
    use crate::selector::{Selector, Turn};

    /// A [`Selector`] whose turns are awaited, over tokio's reactor.
    pub struct AsyncSelector {
        inner: AsyncFd<PollableSelector>,
    }

    impl fmt::Debug for AsyncSelector {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_tuple("AsyncSelector").field(self.inner.get_ref()).finish()
        }
    }

    impl AsyncSelector {
        /// The same selector, for tasks. Call it within a runtime.
        ///
        /// # Errors
        ///
        /// What the kernel said.
        pub fn new(selector: Selector) -> io::Result<Self> {
            let selector = selector.into_pollable()?;
            // SAFETY: its descriptor is always that of the same set, which it keeps open while it lives. Nobody outside
            // gets at more of it than its selector.
            let registered =
                unsafe { AsyncFd::register_with_interest(selector, Interest::READABLE) };
            Ok(Self { inner: registered? })
        }

        /// The selector, to add and remove.
        pub fn get_mut(&mut self) -> &mut Selector {
            self.inner.get_mut()
        }

        /// The next turn. Nothing is lost if the future is dropped before it is ready.
        ///
        /// # Errors
        ///
        /// The runtime is shutting down.
        pub async fn wait(&mut self) -> io::Result<Turn> {
            poll_fn(|context| self.poll_wait(context)).await
        }

        /// As [`wait`](Self::wait), for futures by hand.
        ///
        /// # Errors
        ///
        /// The runtime is shutting down.
        pub fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Turn>> {
            loop {
                if let Some(turn) = self.inner.get_mut().try_wait() {
                    return Poll::Ready(Ok(turn));
                }
                ready!(self.inner.poll_read_ready(context))?.clear_ready();
            }
        }
    }
}

#[cfg(feature = "tokio")]
pub use asynchronous::AsyncSelector;
