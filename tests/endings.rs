//! The command when one side has ended or died: what the other side is told, and what the operator can
//! do.

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fanout::records::{Member, Reader, Writer, record_len};
use fanout::{JoinOptions, Producer, QueueOptions, Start, Unattended};
use nix::sys::signal::Signal;
use support::terminal::Terminal;
use support::{GAVE_UP, consumers, fanout, listening, report, type_into};
use testing::{Folder, Process, Unique, eventually, promptly, run};

/// A publisher whose stdin the test holds.
fn publish(name: &Unique, more: &[&str]) -> Process {
    let mut command = listening(&["pub", name.bare()]);
    Process::start(command.args(more).stdin(Stdio::piped()).stderr(Stdio::piped()))
}

/// What a process that has ended printed on stderr.
fn said(process: &mut Process) -> String {
    std::io::read_to_string(process.0.stderr.take().unwrap()).unwrap()
}

fn shown(arguments: &[&str]) -> String {
    let output = run(&mut fanout(arguments));
    String::from_utf8(if output.status.success() { output.stdout } else { output.stderr }).unwrap()
}

fn subscribe(name: &Unique, more: &[&str], output: &Path) -> Process {
    let mut command = fanout(&["sub", name.bare()]);
    support::start_into(command.args(more).stderr(Stdio::piped()), output)
}

fn lines(output: &Path) -> String {
    std::fs::read_to_string(output).unwrap()
}

#[test]
fn a_publisher_that_is_interrupted_does_not_look_like_one_that_is_done() {
    for more in [&[][..], &["--group", "g"], &["--tap"]] {
        let (name, folder) = (Unique::new("gave-up"), Folder::new());
        let output = folder.join("out");
        let mut publisher = publish(&name, &["--wait-for", "0"]);
        type_into(&mut publisher, "one\ntwo\n");
        eventually("two lines", || report(&name)["sent"].as_u64() > Some(0));
        let mut sub = subscribe(&name, more, &output);
        eventually("what came", || lines(&output) == "one\ntwo\n");
        publisher.signal(Signal::SIGINT);
        assert_eq!(publisher.wait().code(), Some(130));
        assert_eq!(sub.wait().code(), Some(GAVE_UP), "{more:?}");
        assert_eq!(lines(&output), "one\ntwo\n", "{more:?}");
        let told = said(&mut sub);
        let why =
            "error: the producer gave up before it had sent everything: interrupted by SIGINT";
        assert_eq!(told.lines().last(), Some(why), "{more:?}");
        let expected = if more == ["--tap"] { 2 } else { 1 };
        assert_eq!(told.lines().count(), expected, "{told}");
    }
}

#[test]
fn what_a_subscriber_is_told_begins_with_the_publisher_s_own_error() {
    let (name, folder) = (Unique::new("why"), Folder::new());
    let output = folder.join("out");
    let mut sub = subscribe(&name, &[], &output);
    let mut publisher = publish(&name, &["--capacity", "4096"]);
    type_into(&mut publisher, &format!("short\n{}\n", "x".repeat(5000)));
    assert_eq!(publisher.wait().code(), Some(1));
    let own = said(&mut publisher);
    assert_eq!(sub.wait().code(), Some(GAVE_UP));
    assert_eq!(lines(&output), "short\n");
    let told = said(&mut sub);
    let reason =
        told.trim_end().rsplit_once("everything: ").unwrap().1.trim_end_matches('\u{2026}');
    assert!(own.starts_with(&format!("error: {reason}")) && reason.len() > 20, "{own}{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn a_reason_that_another_program_gives_cannot_write_on_our_terminal() {
    let (name, folder) = (Unique::new("escape"), Folder::new());
    let mut writer = Writer::create(name.bare(), 4096).unwrap();
    let mut sub = subscribe(&name, &[], &folder.join("out"));
    eventually("a subscriber", || consumers(&name) == 1);
    writer.abort("\u{1b}[2J no\nmore");
    assert_eq!(sub.wait().code(), Some(GAVE_UP));
    assert!(said(&mut sub).contains("everything: \\u{1b}[2J no\\nmore"));
    let shown = shown(&["stat", name.bare()]);
    assert!(shown.contains(", aborted: \\u{1b}[2J no\\nmore"), "{shown}");
    let report = report(&name);
    assert_eq!((&report["ending"], &report["closed"]), (&"aborted".into(), &true.into()));
    assert_eq!(report["reason"], "\u{1b}[2J no\nmore");
}

#[test]
fn a_publisher_that_has_sent_everything_has_not_given_up() {
    let name = Unique::new("done");
    let mut publisher = publish(&name, &[]);
    eventually("a queue", || run(&mut fanout(&["stat", name.bare()])).status.success());
    let mut reader = Reader::join(name.bare(), Start::Oldest).unwrap();
    type_into(&mut publisher, "all\n");
    drop(publisher.0.stdin.take());
    eventually("the end", || report(&name)["ending"] == "finished");
    assert!(shown(&["stat", name.bare()]).contains(", closed: everything is sent"));
    // The publisher only waits until everything is read.
    publisher.signal(Signal::SIGINT);
    assert_eq!(publisher.wait().code(), Some(130));
    assert_eq!(&*reader.recv().unwrap(), b"all");
    assert_eq!(reader.recv().map(drop), Err(fanout::error::RecvError::Closed));
}

#[test]
fn a_queue_that_somebody_holds_is_not_removed_unless_by_force() {
    let name = Unique::new("rm");
    let mut publisher = publish(&name, &[]);
    eventually("a queue", || run(&mut fanout(&["stat", name.bare()])).status.success());
    let refused = |who: &str| {
        let output = run(&mut fanout(&["rm", name.bare()]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{who}: {said}");
        assert!(
            said.contains(who) && said.contains("--force") && said.lines().count() == 1,
            "{said}"
        );
        assert!(name.exists(), "{who}");
    };
    refused("its producer");
    let reader = Reader::join(name.bare(), Start::Oldest).unwrap();
    publisher.signal(Signal::SIGKILL);
    publisher.wait();
    refused("a consumer or a tap");
    drop(reader);
    let tap = fanout::records::Tap::open(name.bare(), Start::Oldest).unwrap();
    refused("a consumer or a tap");
    drop(tap);
    assert!(run(&mut fanout(&["rm", name.bare()])).status.success());
    assert!(!name.exists());

    let _writer = Writer::create(name.bare(), 4096).unwrap();
    refused("its producer");
    assert!(run(&mut fanout(&["rm", "--force", name.bare()])).status.success());
    assert!(!name.exists());
}

#[test]
fn stat_shows_whether_the_producer_lives() {
    let name = Unique::new("dead");
    let mut publisher = publish(&name, &[]);
    eventually("a queue", || run(&mut fanout(&["stat", name.bare()])).status.success());
    let pid = publisher.0.id();
    assert_eq!(report(&name)["producer"], serde_json::json!({"pid": pid, "lives": true}));
    assert!(
        shown(&["stat", name.bare()]).contains(&format!("producer  pid {pid} as it says, alive\n"))
    );
    publisher.signal(Signal::SIGKILL);
    publisher.wait();
    let report = report(&name);
    assert_eq!(report["producer"], serde_json::json!({"pid": pid, "lives": false}));
    assert_eq!(report["ending"], "open");
    let shown = shown(&["stat", name.bare()]);
    assert!(
        shown.contains(&format!("producer  pid {pid} as it said, dead: its process is gone")),
        "{shown}"
    );
}

#[test]
fn stat_names_each_consumer_that_is_in_the_producer_s_way() {
    let name = Unique::new("way");
    let mut writer = Writer::create(name.bare(), 4096).unwrap();
    let slow = Reader::join(name.bare(), Start::Oldest).unwrap();
    let mut quick = Reader::join(name.bare(), Start::Oldest).unwrap();
    writer.send(&[0; 3000]).unwrap();
    drop(quick.recv().unwrap());
    let before = report(&name);
    assert_eq!((&before["full"], &before["waits_for"]), (&false.into(), &0.into()), "{before}");
    // There is room, but not that much.
    let waiting = std::thread::spawn(move || writer.send(&[0; 2000]).map(|()| writer));
    eventually("a producer that waits", || report(&name)["waits_for"] == record_len(2000));
    let report = report(&name);
    assert_eq!(report["full"], true, "{report}");
    let blocks = |slot: usize| report["consumers"][slot]["blocks"].as_bool().unwrap();
    assert_eq!((blocks(slow.slot()), blocks(quick.slot())), (true, false), "{report}");
    let shown = shown(&["stat", name.bare()]);
    assert_eq!(shown.matches("<- blocks the producer").count(), 1, "{shown}");
    assert!(shown.contains(", full") && shown.contains("alive, waits for 2,008 B"), "{shown}");
    drop(slow);
    promptly("room", || waiting.join().unwrap().unwrap());
}

#[test]
fn stat_shows_a_producer_that_waits_for_a_consumer() {
    let name = Unique::new("unattended");
    let options = QueueOptions::new(4096).when_nobody_listens(Unattended::Wait);
    let mut writer = Writer::create_with(name.bare(), &options).unwrap();
    let waiting = std::thread::spawn(move || writer.send(b"a").map(|()| writer));
    eventually("a producer that waits", || report(&name)["waits_for"] == record_len(1));
    assert_eq!(report(&name)["full"], false);
    let shown = shown(&["stat", name.bare()]);
    assert!(shown.contains(", open") && shown.contains("alive, waits for a consumer"), "{shown}");
    let _reader = Reader::join(name.bare(), Start::Oldest).unwrap();
    promptly("a consumer", || waiting.join().unwrap().unwrap());
}

#[test]
fn sequences_are_strings_in_json_and_exact() {
    let name = Unique::new("far");
    let first = u64::MAX - 100;
    let options = QueueOptions::new(16).first(first);
    let mut producer = Producer::<u64>::create_with(name.bare(), &options).unwrap();
    producer.send(1).unwrap();
    let report = report(&name);
    assert_eq!(report["first"], first.to_string(), "{report}");
    assert_eq!(report["published"], (first + 1).to_string(), "{report}");
    assert!(report["reserved"].as_str().unwrap().parse::<u64>().is_ok(), "{report}");
    assert_eq!(report["sent"], 1, "{report}");
}

#[test]
fn a_subscriber_that_is_evicted_alive_says_so() {
    let (name, folder) = (Unique::new("evicted"), Folder::new());
    let _writer = Writer::create(name.bare(), 4096).unwrap();
    let mut sub = subscribe(&name, &[], &folder.join("out"));
    eventually("a subscriber", || consumers(&name) == 1);
    assert!(run(&mut fanout(&["evict", name.bare(), "0", "--force", "--yes"])).status.success());
    assert_eq!(sub.wait().code(), Some(1));
    let told = said(&mut sub);
    assert!(told.contains("evicted") && told.lines().count() == 1, "{told}");
}

#[test]
fn evict_asks_on_a_terminal() {
    let name = Unique::new("asks");
    let _writer = Writer::create(name.bare(), 4096).unwrap();
    let _reader = Reader::join(name.bare(), Start::Oldest).unwrap();
    for (answer, code, left) in [("\n", 1, 1), ("no\n", 1, 1), ("\x03", 130, 1), ("y\n", 0, 0)] {
        let mut terminal = Terminal::open();
        let mut evict = terminal.fanout(&["evict", name.bare(), "0", "--force"]);
        terminal.until_says("Evict it? [y/N]");
        terminal.type_in(answer);
        assert_eq!(evict.wait().code(), Some(code), "{answer:?}: {}", terminal.said());
        assert_eq!(consumers(&name), left, "{answer:?}");
    }
}

#[test]
fn a_worker_that_is_restarted_goes_on_where_it_stopped() {
    let (name, folder) = (Unique::new("restart"), Folder::new());
    let mut publisher = publish(&name, &[]);
    type_into(&mut publisher, "1\n2\n3\n4\n5\n");
    let worker = |file: &str, more: &[&str]| {
        subscribe(&name, &[&["--group", "work"], more].concat(), &folder.join(file))
    };
    assert!(worker("first", &["--count", "2"]).wait().success());
    assert_eq!(lines(&folder.join("first")), "1\n2\n");
    let shown = shown(&["stat", name.bare()]);
    let row = shown.lines().find(|line| line.starts_with("work ")).unwrap();
    assert!(row.contains("kept until the producer overwrites it"), "{shown}");
    let group = &report(&name)["groups"][0];
    assert_eq!((&group["name"], &group["members"]), (&"work".into(), &0.into()), "{group}");
    assert_eq!((&group["holds"], &group["blocks"]), (&false.into(), &false.into()), "{group}");

    // A signal stops the second worker, as a service manager would.
    let mut second = worker("second", &[]);
    eventually("the rest", || lines(&folder.join("second")) == "3\n4\n5\n");
    second.signal(Signal::SIGTERM);
    second.wait();
    type_into(&mut publisher, "6\n7\n");
    let mut third = worker("third", &[]);
    eventually("what came meanwhile", || lines(&folder.join("third")) == "6\n7\n");
    drop(publisher.0.stdin.take());
    assert!(publisher.wait().success());
    assert!(third.wait().success());
}

#[test]
fn a_group_that_holds_is_waited_for_and_one_that_does_not_is_not() {
    let (name, folder) = (Unique::new("hold"), Folder::new());
    let input = folder.join("in");
    std::fs::write(&input, (0..5000).map(|n| format!("{n}\n")).collect::<String>()).unwrap();
    let input = input.to_str().unwrap();
    let arguments = ["pub", name.bare(), "--capacity", "4096", "--file", input];
    let worker = |file: &str, more: &[&str]| {
        subscribe(&name, &[&["--group", "work"], more].concat(), &folder.join(file))
    };
    let mut terminal = Terminal::open();
    let mut publisher = terminal.fanout(&arguments);
    assert!(worker("first", &["--hold", "--count", "1"]).wait().success());
    // No consumer is attached, and the publisher waits.
    eventually("a producer that waits", || report(&name)["groups"][0]["blocks"] == true);
    terminal.until_says(" bytes for the group \"work\": waiting for a member");
    eventually("a group that is shown to block", || {
        shown(&["stat", name.bare()]).contains("held  <- blocks the producer")
    });
    let mut second = worker("second", &[]);
    assert!(publisher.wait().success());
    assert!(second.wait().success());
    let both = lines(&folder.join("first")) + &lines(&folder.join("second"));
    assert_eq!(both, std::fs::read_to_string(input).unwrap());

    let mut publisher = Process::start(&mut fanout(&arguments));
    assert!(worker("first", &["--count", "1"]).wait().success());
    assert!(publisher.wait().success());
    assert_eq!(run(&mut fanout(&["sub", name.bare(), "--hold"])).status.code(), Some(2));
}

#[test]
fn a_group_that_holds_the_end_is_waited_for_when_everything_is_read() {
    let (name, folder) = (Unique::new("hold-end"), Folder::new());
    let input = folder.join("in");
    std::fs::write(&input, "the only line\n").unwrap();
    let mut terminal = Terminal::open();
    let mut publisher = terminal.fanout(&["pub", name.bare(), "--file", input.to_str().unwrap()]);
    let bridge = || {
        let options = JoinOptions::new().hold_end(true).wait_for_queue(Duration::from_secs(20));
        Member::join_with(name.bare(), "bridge", Start::Oldest, &options).unwrap()
    };
    let mut first = bridge();
    assert_eq!(&*first.recv().unwrap(), b"the only line");
    drop(first);
    terminal.until_says("waiting for a member of the group \"bridge\" to pass the end on");
    let second = bridge();
    eventually("the queue has ended", || report(&name)["closed"] == true);
    assert!(publisher.0.try_wait().unwrap().is_none(), "it waits");
    second.acknowledge_end();
    assert!(publisher.wait().success());
}

/// Fills a queue of 4,096 bytes, and gives its publisher a line more than there is room for. A reader lets the
/// publisher begin, calls `then`, and is gone when the queue is full.
fn fill(name: &Unique, publisher: &mut Process, then: impl FnOnce()) {
    let reader = Reader::join(name.bare(), Start::Oldest).unwrap();
    then();
    type_into(publisher, &"x".repeat(4000));
    type_into(publisher, "\n");
    eventually("a full queue", || report(name)["sent"].as_u64() > Some(4000));
    drop(reader);
    type_into(publisher, &"y".repeat(4000));
    type_into(publisher, "\n");
}

#[test]
fn a_script_is_warned_of_a_group_whose_members_stay_away() {
    let name = Unique::new("away");
    let options = JoinOptions::new().hold_when_empty(true);
    let mut publisher = publish(&name, &["--capacity", "4096"]);
    eventually("a queue", || run(&mut fanout(&["stat", name.bare()])).status.success());
    drop(Member::join_with(name.bare(), "it's", Start::Oldest, &options).unwrap());
    // A reader that has come and left between two looks of the publisher is not enough to begin.
    fill(&name, &mut publisher, || ());
    let mut warnings = BufReader::new(publisher.0.stderr.take().unwrap());
    let line = promptly("a warning", move || {
        let mut line = String::new();
        warnings.read_line(&mut line).unwrap();
        line
    });
    let holds = format!("warning: /{} holds 4,008 bytes for the group \"it\\'s\"", name.bare());
    assert!(line.starts_with(&holds), "{line}");
    let command = format!("`fanout sub /{} --group 'it'\\''s'`\n", name.bare());
    assert!(line.ends_with(&command), "{line}");
    publisher.signal(Signal::SIGTERM);
    assert_eq!(publisher.wait().code(), Some(143));
}

#[test]
fn a_group_whose_place_is_overwritten_is_shown() {
    let name = Unique::new("overwritten");
    let mut writer = Writer::create(name.bare(), 4096).unwrap();
    drop(Member::join(name.bare(), "late", Start::Oldest).unwrap());
    for _ in 0..3 {
        writer.send(&[0; 3000]).unwrap();
    }
    let group = &report(&name)["groups"][0];
    assert_eq!((&group["overwritten"], &group["blocks"]), (&true.into(), &false.into()), "{group}");
    let shown = shown(&["stat", name.bare()]);
    let row = shown.lines().find(|line| line.starts_with("late ")).unwrap();
    assert!(row.ends_with("overwritten"), "{shown}");
    let options = JoinOptions::new().hold_when_empty(true);
    drop(Member::join_with(name.bare(), "late", Start::Latest, &options).unwrap());
    assert_eq!(report(&name)["groups"][0]["holds"], true);
}

#[test]
fn a_group_that_holds_is_forgotten_and_the_publisher_goes_on() {
    let name = Unique::new("forget");
    let mut publisher = publish(&name, &["--capacity", "4096"]);
    eventually("a queue", || run(&mut fanout(&["stat", name.bare()])).status.success());
    let options = JoinOptions::new().hold_when_empty(true);
    let member = Member::join_with(name.bare(), "gone", Start::Oldest, &options).unwrap();
    let refused = |group: &str, why: &str| {
        let output = run(&mut fanout(&["forget", name.bare(), group]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(why), "{said}");
    };
    refused("other", "knows no group \"other\"");
    refused("gone", "has a member: nothing was forgotten");
    fill(&name, &mut publisher, || drop(member));
    eventually("a publisher that waits", || report(&name)["groups"][0]["blocks"] == true);
    assert_eq!(
        shown(&["forget", name.bare(), "gone"]),
        format!("forgot the group \"gone\" of /{}\n", name.bare())
    );
    eventually("a publisher that goes on", || report(&name)["sent"].as_u64() > Some(8000));
    assert_eq!(report(&name)["groups"].as_array().unwrap().len(), 0);
    publisher.signal(Signal::SIGTERM);
    assert_eq!(publisher.wait().code(), Some(143));
}

#[test]
fn when_nobody_listens_a_publisher_does_what_it_was_told() {
    // Without a consumer, messages are overwritten.
    let name = Unique::new("void");
    let mut publisher = publish(&name, &["--wait-for", "0", "--capacity", "4096"]);
    let many = "some words on a line\n".repeat(1000);
    type_into(&mut publisher, &many);
    drop(publisher.0.stdin.take());
    assert!(publisher.wait().success());

    // It refuses, also after the last consumer has left.
    let refuse = ["--when-nobody-listens", "refuse"];
    let mut publisher = publish(&name, &[&refuse[..], &["--wait-for", "0"]].concat());
    type_into(&mut publisher, "one\n");
    assert_eq!(publisher.wait().code(), Some(1));
    let told = said(&mut publisher);
    assert!(told.contains("refuse") && told.contains("sent before that: 0 messages"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    let (folder, mut publisher) = (Folder::new(), publish(&name, &refuse));
    let mut sub = subscribe(&name, &["--count", "1"], &folder.join("out"));
    type_into(&mut publisher, "one\n");
    assert!(sub.wait().success());
    eventually("a slot that is free", || consumers(&name) == 0);
    type_into(&mut publisher, "two\n");
    assert_eq!(publisher.wait().code(), Some(1));
    assert!(said(&mut publisher).contains("sent before that: 1 message\n"));

    // Waits, and says so on a terminal.
    let mut terminal = Terminal::open();
    let wait = ["pub", name.bare(), "--wait-for", "0", "--when-nobody-listens", "wait"];
    let mut publisher = terminal.fanout(&wait);
    terminal.type_in("one\ntwo\n\x04");
    terminal.until_says(&format!("nobody listens to /{}: waiting for a consumer", name.bare()));
    let mut sub = subscribe(&name, &[], &folder.join("out"));
    assert!(publisher.wait().success());
    assert!(sub.wait().success());
    assert_eq!(lines(&folder.join("out")), "one\ntwo\n");
}

/// A subscriber that is started first waits for its queue, and Ctrl-C still ends it.
#[test]
fn a_subscriber_that_waits_for_its_queue_can_be_interrupted() {
    for more in [&[][..], &["--group", "g"], &["--tap"]] {
        let (name, folder) = (Unique::new("early"), Folder::new());
        let mut early = subscribe(&name, more, &folder.join("early"));
        let mut stopped =
            Process::start(listening(&["sub", name.bare()]).args(more).stdout(Stdio::null()));
        std::thread::sleep(std::time::Duration::from_millis(300));
        stopped.signal(Signal::SIGINT);
        assert_eq!(stopped.wait().code(), Some(130), "{more:?}");
        let mut writer = Writer::create(name.bare(), 4096).unwrap();
        writer.send(b"come").unwrap();
        eventually("the message", || lines(&folder.join("early")) == "come");
        writer.close();
        assert!(early.wait().success(), "{more:?}");
    }
}
