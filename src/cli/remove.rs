//! `fanout rm`: removes what a producer has left behind.

use anyhow::bail;
use clap::Args;
use fanout::QueueName;
use fanout::error::RemoveError;
use fanout::records::hosting::{self, HostState};
use fanout::segment::Segment;

use super::place::Place;
use super::stat::clients;

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
A queue that its producer, a consumer or a tap has open is refused, and so is the name
of a server of tasks that is alive. With --force the name goes away all the same: a
process that has the queue open goes on with it, but nobody else finds it any more.";

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let name = &arguments.name;
    if let Some(state) = hosting::state(name) {
        let removed = match state {
            HostState::Living if !arguments.force && is_server(name) => {
                bail!(
                    "{name} is the name of a server of tasks that is alive: end it, or remove its name with --force"
                );
            }
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

fn is_server(name: &QueueName) -> bool {
    clients::ask(&Place::Name(name.clone())).is_ok_and(|found| found.is_some())
}
