//! Files through `pub` and `sub`: what comes out is what went in.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use support::{Folder, Name, Process, consumers, fanout, run, until};

/// Over ten megabytes of lines of 0 to 1,024 bytes of every value but the newline; the last has none.
fn big_file(path: &Path) {
    let mut bytes = Vec::with_capacity(11 << 20);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut number = 0u32;
    while bytes.len() < 10 << 20 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let len = (state >> 33) as usize % 1025;
        let line = format!("{number} ");
        bytes.extend_from_slice(&line.as_bytes()[..line.len().min(len)]);
        let rest = len.saturating_sub(line.len());
        bytes.extend(
            (0..rest).map(|i| (state >> (i % 57)) as u8).map(|b| if b == b'\n' { 0 } else { b }),
        );
        bytes.push(b'\n');
        number += 1;
    }
    bytes.extend_from_slice(b"the end, without a newline");
    std::fs::write(path, bytes).unwrap();
}

fn sorted_lines(files: &[&Path]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).unwrap();
        lines.extend(bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec));
    }
    lines.sort();
    lines
}

#[test]
fn a_big_file_comes_out_of_three_subscribers_and_is_shared_by_a_group() {
    let (name, folder) = (Name::new("big"), Folder::new());
    let input = folder.file("in");
    big_file(&input);
    let sub = |arguments: &[&str], file: &str| {
        let mut command = fanout(&["sub", &name.0]);
        Process::into_file(command.args(arguments).stderr(Stdio::null()), &folder.file(file))
    };

    // Two before the publisher, the others after it; it holds the first message until six are there.
    let mut before = [sub(&[], "a"), sub(&["--group", "g"], "g1")];
    let mut publisher = Process::start(
        fanout(&["pub", &format!("/{}", name.0), "--wait-for", "5"])
            .stdin(std::fs::File::open(&input).unwrap()),
    );
    until("two subscribers attached", || consumers(&name) == 2);
    let mut after = [
        sub(&["--tap"], "tap"),
        sub(&[], "b"),
        sub(&["--group", "g"], "g2"),
        sub(&["--from", "latest"], "c"),
    ];
    assert!(publisher.wait().success());
    for process in before.iter_mut().chain(&mut after) {
        assert!(process.wait().success());
    }

    let whole = std::fs::read(&input).unwrap();
    for copy in ["a", "b", "c"] {
        assert!(std::fs::read(folder.file(copy)).unwrap() == whole, "copy {copy} differs");
    }
    let shares = [folder.file("g1"), folder.file("g2")];
    // The line without a newline, in the middle of neither share, would join its neighbour.
    let shared = sorted_lines(&[&shares[0], &shares[1]]);
    assert!(shared == sorted_lines(&[&input]), "the group did not share the lines exactly");
    assert!(!name.exists(), "the queue is still there");
}

#[test]
fn odd_files_come_out_as_they_went_in() {
    let folder = Folder::new();
    let files: [(&str, &[u8]); 5] = [
        ("empty", b""),
        ("newlines", b"\n\n\n"),
        ("windows", b"a\r\nb\r\n"),
        ("binary", b"\0\xff\xfe\n\0"),
        ("no-newline", b"one line"),
    ];
    for (what, bytes) in files {
        let name = Name::new(what);
        let (input, output) = (folder.file("in"), folder.file("out"));
        std::fs::write(&input, bytes).unwrap();
        let mut sub = Process::into_file(&mut fanout(&["sub", &name.0]), &output);
        let published = run(&mut fanout(&["pub", &name.0, "--file", input.to_str().unwrap()]));
        assert!(published.status.success(), "{what}: {published:?}");
        assert!(sub.wait().success());
        assert_eq!(std::fs::read(&output).unwrap(), bytes, "{what}");
    }
}

#[test]
fn a_typed_line_arrives_before_the_next_is_typed() {
    let name = Name::new("typed");
    let mut sub = Process::start(fanout(&["sub", &name.0]).stdout(Stdio::piped()));
    let mut publisher = Process::start(fanout(&["pub", &name.0]).stdin(Stdio::piped()));
    let mut keyboard = publisher.0.stdin.take().unwrap();
    let mut screen = BufReader::new(sub.0.stdout.take().unwrap());
    for word in ["first\n", "second\n", "third\n"] {
        keyboard.write_all(word.as_bytes()).unwrap();
        let mut line = String::new();
        screen.read_line(&mut line).unwrap();
        assert_eq!(line, word);
    }
    drop(keyboard);
    assert!(publisher.wait().success());
    assert!(sub.wait().success());
}

#[test]
fn count_takes_so_many_and_leaves_the_rest_to_the_group() {
    let (name, folder) = (Name::new("count"), Folder::new());
    let input = folder.file("in");
    let lines: String = (0..5000).map(|n| format!("{n}\n")).collect();
    std::fs::write(&input, &lines).unwrap();
    let (few, rest) = (folder.file("few"), folder.file("rest"));
    let group = |file: &Path, more: &[&str]| {
        Process::into_file(fanout(&["sub", &name.0, "--group", "g"]).args(more), file)
    };
    let (mut few_sub, mut rest_sub) = (group(&few, &["--count", "7"]), group(&rest, &[]));
    let arguments = ["pub", &name.0, "--wait-for", "2", "--file", input.to_str().unwrap()];
    assert!(run(&mut fanout(&arguments)).status.success());
    assert!(rest_sub.wait().success());
    // The other member may have had it all before this one looked.
    let _ = few_sub.wait();
    assert!(sorted_lines(&[&few]).len() <= 7);
    assert_eq!(sorted_lines(&[&few, &rest]), sorted_lines(&[&input]));

    let name = Name::new("count-broadcast");
    let output = folder.file("out");
    let mut sub = Process::into_file(&mut fanout(&["sub", &name.0, "--count", "3"]), &output);
    let arguments = ["pub", &name.0, "--file", input.to_str().unwrap()];
    assert!(run(&mut fanout(&arguments)).status.success());
    assert!(sub.wait().success());
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "0\n1\n2\n");
}

#[test]
fn a_reader_that_goes_away_ends_the_subscriber_quietly_and_frees_its_slot() {
    let (name, folder) = (Name::new("head"), Folder::new());
    let input = folder.file("in");
    std::fs::write(&input, "a line\n".repeat(100_000)).unwrap();
    let mut command = fanout(&["sub", &name.0]);
    let mut sub = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut screen = BufReader::new(sub.0.stdout.take().unwrap());
    let arguments = ["pub", &name.0, "--file", input.to_str().unwrap()];
    let mut publisher = Process::start(&mut fanout(&arguments));
    let mut line = String::new();
    screen.read_line(&mut line).unwrap();
    assert_eq!(line, "a line\n");
    drop(screen);
    assert!(sub.wait().success());
    let mut said = String::new();
    std::io::Read::read_to_string(&mut sub.0.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(said, "");
    // With nobody left to gate it, the publisher runs to its end.
    assert!(publisher.wait().success());
    assert!(!name.exists());
}

#[test]
fn a_reader_that_goes_away_is_noticed_on_a_quiet_queue() {
    let name = Name::new("quiet");
    let mut publisher = Process::start(fanout(&["pub", &name.0]).stdin(Stdio::piped()));
    for more in [&[][..], &["--group", "g"], &["--tap"]] {
        let mut command = fanout(&["sub", &name.0]);
        let mut sub = Process::start(command.args(more).stdout(Stdio::piped()));
        drop(sub.0.stdout.take());
        assert!(sub.wait().success(), "{more:?}");
        assert_eq!(consumers(&name), 0, "{more:?}");
    }
    publisher.signal(nix::sys::signal::Signal::SIGTERM);
    publisher.wait();
}

#[test]
fn latest_begins_with_the_next_line_and_oldest_with_what_is_there() {
    let name = Name::new("from");
    let mut publisher =
        Process::start(fanout(&["pub", &name.0, "--wait-for", "0"]).stdin(Stdio::piped()));
    let mut keyboard = publisher.0.stdin.take().unwrap();
    keyboard.write_all(b"before\n").unwrap();
    until("a line", || {
        let output = run(&mut fanout(&["stat", &name.0, "--json"]));
        let report = serde_json::from_slice::<serde_json::Value>(&output.stdout);
        report.is_ok_and(|report| report["published"] == 1)
    });
    let folder = Folder::new();
    let sub = |from: &str| {
        let mut command = fanout(&["sub", &name.0, "--from", from, "--no-wait"]);
        Process::into_file(&mut command, &folder.file(from))
    };
    let mut subs = [sub("oldest"), sub("latest")];
    until("two subscribers", || consumers(&name) == 2);
    keyboard.write_all(b"after\n").unwrap();
    drop(keyboard);
    assert!(publisher.wait().success());
    for sub in &mut subs {
        assert!(sub.wait().success());
    }
    assert_eq!(std::fs::read(folder.file("oldest")).unwrap(), b"before\nafter\n");
    assert_eq!(std::fs::read(folder.file("latest")).unwrap(), b"after\n");
}

#[test]
fn a_line_that_is_too_long_is_refused_and_the_queue_goes_away() {
    let (name, folder) = (Name::new("long"), Folder::new());
    let (input, output) = (folder.file("in"), folder.file("out"));
    std::fs::write(
        &input,
        format!("{}\n{}\n{}\n", "a".repeat(99), "b".repeat(100), "c".repeat(101)),
    )
    .unwrap();
    let mut sub = Process::into_file(&mut fanout(&["sub", &name.0]), &output);
    let arguments = ["pub", &name.0, "--max-size", "100", "--file", input.to_str().unwrap()];
    let refused = run(&mut fanout(&arguments));
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("line 3 has 101 bytes") && said.contains("--max-size"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(sub.wait().success());
    assert_eq!(std::fs::read(&output).unwrap().len(), 201);
    assert!(!name.exists());
}
