//! A queue's report, for people.

use std::fmt::{Error, Write};
use std::time::SystemTime;

use fanout::QueueName;
use fanout::inspect::Snapshot;
use fanout::segment::Kind;
use yardstick::report::grouped;

use super::report::{Group, Report, Row};
use crate::cli::column::{unit, width};

pub(super) fn describe(name: &QueueName, snapshot: &Snapshot) -> Result<String, Error> {
    let report = Report::new(name, snapshot);
    let unit = unit(snapshot.kind);
    let mut out = String::new();
    let private = if report.private { "private, " } else { "" };
    writeln!(out, "queue     {name}, {private}{}", state(&report))?;
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
    writeln!(out, "identity  {}", report.identity)?;
    writeln!(out, "producer  {}", producer(&report, unit))?;
    consumers(&mut out, &report, snapshot, unit)?;
    groups(&mut out, &report, unit)?;
    Ok(out)
}

fn state(report: &Report<'_>) -> String {
    match (report.ending, report.reason) {
        ("aborted", Some(reason)) if !reason.is_empty() => {
            // Other programs may have written anything there: no control characters on our
            // terminal.
            format!("aborted: {}", reason.escape_debug())
        }
        ("aborted", _) => "aborted".to_owned(),
        ("finished", _) => "closed: everything is sent".to_owned(),
        _ if report.full => "full".to_owned(),
        _ => "open".to_owned(),
    }
}

fn producer(report: &Report<'_>, unit: &str) -> String {
    let pid = report.producer.pid;
    let epoch = match report.epoch {
        0 => String::new(),
        epoch => format!(", epoch {epoch}: took over from one that had died"),
    };
    if !report.producer.lives {
        return format!("pid {pid} as it said, dead: its process is gone{epoch}");
    }
    let waits = match report.waits_for {
        0 => String::new(),
        _ if report.closed => String::new(),
        _ if report.consumers.is_empty() && !report.full => {
            ", waits for a consumer to send to".to_owned()
        }
        room if unit.is_empty() => format!(", waits for {} places", grouped(room)),
        room => format!(", waits for {}{unit}", grouped(room)),
    };
    format!("pid {pid} as it says, alive{waits}{epoch}")
}

fn consumers(
    out: &mut String,
    report: &Report<'_>,
    snapshot: &Snapshot,
    unit: &str,
) -> Result<(), Error> {
    if report.consumers.is_empty() {
        return writeln!(out, "consumers none (taps are registered nowhere)");
    }
    // Other programs may have written anything there.
    let group = |row: &Row<'_>| row.group.unwrap_or("-").escape_debug().to_string();
    let wide = width(report.consumers.iter().map(|row| group(row).len()), "group");
    writeln!(
        out,
        "slot  {:<11}{:<wide$}  {:>8}{:>7}{:>12}  label",
        "kind", "group", "pid", "since", "lag"
    )?;
    let now = now();
    let kind = |row: &Row<'_>| match row.policy.as_str() {
        "block" => row.kind.to_owned(),
        policy => policy.to_owned(),
    };
    for row in &report.consumers {
        let gates = match row {
            Row { alive: Some(false), blocks: true, .. } => {
                "  <- dead, blocks the producer".to_owned()
            }
            Row { alive: Some(false), .. } => "  <- dead".to_owned(),
            Row { blocks: true, .. } => "  <- blocks the producer".to_owned(),
            Row { gates: true, .. } if snapshot.kind == Kind::Records => {
                let room = snapshot.capacity.saturating_sub(row.lag);
                format!("  <- gates: room for {}{unit}", grouped(room))
            }
            Row { gates: true, .. } => "  <- gates".to_owned(),
            Row { missed: 1.., .. } => format!("  <- missed {} messages", grouped(row.missed)),
            _ => String::new(),
        };
        writeln!(
            out,
            "{:>4}  {:<11}{:<wide$}  {:>8}{:>7}{:>12}  {}{gates}",
            row.slot,
            kind(row),
            group(row),
            row.pid,
            ago(now.saturating_sub(row.since)),
            grouped(row.lag) + unit,
            row.label.escape_debug()
        )?;
    }
    if report.private {
        writeln!(
            out,
            "The lags are as of the producer's last look. Who is alive, nobody else knows."
        )?;
    }
    Ok(())
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How long ago: in the largest unit of which it is at least two.
fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The groups without a member. Groups with members are listed beside them.
fn groups(out: &mut String, report: &Report<'_>, unit: &str) -> Result<(), Error> {
    for group in report.groups.iter().filter(|group| group.redelivered > 0) {
        let (name, redelivered) = (group.name.escape_debug(), grouped(group.redelivered));
        writeln!(
            out,
            "group \"{name}\": {redelivered}{unit} went to a second member, because the first had died"
        )?;
    }
    let empty = || report.groups.iter().filter(|group| group.members == 0);
    if empty().next().is_none() {
        return Ok(());
    }
    let called = |group: &Group<'_>| group.name.escape_debug().to_string();
    let title = "group without a member";
    let wide = width(empty().map(|group| called(group).len()), title);
    writeln!(out, "{title:<wide$}{:>14}  its place", "lag")?;
    for group in empty() {
        let place = match group {
            Group { overwritten: true, .. } => "overwritten",
            Group { blocks: true, .. } => "held  <- blocks the producer",
            Group { holds: true, .. } => "held: the producer waits for it",
            _ => "kept until the producer overwrites it",
        };
        writeln!(out, "{:<wide$}{:>14}  {place}", called(group), grouped(group.lag) + unit)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_one_unit() {
        let told = [0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(ago);
        assert_eq!(told, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]);
    }
}
