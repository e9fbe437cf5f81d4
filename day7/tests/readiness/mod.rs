//! What both judges of exercise 2 mean by ready words.

use std::time::Duration;

/// The methods of all ready words, whichever module they come from.
pub(crate) trait Ready: Send + Sync + 'static {
    fn new() -> Self;
    fn ring(&self, client: usize) -> bool;
    fn take(&self, look: impl FnMut(usize));
    fn wait(&self, timeout: Duration);
}

/// Implements [`Ready`] for the `Ready` of each of these modules.
macro_rules! implement {
    ($($module:ident)::+ $(, $($more:tt)*)?) => {
        impl $crate::readiness::Ready for $($module)::+::Ready {
            fn new() -> Self {
                Self::new()
            }

            fn ring(&self, client: usize) -> bool {
                self.ring(client)
            }

            fn take(&self, look: impl FnMut(usize)) {
                self.take(look)
            }

            fn wait(&self, timeout: ::std::time::Duration) {
                self.wait(timeout)
            }
        }
        $($crate::readiness::implement!($($more)*);)?
    };
    () => {};
}

pub(crate) use implement;
