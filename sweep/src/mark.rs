//! What a victim tells its tracer: whose turn it is, and which instructions count.

use fanout::QueueName;
use nix::sys::signal::{Signal, raise};

/// The victim waits while the survivors do something.
pub(crate) const STAGE: Signal = Signal::SIGUSR1;
/// The operation begins, or ends.
pub(crate) const EDGE: Signal = Signal::SIGUSR2;

/// What a victim knows, and how it speaks with its tracer.
///
/// It speaks in signals, which stop a traced process before they are delivered. The tracer keeps them: none is
/// ever delivered.
#[derive(Debug)]
pub(crate) struct Act {
    name: QueueName,
}

impl Act {
    pub(crate) fn new(name: QueueName) -> Self {
        Self { name }
    }

    /// The queue that the scenario is about.
    pub(crate) fn name(&self) -> &QueueName {
        &self.name
    }

    /// Lets the survivors do what they do at this stage, and goes on when they have done it.
    pub(crate) fn stage(&self) {
        tell(STAGE);
    }

    /// From here on each instruction is a point at which the victim is killed.
    pub(crate) fn begin(&self) {
        tell(EDGE);
    }

    /// The last point: the operation is done, and the victim still has all its ends.
    pub(crate) fn end(&self) {
        tell(EDGE);
    }

    /// For another process whose death belongs to the scenario: here it is killed.
    pub(crate) fn die(&self) {
        tell(EDGE);
    }

    /// Does one operation, and keeps what it returns until the last point has passed.
    pub(crate) fn operate<R>(&self, operation: impl FnOnce() -> R) -> R {
        self.begin();
        let result = operation();
        self.end();
        result
    }
}

fn tell(signal: Signal) {
    raise(signal).expect("a process may send itself a signal");
}
