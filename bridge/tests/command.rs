//! The program `fanout-bridge`: what it says, what it never says, and how it ends.

mod login {
    pub(crate) mod server;
}

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use day3::{JoinOptions, QueueOptions, Start, Unattended};
use day4::reader::Reader;
use day4::writer::Writer;
use login::server::Server;
use nix::sys::signal::Signal;
use testing::{Process, Unique, eventually, run};

/// The program with no variable of ours in its environment, and no signal ignored.
fn bridge(arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal", env!("CARGO_BIN_EXE_fanout-bridge")]).args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FANOUT_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(text).unwrap()
}

/// What the program says when its command line is wrong.
#[track_caller]
fn misused(arguments: &[&str]) -> String {
    let output = run(&mut bridge(arguments));
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    text(&output)
}

/// The one line that the program says when it cannot begin.
#[track_caller]
fn failed(command: &mut Command) -> String {
    let output = run(command);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: ") && said.lines().count() == 1, "{said}");
    said
}

fn writer(name: &Unique) -> Writer {
    let options = QueueOptions::new(1 << 16).when_nobody_listens(Unattended::Wait);
    Writer::create_with(name.as_str(), &options).unwrap()
}

fn said(mut process: Process) -> String {
    std::io::read_to_string(process.0.stderr.take().unwrap()).unwrap()
}

#[test]
fn help_is_for_strangers() {
    let output = run(&mut bridge(&["--help"]));
    assert!(output.status.success());
    let help = text(&output);
    for part in ["Examples:", "Exit codes:", "fanout bridge out prices", "fanout bridge in prices"]
    {
        assert!(help.contains(part), "{help}");
    }
    for (direction, options) in [
        ("out", &["--pack", "--storage", "--replicas", "--max-bytes", "--max-age", "--group"][..]),
        (
            "in",
            &["--from", "--capacity", "--slots", "--mode", "--wait-for", "--when-nobody-listens"],
        ),
    ] {
        let output = run(bridge(&[direction, "--help"])
            .env("FANOUT_NATS_URL", "nats://anna:s3cret@h")
            .env("FANOUT_NATS_PASSWORD", "s3cret"));
        let help = text(&output);
        let shared = [
            "--creds",
            "--nkey",
            "--user",
            "--password-file",
            "--token-file",
            "--tls-ca",
            "--metrics",
        ];
        let (carrying, login) = help.split_once("Login and encryption:").unwrap();
        assert!(options.iter().all(|option| carrying.contains(option)), "{help}");
        assert!(login.contains("--tls-key") && !carrying.contains("--tls-key"), "{help}");
        for option in options.iter().chain(&shared) {
            assert!(help.contains(option), "{option}: {help}");
        }
        assert!(help.contains("FANOUT_NATS_URL") && !help.contains("s3cret"), "{help}");
    }
    // `fanout bridge` starts it under that name, and its usage shows what the user has typed.
    let mut command = Command::new("bash");
    command.args([
        "-c",
        "exec -a 'fanout bridge' \"$0\" out --help",
        env!("CARGO_BIN_EXE_fanout-bridge"),
    ]);
    let output = run(&mut command);
    assert!(text(&output).contains("Usage: fanout bridge out "), "{}", text(&output));
}

#[test]
fn a_wrong_command_line_is_told_with_what_to_do() {
    let url = "nats://127.0.0.1:1";
    for (arguments, part) in [
        (&["out", "a,b", url, "--stream", "S"][..], "{queue}"),
        (&["out", "a,/a", url, "--stream", "S", "--subject", "s.{queue}"], "given twice"),
        (&["out", "a.b", url, "--stream", "S", "--subject", "s.{queue}"], "a.b"),
        (&["in", "a", url, "--stream", "S", "--wait-for", "9", "--slots", "8"], "--slots"),
        (&["in", "a", url, "--stream", "S", "--from", "noon"], "2026-11-22T12:00:00Z"),
        (&["in", "a", url, "--stream", "S", "--user", "anna"], "--password-file"),
        (
            &["in", "a", url, "--stream", "S", "--creds", "c", "--nkey", "n"],
            "leave one of them out",
        ),
        (&["in", "a", url, "--stream", "S", "--tls-cert", "c"], "--tls-key"),
        (&["out", "a", url, "--stream", "S", "--replicas", "6"], "1..=5"),
        (&["out", "a", url, "--stream", "S", "--max-age", "1e12"], "292 years"),
        (&["out", "a", url, "--stream", "S", "--group", ""], "--group"),
        (&["out", "a", url], "--stream"),
    ] {
        let said = misused(arguments);
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    for arguments in [
        &["out", "q", "nats://anna:s3cret@h", "--stream", "S"][..],
        &["in", "q", "nats://s3cret@h", "--stream", "S"],
        &["in", "q", "anna:s3cret@h", "--stream", "S"],
        &["in", "q", "nats://a,nats://anna:s3cret@b", "--stream", "S"],
        // The queue was forgotten.
        &["in", "nats://anna:s3cret@h", "q", "--stream", "S"],
        // Spaces instead of a comma: the address is one argument too many.
        &["out", "bids", "asks", "nats://anna:s3cret@h", "--stream", "S"],
        &["out", "bids", "asks", "anna:s3cret@h", "--stream", "S"],
        &["nats://anna:s3cret@h"],
        &["out", "q", "--stream", "nats://anna:s3cret@h", "h"],
        &["out", "q", "h", "--stream", "S", "--pack", "nats://anna:s3cret@h"],
        &["in", "q", "h", "--stream", "S", "--from", "anna:s3cret@h"],
        &["in", "q", "h", "--stream", "S", "--metrics", "nats://anna:s3cret@h"],
        &["in", "q", "h", "--stream", "S", "--nats://anna:s3cret@h"],
    ] {
        let said = misused(arguments);
        assert!(!said.contains("s3cret"), "{arguments:?}: {said}");
    }
    let said = misused(&["out", "q", "nats://anna:s3cret@h", "--stream", "S"]);
    for way in ["FANOUT_NATS_URL", "FANOUT_NATS_PASSWORD", "--password-file"] {
        assert!(said.contains(way), "{said}");
    }
}

#[test]
fn the_environment_logs_in_and_the_command_line_has_the_last_word() {
    let server = Server::start("authorization { user: anna, password: s3cret }");
    let queue = Unique::new("bridge-login");
    let (name, url) = (queue.bare(), server.url());
    let in_address = format!("nats://anna:s3cret@127.0.0.1:{}", server.port());
    let password = server.folder().join("password");
    std::fs::write(&password, "s3cret\n").unwrap();
    let password = password.to_str().unwrap();
    let begin = || bridge(&["out", name, "--stream", "S", "--no-wait"]);
    // With the right login, the queue is all that is missing.
    for command in [
        begin().env("FANOUT_NATS_URL", &in_address),
        begin().arg(&url).args(["--user", "anna"]).env("FANOUT_NATS_PASSWORD", "s3cret"),
        begin().arg(&url).env("FANOUT_NATS_USER", "anna").env("FANOUT_NATS_PASSWORD", "s3cret"),
        begin()
            .arg(&url)
            .args(["--user", "anna", "--password-file", password])
            .env("FANOUT_NATS_PASSWORD", "wr0ng"),
        begin()
            .arg(&url)
            .args(["--user", "anna", "--password-file", password])
            .env("FANOUT_NATS_CREDS", "/nothing"),
    ] {
        let said = failed(command.arg("--quiet"));
        assert!(said.contains(name) && !said.contains("s3cret"), "{said}");
    }
    for (command, part) in [
        (begin().arg(&url), "without a login"),
        (
            begin().arg(&url).args(["--user", "anna"]).env("FANOUT_NATS_PASSWORD", "wr0ng"),
            "as user anna",
        ),
        (begin().arg(&url).env("FANOUT_NATS_TOKEN", "wr0ng"), "with a token"),
        (
            begin().env("FANOUT_NATS_URL", &in_address).env("FANOUT_NATS_TOKEN", "wr0ng"),
            "leave one of them out",
        ),
        (begin().arg(&url).args(["--creds", "/nothing"]), "/nothing"),
        (begin().arg("nats://127.0.0.1:1"), "127.0.0.1:1"),
    ] {
        let said = failed(command.arg("--quiet"));
        assert!(said.contains(part), "{said}");
        assert!(!said.contains("s3cret") && !said.contains("wr0ng"), "{said}");
    }
}

#[test]
fn an_address_of_metrics_that_is_taken_ends_the_bridge_before_it_begins() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["out", "q", "nats://127.0.0.1:1", "--stream", "S", "--metrics", &address];
    let said = failed(&mut bridge(&arguments));
    assert!(said.contains(&address), "{said}");
}

#[test]
fn two_queues_go_through_one_stream_and_both_bridges_say_so() {
    let server = Server::start("");
    let queues = [Unique::new("bridge-a"), Unique::new("bridge-b")];
    let names = queues.each_ref().map(|name| name.bare().to_owned());
    let list = names.join(",");
    let mut writers = queues.each_ref().map(writer);
    let shared = [list.as_str(), &server.url(), "--stream", "BOTH", "--subject", "both.{queue}"];
    let mut out = Process::start(bridge(&[&["out"], &shared[..]].concat()).stderr(Stdio::piped()));
    for (number, writer) in writers.iter_mut().enumerate() {
        for message in 0..10 {
            writer.send(format!("{number} {message}").as_bytes()).unwrap();
        }
        writer.close();
    }
    assert!(out.wait().success());
    let report = said(out);
    for name in &names {
        for event in ["connected to nats://127.0.0.1", "done, 10 messages carried"] {
            assert!(report.contains(&format!("{name}: {event}")), "{report}");
        }
    }
    drop((writers, queues));

    // They are gone, as on another host.
    let names =
        [Unique::given(&format!("/{}", names[0])), Unique::given(&format!("/{}", names[1]))];
    let arguments = [&["in"], &shared[..], &["--quiet"]].concat();
    let mut into = Process::start(bridge(&arguments).stderr(Stdio::piped()));
    for (number, name) in names.iter().enumerate() {
        let options = JoinOptions::new().wait_for_queue(testing::DEADLINE);
        let mut reader: Reader = Reader::join_with(name.as_str(), Start::Oldest, &options).unwrap();
        for message in 0..10 {
            let found = reader.recv().unwrap().to_vec();
            assert_eq!(String::from_utf8(found).unwrap(), format!("{number} {message}"));
        }
        assert!(reader.recv().is_err());
    }
    assert!(into.wait().success());
    assert_eq!(said(into), "");
}

#[test]
fn a_producer_that_gives_up_is_told_by_exit_code_3() {
    let server = Server::start("");
    let queue = Unique::new("bridge-abort");
    let mut writer = writer(&queue);
    let arguments = ["out", queue.bare(), &server.url(), "--stream", "S", "--quiet"];
    let mut out = Process::start(bridge(&arguments).stderr(Stdio::piped()));
    writer.send(b"all that there was").unwrap();
    writer.abort("the disk\nis full");
    assert_eq!(out.wait().code(), Some(3));
    let said = said(out);
    assert!(
        said.starts_with("error: ") && said.contains("is full") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn a_signal_stops_the_bridge() {
    let server = Server::start("");
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let queue = Unique::new("bridge-signal");
        let arguments = ["out", queue.bare(), &server.url(), "--stream", "S"];
        let mut out = Process::start(bridge(&arguments).stderr(Stdio::piped()));
        let mut stderr = BufReader::new(out.0.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.contains("connected to"), "{line}");
        out.signal(signal);
        assert_eq!(out.wait().code(), Some(code));
        let rest = std::io::read_to_string(stderr).unwrap();
        assert!(rest.contains("stopped, 0 messages carried"), "{rest}");
    }
}

#[test]
fn a_second_signal_kills_at_once() {
    let server = Server::start("");
    let queue = Unique::new("bridge-signals");
    let arguments = ["out", queue.bare(), &server.url(), "--stream", "S"];
    // Two threads may catch one signal each at the same moment. Then both were the first.
    for _ in 0..20 {
        let mut out = Process::start(bridge(&arguments).stderr(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(out.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
        // It gets both before it can do anything about the first one.
        for signal in [Signal::SIGSTOP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGCONT] {
            out.signal(signal);
        }
        let status = out.wait();
        if matches!(status.signal(), Some(2 | 15)) {
            return;
        }
        assert!(matches!(status.code(), Some(130 | 143)), "{status}");
    }
    panic!("no second signal has killed it");
}

#[test]
fn an_error_of_one_queue_stops_the_others() {
    let server = Server::start("");
    let (good, missing) = (Unique::new("bridge-good"), Unique::new("bridge-missing"));
    let _writer = writer(&good);
    let list = format!("{},{}", good.bare(), missing.bare());
    let arguments = [
        "out",
        &list,
        &server.url(),
        "--stream",
        "S",
        "--subject",
        "s.{queue}",
        "--no-wait",
        "--quiet",
    ];
    let said = failed(&mut bridge(&arguments));
    assert!(said.contains(missing.bare()), "{said}");
}

fn figures(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    std::io::read_to_string(stream).unwrap()
}

#[test]
fn a_lost_server_is_told_and_found_again() {
    let mut server = Server::start("");
    let queue = Unique::new("bridge-lost");
    let mut writer = writer(&queue);
    let arguments = ["out", queue.bare(), &server.url(), "--stream", "S", "--metrics", "0"];
    let mut out = Process::start(bridge(&arguments).stderr(Stdio::piped()));
    let mut stderr = BufReader::new(out.0.stderr.take().unwrap());
    let mut first = String::new();
    stderr.read_line(&mut first).unwrap();
    let address = first.trim().strip_prefix("figures at http://").unwrap();
    let address = address.strip_suffix("/metrics").unwrap();
    let until = |figure: &str, value: u32| {
        let (name, value) = (format!("fanout_bridge_{figure}{{"), format!("}} {value}"));
        eventually(figure, || {
            let figures = figures(address);
            figures.lines().any(|line| line.starts_with(&name) && line.ends_with(&value))
        });
    };
    writer.send(b"before").unwrap();
    until("messages_total", 1);
    server.kill();
    until("connected", 0);
    writer.send(b"after").unwrap();
    server.restart("");
    until("messages_total", 2);
    until("reconnects_total", 1);
    writer.close();
    assert!(out.wait().success());
    let report = std::io::read_to_string(stderr).unwrap();
    for event in ["connected to", "lost the server", "connected again", "done, 2 messages"] {
        assert!(report.contains(event), "{event}: {report}");
    }
}

/// What a program says, while it says it.
struct Heard {
    text: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
}

impl Heard {
    fn from(mut end: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let writer = Arc::clone(&text);
        let reading = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // Once the program has gone, reading from its terminal fails.
            while let Ok(read @ 1..) = end.read(&mut piece) {
                writer.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..read]));
            }
        });
        Self { text, reading }
    }

    fn of(process: &mut Process) -> Self {
        Self::from(process.0.stderr.take().unwrap())
    }

    #[track_caller]
    fn until(&self, text: &str) {
        eventually(text, || self.text.lock().unwrap().contains(text));
    }

    /// Everything, when the program has ended.
    fn all(self) -> String {
        self.reading.join().unwrap();
        std::mem::take(&mut self.text.lock().unwrap())
    }
}

/// A log has no line that is rewritten: it gets one every ten seconds, if there is something new.
#[test]
fn a_log_gets_a_line_now_and_then() {
    let server = Server::start("");
    let queue = Unique::new("bridge-log");
    let mut writer = writer(&queue);
    let arguments = ["out", queue.bare(), &server.url(), "--stream", "S"];
    let mut out = Process::start(bridge(&arguments).stderr(Stdio::piped()));
    let heard = Heard::of(&mut out);
    writer.send(b"a message").unwrap();
    heard.until(" -> S: 1 message (");
    for _ in 0..2 {
        writer.send(b"another message").unwrap();
    }
    heard.until(" -> S: 3 messages (");
    writer.close();
    assert!(out.wait().success());
    let all = heard.all();
    assert_eq!(all.matches(" -> S: ").count(), 2, "{all}");
    assert!(all.contains("no lag") && !all.contains('\r'), "{all}");
}

/// Each queue takes several descriptors. A shell allows fewer than the system does, and the program asks for all.
#[test]
fn many_queues_need_no_limit_that_a_user_raises() {
    let server = Server::start("");
    let queues: Vec<_> = (0..40).map(|queue| Unique::new(&format!("many-{queue}"))).collect();
    let mut writers: Vec<_> = queues.iter().map(writer).collect();
    let names: Vec<_> = queues.iter().map(|queue| queue.bare()).collect();
    let mut command = Command::new("bash");
    command.args([
        "-c",
        "ulimit -Sn 64 && exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_fanout-bridge"),
    ]);
    command.args(["out", &names.join(","), &server.url(), "--stream", "S"]);
    command.args(["--subject", "s.{queue}"]);
    let mut out = Process::start(command.stderr(Stdio::piped()));
    let look = Duration::from_millis(100);
    for writer in &mut writers {
        while writer.send_timeout(b"one", look).is_err() && out.is_running() {}
        writer.close();
        while writer.drain(look).is_err() && out.is_running() {}
    }
    assert!(out.wait().success(), "{}", said(out));
}

/// A bridge whose queue is full says so, and says when there is room again.
#[test]
fn a_full_queue_is_told() {
    let server = Server::start("");
    let (here, there) = (Unique::new("bridge-full"), Unique::new("bridge-full-b"));
    let mut writer = writer(&here);
    let url = server.url();
    let mut out = Process::start(&mut bridge(&["out", here.bare(), &url, "--stream", "S", "-q"]));
    let small = ["in", there.bare(), &url, "--stream", "S", "--capacity", "4096"];
    let mut into = Process::start(bridge(&small).stderr(Stdio::piped()));
    let heard = Heard::of(&mut into);
    writer.send(&[0; 1000]).unwrap();
    let options = JoinOptions::new().wait_for_queue(testing::DEADLINE);
    let mut reader: Reader = Reader::join_with(there.as_str(), Start::Oldest, &options).unwrap();
    for number in 1..20 {
        writer.send(&[number; 1000]).unwrap();
    }
    heard.until(&format!("the queue {} is full: waiting for its consumers", there.bare()));
    for number in 0..20 {
        assert_eq!(reader.recv().unwrap()[..], [number; 1000]);
    }
    heard.until(&format!("the queue {} has room again", there.bare()));
    writer.close();
    assert!(reader.recv().is_err());
    drop(reader);
    assert!(out.wait().success() && into.wait().success());
    let all = heard.all();
    assert!(all.ends_with("done, 20 messages carried\n"), "{all}");
}

/// A terminal of the test's own: its end, and the program's.
fn terminal() -> (OwnedFd, OwnedFd) {
    let pair = nix::pty::openpty(None, None).unwrap();
    // Closed on exec: a child with a copy of our end would keep the terminal open.
    for end in [&pair.master, &pair.slave] {
        let flags = nix::fcntl::FdFlag::FD_CLOEXEC;
        nix::fcntl::fcntl(end, nix::fcntl::FcntlArg::F_SETFD(flags)).unwrap();
    }
    (pair.master, pair.slave)
}

#[test]
fn a_terminal_sees_one_line_that_is_rewritten() {
    let server = Server::start("");
    let queue = Unique::new("bridge-terminal");
    let mut writer = writer(&queue);
    let (master, slave) = terminal();
    let arguments = ["out", queue.bare(), &server.url(), "--stream", "S"];
    let mut out = Process::start(bridge(&arguments).stderr(slave));
    writer.send(b"a message").unwrap();
    let shown = Heard::from(std::fs::File::from(master));
    shown.until(" -> S: 1 message (");
    writer.close();
    assert!(out.wait().success());
    let shown = shown.all();
    assert!(shown.contains("\r\u{1b}[K"), "{shown:?}");
    assert!(shown.ends_with("done, 1 message carried\r\n"), "{shown:?}");
}
