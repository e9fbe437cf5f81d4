//! The memory wheel, as a program: each way delivers everything that it moves. Its figures are not
//! checked.
#![cfg(not(loom))]

use std::process::Command;

use serde_json::Value;
use testing::{Ended, Program};

fn run(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_day4-benchmark"));
    Program::start(command.args(arguments)).finish()
}

fn json(arguments: &[&str]) -> Value {
    let lines = run(&[&["--json", "--repeats", "2"], arguments].concat()).well();
    serde_json::from_str(&lines.concat()).unwrap()
}

/// The sum of the lengths that SplitMix64 makes of seed 1, scaled to 0..=most, computed another
/// way.
fn total(messages: u64, most: u64) -> u64 {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * (u128::from(most) + 1)) >> 64) as u64
    };
    (0..messages).map(|_| next()).sum()
}

fn modes(report: &Value) -> Vec<&str> {
    let rows = report["rows"].as_array().unwrap();
    rows.iter().map(|row| row["mode"].as_str().unwrap()).collect()
}

#[test]
fn every_mode_moves_the_same_messages() {
    let flags: [&[&str]; 4] = [
        &["--messages", "3000"],
        // The longest message fills most of the ring, and some lengths are 0 to 3.
        &["--messages", "2000", "--capacity", "4096", "--most", "4000"],
        &["--messages", "2000", "--most", "3"],
        &["--messages", "2000", "--touch-first"],
    ];
    for flags in flags {
        let report = json(flags);
        assert_eq!(modes(&report), ["spin", "sleep", "seqpacket", "memcpy", "hand-over"]);
        let messages = report["messages"].as_u64().unwrap();
        let bytes = total(messages, report["most"].as_u64().unwrap());
        assert_eq!(report["total_bytes"], bytes, "{flags:?}");
        let rows = report["rows"].as_array().unwrap();
        for row in &rows[..3] {
            assert_eq!(row["count"], messages, "{flags:?}: {row}");
            assert_eq!(row["bytes"], bytes, "{flags:?}: {row}");
            assert_eq!(row["checksum"], rows[0]["checksum"], "{flags:?}: {row}");
        }
        assert_ne!(rows[0]["checksum"], 0, "{flags:?}");
        assert_eq!(rows[4]["bytes"], bytes.next_multiple_of(8), "{flags:?}");
        for row in rows {
            assert!(row["megabytes_per_second"].as_f64().unwrap() > 0.0, "{row}");
            assert!(row["to_seqpacket"].as_f64().unwrap() > 0.0, "{row}");
            assert!(row["to_hand_over"].as_f64().unwrap() > 0.0, "{row}");
        }
    }
}

#[test]
fn a_seed_decides_the_messages_and_a_size_fixes_them() {
    let report = |flags: &[&str]| {
        json(&[&["--only", "seqpacket", "--messages", "500", "--most", "999"], flags].concat())
    };
    let checksum = |report: &Value| report["rows"][0]["checksum"].clone();
    let (one, again, other) = (report(&[]), report(&["--seed", "1"]), report(&["--seed", "2"]));
    assert_eq!(modes(&one), ["seqpacket"]);
    assert_eq!(checksum(&one), checksum(&again));
    assert_ne!(checksum(&one), checksum(&other));
    assert!(one["rows"][0]["to_hand_over"].is_null());

    let fixed = json(&["--only", "spin", "--messages", "500", "--size", "24"]);
    assert_eq!(fixed["total_bytes"], 500 * 24);
    assert_eq!(fixed["rows"][0]["count"], 500);
}

#[test]
fn touching_only_the_first_bytes_is_another_checksum() {
    let report = |flags: &[&str]| {
        json(&[&["--only", "spin", "--messages", "500"], flags].concat())["rows"][0].clone()
    };
    let (all, first) = (report(&[]), report(&["--touch-first"]));
    assert_eq!(all["bytes"], first["bytes"]);
    assert_ne!(all["checksum"], first["checksum"]);
}

#[test]
fn the_total_comes_first() {
    let lines = run(&["--messages", "1000", "--repeats", "1"]).well();
    let bytes = yardstick::report::grouped(total(1000, 32_767));
    assert!(lines[0].starts_with(&format!("{bytes} bytes in 1,000 messages of 0 to 32767")));
    for row in ["spin: ", "sleep: ", "seqpacket: ", "memcpy", "hand-over "] {
        assert!(lines.iter().any(|line| line.starts_with(row)), "{row} in {lines:#?}");
    }
}

#[test]
fn what_cannot_work_is_refused_in_one_line() {
    let flags: [(&[&str], &str); 5] = [
        (&["--messages", "0"], "--messages"),
        (&["--repeats", "0"], "--repeats"),
        (&["--capacity", "5000"], "--capacity"),
        (&["--only", "pigeon"], "--only"),
        // Such a message and its header do not fit into the ring.
        (&["--capacity", "4096", "--size", "4096"], "--capacity"),
    ];
    for (flags, told) in flags {
        let error = run(&[&["--json"], flags].concat()).badly();
        assert!(error.contains(told), "{flags:?}: {error}");
    }
}
