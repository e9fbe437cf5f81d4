//! The benchmark, as a program: its story to the letter, its flags, its refusals. Its figures are
//! not checked.
#![cfg(not(loom))]

use std::process::Command;

use testing::{Ended, Program, Unique};

fn run(name: &Unique, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_day3-benchmark"));
    Program::start(command.arg(name.as_str()).args(arguments)).finish()
}

fn json(name: &Unique, arguments: &[&str]) -> serde_json::Value {
    let lines = run(name, &[&["--json"], arguments].concat()).well();
    serde_json::from_str(&lines.concat()).unwrap()
}

/// The story with its figures taken out.
fn story(name: &Unique, arguments: &[&str]) -> Vec<String> {
    let plain = |line: String| match line.split_once(": ") {
        Some((what @ ("Elapsed time" | "Throughput"), figure)) => {
            let (number, unit) = figure.split_once(' ').unwrap();
            assert!(number.parse::<f64>().unwrap() > 0.0, "{line}");
            format!("{what}: … {unit}")
        }
        _ => line.replace(name.as_str(), "NAME"),
    };
    run(name, arguments).well().into_iter().map(plain).collect()
}

#[test]
fn it_tells_its_story_to_the_letter() {
    let name = Unique::new("benchmark");
    let told = story(&name, &["--messages", "1000", "--processes"]);
    // Words 0 to 7 are added to each sequence: 8 * (0 + … + 999) + 28 * 1000.
    let expected = "\
Initializing the performance benchmark...
creating spmc_queue NAME of size 64 and capacity 1024 with mode writer
spmc_queue created
creating spmc_queue NAME of size 64 and capacity 1024 with mode reader
spmc_queue created
Initialized performance benchmark
waiting for the producer & consumer thread to be ready...
producer thread spawns
consumer thread spawns
performance benchmark starts
performance benchmark ends
Elapsed time: … seconds
Throughput: … MB/s
test_producer_sum = 4024000 and test_consumer_sum = 4024000
Destroying the performance benchmark...
destroying spmc_queue NAME of mode writer
spmc_queue destroyed
destroying spmc_queue NAME of mode reader
spmc_queue destroyed
Destroyed performance benchmark";
    assert_eq!(told.join("\n"), expected);
    assert_eq!(story(&name, &["--messages", "1000"]), told, "threads tell the same");
}

/// The warning comes once, and not once per process.
#[test]
fn a_debug_build_says_that_its_figures_mean_nothing() {
    let ended = run(&Unique::new("benchmark-debug"), &["--messages", "1000", "--processes"]);
    assert_eq!(ended.warned, usize::from(cfg!(debug_assertions)));
    ended.well();
}

#[test]
fn every_flag_moves_every_message() {
    let flags: [&[&str]; 6] = [
        &["--messages", "50000", "--consumers", "3"],
        &["--messages", "50000", "--consumers", "2", "--groups"],
        &["--messages", "5000", "--consumers", "2", "--groups", "--processes", "--batch", "1"],
        &["--messages", "5000", "--size", "8", "--capacity", "2", "--batch", "1"],
        &["--messages", "100", "--size", "65536", "--capacity", "16", "--batch", "16"],
        &["--messages", "50000", "--consumers", "3", "--processes", "--batch", "7"],
    ];
    for flags in flags {
        let report = json(&Unique::new("benchmark-flags"), flags);
        let sums = report["consumer_sums"].as_array().unwrap();
        assert!(!sums.is_empty(), "{flags:?}");
        for sum in sums {
            assert_eq!(*sum, report["producer_sum"], "{flags:?}");
        }
        assert!(report["megabytes_per_second"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn a_comparison_has_a_row_for_each_contender() {
    let name = Unique::new("benchmark-compare");
    let flags = ["--compare", "--messages", "20000", "--repeats", "1"];
    let table = run(&name, &flags).well();
    for row in ["(a) ", "(b) ", "(c) ", "(d) ", "(e) ", "(f) "] {
        assert!(table.iter().any(|line| line.starts_with(row)), "{table:#?}");
    }
    assert_eq!(json(&name, &flags)["rows"].as_array().unwrap().len(), 6);
}

#[test]
fn a_wrong_flag_is_refused_in_one_line() {
    for flags in [
        ["--size", "63"],
        ["--capacity", "1000"],
        ["--batch", "0"],
        ["--batch", "2048"],
        ["--consumers", "0"],
        ["--consumers", "65"],
        ["--messages", "0"],
    ] {
        let name = Unique::new("benchmark-refused");
        run(&name, &[&["--json"], &flags[..]].concat()).badly();
        assert!(!name.exists(), "{flags:?} left its queue behind");
    }
}
