//! All connections over rings that a runtime has, behind one selector and one descriptor.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::sync::spin_loop;
use day3::outlook::Outlook;
use day7::line::Connection;
use day7::ready::MOST_SEATS;
use day7::selector::{Key, PollableSelector, Selector, SelectorOptions, Turn};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::Timespec;

use super::spin::Spin;
use crate::runtime::Side;

/// How many looks there are in one turn of spinning, between which the runtime asks its poller.
const LOOKS: u32 = 64;
/// How long a wake-up that a hostile client has taken away is missed at most.
const SLICE: Duration = Duration::from_millis(100);
/// The descriptor's word for the selector; the others are for connections.
const SELECTOR: u64 = u64::MAX;
/// How many of them it tells at once.
const EVENTS: usize = 64;

/// What a runtime is to do that has nothing else to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Run coroutines: some were woken.
    Work,
    /// Ask the poller without waiting, and come again.
    Spin,
    /// Wait for the poller: the descriptor tells when a ring has something.
    Sleep,
}

/// All connections over rings of a runtime. Its clones are the same.
///
/// It is made without a system call, and costs one load a turn until the first connection is added.
#[derive(Clone)]
pub(crate) struct Rings {
    inner: Rc<RefCell<Inner>>,
    /// How many connections there are.
    len: Rc<Cell<usize>>,
}

struct Inner {
    engine: Option<Engine>,
    /// By the index of their keys.
    entries: Vec<Option<Entry>>,
    spin: Spin,
    /// Whether the descriptor becomes readable when a seat is rung.
    is_armed: bool,
    next_sweep: Instant,
    /// The slots that are to be told, and what.
    told: Vec<(usize, Side)>,
}

/// What the first connection makes.
struct Engine {
    selector: PollableSelector,
    /// The selector's descriptor, and all connections'.
    set: OwnedFd,
}

/// One connection.
struct Entry {
    key: Key,
    signs: Rc<Signs>,
    /// The slots that are to be told.
    read: Option<usize>,
    write: Option<usize>,
    /// Its coroutine does not read now.
    rests: bool,
}

/// What is known of a connection.
pub(super) struct Signs {
    pub(super) connection: Arc<Connection>,
    /// The client has gone.
    pub(super) is_gone: Cell<bool>,
}

/// A connection's place among the others. Dropping it frees the place.
pub(super) struct Place {
    rings: Rings,
    key: Key,
    pub(super) signs: Rc<Signs>,
}

/// Why a connection has no place.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPlace {
    /// There are as many as there are seats.
    #[error("all {MOST_SEATS} seats for connections over rings are taken")]
    Full,
    /// The kernel refused something.
    #[error("no place for a connection over rings: {0}")]
    System(io::Error),
}

fn system(error: rustix::io::Errno) -> io::Error {
    io::Error::from_raw_os_error(error.raw_os_error())
}

impl Engine {
    fn new() -> io::Result<Self> {
        let options = SelectorOptions::new().seats(MOST_SEATS);
        let selector = Selector::with_options(&options).map_err(io::Error::other)?;
        let selector = selector.into_pollable()?;
        let set = epoll::create(CreateFlags::CLOEXEC).map_err(system)?;
        epoll::add(&set, selector.as_fd(), EventData::new_u64(SELECTOR), EventFlags::IN)
            .map_err(system)?;
        Ok(Self { selector, set })
    }
}

impl Rings {
    /// No connections yet. A runtime that has nothing to do looks at busy ones for at most so long before it sleeps.
    pub(crate) fn new(spin: Duration) -> Self {
        let inner = Inner {
            engine: None,
            entries: Vec::new(),
            spin: Spin::new(spin),
            is_armed: false,
            next_sweep: Instant::now(),
            told: Vec::new(),
        };
        Self { inner: Rc::new(RefCell::new(inner)), len: Rc::default() }
    }

    /// Makes what connections need, and gives the descriptor to poll: it becomes readable when [`hear`](Self::hear) is worth
    /// a call. It stays the same.
    ///
    /// # Errors
    ///
    /// What the kernel said: no descriptor, or no thread.
    pub(crate) fn descriptor(&self) -> io::Result<RawFd> {
        let engine = &mut self.inner.borrow_mut().engine;
        if engine.is_none() {
            *engine = Some(Engine::new()?);
        }
        Ok(engine.as_ref().map_or(-1, |engine| engine.set.as_raw_fd()))
    }

    /// A place for this connection, and for its client the descriptor and the number of a seat.
    pub(super) fn add(
        &self,
        outlook: Outlook,
        connection: &Arc<Connection>,
    ) -> Result<(Place, OwnedFd, usize), NoPlace> {
        self.descriptor().map_err(NoPlace::System)?;
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        let Some(Engine { selector, set }) = &mut inner.engine else { return Err(NoPlace::Full) };
        let key = selector.add_seated(outlook).map_err(|_| NoPlace::Full)?;
        let watched = watch(set, connection, key);
        let seat = watched.and_then(|()| selector.seat_descriptor(key));
        let (board, seat) = match seat {
            Ok(Some(seat)) => seat,
            Ok(None) => return Err(NoPlace::Full),
            Err(error) => {
                unwatch(set, connection);
                selector.remove(key);
                return Err(NoPlace::System(error));
            }
        };
        let connection = Arc::clone(connection);
        let signs = Rc::new(Signs { connection, is_gone: Cell::new(false) });
        let entry = Entry { key, signs: Rc::clone(&signs), read: None, write: None, rests: false };
        if inner.entries.len() <= key.index() {
            inner.entries.resize_with(key.index() + 1, || None);
        }
        inner.entries[key.index()] = Some(entry);
        self.len.set(self.len.get() + 1);
        Ok((Place { rings: self.clone(), key, signs }, board, seat))
    }

    /// For a runtime that has no coroutine to run: looks at all rings that may have something, tells the slots of those that
    /// have, and says what to do.
    #[inline]
    pub(crate) fn rest(&self, notify: impl FnMut(usize, Side)) -> Rest {
        if self.len.get() == 0 { Rest::Sleep } else { self.with(notify, Inner::rest) }
    }

    /// For a runtime that has coroutines to run: tells the slots of those rings that have something.
    #[inline]
    pub(crate) fn look(&self, notify: impl FnMut(usize, Side)) {
        if self.len.get() > 0 {
            self.with(notify, |inner| inner.poll() || inner.look_at_writers());
        }
    }

    /// The descriptor was readable: finds clients that have gone, and tells their slots.
    pub(crate) fn hear(&self, notify: impl FnMut(usize, Side)) {
        self.with(notify, Inner::hear);
    }

    /// Does this, and tells the slots that are to be told. Not meanwhile: who is told may be anybody.
    #[inline]
    fn with<R>(&self, mut notify: impl FnMut(usize, Side), f: impl FnOnce(&mut Inner) -> R) -> R {
        let (result, mut told) = {
            let mut inner = self.inner.borrow_mut();
            let result = f(&mut inner);
            (result, std::mem::take(&mut inner.told))
        };
        if !told.is_empty() {
            told.drain(..).for_each(|(slot, side)| notify(slot, side));
            self.inner.borrow_mut().told = told;
        }
        result
    }
}

/// Has the set tell when the client hangs up. It says nothing more over its socket.
fn watch(set: &OwnedFd, connection: &Connection, key: Key) -> io::Result<()> {
    let Connection::Socket(socket) = connection else { return Ok(()) };
    let word = EventData::new_u64(key.index() as u64);
    epoll::add(set, socket, word, EventFlags::IN | EventFlags::RDHUP).map_err(system)
}

fn unwatch(set: &OwnedFd, connection: &Connection) {
    if let Connection::Socket(socket) = connection {
        // It may have gone already.
        let _ = epoll::delete(set, socket);
    }
}

impl Inner {
    #[inline]
    fn poll(&mut self) -> bool {
        let Some(engine) = &mut self.engine else { return false };
        // Once round: what is told now still has something until its coroutine has run.
        let mut left = engine.selector.active().max(1);
        while left > 0
            && let Some(turn) = engine.selector.look()
        {
            left -= 1;
            self.is_armed = false;
            self.spin.found();
            if let Some(entry) = self.entries.get_mut(turn.key.index()).and_then(Option::as_mut) {
                entry.take(turn, &mut engine.selector, &mut self.told);
            }
        }
        !self.told.is_empty()
    }

    fn rest(&mut self) -> Rest {
        if self.poll() {
            return Rest::Work;
        }
        if self.spin.goes_on() {
            for _ in 0..LOOKS {
                spin_loop();
                if self.poll() {
                    return Rest::Work;
                }
            }
            return Rest::Spin;
        }
        if self.look_at_writers() {
            return Rest::Work;
        }
        let Some(engine) = &mut self.engine else { return Rest::Sleep };
        if self.is_armed && engine.selector.active() == 0 {
            return Rest::Sleep;
        }
        let Some(turn) = engine.selector.try_wait() else {
            self.is_armed = true;
            return Rest::Sleep;
        };
        self.is_armed = false;
        self.spin.found();
        if let Some(entry) = self.entries.get_mut(turn.key.index()).and_then(Option::as_mut) {
            entry.take(turn, &mut engine.selector, &mut self.told);
        }
        Rest::Work
    }

    /// Each slice: tells those that wait for room to look themselves. A client that can write the ready words may have
    /// taken away another one's ring. Says whether there was anybody to tell.
    fn look_at_writers(&mut self) -> bool {
        if !self.entries.iter().flatten().any(|entry| entry.write.is_some()) {
            return false;
        }
        let now = Instant::now();
        if now < self.next_sweep {
            return false;
        }
        self.next_sweep = now + SLICE;
        let slots = self.entries.iter_mut().flatten().filter_map(|entry| entry.write.take());
        self.told.extend(slots.map(|slot| (slot, Side::Write)));
        true
    }

    fn hear(&mut self) {
        let Some(engine) = &self.engine else { return };
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&engine.set, room, Some(&now)) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
                Ok(_) => {}
            }
            for event in &events {
                let word = event.data.u64();
                if word == SELECTOR {
                    // The next rest takes the signal back.
                    self.is_armed = false;
                    continue;
                }
                let entry = self.entries.get_mut(word as usize).and_then(Option::as_mut);
                let Some(entry) = entry else { continue };
                entry.signs.is_gone.set(true);
                unwatch(&engine.set, &entry.signs.connection);
                entry.signs.connection.hang_up();
                self.told.extend(entry.read.take().map(|slot| (slot, Side::Read)));
                self.told.extend(entry.write.take().map(|slot| (slot, Side::Write)));
            }
            if events.len() < EVENTS {
                return;
            }
        }
    }
}

impl Entry {
    /// It is its turn: something has come, or there is room, or neither.
    #[inline]
    fn take(&mut self, turn: Turn, selector: &mut Selector, told: &mut Vec<(usize, Side)>) {
        if let Some(slot) = self.read.take() {
            told.push((slot, Side::Read));
        } else {
            // Its coroutine does something else. Until it reads, its ring is no reason to look.
            selector.rest(self.key);
            self.rests = true;
        }
        // A writer that waits for room has announced that, and only a ring answers it.
        if turn.was_rung {
            told.extend(self.write.take().map(|slot| (slot, Side::Write)));
        }
    }
}

impl Place {
    /// Has this slot told when there is something to read, or room to write, or when the client has gone. The last try was
    /// in vain.
    #[inline]
    pub(super) fn arm(&self, slot: usize, side: Side) {
        let mut inner = self.rings.inner.borrow_mut();
        let inner = &mut *inner;
        let Some(entry) = inner.entries.get_mut(self.key.index()).and_then(Option::as_mut) else {
            return;
        };
        match side {
            Side::Read => entry.read = Some(slot),
            Side::Write => entry.write = Some(slot),
        }
        if side == Side::Read
            && std::mem::take(&mut entry.rests)
            && let Some(engine) = &mut inner.engine
        {
            engine.selector.resume(self.key);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let entry = {
            let mut inner = self.rings.inner.borrow_mut();
            if let Some(engine) = &mut inner.engine {
                unwatch(&engine.set, &self.signs.connection);
                engine.selector.remove(self.key);
            }
            inner.entries.get_mut(self.key.index()).and_then(Option::take)
        };
        self.rings.len.set(self.rings.len.get() - usize::from(entry.is_some()));
    }
}
