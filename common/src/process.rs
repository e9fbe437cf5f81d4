//! In which process something was made.

/// The process that made something. A child that was forked from it has a copy of the thing, and is
/// another process: what ends a queue, or leaves one, is not for the copy to do.
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

    /// Its number, for display.
    pub fn pid(self) -> u32 {
        self.0
    }
}
