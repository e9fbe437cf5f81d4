//! Files through `pub` and `sub`: what comes out is what went in.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

use support::{GAVE_UP, consumers, fanout};
use testing::{DEADLINE, Folder, Process, Unique, eventually, promptly, run};

/// Over ten megabytes of lines of 0 to 1,024 bytes. The bytes have every value but the newline's, and
/// the last line has no newline.
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
    let (name, folder) = (Unique::new("big"), Folder::new());
    let input = folder.join("in");
    big_file(&input);
    let sub = |arguments: &[&str], file: &str| {
        let mut command = fanout(&["sub", name.bare()]);
        support::start_into(command.args(arguments).stderr(Stdio::null()), &folder.join(file))
    };

    // Two start before the publisher, the others after it. It holds the first message until all six
    // are there.
    let mut before = [sub(&[], "a"), sub(&["--group", "g"], "g1")];
    let mut publisher = Process::start(
        fanout(&["pub", &format!("/{}", name.bare()), "--wait-for", "5"])
            .stdin(std::fs::File::open(&input).unwrap()),
    );
    eventually("two subscribers attached", || consumers(&name) == 2);
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
        assert!(std::fs::read(folder.join(copy)).unwrap() == whole, "copy {copy} differs");
    }
    let shares = [folder.join("g1"), folder.join("g2")];
    // The last line has no newline. In the middle of a share it would join the line after it.
    let shared = sorted_lines(&[&shares[0], &shares[1]]);
    assert!(shared == sorted_lines(&[&input]), "the group did not share the lines exactly");
    assert!(!name.exists(), "the queue is still there");
}

type Screen = BufReader<ChildStdout>;

/// The next line on the screen, and the screen.
fn next_line(mut screen: Screen) -> (String, Screen) {
    promptly("a line", move || {
        let mut line = String::new();
        screen.read_line(&mut line).unwrap();
        (line, screen)
    })
}

/// Bytes of every value, the same for each run.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| byte()).collect()
}

/// Sends a file with these options, from stdin, to three subscribers. Each must get the same file.
fn three_copies(what: &str, bytes: &[u8], options: &[&str]) {
    let (name, folder) = (Unique::new("copies"), Folder::new());
    let input = folder.join("in");
    std::fs::write(&input, bytes).unwrap();
    let outputs = ["a", "b", "c"].map(|file| folder.join(file));
    let mut subs = outputs
        .each_ref()
        .map(|file| support::start_into(&mut fanout(&["sub", name.bare()]), file));
    let mut command = fanout(&["pub", name.bare(), "--wait-for", "3"]);
    command.args(options).stdin(std::fs::File::open(&input).unwrap());
    let published = run(&mut command);
    assert!(published.status.success(), "{what} {options:?}: {published:?}");
    for (sub, file) in subs.iter_mut().zip(&outputs) {
        assert!(sub.wait().success(), "{what} {options:?}");
        assert!(std::fs::read(file).unwrap() == bytes, "{what} {options:?}: the copy differs");
    }
    assert!(!name.exists(), "{what} {options:?}: the queue is still there");
}

#[test]
fn odd_files_come_out_as_they_went_in() {
    let files: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("newlines", b"\n\n\n"),
        ("windows", b"a\r\nb\r\n"),
        ("binary", b"\0\xff\xfe\n\0"),
        ("no newline", b"one line"),
        ("no newline behind an empty line", b"\n\nend"),
    ];
    for (what, bytes) in files {
        for options in [&[][..], &["--chunk", "1"], &["--chunk", "3"]] {
            three_copies(what, bytes, options);
        }
    }
}

#[test]
fn bytes_come_out_as_they_went_in_however_they_are_cut() {
    for len in [65_535, 65_536, 65_537] {
        three_copies("about a chunk", &noise(len), &["--chunk", "64K"]);
    }
    // Several times as much as the queue holds.
    let large = noise(5 << 20);
    three_copies("large", &large, &["--chunk", "65536"]);
    three_copies("large", &large, &["--chunk", "1000", "--capacity", "16K"]);
    // Lines of noise, cut where a newline happens to be.
    three_copies("large", &large, &[]);
    three_copies("large", &large, &["--capacity", "8K"]);
    three_copies("small chunks", &noise(100_000), &["--chunk", "7", "--capacity", "4096"]);
}

#[test]
fn lines_may_be_as_long_as_the_queue_allows() {
    let mut lines = Vec::new();
    for len in [0, 1, 70_000, 3, 300_000, 999_999, 0, 1_000_000] {
        lines.extend(noise(len).iter().map(|&byte| if byte == b'\n' { 0 } else { byte }));
        lines.push(b'\n');
    }
    three_copies("long lines", &lines, &[]);
    lines.pop();
    lines.extend(vec![b'x'; 4 << 20]);
    three_copies("a long end", &lines, &["--capacity", "16M"]);
}

#[test]
fn a_chunk_may_be_as_long_as_the_queue_allows_and_no_longer() {
    let name = Unique::new("chunk");
    let refused = run(&mut fanout(&["pub", name.bare(), "--capacity", "4096", "--chunk", "1M"]));
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("1048576 bytes") && said.contains("--capacity"), "{said}");
    assert!(said.lines().count() == 1 && !name.exists(), "{said}");

    let most = fanout::records::Writer::create(name.bare(), 4096).unwrap().largest();
    assert!(said.contains(&most.to_string()), "{said}");
    let bytes = noise(3 * most + 1);
    three_copies("longest", &bytes, &["--capacity", "4096", "--chunk", &most.to_string()]);
    let longer = (most + 1).to_string();
    let arguments = ["pub", name.bare(), "--capacity", "4096", "--chunk", &longer];
    assert_eq!(run(&mut fanout(&arguments)).status.code(), Some(1));
}

#[test]
fn a_capacity_that_is_rounded_up_is_said() {
    let name = Unique::new("rounded");
    for (capacity, says) in [("5000", "8,192"), ("1", "4,096"), ("8K", ""), ("3M", "4,194,304")] {
        let arguments = ["pub", name.bare(), "--wait-for", "0", "--capacity", capacity];
        let output = run(&mut fanout(&arguments));
        assert!(output.status.success(), "{capacity}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(says) && said.is_empty() == says.is_empty(), "{capacity}: {said}");
    }
}

#[test]
fn a_group_shares_chunks_of_which_none_is_lost_or_doubled() {
    let (name, folder) = (Unique::new("share"), Folder::new());
    let input = folder.join("in");
    let bytes: Vec<u8> = (0..40_000u64).flat_map(u64::to_le_bytes).collect();
    std::fs::write(&input, &bytes).unwrap();
    let shares = ["a", "b", "c"].map(|file| folder.join(file));
    let mut subs = shares
        .each_ref()
        .map(|file| support::start_into(&mut fanout(&["sub", name.bare(), "--group", "g"]), file));
    let arguments = ["pub", name.bare(), "--wait-for", "3", "--chunk", "8", "--capacity", "4K"];
    let file = std::fs::File::open(&input).unwrap();
    assert!(run(fanout(&arguments).stdin(file)).status.success());
    let mut numbers = Vec::new();
    for (sub, share) in subs.iter_mut().zip(&shares) {
        assert!(sub.wait().success());
        let bytes = std::fs::read(share).unwrap();
        let share: Vec<u64> =
            bytes.as_chunks().0.iter().map(|&number| u64::from_le_bytes(number)).collect();
        assert!(share.is_sorted(), "a member got its messages out of order");
        numbers.extend(share);
    }
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..40_000), "the group did not share the chunks exactly");
}

#[test]
fn a_tap_accounts_for_every_message() {
    let (name, folder) = (Unique::new("tap"), Folder::new());
    let lines = 200_000u64;
    let arguments = ["pub", name.bare(), "--wait-for", "0", "--capacity", "4K"];
    let mut publisher = Process::start(fanout(&arguments).stdin(Stdio::piped()));
    let mut keyboard = publisher.0.stdin.take().unwrap();
    let (screen, told) = (folder.join("screen"), folder.join("told"));
    let mut command = fanout(&["sub", name.bare(), "--tap"]);
    let told_file = std::fs::File::create(&told).unwrap();
    let mut tap = support::start_into(command.stderr(told_file), &screen);
    // A subscriber that has printed something has joined, and misses nothing without saying so.
    keyboard.write_all(b"0\n").unwrap();
    eventually("the first line", || std::fs::read(&screen).unwrap() == b"0\n");
    let rest: String = (1..lines).map(|number| format!("{number}\n")).collect();
    promptly("the other lines", move || keyboard.write_all(rest.as_bytes()).unwrap());
    assert!(publisher.wait().success());
    assert!(tap.wait().success());

    let told = std::fs::read_to_string(&told).unwrap();
    let counts: Vec<u64> = told.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [received, missed] = counts[..] else { panic!("{told}") };
    assert_eq!(received + missed, lines, "{told}");
    let printed = std::fs::read_to_string(&screen).unwrap();
    let printed: Vec<u64> = printed.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(printed.len() as u64, received);
    assert!(printed.is_sorted_by(|a, b| a < b) && printed.iter().all(|&number| number < lines));
}

#[test]
fn programs_and_the_command_understand_one_another() {
    let (name, folder) = (Unique::new("program"), Folder::new());
    let output = folder.join("out");
    let mut writer = fanout::records::Writer::create(name.bare(), 4096).unwrap();
    let mut sub = support::start_into(&mut fanout(&["sub", name.bare()]), &output);
    eventually("a subscriber", || consumers(&name) == 1);
    for message in [&b"as it "[..], b"", b"is\n", b"\0\xff"] {
        writer.send(message).unwrap();
    }
    drop(writer);
    assert!(sub.wait().success());
    assert_eq!(std::fs::read(&output).unwrap(), b"as it is\n\0\xff");

    let text = b"a line\n\nthe end";
    let cut_in_lines = [(&b"a line"[..], 1), (b"", 1), (b"the end", 0)];
    let cut_in_fives = [(&b"a lin"[..], 0), (b"e\n\nth", 0), (b"e end", 0)];
    let cut_in_sixes = [(&b"a line"[..], 0), (b"\n\nthe ", 0), (b"end", 0)];
    for (options, expected) in [
        (&[][..], cut_in_lines),
        (&["--chunk", "5"], cut_in_fives),
        (&["--chunk", "6"], cut_in_sixes),
    ] {
        let mut publisher =
            Process::start(fanout(&["pub", name.bare()]).args(options).stdin(Stdio::piped()));
        eventually("a queue", || run(&mut fanout(&["stat", name.bare()])).status.success());
        let mut reader = fanout::records::Reader::join(name.bare(), fanout::Start::Oldest).unwrap();
        publisher.0.stdin.take().unwrap().write_all(text).unwrap();
        let mut messages = Vec::new();
        while let Ok(record) = reader.recv_timeout(DEADLINE) {
            messages.push((record.to_vec(), record.kind()));
        }
        assert_eq!(messages, expected.map(|(text, kind)| (text.to_vec(), kind)), "{options:?}");
        drop(reader);
        assert!(publisher.wait().success());
    }
}

#[test]
fn a_slow_reader_gets_everything_and_keeps_its_pipe_as_it_was() {
    let (name, folder) = (Unique::new("slow"), Folder::new());
    let (input, bytes) = (folder.join("in"), noise(3 << 20));
    std::fs::write(&input, &bytes).unwrap();
    let (mut screen, shared) = std::io::pipe().unwrap();
    let mut sub = Process::start(fanout(&["sub", name.bare()]).stdout(shared.try_clone().unwrap()));
    let arguments = ["pub", name.bare(), "--chunk", "64K", "--file", input.to_str().unwrap()];
    let mut publisher = Process::start(&mut fanout(&arguments));
    // Other programs may share the pipe: for them it has to block as before.
    eventually("a subscriber", || consumers(&name) == 1);
    let flags = nix::fcntl::fcntl(&shared, nix::fcntl::FcntlArg::F_GETFL).unwrap();
    assert!(!nix::fcntl::OFlag::from_bits_retain(flags).contains(nix::fcntl::OFlag::O_NONBLOCK));
    drop(shared);
    let copy = promptly("the copy", move || {
        let (mut copy, mut piece) = (Vec::new(), vec![0; 50_001]);
        while let read @ 1.. = screen.read(&mut piece).unwrap() {
            copy.extend_from_slice(&piece[..read]);
            thread::sleep(Duration::from_millis(1));
        }
        copy
    });
    assert!(copy == bytes, "the copy differs");
    assert!(publisher.wait().success());
    assert!(sub.wait().success());
}

#[test]
fn a_typed_line_arrives_before_the_next_is_typed() {
    let name = Unique::new("typed");
    let mut sub = Process::start(fanout(&["sub", name.bare()]).stdout(Stdio::piped()));
    let mut publisher = Process::start(fanout(&["pub", name.bare()]).stdin(Stdio::piped()));
    let mut keyboard = publisher.0.stdin.take().unwrap();
    let mut screen = BufReader::new(sub.0.stdout.take().unwrap());
    for word in ["first\n", "second\n", "third\n"] {
        keyboard.write_all(word.as_bytes()).unwrap();
        let line;
        (line, screen) = next_line(screen);
        assert_eq!(line, word);
    }
    drop(keyboard);
    assert!(publisher.wait().success());
    assert!(sub.wait().success());
}

#[test]
fn count_takes_so_many_and_leaves_the_rest_to_the_group() {
    let (name, folder) = (Unique::new("count"), Folder::new());
    let input = folder.join("in");
    let lines: String = (0..5000).map(|n| format!("{n}\n")).collect();
    std::fs::write(&input, &lines).unwrap();
    let (few, rest) = (folder.join("few"), folder.join("rest"));
    let group = |file: &Path, more: &[&str]| {
        support::start_into(fanout(&["sub", name.bare(), "--group", "g"]).args(more), file)
    };
    let (mut few_sub, mut rest_sub) = (group(&few, &["--count", "7"]), group(&rest, &[]));
    let arguments = ["pub", name.bare(), "--wait-for", "2", "--file", input.to_str().unwrap()];
    assert!(run(&mut fanout(&arguments)).status.success());
    assert!(rest_sub.wait().success());
    // The other member may have got all messages before this member looked.
    let _ = few_sub.wait();
    assert!(sorted_lines(&[&few]).len() <= 7);
    assert_eq!(sorted_lines(&[&few, &rest]), sorted_lines(&[&input]));

    let name = Unique::new("count-broadcast");
    let output = folder.join("out");
    let mut sub = support::start_into(&mut fanout(&["sub", name.bare(), "--count", "3"]), &output);
    let arguments = ["pub", name.bare(), "--file", input.to_str().unwrap()];
    assert!(run(&mut fanout(&arguments)).status.success());
    assert!(sub.wait().success());
    assert_eq!(std::fs::read_to_string(&output).unwrap(), "0\n1\n2\n");
}

#[test]
fn a_reader_that_goes_away_ends_the_subscriber_quietly_and_frees_its_slot() {
    let (name, folder) = (Unique::new("head"), Folder::new());
    let input = folder.join("in");
    std::fs::write(&input, "a line\n".repeat(100_000)).unwrap();
    let mut command = fanout(&["sub", name.bare()]);
    let mut sub = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let screen = BufReader::new(sub.0.stdout.take().unwrap());
    let arguments = ["pub", name.bare(), "--file", input.to_str().unwrap()];
    let mut publisher = Process::start(&mut fanout(&arguments));
    let (line, screen) = next_line(screen);
    assert_eq!(line, "a line\n");
    drop(screen);
    assert!(sub.wait().success());
    let mut said = String::new();
    std::io::Read::read_to_string(&mut sub.0.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(said, "");
    // No consumer is left to gate it, so the publisher runs to its end.
    assert!(publisher.wait().success());
    assert!(!name.exists());
}

#[test]
fn a_reader_that_goes_away_is_noticed_on_a_quiet_queue() {
    let name = Unique::new("quiet");
    let mut publisher = Process::start(fanout(&["pub", name.bare()]).stdin(Stdio::piped()));
    for more in [&[][..], &["--group", "g"], &["--tap"]] {
        let mut command = fanout(&["sub", name.bare()]);
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
    let name = Unique::new("from");
    let mut publisher =
        Process::start(fanout(&["pub", name.bare(), "--wait-for", "0"]).stdin(Stdio::piped()));
    let mut keyboard = publisher.0.stdin.take().unwrap();
    keyboard.write_all(b"before\n").unwrap();
    eventually("a line", || {
        let output = run(&mut fanout(&["stat", name.bare(), "--json"]));
        let report = serde_json::from_slice::<serde_json::Value>(&output.stdout);
        report.is_ok_and(|report| report["sent"].as_u64() > Some(0))
    });
    let folder = Folder::new();
    let sub = |from: &str| {
        let mut command = fanout(&["sub", name.bare(), "--from", from, "--no-wait"]);
        support::start_into(&mut command, &folder.join(from))
    };
    let mut subs = [sub("oldest"), sub("latest")];
    eventually("two subscribers", || consumers(&name) == 2);
    keyboard.write_all(b"after\n").unwrap();
    drop(keyboard);
    assert!(publisher.wait().success());
    for sub in &mut subs {
        assert!(sub.wait().success());
    }
    assert_eq!(std::fs::read(folder.join("oldest")).unwrap(), b"before\nafter\n");
    assert_eq!(std::fs::read(folder.join("latest")).unwrap(), b"after\n");
}

/// A FIFO in this folder.
fn fifo(folder: &Folder) -> PathBuf {
    let path = folder.join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    path
}

#[test]
fn a_fifo_without_a_writer_can_be_interrupted() {
    for wait_for in ["0", "1"] {
        let (name, folder) = (Unique::new("fifo-alone"), Folder::new());
        let (path, mut command) =
            (fifo(&folder), fanout(&["pub", name.bare(), "--wait-for", wait_for]));
        let mut publisher = Process::start(command.arg("--file").arg(&path));
        eventually("a queue", || name.exists());
        publisher.signal(nix::sys::signal::Signal::SIGINT);
        assert_eq!(publisher.wait().code(), Some(130));
        assert!(!name.exists());
    }
}

#[test]
fn a_fifo_is_waited_for_and_comes_out_whole() {
    // The writer may come while the publisher reads, or before that, and may be gone when it does.
    let large: Vec<u8> = noise(3 << 20);
    for (late, bytes) in [(false, large), (true, b"one line\n".to_vec())] {
        let (name, folder) = (Unique::new("fifo"), Folder::new());
        let (path, output) = (fifo(&folder), folder.join("out"));
        let mut command = fanout(&["pub", name.bare(), "--file", path.to_str().unwrap()]);
        let mut publisher = Process::start(&mut command);
        let subscribe = || support::start_into(&mut fanout(&["sub", name.bare()]), &output);
        let mut sub = (!late).then(subscribe);
        eventually("the publisher to wait", || match late {
            true => name.exists(),
            false => consumers(&name) == 1,
        });
        // Long enough for a publisher that would take a FIFO without a writer for the end of its
        // input.
        thread::sleep(Duration::from_millis(200));
        let whole = bytes.clone();
        promptly("the writer", move || std::fs::write(path, whole).unwrap());
        let sub = sub.get_or_insert_with(subscribe);
        assert!(publisher.wait().success());
        assert!(sub.wait().success());
        assert!(std::fs::read(&output).unwrap() == bytes, "the copy differs");
    }
}

#[test]
fn a_line_that_is_too_long_is_refused_and_the_queue_goes_away() {
    let (name, folder) = (Unique::new("long"), Folder::new());
    let (input, output) = (folder.join("in"), folder.join("out"));
    let most = fanout::records::Writer::create(name.bare(), 4096).unwrap().largest();
    let longest = format!("{}\n{}\n", "a".repeat(99), "b".repeat(most));
    std::fs::write(&input, format!("{longest}{}\n", "c".repeat(most + 1))).unwrap();
    let mut sub = support::start_into(&mut fanout(&["sub", name.bare()]), &output);
    let arguments = ["pub", name.bare(), "--capacity", "4096", "--file", input.to_str().unwrap()];
    let refused = run(&mut fanout(&arguments));
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    let what = format!("line 3 has {} bytes", most + 1);
    assert!(said.contains(&what) && said.contains(&format!("has {most}:")), "{said}");
    assert!(said.contains("raise --capacity") && said.lines().count() == 1, "{said}");
    assert_eq!(sub.wait().code(), Some(GAVE_UP));
    assert_eq!(std::fs::read_to_string(&output).unwrap(), longest);
    assert!(!name.exists());
}

#[test]
fn a_line_without_end_is_refused_before_its_end() {
    let name = Unique::new("endless");
    let arguments = ["pub", name.bare(), "--wait-for", "0", "--capacity", "64K"];
    let mut publisher =
        Process::start(fanout(&arguments).stdin(Stdio::piped()).stderr(Stdio::piped()));
    let mut keyboard = publisher.0.stdin.take().unwrap();
    // It stops reading at some time, while the pipe is still open.
    promptly("a refusal", move || while keyboard.write_all(&[b'x'; 4096]).is_ok() {});
    assert_eq!(publisher.wait().code(), Some(1));
    let said = std::io::read_to_string(publisher.0.stderr.take().unwrap()).unwrap();
    assert!(said.contains("or more") && said.contains("raise --capacity"), "{said}");
    assert!(!name.exists());
}

/// CPU time that a process has used, in clock ticks (100 a second on Linux).
fn ticks(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0.id())).unwrap();
    // utime and stime are the 12th and 13th field after the name.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// On a quiet queue all ends sleep: consumers, members, taps, and the producer that waits for them.
#[test]
fn a_quiet_queue_uses_no_cpu() {
    let name = Unique::new("quiet");
    let mut producer = fanout(&["pub", name.bare(), "--wait-for", "3"]);
    let mut producer = Process::start(producer.stdin(Stdio::piped()));
    let subscribers: Vec<Process> = [&["--group", "g"][..], &["--group", "g"], &[], &["--tap"]]
        .iter()
        .map(|how| {
            let arguments = [&["sub", name.bare()], *how].concat();
            Process::start(fanout(&arguments).stdout(Stdio::null()).stderr(Stdio::null()))
        })
        .collect();
    eventually("three consumers", || consumers(&name) == 3);
    let mut stdin = producer.0.stdin.take().unwrap();
    stdin.write_all(b"one line\n").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let before: Vec<u64> = subscribers.iter().chain([&producer]).map(ticks).collect();
    std::thread::sleep(Duration::from_millis(2000));
    let after = subscribers.iter().chain([&producer]).map(ticks);
    for (before, after) in before.into_iter().zip(after) {
        // An end that does not sleep uses 200.
        assert!(after - before <= 10, "{} ticks of 200", after - before);
    }
    drop(stdin);
    assert!(producer.wait().success());
    for mut subscriber in subscribers {
        assert!(subscriber.wait().success());
    }
}
