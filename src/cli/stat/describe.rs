//! What is said of a queue, as a person reads it.

use std::fmt::Write;

use common::report::grouped;
use fanout::QueueName;
use fanout::inspect::Snapshot;
use fanout::segment::Kind;

use super::report::{Report, Row};
use crate::cli::column::{unit, width};

pub(super) fn describe(name: &QueueName, snapshot: &Snapshot) -> Result<String, std::fmt::Error> {
    let report = Report::new(name, snapshot);
    let unit = unit(snapshot.kind);
    let mut out = String::new();
    let state = match (report.closed, report.full) {
        (true, _) => "closed",
        (false, true) => "full",
        (false, false) => "open",
    };
    writeln!(out, "queue     {name}, {state}")?;
    let size = match snapshot.kind {
        Kind::Records => "of any size,".to_owned(),
        _ => format!("{} bytes", report.message_size),
    };
    writeln!(
        out,
        "messages  {size} of type {}, capacity {}{unit}, {} bytes in all",
        report.message_type.escape_debug(),
        grouped(report.capacity),
        grouped(report.bytes)
    )?;
    writeln!(
        out,
        "sequence  first {}, published {}, reserved up to {}",
        report.first, report.published, report.reserved
    )?;
    if report.consumers.is_empty() {
        writeln!(out, "consumers none (taps are registered nowhere)")?;
        return Ok(out);
    }
    // Others may have written anything there: no control characters on our terminal.
    let group = |row: &Row<'_>| row.group.unwrap_or("-").escape_debug().to_string();
    let wide = width(report.consumers.iter().map(|row| group(row).len()), "group");
    writeln!(out, "slot  {:<11}{:<wide$}  {:>8}{:>12}  label", "kind", "group", "pid", "lag")?;
    for row in &report.consumers {
        let gates = match (row.gates, report.full) {
            (true, true) => "  <- blocks the producer".to_owned(),
            (true, false) if snapshot.kind == Kind::Records => {
                let room = snapshot.capacity.saturating_sub(row.lag);
                format!("  <- gates: room for {}{unit}", grouped(room))
            }
            (true, false) => "  <- gates".to_owned(),
            _ => String::new(),
        };
        writeln!(
            out,
            "{:>4}  {:<11}{:<wide$}  {:>8}{:>12}  {}{gates}",
            row.slot,
            row.kind,
            group(row),
            row.pid,
            grouped(row.lag) + unit,
            row.label.escape_debug()
        )?;
    }
    Ok(out)
}
