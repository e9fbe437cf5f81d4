//! `fanout clean`: removes the queues that nobody has open.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use fanout::QueueName;
use fanout::error::{Holder, OpenError, RemoveError};
use fanout::inspect::listing::Custody;
use fanout::records::error::RendezvousError;
use fanout::records::hosting::{self, HostState};
use fanout::segment::{Mode, Segment};

use super::place::Place;
use super::print;
use super::stat::clients;
use super::terminal::say;

#[derive(Args)]
#[command(after_help = WHAT)]
pub(crate) struct Arguments {
    /// The queues to look at; without a name, all that you own
    names: Vec<QueueName>,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

const WHAT: &str = "\
A queue is removed if no process has it open: no producer, no consumer, no tap. The
kernel says so, also of processes in other containers. That includes a queue whose
producer died while it made it. Whatever it still held is gone.

Of a private queue only the name is left when its producer has died, and of a server of
tasks when it was killed; that is removed, too. It is the name of a socket, which the
producer, or the server, had marked (its sticky bit is set).

A queue that consumers have open is left: they read what is there, and a new `fanout
pub` takes it over. Other objects, and other users' queues, are left as they are.";

/// What becomes of a name.
enum Outcome {
    Removed,
    /// It is left, and why.
    Left(String),
    /// There is no queue of that name.
    NoQueue(OpenError),
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let all = arguments.names.is_empty();
    let names = if all { own()? } else { arguments.names.clone() };
    let removed = if arguments.dry_run { "would be removed" } else { "removed" };
    let mut failures = Vec::new();
    for name in &names {
        match clean(name, arguments.dry_run) {
            Ok(Outcome::Removed) => print(&format!("{name}: {removed}\n"))?,
            Ok(Outcome::Left(why)) => print(&format!("{name}: left; {why}\n"))?,
            // Somebody else has removed it, or it never was a queue.
            Ok(Outcome::NoQueue(_)) if all => {}
            Ok(Outcome::NoQueue(error)) => failures.push(error.to_string()),
            Err(error) => failures.push(error.to_string()),
        }
    }
    // The last is told by whom all errors are told.
    let Some(last) = failures.pop() else { return Ok(()) };
    failures.iter().for_each(|failure| say(&format!("error: {failure}")));
    bail!(last)
}

/// The names in `/dev/shm` whose objects this user owns.
fn own() -> std::io::Result<Vec<QueueName>> {
    let user = nix::unistd::geteuid().as_raw();
    let mut names: Vec<QueueName> = std::fs::read_dir("/dev/shm")?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_own = entry.metadata().ok()?.uid() == user;
            QueueName::new(entry.file_name().to_str()?).ok().filter(|_| is_own)
        })
        .collect();
    names.sort();
    Ok(names)
}

/// What becomes of the name that a private queue has, or had.
fn clean_private(
    name: &QueueName,
    state: HostState,
    dry_run: bool,
) -> Result<Outcome, RendezvousError> {
    Ok(match state {
        HostState::Living => {
            let server =
                clients::ask(&Place::Name(name.clone())).is_ok_and(|found| found.is_some());
            let who = if server { "its server is alive" } else { "its producer is alive" };
            Outcome::Left(who.to_owned())
        }
        HostState::OtherUser(user) => Outcome::Left(format!("it belongs to user {user}")),
        _ if dry_run || hosting::remove_dead(name)? => Outcome::Removed,
        _ => Outcome::Left(TAKEN.to_owned()),
    })
}

fn clean(name: &QueueName, dry_run: bool) -> anyhow::Result<Outcome> {
    if let Some(state) = hosting::state(name) {
        return Ok(clean_private(name, state, dry_run)?);
    }
    let custody = match Segment::open(name, Mode::Observer, Duration::ZERO) {
        Ok(segment) => Custody::of(name, &segment),
        // Its creator may still be at it. The removal looks, and waits a while.
        Err(OpenError::NotReady { .. }) if Segment::is_unfinished(name) => {
            match Segment::holder(name) {
                Holder::Living => Custody::Producer,
                _ => Custody::Nobody,
            }
        }
        Err(error @ (OpenError::Version { .. } | OpenError::Damaged { .. })) => {
            return Ok(Outcome::Left(error.to_string()));
        }
        Err(OpenError::Owner { found, .. }) => {
            return Ok(Outcome::Left(format!("it belongs to user {found}")));
        }
        Err(error @ (OpenError::Truncated { .. } | OpenError::Permission { .. })) => {
            return Ok(Outcome::Left(error.to_string()));
        }
        Err(error) => return Ok(Outcome::NoQueue(error)),
    };
    if let Some(why) = custody.why_not() {
        return Ok(Outcome::Left(why));
    }
    if dry_run {
        return Ok(Outcome::Removed);
    }
    match Segment::remove_unused(name) {
        Ok(()) => Ok(Outcome::Removed),
        Err(RemoveError::Held { .. }) => Ok(Outcome::Left(TAKEN.to_owned())),
        Err(RemoveError::Open(error)) => Ok(Outcome::NoQueue(error)),
        Err(error) => Err(error.into()),
    }
}

/// Why a queue is left that nobody had open a moment ago.
const TAKEN: &str = "somebody has opened it just now";
