//! Asking a bridge to stop.

use std::sync::Arc;

use common::sync::{AtomicBool, Ordering};

/// A request to stop, which a bridge looks at at least every [`SLICE`](Self::SLICE). Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// How long a bridge waits at most before it looks.
    pub const SLICE: std::time::Duration = std::time::Duration::from_millis(50);

    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at this flag, which a signal may set.
    pub fn with_flag(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Asks. What was acknowledged stays acknowledged; nothing else is taken from the queue.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has asked.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
