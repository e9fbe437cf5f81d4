//! The day's programs, some of which are killed.
#![cfg(not(loom))]

use std::path::PathBuf;
use std::process::Command;

use testing::{Ended, Folder, Program};

/// A server in a folder of its own.
struct Serving {
    folder: Folder,
    program: Program,
}

impl Serving {
    fn start(arguments: &[&str]) -> Self {
        let folder = Folder::new();
        let program = Self::again(&folder, arguments);
        Self { folder, program }
    }

    fn again(folder: &Folder, arguments: &[&str]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_day7-server"));
        let mut program = Program::start(command.arg(folder.join("socket")).args(arguments));
        program.line("serving");
        program
    }

    fn path(&self) -> PathBuf {
        self.folder.join("socket")
    }

    fn client(&self, arguments: &[&str]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_day7-client"));
        Program::start(command.arg("--path").arg(self.path()).args(arguments))
    }

    fn asked(&self, arguments: &[&str]) -> Ended {
        self.client(arguments).finish()
    }

    /// Ends it; what it has printed last.
    fn end(mut self) -> String {
        self.program.hang_up();
        let lines = self.program.finish().well();
        assert!(!self.folder.join("socket").exists());
        lines.last().unwrap().clone()
    }
}

#[test]
fn tasks_are_answered() {
    let server = Serving::start(&[]);
    server.asked(&["add", "3", "4"]).says(&["7"]);
    server.asked(&["add", "--", "-3", "1"]).says(&["-2"]);
    server.asked(&["sum", "1,2,3", "10,20,4294967295"]).says(&["[11, 22, 2]"]);
    server.asked(&["call", "echo", "two", "words"]).says(&["two words"]);
    server.asked(&["call", "sleep", "1"]).says(&["slept"]);
    assert_eq!(server.end(), "clients that came: 5");
}

#[test]
fn what_fails_fails_alone() {
    let server = Serving::start(&[]);
    for (arguments, why) in [
        (&["call", "panic"][..], "the procedure panicked: asked for it by client "),
        (&["call", "add", "3", "x"], "the procedure failed: invalid digit"),
        (
            &["call", "add", "9223372036854775807", "1"],
            "the procedure failed: the sum is too large",
        ),
        (&["call", "sum"], "expected two inputs and one output"),
        (&["sum", "1,2", "1"], "expected two inputs of one length"),
        (&["call", "nothing"], "no procedure called \"nothing\""),
    ] {
        let said = server.asked(arguments).badly();
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    server.asked(&["add", "3", "4"]).says(&["7"]);
    let Serving { program, .. } = server;
    let said = program.kill().stderr;
    assert!(said.contains("asked for it by client"), "{said}");
}

#[test]
fn many_clients_have_many_tasks_outstanding() {
    let server = Serving::start(&["--shards", "2"]);
    let clients: Vec<_> = (0..4).map(|_| server.client(&["many", "5000"])).collect();
    for client in clients {
        let lines = client.finish().well();
        assert!(lines[0].starts_with("tasks: 5000, every sum right; "), "{lines:?}");
    }
    let one = server.asked(&["many", "10", "--outstanding", "1"]).well();
    assert!(one[0].starts_with("tasks: 10, every sum right; "), "{one:?}");
    assert_eq!(server.end(), "clients that came: 5");
}

#[test]
fn a_client_that_is_killed_costs_the_others_nothing() {
    let server = Serving::start(&[]);
    // A living one works meanwhile.
    let living = server.client(&["many", "50000"]);
    for _ in 0..10 {
        let dead = server.client(&["many", "100000000"]);
        std::thread::sleep(std::time::Duration::from_millis(20));
        dead.kill();
    }
    let lines = living.finish().well();
    assert!(lines[0].starts_with("tasks: 50000, every sum right; "), "{lines:?}");
}

#[test]
fn a_client_is_told_that_its_server_was_killed() {
    let Serving { folder, program } = Serving::start(&[]);
    let server = Serving { folder, program };
    let mut waiting = server.client(&["call", "sleep", "600000"]);
    // Some clients may not have come so far yet. Whatever they do then, they end.
    waiting.goes_on("its task takes ten minutes");
    let Serving { folder, program } = server;
    program.kill();
    waiting.finish().badly();
    // What a killed server leaves has to be removed by hand.
    let mut command = Command::new(env!("CARGO_BIN_EXE_day7-server"));
    let said = Program::start(command.arg(folder.join("socket"))).finish().badly();
    assert!(said.contains("which a dead server left behind"), "{said}");
    std::fs::remove_file(folder.join("socket")).unwrap();
    let program = Serving::again(&folder, &[]);
    let server = Serving { folder, program };
    server.asked(&["add", "3", "4"]).says(&["7"]);
    server.end();
}

#[test]
fn a_trace_has_a_line_for_each_task() {
    let folder = Folder::new();
    let file = folder.join("trace");
    let server = Serving::start(&["--trace", file.to_str().unwrap()]);
    server.asked(&["add", "3", "4"]).says(&["7"]);
    server.asked(&["many", "100"]).well();
    server.end();
    let trace = std::fs::read_to_string(file).unwrap();
    let lines = |name: &str| trace.lines().filter(|line| line.contains(name)).count();
    assert!(lines("\"add\"") >= 1 && lines("\"sum\"") >= 100, "{trace}");
}
