//! Runs rounds with hostile words in a process of their own, and says how that process ended.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use testing::Process;

use crate::honest::TIMEOUT;
use crate::hostile::{CHILD, LENGTH, STUCK};
use crate::tally::{self, Tally};

/// Plays for `length` in another process.
pub(crate) fn run(seed: u64, length: Duration) -> Tally {
    let program = std::env::current_exe().expect("this program's path");
    let mut command = Command::new(program);
    command.env(CHILD, seed.to_string()).env(LENGTH, length.as_millis().to_string());
    let mut child = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let (stdout, stderr) = (child.0.stdout.take(), child.0.stderr.take());
    let (status, said, cried) = thread::scope(|scope| {
        let said = scope.spawn(|| read(stdout));
        let cried = scope.spawn(|| read(stderr));
        let status = child.ended_within(length + TIMEOUT);
        if status.is_none() {
            child.kill();
        }
        (status, said.join().unwrap_or_default(), cried.join().unwrap_or_default())
    });
    let mut tally = Tally::default();
    let mut round = "none";
    for line in said.lines() {
        tally.read(line);
        round = line.strip_prefix("round: ").unwrap_or(round);
        if let Some(finding) = tally::told(line) {
            tally::report(finding.to_owned());
        }
    }
    judge(status, round, &cried);
    tally.add("processes with hostile words");
    tally
}

fn read(from: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        let _ = from.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn judge(status: Option<ExitStatus>, round: &str, cried: &str) {
    let last = cried.lines().last().unwrap_or_default();
    match status {
        Some(status) if status.success() || status.code() == Some(STUCK.into()) => {}
        Some(status) => {
            let signal = status.signal();
            tally::report(format!("hostile, round {round}: crashed: signal {signal:?}, {last}"));
        }
        None => tally::report(format!("hostile, round {round}: hangs as a whole: {last}")),
    }
}
