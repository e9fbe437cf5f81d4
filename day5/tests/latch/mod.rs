//! What both judges of exercise 1 mean by a latch.

use std::time::Duration;

/// The methods of all latches, whichever module they come from.
pub(crate) trait Latch: Send + Sync + 'static {
    fn new() -> Self;
    fn wait(&self, timeout: Duration) -> bool;
    fn open(&self) -> bool;
}

/// Implements [`Latch`] for the `Latch` of each of these modules.
macro_rules! implement {
    ($($module:ident)::+ $(, $($more:tt)*)?) => {
        impl $crate::latch::Latch for $($module)::+::Latch {
            fn new() -> Self {
                Self::new()
            }

            fn wait(&self, timeout: ::std::time::Duration) -> bool {
                self.wait(timeout)
            }

            fn open(&self) -> bool {
                self.open()
            }
        }
        $($crate::latch::implement!($($more)*);)?
    };
    () => {};
}

pub(crate) use implement;
