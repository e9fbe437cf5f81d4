//! What a run moves: messages written whole by one side, and read and summed whole by the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use common::sync::{AtomicU64, Ordering};
use yardstick::bytes::{Lengths, Tally, Touch};

/// One run of one contender.
#[derive(Debug)]
pub struct Job {
    /// How many messages, or round trips.
    pub messages: u64,
    /// How long each is, in bytes.
    pub lengths: Lengths,
    /// A name that no other run uses, for a queue, or as the beginning of names. What it names in
    /// `/dev/shm` is removed after the run.
    pub name: String,
    /// An empty folder in memory for this run alone. It is removed after the run.
    pub folder: PathBuf,
    /// After this time, all sides are killed.
    pub timeout: Duration,
    /// Each side gets a core of its own.
    pub pinned: bool,
}

/// Where shared-memory objects are found.
const SHARED: &str = "/dev/shm";

impl Job {
    /// A job of `messages` messages of these lengths, for sides that are not pinned.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made.
    pub fn new(messages: u64, lengths: Lengths, timeout: Duration) -> anyhow::Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("fanout-compare-{}-{n}", std::process::id());
        let folder = Path::new(SHARED).join(format!("{name}.d"));
        std::fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        let name = format!("/{name}");
        Ok(Self { messages, lengths, name, folder, timeout, pinned: false })
    }

    /// What the sending side sends.
    pub fn source(&self) -> Source {
        let mut lengths = self.lengths.clone();
        let next = lengths.draw();
        Source { left: self.messages, lengths, next, tally: Tally::default() }
    }

    /// What a receiving side receives.
    pub fn sink(&self) -> Sink {
        Sink { left: self.messages, tally: Tally::default(), lost: 0 }
    }

    /// The bytes of the longest message.
    pub fn most(&self) -> usize {
        self.lengths.most()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Sides that were killed, or failed, may have left files there.
        let _ = std::fs::remove_dir_all(&self.folder);
        let name = &self.name[1..];
        let Ok(entries) = std::fs::read_dir(SHARED) else { return };
        for entry in entries.flatten() {
            let found = entry.file_name();
            let rest = found.to_string_lossy().strip_prefix(name).map(str::to_owned);
            if rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit())) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// The messages that are still to be sent.
#[derive(Debug)]
pub struct Source {
    left: u64,
    lengths: Lengths,
    next: usize,
    tally: Tally,
}

impl Source {
    /// How many are left.
    #[inline(always)]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The length of the next message, in bytes.
    #[inline(always)]
    pub fn next_len(&self) -> usize {
        self.next
    }

    /// Writes every byte of the next message into `place`, which has its length and is aligned to 8.
    #[inline(always)]
    pub fn write(&mut self, place: &mut [u8]) {
        self.tally.write(place, Touch::All);
        self.next = self.lengths.draw();
        self.left -= 1;
    }

    /// What has been sent.
    pub fn tally(&self) -> Tally {
        self.tally
    }
}

/// The messages that are still to arrive.
#[derive(Debug)]
pub struct Sink {
    left: u64,
    tally: Tally,
    lost: u64,
}

impl Sink {
    /// How many are left.
    #[inline(always)]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Reads every byte of the next message.
    #[inline(always)]
    pub fn read(&mut self, message: &[u8]) {
        self.tally.read(message, Touch::All);
        self.left = self.left.saturating_sub(1);
    }

    /// Counts messages that will never arrive.
    #[inline(always)]
    pub fn lose(&mut self, messages: u64) {
        self.lost += messages;
        self.left = self.left.saturating_sub(messages);
    }

    /// What has arrived.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// How many will never arrive.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}
