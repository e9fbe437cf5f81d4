//! The command at its edges: refusals, signals, reports, exit codes.

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use support::{GAVE_UP, consumers, fanout, listening, report};
use testing::{Process, Unique, eventually, run};

/// Objects under a queue's name that are no queues.
fn strangers() -> Vec<(&'static str, Vec<u8>, Option<u64>)> {
    let noise: Vec<u8> =
        (0..8192u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 | 1).collect();
    vec![
        ("empty", Vec::new(), None),
        ("zeros", vec![0; 8192], None),
        ("noise", noise, None),
        ("text", b"This is a shopping list, not a queue.\n".to_vec(), None),
        ("sparse", Vec::new(), Some(1 << 40)),
    ]
}

#[test]
fn what_is_no_queue_is_refused_by_all_and_left_as_it_was() {
    let threads = strangers().into_iter().map(|stranger| std::thread::spawn(|| refused(stranger)));
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
    let name = Unique::new("folder");
    std::fs::create_dir(name.path()).unwrap();
    refused_by_all(&name, "folder");
    assert!(name.path().is_dir());

    let name = Unique::new("fifo");
    nix::unistd::mkfifo(&name.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused_by_all(&name, "fifo");
    assert!(name.path().metadata().unwrap().file_type().is_fifo());
}

fn refused((what, bytes, size): (&'static str, Vec<u8>, Option<u64>)) {
    let name = Unique::new(what);
    let file = std::fs::File::create(name.path()).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    if let Some(size) = size {
        file.set_len(size).unwrap();
    }
    refused_by_all(&name, what);
    assert_eq!(file.metadata().unwrap().len(), size.unwrap_or(bytes.len() as u64), "{what}");
    if size.is_none() {
        assert_eq!(std::fs::read(name.path()).unwrap(), bytes, "{what}");
    }
}

#[test]
fn a_queue_that_was_cut_off_is_refused_by_all() {
    let (whole, cut) = (Unique::new("whole"), Unique::new("cut"));
    let mut publisher = Process::start(fanout(&["pub", whole.bare()]).stdin(Stdio::piped()));
    eventually("a queue", || run(&mut fanout(&["stat", whole.bare()])).status.success());
    let bytes = std::fs::read(whole.path()).unwrap();
    for len in [100, 4096, bytes.len() - 4096] {
        std::fs::write(cut.path(), &bytes[..len]).unwrap();
        refused_by_all(&cut, "cut off");
        assert_eq!(std::fs::read(cut.path()).unwrap(), bytes[..len]);
    }
    publisher.signal(Signal::SIGTERM);
    publisher.wait();
}

fn refused_by_all(name: &Unique, what: &str) {
    let name = name.bare();
    let commands: [&[&str]; 6] = [
        &["pub", name],
        &["sub", name],
        &["sub", name, "--tap"],
        &["sub", name, "--group", "g", "--no-wait"],
        &["stat", name],
        &["rm", name],
    ];
    for command in commands {
        let output = run(&mut fanout(command));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{what}: {command:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{what}: {command:?}: {said}");
        assert!(said.starts_with("error: "), "{what}: {command:?}: {said}");
        assert!(output.stdout.is_empty(), "{what}: {command:?}");
    }
}

/// Each signal that asks the command to stop, and its exit code.
const SIGNALS: [(Signal, i32); 4] =
    [(Signal::SIGHUP, 129), (Signal::SIGINT, 130), (Signal::SIGQUIT, 131), (Signal::SIGTERM, 143)];

#[test]
fn signals_leave_nothing_behind() {
    for (signal, code) in SIGNALS {
        // Two waits: for a subscriber, and for a line. The next test is about waiting for room.
        let name = Unique::new("signal-alone");
        let mut publisher = Process::start(listening(&["pub", name.bare()]).stdin(Stdio::piped()));
        eventually("a queue", || name.exists());
        publisher.signal(signal);
        assert_eq!(publisher.wait().code(), Some(code));
        assert!(!name.exists());

        let name = Unique::new("signal-idle");
        let mut publisher = Process::start(listening(&["pub", name.bare()]).stdin(Stdio::piped()));
        let mut sub = Process::start(&mut listening(&["sub", name.bare()]));
        eventually("a subscriber", || consumers(&name) == 1);
        publisher.signal(signal);
        assert_eq!(publisher.wait().code(), Some(code));
        assert!(!name.exists());
        // A publisher that is stopped properly tells its consumers that it gave up.
        assert_eq!(sub.wait().code(), Some(GAVE_UP));

        let name = Unique::new("signal-sub");
        let mut publisher = Process::start(listening(&["pub", name.bare()]).stdin(Stdio::piped()));
        let mut sub = Process::start(&mut listening(&["sub", name.bare()]));
        eventually("a subscriber", || consumers(&name) == 1);
        sub.signal(signal);
        assert_eq!(sub.wait().code(), Some(code));
        eventually("its slot to be free", || consumers(&name) == 0);
        publisher.signal(signal);
        publisher.wait();
    }
}

#[test]
fn a_consumer_under_nohup_outlives_the_terminal() {
    let name = Unique::new("nohup");
    let mut publisher = Process::start(fanout(&["pub", name.bare()]).stdin(Stdio::piped()));
    let mut command = std::process::Command::new("env");
    command.args(["--ignore-signal=HUP", env!("CARGO_BIN_EXE_fanout"), "sub", name.bare()]);
    let mut sub = Process::start(command.stdin(Stdio::null()));
    eventually("a subscriber", || consumers(&name) == 1);
    sub.signal(Signal::SIGHUP);
    // Long enough to look at signals, several times.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(sub.0.try_wait().unwrap(), None);
    drop(publisher.0.stdin.take());
    assert!(sub.wait().success());
    assert!(publisher.wait().success());
}

#[test]
fn help_names_the_exit_code_of_each_signal() {
    let help = String::from_utf8(run(&mut fanout(&["--help"])).stdout).unwrap();
    let (_, codes) = help.split_once("Exit codes:").unwrap();
    for (signal, code) in SIGNALS {
        let line = codes.lines().find(|line| line.trim().starts_with(&code.to_string()));
        assert!(line.is_some_and(|line| line.contains(signal.as_str())), "{signal}: {codes}");
    }
    let line = codes.lines().find(|line| line.trim().starts_with(&GAVE_UP.to_string()));
    assert!(line.is_some_and(|line| line.contains("gave up")), "{codes}");
}

#[test]
fn a_publisher_that_waits_for_room_can_be_interrupted() {
    let name = Unique::new("blocked");
    // The subscriber's output is not read, so the subscriber stops in a write, and the ring fills
    // up behind it.
    let mut sub = Process::start(fanout(&["sub", name.bare()]).stdout(Stdio::piped()));
    let folder = testing::Folder::new();
    let input = folder.join("in");
    let line = "some words on a line\n";
    std::fs::write(&input, line.repeat(200_000)).unwrap();
    let arguments = ["pub", name.bare(), "--capacity", "4096", "--file", input.to_str().unwrap()];
    let mut publisher = Process::start(&mut fanout(&arguments));
    let report = || report(&name);
    // A full ring blocks the publisher only if it stays full.
    let needed = fanout::records::record_len(line.len() - 1) as u64;
    eventually("a ring that stays without room for a line", || {
        let before = report();
        let lag = before["consumers"][0]["lag"].as_u64().unwrap_or(0);
        std::thread::sleep(std::time::Duration::from_millis(100));
        lag + needed > 4096 && before["gating_slot"] == 0 && before == report()
    });
    // It waits in slices, and between two of them a look sees no wait.
    eventually("a producer that says what it waits for", || {
        let report = report();
        assert_eq!(report["consumers"][0]["gates"], true, "{report}");
        report["waits_for"] == needed
            && report["full"] == true
            && report["consumers"][0]["blocks"] == true
    });
    eventually("a producer that is shown to wait", || {
        let shown = String::from_utf8(run(&mut fanout(&["stat", name.bare()])).stdout).unwrap();
        let producer = format!("pid {} as it says, alive, waits for {needed} B", publisher.0.id());
        shown.contains(", full")
            && shown.contains(&producer)
            && shown.contains("<- blocks the producer")
    });
    publisher.signal(Signal::SIGINT);
    assert_eq!(publisher.wait().code(), Some(130));
    assert!(!name.exists());
    // The subscriber's output is not read, but it still has to react to signals.
    sub.signal(Signal::SIGTERM);
    assert_eq!(sub.wait().code(), Some(143));
}

#[test]
fn a_second_publisher_is_refused_and_the_first_goes_on() {
    let name = Unique::new("second");
    let mut first = Process::start(fanout(&["pub", name.bare()]).stdin(Stdio::piped()));
    eventually("a queue", || name.exists());
    let second = run(&mut fanout(&["pub", name.bare()]));
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8(second.stderr).unwrap().contains("taken"));
    assert!(name.exists());

    let listed = String::from_utf8(run(&mut fanout(&["ls"])).stdout).unwrap();
    let line = listed.lines().find(|line| line.contains(name.bare())).unwrap();
    assert!(line.contains("records") && line.contains("1,048,576 B"), "{line}");

    first.signal(Signal::SIGKILL);
    first.wait();
    assert!(name.exists(), "a killed publisher cannot clean up");
    assert!(run(&mut fanout(&["rm", name.bare()])).status.success());
    assert!(!name.exists());
}

#[test]
fn a_queue_that_is_not_there_is_named_in_one_line() {
    let name = Unique::new("nowhere");
    for command in
        [&["sub", name.bare(), "--no-wait"][..], &["stat", name.bare()], &["rm", name.bare()]]
    {
        let output = run(&mut fanout(command));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(name.bare()) && said.lines().count() == 1, "{said}");
    }
    assert_eq!(run(&mut fanout(&["sub", "a/b"])).status.code(), Some(2));
    for input in ["/", "/nowhere"] {
        let output = run(&mut fanout(&["pub", name.bare(), "--file", input]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(input) && said.lines().count() == 1, "{said}");
    }
    let more_than_slots = ["pub", name.bare(), "--wait-for", "65"];
    assert_eq!(run(&mut fanout(&more_than_slots)).status.code(), Some(2));
    for size in ["0", "-1", "1X", "99999999999999999999"] {
        for option in ["--capacity", "--chunk"] {
            let output = run(&mut fanout(&["pub", name.bare(), option, size]));
            assert_eq!(output.status.code(), Some(2), "{option} {size}: {output:?}");
        }
    }
    for size in ["9000000000G", "17179869183G"] {
        let output = run(&mut fanout(&["pub", name.bare(), "--capacity", size]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{size}: {said}");
        assert!(said.contains("capacity") && said.lines().count() == 1, "{size}: {said}");
    }
    assert!(!name.exists());
}

#[test]
fn the_demo_proves_what_arrived() {
    let output = run(&mut fanout(&["demo", "--seconds", "0.5", "--json"]));
    assert!(output.status.success(), "{output:?}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let sent = summary["sent"].as_u64().unwrap();
    assert!(sent > 0);
    let consumers = summary["consumers"].as_array().unwrap();
    assert_eq!(consumers.len(), 3);
    for consumer in consumers {
        let count = |key: &str| consumer[key].as_u64().unwrap();
        assert_eq!(count("received") + count("lost"), sent);
        assert_eq!(consumer["proved"], true);
        if consumer["kind"] == "broadcast" {
            assert_eq!(count("lost"), 0);
            assert_eq!(consumer["checksum"], summary["checksum"]);
        }
    }
}

#[test]
fn an_interrupted_demo_leaves_no_process_and_no_queue() {
    for (signal, code) in SIGNALS {
        let mut demo =
            Process::start(listening(&["demo", "--seconds", "60"]).stdout(Stdio::null()));
        let name = Unique::given(&format!("fanout-demo-{}", demo.0.id()));
        eventually("two registered consumers", || consumers(&name) == 2);
        let peers = pids(&name);
        demo.signal(signal);
        assert_eq!(demo.wait().code(), Some(code));
        assert!(!name.exists());
        eventually("its consumers to be gone", || {
            peers.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
        });
    }
}

#[test]
fn a_demo_whose_consumer_dies_says_so_and_cleans_up() {
    let mut demo = Process::start(
        fanout(&["demo", "--seconds", "60"]).stdout(Stdio::null()).stderr(Stdio::piped()),
    );
    let name = Unique::given(&format!("fanout-demo-{}", demo.0.id()));
    eventually("two registered consumers", || consumers(&name) == 2);
    let victim = nix::unistd::Pid::from_raw(pids(&name)[0] as i32);
    nix::sys::signal::kill(victim, Signal::SIGKILL).unwrap();
    assert_eq!(demo.wait().code(), Some(1));
    let said = std::io::read_to_string(demo.0.stderr.take().unwrap()).unwrap();
    assert!(said.starts_with("error: ") && said.lines().count() == 1, "{said}");
    assert!(!name.exists());
}

fn pids(name: &Unique) -> Vec<u64> {
    let output = run(&mut fanout(&["stat", name.bare(), "--json"]));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let consumers = report["consumers"].as_array().unwrap();
    consumers.iter().map(|consumer| consumer["pid"].as_u64().unwrap()).collect()
}

#[test]
fn stat_watches_until_the_producer_closes() {
    let name = Unique::new("watched");
    let mut publisher = Process::start(fanout(&["pub", name.bare()]).stdin(Stdio::piped()));
    let mut watch = support::start_when(&name, &["stat", name.bare(), "--watch", "--json"]);
    let mut reports = BufReader::new(watch.0.stdout.take().unwrap()).lines();
    let mut next = || -> Option<serde_json::Value> {
        Some(serde_json::from_str(&reports.next()?.unwrap()).unwrap())
    };
    assert_eq!(next().unwrap()["closed"], false);
    publisher.signal(Signal::SIGTERM);
    publisher.wait();
    let last = std::iter::from_fn(&mut next).last().unwrap();
    assert_eq!(last["closed"], true);
    assert_eq!(
        (&last["ending"], &last["reason"]),
        (&"aborted".into(), &"interrupted by SIGTERM".into())
    );
    assert!(watch.wait().success());
}

#[test]
fn ls_shows_logs_and_skips_what_is_no_queue() {
    let (log, text) = (Unique::new("log"), Unique::new("text"));
    let path = fanout::QueueName::new(log.bare()).unwrap();
    let _log = fanout::segment::LogWriter::<u64>::create(&path, 10).unwrap();
    std::fs::write(text.path(), "no queue").unwrap();
    let listed = String::from_utf8(run(&mut fanout(&["ls"])).stdout).unwrap();
    let line = listed.lines().find(|line| line.contains(log.bare())).unwrap();
    assert_eq!(line.split_whitespace().nth(1), Some("log"), "{line}");
    assert!(!listed.contains(text.bare()), "{listed}");
    // A log is no ring: there is nothing to subscribe to.
    for command in [&["sub", log.bare()][..], &["stat", log.bare()]] {
        let output = run(&mut fanout(command));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
    }
}

#[test]
fn a_ring_of_other_messages_is_shown_but_not_printed() {
    let name = Unique::new("numbers");
    let mut producer = fanout::Producer::<u64>::create(name.bare(), 16).unwrap();
    producer.send(1).unwrap();
    let output = run(&mut fanout(&["stat", name.bare(), "--json"]));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["kind"], &report["sent"]), (&"ring".into(), &1.into()), "{report}");
    assert_eq!(report["capacity"], 16);
    for more in [&[][..], &["--tap"], &["--group", "g"]] {
        let output = run(fanout(&["sub", name.bare()]).args(more));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("ring") && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn records_are_counted_in_bytes() {
    let name = Unique::new("bytes");
    let mut writer = fanout::records::Writer::create(name.bare(), 4096).unwrap();
    let _reader = fanout::records::Reader::join(name.bare(), fanout::Start::Oldest).unwrap();
    let identity = format!("{:016x}", writer.identity());
    writer.send(b"ten bytes.").unwrap();
    let taken = fanout::records::record_len(10);
    let output = run(&mut fanout(&["stat", name.bare(), "--json"]));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["kind"], "records");
    assert_eq!(report["identity"], identity.as_str());
    assert_eq!((&report["sent"], &report["published"]), (&taken.into(), &taken.to_string().into()));
    assert_eq!((&report["consumers"][0]["lag"], &report["full"]), (&taken.into(), &false.into()));
    let shown = String::from_utf8(run(&mut fanout(&["stat", name.bare()])).stdout).unwrap();
    let room = format!("<- gates: room for {} B", yardstick::report::grouped(4096 - taken as u64));
    assert!(
        shown.contains("messages  of any size, of type bytes, capacity 4,096 B, ")
            && shown.contains(&format!("identity  {identity}\n"))
            && shown.contains(&room),
        "{shown}"
    );
    let listed = String::from_utf8(run(&mut fanout(&["ls"])).stdout).unwrap();
    let line = listed.lines().find(|line| line.contains(name.bare())).unwrap();
    let words: Vec<&str> = line.split_whitespace().skip(1).take(6).collect();
    assert_eq!(words, ["records", "any", "4,096", "B", &taken.to_string(), "B"], "{line}");

    // An empty message takes the last eight bytes, and then there is no more room.
    let rest = writer.largest().min(4096 - taken - 8);
    writer.send(&vec![0; rest]).unwrap();
    while writer.try_send(b"").is_ok() {}
    let shown = String::from_utf8(run(&mut fanout(&["stat", name.bare()])).stdout).unwrap();
    assert!(shown.contains("full") && shown.contains("<- blocks the producer"), "{shown}");
}

/// Every number in it must be exact in a program that reads numbers as `f64`.
fn assert_numbers_are_exact(json: &serde_json::Value) {
    match json {
        serde_json::Value::Number(number) => {
            let exact = number.as_u64().is_none_or(|number| number <= 1 << 53);
            assert!(exact, "{number} is above 2^53");
        }
        serde_json::Value::Array(items) => items.iter().for_each(assert_numbers_are_exact),
        serde_json::Value::Object(items) => items.values().for_each(assert_numbers_are_exact),
        _ => {}
    }
}

#[test]
fn the_demo_prints_checksums_as_hex_digits() {
    let output = run(&mut fanout(&["demo", "--seconds", "0.2", "--json"]));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_numbers_are_exact(&summary);
    for object in summary["consumers"].as_array().unwrap().iter().chain([&summary]) {
        let checksum = object["checksum"].as_str().unwrap();
        assert!(checksum.len() == 16 && u64::from_str_radix(checksum, 16).is_ok(), "{checksum}");
    }
}

#[test]
fn pub_gives_the_queue_the_permissions_asked_for() {
    use std::os::unix::fs::PermissionsExt;
    for (more, mode) in
        [(&[][..], 0o600), (&["--mode", "640"], 0o640), (&["--mode", "0666"], 0o666)]
    {
        let name = Unique::new("mode");
        let mut publisher =
            Process::start(fanout(&["pub", name.bare()]).args(more).stdin(Stdio::piped()));
        eventually("a queue", || run(&mut fanout(&["stat", name.bare()])).status.success());
        assert_eq!(name.path().metadata().unwrap().permissions().mode() & 0o7777, mode);
        publisher.signal(Signal::SIGTERM);
        publisher.wait();
    }
    let name = Unique::new("no-mode");
    for mode in ["", "rw", "680", "1600", "060", "-600"] {
        let refused = run(&mut fanout(&["pub", name.bare(), "--mode", mode]));
        assert_eq!(refused.status.code(), Some(2), "{mode}: {refused:?}");
    }
    assert!(!name.exists());
}

#[test]
fn stat_shows_the_label_that_a_subscriber_gives_itself() {
    let name = Unique::new("label");
    let mut publisher = Process::start(fanout(&["pub", name.bare()]).stdin(Stdio::piped()));
    let mut subs =
        [&[][..], &["--label", "prices, \u{1b}[31mred"], &["--label", "work", "--group", "g"]].map(
            |more| Process::start(fanout(&["sub", name.bare()]).args(more).stdout(Stdio::null())),
        );
    eventually("three subscribers", || consumers(&name) == 3);
    let report = report(&name);
    let consumers = report["consumers"].as_array().unwrap();
    let mut labels: Vec<_> = consumers.iter().map(|row| row["label"].as_str().unwrap()).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["fanout sub", "prices, \u{1b}[31mred", "work"]);
    let shown = String::from_utf8(run(&mut fanout(&["stat", name.bare()])).stdout).unwrap();
    assert!(shown.contains("work") && !shown.contains('\u{1b}'), "{shown}");
    publisher.signal(Signal::SIGTERM);
    publisher.wait();
    for sub in &mut subs {
        assert_eq!(sub.wait().code(), Some(GAVE_UP));
    }
    let long = "l".repeat(33);
    for more in [&["--label", "mine", "--tap"][..], &["--label", &long]] {
        let refused = run(fanout(&["sub", name.bare(), "--no-wait"]).args(more));
        assert_eq!(refused.status.code(), Some(2), "{more:?}: {refused:?}");
    }
}

/// At its limit of descriptors it cannot look into each queue: it says so.
#[test]
fn ls_says_which_queue_it_could_not_look_at() {
    let name = Unique::new("unseen");
    let _writer = fanout::records::Writer::create(name.bare(), 4096).unwrap();
    let ls = |limit: u32| {
        let mut command = Command::new("prlimit");
        let limit = format!("--nofile={limit}");
        run(command.args([&limit, env!("CARGO_BIN_EXE_fanout"), "ls"]))
    };
    let mut limited = (0..64).map(ls).skip_while(|output| output.stdout.is_empty());
    // The first that has read the names has no descriptor left for a queue, or one too few.
    let output = limited.next().unwrap();
    let (shown, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!shown.contains(name.bare()), "{shown}");
    let line = said.lines().find(|line| line.contains(name.bare()));
    assert!(line.is_some_and(|line| line.starts_with("error: ")), "{said}");
    assert_eq!(output.status.code(), Some(1));
    assert!(limited.any(|output| String::from_utf8_lossy(&output.stdout).contains(name.bare())));
}

#[test]
fn ls_prints_json() {
    let (name, log, text) =
        (Unique::new("json"), Unique::new("json-log"), Unique::new("json-text"));
    let mut writer = fanout::records::Writer::create(name.bare(), 4096).unwrap();
    let _reader = fanout::records::Reader::join(name.bare(), fanout::Start::Oldest).unwrap();
    writer.send(b"ten bytes.").unwrap();
    let path = fanout::QueueName::new(log.bare()).unwrap();
    let _log = fanout::segment::LogWriter::<u64>::create(&path, 10).unwrap();
    std::fs::write(text.path(), "no queue").unwrap();
    let listed = run(&mut fanout(&["ls", "--json"]));
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let find = |name: &Unique| {
        let called = format!("/{}", name.bare());
        listed.as_array().unwrap().iter().find(|queue| queue["name"] == called.as_str())
    };
    let (queue, log) = (find(&name).unwrap(), find(&log).unwrap());
    assert_eq!((&queue["kind"], &queue["capacity"]), (&"records".into(), &4096.into()), "{queue}");
    assert_eq!(queue["sent"], fanout::records::record_len(10), "{queue}");
    assert_eq!((&queue["consumers"], &queue["closed"]), (&1.into(), &false.into()), "{queue}");
    assert_eq!((&log["kind"], &log["message_size"]), (&"log".into(), &8.into()), "{log}");
    assert!(log["sent"].is_null() && log["consumers"].is_null(), "{log}");
    assert_eq!(find(&text), None);
}
