//! `fanout ls`: the queues of this host.

use std::fmt::Write;

use clap::Args;
use fanout::inspect::listing::{self, Custody, Entry, Listing, Queue, Server};
use fanout::segment::Kind;
use yardstick::report::grouped;

use super::column::{unit, width};
use super::print;
use super::terminal::say;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Print JSON: an array with one object for each queue
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Listing { entries, mut failures, .. } = listing::list()?;
    if arguments.json {
        print(&(serde_json::to_string_pretty(&entries)? + "\n"))?;
    } else {
        print(&table(&entries)?)?;
    }
    // The last is told by whom all errors are told.
    let Some(last) = failures.pop() else { return Ok(()) };
    failures.iter().for_each(|failure| say(&format!("error: {failure}")));
    Err(last.into())
}

/// What is said behind a queue whose producer has died.
fn mark(custody: Custody) -> String {
    match custody {
        Custody::Producer => String::new(),
        Custody::Attached { consumers: 0, .. } => "  <- dead, still open".to_owned(),
        Custody::Attached { consumers, .. } => format!("  <- dead, {consumers} attached"),
        Custody::Nobody => "  <- dead".to_owned(),
    }
}

fn table(entries: &[Entry]) -> Result<String, std::fmt::Error> {
    let name = |entry: &Entry| match entry {
        Entry::Queue(Queue { name, .. })
        | Entry::Server(Server { name, .. })
        | Entry::Refused { name, .. } => name.len(),
    };
    let wide = width(entries.iter().map(name), "name");
    let mut out = format!(
        "{:<wide$}  {:<8}{:>12}{:>16}{:>20}{:>12}  type\n",
        "name", "kind", "size", "capacity", "sent", "consumers"
    );
    for entry in entries {
        let queue = match entry {
            Entry::Queue(queue) => queue,
            Entry::Server(Server { name, kind, clients, issued, done, .. }) => {
                let (issued, done) = (grouped(*issued), grouped(*done));
                writeln!(
                    out,
                    "{name:<wide$}  {kind:<8}a server; clients: {clients}; their tasks: {issued}, done: {done}"
                )?;
                continue;
            }
            Entry::Refused { name, error } => {
                writeln!(out, "{name:<wide$}  {error}")?;
                continue;
            }
        };
        let unit = unit(queue.of);
        let size = match queue.of {
            Kind::Records => "any".to_owned(),
            _ => grouped(queue.message_size),
        };
        let sent = queue.sent.map_or("-".to_owned(), |sent| grouped(sent) + unit);
        let consumers = queue.consumers.map_or("-".to_owned(), |count| count.to_string());
        writeln!(
            out,
            "{:<wide$}  {:<8}{size:>12}{:>16}{sent:>20}{consumers:>12}  {}{}",
            queue.name,
            if queue.private { "private" } else { &queue.kind },
            grouped(queue.capacity) + unit,
            queue.message_type.escape_debug(),
            mark(queue.custody)
        )?;
    }
    Ok(out)
}
