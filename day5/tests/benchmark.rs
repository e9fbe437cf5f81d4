//! The benchmark, as a program: each way delivers, and the rows agree with one another. Its figures
//! are not checked.
#![cfg(not(loom))]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use testing::{Ended, Program, eventually};

fn run(arguments: &[&str]) -> Ended {
    start(arguments).finish()
}

fn start(arguments: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_day5-benchmark"));
    Program::start(command.args(arguments))
}

fn json(arguments: &[&str]) -> Value {
    let lines = run(&[&["--json", "--quick"], arguments].concat()).well();
    serde_json::from_str(&lines.concat()).unwrap()
}

fn rows<'a>(report: &'a Value, table: &str) -> &'a [Value] {
    report[table].as_array().unwrap()
}

fn texts<'a>(rows: &'a [Value], key: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[key].as_str().unwrap()).collect()
}

const WAYS: [&str; 9] =
    ["spin", "yield", "sleep", "adaptive", "bare", "futex", "eventfd", "pipe", "unix"];

#[test]
fn numbers_come_back_by_every_way_and_percentiles_do_not_fall() {
    let report = json(&["--only", "ping-pong/"]);
    let ping_pong = rows(&report, "ping_pong");
    assert_eq!(texts(ping_pong, "way"), [WAYS, WAYS].concat());
    for row in ping_pong {
        assert!(row["timed"].as_u64().unwrap() > 0, "{row}");
        let times: Vec<f64> = row["percentiles"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| pair[1].as_f64().unwrap())
            .collect();
        assert!(times.is_sorted() && times[0] > 0.0, "{row}");
        assert_eq!(row["untimed"].is_f64(), row["schedule"] == "fast", "{row}");
        let ours = ["spin", "yield", "sleep", "adaptive"].contains(&row["way"].as_str().unwrap());
        assert_eq!(row["ratio"].is_f64(), ours, "{row}");
    }
    assert!(rows(&report, "idle").is_empty() && rows(&report, "broadcast").is_empty());
}

#[test]
fn who_is_compared_with_nobody_has_no_ratio() {
    let report = json(&["--only", "ping-pong/fast/sleep"]);
    let [row] = rows(&report, "ping_pong") else { panic!("{report}") };
    assert!(row["ratio"].is_null() && row["to"].is_null(), "{row}");
}

#[test]
fn each_way_waits_for_as_long_as_it_was_told() {
    let report = json(&["--only", "idle/"]);
    let idle = rows(&report, "idle");
    assert_eq!(texts(idle, "strategy"), WAYS[..4]);
    for row in idle {
        assert!(row["seconds"].as_f64().unwrap() >= 0.3, "{row}");
        assert!(row["cpu_milliseconds"].as_f64().unwrap() > 0.0, "{row}");
    }
}

#[test]
fn broadcasts_reach_all_consumers_whatever_they_do_meanwhile() {
    let report = json(&["--only", "broadcast/"]);
    let broadcast = rows(&report, "broadcast");
    assert_eq!(broadcast.len(), 4 * 2 * 2);
    for row in broadcast {
        let consumers = row["consumers"].as_f64().unwrap();
        let each = row["each_megabytes_per_second"].as_f64().unwrap();
        let all = row["aggregate_megabytes_per_second"].as_f64().unwrap();
        assert!(each > 0.0 && (all - consumers * each).abs() <= 1e-9 * all, "{row}");
        if consumers == 1.0 {
            assert_eq!(row["of_one"], 1.0, "{row}");
        }
        assert_eq!(row["of_better"].is_f64(), row["strategy"] == "adaptive", "{row}");
        let cores = report["origin"]["cores"].as_f64().unwrap();
        assert_eq!(row["more_processes_than_cores"], consumers + 1.0 > cores, "{row}");
    }
}

/// A file that is removed when this is dropped.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn tables_say_where_they_come_from_and_a_plot_shows_every_way() {
    let name = format!("fanout-day5-plot-{}.svg", std::process::id());
    let file = File(std::env::temp_dir().join(name));
    let path = file.0.to_str().unwrap();
    let lines = run(&["--quick", "--only", "ping-pong/rate/", "--plot", path]).well();
    for (line, name) in
        lines.iter().zip(["machine", "kernel", "compiler", "commit", "date", "command"])
    {
        assert!(line.starts_with(name), "{name} in {lines:#?}");
    }
    let plot = fs::read_to_string(path).unwrap();
    assert!(plot.starts_with("<svg") && plot.trim_end().ends_with("</svg>"));
    for way in WAYS {
        assert!(lines.iter().any(|line| line.starts_with(way)), "{way} in {lines:#?}");
        assert!(plot.contains(&format!(">{way}</text>")), "{way} in {plot}");
    }
    assert_eq!(plot.matches("<polyline").count(), WAYS.len());
    assert!(!plot.contains("NaN") && !plot.contains("inf"), "{plot}");
    assert!(plot.contains("--only ping-pong/rate/"), "the command in {plot}");
}

fn left_behind(pid: u32) -> Vec<String> {
    let names = fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name());
    let ours = format!("day5-benchmark-{pid}-");
    names.filter_map(|name| name.into_string().ok()).filter(|name| name.contains(&ours)).collect()
}

#[test]
fn nothing_is_left_in_the_file_system() {
    let mut process = start(&["--quick", "--only", "x1"]);
    let pid = process.id();
    process.line("broadcast");
    process.finish().well();
    assert_eq!(left_behind(pid), [""; 0]);
}

#[test]
fn children_die_with_a_benchmark_that_is_killed() {
    let process = start(&["--idle", "60", "--only", "idle/sleep"]);
    let parent = process.id();
    let children = || -> Vec<String> {
        let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
        list.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    // The ring has lost its name once both sides have it mapped.
    let has_met = |child: &String| {
        let maps = fs::read_to_string(format!("/proc/{child}/maps")).unwrap_or_default();
        maps.lines().any(|line| line.contains("day5-benchmark-") && line.ends_with("(deleted)"))
    };
    eventually("two children have met", || children().len() == 2 && children().iter().all(has_met));
    let children = children();
    process.kill();
    for child in children {
        eventually("a child is gone", || {
            let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            state.is_empty() || state.contains(") Z ")
        });
    }
}

#[test]
fn what_cannot_work_is_refused_in_one_line() {
    let flags: [(&[&str], &str); 6] = [
        (&["--repeats", "0"], "--repeats"),
        (&["--seconds", "0"], "--seconds"),
        (&["--idle", "NaN"], "--idle"),
        (&["--rate", "0"], "--rate"),
        (&["--only", "pigeon"], "--only"),
        (&["--quick", "--only", "idle/sleep", "--plot", "/dev/null"], "--plot"),
    ];
    for (flags, told) in flags {
        let error = run(flags).badly();
        assert!(error.contains(told), "{flags:?}: {error}");
    }
}
