//! What a bridge has done so far, for somebody who watches.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::sync::{AtomicU8, AtomicU64, Ordering};

/// Counters of one bridge. The bridge writes them, and anybody reads them.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    /// Messages carried: acknowledged by the stream, or published in the queue.
    pub messages: Counter,
    /// Their bytes, without headers.
    pub bytes: Counter,
    /// NATS messages that carried them.
    pub packets: Counter,
    /// Messages that were to be carried when the bridge last looked.
    pub lag_messages: Counter,
    /// Their bytes, as they lie in the ring or in the stream.
    pub lag_bytes: Counter,
    /// How often the connection was made anew.
    pub reconnects: Counter,
    /// How often the position was read from the stream anew, after an error.
    pub resumptions: Counter,
    /// Messages that came a second time, and were left out.
    pub repeated: Counter,
    /// Messages that were given up, because the bridge was told to be lossy.
    pub lost: Counter,
    /// When the oldest message that is not acknowledged was sent, in nanoseconds since `began`, plus one; 0: none.
    oldest: AtomicU64,
    state: AtomicU8,
    link: Arc<LinkWord>,
}

/// What a bridge does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It looks for its server, its stream and its queue.
    Starting,
    /// There is no queue of that name yet, or the last one has ended.
    WaitingForQueue,
    /// The queue is there, and waits for its first consumers.
    WaitingForConsumers,
    /// It carries, or waits for a message that it could carry.
    Carrying,
    /// The stream is full and takes no message. The bridge waits, and so the queue fills.
    StreamFull,
    /// The queue is full, because its consumers are slower than the stream. The bridge waits.
    QueueFull,
    /// It has ended.
    Ended,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Starting,
        Self::WaitingForQueue,
        Self::WaitingForConsumers,
        Self::Carrying,
        Self::StreamFull,
        Self::QueueFull,
        Self::Ended,
    ];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::WaitingForQueue => "waiting for queue",
            Self::WaitingForConsumers => "waiting for consumers",
            Self::Carrying => "carrying",
            Self::StreamFull => "stream full",
            Self::QueueFull => "queue full",
            Self::Ended => "ended",
        })
    }
}

/// The connection to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Link {
    /// There has been none yet.
    Never,
    /// There is one.
    Up,
    /// It was lost. The client tries to connect again.
    Lost,
}

/// What the client's callbacks write, which outlive the call that made them.
#[derive(Debug, Default)]
pub(crate) struct LinkWord {
    state: AtomicU8,
    complaint: Mutex<Option<String>>,
}

impl LinkWord {
    fn set(&self, link: Link) -> Link {
        link_of(self.state.swap(link as u8, Ordering::Relaxed))
    }
}

fn link_of(word: u8) -> Link {
    match word {
        0 => Link::Never,
        1 => Link::Up,
        _ => Link::Lost,
    }
}

/// The part of [`Progress`] that the client's callbacks hold.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    link: Arc<LinkWord>,
    reconnects: Counter,
}

impl Watcher {
    /// A connection was made. The first one is not made anew.
    pub(crate) fn connected(&self) {
        if self.link.set(Link::Up) != Link::Never {
            self.reconnects.add(1);
        }
    }

    pub(crate) fn lost(&self) {
        self.link.set(Link::Lost);
    }

    /// The server said that it does not do what it was asked to.
    pub(crate) fn complained(&self, what: String) {
        *self.link.complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }
}

/// A number that only grows, or that is set. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds to it.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Replaces it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// All zero.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            messages: Counter::default(),
            bytes: Counter::default(),
            packets: Counter::default(),
            lag_messages: Counter::default(),
            lag_bytes: Counter::default(),
            reconnects: Counter::default(),
            resumptions: Counter::default(),
            repeated: Counter::default(),
            lost: Counter::default(),
            oldest: AtomicU64::new(0),
            state: AtomicU8::new(State::Starting as u8),
            link: Arc::default(),
        }
    }

    /// The bridge does this from now on.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// What the bridge does.
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Relaxed))]
    }

    /// Whether there is a connection.
    pub fn link(&self) -> Link {
        link_of(self.link.state.load(Ordering::Relaxed))
    }

    /// What the server last complained about, such as a missing permission. A client that publishes without one
    /// gets no answer, and this is the only trace of the reason.
    pub fn complaint(&self) -> Option<String> {
        self.link.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on, only what the server complains about next counts.
    pub(crate) fn forget_complaint(&self) {
        *self.link.complaint.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// For the client's callbacks.
    pub(crate) fn watcher(&self) -> Watcher {
        Watcher { link: Arc::clone(&self.link), reconnects: self.reconnects.clone() }
    }

    /// The oldest message that is not acknowledged was sent then.
    pub fn set_oldest(&self, sent: Option<Instant>) {
        let since = sent.map_or(0, |sent| sent.duration_since(self.began).as_nanos() as u64 + 1);
        self.oldest.store(since, Ordering::Relaxed);
    }

    /// For how long the oldest message that is not acknowledged has waited.
    pub fn oldest_age(&self) -> Option<Duration> {
        let since = self.oldest.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began.elapsed().saturating_sub(Duration::from_nanos(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_told_as_it_was_set() {
        let progress = Progress::new();
        assert_eq!(progress.state(), State::Starting);
        for state in State::ALL {
            progress.set_state(state);
            assert_eq!(progress.state(), state);
        }
    }

    #[test]
    fn only_a_connection_after_the_first_counts_as_made_anew() {
        let progress = Progress::new();
        let watcher = progress.watcher();
        assert_eq!((progress.link(), progress.reconnects.get()), (Link::Never, 0));
        watcher.connected();
        assert_eq!((progress.link(), progress.reconnects.get()), (Link::Up, 0));
        watcher.lost();
        assert_eq!((progress.link(), progress.reconnects.get()), (Link::Lost, 0));
        watcher.connected();
        assert_eq!((progress.link(), progress.reconnects.get()), (Link::Up, 1));
    }
}
