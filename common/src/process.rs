//! Which process made a thing.

/// The process that made a thing. A forked child has a copy of the thing, but is another process.
/// So the copy must not end the queue, and must not leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(u32);

impl Origin {
    /// This process.
    pub fn here() -> Self {
        Self(std::process::id())
    }

    /// Whether it is this process.
    pub fn is_here(self) -> bool {
        self == Self::here()
    }

    /// Its process id, for display.
    pub fn pid(self) -> u32 {
        self.0
    }
}
