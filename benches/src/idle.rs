//! What a rival's side does while it cannot go on.

use crossbeam_utils::Backoff;

use crate::crew::fits;

/// Looks again at once if every side has a core. If they share cores, it spins a little and then
/// yields.
pub struct Idle {
    fits: bool,
    backoff: Backoff,
}

impl Idle {
    /// For a run with this number of sides.
    pub fn new(sides: usize) -> Self {
        Self { fits: fits(sides), backoff: Backoff::new() }
    }

    /// Waits before the next look.
    #[inline(always)]
    pub fn wait(&self) {
        if self.fits { std::hint::spin_loop() } else { self.backoff.snooze() }
    }

    /// Starts anew after a look that found something.
    #[inline(always)]
    pub fn reset(&self) {
        self.backoff.reset();
    }
}
