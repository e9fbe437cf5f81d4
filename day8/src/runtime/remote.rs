//! How other threads wake a coroutine, and how they have a runtime shut down.
//!
//! All else in a runtime belongs to its thread. This is what other threads touch: a coroutine's [`State`], which its
//! wakers share, and the executor's [`Remote`]. The executor's poller is a [`Bell`] here, so that the models run this
//! source with a bell of their own.
//!
//! # No wake-up is lost
//!
//! - A waker sets the coroutine's flag, and puts the coroutine into the list if the flag was not set. The executor takes
//!   the flag down *before* it polls. So a waker that finds the flag set knows that a poll is still to begin, and that
//!   poll sees what was done before the wake-up (edge wake -> poll).
//! - A waker puts the coroutine into the list *before* it sets the list's flag; the executor takes that flag down
//!   *before* it takes the list. Both take the list's lock in between. If the executor has the lock first, it took the
//!   flag down before the waker sets it: the flag stays set. If the waker has it first, the executor finds the coroutine
//!   in the list. The lock orders the flag on any processor, so the flag's own operations are relaxed.
//! - A waker that finds the list's flag not set rings. One that finds it set leaves that to the waker that set it, and the
//!   executor has not taken the list since. The executor hears each ring, now or when it asks its poller next, and sees then what was
//!   done before the ring. That is what the kernel promises for `mio::Waker`; no model looks into it.
//!
//! # Distrust
//!
//! A waker can be cloned, kept, and used at any time from anywhere, also when its coroutine has ended. Then another
//! coroutine that has its place is polled once without need.

// The standard library's, also in models: `Wake` asks for it.
use std::sync::{Arc, PoisonError};

use common::ordering;
use common::sync::{AtomicBool, Mutex, Ordering, mutant};

/// What has the executor look.
pub trait Bell {
    /// The executor's poller returns, now or when it is asked next. What was done before is seen by the executor then.
    fn ring(&self);
}

/// What reaches the executor from elsewhere: other threads, other executors.
#[derive(Debug)]
pub struct Remote<B> {
    queue: Mutex<Vec<usize>>,
    has_some: AtomicBool,
    is_to_stop: AtomicBool,
    bell: B,
}

impl<B: Bell> Remote<B> {
    /// Nothing yet, and the bell of the executor.
    pub fn new(bell: B) -> Self {
        Self {
            queue: Mutex::new(Vec::new()),
            has_some: AtomicBool::new(false),
            is_to_stop: AtomicBool::new(false),
            bell,
        }
    }

    fn push(&self, task: usize) {
        let is_late = mutant("flag-before-list");
        if !is_late {
            self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        }
        // Relaxed, and after the list: the list's lock orders it.
        let was_set = self.has_some.swap(true, Ordering::Relaxed);
        if is_late {
            self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        }
        if !was_set && !mutant("skip-bell") {
            self.bell.ring();
        }
    }

    /// What was woken since the last call. The executor asks each time when its poller has returned.
    pub fn take(&self) -> Vec<usize> {
        // Relaxed: what comes too late to be seen here rings.
        if !self.has_some.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let is_late = mutant("list-before-flag");
        let early = if is_late { self.list() } else { Vec::new() };
        // Relaxed, and before the list: the list's lock orders it. Who comes after that sets it again.
        // A store would do, too; but loom knows the order of swaps only.
        self.has_some.swap(false, Ordering::Relaxed);
        if is_late { early } else { self.list() }
    }

    fn list(&self) -> Vec<usize> {
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the executor stop.
    pub fn stop(&self) {
        if mutant("bell-before-stop") {
            self.bell.ring();
        }
        // Relaxed, and before the ring: who hears that sees it. It tells of nothing else.
        self.is_to_stop.store(true, Ordering::Relaxed);
        if !mutant("bell-before-stop") && !mutant("skip-stop-bell") {
            self.bell.ring();
        }
    }

    /// Whether the executor is to stop. It asks each time when its poller has returned.
    pub fn is_to_stop(&self) -> bool {
        self.is_to_stop.load(Ordering::Relaxed)
    }
}

/// What a coroutine's wakers share.
#[derive(Debug)]
pub struct State<B> {
    /// Which of the executor's tasks it is. Another one may have its place when this one has ended: that is polled once
    /// without need.
    task: usize,
    is_queued: AtomicBool,
    runtime: u64,
    remote: Arc<Remote<B>>,
}

impl<B: Bell> State<B> {
    /// A new coroutine's, which its executor has queued.
    pub fn queued(task: usize, runtime: u64, remote: Arc<Remote<B>>) -> Self {
        Self { task, is_queued: AtomicBool::new(true), runtime, remote }
    }

    /// Which runtime's it is.
    pub fn runtime(&self) -> u64 {
        self.runtime
    }

    /// Has it polled, once for all who say so before that poll. `here` queues it if this thread is the executor's, or
    /// says that it is not.
    pub fn wake_up(&self, here: impl FnOnce(usize) -> bool) {
        // edge: wake -> poll. What was done before the wake-up is seen by the next poll, also if it was queued already.
        if self.is_queued.swap(true, ordering!("wake-release", Release)) {
            return;
        }
        if !here(self.task) {
            self.remote.push(self.task);
        }
    }

    /// As [`State::wake_up`], by the executor itself: whether it has to queue it now.
    pub fn claim(&self) -> bool {
        if mutant("claim-by-store") {
            let was_set = self.is_queued.load(Ordering::Relaxed);
            self.is_queued.store(true, Ordering::Relaxed);
            return !was_set;
        }
        // Relaxed: the same thread polls. Not a store: a swap hands on what other wakers did before it.
        !self.is_queued.swap(true, Ordering::Relaxed)
    }

    fn take_down(&self) {
        // edge: wake -> poll. Who wakes it from now on has it polled again.
        self.is_queued.swap(false, ordering!("poll-acquire", Acquire));
    }
}

/// A place for a coroutine.
#[derive(Debug)]
pub struct Task<C, B> {
    pub(super) state: Arc<State<B>>,
    /// `None` while it runs.
    pub(super) coroutine: Option<C>,
}

impl<C, B: Bell> Task<C, B> {
    /// A coroutine, and what its wakers share.
    pub fn new(state: Arc<State<B>>, coroutine: C) -> Self {
        Self { state, coroutine: Some(coroutine) }
    }

    /// Takes the coroutine out, to poll it; `None` if it runs.
    pub fn begin(&mut self) -> Option<C> {
        // Before it runs, not after: a wake-up while it runs may come after its last look.
        if !mutant("flag-after-poll") {
            self.state.take_down();
        }
        self.coroutine.take()
    }

    /// Puts the coroutine back: it waits.
    pub fn wait(&mut self, coroutine: C) {
        if mutant("flag-after-poll") {
            self.state.take_down();
        }
        self.coroutine = Some(coroutine);
    }
}
