//! Two processes that wake each other up; either of them may make its own fences.
#![cfg(not(loom))]

use std::process::Command;

fn cycles(cycles: u32, own_fences: [bool; 2]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_day5-cycles"));
    command.args(["--cycles", &cycles.to_string()]);
    command.env_remove("FANOUT_MEMBARRIER");
    if own_fences[0] {
        command.env("FANOUT_MEMBARRIER", "off");
    }
    if own_fences[1] {
        command.arg("--answer-without-membarrier");
    }
    // The program ends by itself if a wake-up is lost.
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{own_fences:?}: {text}{errors}");
    assert!(text.contains("0 wake-ups lost"), "{text}");
    let by = if own_fences[0] { "of our own" } else { "by membarrier" };
    assert!(text.contains(by), "{own_fences:?}: {text}");
}

#[test]
fn a_hundred_thousand_sleeps_and_no_wake_up_lost() {
    cycles(100_000, [false, false]);
}

#[test]
fn whichever_side_makes_its_own_fences() {
    for own_fences in [[true, true], [true, false], [false, true]] {
        cycles(5_000, own_fences);
    }
}
