//! The benchmark, briefly: every row runs, with real servers and real bridges, and everything arrives.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testing::Program;

/// Each row starts its servers, and each contender its processes.
const DEADLINE: Duration = Duration::from_secs(300);

fn quick(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bridge-benchmark"));
    let program = Program::start(command.arg("--quick").args(arguments));
    let lines = program.finish_within(DEADLINE, "a quick benchmark ends").well();
    lines.join("\n")
}

/// It runs `fanout-bridge`, which stands beside it.
#[test]
fn every_row_carries_everything() {
    let _ = env!("CARGO_BIN_EXE_fanout-bridge");
    let report: Value = serde_json::from_str(&quick(&["--json"])).unwrap();
    let tables = report["tables"].as_array().unwrap();
    let titles: Vec<_> = tables.iter().map(|table| table["title"].as_str().unwrap()).collect();
    assert_eq!(titles.len(), 5, "{titles:?}");
    for table in tables {
        assert_eq!(table["faults"], 0, "{table:#}");
        assert!(table["carried"].as_u64().unwrap() > 0, "{table:#}");
        for line in table["lines"].as_array().unwrap() {
            assert!(line["rate"].as_f64().unwrap() > 0.0, "{line:#}");
            assert!(line["server"].as_f64().unwrap() > 0.0, "{line:#}");
        }
        for finding in table["findings"].as_array().unwrap() {
            assert!(finding["found"].is_f64(), "both were measured: {finding:#}");
        }
    }
    let latencies = tables.iter().flat_map(|table| table["lines"].as_array().unwrap());
    let measured = latencies.filter(|line| line["latency"].is_object()).count();
    assert_eq!(measured, 2, "the client and the bridge");
}

#[test]
fn a_row_by_itself_says_where_it_comes_from() {
    let text = quick(&["--only", "latency"]);
    let (note, table) = text.split_once('\n').unwrap();
    assert!(note.starts_with("note: this machine: ") && note.contains("nats-server"), "{note}");
    assert!(table.contains("p99 us"), "{table}");
    assert!(table.contains("lost, repeated or out of order: 0 of 4,000"), "{table}");
}
