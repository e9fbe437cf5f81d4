//! How the two programs are started, and what they print.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::io::{PipeReader, Write, pipe};
use std::process::Command;

use nix::fcntl::{FcntlArg, fcntl};
use testing::Program;

pub(crate) fn start(path: &str, arguments: &[&str]) -> Program {
    Program::start(Command::new(path).args(arguments))
}

/// Starts a program whose stdout has room for `line` and its newline, and no more. So the program blocks at its
/// next line until the reader, which is returned beside it, is dropped. Then that line fails.
pub(crate) fn start_held_after(
    line: &str,
    path: &str,
    arguments: &[&str],
) -> (Program, PipeReader) {
    let (reader, mut writer) = pipe().unwrap();
    let room = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(1)).unwrap() as usize;
    writer.write_all(&vec![b'.'; room - line.len() - 1]).unwrap();
    let mut command = Command::new(path);
    (Program::start_printing_to(command.args(arguments), writer), reader)
}

/// What a producer of these messages prints.
pub(crate) fn producer_lines(name: &str, messages: &[&str], seconds: &str) -> Vec<String> {
    let mut lines = vec![
        format!("Producer creating the shared-memory queue {name}..."),
        format!(
            "Producer created the shared-memory queue {name} of size 100 and mapped it into memory."
        ),
    ];
    for message in messages {
        lines.push(format!("Producer sent a msg \"{message}\" into the queue."));
    }
    lines.push(format!("Producer closed the queue after {seconds} seconds and exit..."));
    lines
}

/// What a consumer of these messages prints.
pub(crate) fn consumer_lines(name: &str, messages: &[&str]) -> Vec<String> {
    let mut lines = vec![
        format!("Consumer attaching to the shared-memory queue {name}..."),
        format!("Consumer attached to the shared-memory queue {name}."),
    ];
    for message in messages {
        lines.push(format!("Consumer read a msg from queue: \"{message}\""));
    }
    lines.push("Consumer closed the queue and exit...".to_owned());
    lines
}
