//! What the tests share: names that nobody else has, processes that do not outlive their test, and
//! chance that can be repeated.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ::common::QueueName;
use ::common::sync::{AtomicU32, Ordering};
use yardstick::report::DEBUG_BUILD;

/// Far longer than anything here takes: whoever reaches it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(100);

/// A name that no other test has; what it names is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Unique(QueueName);

impl Unique {
    pub(crate) fn new(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(format!("/day3-{what}-{pid}-{n}").parse().unwrap())
    }

    /// Where the file system shows it.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from("/dev/shm").join(self.0.bare())
    }

    pub(crate) fn exists(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }
}

impl Deref for Unique {
    type Target = QueueName;

    fn deref(&self) -> &QueueName {
        &self.0
    }
}

impl Drop for Unique {
    fn drop(&mut self) {
        // Most tests have removed it already.
        let _ = fs::remove_file(self.path());
    }
}

/// Waits until `condition` holds and fails if it never does.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "still not: {what}");
        thread::sleep(Duration::from_micros(500));
    }
}

/// A child process, killed if the test does not see its end.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdout: mpsc::Receiver<String>,
    lines: Vec<String>,
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it printed, line by line.
    pub(crate) lines: Vec<String>,
    pub(crate) stderr: String,
    /// How often it warned there of a debug build, which `stderr` is without.
    pub(crate) warned: usize,
}

impl Process {
    /// Starts it. Its standard input stays open until [`Process::hang_up`], or until the test ends.
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (line, stdout) = mpsc::channel();
        let pipe = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || pipe.lines().map_while(Result::ok).try_for_each(|l| line.send(l)));
        Self { child, stdout, lines: Vec::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line that it has printed, or will print, with this beginning.
    pub(crate) fn line(&mut self, beginning: &str) -> String {
        if let Some(line) = self.lines.iter().find(|line| line.starts_with(beginning)) {
            return line.clone();
        }
        loop {
            let Ok(line) = self.stdout.recv_timeout(DEADLINE) else {
                let mut stderr = String::new();
                let _ = self.child.kill();
                self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
                panic!("no line {beginning:?} in {:#?}, and on stderr: {stderr}", self.lines);
            };
            self.lines.push(line.clone());
            if line.starts_with(beginning) {
                return line;
            }
        }
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Closes its standard input.
    pub(crate) fn hang_up(&mut self) {
        self.child.stdin = None;
    }

    /// Waits for it to end by itself. What it prints on stderr must fit into a pipe.
    pub(crate) fn finish(mut self) -> Ended {
        eventually("the process has ended", || !self.is_running());
        self.ended()
    }

    /// Ends it as `kill -9` does, and waits until the kernel has forgotten it.
    pub(crate) fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.ended()
    }

    fn ended(&mut self) -> Ended {
        let status = self.child.wait().unwrap();
        let mut lines = std::mem::take(&mut self.lines);
        lines.extend(self.stdout.iter());
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let warning = format!("{DEBUG_BUILD}\n");
        let warned = stderr.matches(&warning).count();
        Ended { status, lines, stderr: stderr.replace(&warning, ""), warned }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Everything that it printed, after checking that it ended well.
    #[track_caller]
    pub(crate) fn well(self) -> Vec<String> {
        assert!(self.status.success(), "{}: {}{:#?}", self.status, self.stderr, self.lines);
        assert_eq!(self.stderr, "");
        self.lines
    }

    /// The one line on stderr, after checking that it ended with code 1.
    #[track_caller]
    pub(crate) fn badly(self) -> String {
        assert_eq!(self.status.code(), Some(1), "{}{:#?}", self.stderr, self.lines);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        self.stderr
    }
}

/// Numbers that look random, the same ones for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Seeded by `FANOUT_SEED`, or else by the clock; says which it was, for whoever must repeat it.
    pub(crate) fn seeded() -> Self {
        let clock = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = number_from_environment("FANOUT_SEED").unwrap_or_else(clock);
        println!("FANOUT_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n - 1`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.number() % n
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A pause of up to `most`, mostly a short one.
    pub(crate) fn pause(&mut self, most: Duration) -> Duration {
        let nanos = most.as_nanos() as u64;
        Duration::from_nanos(self.below(nanos) >> self.below(8))
    }
}

/// A number that the one who runs the tests may set.
pub(crate) fn number_from_environment(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, found {text:?}")))
}
