//! What a client and its tickets share.
//!
//! Answers come over one ring, in any order. The thread that waits first *leads*: it takes answers from the ring, and gives
//! each to its ticket. The others follow: they sleep until the leader has something for them, or goes.

use core::cell::RefCell;
use core::fmt;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use common::process::{Origin, forks};
use common::sync::{AtomicBool, AtomicU64, Ordering};
use day3::{RecvTimeoutError, TryRecvError};
use day4::reader::Reader;
use day5::strategy::AnyStrategy;

use crate::line::Line;
use crate::ready::Posting;

use super::arena::{Arena, Buffer};
use super::client::{ClientOptions, Ends, Requests, Submitting, Task};
use super::error::Failed;
use super::message::{ANSWER, AnswerHead, CANCELLED, DONE, FAILED, PANICKED};
use super::shard::Shard;
use super::ticket::Completed;

/// What a client and its tickets share.
pub(super) struct Core {
    identity: u64,
    path: Option<PathBuf>,
    options: ClientOptions,
    arena: Option<Arc<Arena>>,
    /// How many forks lay behind this process when the client was made.
    forks: u64,
    /// How many answers have come.
    received: AtomicU64,
    /// The server is gone.
    is_down: AtomicBool,
    submitting: Mutex<Submitting>,
    receiving: Mutex<Option<Answers>>,
    tickets: Mutex<Tickets>,
    changed: Condvar,
    /// The server, if it is in this thread.
    local: Option<Arc<Mutex<Shard>>>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The end that takes answers.
type Answers = Reader<Posting<AnyStrategy>>;

/// All tickets of a client.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    entries: Vec<Entry>,
    free: Vec<usize>,
    /// The places that requests name: how often each was used, and whose it is.
    places: Vec<(u32, Option<usize>)>,
    free_places: Vec<u32>,
    outstanding: usize,
    has_leader: bool,
    followers: usize,
    /// How many tickets have a waker.
    wakers: usize,
    has_pump: bool,
    line: Option<Arc<Line>>,
}

#[derive(Debug, Default)]
struct Entry {
    state: State,
    place: u32,
    inputs: Vec<Buffer>,
    outputs: Vec<Buffer>,
    result: Option<Result<Vec<u8>, Failed>>,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Outstanding,
    /// Outstanding, and nobody has the ticket any more.
    Orphan,
    Done,
}

/// A place that a new task has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) place: u32,
    pub(super) turn: u32,
    pub(super) entry: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For how long the thread that serves futures stays when there is none.
const LINGER: Duration = Duration::from_secs(1);
/// For how long it waits at once.
const SLICE: Duration = Duration::from_millis(100);

/// Each client of this process has a number.
static IDENTITY: AtomicU64 = AtomicU64::new(0);

/// How many forks lie behind this process. From now on they are counted.
fn forks_here() -> u64 {
    let _ = Origin::here();
    forks()
}

impl Core {
    pub(super) fn new(
        path: Option<PathBuf>,
        options: ClientOptions,
        arena: Option<Arc<Arena>>,
        ends: Ends,
        local: Option<Arc<Mutex<Shard>>>,
    ) -> Arc<Self> {
        let Ends { requests, answers } = ends;
        let tickets = Tickets { line: Some(Arc::clone(&requests.line)), ..Tickets::default() };
        let submitting = Submitting { requests: Some(requests), procedures: Vec::new() };
        // Relaxed: each gets another number, whatever the order.
        let identity = IDENTITY.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            identity,
            path,
            options,
            arena,
            forks: forks_here(),
            received: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
            submitting: Mutex::new(submitting),
            receiving: Mutex::new(Some(answers)),
            tickets: Mutex::new(tickets),
            changed: Condvar::new(),
            local,
        })
    }

    pub(super) fn submitting(&self) -> MutexGuard<'_, Submitting> {
        lock(&self.submitting)
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        lock(&self.tickets)
    }

    pub(super) fn arena(&self) -> Option<&Arc<Arena>> {
        self.arena.as_ref()
    }

    /// A number that no other client of this process has, or has had: the procedures of a client that is gone are nobody's.
    pub(super) fn identity(&self) -> u64 {
        self.identity
    }

    /// Whether this is the process that made the client. Here a child of a raw `clone(2)` is not told apart: its rings
    /// refuse it.
    #[inline]
    pub(super) fn is_here(&self) -> bool {
        self.forks == forks()
    }

    #[inline]
    pub(super) fn is_down(&self) -> bool {
        // edge: down -> submit
        self.is_down.load(Ordering::Acquire)
    }

    pub(super) fn outstanding(&self) -> usize {
        self.tickets().outstanding
    }

    #[inline]
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Whether this thread runs a procedure of the client's own server, if that is a local one.
    pub(super) fn is_within(&self) -> bool {
        self.local.as_ref().is_some_and(Within::is_in)
    }

    /// Where to look for another server, if that is wanted.
    pub(super) fn way_back(&self) -> Option<(&Path, &ClientOptions)> {
        let path = self.path.as_deref().filter(|_| self.options.reconnects())?;
        Some((path, &self.options))
    }

    /// Goes on with these ends.
    pub(super) fn reconnected(&self, ends: Ends) -> Requests {
        let Ends { requests, answers } = ends;
        *lock(&self.receiving) = Some(answers);
        let mut tickets = self.tickets();
        tickets.line = Some(Arc::clone(&requests.line));
        drop(tickets);
        // edge: down -> submit
        self.is_down.store(false, Ordering::Release);
        requests
    }

    /// A place for a new task, which takes the task's buffers. `None` if as many are outstanding as may be.
    pub(super) fn take_place(&self, task: &mut Task<'_>) -> Option<Place> {
        let mut tickets = self.tickets();
        if tickets.outstanding >= self.options.most() {
            return None;
        }
        let tickets = &mut *tickets;
        let entry = tickets.free.pop().unwrap_or_else(|| {
            tickets.entries.push(Entry::default());
            tickets.entries.len() - 1
        });
        let place = tickets.free_places.pop().unwrap_or_else(|| {
            tickets.places.push((0, None));
            tickets.places.len() as u32 - 1
        });
        let (turn, owner) = &mut tickets.places[place as usize];
        *turn = turn.wrapping_add(1);
        *owner = Some(entry);
        tickets.outstanding += 1;
        let (inputs, outputs) = (mem::take(&mut task.inputs), mem::take(&mut task.outputs));
        let state = State::Outstanding;
        tickets.entries[entry] = Entry { state, place, inputs, outputs, ..Entry::default() };
        Some(Place { place, turn: *turn, entry })
    }

    /// Waits until another answer has come than those, or the server is gone.
    pub(super) fn wait_for_another(&self, received: u64) {
        self.wait(None, |_| self.received() != received || self.is_down());
    }

    /// Waits until the ticket is done, and takes what it has.
    pub(super) fn finish(&self, entry: usize) -> Option<Completed> {
        let (tickets, _) = self.wait_in(None, |tickets| tickets.is_done(entry));
        take(tickets, entry)
    }

    /// Waits until the ticket is done; says whether it is.
    pub(super) fn wait_for(&self, entry: usize, deadline: Option<Instant>) -> bool {
        self.wait(deadline, |tickets| tickets.is_done(entry))
    }

    /// Whether the ticket is done, after a look at what has come.
    pub(super) fn is_done(&self, entry: usize) -> bool {
        self.wait(Some(Instant::now()), |tickets| tickets.is_done(entry))
    }

    /// Takes what has come, unless another thread does.
    pub(super) fn look(&self) {
        self.wait(Some(Instant::now()), |_| false);
    }

    /// The server takes nothing more. What it has answered before is taken; the rest has failed.
    pub(super) fn await_the_end(&self) {
        self.wait(Some(Instant::now() + LINGER), |_| self.is_down());
        self.fail_all();
    }

    /// Waits until `is_over` says so; says whether it has. It looks at what has come once, also after the deadline.
    fn wait(&self, deadline: Option<Instant>, is_over: impl FnMut(&Tickets) -> bool) -> bool {
        self.wait_in(deadline, is_over).1
    }

    fn wait_in(
        &self,
        deadline: Option<Instant>,
        mut is_over: impl FnMut(&Tickets) -> bool,
    ) -> (MutexGuard<'_, Tickets>, bool) {
        let mut tickets = self.tickets();
        let mut has_looked = false;
        loop {
            if is_over(&tickets) {
                return (tickets, true);
            }
            if self.is_within() {
                if deadline.is_some() {
                    // Nothing comes before the procedure is done.
                    return (tickets, false);
                }
                // It would wait for itself.
                drop(tickets);
                self.fail_all();
                tickets = self.tickets();
                let is_over = is_over(&tickets);
                return (tickets, is_over);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let is_late = left.is_some_and(|left| left.is_zero());
            if is_late && (has_looked || tickets.has_leader) {
                return (tickets, false);
            }
            if tickets.has_leader {
                tickets.followers += 1;
                let woken = self.changed.wait_timeout(tickets, left.unwrap_or(LINGER));
                tickets = woken.unwrap_or_else(PoisonError::into_inner).0;
                tickets.followers -= 1;
                continue;
            }
            tickets.has_leader = true;
            drop(tickets);
            let leading = Leading(self);
            let wakers = self.receive(left);
            has_looked = true;
            tickets = leading.end();
            if !wakers.is_empty() {
                // What a waker does is the executor's business: it may poll, wait, or drop other tickets at once.
                drop(tickets);
                wakers.into_iter().for_each(Waker::wake);
                tickets = self.tickets();
            }
        }
    }

    /// Takes what has come from the ring, waiting for the first of it for at most `timeout`. Returns who is to be woken.
    fn receive(&self, timeout: Option<Duration>) -> Vec<Waker> {
        let mut wakers = Vec::new();
        if let Some(local) = &self.local {
            // A procedure that waits for its own server waits for itself.
            let Some(_within) = Within::enter(local) else {
                self.end(&mut wakers);
                return wakers;
            };
            // Everything that was asked for is done at once.
            let mut shard = lock(local);
            while shard.turn() {}
        }
        let mut receiving = lock(&self.receiving);
        let timeout = if self.local.is_some() { Some(Duration::ZERO) } else { timeout };
        let has_ended = match &mut *receiving {
            Some(answers) => self.hear(answers, timeout, &mut wakers),
            None => true,
        };
        if has_ended {
            *receiving = None;
            // While nobody can go on with other ends: what is asked of another server has not failed.
            self.end(&mut wakers);
        }
        wakers
    }

    /// Gives what has come to the tickets; says whether nothing more will come.
    fn hear(
        &self,
        answers: &mut Answers,
        timeout: Option<Duration>,
        wakers: &mut Vec<Waker>,
    ) -> bool {
        let mut tickets = {
            let first = match timeout {
                None => answers.recv().map_err(TryRecvError::End),
                Some(Duration::ZERO) => answers.try_recv(),
                Some(timeout) => answers.recv_timeout(timeout).map_err(|no| match no {
                    RecvTimeoutError::TimedOut(_) => TryRecvError::Empty,
                    RecvTimeoutError::End(end) => TryRecvError::End(end),
                }),
            };
            match first {
                Ok(record) => {
                    let mut tickets = self.tickets();
                    tickets.dispatch(&record, wakers);
                    tickets
                }
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::End(_)) => return true,
            }
        };
        while let Ok(record) = answers.try_recv() {
            tickets.dispatch(&record, wakers);
        }
        // Somebody has the lock that all tickets wait under: nobody looks before this is told.
        self.received.fetch_add(1, Ordering::Relaxed);
        if tickets.followers > 0 {
            self.changed.notify_all();
        }
        false
    }

    /// The server is gone: what is outstanding has failed.
    pub(super) fn fail_all(&self) {
        let mut wakers = Vec::new();
        self.end(&mut wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The same; the caller wakes who is to be woken, when it holds no lock.
    fn end(&self, wakers: &mut Vec<Waker>) {
        let mut tickets = self.tickets();
        // edge: down -> submit
        self.is_down.store(true, Ordering::Release);
        tickets.fail_all(wakers);
        self.changed.notify_all();
    }

    /// Takes what a ticket that is done has.
    pub(super) fn take(&self, entry: usize) -> Option<Completed> {
        take(self.tickets(), entry)
    }

    /// Nobody has this ticket any more, which was not taken.
    pub(super) fn abandon(&self, entry: usize) {
        // Declared first, so dropped after the lock: see `register`.
        let _waker;
        let mut tickets = self.tickets();
        _waker = tickets.forget_waker(entry);
        let tickets = &mut *tickets;
        let one = &mut tickets.entries[entry];
        match one.state {
            State::Outstanding => one.state = State::Orphan,
            State::Done => {
                *one = Entry::default();
                tickets.free.push(entry);
            }
            State::Free | State::Orphan => {}
        }
    }

    /// Asks the server not to begin this task.
    pub(super) fn cancel(&self, entry: usize) {
        let tickets = self.tickets();
        let one = &tickets.entries[entry];
        if let (State::Outstanding, Some(line)) = (one.state, &tickets.line) {
            line.set_cancelled(one.place, true);
        }
    }

    /// How the task ended, if it has.
    pub(super) fn peek<R>(
        &self,
        entry: usize,
        see: impl FnOnce(&Result<Vec<u8>, Failed>) -> R,
    ) -> Option<R> {
        self.tickets().entries[entry].result.as_ref().map(see)
    }

    /// Has this waker woken when the ticket is done; says whether it is done already.
    pub(super) fn register(self: &Arc<Self>, entry: usize, waker: &Waker) -> bool {
        // Cloned before, and what it replaces is dropped after the lock: a waker may be the last that has a task, and
        // that task may have other tickets of this client.
        let _old;
        let new = waker.clone();
        let mut tickets = self.tickets();
        if tickets.is_done(entry) {
            _old = tickets.forget_waker(entry);
            return true;
        }
        _old = tickets.entries[entry].waker.replace(new);
        if _old.is_none() {
            tickets.wakers += 1;
        }
        if !mem::replace(&mut tickets.has_pump, true) {
            let core = Arc::downgrade(self);
            let pump = std::thread::Builder::new().name("fanout-answers".into());
            if pump.spawn(move || pump_answers(&core)).is_err() {
                tickets.has_pump = false;
                drop(tickets);
                // Nobody would wake it: the task asks again at once.
                waker.wake_by_ref();
                return false;
            }
        }
        // A pump that lingers sleeps until it is told.
        self.changed.notify_all();
        false
    }
}

/// Takes what a ticket that is done has.
fn take(mut tickets: MutexGuard<'_, Tickets>, entry: usize) -> Option<Completed> {
    let one = tickets.entries.get_mut(entry).filter(|one| one.state == State::Done)?;
    let Entry { inputs, outputs, result, .. } = mem::take(one);
    tickets.free.push(entry);
    Some(Completed { result: result.unwrap_or(Err(Failed::ServerDied)), inputs, outputs })
}

/// Takes answers for futures, until there is none for a while.
fn pump_answers(core: &Weak<Core>) {
    let mut idle_since = None;
    loop {
        let Some(core) = core.upgrade() else { return };
        let mut tickets = core.tickets();
        if tickets.wakers == 0 {
            let since = *idle_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= LINGER || Arc::strong_count(&core) == 1 {
                tickets.has_pump = false;
                return;
            }
            drop(core.changed.wait_timeout(tickets, SLICE));
            continue;
        }
        idle_since = None;
        drop(tickets);
        core.wait(Some(Instant::now() + SLICE), |tickets| tickets.wakers == 0);
    }
}

std::thread_local! {
    /// The local servers whose procedures this thread runs now, one within the other.
    static WITHIN: RefCell<Vec<*const Mutex<Shard>>> = const { RefCell::new(Vec::new()) };
}

/// While this lives, the thread runs procedures of a local server.
struct Within;

impl Within {
    fn is_in(shard: &Arc<Mutex<Shard>>) -> bool {
        WITHIN.with_borrow(|within| within.contains(&Arc::as_ptr(shard)))
    }

    fn enter(shard: &Arc<Mutex<Shard>>) -> Option<Self> {
        if Self::is_in(shard) {
            return None;
        }
        WITHIN.with_borrow_mut(|within| within.push(Arc::as_ptr(shard)));
        Some(Self)
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        WITHIN.with_borrow_mut(Vec::pop);
    }
}

/// Leads until it is dropped.
struct Leading<'a>(&'a Core);

impl<'a> Leading<'a> {
    fn end(self) -> MutexGuard<'a, Tickets> {
        let core = self.0;
        mem::forget(self);
        let mut tickets = core.tickets();
        tickets.has_leader = false;
        if tickets.followers > 0 {
            core.changed.notify_all();
        }
        tickets
    }
}

impl Drop for Leading<'_> {
    /// Only where a strategy panics.
    fn drop(&mut self) {
        self.0.tickets().has_leader = false;
        self.0.changed.notify_all();
    }
}

impl Tickets {
    fn is_done(&self, entry: usize) -> bool {
        self.entries[entry].state == State::Done
    }

    fn forget_waker(&mut self, entry: usize) -> Option<Waker> {
        let waker = self.entries[entry].waker.take();
        self.wakers -= usize::from(waker.is_some());
        waker
    }

    /// Gives an answer to its ticket. An answer to nothing that was asked is dropped.
    fn dispatch(&mut self, record: &[u8], wakers: &mut Vec<Waker>) {
        let Some((head, body)) = record.split_at_checked(ANSWER) else { return };
        let head: AnswerHead = bytemuck::pod_read_unaligned(head);
        let Some(place) = self.places.get_mut(head.place as usize) else { return };
        if place.0 != head.turn {
            return;
        }
        let Some(entry) = place.1.take() else { return };
        self.free_places.push(head.place);
        let text = || String::from_utf8_lossy(body).into_owned();
        let result = match head.status {
            DONE => Ok(body.to_vec()),
            FAILED => Err(Failed::Error { reason: text() }),
            PANICKED => Err(Failed::Panicked { message: text() }),
            CANCELLED => Err(Failed::Cancelled),
            _ => Err(Failed::Refused { reason: text() }),
        };
        self.finish(entry, result, wakers);
    }

    fn finish(&mut self, entry: usize, result: Result<Vec<u8>, Failed>, wakers: &mut Vec<Waker>) {
        self.outstanding -= 1;
        let one = &mut self.entries[entry];
        if one.state == State::Orphan {
            *one = Entry::default();
            self.free.push(entry);
            return;
        }
        one.state = State::Done;
        one.result = Some(result);
        if let Some(waker) = one.waker.take() {
            self.wakers -= 1;
            wakers.push(waker);
        }
    }

    fn fail_all(&mut self, wakers: &mut Vec<Waker>) {
        self.line = None;
        for place in 0..self.places.len() {
            if let Some(entry) = self.places[place].1.take() {
                self.free_places.push(place as u32);
                self.finish(entry, Err(Failed::ServerDied), wakers);
            }
        }
    }
}
