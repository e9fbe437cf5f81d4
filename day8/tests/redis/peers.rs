//! Redis's own server and clients, where they are installed.

use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use testing::{DEADLINE, Folder, Process, Program, eventually, run, within};

use crate::script::{request, scripts};
use crate::server::{Server, connect};

/// Whether this program of Redis is installed. If not, the test says so, and checks nothing.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        eprintln!("SKIPPED: {program} is not installed (benches/install-peers installs it)");
    }
    found
}

#[test]
fn redis_itself_answers_the_same() {
    if !has("redis-server") {
        return;
    }
    let folder = Folder::new();
    let path = folder.path().join("socket");
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
    let _redis =
        Process::start(command.arg(&path).current_dir(folder.path()).stdout(Stdio::null()));
    within(DEADLINE, "redis-server listens", || UnixStream::connect(&path).is_ok());
    let address = format!("unix:{}", path.display());
    let mut different = Vec::new();
    for script in scripts() {
        connect(&address).ask(&request(&["FLUSHALL"]), b"+OK\r\n");
        let answers = connect(&address).converse(&script.sent);
        if answers != script.answers {
            different.push(format!("{}: {}", script.name, answers.escape_ascii()));
        }
    }
    assert!(different.is_empty(), "Redis answers otherwise: {different:#?}");
}

/// What `redis-cli` prints for a command.
fn cli(server: &Server, words: &[&str]) -> String {
    let output = run(Command::new("redis-cli").args(["-p", server.port()]).args(words));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn redis_cli_understands_us() {
    if !has("redis-cli") {
        return;
    }
    let server = Server::start(&["--listen", "127.0.0.1:0"]);
    for (words, expected) in [
        (&["PING"][..], "PONG\n"),
        (&["SET", "key", "a value"], "OK\n"),
        (&["GET", "key"], "a value\n"),
        (&["MGET", "key", "none"], "a value\n\n"),
        (&["INCR", "counter"], "1\n"),
        (&["TTL", "key"], "-1\n"),
        (&["FOO"], "ERR unknown command 'FOO', with args beginning with: \n\n"),
    ] {
        assert_eq!(cli(&server, words), expected, "{words:?}");
    }
    let mut subscriber =
        Program::start(Command::new("redis-cli").args(["-p", server.port(), "SUBSCRIBE", "news"]));
    assert_eq!(subscriber.line("1"), "1");
    eventually("redis-cli hears us", || cli(&server, &["PUBLISH", "news", "hello"]) == "1\n");
    subscriber.line("hello");
    drop(subscriber);
    server.end();
}

#[test]
fn redis_benchmark_finds_no_error() {
    if !has("redis-benchmark") {
        return;
    }
    let server = Server::start(&["--listen", "127.0.0.1:0"]);
    let output = run(Command::new("redis-benchmark")
        .args(["-p", server.port(), "-t", "ping,set,get,incr,mset", "-n", "5000", "-r", "1000"])
        .args(["-P", "16", "-q", "-e"]));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !complained.contains("Error"), "{said}{complained}");
    assert!(said.contains("requests per second"), "{said}");
    server.end();
}
