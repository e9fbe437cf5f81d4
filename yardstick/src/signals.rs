//! Ctrl-C, `kill`, a closed terminal: requests to stop, which a command looks at between two steps.

use std::fmt;
use std::io;
use std::sync::Arc;

use common::sync::{AtomicBool, Ordering};
use nix::sys::signal::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// The signals caught so far.
#[derive(Debug)]
pub struct Signals {
    caught: Vec<(i32, Arc<AtomicBool>)>,
}

/// A signal has asked us to stop.
#[derive(Debug)]
pub struct Interrupted {
    signal: i32,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal = Signal::try_from(self.signal).map_or("a signal", Signal::as_str);
        write!(f, "interrupted by {signal}")
    }
}

impl std::error::Error for Interrupted {}

impl Interrupted {
    /// The terminal is closed. Its signal may be late, or may go to the shell alone.
    pub fn hung_up() -> Self {
        Self { signal: SIGHUP }
    }

    /// The exit code that a shell expects: 128 plus the signal's number.
    pub fn exit_code(&self) -> u8 {
        128 + self.signal as u8
    }
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    ///
    /// The kernel's, as if it does not know one of them.
    pub fn catch() -> io::Result<Self> {
        Self::catch_each(|_| Ok(()))
    }

    /// Catches the first one. A second one, of whatever kind, ends the process as if none were caught.
    ///
    /// # Errors
    ///
    /// As for [`catch`](Self::catch).
    pub fn catch_first() -> io::Result<Self> {
        let any: Arc<AtomicBool> = Arc::default();
        Self::catch_each(|signal| {
            // They run in this order, so the first signal does not see itself.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&any))?;
            signal_hook::flag::register(signal, Arc::clone(&any)).map(|_| ())
        })
    }

    fn catch_each(before: impl Fn(i32) -> io::Result<()>) -> io::Result<Self> {
        let mut caught = Vec::new();
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            // `nohup` has asked for it.
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            before(signal)?;
            let flag = Arc::default();
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            caught.push((signal, flag));
        }
        Ok(Self { caught })
    }

    /// Fails if it is time to stop.
    ///
    /// # Errors
    ///
    /// The signal that was caught.
    pub fn check(&self) -> Result<(), Interrupted> {
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
