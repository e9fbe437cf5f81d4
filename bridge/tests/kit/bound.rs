//! Processes that end with their test, however it ends, and what they said.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use testing::{Folder, Process};
use yardstick::report::DEBUG_BUILD;

/// Far longer than anything takes that a test waits for, also on a computer that others use.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// How many of a log's last lines a failure shows.
const TAIL: usize = 25;

/// A command that the kernel kills when the thread that started it ends, also when that is killed.
///
/// The process that it starts is the program's own: its id is the one to send signals to.
pub(crate) fn bound(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// The same command, but bound.
pub(crate) fn bind(command: &Command) -> Command {
    let mut bound = bound(command.get_program());
    bound.args(command.get_args());
    for (variable, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(variable, value),
            None => bound.env_remove(variable),
        };
    }
    bound
}

/// A file to whose end a process writes, also where other processes write to it.
pub(crate) fn appended(path: &Path) -> File {
    File::options().create(true).append(true).open(path).unwrap()
}

/// Shows the end of a log, if the test has failed.
pub(crate) fn show_if_failed(what: &str, log: &Path) {
    if thread::panicking() && !tail(log).is_empty() {
        eprintln!("---- the end of what {what} said\n{}----", tail(log));
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let said = fs::read(log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL)..];
    last.iter().flat_map(|line| [line, "\n"]).collect()
}

/// How a process ended, and what it printed since it was started for the first time.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{}: {}{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Checks a failure: exit code 1 and one line on stderr that has all these words. Returns the line.
    #[track_caller]
    pub(crate) fn badly(&self, words: &[&str]) -> String {
        let stderr = &self.stderr;
        assert_eq!(self.status.code(), Some(1), "{}: {stderr}", self.status);
        let line = stderr.strip_suffix('\n').unwrap_or_else(|| panic!("no line: {stderr:?}"));
        assert!(line.starts_with("error: ") && !line.contains('\n'), "not one line: {stderr}");
        for word in words {
            assert!(line.contains(word), "expected {word:?} in {line:?}");
        }
        line.to_owned()
    }
}

/// A process that can be killed and started again. What it prints is kept in files.
#[derive(Debug)]
pub(crate) struct Run {
    what: String,
    command: Command,
    process: Option<Process>,
    folder: Folder,
}

impl Run {
    /// Starts the command. `what` names the process where a failure shows what it said.
    #[track_caller]
    pub(crate) fn start(what: &str, command: &Command) -> Self {
        let folder = Folder::new();
        let mut command = bind(command);
        command
            .stdin(Stdio::piped())
            .stdout(appended(&folder.join("stdout")))
            .stderr(appended(&folder.join("stderr")));
        let mut run = Self { what: what.to_owned(), command, process: None, folder };
        run.restart();
        run
    }

    /// Starts it again, after it has ended.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none(), "{} is running", self.what);
        self.process = Some(Process::start(&mut self.command));
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was started, and its end was not seen yet")
    }

    /// Whether it is running.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Its process id.
    pub(crate) fn id(&mut self) -> u32 {
        self.process().id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Kills it as `kill -9` does. Fails if it had ended by itself.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        let status = self.process().kill();
        let killed = status.signal() == Some(Signal::SIGKILL as i32);
        assert!(killed, "{} had ended before it was killed: {status}", self.what);
        self.process = None;
    }

    /// Closes its standard input.
    pub(crate) fn hang_up(&mut self) {
        self.process().0.stdin = None;
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Ended {
        self.wait_for(DEADLINE)
    }

    /// Waits for so long until it ends by itself.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, deadline: Duration) -> Ended {
        let Some(status) = self.process().ended_within(deadline) else {
            panic!("{} has not ended", self.what);
        };
        self.process = None;
        Ended { status, stdout: self.printed("stdout"), stderr: self.printed("stderr") }
    }

    /// What it has written to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.printed("stderr")
    }

    /// What it has written to stdout so far.
    pub(crate) fn stdout(&self) -> String {
        self.printed("stdout")
    }

    /// Forgets what it has said so far.
    pub(crate) fn forget(&self) {
        for file in ["stdout", "stderr"] {
            File::options().write(true).truncate(true).open(self.folder.join(file)).unwrap();
        }
    }

    fn printed(&self, file: &str) -> String {
        let said = fs::read(self.folder.join(file)).unwrap_or_default();
        String::from_utf8_lossy(&said).replace(&format!("{DEBUG_BUILD}\n"), "")
    }

    /// A path in a folder of its own.
    pub(crate) fn path(&self, file: &str) -> std::path::PathBuf {
        self.folder.join(file)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        for file in ["stdout", "stderr"] {
            show_if_failed(&format!("{} ({file})", self.what), &self.folder.join(file));
        }
    }
}
