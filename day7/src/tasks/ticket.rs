//! A task that was issued.

use core::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use day3::wait::deadline;

use super::arena::Buffer;
use super::core::Core;
use super::error::Failed;

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TicketState {
    /// There is no answer yet.
    Outstanding,
    /// It is done.
    Completed,
    /// It was not done, or nobody knows.
    Failed,
}

/// A task that has ended. The buffers are the client's again, also if it has failed.
#[derive(Debug)]
#[must_use]
pub struct Completed {
    /// The answer, or why there is none.
    pub result: Result<Vec<u8>, Failed>,
    /// The inputs.
    pub inputs: Vec<Buffer>,
    /// The outputs. After a failure they hold anything.
    pub outputs: Vec<Buffer>,
}

impl Completed {
    /// What there is where nothing is.
    fn lost() -> Self {
        let (inputs, outputs) = (Vec::new(), Vec::new());
        Self { result: Err(Failed::ServerDied), inputs, outputs }
    }
}

/// A task that was issued. It is a future of what it becomes, for any executor.
///
/// Dropping it leaves the task as it is: the server does it, and nobody gets the answer. Its buffers go back to the
/// arena when the answer has come.
#[must_use = "the answer comes with the ticket"]
pub struct Ticket {
    core: Arc<Core>,
    entry: usize,
    is_taken: bool,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl Ticket {
    pub(super) fn new(core: Arc<Core>, entry: usize) -> Self {
        Self { core, entry, is_taken: false }
    }

    /// How far it is, as far as answers have come.
    pub fn state(&self) -> TicketState {
        if !self.core.is_done(self.entry) {
            return TicketState::Outstanding;
        }
        match self.core.peek(self.entry, Result::is_ok) {
            Some(true) => TicketState::Completed,
            _ => TicketState::Failed,
        }
    }

    /// Whether it has ended: then [`wait`](Ticket::wait) does not wait.
    pub fn is_ready(&self) -> bool {
        self.core.is_done(self.entry)
    }

    /// Waits until it has ended.
    pub fn wait(mut self) -> Completed {
        self.is_taken = true;
        self.core.finish(self.entry).unwrap_or_else(Completed::lost)
    }

    /// Waits until it has ended, for at most `timeout`; says whether it has.
    pub fn wait_timeout(&mut self, timeout: Duration) -> bool {
        self.core.wait_for(self.entry, Some(deadline(timeout)))
    }

    /// Asks the server not to begin it. If it was not begun, it fails as
    /// [`Cancelled`](Failed::Cancelled); otherwise nothing changes. Either way there is an answer to wait for.
    pub fn cancel(&self) {
        self.core.cancel(self.entry);
    }

    fn take(&mut self) -> Completed {
        self.is_taken = true;
        self.core.take(self.entry).unwrap_or_else(Completed::lost)
    }
}

impl Future for Ticket {
    type Output = Completed;

    /// # Panics
    ///
    /// After it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Completed> {
        let this = self.get_mut();
        assert!(!this.is_taken, "a ticket is ready once");
        if this.core.register(this.entry, context.waker()) {
            return Poll::Ready(this.take());
        }
        Poll::Pending
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_taken {
            self.core.abandon(self.entry);
        }
    }
}
