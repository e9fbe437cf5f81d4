//! Processes that do one run together, watched by the one who started them.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};

use common::bytes::Tally;

/// What a member of the crew moved, and between when and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lap {
    pub(crate) tally: Tally,
    started: Duration,
    ended: Duration,
}

impl Lap {
    /// From when the first of them started until the last had finished.
    pub(crate) fn time(laps: &[Self]) -> Duration {
        let started = laps.iter().map(|lap| lap.started).min().unwrap_or_default();
        let ended = laps.iter().map(|lap| lap.ended).max().unwrap_or_default();
        ended - started
    }
}

/// A clock that all processes read alike.
fn now() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC).context("reading the clock")?.into())
}

/// A line that a member printed; `None` when it has ended.
type News = (usize, Option<String>);

/// Some processes of this same program. They are killed when this is dropped.
pub(crate) struct Crew {
    members: Vec<(&'static str, Child)>,
    news: Receiver<News>,
    reporter: Sender<News>,
    deadline: Instant,
}

impl Crew {
    /// Nobody yet; all must be done by `deadline`.
    pub(crate) fn new(deadline: Instant) -> Self {
        let (reporter, news) = channel();
        Self { members: Vec::new(), news, reporter, deadline }
    }

    /// Starts one more, which inherits `descriptors`, and waits until it is ready; what it said then.
    pub(crate) fn hire(
        &mut self,
        name: &'static str,
        arguments: &[String],
        descriptors: Vec<OwnedFd>,
    ) -> anyhow::Result<String> {
        let program = std::env::current_exe().context("looking for this program")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        for descriptor in &descriptors {
            // Until here it was closed on exec, for the members hired before.
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())).context("fcntl")?;
            command.args(["--descriptor", &descriptor.as_raw_fd().to_string()]);
        }
        let mut child = command.spawn().with_context(|| format!("starting the {name}"))?;
        drop(descriptors);
        let output = child.stdout.take().context("a child has no output")?;
        let (member, reporter) = (self.members.len(), self.reporter.clone());
        self.members.push((name, child));
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = reporter.send((member, Some(line)));
            }
            let _ = reporter.send((member, None));
        });
        Ok(self.hear(member + 1, "ready")?.remove(member))
    }

    /// Lets all of them go at once, and waits until all have finished.
    pub(crate) fn race(mut self) -> anyhow::Result<Vec<Lap>> {
        for (name, child) in &mut self.members {
            let input = child.stdin.as_mut().context("a child has no input")?;
            input.write_all(b"go\n").with_context(|| format!("starting the {name}"))?;
        }
        let lines = self.hear(0, "done")?;
        lines.iter().map(|line| lap(line)).collect()
    }

    /// What those from number `from` on say after `word`; fails as soon as one of them does.
    fn hear(&mut self, from: usize, word: &str) -> anyhow::Result<Vec<String>> {
        let mut said = vec![None; self.members.len()];
        let from = from.saturating_sub(1);
        while said[from..].iter().any(Option::is_none) {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let (member, line) = match self.news.recv_timeout(left) {
                Ok(news) => news,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    bail!("it took too long and was stopped: use fewer --messages")
                }
            };
            let (name, child) = &mut self.members[member];
            let Some(line) = line else {
                if said[member].is_some() {
                    continue;
                }
                bail!("the {name} ended early: {}", child.wait().context("waiting for it")?);
            };
            match line.split_once(' ') {
                Some((first, rest)) if first == word => said[member] = Some(rest.to_owned()),
                Some(("error", rest)) => bail!("the {name}: {rest}"),
                _ => bail!("the {name} said {line:?}, expected {word:?}"),
            }
        }
        Ok(said.into_iter().map(Option::unwrap_or_default).collect())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for (_, child) in &mut self.members {
            // Those that have finished are gone, or about to go.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn lap(line: &str) -> anyhow::Result<Lap> {
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [started, ended, count, bytes, checksum] = numbers[..] else {
        bail!("a child reported {line:?}, expected five numbers")
    };
    let (started, ended) = (Duration::from_nanos(started), Duration::from_nanos(ended));
    Ok(Lap { tally: Tally { count, bytes, checksum }, started, ended })
}

/// What a member does: gets ready, says something for the next to hear, and then does its work.
pub(crate) struct Work<'a> {
    pub(crate) offer: String,
    pub(crate) run: Box<dyn FnOnce() -> anyhow::Result<Tally> + 'a>,
}

/// The part of a member, in its own process. Errors go to whoever started it.
pub(crate) fn member<'a>(prepare: impl FnOnce() -> anyhow::Result<Work<'a>>) -> anyhow::Result<()> {
    // A member whose crew is killed would wait for ever.
    set_pdeathsig(Signal::SIGKILL).context("prctl")?;
    if let Err(error) = prepare().and_then(perform) {
        println!("error {error:#}");
    }
    Ok(())
}

fn perform(work: Work<'_>) -> anyhow::Result<()> {
    println!("ready {}", work.offer);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    ensure!(line == "go\n", "nobody said go");
    let started = now()?;
    let Tally { count, bytes, checksum } = (work.run)()?;
    let (started, ended) = (started.as_nanos(), now()?.as_nanos());
    println!("done {started} {ended} {count} {bytes} {checksum}");
    Ok(())
}

/// Takes over an inherited descriptor, and keeps it from being inherited further.
///
/// # Errors
///
/// If there is no such descriptor.
pub(crate) fn inherited(descriptor: RawFd) -> anyhow::Result<OwnedFd> {
    ensure!(descriptor > 2, "descriptor {descriptor} was not passed on");
    // SAFETY: whoever started us passed it on for us to own, each one once.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    fcntl(&descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
        .map_err(|error| anyhow!("a descriptor was not passed on: {error}"))?;
    Ok(descriptor)
}
