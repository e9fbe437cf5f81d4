//! What would hold up the other connections is done on another thread.

use core::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::Refused;
use crate::http::Status;
use crate::readable;

/// So many threads there are at most.
const MOST: usize = 8;

/// What `f` answers, on a thread of its own.
///
/// # Errors
///
/// What the client is told: there are many such threads already, or none can be had, or it has panicked.
pub(super) async fn offload<T: Send + 'static>(
    running: &Cell<usize>,
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    let busy = |why: &str| Refused::new(Status::SERVICE_UNAVAILABLE, why);
    if running.get() >= MOST {
        return Err(busy("too many clients ask for this at once: try again"));
    }
    let done = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|errno| busy(&format!("eventfd: {errno}")))?;
    let answer = Arc::new((Mutex::new(None), done));
    let _counted = Counted::new(running);
    let theirs = Finally(Arc::clone(&answer));
    let thread = std::thread::Builder::new().name("offloaded".into()).spawn(move || {
        let value = f();
        *theirs.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    });
    thread.map_err(|error| busy(&format!("starting a thread: {error}")))?;
    readable(&answer.1).await.map_err(|error| busy(&format!("epoll: {error}")))?;
    let value = answer.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    value.ok_or_else(|| Refused::new(Status::INTERNAL_SERVER_ERROR, "it has panicked"))
}

/// Signals also if the thread panics.
struct Finally<T>(Arc<(Mutex<Option<T>>, EventFd)>);

impl<T> Drop for Finally<T> {
    fn drop(&mut self) {
        // It counts to far more than one.
        let _ = self.0.1.write(1);
    }
}

/// Counts as long as it lives, also if the coroutine is dropped before.
struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn new(running: &'a Cell<usize>) -> Self {
        running.set(running.get() + 1);
        Self(running)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
