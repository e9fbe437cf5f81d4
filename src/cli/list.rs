//! `fanout ls`: the queues of this host.

use std::fmt::Write;
use std::time::Duration;

use common::report::grouped;
use fanout::QueueName;
use fanout::error::OpenError;
use fanout::inspect::Observer;
use fanout::segment::{Kind, Mode, Segment};

use super::column::{kind, unit, width};
use super::print;

pub(crate) fn run() -> anyhow::Result<()> {
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
