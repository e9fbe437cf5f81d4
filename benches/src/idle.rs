//! What a rival's side does while it cannot go on.

use crossbeam_utils::Backoff;

use crate::crew::fits;

/// Looks again at once where every side has a core, and spins a little and yields where they share
/// them.
pub struct Idle {
    fits: bool,
    backoff: Backoff,
}

impl Idle {
    /// For one of so many sides.
    pub fn new(sides: usize) -> Self {
        Self { fits: fits(sides), backoff: Backoff::new() }
    }

    /// Before the next look.
    #[inline(always)]
    pub fn wait(&self) {
        if self.fits { std::hint::spin_loop() } else { self.backoff.snooze() }
    }

    /// After a look that found something.
    #[inline(always)]
    pub fn reset(&self) {
        self.backoff.reset();
    }
}
