//! Signals. Ctrl-C stops between or within runs, so that whatever was started is killed and removed; the
//! sides of a run go on.

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

/// Whether one was noted.
pub fn noted() -> bool {
    STOP.get().is_some_and(|stop| stop.load(Ordering::Relaxed))
}

/// An error once one was noted.
pub(crate) fn check() -> anyhow::Result<()> {
    ensure!(!noted(), "interrupted");
    Ok(())
}

/// Makes a call of the kernel, again for as long as signals interrupt it.
#[inline(always)]
pub(crate) fn again<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}
