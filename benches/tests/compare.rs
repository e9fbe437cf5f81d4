//! The comparison, as a program: every row of every question has figures or a reason, the charts and the
//! page show all rows, and nothing is left behind. The figures are not checked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use benches::contenders;
use benches::question::Question;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testing::{Ended, Folder, Program, eventually};

/// Each row runs once, for as short as possible.
const SHORT: [&str; 4] = ["--repeats", "1", "--seconds", "0.002"];

/// Longer than all rows take, even if some rivals hang until they are killed.
const WHOLE: Duration = Duration::from_secs(600);

/// Comparisons that ran at the same time would take each other's cores, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(arguments: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    Program::start(command.args(arguments))
}

/// Runs the comparison to its end, and checks that it leaves nothing in memory.
fn run(arguments: &[&str]) -> Ended {
    let _turn = turn();
    let mut process = start(arguments);
    let (pid, started) = (process.id(), Instant::now());
    while process.is_running() {
        assert!(started.elapsed() < WHOLE, "{arguments:?} never ends");
        thread::sleep(Duration::from_millis(5));
    }
    let ended = process.finish();
    assert_eq!(left(pid), Vec::<PathBuf>::new(), "{arguments:?}");
    ended
}

/// What a run has left under its names in shared memory.
fn left(pid: u32) -> Vec<PathBuf> {
    let ours = format!("fanout-compare-{pid}-");
    let entries = fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap());
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&ours));
    ours.map(|entry| entry.path()).collect()
}

/// The children of a process that runs.
fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

fn report(ended: &Ended) -> Value {
    assert!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
    serde_json::from_str(&ended.lines.join("\n")).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

#[test]
fn every_row_of_every_question_has_figures_or_a_reason_and_is_drawn() {
    let folder = Folder::new();
    let inner = folder.join("made/too");
    let arguments = ["--json", "--plot", inner.to_str().unwrap()];
    let ended = run(&[&arguments[..], &SHORT].concat());
    let report = report(&ended);
    let groups = list(&report, "groups");
    assert_eq!(groups.len(), Question::all().len());
    for (group, question) in groups.iter().zip(Question::all()) {
        assert_eq!(text(group, "title"), question.to_string());
        let rows = list(group, "rows");
        let found: Vec<_> = rows.iter().map(|row| (text(row, "name"), text(row, "mode"))).collect();
        let due = contenders::of(question);
        let due: Vec<_> = due.iter().map(|row| (row.name, row.mode.as_str())).collect();
        assert_eq!(found, due, "{question}");
        rows.iter().for_each(whole);
    }
    drawn(&report, &inner, &ended.stderr);
}

/// Checks that a row has possible figures, or a reason.
fn whole(row: &Value) {
    let outcome = &row["outcome"];
    let Some(figures) = outcome.get("measured") else {
        assert!(!text(&outcome["failed"], "why").trim().is_empty(), "{row}");
        return;
    };
    let rate = |which: &str| figures["rate"][which].as_f64().unwrap();
    assert!(rate("slowest") > 0.0, "{row}");
    assert!(rate("slowest") <= rate("median") && rate("median") <= rate("fastest"), "{row}");
    assert!(figures["messages"].as_u64().unwrap() > 0, "{row}");
}

/// Checks that everything in a report is in the folder, that each file was named, and that all files
/// are XML and need no other file.
fn drawn(report: &Value, folder: &Path, named: &str) {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert!(named.contains(&format!("wrote {}\n", path.display())), "{named}");
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.insert(name, fs::read_to_string(path).unwrap());
    }
    assert_eq!(named.lines().count(), files.len(), "{named}");
    let page = files.remove("report.html").unwrap();
    let groups = list(report, "groups");
    assert_eq!(files.len(), groups.len(), "a chart for each question");

    let shown = words(&page);
    let machine = report["machine"].as_object().unwrap();
    for said in machine.values().filter_map(Value::as_str) {
        assert!(shown.contains(&one_line(said)), "{said}");
    }
    for group in groups {
        assert!(shown.contains(text(group, "title")));
        let charts = || files.values().map(|chart| words(chart));
        let title = text(group, "title");
        let chart = charts().find(|chart| chart.contains(title)).unwrap();
        for row in list(group, "rows") {
            let name = text(row, "name");
            assert!(chart.contains(name) && shown.contains(name), "{row}");
            assert!(shown.contains(&one_line(text(row, "mode"))), "{row}");
            if let Some(failed) = row["outcome"].get("failed") {
                assert!(shown.contains(&one_line(text(failed, "why"))), "{row}");
                assert!(chart.contains("failed: "), "{row}");
            }
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text of a document in one line. Checks first that every tag ends, that ids are unique, that
/// links lead to them, and that nothing is loaded from elsewhere.
fn words(document: &str) -> String {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(document, options).unwrap();
    let mut out = String::new();
    let mut ids = Vec::new();
    for node in document.descendants() {
        if node.is_text() {
            out.push_str(node.text().unwrap());
            out.push(' ');
        }
        assert!(!["script", "img", "image", "use", "iframe"].contains(&node.tag_name().name()));
        ids.extend(node.attribute("id"));
        for attribute in node.attributes() {
            let value = attribute.value();
            let own = value.starts_with('#') || value == "data:,";
            assert!(!["href", "src"].contains(&attribute.name()) || own, "{value}");
            assert!(!value.contains("http:") && !value.contains("https:"), "{value}");
        }
        let style = node.tag_name().name() == "style";
        let style = node.text().filter(|_| style).unwrap_or_default();
        assert!(!style.contains("url(") && !style.contains("@import"));
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(count, ids.len(), "ids are unique");
    let links = document.descendants().filter_map(|node| node.attribute("href"));
    for link in links.filter_map(|link| link.strip_prefix('#')) {
        assert!(ids.contains(&link), "{link} leads nowhere");
    }
    one_line(&out)
}

#[test]
fn this_project_fails_nowhere() {
    let report = report(&run(&[&["--json", "--only", "fanout"], &SHORT[..]].concat()));
    let groups = list(&report, "groups");
    assert_eq!(groups.len(), Question::all().len(), "it answers every question");
    for row in groups.iter().flat_map(|group| list(group, "rows")) {
        assert!(["fanout", "limit"].contains(&text(row, "role")), "{row}");
        assert!(row["outcome"].get("measured").is_some(), "{row}");
        whole(row);
    }
}

#[test]
fn the_table_has_a_line_for_each_row() {
    let title = Question::Sharing(2).to_string();
    let lines = run(&[&["--only", &title], &SHORT[..]].concat()).well();
    let after = lines.iter().skip_while(|line| **line != title);
    let rows = after.skip(2).take_while(|line| !line.starts_with("  *"));
    assert_eq!(rows.count(), contenders::of(Question::Sharing(2)).len(), "{lines:#?}");
}

/// A row has to hold each of the texts; the limits of its question stay.
#[test]
fn several_texts_name_a_row_together() {
    let question = Question::Sharing(2);
    let only = format!("{question} + crossbeam-queue");
    let lines = run(&["--list", "--only", &only]).well();
    let rows = contenders::of(question);
    let limits = rows.iter().filter(|row| row.standing == contenders::Standing::Limit).count();
    let (title, rows) = lines.split_first().unwrap();
    assert_eq!(*title, question.to_string());
    assert_eq!(rows.iter().filter(|row| row.contains("crossbeam-queue")).count(), 1, "{rows:#?}");
    assert_eq!(rows.len(), limits + 1, "{rows:#?}");
}

#[test]
fn what_cannot_be_is_said_at_once() {
    let folder = Folder::new();
    let page = folder.join("page");
    let path = page.to_str().unwrap();
    let bad = [
        (&["--only", "nonsense", "--plot", path][..], "no row holds \"nonsense\""),
        (&["--repeats", "0", "--plot", path], "--repeats"),
        (&["--repeats", "1001", "--plot", path], "--repeats"),
        (&["--seconds", "0", "--plot", path], "--seconds"),
        (&["--seconds", "-1", "--plot", path], "--seconds"),
        (&["--seconds", "11", "--plot", path], "--seconds"),
        (&["--seconds", "NaN", "--plot", path], "--seconds"),
        (&["--plot", "/dev/null"], "--plot needs a folder"),
        (&["--plot", "/dev/null/folder"], "--plot needs a folder"),
        (&["--plot", "/proc"], "--plot needs a folder"),
    ];
    for (arguments, expected) in bad {
        let ended = run(arguments);
        assert_eq!(ended.lines, Vec::<String>::new(), "{arguments:?}: nothing was measured");
        let said = ended.badly();
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(!page.exists(), "{arguments:?}");
    }
}

#[test]
fn an_interruption_leaves_nothing_behind() {
    let _turn = turn();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let folder = Folder::new();
        // Left alone, it would go on for hours.
        let long = ["--repeats", "1000", "--seconds", "10", "--only", "fanout"];
        let arguments =
            [&long[..], &["--json", "--plot", folder.path().to_str().unwrap()]].concat();
        let mut process = start(&arguments);
        let pid = process.id();
        let mut running = Vec::new();
        eventually("sides run", || {
            running = children(pid);
            assert!(process.is_running(), "it ended by itself");
            !running.is_empty() && !left(pid).is_empty()
        });
        kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
        let ended = process.finish();
        assert_eq!(ended.lines, Vec::<String>::new());
        assert!(ended.badly().contains("interrupted"));
        assert_eq!(left(pid), Vec::<PathBuf>::new());
        // The sides are killed together with it, or by the kernel when it is gone.
        eventually("no side runs", || {
            running.iter().all(|child| !Path::new(&format!("/proc/{child}")).exists())
        });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a page of half a comparison");
    }
}
