//! The command at a terminal: what it says while it waits, and what it leaves when the terminal is
//! closed.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use fanout::Start;
use fanout::records::Reader;
use nix::sys::signal::Signal;
use support::terminal::Terminal;
use support::{GAVE_UP, consumers, fanout};
use testing::{Folder, Process, Unique, eventually, run};

/// After this time, a wait that speaks again would have done so.
const LONG: Duration = Duration::from_millis(1500);

#[test]
fn a_terminal_that_is_closed_ends_a_publisher_in_order() {
    // It waits for a consumer.
    let (name, terminal) = (Unique::new("closed-alone"), Terminal::open());
    let mut publisher = terminal.fanout(&["pub", name.bare()]);
    eventually("a queue", || run(&mut fanout(&["stat", name.bare()])).status.success());
    drop(terminal);
    assert_eq!(publisher.wait().code(), Some(129));
    assert!(!name.exists());

    // It waits for a line.
    let (name, mut terminal) = (Unique::new("closed-typing"), Terminal::open());
    let folder = Folder::new();
    let mut publisher = terminal.fanout(&["pub", name.bare()]);
    let mut sub = support::start_into(&mut fanout(&["sub", name.bare()]), &folder.join("out"));
    eventually("a subscriber", || consumers(&name) == 1);
    terminal.type_in("one line\n");
    eventually("a line", || std::fs::read(folder.join("out")).unwrap() == b"one line\n");
    drop(terminal);
    assert_eq!(publisher.wait().code(), Some(129));
    assert!(!name.exists());
    assert_eq!(sub.wait().code(), Some(GAVE_UP));
}

#[test]
fn a_terminal_that_is_closed_ends_a_subscriber_in_order() {
    let absent = Unique::new("closed-absent");
    let mut terminal = Terminal::open();
    let mut sub = terminal.fanout(&["sub", absent.bare()]);
    terminal.until_says("waiting for a producer");
    drop(terminal);
    assert_eq!(sub.wait().code(), Some(129));

    let name = Unique::new("closed-sub");
    let mut publisher = Process::start(fanout(&["pub", name.bare()]).stdin(Stdio::piped()));
    eventually("a queue", || run(&mut fanout(&["stat", name.bare()])).status.success());
    for more in [&[][..], &["--group", "g"], &["--tap"]] {
        let mut terminal = Terminal::open();
        let mut sub = terminal.fanout(&[&["sub", name.bare()], more].concat());
        terminal.until_says("waiting for a message");
        drop(terminal);
        assert_eq!(sub.wait().code(), Some(129), "{more:?}");
        assert_eq!(consumers(&name), 0, "{more:?}");
    }
    let mut terminal = Terminal::open();
    let mut stat = terminal.fanout(&["stat", name.bare(), "--watch"]);
    terminal.until_says(name.bare());
    drop(terminal);
    assert_eq!(stat.wait().code(), Some(129));
    publisher.signal(Signal::SIGTERM);
    publisher.wait();
}

#[test]
fn a_terminal_that_is_closed_is_noticed_without_its_signal() {
    let (name, mut at_pub) = (Unique::new("closed-deaf"), Terminal::open());
    let mut publisher = at_pub.deaf(&["pub", name.bare()]);
    eventually("a queue", || run(&mut fanout(&["stat", name.bare()])).status.success());
    let (mut at_sub, mut at_stat) = (Terminal::open(), Terminal::open());
    let mut sub = at_sub.deaf(&["sub", name.bare()]);
    let mut stat = at_stat.deaf(&["stat", name.bare(), "--watch"]);
    at_pub.until_says("reading from this terminal");
    at_sub.until_says("waiting for a message");
    at_stat.until_says(name.bare());
    drop((at_sub, at_stat));
    for process in [&mut sub, &mut stat] {
        assert_eq!(process.wait().code(), Some(129));
    }
    assert_eq!(consumers(&name), 0);
    // Half a line is not the end of the input.
    at_pub.type_in("half a li");
    drop(at_pub);
    assert_eq!(publisher.wait().code(), Some(129));
    assert!(!name.exists());
}

/// The kernel tells only the shell. The programs that it started have to notice by themselves, or
/// to be told.
#[test]
fn a_terminal_that_is_closed_under_a_shell_leaves_nothing_behind() {
    let (name, program) = (Unique::new("closed-shell"), env!("CARGO_BIN_EXE_fanout"));
    let (at_pub, at_sub) = (Terminal::open(), Terminal::open());
    let script = |what: &str| format!("{program} {what} {}; echo ended", name.bare());
    let mut publisher = at_pub.start("sh", &["-c", &script("pub --wait-for 2")]);
    let mut sub = at_sub.start("sh", &["-c", &script("sub")]);
    eventually("a subscriber", || consumers(&name) == 1);
    drop(at_sub);
    eventually("its slot to be free", || consumers(&name) == 0);
    assert!(name.exists());
    drop(at_pub);
    eventually("the queue to be gone", || !name.exists());
    publisher.wait();
    sub.wait();
}

/// After a long wait, each of these lines stands once on the terminal.
fn says_once(terminal: &mut Terminal, expected: &[&str]) {
    for line in expected {
        terminal.until_says(line);
    }
    thread::sleep(LONG);
    let said = terminal.said().to_owned();
    assert_eq!(said.lines().count(), expected.len(), "{said}");
    for line in expected {
        assert_eq!(said.matches(line).count(), 1, "{said}");
    }
}

#[test]
fn a_subscriber_says_on_a_terminal_what_it_waits_for() {
    let (name, mut terminal) = (Unique::new("notice-sub"), Terminal::open());
    let mut sub = terminal.fanout(&["sub", name.bare()]);
    let absent = format!("no queue /{} yet: waiting for a producer", name.bare());
    says_once(&mut terminal, &[&absent]);
    let mut publisher = Process::start(fanout(&["pub", name.bare()]).stdin(Stdio::piped()));
    let attached = format!("attached to /{}: waiting for a message", name.bare());
    says_once(&mut terminal, &[&absent, &attached]);
    drop(publisher.0.stdin.take());
    assert!(sub.wait().success());
    assert!(publisher.wait().success());
}

#[test]
fn a_publisher_says_on_a_terminal_what_it_waits_for() {
    let (name, mut terminal) = (Unique::new("notice-pub"), Terminal::open());
    let mut publisher = terminal.fanout(&["pub", name.bare()]);
    let lonely = format!("waiting for a consumer of /{0}, such as `fanout sub /{0}`", name.bare());
    says_once(&mut terminal, &[&lonely]);
    let mut reader = Reader::join(name.bare(), Start::Oldest).unwrap();
    let typing = "reading from this terminal: type what is to be sent; Ctrl-D ends it";
    says_once(&mut terminal, &[&lonely, typing]);
    terminal.type_in("a line\n\x04");
    let last = format!(
        "everything is sent: waiting for consumer 0 (label \"\", pid {} as it says) \
                        to read the last ",
        std::process::id()
    );
    // The line is echoed, too.
    says_once(&mut terminal, &[&lonely, typing, "a line", &last]);
    assert_eq!(&*reader.recv().unwrap(), b"a line");
    drop(reader);
    assert!(publisher.wait().success());

    let (name, mut terminal) = (Unique::new("notice-three"), Terminal::open());
    let mut publisher = terminal.fanout(&["pub", name.bare(), "--wait-for", "3"]);
    let three = format!("waiting for 3 consumers of /{}: 0 are attached", name.bare());
    says_once(&mut terminal, &[&three]);
    publisher.signal(Signal::SIGINT);
    assert_eq!(publisher.wait().code(), Some(130));
}

#[test]
fn a_publisher_says_that_nobody_writes_into_its_fifo() {
    let (name, folder, mut terminal) =
        (Unique::new("notice-fifo"), Folder::new(), Terminal::open());
    let fifo = folder.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let fifo = fifo.to_str().unwrap();
    let mut publisher = terminal.fanout(&["pub", name.bare(), "--wait-for", "0", "--file", fifo]);
    let silent = format!("waiting for a writer: nothing has come from {fifo} yet");
    says_once(&mut terminal, &[&silent]);
    publisher.signal(Signal::SIGINT);
    assert_eq!(publisher.wait().code(), Some(130));
}

/// More lines than fit into the queue of [`held`], and fewer.
const MANY: usize = 1000;
const FEW: usize = 100;

/// A publisher of so many lines, with a reader in this test as its only consumer.
fn held(
    name: &Unique,
    folder: &Folder,
    lines: usize,
    start: impl FnOnce(&[&str]) -> Process,
) -> (Process, Reader) {
    let input = folder.join("in");
    std::fs::write(&input, "some words on a line\n".repeat(lines)).unwrap();
    let input = input.to_str().unwrap();
    let publisher = start(&["pub", name.bare(), "--capacity", "4096", "--file", input]);
    eventually("a queue", || run(&mut fanout(&["stat", name.bare()])).status.success());
    let options = fanout::JoinOptions::new().label("slow \x1b[1m");
    let reader = Reader::join_with(name.bare(), Start::Oldest, &options).unwrap();
    (publisher, reader)
}

/// Reads to the end.
fn drain(mut reader: Reader) {
    while reader.recv().is_ok() {}
}

#[test]
fn a_publisher_that_is_held_back_says_by_whom_and_what_one_can_do() {
    let (name, folder, mut terminal) = (Unique::new("held"), Folder::new(), Terminal::open());
    let (mut publisher, reader) =
        held(&name, &folder, MANY, |arguments| terminal.fanout(arguments));
    let who =
        format!("consumer 0 (label \"slow \\u{{1b}}[1m\", pid {} as it says)", std::process::id());
    let full = format!("the queue /{} is full: waiting for {who}, ", name.bare());
    terminal.until_says(&full);
    // A dead one would hold back nobody.
    terminal.until_says(&format!("warning: {who} has held back "));
    terminal
        .until_says(&format!("without moving, and is alive: see `fanout stat /{}`", name.bare()));
    terminal.until_says(&format!("`fanout evict /{} 0 --force` goes on without it", name.bare()));
    says_once(&mut terminal, &[&full, "warning: "]);
    drain(reader);
    assert!(publisher.wait().success());
}

#[test]
fn scripts_hear_warnings_only_and_only_of_a_consumer_that_stands_still() {
    let waiting = Unique::new("script-alone");
    let piped = |arguments: &[&str]| {
        Process::start(fanout(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()))
    };
    let absent = Unique::new("script-absent");
    let silent = [&["pub", waiting.bare()][..], &["sub", absent.bare()]].map(piped);
    let (still, still_folder) = (Unique::new("script-still"), Folder::new());
    let (moving, moving_folder) = (Unique::new("script-moving"), Folder::new());
    let (mut at_still, reader) = held(&still, &still_folder, MANY, piped);
    // Everything is sent, and a single wait lasts until everything is read.
    let (mut at_moving, mut slow) = held(&moving, &moving_folder, FEW, piped);
    let mut warning = BufReader::new(at_still.0.stderr.take().unwrap());
    let warned = thread::spawn(move || {
        let mut line = String::new();
        warning.read_line(&mut line).unwrap();
        (line, warning)
    });
    // One message now and then, until the other publisher has warned.
    eventually("a warning", || {
        thread::sleep(Duration::from_millis(300));
        drop(slow.recv().unwrap());
        warned.is_finished()
    });
    let (said, rest) = warned.join().unwrap();
    assert!(said.starts_with("warning: consumer 0 "), "{said}");
    drain(reader);
    drain(slow);
    assert!(at_still.wait().success());
    assert!(at_moving.wait().success());
    assert_eq!(std::io::read_to_string(rest).unwrap(), "");
    let said = std::io::read_to_string(at_moving.0.stderr.take().unwrap()).unwrap();
    assert_eq!(said, "");
    for mut process in silent {
        process.signal(Signal::SIGTERM);
        assert_eq!(process.wait().code(), Some(143));
        assert_eq!(std::io::read_to_string(process.0.stderr.take().unwrap()).unwrap(), "");
    }
}
