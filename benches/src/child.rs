//! A process of this program that takes part in a run. It is killed when it is not needed any more.

use std::any::Any;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe2};
use serde::{Deserialize, Serialize};

use crate::crew::Laps;

/// The messages from a child, one per line.
#[derive(Serialize, Deserialize)]
enum Said {
    Ready,
    Done(Laps),
    Failed(String),
}

/// The child's end of the conversation.
pub(crate) struct Talk {
    hears: File,
    says: File,
}

impl Talk {
    fn say(&mut self, said: &Said) -> anyhow::Result<()> {
        let line = serde_json::to_string(said)? + "\n";
        Ok(self.says.write_all(line.as_bytes())?)
    }

    /// Says that everything is set up, and waits until the other sides are, too.
    pub(crate) fn ready(&mut self) -> anyhow::Result<()> {
        self.say(&Said::Ready)?;
        let mut go = [0];
        self.hears.read_exact(&mut go).context("nobody said go")
    }
}

/// The parent's end of the conversation.
pub(crate) struct Child {
    /// `None` once it has been waited for: then its number may be another process's.
    process: Option<Pid>,
    hears: File,
    says: File,
    unread: Vec<u8>,
}

impl Child {
    /// Starts a child that does `work`.
    pub(crate) fn start(
        work: &mut dyn FnMut(&mut Talk) -> anyhow::Result<Laps>,
    ) -> anyhow::Result<Self> {
        let threads = std::fs::read_dir("/proc/self/task").context("counting threads")?.count();
        ensure!(threads == 1, "to start a side, this process must have one thread, not {threads}");
        let (child_hears, hears) = pipe()?;
        let (says, child_says) = pipe()?;
        // SAFETY: this process has only one thread, which goes on in the child. So no lock stays
        // taken.
        match unsafe { fork() }.context("fork")? {
            ForkResult::Parent { child } => {
                Ok(Self { process: Some(child), hears, says, unread: Vec::new() })
            }
            ForkResult::Child => {
                drop((hears, says));
                play(work, Talk { hears: child_hears, says: child_says })
            }
        }
    }

    /// Waits until it is set up.
    pub(crate) fn ready(&mut self, deadline: Instant) -> anyhow::Result<()> {
        match self.listen(deadline)? {
            Said::Ready => Ok(()),
            Said::Failed(why) => bail!(why),
            Said::Done(_) => bail!("a side ended before it began"),
        }
    }

    /// Says that all sides are set up.
    pub(crate) fn go(&mut self) -> anyhow::Result<()> {
        self.hears.write_all(b"!").context("a side died before it began")
    }

    /// Waits until it is done.
    pub(crate) fn done(&mut self, deadline: Instant) -> anyhow::Result<Laps> {
        match self.listen(deadline)? {
            Said::Done(laps) => Ok(laps),
            Said::Failed(why) => bail!(why),
            Said::Ready => bail!("a side was ready twice"),
        }
    }

    fn listen(&mut self, deadline: Instant) -> anyhow::Result<Said> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return serde_json::from_slice(&line)
                    .context("a side said what nobody understands");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "not done in time, and killed");
            crate::interrupt::check()?;
            let mut descriptors = [PollFd::new(self.says.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut descriptors, timeout) {
                Ok(0) | Err(Errno::EINTR) => continue,
                found => found.context("waiting for a side")?,
            };
            let mut bytes = [0; 4096];
            let read = self.says.read(&mut bytes).context("listening to a side")?;
            if read == 0 {
                let process = self.process.take().context("a side is dead")?;
                bail!("a side died: {:?}", waitpid(process, None).context("waiting for it")?);
            }
            self.unread.extend_from_slice(&bytes[..read]);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            let _ = kill(process, Signal::SIGKILL);
            let _ = waitpid(process, None);
        }
    }
}

fn pipe() -> anyhow::Result<(File, File)> {
    let (reads, writes): (OwnedFd, OwnedFd) = pipe2(OFlag::O_CLOEXEC).context("pipe")?;
    Ok((reads.into(), writes.into()))
}

/// The text of a thread's panic.
pub(crate) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "?".to_owned())
}

/// The child's whole life.
fn play(work: &mut dyn FnMut(&mut Talk) -> anyhow::Result<Laps>, mut talk: Talk) -> ! {
    // A failure is reported in its answer.
    std::panic::set_hook(Box::new(|_| {}));
    let _ = set_pdeathsig(Signal::SIGKILL);
    let said = match catch_unwind(AssertUnwindSafe(|| work(&mut talk))) {
        Ok(Ok(laps)) => Said::Done(laps),
        Ok(Err(error)) => Said::Failed(format!("{error:#}")),
        Err(panic) => Said::Failed(format!("panicked: {}", said(panic.as_ref()))),
    };
    let _ = talk.say(&said);
    // SAFETY: this ends the process at once. The parent's exit handlers must not run here.
    unsafe { nix::libc::_exit(0) }
}
