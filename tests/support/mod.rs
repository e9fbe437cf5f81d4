//! What the tests of the command share: names that nobody else has, and processes that end.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod terminal;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::sync::{AtomicU64, Ordering};

/// How long anything may take before the test gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The exit code of `sub` when the producer gave up.
pub(crate) const GAVE_UP: i32 = 3;

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// The name of a queue, or of another object in `/dev/shm`, that goes away with this value.
pub(crate) struct Name(pub(crate) String);

impl Name {
    pub(crate) fn new(what: &str) -> Self {
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        Self(format!("fanout-test-{what}-{}-{n}", std::process::id()))
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/dev/shm").join(&self.0)
    }

    pub(crate) fn exists(&self) -> bool {
        self.path().exists()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let path = self.path();
        let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
    }
}

/// A folder that goes away with this value.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fanout-test-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// All Rust files in a folder, also further below.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The command with these arguments.
pub(crate) fn fanout(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanout"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The same, with no signal ignored: a test may run under `nohup`.
pub(crate) fn listening(arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal", env!("CARGO_BIN_EXE_fanout")]).args(arguments);
    command.stdin(Stdio::null());
    command
}

/// A process that is killed when the test is done with it.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Starts the command, its stdout to be read, once the queue answers.
    pub(crate) fn start_when(name: &Name, arguments: &[&str]) -> Self {
        until("a queue", || run(&mut fanout(&["stat", &name.0])).status.success());
        Self::start(fanout(arguments).stdout(Stdio::piped()))
    }

    /// Starts it with stdout going to a file.
    pub(crate) fn into_file(command: &mut Command, file: &Path) -> Self {
        Self::start(command.stdout(std::fs::File::create(file).unwrap()))
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "{:?} did not end", self.0);
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command to its end, within the deadline; what it prints is short.
pub(crate) fn run(command: &mut Command) -> Output {
    let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let status = process.wait();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    process.0.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    process.0.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    Output { status, stdout, stderr }
}

/// Does what may block, within the deadline. A process that it waits for is killed when the test fails.
pub(crate) fn within<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "{what} did not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What `stat --json` says of a queue; nothing while there is none.
pub(crate) fn report(name: &Name) -> serde_json::Value {
    let output = run(&mut fanout(&["stat", &name.0, "--json"]));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Sends a line to a publisher, and keeps its stdin open.
pub(crate) fn type_into(publisher: &mut Process, text: &str) {
    use std::io::Write;
    publisher.0.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
}

/// How many consumers are attached to a queue; 0 while there is none.
pub(crate) fn consumers(name: &Name) -> usize {
    report(name)["consumers"].as_array().map_or(0, Vec::len)
}
