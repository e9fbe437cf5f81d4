//! `fanout ls` and `fanout stat`: what is there, and how it goes.

use std::fmt::Write;
use std::io::IsTerminal;
use std::thread;
use std::time::Duration;

use clap::Args;
use common::report::grouped;
use fanout::QueueName;
use fanout::error::OpenError;
use fanout::inspect::{ConsumerKind, Observer, Snapshot};
use fanout::segment::{Kind, Mode, READY_DEADLINE, Segment};
use serde::Serialize;

use super::print;
use super::signals::Signals;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The queue's name
    name: QueueName,
    /// Show it again every half second, until the producer closes or Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print JSON; with --watch, one object a line
    #[arg(long)]
    json: bool,
}

const EVERY: Duration = Duration::from_millis(500);

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    let queue = Observer::open(&arguments.name, READY_DEADLINE)?;
    let screen = std::io::stdout().is_terminal();
    loop {
        let snapshot = queue.snapshot();
        let text = if arguments.json {
            let report = Report::new(&arguments.name, &snapshot);
            let json = if arguments.watch {
                serde_json::to_string(&report)?
            } else {
                serde_json::to_string_pretty(&report)?
            };
            json + "\n"
        } else {
            // With --watch, each picture takes the place of the one before.
            let home = if arguments.watch && screen { "\x1b[H\x1b[2J" } else { "" };
            format!("{home}{}", describe(&arguments.name, &snapshot)?)
        };
        print(&text)?;
        if !arguments.watch || snapshot.closed {
            return Ok(());
        }
        thread::sleep(EVERY);
        signals.check()?;
    }
}

#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    /// "ring" or "records"; with the latter, all that follows counts bytes, not messages.
    kind: String,
    message_type: &'a str,
    message_size: u64,
    capacity: u64,
    bytes: u64,
    first: u64,
    published: u64,
    reserved: u64,
    sent: u64,
    closed: bool,
    full: bool,
    gating_slot: Option<usize>,
    consumers: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    slot: usize,
    kind: &'static str,
    group: Option<&'a str>,
    label: &'a str,
    pid: u32,
    lag: u64,
    gates: bool,
}

impl<'a> Report<'a> {
    fn new(name: &'a QueueName, snapshot: &'a Snapshot) -> Self {
        let gating = snapshot.gating();
        let rows = snapshot.consumers.iter().map(|consumer| {
            let (kind, group) = match &consumer.kind {
                ConsumerKind::Broadcast => ("broadcast", None),
                ConsumerKind::Member { group } => ("member", Some(group.as_str())),
            };
            let gates = gating.is_some_and(|gating| gating.slot == consumer.slot);
            let (slot, label, pid, lag) =
                (consumer.slot, consumer.label.as_str(), consumer.owner, consumer.lag);
            Row { slot, kind, group, label, pid, lag, gates }
        });
        Self {
            name: name.as_str(),
            kind: kind(snapshot.kind),
            message_type: &snapshot.message_type,
            message_size: snapshot.message_size,
            capacity: snapshot.capacity,
            bytes: snapshot.bytes,
            first: snapshot.first,
            published: snapshot.published,
            reserved: snapshot.reserved,
            sent: snapshot.sent(),
            closed: snapshot.closed,
            full: gating.is_some_and(|gating| gating.lag >= snapshot.capacity),
            gating_slot: gating.map(|gating| gating.slot),
            consumers: rows.collect(),
        }
    }
}

fn describe(name: &QueueName, snapshot: &Snapshot) -> Result<String, std::fmt::Error> {
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

/// One word for it.
fn kind(kind: Kind) -> String {
    if kind == Kind::Records { "records".to_owned() } else { kind.to_string() }
}

/// What stands behind a number of messages, or of bytes of a ring of records.
fn unit(kind: Kind) -> &'static str {
    if kind == Kind::Records { " B" } else { "" }
}

/// How wide a column has to be.
fn width(lengths: impl Iterator<Item = usize>, title: &str) -> usize {
    lengths.chain([title.len()]).max().unwrap_or(0)
}

pub(crate) fn list() -> anyhow::Result<()> {
    let mut names: Vec<QueueName> = std::fs::read_dir("/dev/shm")?
        .filter_map(|entry| QueueName::new(entry.ok()?.file_name().to_str()?).ok())
        .collect();
    names.sort();
    let wide = width(names.iter().map(|name| name.as_str().len()), "name");
    let mut out = format!(
        "{:<wide$}  {:<8}{:>12}{:>16}{:>20}{:>12}  type\n",
        "name", "kind", "size", "capacity", "sent", "consumers"
    );
    for name in names {
        let segment = match Segment::open(&name, Mode::Observer, Duration::ZERO) {
            Ok(segment) => segment,
            Err(error @ (OpenError::Permission { .. } | OpenError::Version { .. })) => {
                writeln!(out, "{:<wide$}  {error}", name.as_str())?;
                continue;
            }
            // Whatever else this is, it is no queue that could be used.
            Err(_) => continue,
        };
        let geometry = segment.geometry();
        let (mut sent, mut consumers) = ("-".to_owned(), "-".to_owned());
        let unit = unit(geometry.kind());
        if matches!(geometry.kind(), Kind::Ring | Kind::Records) {
            let Ok(queue) = Observer::open(&name, Duration::ZERO) else { continue };
            let snapshot = queue.snapshot();
            sent = grouped(snapshot.sent()) + unit;
            consumers = snapshot.consumers.len().to_string();
        }
        let size = match geometry.kind() {
            Kind::Records => "any".to_owned(),
            _ => grouped(geometry.element_size()),
        };
        writeln!(
            out,
            "{:<wide$}  {:<8}{size:>12}{:>16}{sent:>20}{consumers:>12}  {}",
            name.as_str(),
            kind(geometry.kind()),
            grouped(geometry.capacity()) + unit,
            geometry.message_type().escape_debug()
        )?;
    }
    print(&out)
}
