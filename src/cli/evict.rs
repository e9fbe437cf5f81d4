//! `fanout evict`: frees the slot of a dead consumer, and by force takes it from one that lives.

use std::io::{BufRead, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use fanout::QueueName;
use fanout::error::{EvictError, OpenError};
use fanout::inspect::{self, Burial, ConsumerInfo, EvictDeadError, observe};
use fanout::segment::READY_TIMEOUT;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::laggard::describe;
use super::print;
use super::terminal::typed;
use yardstick::signals::Signals;

#[derive(Args)]
#[command(after_help = DEAD)]
pub(crate) struct Arguments {
    /// The queue's name
    name: QueueName,
    /// The number of the slot, as `fanout stat` shows it
    slot: usize,
    /// Even if the consumer is alive: it loses what it has not read
    #[arg(long)]
    force: bool,
    /// With --force: do not ask on the terminal; needed where there is none
    #[arg(long)]
    yes: bool,
}

const DEAD: &str = "\
The kernel says whether a consumer is dead, also in another container. A dead one is
freed at once. A producer that waits does so by itself: this is for one that does not.
What a dead member of a group held waits for another member, which gets it. Where there
will be none, `fanout forget` gives it up.

A consumer that lives is evicted with --force only, for example because it is stopped.
What it had not read is given up; what a member of a group had in hand goes to no other
member. It may be reading a message at this moment: the producer then overwrites what
it reads, and nothing that it makes of it can be trusted. When it looks at the queue
next it learns that it was evicted; `fanout sub` then ends with an error. So stop the
consumer first if you can.

Consumers of a private queue (`pub --private`) are evicted by its producer alone: those
that die, and those that hold it back for longer than they promised (`--lag-limit`).

With --force and without --yes you are asked on the terminal; where there is none,
nothing happens.";

/// What is said first about a private queue.
const PRIVATE: &str = "nothing was evicted";

/// How long a step may take before the command looks at signals.
const SLICE: Duration = Duration::from_millis(50);

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    let (name, slot) = (&arguments.name, arguments.slot);
    let snapshot = observe(name, READY_TIMEOUT)?.snapshot();
    if snapshot.private {
        return Err(OpenError::Socket { name: name.clone() }).context(PRIVATE);
    }
    let last = snapshot.slots.saturating_sub(1);
    ensure!(slot <= last, "{name} has slots 0 to {last}, found {slot}: choose one of these");
    let consumer = snapshot.consumers.into_iter().find(|consumer| consumer.slot == slot);
    let consumer = consumer.with_context(|| {
        let typed = typed(name.as_str());
        format!("slot {slot} of {name} is empty: nothing to evict; see fanout stat {typed}")
    })?;
    let left = || format!("{} has left {name} meanwhile: nothing was evicted", describe(&consumer));
    match inspect::evict_dead(name, &consumer, READY_TIMEOUT) {
        Ok(Burial::Freed) => {
            return print(&format!("evicted {} of {name}: it was dead\n", describe(&consumer)));
        }
        Ok(Burial::Waits { group, .. }) => {
            bail!(
                "{} of {name} is dead; what it held waits for another member of group {group:?}: start one, or give \
                 it up: fanout forget {} {}",
                describe(&consumer),
                typed(name.as_str()),
                typed(&group)
            );
        }
        Ok(Burial::Gone) => bail!(left()),
        Err(EvictDeadError::Evict(EvictError::Alive { .. })) => {}
        Err(error) => return Err(error.into()),
    }
    ensure!(
        arguments.force,
        "{} of {name} is alive: stop its process first, or say --force, which costs it what it has not read",
        describe(&consumer)
    );
    if !arguments.yes && !is_confirmed(name, &consumer, signals)? {
        bail!("nothing was evicted");
    }
    // SAFETY: the operator was told what happens to a consumer that reads at this moment, and wants it.
    let evicted = unsafe { inspect::evict(name, &consumer, READY_TIMEOUT) }?;
    ensure!(evicted, left());
    print(&format!(
        "evicted {} of {name}: the producer no longer waits for it; its slot is free when it has left\n",
        describe(&consumer)
    ))
}

fn is_confirmed(
    name: &QueueName,
    consumer: &ConsumerInfo,
    signals: &Signals,
) -> anyhow::Result<bool> {
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    ensure!(
        stdin.is_terminal() && stderr.is_terminal(),
        "{} of {name} is alive, and there is no terminal to ask on: say --force --yes to evict it all the same",
        describe(consumer)
    );
    write!(
        stderr,
        "{} of {name} is alive, and would read what is being overwritten. Evict it? [y/N] ",
        describe(consumer)
    )?;
    loop {
        signals.check()?;
        let mut polled = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::try_from(SLICE).unwrap_or(PollTimeout::ZERO)) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => break,
            Err(errno) => return Err(errno).context("waiting for an answer failed"),
        }
    }
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
