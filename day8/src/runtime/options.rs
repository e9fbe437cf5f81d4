//! How a runtime is made.

use std::time::Duration;

use crate::heap::Isolation;

/// How a runtime is made: see [`Runtime::with_options`](super::Runtime::with_options).
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    pub(crate) isolation: Isolation,
    pub(crate) heap: usize,
    pub(crate) idle: Option<Duration>,
    pub(crate) connections: usize,
    pub(crate) shutdown: Duration,
    pub(crate) linger: Duration,
    pub(crate) spin: Duration,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            isolation: Isolation::None,
            heap: 256 << 10,
            idle: Some(Duration::from_secs(30)),
            connections: 65_536,
            shutdown: Duration::from_secs(10),
            linger: Duration::from_secs(1),
            spin: Duration::from_micros(50),
        }
    }
}

impl RuntimeOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a coroutine's memory is accessible while it does not run. It is, by default.
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// How much address space each coroutine has for itself, in bytes: 256 KiB by default, rounded up to pages, at least a
    /// page and at most 1 GiB. Memory is taken page by page, when it is touched.
    #[must_use]
    pub fn heap(mut self, bytes: usize) -> Self {
        self.heap = bytes;
        self
    }

    /// After how long a socket gives up that waits for a client to send or to read: 30 s by default; `None` for never.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle = timeout;
        self
    }

    /// How many connections there are at most: 65,536 by default. Others wait in the listeners' queues.
    #[must_use]
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most.max(1);
        self
    }

    /// How long connections have to answer what they were asked when the runtime shuts down: 10 s by default.
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown = timeout;
        self
    }

    /// For how long a connection that the service has ended takes what its client still sends, and throws it away: a second
    /// by default. Without that, the kernel would throw away the last answer.
    #[must_use]
    pub fn linger(mut self, timeout: Duration) -> Self {
        self.linger = timeout;
        self
    }

    /// For how long the thread looks at rings that were busy before it sleeps: 50 us by default.
    #[must_use]
    pub fn spin(mut self, time: Duration) -> Self {
        self.spin = time;
        self
    }
}
