//! Worker processes behind `serve`, and clients that `call` them.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ChildStdout, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{fanout, listening, said, stderr, stdout, type_into};
use testing::{Folder, Process, Unique, eventually, promptly, run};

/// A shell that answers each line. It says in each answer who it is.
const SHELL: &str = r#"while read -r line; do
    case "$line" in
        die) exit 7 ;;
        hang) while :; do sleep 1; done ;;
        two) echo one; echo two ;;
        long) printf '%05000d\n' 0 ;;
        *) echo "$$ $line" ;;
    esac
done"#;

/// Starts a server, and returns once it has a name.
fn serve(name: &Unique, more: &[&str], worker: &[&str]) -> Process {
    let mut command = listening(&["serve", name.bare()]);
    command.args(more).arg("--").args(worker);
    let server = Process::start(command.stderr(Stdio::piped()));
    eventually("a server", || report(name)["kind"] == "tasks");
    server
}

fn report(name: &Unique) -> serde_json::Value {
    support::report(name)
}

/// Sends these lines.
fn call(name: &Unique, more: &[&str], lines: &str) -> Output {
    let folder = Folder::new();
    std::fs::write(folder.join("lines"), lines).unwrap();
    let mut command = fanout(&["call", name.bare()]);
    run(command.args(more).stdin(std::fs::File::open(folder.join("lines")).unwrap()))
}

/// Ends a server. What it has said.
fn end(mut server: Process) -> String {
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(143));
    said(&mut server)
}

fn is_alive(pid: i32) -> bool {
    // A dead one that nobody has waited for counts as dead.
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit(") ").next().unwrap_or_default();
    !state.is_empty()
        && !state.starts_with('Z')
        && kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// The number of the worker that has answered.
fn pid(answer: &str) -> i32 {
    answer.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_worker_that_buffers_its_output_answers_each_line() {
    for (more, worker) in [
        (&[][..], &["tr", "a-z", "A-Z"][..]),
        (&["--shards", "3"], &["tr", "a-z", "A-Z"]),
        (
            &["--pipe"],
            &["sh", "-c", "while read -r l; do printf '%s\\n' \"$l\" | tr a-z A-Z; done"],
        ),
    ] {
        let name = Unique::new("upper");
        let server = serve(&name, more, worker);
        let output = run(&mut fanout(&["call", name.bare(), "hi", "there"]));
        assert_eq!((stdout(&output), stderr(&output)), ("HI THERE\n", ""));
        let output = call(&name, &[], "one\n\ntwo\nthe end, without a newline");
        assert_eq!(stdout(&output), "ONE\n\nTWO\nTHE END, WITHOUT A NEWLINE\n");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(end(server), "");
        assert!(!name.exists());
    }
}

#[test]
fn bytes_of_every_value_come_back_in_order() {
    let name = Unique::new("bytes");
    let server = serve(&name, &[], &["cat"]);
    let mut lines = Vec::new();
    for number in 0..20_000u32 {
        let bytes = (0..number % 257).map(|at| (number.wrapping_mul(31) + at * 7) as u8);
        lines.extend(bytes.map(|byte| if byte == b'\n' { 0 } else { byte }));
        lines.push(b'\n');
    }
    let folder = Folder::new();
    let (input, output) = (folder.join("in"), folder.join("out"));
    std::fs::write(&input, &lines).unwrap();
    for more in [&[][..], &["--outstanding", "1"], &["--outstanding", "1024"]] {
        let mut command = fanout(&["call", name.bare()]);
        command.args(more).stdin(std::fs::File::open(&input).unwrap());
        assert!(support::start_into(&mut command, &output).wait().success());
        assert!(std::fs::read(&output).unwrap() == lines, "{more:?}");
    }
    assert_eq!(end(server), "");
}

type Screen = BufReader<ChildStdout>;

fn next_line(mut screen: Screen) -> (String, Screen) {
    promptly("a line", move || {
        let mut line = String::new();
        screen.read_line(&mut line).unwrap();
        (line, screen)
    })
}

#[test]
fn an_answer_is_printed_before_the_next_line_is_typed() {
    let name = Unique::new("typed");
    // It waits for a server.
    let mut caller =
        Process::start(fanout(&["call", name.bare()]).stdin(Stdio::piped()).stdout(Stdio::piped()));
    let server = serve(&name, &[], &["tr", "a-z", "A-Z"]);
    let mut screen = BufReader::new(caller.0.stdout.take().unwrap());
    for (typed, expected) in [("hi\n", "HI\n"), ("ho\n", "HO\n")] {
        type_into(&mut caller, typed);
        let line;
        (line, screen) = next_line(screen);
        assert_eq!(line, expected);
    }
    drop(caller.0.stdin.take());
    assert!(caller.wait().success());
    end(server);
}

#[test]
fn a_worker_that_dies_fails_its_task_and_another_is_started() {
    let name = Unique::new("dies");
    let server = serve(&name, &["--timeout", "0.5s"], &["sh", "-c", SHELL]);
    let output = call(&name, &[], "a\ndie\nb\nhang\nc\nlong\nd\n");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for (line, why) in [
        "task 2: the procedure failed: the worker ended (exit code 7)",
        "task 4: the procedure failed: the worker wrote no line within 500ms, and was killed",
        "task 6: the procedure failed: the worker answered with a line of 5000 bytes",
        "3 of 7 tasks failed",
    ]
    .into_iter()
    .enumerate()
    {
        let found = said.lines().nth(line).unwrap_or_default();
        assert!(found.starts_with(&format!("error: {why}")), "{said}");
    }
    let answers: Vec<&str> = stdout(&output).lines().collect();
    let [a, b, c, d] = answers[..] else { panic!("{answers:?}") };
    for (answer, line) in [(a, "a"), (b, "b"), (c, "c"), (d, "d")] {
        assert!(answer.ends_with(&format!(" {line}")), "{answer}");
    }
    // One died, another was killed; that one answered with too long a line is no reason to.
    assert!(pid(a) != pid(b) && pid(b) != pid(c) && pid(c) == pid(d), "{answers:?}");
    assert!(!is_alive(pid(a)) && !is_alive(pid(b)) && is_alive(pid(d)));
    let told = end(server);
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(!is_alive(pid(d)));
}

#[test]
fn a_worker_that_is_killed_while_it_idles_costs_no_task() {
    let name = Unique::new("idle");
    let server = serve(&name, &[], &["sh", "-c", SHELL]);
    let first = pid(stdout(&call(&name, &[], "a\n")));
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    eventually("its death", || !is_alive(first));
    let output = call(&name, &[], "b\n");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    assert_ne!(pid(stdout(&output)), first);
    let told = end(server);
    assert!(told.contains("was killed (SIGKILL)"), "{told}");
}

#[test]
fn a_worker_that_writes_a_line_unasked_is_replaced() {
    let name = Unique::new("unasked");
    let server = serve(&name, &[], &["sh", "-c", SHELL]);
    let output = call(&name, &[], "two\n");
    assert_eq!(stdout(&output), "one\n");
    // The second line is there by now, or it will be an answer: nobody could tell.
    thread::sleep(Duration::from_millis(200));
    let output = call(&name, &[], "a\n");
    assert!(stdout(&output).ends_with(" a\n"), "{output:?}");
    let told = end(server);
    assert!(told.contains("wrote what nobody had asked for"), "{told}");
}

#[test]
fn a_task_of_two_lines_or_one_too_long_is_refused() {
    let name = Unique::new("refused");
    let server = serve(&name, &[], &["sh", "-c", SHELL]);
    let output = run(&mut fanout(&["call", name.bare(), "a\nb"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("the task holds a newline"), "{output:?}");
    let output = call(&name, &[], &format!("a\n{}\nb\n", "x".repeat(1 << 20)));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: task 2: the arguments do not fit"), "{output:?}");
    assert_eq!(stdout(&output).lines().count(), 2);
    let output = run(&mut fanout(&["call", name.bare(), "--procedure", "other", "a"]));
    assert!(stderr(&output).contains("no procedure called \"other\""), "{output:?}");
    assert_eq!(end(server), "");
}

/// However a server ends, no worker outlives it, also not one that hangs and wants no end.
#[test]
fn no_worker_outlives_its_server() {
    let stubborn = "trap '' TERM; read -r line; echo $$; while true; do sleep 1; done";
    for (signal, code) in
        [(Signal::SIGTERM, Some(143)), (Signal::SIGINT, Some(130)), (Signal::SIGKILL, None)]
    {
        let name = Unique::new("outlive");
        let mut server = serve(&name, &["--shards", "2"], &["sh", "-c", stubborn]);
        let one = pid(stdout(&call(&name, &[], "a\n")).trim());
        // One more has a task in hand that takes for ever.
        let mut caller = Process::start(
            fanout(&["call", name.bare(), "b"]).stdout(Stdio::piped()).stderr(Stdio::piped()),
        );
        eventually("a task", || report(&name)["clients"][0]["issued"] == 1);
        server.signal(signal);
        assert_eq!(server.wait().code(), code);
        eventually("the end of its worker", || !is_alive(one));
        caller.wait();
    }
}

#[test]
fn a_caller_says_that_its_server_died_and_may_go_on_with_the_next() {
    let name = Unique::new("server-died");
    let mut server = serve(&name, &[], &["sh", "-c", SHELL]);
    let start = |more: &[&str]| {
        let mut command = fanout(&["call", name.bare()]);
        let pipes = command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped());
        Process::start(pipes.stderr(Stdio::piped()))
    };
    let (mut ends, mut goes_on) = (start(&[]), start(&["--reconnect"]));
    // While a worker has a task in hand, nobody is let in.
    let count = |process: &Process, of: &str| {
        let report = report(&name);
        let mut clients = report["clients"].as_array().into_iter().flatten();
        clients.find(|row| row["pid"] == process.id()).and_then(|row| row[of].as_u64())
    };
    let issued = |process: &Process| count(process, "issued");
    type_into(&mut goes_on, "warm up\n");
    eventually("a client", || issued(&goes_on) == Some(1));
    type_into(&mut ends, "a\nhang\nb\n");
    eventually("its tasks", || issued(&ends) == Some(3) && count(&ends, "done") == Some(1));
    type_into(&mut goes_on, "c\n");
    eventually("a task of the other", || issued(&goes_on) == Some(2));
    server.kill();
    assert_eq!(ends.wait().code(), Some(1));
    let told = said(&mut ends);
    assert!(told.contains("has died or ended: whether tasks 2 to 3 were done"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");

    let server = serve(&name, &[], &["sh", "-c", SHELL]);
    type_into(&mut goes_on, "d\n");
    drop(goes_on.0.stdin.take());
    assert_eq!(goes_on.wait().code(), Some(1));
    let mut answers = String::new();
    goes_on.0.stdout.take().unwrap().read_to_string(&mut answers).unwrap();
    assert!(answers.ends_with(" d\n") && answers.lines().count() == 2, "{answers}");
    let told = said(&mut goes_on);
    assert!(told.starts_with("error: task 2: the server has died"), "{told}");
    assert!(told.ends_with("error: 1 of 3 tasks failed\n"), "{told}");
    end(server);
}

#[test]
fn a_caller_ends_by_a_timeout_or_a_signal_although_its_server_stands_still() {
    let name = Unique::new("still");
    let mut server = serve(&name, &[], &["sh", "-c", SHELL]);
    let output = call(&name, &["--timeout", "0.2s"], "hang\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no answer within 200ms"), "{output:?}");
    server.signal(Signal::SIGSTOP);
    // It cannot even be let in.
    let mut caller = Process::start(&mut listening(&["call", name.bare(), "a"]));
    thread::sleep(Duration::from_millis(200));
    assert!(caller.is_running());
    caller.signal(Signal::SIGINT);
    assert_eq!(caller.wait().code(), Some(130));
    server.kill();
}

#[test]
fn stat_ls_clean_and_rm_know_a_server() {
    let name = Unique::new("known");
    let mut server = serve(&name, &[], &["sh", "-c", SHELL]);
    assert_eq!(name.path().symlink_metadata().unwrap().permissions().mode() & 0o7777, 0o1600);
    let mut caller =
        Process::start(fanout(&["call", name.bare()]).stdin(Stdio::piped()).stdout(Stdio::piped()));
    type_into(&mut caller, "a\nhang\nb\n");
    eventually("one done, one in flight, one waiting", || {
        let row = &report(&name)["clients"][0];
        (&row["issued"], &row["done"]) == (&3.into(), &1.into())
            && (&row["in_flight"], &row["waiting"]) == (&1.into(), &1.into())
            && row["pid"] == caller.id()
            && row["oldest_ms"].as_u64() > Some(0)
    });
    let shown = run(&mut fanout(&["stat", name.bare()]));
    assert!(stdout(&shown).contains(", of tasks, clients: 1\n"), "{shown:?}");
    let by_path = run(&mut fanout(&["stat", name.path().to_str().unwrap()]));
    assert_eq!(stdout(&by_path).lines().nth(1), stdout(&shown).lines().nth(1));
    let listed = run(&mut fanout(&["ls"]));
    let line = stdout(&listed).lines().find(|line| line.contains(name.bare())).unwrap();
    assert!(line.ends_with("a server; clients: 1; their tasks: 3, done: 1"), "{line}");
    for command in
        [&["rm", name.bare()][..], &["pub", name.bare()], &["serve", name.bare(), "--", "cat"]]
    {
        let refused = run(&mut fanout(command));
        assert_eq!(refused.status.code(), Some(1), "{command:?}: {refused:?}");
        assert_eq!(stderr(&refused).lines().count(), 1, "{command:?}: {refused:?}");
    }
    let cleaned = run(&mut fanout(&["clean", name.bare()]));
    assert!(stdout(&cleaned).ends_with(": left; its server is alive\n"), "{cleaned:?}");
    server.kill();
    caller.wait();
    let listed = run(&mut fanout(&["ls"]));
    let line = stdout(&listed).lines().find(|line| line.contains(name.bare())).unwrap();
    assert!(line.contains("  dead: "), "{line}");
    let cleaned = run(&mut fanout(&["clean", name.bare()]));
    assert!(stdout(&cleaned).ends_with(": removed\n"), "{cleaned:?}");
    assert!(!name.exists());
}

#[test]
fn a_server_at_a_path_writes_a_trace_and_a_wrong_command_leaves_nothing() {
    let folder = Folder::new();
    let (path, trace) = (folder.join("socket"), folder.join("trace"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (path_text, trace_text) = (text(&path), text(&trace));
    let refused = run(&mut fanout(&["serve", &path_text, "--", "no-such-program"]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).starts_with("error: cannot start the worker no-such-program: "));
    assert!(!path.exists());
    let arguments = ["serve", &path_text, "--trace", &trace_text, "--", "cat"];
    let mut server = Process::start(&mut listening(&arguments));
    let output = run(&mut fanout(&["call", &path_text, "hi"]));
    assert_eq!(stdout(&output), "hi\n");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(143));
    assert!(!path.exists());
    assert!(std::fs::read_to_string(trace).unwrap().contains("\"line\""));
    let refused = run(&mut fanout(&["call", &path_text, "--no-wait", "hi"]));
    assert!(stderr(&refused).contains("does not exist"), "{refused:?}");
}
