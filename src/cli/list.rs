//! `fanout ls`: the queues of this host.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use fanout::QueueName;
use fanout::error::{Holder, JoinError, OpenError};
use fanout::inspect::{Observer, Snapshot, observe};
use fanout::records::hosting::{self, HostState};
use fanout::segment::{Kind, Mode, Segment};
use serde::Serialize;
use yardstick::report::grouped;

use super::column::{kind, unit, width};
use super::custody::{Custody, alive};
use super::place::Place;
use super::print;
use super::stat::clients;
use super::terminal::say;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Print JSON: an array with one object for each queue
    #[arg(long)]
    json: bool,
}

/// What lies under a name. In JSON, a queue that cannot be looked into has a name and an error.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry {
    Queue(Queue),
    Server(Server),
    Refused { name: String, error: String },
}

/// A server of tasks.
#[derive(Serialize)]
struct Server {
    name: String,
    /// "tasks".
    kind: &'static str,
    /// How many clients it has.
    clients: usize,
    /// How many tasks these have issued, and how many of them are done.
    issued: u64,
    done: u64,
}

#[derive(Serialize)]
struct Queue {
    name: String,
    /// "ring", "records", "log", "latest" or "topics"; with "records", capacity and sent count bytes, not messages.
    kind: String,
    /// Whether each of its consumers has a page of its own, and its producer's process hands it out.
    private: bool,
    message_type: String,
    message_size: u64,
    capacity: u64,
    bytes: u64,
    /// A log has neither this nor what follows.
    sent: Option<u64>,
    closed: Option<bool>,
    consumers: Option<usize>,
    /// Whether its producer has died.
    dead: bool,
    /// How many of its consumers are alive; null where nobody but its producer knows.
    attached: Option<usize>,
    #[serde(skip)]
    of: Kind,
    #[serde(skip)]
    custody: Custody,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut names: Vec<QueueName> = std::fs::read_dir("/dev/shm")?
        .filter_map(|entry| QueueName::new(entry.ok()?.file_name().to_str()?).ok())
        .collect();
    names.sort();
    let (mut entries, mut failures) = (Vec::new(), Vec::new());
    for name in &names {
        match look(name) {
            Ok(entry) => entries.extend(entry),
            Err(error) => failures.push(error),
        }
    }
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

/// What is there; `None` if it is no queue that can be used. An error if this process could not look.
fn look(name: &QueueName) -> Result<Option<Entry>, OpenError> {
    let called = name.as_str().to_owned();
    if let Some(state) = hosting::state(name) {
        return look_at_host(called, name, state);
    }
    let queue = Segment::open(name, Mode::Observer, Duration::ZERO)
        .and_then(|segment| Queue::new(called.clone(), name, &segment));
    Ok(match queue {
        Ok(queue) => Some(Entry::Queue(queue)),
        Err(OpenError::NotReady { .. }) if is_left_unfinished(name) => {
            Some(Entry::Refused { name: called, error: UNFINISHED.to_owned() })
        }
        // Not mapped, so nobody knows whether it is a queue.
        Err(OpenError::Owner { found, bytes, .. }) => {
            let error =
                format!("belongs to user {found}, {} bytes: not looked into", grouped(bytes));
            Some(Entry::Refused { name: called, error })
        }
        Err(error @ (OpenError::Permission { .. } | OpenError::Version { .. })) => {
            Some(Entry::Refused { name: called, error: error.to_string() })
        }
        Err(error @ OpenError::System { .. }) => return Err(error),
        Err(_) => None,
    })
}

/// What a host has under its name.
fn look_at_host(
    called: String,
    name: &QueueName,
    state: HostState,
) -> Result<Option<Entry>, OpenError> {
    if state == HostState::Living
        && let Ok(Some(report)) = clients::ask(&Place::Name(name.clone()))
    {
        return Ok(Some(Entry::Server(Server::new(&report))));
    }
    let error = match state {
        HostState::Dead => ABANDONED.to_owned(),
        HostState::OtherUser(user) => format!("belongs to user {user}: not looked into"),
        _ => match observe(name, Duration::ZERO) {
            Ok(queue) => {
                return Ok(Some(Entry::Queue(Queue::private(called, &queue.snapshot()))));
            }
            // It has ended meanwhile.
            Err(JoinError::Open(OpenError::NotFound { .. })) => return Ok(None),
            Err(JoinError::Open(error @ OpenError::System { .. })) => return Err(error),
            Err(error) => error.to_string(),
        },
    };
    Ok(Some(Entry::Refused { name: called, error }))
}

/// What is said of a name at which nobody listens any more.
const ABANDONED: &str = "dead: the producer of this private queue died, or a server of tasks, and its memory went with it; remove the name (fanout clean)";

/// What is said of a queue that is no queue yet.
const UNFINISHED: &str = "dead: its producer died while it made it; remove it (fanout clean)";

fn is_left_unfinished(name: &QueueName) -> bool {
    Segment::is_unfinished(name) && Segment::holder(name) == Holder::Dead
}

impl Server {
    fn new(report: &clients::Report) -> Self {
        let clients = &report.clients;
        Self {
            name: report.name.clone(),
            kind: report.kind,
            clients: clients.len(),
            issued: clients.iter().map(|client| client.issued).sum(),
            done: clients.iter().map(|client| client.done).sum(),
        }
    }
}

impl Queue {
    /// A queue whose host is alive.
    fn private(called: String, snapshot: &Snapshot) -> Self {
        Self {
            name: called,
            kind: kind(snapshot.kind),
            private: true,
            message_type: snapshot.message_type.clone(),
            message_size: snapshot.message_size,
            capacity: snapshot.capacity,
            bytes: snapshot.bytes,
            sent: Some(snapshot.sent()),
            closed: Some(snapshot.closed),
            consumers: Some(snapshot.consumers.len()),
            dead: false,
            // Nobody but its producer knows.
            attached: None,
            of: snapshot.kind,
            custody: Custody::Producer,
        }
    }

    fn new(called: String, name: &QueueName, segment: &Segment) -> Result<Self, OpenError> {
        let (geometry, custody) = (segment.geometry(), Custody::of(name, segment));
        let (mut sent, mut closed, mut consumers, mut attached) = (None, None, None, None);
        if matches!(geometry.kind(), Kind::Ring | Kind::Records) {
            let snapshot = Observer::open(name, Duration::ZERO)?.snapshot();
            (sent, closed) = (Some(snapshot.sent()), Some(snapshot.closed));
            consumers = Some(snapshot.consumers.len());
            attached = Some(alive(&snapshot));
        }
        Ok(Self {
            name: called,
            kind: kind(geometry.kind()),
            private: false,
            message_type: geometry.message_type().to_owned(),
            message_size: geometry.element_size(),
            capacity: geometry.capacity(),
            bytes: geometry.total_len(),
            sent,
            closed,
            consumers,
            dead: custody != Custody::Producer,
            attached,
            of: geometry.kind(),
            custody,
        })
    }
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
            Entry::Server(Server { name, kind, clients, issued, done }) => {
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
