//! `fanout rm`: removes what a producer has left behind.

use clap::Args;
use fanout::QueueName;
use fanout::error::RemoveError;
use fanout::records::hosting::{self, HostState};
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
    if let Some(state) = hosting::state(name) {
        let removed = match state {
            HostState::Living if !arguments.force => {
                return Err(RemoveError::Held { name: name.clone(), has_producer: true }.into());
            }
            HostState::Living => hosting::remove(name)?,
            _ => hosting::remove_dead(name)?,
        };
        if removed {
            return Ok(());
        }
    }
    // Also where another process was faster: this says what is there now.
    Ok(if arguments.force { Segment::remove(name) } else { Segment::remove_unused(name) }?)
}
