//! What survivors are asked, and the parts that all of them share.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use fanout::QueueName;
use testing::Unique;

/// What a kill turned out to be, in a word or two: had the operation taken effect? The table counts them.
pub(crate) type Outcome = String;

/// The survivors of one kill. They are made before the victim, and live in the judge's process.
pub(crate) trait Trial {
    /// The queue's name.
    fn name(&self) -> &QueueName;

    /// The victim waits: the survivors' turn, for this time.
    fn stage(&mut self, time: u32) -> anyhow::Result<()> {
        let _ = time;
        Ok(())
    }

    /// The process whose death belongs to the scenario waits: the survivors' turn, for this time.
    fn casualty_stage(&mut self, time: u32) -> anyhow::Result<()> {
        let _ = time;
        Ok(())
    }

    /// The process whose death belongs to the scenario was killed. The scenario's victim is another one.
    fn casualty(&mut self, dead: u32) -> anyhow::Result<()> {
        let _ = dead;
        Ok(())
    }

    /// The victim stands in the middle of its operation: the survivors' turn.
    fn meddle(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// The victim was killed, before its operation was done or at once after it. Says what is broken, if anything.
    fn judge(self: Box<Self>, dead: Dead) -> anyhow::Result<Outcome>;
}

/// A victim that is no more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dead {
    /// Its process id.
    pub(crate) pid: u32,
    /// Whether its operation was done.
    pub(crate) is_done: bool,
}

/// A queue's name. All are of the same length: the paths of all victims of a scenario are to be the same.
pub(crate) fn unique(owner: u32, nth: u64) -> Unique {
    Unique::given(&format!("/{}{nth:08}", prefix(owner)))
}

/// What the names of this sweep's queues begin with.
fn prefix(owner: u32) -> String {
    format!("fanout-sweep-{owner:07}-")
}

/// Fails if an object of this sweep is left.
pub(crate) fn nothing_in_memory(owner: u32) -> anyhow::Result<()> {
    match left(owner)?.first() {
        Some(name) => bail!("left behind: {}", name.display()),
        None => Ok(()),
    }
}

/// Removes what survivors leave behind that were killed.
pub(crate) fn tidy(owner: u32) {
    for path in left(owner).unwrap_or_default() {
        let _ = fs::remove_file(path);
    }
}

fn left(owner: u32) -> anyhow::Result<Vec<PathBuf>> {
    let prefix = prefix(owner);
    let mut left = Vec::new();
    for entry in fs::read_dir("/dev/shm").context("reading /dev/shm")? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            left.push(entry.path());
        }
    }
    Ok(left)
}

/// How many descriptors this process has open.
pub(crate) fn descriptors() -> anyhow::Result<usize> {
    Ok(fs::read_dir("/proc/self/fd").context("reading /proc/self/fd")?.count())
}
