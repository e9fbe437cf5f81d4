//! Processes that do one run together, and the process that started and watches them.
//!
//! They talk in lines. A member prints a word, and what belongs to it after a space. Then it waits for
//! a word before it goes on. Its last word is `done`, or `error`.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};

/// A line that a member printed; `None` when it has ended.
type News = (usize, Option<String>);

/// Several processes of this program. They are killed when this is dropped.
pub struct Crew {
    members: Vec<(String, Child)>,
    news: Receiver<News>,
    reporter: Sender<News>,
    deadline: Instant,
    advice: &'static str,
}

impl Crew {
    /// A crew without members. All must be done by `deadline`; otherwise the error ends with `advice`.
    pub fn new(deadline: Instant, advice: &'static str) -> Self {
        let (reporter, news) = channel();
        Self { members: Vec::new(), news, reporter, deadline, advice }
    }

    /// Starts one more member with `arguments`. It inherits `descriptors`, each as a further argument `--descriptor
    /// N`. Returns the member's number.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn hire(
        &mut self,
        name: &str,
        arguments: &[String],
        descriptors: Vec<OwnedFd>,
    ) -> anyhow::Result<usize> {
        let program = std::env::current_exe().context("looking for this program")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        for descriptor in &descriptors {
            // Until now it was closed on exec, so members that were hired earlier do not have it.
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())).context("fcntl")?;
            command.args(["--descriptor", &descriptor.as_raw_fd().to_string()]);
        }
        let mut child = command.spawn().with_context(|| format!("starting the {name}"))?;
        drop(descriptors);
        let output = child.stdout.take().context("a child has no output")?;
        let (member, reporter) = (self.members.len(), self.reporter.clone());
        self.members.push((name.to_owned(), child));
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = reporter.send((member, Some(line)));
            }
            let _ = reporter.send((member, None));
        });
        Ok(member)
    }

    /// Says `word` to all members.
    ///
    /// # Errors
    ///
    /// If a member has ended.
    pub fn tell(&mut self, word: &str) -> anyhow::Result<()> {
        for (name, child) in &mut self.members {
            let input = child.stdin.as_mut().context("a child has no input")?;
            let line = format!("{word}\n");
            input.write_all(line.as_bytes()).with_context(|| format!("talking to the {name}"))?;
        }
        Ok(())
    }

    /// Waits until each member from number `from` on has said `word`. Returns what they said after
    /// it.
    ///
    /// # Errors
    ///
    /// As soon as a member fails, ends early or says another word, or when the deadline has passed.
    pub fn hear(&mut self, from: usize, word: &str) -> anyhow::Result<Vec<String>> {
        let mut said = vec![None; self.members.len()];
        while said[from..].iter().any(Option::is_none) {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let Ok((member, line)) = self.news.recv_timeout(left) else {
                bail!("it took too long, and was stopped: {}", self.advice)
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
        Ok(said.into_iter().skip(from).map(Option::unwrap_or_default).collect())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for (_, child) in &mut self.members {
            // Members that have finished are gone, or about to go.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One member's part, in its own process. What `play` reports, or its error, goes to the process that
/// started it.
///
/// # Errors
///
/// If the kernel cannot make this process end together with that process.
pub fn member<R: Display>(play: impl FnOnce() -> anyhow::Result<R>) -> anyhow::Result<()> {
    // If its crew is killed, a member would wait for ever.
    set_pdeathsig(Signal::SIGKILL).context("prctl")?;
    match play() {
        Ok(report) => println!("done {report}"),
        Err(error) => println!("error {error:#}"),
    }
    Ok(())
}

/// For a member: says `word` and `what`, and waits until it hears `awaited`.
///
/// # Errors
///
/// If it hears something else, or nothing more.
pub fn step(word: &str, what: &str, awaited: &str) -> anyhow::Result<()> {
    println!("{word} {what}");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    ensure!(line.trim_end() == awaited, "expected to hear {awaited:?}, heard {line:?}");
    Ok(())
}

/// A clock that is the same for all processes.
///
/// # Errors
///
/// What the kernel says.
pub fn now() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC).context("reading the clock")?.into())
}
