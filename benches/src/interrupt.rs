//! Signals. Ctrl-C stops a comparison between or within runs, so that everything it started is killed
//! and removed. The sides of a run do not stop by themselves.

use std::sync::{Arc, OnceLock};

use anyhow::ensure;
use common::sync::{AtomicBool, Ordering};
use nix::errno::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on such a signal is only noted.
///
/// # Errors
///
/// If the handler cannot be set.
pub fn note() -> anyhow::Result<()> {
    let stop = STOP.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}

/// Whether a signal was noted.
pub fn noted() -> bool {
    STOP.get().is_some_and(|stop| stop.load(Ordering::Relaxed))
}

/// Fails once a signal was noted.
pub(crate) fn check() -> anyhow::Result<()> {
    ensure!(!noted(), "interrupted");
    Ok(())
}

/// Makes a system call, and repeats it when a signal has interrupted it.
#[inline(always)]
pub(crate) fn again<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}
