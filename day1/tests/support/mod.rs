//! What the tests share: names that nobody else has, and programs that do not outlive their test.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, Read, Write, pipe};
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Far longer than anything here takes: whoever reaches it hangs.
const DEADLINE: Duration = Duration::from_secs(30);

/// A queue's name that no other test has; what it names is removed when this is dropped.
pub(crate) struct Unique(String);

impl Unique {
    pub(crate) fn new() -> Self {
        static NEXT: Mutex<u32> = Mutex::new(0);
        let mut next = NEXT.lock().unwrap();
        *next += 1;
        Self(format!("/day1-test-{}-{next}", std::process::id()))
    }

    /// The default name, which all tests share: the lock that comes with it keeps others away.
    pub(crate) fn default_name() -> (File, Self) {
        let uid = nix::unistd::getuid();
        let lock = std::env::temp_dir().join(format!("fanout-queue-{uid}.lock"));
        let lock = File::create(lock).unwrap();
        lock.lock().unwrap();
        eventually("/queue is free (did a producer leave it behind? rm /dev/shm/queue)", || {
            !fs::exists("/dev/shm/queue").unwrap()
        });
        (lock, Self("/queue".to_owned()))
    }

    /// Where the file system shows it.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/shm{}", self.0))
    }

    pub(crate) fn exists(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }

    /// Makes an object, or gives it a new size; new bytes are zero.
    pub(crate) fn set_len(&self, bytes: u64) {
        let mut options = File::options();
        let object = options.write(true).create(true).truncate(false).open(self.path()).unwrap();
        object.set_len(bytes).unwrap();
    }

    /// Removes what was left behind.
    pub(crate) fn remove(&self) {
        fs::remove_file(self.path()).unwrap();
    }

    /// Overwrites some bytes of an object that exists.
    pub(crate) fn poke(&self, offset: u64, bytes: &[u8]) {
        let object = File::options().write(true).open(self.path()).unwrap();
        object.write_all_at(bytes, offset).unwrap();
    }
}

impl Deref for Unique {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Unique {
    fn drop(&mut self) {
        // Most programs have removed it already.
        let _ = fs::remove_file(self.path());
    }
}

/// Waits until `condition` holds, and fails if it never does.
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(DEADLINE, what, condition);
}

#[track_caller]
fn within(timeout: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < timeout, "still not: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A program at work, killed if the test does not see its end.
pub(crate) struct Program {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// How a program ended, and what it said that nobody had read before.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    pub(crate) fn start(path: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(path);
        command.args(arguments).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Starts a program whose stdout has room for `line` and no more, which holds it at its next
    /// line until the reader that comes with it is dropped: then that line fails.
    pub(crate) fn start_held_after(
        line: &str,
        path: &str,
        arguments: &[&str],
    ) -> (Self, PipeReader) {
        let (reader, mut writer) = pipe().unwrap();
        let room = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(1)).unwrap() as usize;
        writer.write_all(&vec![b'.'; room - line.len()]).unwrap();
        let mut command = Command::new(path);
        command.args(arguments).stdin(Stdio::null());
        let mut child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = lines(child.stderr.take().unwrap());
        (Self { child, stdout: lines(std::io::empty()), stderr }, reader)
    }

    /// The next line that it prints, with its end, as soon as it is there.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        match self.stdout.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("no line comes"),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("no line is left, stderr says: {}", self.stderr.iter().collect::<String>())
            }
        }
    }

    /// Fails if it has ended, with a reason why it should not have.
    #[track_caller]
    pub(crate) fn goes_on(&mut self, why: &str) {
        thread::sleep(Duration::from_millis(20));
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{why}, but ended: {status}");
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn finish(self) -> Ended {
        self.finish_within(DEADLINE, "the program ends")
    }

    /// Waits for its end, but not for ever, with a reason why it should have come.
    #[track_caller]
    pub(crate) fn finish_within(mut self, timeout: Duration, why: &str) -> Ended {
        within(timeout, why, || self.child.try_wait().unwrap().is_some());
        let status = self.child.wait().unwrap();
        Ended { status, stdout: self.stdout.iter().collect(), stderr: self.stderr.iter().collect() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Checks a good end: exit code 0, these lines, and nothing on stderr.
    #[track_caller]
    pub(crate) fn well(&self, lines: &[String]) {
        assert_eq!(self.stderr, "");
        assert_eq!(self.stdout, lines.concat());
        assert_eq!(self.status.code(), Some(0));
    }

    /// Checks a failure: exit code 1 and one line on stderr, which is returned.
    #[track_caller]
    pub(crate) fn failed(&self) -> &str {
        assert_eq!(self.status.code(), Some(1), "{}: {}", self.status, self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.ends_with('\n'), "{}", self.stderr);
        &self.stderr
    }
}

/// What a producer prints that sends `messages`.
pub(crate) fn producer_lines(name: &str, messages: &[&str], seconds: &str) -> Vec<String> {
    let mut lines = vec![
        format!("Producer creating the shared-memory queue {name}...\n"),
        format!(
            "Producer created the shared-memory queue {name} of size 100 and mapped it into memory.\n"
        ),
    ];
    for message in messages {
        lines.push(format!("Producer sent a msg \"{message}\" into the queue.\n"));
    }
    lines.push(format!("Producer closed the queue after {seconds} seconds and exit...\n"));
    lines
}

/// What a consumer prints that finds `messages`.
pub(crate) fn consumer_lines(name: &str, messages: &[&str]) -> Vec<String> {
    let mut lines = vec![
        format!("Consumer attaching to the shared-memory queue {name}...\n"),
        format!("Consumer attached to the shared-memory queue {name}.\n"),
    ];
    for message in messages {
        lines.push(format!("Consumer read a msg from queue: \"{message}\"\n"));
    }
    lines.push("Consumer closed the queue and exit...\n".to_owned());
    lines
}

/// Sends on the lines of a pipe as they come, until its writers are gone.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = String::new();
        while pipe.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if send.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    receive
}
