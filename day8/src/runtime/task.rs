//! A coroutine in the executor, and what wakes it.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::remote::{self, Bell};
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
pub(super) type Task = remote::Task<Coroutine, mio::Waker>;
/// What a coroutine's wakers share.
pub(super) type State = remote::State<mio::Waker>;
/// What reaches the executor from elsewhere.
pub(super) type Remote = remote::Remote<mio::Waker>;

/// A coroutine that waits, or can go on.
pub(super) struct Coroutine {
    pub(super) placed: Placed,
    pub(super) waker: Waker,
    pub(super) kind: Kind,
    pub(super) ended: Option<Rc<dyn Ended>>,
}

impl Bell for mio::Waker {
    fn ring(&self) {
        // It fails only if the counter behind it is full, and then the executor wakes up as well.
        let _ = self.wake();
    }
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_up(|task| super::wake_here(self.runtime(), task));
    }
}
