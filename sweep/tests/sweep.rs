//! A bounded share of the sweep; and the sweep itself, on protocols that are wrong on purpose.
//!
//! It runs as a program of its own: a sweep forks, so its process has one thread.

use std::process::{Command, Output};

use testing::run;

/// How many points of all scenarios a test kills at. Without optimisation an operation has many times as many
/// instructions, and takes as many times as long to step through.
const POINTS: &str = if cfg!(debug_assertions) { "500" } else { "1500" };

fn sweep(arguments: &[&str]) -> Output {
    let output = run(Command::new(env!("CARGO_BIN_EXE_sweep")).args(arguments));
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| text(bytes));
    println!("sweep {arguments:?}\n{stdout}{stderr}");
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The table, of a sweep that has found nothing.
fn clean(arguments: &[&str]) -> String {
    let output = sweep(arguments);
    assert!(output.status.success(), "{}", output.status);
    text(&output.stdout).to_owned()
}

/// What a sweep has found, line by line.
fn failures(arguments: &[&str]) -> Vec<String> {
    let output = sweep(arguments);
    assert_eq!(output.status.code(), Some(1), "a sweep that finds something fails");
    let lines = text(&output.stdout).lines().filter(|line| line.starts_with("FAILURE"));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_process_killed_anywhere_takes_nothing_from_the_others() {
    let table = clean(&["--points", POINTS]);
    let listed = clean(&["--list"]);
    assert!(!listed.is_empty());
    for scenario in listed.lines() {
        let rows = table.lines().filter(|row| row.starts_with(&format!("{scenario}  ")));
        assert_eq!(rows.count(), 1, "{scenario} was swept");
    }
}

/// A sweep that killed always too early, or always too late, would find nothing.
#[test]
fn kills_come_before_and_after_an_operation_takes_effect() {
    let expected = [
        ("publish in place", ["0 sent", "1 sent"]),
        ("close", ["died", "closed"]),
        ("abort", ["died", "aborted"]),
        ("claim", ["behind;", "4 again"]),
        ("release a claim", ["4 again", "4 released"]),
        ("release a part", ["6 behind", "5 behind"]),
    ];
    for (operation, outcomes) in expected {
        let scenario = format!("messages: {operation}");
        let table = clean(&["--every", "--scenario", &scenario]);
        let row = table.lines().find(|row| row.starts_with(&format!("{scenario}  ")));
        let row = row.unwrap_or_else(|| panic!("{scenario} has a row"));
        assert!(row.contains("(every)"), "{row}");
        for outcome in outcomes {
            assert!(row.contains(outcome), "{outcome:?} was seen: {row}");
        }
    }
}

#[test]
fn a_window_of_a_few_instructions_is_found_and_one_that_is_none_is_not() {
    let found = failures(&["--every", "--scenario", "toy: one by one"]);
    assert!(!found.is_empty());
    for failure in found {
        assert!(failure.contains("are 1 and 0"), "{failure}");
        assert!(failure.contains("sweep+0x"), "it says where: {failure}");
    }
    clean(&["--every", "--scenario", "toy: copy first"]);
}

#[test]
fn survivors_that_hang_are_found_and_replaced() {
    let found = failures(&["--every", "--patience", "1", "--scenario", "toy: locked"]);
    assert!(!found.is_empty());
    for failure in found {
        assert!(failure.contains("the survivors hang"), "{failure}");
    }
}

#[test]
fn an_object_left_behind_is_found_and_removed() {
    // The call that leaves it behind comes late in the operation.
    let found = failures(&["--points", "400", "--scenario", "toy: littered"]);
    assert!(found.iter().all(|failure| failure.contains("left behind: /dev/shm/")), "{found:?}");
    let path = found[0].split_whitespace().find(|word| word.starts_with("/dev/shm/")).unwrap();
    assert!(!std::path::Path::new(path).exists(), "{path} was removed");
}
