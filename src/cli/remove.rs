//! `fanout rm`: removes what a producer has left behind.

use clap::Args;
use fanout::QueueName;
use fanout::segment::Segment;

#[derive(Args)]
#[command(after_help = FORCE)]
pub(crate) struct Arguments {
    /// The queue's name
    name: QueueName,
    /// Even if a producer, a consumer or a tap has it open
    #[arg(long)]
    force: bool,
}

const FORCE: &str = "\
A queue that its producer, a consumer or a tap has open is refused. With --force
its name goes away all the same: a process that has the queue open goes on with
it, but nobody else finds it any more.";

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let name = &arguments.name;
    Ok(if arguments.force { Segment::remove(name) } else { Segment::remove_unused(name) }?)
}
