//! Who is compared, each used as its documentation advises.

mod crossbeam;
mod disruptor;
mod fanout;
mod rtrb;
mod st3;

use std::time::Duration;

pub use fanout::child;

/// How many messages every ring holds.
pub const CAPACITY: usize = 1024;
/// How many messages a batch has.
pub const BATCH: usize = 64;

/// One row of the table: a queue, used in one way.
pub struct Contender {
    /// What is asked of it; rows with the same task are compared.
    pub task: &'static str,
    /// Who it is, with its version.
    pub name: &'static str,
    /// How it is used.
    pub mode: &'static str,
    /// Threads or processes that run at once.
    pub sides: usize,
    /// Moves so many messages, and says how long it took.
    pub run: fn(u64) -> anyhow::Result<Duration>,
}

/// All of them, the ring of this project first in each task.
pub fn all() -> Vec<Contender> {
    let mut all: Vec<Contender> = Vec::new();
    let parts = [fanout::rows(), rtrb::rows(), disruptor::rows(), st3::rows(), crossbeam::rows()];
    for row in parts.into_iter().flatten() {
        let behind = all.iter().rposition(|other| other.task == row.task);
        all.insert(behind.map_or(all.len(), |last| last + 1), row);
    }
    all
}

pub(crate) const BATCHES: &str = "one to one, batches of 64";
pub(crate) const SINGLES: &str = "one to one, one at a time";
pub(crate) const BROADCAST: &str = "each message to three consumers";
pub(crate) const SHARED_2: &str = "messages shared by two consumers";
pub(crate) const SHARED_4: &str = "messages shared by four consumers";
