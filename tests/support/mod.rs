//! What the tests of the command share: starting it, and reading its report of a queue.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod terminal;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use testing::{Process, Unique, eventually, run};

/// The exit code of `sub` when the producer gave up.
pub(crate) const GAVE_UP: i32 = 3;

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

/// Starts the command with its stdout as a pipe, and returns once the queue answers.
pub(crate) fn start_when(name: &Unique, arguments: &[&str]) -> Process {
    eventually("a queue", || run(&mut fanout(&["stat", name.bare()])).status.success());
    Process::start(fanout(arguments).stdout(Stdio::piped()))
}

/// Starts the command with its stdout going to a file.
pub(crate) fn start_into(command: &mut Command, file: &Path) -> Process {
    Process::start(command.stdout(File::create(file).unwrap()))
}

/// What `stat --json` says about a queue; null while there is none.
pub(crate) fn report(name: &Unique) -> serde_json::Value {
    let output = run(&mut fanout(&["stat", name.bare(), "--json"]));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Sends a line to a publisher, and keeps its stdin open.
pub(crate) fn type_into(publisher: &mut Process, text: &str) {
    publisher.0.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
}

/// How many consumers are attached to a queue; 0 while there is none.
pub(crate) fn consumers(name: &Unique) -> usize {
    report(name)["consumers"].as_array().map_or(0, Vec::len)
}

/// A publisher whose stdin the test holds.
pub(crate) fn publish(name: &Unique, more: &[&str]) -> Process {
    let mut command = listening(&["pub", name.bare()]);
    let publisher = Process::start(command.args(more).stdin(Stdio::piped()).stderr(Stdio::piped()));
    eventually("a queue", || report(name)["producer"]["lives"] == true);
    publisher
}

pub(crate) fn subscribe(name: &Unique, more: &[&str], output: &Path) -> Process {
    start_into(fanout(&["sub", name.bare()]).args(more).stderr(Stdio::piped()), output)
}

pub(crate) fn kill(process: &mut Process) {
    process.signal(Signal::SIGKILL);
    process.wait();
}

/// What a process that has ended printed on stderr.
pub(crate) fn said(process: &mut Process) -> String {
    std::io::read_to_string(process.0.stderr.take().unwrap()).unwrap()
}

pub(crate) fn lines(output: &Path) -> String {
    std::fs::read_to_string(output).unwrap()
}

/// Ends a publisher's input, and waits until it is done. What it said.
pub(crate) fn finish(mut publisher: Process) -> String {
    drop(publisher.0.stdin.take());
    let status = publisher.wait();
    let said = said(&mut publisher);
    assert!(status.success(), "{said}");
    said
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}
