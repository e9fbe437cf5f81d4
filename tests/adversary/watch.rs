//! What each thread does, and since when: a call that hangs is reported and ended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What one thread is doing.
#[derive(Debug)]
pub(crate) struct Beat {
    name: String,
    state: Mutex<(String, Instant, bool)>,
}

impl Beat {
    /// A thread of this name.
    pub(crate) fn new(name: &str) -> Arc<Self> {
        let state = Mutex::new((String::from("begins"), Instant::now(), true));
        Arc::new(Self { name: name.to_owned(), state })
    }

    /// The thread begins to do this.
    pub(crate) fn does(&self, what: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 != what {
            what.clone_into(&mut state.0);
        }
        (state.1, state.2) = (Instant::now(), true);
    }

    /// The thread has finished.
    pub(crate) fn is_done(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).2 = false;
    }

    fn line(&self) -> (Duration, String) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = if state.2 { state.1.elapsed() } else { Duration::ZERO };
        (since, format!("{}: {} for {since:.1?}", self.name, state.0))
    }
}

/// What all threads are doing, if one of them has done the same for longer than `timeout`.
pub(crate) fn stuck(beats: &[Arc<Beat>], timeout: Duration) -> Option<String> {
    let lines: Vec<_> = beats.iter().map(|beat| beat.line()).collect();
    let (longest, _) = lines.iter().max_by_key(|(since, _)| *since)?;
    if *longest < timeout {
        return None;
    }
    let mut lines: Vec<_> = lines;
    lines.sort_by_key(|(since, _)| core::cmp::Reverse(*since));
    Some(lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("; "))
}
