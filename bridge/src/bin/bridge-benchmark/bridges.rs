//! The two bridges of a run: the program `fanout-bridge`, twice.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::resource::UsageWho;

use crate::part::used;
use crate::ring::CAPACITY;
use crate::server::Store;

/// A running bridge. It is killed when this is dropped.
pub(crate) struct Bridge {
    name: &'static str,
    child: Child,
}

/// Queues of a run. They are removed when this is dropped: programs that were killed leave them behind.
pub(crate) struct Queues {
    /// What is carried out.
    pub(crate) from: String,
    /// What comes in.
    pub(crate) to: String,
}

impl Bridge {
    /// Carries the queue out to a stream of its own.
    pub(crate) fn out(
        queue: &str,
        url: &str,
        stream: &str,
        store: Store,
        pack: Option<usize>,
    ) -> anyhow::Result<Self> {
        let mut command = program()?;
        command.args(["out", queue, url, "--stream", stream, "--quiet"]);
        command.args(["--storage", store.name(), "--replicas", &store.replicas.to_string()]);
        if let Some(pack) = pack {
            command.args(["--pack", &pack.to_string()]);
        }
        Self::start("bridge out", command)
    }

    /// Carries the stream into the queue.
    pub(crate) fn r#in(queue: &str, url: &str, stream: &str) -> anyhow::Result<Self> {
        let mut command = program()?;
        command.args(["in", queue, url, "--stream", stream, "--quiet"]);
        command.args(["--capacity", &CAPACITY.to_string()]);
        Self::start("bridge in", command)
    }

    fn start(name: &'static str, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        Ok(Self { name, child })
    }

    /// Waits until it ends, as its queue does. Returns the CPU time that it has used.
    pub(crate) fn finish(mut self, deadline: Instant) -> anyhow::Result<Duration> {
        let before = used(UsageWho::RUSAGE_CHILDREN)?;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > deadline => bail!("the {} does not end", self.name),
                None => thread::sleep(Duration::from_millis(1)),
            }
        };
        ensure!(status.success(), "the {} ended with {status}", self.name);
        // No other child has ended meanwhile.
        Ok(used(UsageWho::RUSAGE_CHILDREN)? - before)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Queues {
    /// Names that no other run uses.
    pub(crate) fn new(run: &str) -> Self {
        let name = |end| format!("/bridge-benchmark-{}-{run}-{end}", std::process::id());
        Self { from: name("from"), to: name("to") }
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        for name in [&self.from, &self.to] {
            // The producer has removed it, as a rule.
            let _ = std::fs::remove_file(format!("/dev/shm{name}"));
        }
    }
}

/// `fanout-bridge`, which stands beside this program; it ends when the thread that started it ends.
fn program() -> anyhow::Result<Command> {
    let here = std::env::current_exe().context("looking for this program")?;
    let path: PathBuf = here.with_file_name("fanout-bridge");
    let build = "cargo build --release -p bridge";
    ensure!(path.exists(), "{} is not there; build it: {build}", path.display());
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(path);
    // What a user has set for real bridges.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FANOUT_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}
