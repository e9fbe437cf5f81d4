//! `fanout evict`: frees the slot of a dead consumer.

use std::io::{BufRead, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use fanout::inspect::{self, ConsumerInfo, Observer};
use fanout::segment::READY_TIMEOUT;
use fanout::{QueueName, SLOTS};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::laggard::describe;
use super::print;
use super::signals::Signals;
use super::terminal::typed;

#[derive(Args)]
#[command(after_help = DEAD)]
pub(crate) struct Arguments {
    /// The queue's name
    name: QueueName,
    /// The number of the slot, as `fanout stat` shows it
    #[arg(value_parser = slot)]
    slot: usize,
    /// Do not ask on the terminal; needed where there is none
    #[arg(long)]
    yes: bool,
}

const DEAD: &str = "\
You say that the consumer is dead; nobody checks it. Its process number proves
nothing: it may belong to another container, or to another process by now. What
the consumer had not read is given up; what a member of a group had in hand goes
to no other member.

A consumer that lives may be reading a message at this moment: the producer then
overwrites what it reads, and nothing that it makes of it can be trusted. When it
looks at the queue next it learns that it was evicted; `fanout sub` then ends with
an error. So stop the consumer first if you can.

Without --yes you are asked on the terminal; where there is none, nothing happens.";

/// How long a step may take before the command looks at signals.
const SLICE: Duration = Duration::from_millis(50);

fn slot(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(slot) if slot < SLOTS => Ok(slot),
        _ => Err(format!("expected the number of a slot, 0 to {}", SLOTS - 1)),
    }
}

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    let (name, slot) = (&arguments.name, arguments.slot);
    let snapshot = Observer::open(name, READY_TIMEOUT)?.snapshot();
    let consumer = snapshot.consumers.into_iter().find(|consumer| consumer.slot == slot);
    let consumer = consumer.with_context(|| {
        let typed = typed(name.as_str());
        format!("slot {slot} of {name} is empty: nothing to evict; see fanout stat {typed}")
    })?;
    if !arguments.yes && !is_confirmed(name, &consumer, signals)? {
        bail!("nothing was evicted");
    }
    // SAFETY: the operator says that the consumer is dead, and could read what happens otherwise. We do
    // not ask about its process number: that number may belong to another process by now.
    let evicted = unsafe { inspect::evict(name, &consumer, READY_TIMEOUT) }?;
    ensure!(evicted, "{} has left {name} meanwhile: nothing was evicted", describe(&consumer));
    print(&format!("evicted {}: slot {slot} of {name} is free\n", describe(&consumer)))
}

fn is_confirmed(
    name: &QueueName,
    consumer: &ConsumerInfo,
    signals: &Signals,
) -> anyhow::Result<bool> {
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    ensure!(
        stdin.is_terminal() && stderr.is_terminal(),
        "is {} of {name} dead? There is no terminal to ask on: say --yes if it is",
        describe(consumer)
    );
    write!(
        stderr,
        "Is {} of {name} dead? A living consumer would read what is being overwritten. Evict it? [y/N] ",
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
