//! Processes that do not outlive their test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use yardstick::report::DEBUG_BUILD;

use crate::{DEADLINE, within};

/// A child process. It is killed if the test does not see its end.
#[derive(Debug)]
pub struct Process(pub Child);

impl Process {
    /// Starts the command.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}")))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// How it ended; `None` if it has not ended within `timeout`.
    pub fn ended_within(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let started = Instant::now();
        loop {
            let ended = self.0.try_wait().unwrap();
            if ended.is_some() || started.elapsed() >= timeout {
                return ended;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until it ends by itself, and fails if it never does.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let ended = self.ended_within(DEADLINE);
        ended.unwrap_or_else(|| panic!("{:?} did not end", self.0))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    /// Kills it as `kill -9` does, and waits until the kernel has removed it.
    pub fn kill(&mut self) -> ExitStatus {
        self.0.kill().unwrap();
        self.0.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command that runs this program in another process, with only this test, which is an ignored
/// one.
pub fn another(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--ignored", "--nocapture", "--test-threads=1", test]);
    command
}

/// Runs a command to its end, within the deadline. Its output must fit into a pipe.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let status = process.wait();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    process.0.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    process.0.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    Output { status, stdout, stderr }
}

/// A child process whose output is read as it comes.
#[derive(Debug)]
pub struct Program {
    process: Process,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    lines: Vec<String>,
}

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed, line by line.
    pub lines: Vec<String>,
    /// What it printed on stdout and the test had not read before.
    pub stdout: String,
    /// What it printed on stderr.
    pub stderr: String,
    /// How many warnings of a debug build it printed there. `stderr` is without them.
    pub warned: usize,
}

impl Program {
    /// Starts the command. Its standard input stays open until [`hang_up`](Self::hang_up), or until the
    /// test ends.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        Self::start_printing_to(command, Stdio::piped())
    }

    /// Starts the command with this as its standard output. If that leads elsewhere, it is not read
    /// here.
    #[track_caller]
    pub fn start_printing_to(command: &mut Command, stdout: impl Into<Stdio>) -> Self {
        command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
        let mut process = Process::start(command);
        let stdout = match process.0.stdout.take() {
            Some(pipe) => lines(pipe),
            None => lines(std::io::empty()),
        };
        let stderr = lines(process.0.stderr.take().unwrap());
        Self { process, stdout, stderr, lines: Vec::new() }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Fails if it has ended; `why` is the reason why it should not have.
    #[track_caller]
    pub fn goes_on(&mut self, why: &str) {
        if let Some(status) = self.process.ended_within(Duration::from_millis(20)) {
            panic!("{why}, but ended: {status}");
        }
    }

    /// Closes its standard input.
    pub fn hang_up(&mut self) {
        self.process.0.stdin = None;
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The next line that it prints; waits for it.
    #[track_caller]
    pub fn next_line(&mut self) -> String {
        self.read().unwrap_or_else(|why| panic!("{why}"))
    }

    /// The first line with this beginning that it has printed or will print.
    #[track_caller]
    pub fn line(&mut self, beginning: &str) -> String {
        if let Some(line) = self.lines.iter().find(|line| line.starts_with(beginning)) {
            return line.clone();
        }
        loop {
            match self.read() {
                Ok(line) if line.starts_with(beginning) => return line,
                Ok(_) => {}
                Err(why) => panic!("{why}: none begins with {beginning:?} in {:#?}", self.lines),
            }
        }
    }

    fn read(&mut self) -> Result<String, String> {
        match self.stdout.recv_timeout(DEADLINE) {
            Ok(line) => {
                let line = without_end(&line).to_owned();
                self.lines.push(line.clone());
                Ok(line)
            }
            Err(RecvTimeoutError::Timeout) => Err("no line comes".to_owned()),
            Err(RecvTimeoutError::Disconnected) => {
                // It has closed its output, but may still be running.
                self.process.kill();
                let stderr: String = self.stderr.iter().collect();
                Err(format!("no line is left, and stderr says: {stderr}"))
            }
        }
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn finish(self) -> Ended {
        self.finish_within(DEADLINE, "the program ends")
    }

    /// Waits until it ends by itself, within `timeout`; `why` is the reason why it should.
    #[track_caller]
    pub fn finish_within(mut self, timeout: Duration, why: &str) -> Ended {
        within(timeout, why, || !self.is_running());
        let status = self.process.wait();
        self.ended(status)
    }

    /// Kills it as `kill -9` does, and waits until the kernel has removed it.
    pub fn kill(mut self) -> Ended {
        let status = self.process.kill();
        self.ended(status)
    }

    fn ended(self, status: ExitStatus) -> Ended {
        let Self { mut lines, stdout, stderr, .. } = self;
        let stdout: String = stdout.iter().collect();
        lines.extend(stdout.lines().map(str::to_owned));
        let stderr: String = stderr.iter().collect();
        let warning = format!("{DEBUG_BUILD}\n");
        let warned = stderr.matches(&warning).count();
        Ended { status, lines, stdout, stderr: stderr.replace(&warning, ""), warned }
    }
}

impl Ended {
    /// Checks a good end: exit code 0, and nothing on stderr. Returns all lines of stdout.
    #[track_caller]
    pub fn well(self) -> Vec<String> {
        assert!(self.status.success(), "{}: {}{:#?}", self.status, self.stderr, self.lines);
        assert_eq!(self.stderr, "");
        self.lines
    }

    /// Checks a good end: exit code 0, nothing on stderr, and exactly these lines, apart from lines that
    /// the test had read before.
    #[track_caller]
    pub fn says(&self, lines: &[impl AsRef<str>]) {
        assert_eq!(self.stderr, "");
        let expected: String = lines.iter().flat_map(|line| [line.as_ref(), "\n"]).collect();
        assert_eq!(self.stdout, expected);
        assert_eq!(self.status.code(), Some(0));
    }

    /// Checks a failure: exit code 1 and one line on stderr, which is returned.
    #[track_caller]
    pub fn badly(&self) -> String {
        assert_eq!(
            self.status.code(),
            Some(1),
            "{}: {}{:#?}",
            self.status,
            self.stderr,
            self.lines
        );
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.ends_with('\n'), "{}", self.stderr);
        self.stderr.clone()
    }
}

fn without_end(line: &str) -> &str {
    line.strip_suffix('\n').unwrap_or(line)
}

/// Passes on the lines of a pipe as they come, until all its writers have closed it.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            if send.send(text).is_err() {
                return;
            }
        }
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::start(Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_program_says_what_it_said() {
        let mut program = shell("echo one; echo two; echo three; echo so >&2; exit 1");
        assert_eq!(program.next_line(), "one");
        assert_eq!(program.line("t"), "two");
        assert_eq!(program.line("o"), "one");
        let ended = program.finish();
        assert_eq!((ended.stdout.as_str(), ended.badly().as_str()), ("three\n", "so\n"));
        assert_eq!(ended.lines, ["one", "two", "three"]);
    }

    #[test]
    fn a_program_that_is_dropped_is_killed() {
        let mut program = shell("echo $$; exec sleep 600");
        let id: i32 = program.next_line().parse().unwrap();
        program.goes_on("it sleeps");
        drop(program);
        assert!(kill(Pid::from_raw(id), None).is_err());
    }

    #[test]
    fn a_program_without_the_line_is_an_error() {
        let said = crate::panics(|| shell("echo one; echo why >&2").line("two"));
        assert!(said.contains("why") && said.contains("one"), "{said}");
    }
}
