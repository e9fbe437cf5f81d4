//! A coroutine in the executor, and what wakes it.

use std::any::Any;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use common::sync::{AtomicBool, Ordering};

use crate::heap::Placed;

/// What a coroutine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One connection of a service.
    Connection,
    /// A listener's: it accepts connections.
    Listener,
    /// Anything else.
    Other,
}

/// Who wants to know that a coroutine has panicked.
pub(crate) trait Ended {
    fn panicked(&self, payload: Box<dyn Any + Send>);
}

/// A place for a coroutine.
pub(super) struct Task {
    pub(super) state: Arc<State>,
    /// `None` while it runs.
    pub(super) coroutine: Option<Coroutine>,
}

/// A coroutine that waits, or can go on.
pub(super) struct Coroutine {
    pub(super) placed: Placed,
    pub(super) waker: Waker,
    pub(super) kind: Kind,
    pub(super) ended: Option<Rc<dyn Ended>>,
}

/// What reaches the executor from elsewhere: other threads, other executors.
pub(super) struct Remote {
    queue: Mutex<Vec<usize>>,
    has_some: AtomicBool,
    is_to_stop: AtomicBool,
    waker: mio::Waker,
}

impl Remote {
    pub(super) fn new(waker: mio::Waker) -> Self {
        Self {
            queue: Mutex::default(),
            has_some: AtomicBool::new(false),
            is_to_stop: AtomicBool::new(false),
            waker,
        }
    }

    fn push(&self, task: usize) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        // edge: push -> take. Who takes the flag down finds in the list what was put there before.
        if !self.has_some.swap(true, Ordering::AcqRel) {
            // It fails only if the counter behind it is full, and then the executor wakes up as well.
            let _ = self.waker.wake();
        }
    }

    /// What was woken since the last call.
    pub(super) fn take(&self) -> Vec<usize> {
        if !self.has_some.load(Ordering::Relaxed) {
            return Vec::new();
        }
        // edge: push -> take. Before the list is taken: who comes after that sets it again.
        self.has_some.swap(false, Ordering::AcqRel);
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn stop(&self) {
        self.is_to_stop.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
    }

    pub(super) fn is_to_stop(&self) -> bool {
        self.is_to_stop.load(Ordering::Relaxed)
    }
}

/// What a coroutine's wakers share.
pub(super) struct State {
    /// Which of the executor's tasks it is. Another one may have its place when this one has ended: that is polled once
    /// without need.
    pub(super) task: usize,
    pub(super) runtime: u64,
    pub(super) is_queued: AtomicBool,
    pub(super) remote: Arc<Remote>,
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // edge: wake -> poll. What was done before the wake-up is seen by the next poll, also if it was queued already.
        if self.is_queued.swap(true, Ordering::Release) {
            return;
        }
        if !super::wake_here(self.runtime, self.task) {
            self.remote.push(self.task);
        }
    }
}
