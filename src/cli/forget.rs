//! `fanout forget`: what the operator does about a group that nobody will join any more.

use anyhow::{Context, bail, ensure};
use clap::Args;
use fanout::QueueName;
use fanout::inspect::{self, ConsumerInfo, ConsumerKind, Observer};
use fanout::segment::READY_TIMEOUT;

use super::print;
use super::terminal::typed;

#[derive(Args)]
#[command(after_help = PLACE)]
pub(crate) struct Arguments {
    /// The queue's name
    name: QueueName,
    /// The group's name, as `fanout stat` shows it
    group: String,
}

const PLACE: &str = "\
A group keeps its place when its last member leaves, and one that was joined with
`fanout sub --hold` lets the producer wait for a member. A group that is forgotten
does neither: the producer goes on, and a member that joins later begins anew.

What its dead members had claimed, and had not done with, is given up: no other member
gets it. A group that has a member that lives is not forgotten.";

pub(crate) fn run(Arguments { name, group }: &Arguments) -> anyhow::Result<()> {
    let snapshot = Observer::open(name, READY_TIMEOUT)?.snapshot();
    snapshot.groups.iter().find(|info| info.name == *group).with_context(|| {
        let typed = typed(name.as_str());
        format!("{name} knows no group {group:?}: see fanout stat {typed}")
    })?;
    let is_of = |consumer: &&ConsumerInfo| {
        consumer.kind == ConsumerKind::Member { group: group.clone() }
            && consumer.alive != Some(false)
    };
    let living = snapshot.consumers.iter().filter(is_of).count();
    let forgotten = inspect::forget(name, group, READY_TIMEOUT)?;
    ensure!(
        forgotten || living > 0,
        "the group {group:?} of {name} has changed meanwhile: nothing was forgotten"
    );
    if !forgotten {
        let members = match living {
            1 => "a member".to_owned(),
            n => format!("{n} members"),
        };
        bail!("the group {group:?} of {name} has {members}: nothing was forgotten");
    }
    print(&format!("forgot the group {group:?} of {name}\n"))
}
