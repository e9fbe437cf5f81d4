//! What there is on this host: queues, and servers of tasks, by their names.

mod custody;

use std::io;
use std::time::Duration;

use common::{QueueName, grouped};
use day2::{Holder, Kind, Mode, OpenError, Segment};
use day3::JoinError;
use day3::inspect::{Observer, Snapshot};
use day4::hosting::{self, HostState, observe};

use crate::tasks;

pub use custody::{Custody, alive, living};

/// What lies under a name. In JSON, a queue that cannot be looked into has a name and an error.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(untagged))]
pub enum Entry {
    /// A queue.
    Queue(Queue),
    /// A server of tasks.
    Server(Server),
    /// A queue that cannot be looked into, or is none any more.
    Refused {
        /// Its name.
        name: String,
        /// Why, and what to do.
        error: String,
    },
}

/// A server of tasks.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Server {
    /// Its name.
    pub name: String,
    /// "tasks".
    pub kind: &'static str,
    /// How many clients it has.
    pub clients: usize,
    /// How many tasks these have issued.
    pub issued: u64,
    /// How many of those are done.
    pub done: u64,
}

/// A queue.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// "ring", "records", "log", "latest" or "topics"; with "records", capacity and sent count bytes, not messages.
    pub kind: String,
    /// Whether each of its consumers has a page of its own, and its producer's process hands it out.
    pub private: bool,
    /// What its messages are called.
    pub message_type: String,
    /// How many bytes each of them has; 0 where they have any size.
    pub message_size: u64,
    /// How much it holds.
    pub capacity: u64,
    /// How much memory it takes.
    pub bytes: u64,
    /// How much was sent. A log has neither this nor what follows.
    pub sent: Option<u64>,
    /// Whether its producer has ended it.
    pub closed: Option<bool>,
    /// How many consumers have a slot.
    pub consumers: Option<usize>,
    /// Whether its producer has died.
    pub dead: bool,
    /// How many of its consumers are alive; none where nobody but its producer knows.
    pub attached: Option<usize>,
    /// Its kind, for programs.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub of: Kind,
    /// Who has it open.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub custody: Custody,
}

/// All that was found, in the order of the names.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// What lies under each name.
    pub entries: Vec<Entry>,
    /// Why this process could not look at the rest.
    pub failures: Vec<OpenError>,
}

/// Looks at everything that has a name on this host. Servers are asked: one that does not answer holds this up until it
/// is given up.
///
/// # Errors
///
/// If the names cannot be read.
pub fn list() -> io::Result<Listing> {
    let mut names: Vec<QueueName> = std::fs::read_dir("/dev/shm")?
        .filter_map(|entry| QueueName::new(entry.ok()?.file_name().to_str()?).ok())
        .collect();
    names.sort();
    let mut listing = Listing::default();
    for name in &names {
        match look(name) {
            Ok(entry) => listing.entries.extend(entry),
            Err(error) => listing.failures.push(error),
        }
    }
    Ok(listing)
}

/// The word for a kind of queue.
pub fn word(kind: Kind) -> String {
    match kind {
        Kind::Records => "records".to_owned(),
        Kind::Latest => "latest".to_owned(),
        Kind::Topics => "topics".to_owned(),
        kind => kind.to_string(),
    }
}

/// What has this name; `None` if it is no queue that can be used.
///
/// # Errors
///
/// [`OpenError::System`]: this process could not look.
pub fn look(name: &QueueName) -> Result<Option<Entry>, OpenError> {
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
        && let Ok(clients) = tasks::clients(hosting::path_of(name))
    {
        return Ok(Some(Entry::Server(Server::new(called, &clients))));
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
    fn new(name: String, clients: &[tasks::ClientInfo]) -> Self {
        Self {
            name,
            kind: "tasks",
            clients: clients.len(),
            issued: clients.iter().map(|client| client.issued).sum(),
            done: clients.iter().map(tasks::ClientInfo::done).sum(),
        }
    }
}

impl Queue {
    /// A queue whose host is alive.
    fn private(called: String, snapshot: &Snapshot) -> Self {
        Self {
            name: called,
            kind: word(snapshot.kind),
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
            kind: word(geometry.kind()),
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
