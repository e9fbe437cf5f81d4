//! What `fanout pub` does about a queue of its name that a dead producer has left.

use fanout::error::{
    CreateError, Holder, OpenError, RemoveError, ResumeError, SegmentCreateError, SucceedError,
};
use fanout::inspect::Burial;
use fanout::records::ends::Writer;
use fanout::segment::Segment;
use fanout::wait::AnyStrategy;
use fanout::{QueueName, QueueOptions};
use yardstick::report::grouped;

use super::terminal::say;

/// Creates the queue. One that a dead producer has left is taken over if somebody is attached to it, and
/// replaced otherwise; it says which.
pub(crate) fn establish(
    name: &QueueName,
    options: &QueueOptions,
) -> anyhow::Result<Writer<AnyStrategy>> {
    let mut replaced = None;
    loop {
        match Writer::create_with(name, options) {
            Err(CreateError::Segment(SegmentCreateError::Taken { by: Holder::Dead, .. })) => {}
            created => {
                let writer = created?;
                if let Some(why) = replaced {
                    say(&format!("replaced the queue {name}: its producer had died, and {why}"));
                }
                return Ok(writer);
            }
        }
        // From here on another process may be faster than we are. Then the next round finds out.
        match Segment::remove_unused(name) {
            Ok(()) => {
                replaced = Some("nobody was attached");
                continue;
            }
            Err(RemoveError::Open(OpenError::NotFound { .. })) => continue,
            Err(RemoveError::Held { has_producer: true, .. }) => continue,
            Err(RemoveError::Held { has_producer: false, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match Writer::resume_with(name, options) {
            Ok(writer) => return Ok(taken_over(name, options, writer)),
            Err(ResumeError::Succeed(
                SucceedError::Living { .. } | SucceedError::Open(OpenError::NotFound { .. }),
            )) => {}
            // The consumers that are attached wait for nothing more, and keep their queue.
            Err(ResumeError::Ended { .. }) => match Segment::remove_dead(name) {
                Ok(()) => replaced = Some("it was closed"),
                Err(RemoveError::Open(OpenError::NotFound { .. }) | RemoveError::Held { .. }) => {}
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

fn taken_over(
    name: &QueueName,
    options: &QueueOptions,
    mut writer: Writer<AnyStrategy>,
) -> Writer<AnyStrategy> {
    // The dead are no reason not to wait for a consumer.
    for consumer in writer.consumers() {
        if matches!(writer.evict_dead(&consumer), Ok(Burial::Freed | Burial::Waits { .. })) {
            say(&format!("{} of {name} had died, too", super::laggard::describe(&consumer)));
        }
    }
    let (sent, next) = (writer.sent(), writer.next_sequence());
    let attached = match super::custody::living(&writer.consumers()) {
        1 => "1 consumer is".to_owned(),
        n => format!("{n} consumers are"),
    };
    say(&format!(
        "took over the queue {name}, whose producer had died: {attached} attached; goes on after {} messages, at \
         sequence {next}",
        grouped(sent)
    ));
    if writer.capacity() < options.capacity() {
        say(&format!("the queue keeps its capacity of {} bytes", grouped(writer.capacity())));
    }
    writer
}
