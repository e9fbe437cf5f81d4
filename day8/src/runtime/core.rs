//! The executor: a queue of coroutines that can go on, and a poller that knows which of the others can.

use core::cell::{Cell, RefCell};
use core::future::Future;
use core::mem;
use core::task::{Context, Poll};
use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use common::OsError;
use common::process::Origin;
use common::sync::{AtomicU64, Ordering};
use day3::wait;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll as Poller, Registry, Token};
use slab::Slab;

use super::options::RuntimeOptions;
use super::slots::{Side, Slots, Waiter};
use super::task::{Coroutine, Ended, Kind, Remote, State, Task};
use super::timers::{TimerKey, Timers};
use super::{RuntimeError, Statistics};
use crate::heap::{Heap, HeapError, Placed, Pool};
use crate::rings::{Rest, Rings};

/// After so many polls at the latest, the poller is asked.
const POLLS: usize = 256;
/// So many times a coroutine reads or writes before it lets others run.
const TRIES: u32 = 128;
/// So many bytes take about as long as a try does without them.
const BYTES_OF_TRY: usize = 4 << 10;
/// So many events the poller tells at once.
const EVENTS: usize = 1024;
/// The poller's word for what comes from other threads.
const REMOTE: Token = Token(usize::MAX);
/// Its word for connections over rings.
const RINGS: Token = Token(usize::MAX - 1);

/// A runtime: everything in it belongs to one thread.
pub(crate) struct Core {
    identity: u64,
    options: RuntimeOptions,
    pool: Rc<Pool>,
    tasks: RefCell<Slab<Task>>,
    /// Which of them can go on.
    ready: RefCell<VecDeque<usize>>,
    remote: Arc<Remote>,
    /// The connections over rings, and whether the poller watches their descriptor.
    rings: Rings,
    watches_rings: Cell<bool>,
    poller: RefCell<Poller>,
    events: RefCell<Events>,
    registry: Registry,
    slots: RefCell<Slots>,
    timers: RefCell<Timers>,
    /// The time, as it was when the poller was last asked.
    now: Cell<Instant>,
    /// How often the coroutine that runs may still read or write.
    tries: Cell<u32>,
    /// The coroutine that runs, and where its waker is.
    running: Cell<(usize, *const Waker)>,
    /// Its heap.
    heap: RefCell<Option<Heap>>,
    /// Since the runtime was told to stop: until when its connections may go on.
    stopping: Cell<Option<Instant>>,
    /// How many connections there are.
    connections: Cell<usize>,
    /// How many of them have only to hear that their clients end, too.
    pub(crate) lingering: Cell<usize>,
    /// Listeners that wait for a connection to end.
    waiting: RefCell<Vec<Waker>>,
    /// Whether its [`Runtime`](super::Runtime) was dropped.
    is_gone: Cell<bool>,
    /// The process that it polls for.
    origin: Origin,
    pub(super) statistics: Cell<Statistics>,
}

static IDENTITY: AtomicU64 = AtomicU64::new(0);

impl Core {
    pub(super) fn new(options: &RuntimeOptions) -> Result<Rc<Self>, RuntimeError> {
        let failed = |call| move |error: io::Error| kernel(call, error);
        let poller = Poller::new().map_err(failed("epoll_create"))?;
        let registry = poller.registry().try_clone().map_err(failed("dup"))?;
        let waker = mio::Waker::new(&registry, REMOTE).map_err(failed("eventfd"))?;
        Ok(Rc::new(Self {
            identity: IDENTITY.fetch_add(1, Ordering::Relaxed),
            options: options.clone(),
            pool: Pool::new(options.isolation, options.heap),
            tasks: RefCell::default(),
            ready: RefCell::default(),
            remote: Arc::new(Remote::new(waker)),
            rings: Rings::new(options.spin),
            watches_rings: Cell::new(false),
            poller: RefCell::new(poller),
            events: RefCell::new(Events::with_capacity(EVENTS)),
            registry,
            slots: RefCell::default(),
            timers: RefCell::default(),
            now: Cell::new(Instant::now()),
            tries: Cell::new(TRIES),
            running: Cell::new((0, core::ptr::null())),
            heap: RefCell::default(),
            stopping: Cell::new(None),
            connections: Cell::new(0),
            lingering: Cell::new(0),
            waiting: RefCell::default(),
            is_gone: Cell::new(false),
            origin: Origin::here(),
            statistics: Cell::default(),
        }))
    }

    pub(super) fn identity(&self) -> u64 {
        self.identity
    }

    pub(super) fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    pub(crate) fn options(&self) -> &RuntimeOptions {
        &self.options
    }

    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    pub(crate) fn current_heap(&self) -> Option<Heap> {
        self.heap.borrow().clone()
    }

    /// Whether this heap is the running coroutine's.
    pub(crate) fn is_current(&self, heap: &Heap) -> bool {
        self.heap.borrow().as_ref().is_some_and(|current| current.is(heap))
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get().is_some()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.get()
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Statistics)) {
        let mut statistics = self.statistics.get();
        change(&mut statistics);
        self.statistics.set(statistics);
    }

    // ---- Coroutines

    /// A heap for a coroutine that is about to be made.
    pub(crate) fn heap(&self) -> Result<Heap, HeapError> {
        self.pool.heap()
    }

    /// Has a coroutine run, from the next turn on.
    pub(crate) fn spawn(
        &self,
        heap: &Heap,
        kind: Kind,
        ended: Option<Rc<dyn Ended>>,
        future: impl Future<Output = ()> + 'static,
    ) -> Result<(), HeapError> {
        let placed = Placed::new(heap, future)?;
        let mut tasks = self.tasks.borrow_mut();
        let place = tasks.vacant_entry();
        let task = place.key();
        let state = Arc::new(State::queued(task, self.identity, Arc::clone(&self.remote)));
        let waker = Waker::from(Arc::clone(&state));
        place.insert(Task::new(state, Coroutine { placed, waker, kind, ended }));
        drop(tasks);
        if kind == Kind::Connection {
            self.connections.set(self.connections.get() + 1);
        }
        self.queue(task);
        Ok(())
    }

    pub(super) fn queue(&self, task: usize) {
        self.ready.borrow_mut().push_back(task);
    }

    /// Runs a coroutine until it waits.
    fn poll(&self, index: usize) {
        let mut coroutine = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(index) else { return };
            let Some(coroutine) = task.begin() else { return };
            coroutine
        };
        self.tries.set(TRIES);
        self.heap.replace(Some(coroutine.placed.heap().clone()));
        let Coroutine { placed, waker, .. } = &mut coroutine;
        self.running.set((index, waker));
        let mut context = Context::from_waker(waker);
        let polled = catch_unwind(AssertUnwindSafe(|| placed.poll(&mut context)));
        match polled {
            Ok(Poll::Pending) => {
                self.tasks.borrow_mut()[index].wait(coroutine);
            }
            Ok(Poll::Ready(())) => self.end(index, coroutine, None),
            Err(payload) => self.end(index, coroutine, Some(payload)),
        }
        self.running.set((0, core::ptr::null()));
        self.heap.replace(None);
    }

    fn end(&self, index: usize, coroutine: Coroutine, payload: Option<Box<dyn Any + Send>>) {
        let Coroutine { placed, kind, ended, waker } = coroutine;
        let dropped = drop_in_peace(placed);
        let task = self.tasks.borrow_mut().try_remove(index);
        let (payload, second) = match payload {
            Some(payload) => (Some(payload), dropped),
            None => (dropped, None),
        };
        if let Some(payload) = payload {
            self.count(|statistics| statistics.panicked += 1);
            let told = || match &ended {
                Some(ended) => ended.panicked(payload),
                None => drop(payload),
            };
            mem::forget(catch_unwind(AssertUnwindSafe(told)));
        }
        // The last owner of a result may be here, and a result is the user's. What a drop panics with is forgotten: it may
        // panic when it is dropped itself.
        mem::forget((drop_in_peace(second), drop_in_peace(ended)));
        drop((waker, task));
        if kind == Kind::Connection {
            self.connections.set(self.connections.get() - 1);
            self.count(|statistics| statistics.ended += 1);
            let waiting = self.waiting.take();
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// The runtime is gone: nobody will ask its poller any more.
    pub(super) fn close(&self) {
        self.is_gone.set(true);
        self.clear();
    }

    /// Whether what waits here is woken some time.
    pub(crate) fn serves(&self) -> bool {
        !self.is_gone.get() && !super::another_runs(self.identity)
    }

    /// Drops all coroutines.
    pub(super) fn clear(&self) {
        // A coroutine that is dropped may spawn others.
        for _ in 0..3 {
            let tasks: Vec<usize> = self.tasks.borrow().iter().map(|(index, _)| index).collect();
            for index in tasks {
                let mut tasks = self.tasks.borrow_mut();
                let coroutine = tasks.get_mut(index).and_then(|task| task.coroutine.take());
                drop(tasks);
                if let Some(coroutine) = coroutine {
                    self.end(index, coroutine, None);
                }
            }
        }
        self.ready.borrow_mut().clear();
    }

    /// Waits until a connection ends, too.
    pub(crate) fn wake_at_end(&self, waker: Waker) {
        let mut waiting = self.waiting.borrow_mut();
        // A listener that is short of descriptors comes again and again before a connection ends.
        if !waiting.iter().any(|known| known.will_wake(&waker)) {
            waiting.push(waker);
        }
    }

    // ---- The loop

    /// Whether this process may run it.
    pub(super) fn is_here(&self) -> bool {
        self.origin.is_here()
    }

    /// Runs coroutines until `is_done`, or until there is none.
    pub(super) fn turns(&self, is_done: impl Fn() -> bool) -> Result<(), RuntimeError> {
        loop {
            let rest = self.work();
            if is_done() || self.tasks.borrow().is_empty() || self.has_stopped() {
                return Ok(());
            }
            self.ask(rest)?;
        }
    }

    /// Runs coroutines until none can go on, or until it is time to ask the poller; says what to do then.
    fn work(&self) -> Rest {
        for _ in 0..POLLS {
            let next = self.ready.borrow_mut().pop_front();
            if let Some(task) = next {
                self.poll(task);
                if self.tries.get() == 0 {
                    // It has read or written as often as it may, which took far longer than asking the poller does.
                    return Rest::Spin;
                }
                continue;
            }
            match self.rings.rest(|slot, side| self.notify(slot, side)) {
                Rest::Work => {}
                rest => return rest,
            }
        }
        Rest::Spin
    }

    /// Asks the poller which coroutines can go on.
    fn ask(&self, rest: Rest) -> Result<(), RuntimeError> {
        let timeout = if rest == Rest::Sleep { self.timeout() } else { Some(Duration::ZERO) };
        {
            let (mut poller, mut events) = (self.poller.borrow_mut(), self.events.borrow_mut());
            match poller.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                Err(error) => return Err(kernel("epoll_wait", error)),
                Ok(()) => {}
            }
        }
        self.now.set(Instant::now());
        self.hear();
        if rest == Rest::Spin {
            // The run queue may never be empty, and only then its rings are looked at otherwise.
            self.rings.look(|slot, side| self.notify(slot, side));
        }
        for task in self.remote.take() {
            self.queue(task);
        }
        if self.remote.is_to_stop() {
            self.stop();
        }
        let mut woken = Vec::new();
        self.slots.borrow_mut().sweep(self.now(), &mut woken);
        woken.into_iter().for_each(|waiter| self.tell(waiter));
        // A statement of its own: a waker may be anybody's, who may set timers.
        while let Some(waker) = { self.timers.borrow_mut().pop(self.now()) } {
            waker.wake();
        }
        Ok(())
    }

    fn hear(&self) {
        let events = self.events.borrow();
        for event in &*events {
            let Token(slot) = event.token();
            if event.token() == REMOTE {
                continue;
            }
            if event.token() == RINGS {
                self.rings.hear(|slot, side| self.notify(slot, side));
                continue;
            }
            let is_lost = event.is_error();
            let mut waiters = [None, None, None];
            {
                let mut slots = self.slots.borrow_mut();
                if event.is_read_closed() || is_lost {
                    slots.read_closed(slot);
                }
                if event.is_readable() || event.is_read_closed() || is_lost {
                    waiters[0] = slots.notify(slot, Side::Read);
                }
                if event.is_writable() || event.is_write_closed() || is_lost {
                    waiters[1] = slots.notify(slot, Side::Write);
                    waiters[2] = slots.take_flusher(slot);
                }
            }
            waiters.into_iter().flatten().for_each(|waiter| self.tell(waiter));
        }
    }

    /// For how long the poller may wait.
    fn timeout(&self) -> Option<Duration> {
        if !self.ready.borrow().is_empty() {
            return Some(Duration::ZERO);
        }
        let timer = self.timers.borrow().next();
        let sweep = self.slots.borrow().next_sweep();
        let next = [timer, sweep, self.stopping.get()].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    // ---- The end

    /// From now on connections end when their requests are answered.
    fn stop(&self) {
        if self.is_stopping() {
            return;
        }
        self.stopping.set(Some(wait::deadline(self.options.shutdown)));
        let mut woken = Vec::new();
        self.slots.borrow_mut().between(&mut woken);
        woken.into_iter().for_each(|waiter| self.tell(waiter));
        let waiting = self.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether the runtime was told to stop, and its connections have ended, or their time is up.
    fn has_stopped(&self) -> bool {
        let Some(deadline) = self.stopping.get() else { return false };
        if self.connections() > 0 && self.now() < deadline {
            return false;
        }
        // Those that linger were answered.
        let cut = (self.connections() - self.lingering.get()) as u64;
        self.count(|statistics| statistics.cut += cut);
        self.clear();
        true
    }

    // ---- What coroutines wait for

    /// Whether the coroutine that runs may read or write now. If it has done so often enough, it is woken at once, and
    /// others run first.
    #[inline]
    pub(crate) fn may_go_on(&self, context: &Context<'_>) -> bool {
        let tries = self.tries.get();
        if tries == 0 {
            return self.give_way(context);
        }
        self.tries.set(tries - 1);
        true
    }

    /// What was read or written at once counts as so many tries as it takes time.
    #[inline]
    pub(crate) fn charge(&self, bytes: usize) {
        let tries = u32::try_from(bytes / BYTES_OF_TRY).unwrap_or(u32::MAX);
        self.tries.set(self.tries.get().saturating_sub(tries));
    }

    #[cold]
    fn give_way(&self, context: &Context<'_>) -> bool {
        if self.heap.borrow().is_none() {
            // An executor of somebody else's polls: no turn of a coroutine gives it new tries.
            self.tries.set(TRIES);
        }
        context.waker().wake_by_ref();
        false
    }

    pub(crate) fn is_spent(&self, slot: usize, side: Side) -> bool {
        self.slots.borrow_mut().is_spent(slot, side)
    }

    pub(crate) fn add_slot(&self) -> usize {
        self.slots.borrow_mut().insert()
    }

    pub(crate) fn remove_slot(&self, slot: usize) {
        let removed = self.slots.borrow_mut().remove(slot);
        // After the borrow: a waker may be anybody's.
        drop(removed);
    }

    /// Has the poller watch a descriptor for the slot.
    pub(crate) fn register(
        &self,
        source: &mut (impl Source + ?Sized),
        slot: usize,
        interest: Interest,
    ) -> io::Result<()> {
        self.registry.register(source, Token(slot), interest)
    }

    /// The connections over rings. From the first call on the poller watches their descriptor.
    pub(crate) fn rings(&self) -> io::Result<&Rings> {
        if !self.watches_rings.get() {
            let descriptor = self.rings.descriptor()?;
            self.registry.register(&mut SourceFd(&descriptor), RINGS, Interest::READABLE)?;
            self.watches_rings.set(true);
        }
        Ok(&self.rings)
    }

    pub(crate) fn deregister(&self, source: &mut (impl Source + ?Sized)) {
        // It was registered; and a descriptor that is closed is no longer watched anyway.
        let _ = self.registry.deregister(source);
    }

    pub(crate) fn may(&self, slot: usize, side: Side) -> bool {
        self.slots.borrow_mut().may(slot, side)
    }

    pub(crate) fn spend(&self, slot: usize, side: Side) {
        self.slots.borrow_mut().spend(slot, side);
    }

    /// Says that there is something to read or room to write.
    pub(crate) fn notify(&self, slot: usize, side: Side) {
        let waiters = {
            let mut slots = self.slots.borrow_mut();
            let flusher = if side == Side::Write { slots.take_flusher(slot) } else { None };
            [slots.notify(slot, side), flusher]
        };
        waiters.into_iter().flatten().for_each(|waiter| self.tell(waiter));
    }

    fn tell(&self, waiter: Waiter) {
        match waiter {
            Waiter::Waker(waker) => waker.wake(),
            // If it has ended, another one may be polled without need.
            Waiter::Task(task) => {
                let tasks = self.tasks.borrow();
                let Some(found) = tasks.get(task) else { return };
                if found.state.claim() {
                    drop(tasks);
                    self.queue(task);
                }
            }
        }
    }

    /// Who polls now.
    fn waiter(&self, context: &Context<'_>) -> Waiter {
        let (task, waker) = self.running.get();
        if core::ptr::eq(waker, context.waker()) {
            Waiter::Task(task)
        } else {
            Waiter::Waker(context.waker().clone())
        }
    }

    /// The coroutine that reads waits until what was written leaves. Another one may wait for room to write.
    pub(crate) fn wait_to_flush(&self, slot: usize, context: &Context<'_>) {
        let waiter = self.waiter(context);
        let before = self.slots.borrow_mut().wait_to_flush(slot, waiter);
        drop(before);
    }

    pub(crate) fn begin_wait(&self, slot: usize, side: Side, deadline: Option<Instant>) {
        self.slots.borrow_mut().begin(slot, side, deadline);
    }

    pub(crate) fn wait(&self, slot: usize, side: Side, context: &Context<'_>, is_between: bool) {
        let waiter = self.waiter(context);
        let before = self.slots.borrow_mut().wait(slot, side, waiter, is_between);
        drop(before);
    }

    pub(crate) fn end_wait(&self, slot: usize, side: Side) {
        let before = self.slots.borrow_mut().end(slot, side);
        drop(before);
    }

    pub(crate) fn has_expired(&self, slot: usize, side: Side) -> bool {
        self.slots.borrow_mut().has_expired(slot, side)
    }

    pub(super) fn add_timer(&self, time: Instant, waker: Waker) -> TimerKey {
        self.timers.borrow_mut().add(time, waker)
    }

    pub(super) fn remove_timer(&self, key: TimerKey) {
        let removed = self.timers.borrow_mut().remove(key);
        drop(removed);
    }
}

fn kernel(call: &'static str, error: io::Error) -> RuntimeError {
    RuntimeError::Kernel { call, source: OsError::new(error) }
}

/// Drops what belongs to a user; what that panicked with.
fn drop_in_peace<T>(value: T) -> Option<Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(|| drop(value))).err()
}
