//! Ctrl-C, `kill`, a closed terminal: requests to stop, which the command looks at between two
//! steps.

use std::sync::Arc;

use common::sync::{AtomicBool, Ordering};
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// The signals caught so far.
pub(crate) struct Signals {
    caught: Vec<(i32, Arc<AtomicBool>)>,
}

/// A signal has asked us to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted by {}", Signal::try_from(*.signal).map_or("a signal", Signal::as_str))]
pub(crate) struct Interrupted {
    signal: i32,
}

impl Interrupted {
    /// The terminal is closed. Its signal may be late, or may go to the shell alone.
    pub(crate) fn hung_up() -> Self {
        Self { signal: SIGHUP }
    }

    /// The exit code that a shell expects: 128 plus the signal's number.
    pub(crate) fn exit_code(&self) -> u8 {
        128 + self.signal as u8
    }
}

impl Signals {
    pub(crate) fn catch() -> anyhow::Result<Self> {
        let mut caught = Vec::new();
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            // `nohup` has asked for it.
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            let flag = Arc::default();
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            caught.push((signal, flag));
        }
        Ok(Self { caught })
    }

    /// Fails if it is time to stop.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        match self.caught.iter().find(|(_, flag)| flag.load(Ordering::Relaxed)) {
            Some(&(signal, _)) => Err(Interrupted { signal }),
            None => Ok(()),
        }
    }
}

/// Whether the process was started with this signal ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}
