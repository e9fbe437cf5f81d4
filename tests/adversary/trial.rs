//! Lets hostile words loose in processes of their own, and says what became of them.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::honest::TIMEOUT;
use crate::hostile::{CHILD, LENGTH, STUCK};
use crate::tally::{self, Tally};

/// Plays for so long in another process.
pub(crate) fn run(seed: u64, length: Duration) -> Tally {
    let program = std::env::current_exe().expect("this program's path");
    let mut child = Command::new(program)
        .env(CHILD, seed.to_string())
        .env(LENGTH, length.as_millis().to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("another process");
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (status, said, cried) = thread::scope(|scope| {
        let said = scope.spawn(|| read(stdout));
        let cried = scope.spawn(|| read(stderr));
        let status = wait(&mut child, length + TIMEOUT);
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

/// How it ended; `None` if it had to be killed.
fn wait(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let began = Instant::now();
    while began.elapsed() < timeout {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
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
