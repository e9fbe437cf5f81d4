//! The runtime that a bridge brings along.

use std::panic::resume_unwind;
use std::{io, thread};

use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime for the calling thread.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Does this where a runtime can be entered: here, or on a thread of its own if this thread has entered one already, as it
/// has in an async task. Either way it blocks the calling thread.
pub(crate) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    if Handle::try_current().is_err() {
        return Ok(work());
    }
    thread::scope(|scope| {
        let working = thread::Builder::new().name("fanout-bridge".to_owned());
        let working = working.spawn_scoped(scope, work)?;
        Ok(working.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
