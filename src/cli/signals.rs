//! Ctrl-C and `kill`: a wish to stop, looked at between two steps.

use std::sync::Arc;

use common::sync::{AtomicBool, Ordering};
use signal_hook::consts::{SIGINT, SIGTERM};

/// The signals caught so far.
#[derive(Clone)]
pub(crate) struct Signals {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
}

/// Somebody wants us to stop.
#[derive(Debug, thiserror::Error)]
#[error("stopped by signal {signal}")]
pub(crate) struct Interrupted {
    signal: i32,
}

impl Interrupted {
    /// What a shell expects: 128 and the signal's number.
    pub(crate) fn exit_code(&self) -> u8 {
        128 + self.signal as u8
    }
}

impl Signals {
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let this = Self { interrupt: Arc::default(), terminate: Arc::default() };
        signal_hook::flag::register(SIGINT, Arc::clone(&this.interrupt))?;
        signal_hook::flag::register(SIGTERM, Arc::clone(&this.terminate))?;
        Ok(this)
    }

    /// An error if it is time to stop.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        for (flag, signal) in [(&self.interrupt, SIGINT), (&self.terminate, SIGTERM)] {
            if flag.load(Ordering::Relaxed) {
                return Err(Interrupted { signal });
            }
        }
        Ok(())
    }
}
