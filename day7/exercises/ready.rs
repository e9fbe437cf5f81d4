//! Exercise 2: ready words by hand.

use std::time::Duration;

/// How many clients a server has.
#[allow(dead_code, reason = "a stub counts nothing")]
pub(crate) const CLIENTS: usize = 128;

/// What a server and its clients share: which clients' rings are worth a look, and whether the server sleeps. One
/// thread is the server; any other may be any client.
///
/// Change a word that others change, too, in one step that also reads it (`fetch_or`, `swap`, `compare_exchange`): loom
/// takes a plain `store` there for one that may come later than it does.
pub(crate) struct Ready {}

impl Ready {
    /// Nobody has rung.
    pub(crate) fn new() -> Self {
        Self {}
    }

    /// This client, a number below [`CLIENTS`], says that its ring is worth a look, and wakes the server if that
    /// sleeps. Says whether it called the kernel for that, which it does only if the server has said that it is going to
    /// sleep.
    pub(crate) fn ring(&self, client: usize) -> bool {
        let _ = client;
        false
    }

    /// The server's: calls `look` with each client that has rung since the last time, once. What a client wrote before it
    /// rang can be read then. While nobody rings, this looks at one word.
    pub(crate) fn take(&self, mut look: impl FnMut(usize)) {
        let _ = &mut look;
    }

    /// The server's: sleeps until a client has rung that was not taken, but at most for `timeout`. It may come back
    /// earlier now and then; the server calls [`take`](Self::take) in any case.
    pub(crate) fn wait(&self, timeout: Duration) {
        let _ = timeout;
    }
}
