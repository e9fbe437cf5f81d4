//! What `fanout pub` does about a queue of its name that a dead producer has left.

use std::time::Duration;

use anyhow::bail;
use fanout::error::{
    CreateError, Holder, OpenError, RemoveError, ResumeError, SegmentCreateError, SucceedError,
};
use fanout::inspect::listing::{Custody, living};
use fanout::inspect::{Burial, ConsumerKind, Observer, Snapshot};
use fanout::records::ends::Writer;
use fanout::records::error::HostError;
use fanout::records::hosting;
use fanout::segment::{Mode, Segment};
use fanout::wait::AnyStrategy;
use fanout::{QueueName, QueueOptions};
use yardstick::report::grouped;

use super::terminal::{say, typed};

/// What kind of queue is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its consumers write their places into it.
    Shared,
    /// Each of its consumers has a page of its own.
    Private,
}

impl Kind {
    fn create(
        self,
        name: &QueueName,
        options: &QueueOptions,
    ) -> Result<Writer<AnyStrategy>, HostError> {
        match self {
            Self::Shared => Ok(Writer::create_with(name, options)?),
            Self::Private => Writer::host(name, options),
        }
    }
}

/// Creates the queue. One that a dead producer has left is taken over if somebody is attached to it, or if a group
/// holds messages there. It is replaced otherwise; this says which.
pub(crate) fn establish(
    name: &QueueName,
    options: &QueueOptions,
    kind: Kind,
) -> anyhow::Result<Writer<AnyStrategy>> {
    let mut replaced = None;
    loop {
        if hosting::remove_dead(name)? {
            replaced = Some("its memory has gone with it".to_owned());
        }
        match kind.create(name, options) {
            Err(HostError::Create(CreateError::Segment(SegmentCreateError::Taken {
                by: Holder::Dead,
                ..
            }))) => {}
            created => {
                let writer = created?;
                if let Some(why) = replaced {
                    say(&format!("replaced the queue {name}: its producer had died, and {why}"));
                }
                return Ok(writer);
            }
        }
        // From here on another process may be faster than we are. Then the next round finds out.
        match step(name, options, kind)? {
            Step::TakenOver(writer) => return Ok(*writer),
            Step::Removed(why) => replaced = Some(why),
            Step::Again => {}
        }
    }
}

/// What was done about a dead producer's queue.
enum Step {
    TakenOver(Box<Writer<AnyStrategy>>),
    /// Its name is free, and why it was not taken over.
    Removed(String),
    Again,
}

fn step(name: &QueueName, options: &QueueOptions, kind: Kind) -> anyhow::Result<Step> {
    let held = held(name);
    if held.is_none() {
        match Segment::remove_unused(name) {
            Ok(()) => return Ok(Step::Removed("nobody was attached".to_owned())),
            Err(RemoveError::Open(OpenError::NotFound { .. }))
            | Err(RemoveError::Held { has_producer: true, .. }) => return Ok(Step::Again),
            Err(RemoveError::Held { has_producer: false, .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if kind == Kind::Private {
        return if is_ended(name) { remove_ended(name, held) } else { refuse(name, held) };
    }
    match Writer::resume_with(name, options) {
        Ok(writer) => Ok(Step::TakenOver(Box::new(taken_over(name, options, writer, held)))),
        Err(ResumeError::Succeed(
            SucceedError::Living { .. } | SucceedError::Open(OpenError::NotFound { .. }),
        )) => Ok(Step::Again),
        Err(ResumeError::Ended { .. }) => remove_ended(name, held),
        Err(error) => Err(error.into()),
    }
}

/// Removes the name of a queue that was closed. The consumers that are attached wait for nothing more, and keep it.
fn remove_ended(name: &QueueName, held: Option<String>) -> anyhow::Result<Step> {
    match Segment::remove_dead(name) {
        Ok(()) => Ok(Step::Removed(match held {
            None => "it was closed".to_owned(),
            Some(held) => format!("it was closed; nobody will read {held}"),
        })),
        Err(RemoveError::Open(OpenError::NotFound { .. }) | RemoveError::Held { .. }) => {
            Ok(Step::Again)
        }
        Err(error) => Err(error.into()),
    }
}

fn snapshot(name: &QueueName) -> Option<Snapshot> {
    Some(Observer::open(name, Duration::ZERO).ok()?.snapshot())
}

fn is_ended(name: &QueueName) -> bool {
    snapshot(name).is_none_or(|snapshot| snapshot.closed)
}

/// What a group has yet to read for which the producer waits, also while it has no member.
fn held(name: &QueueName) -> Option<String> {
    let snapshot = snapshot(name)?;
    // A member that has died may hold what its group has claimed.
    let in_hand = |group: &str| {
        let members = snapshot.consumers.iter().filter(
            |consumer| matches!(&consumer.kind, ConsumerKind::Member { group: of } if of == group),
        );
        members.map(|member| member.lag).max().unwrap_or(0)
    };
    let groups = snapshot.groups.iter().filter(|group| group.holds);
    groups
        .map(|group| (group, group.lag.max(in_hand(&group.name))))
        .filter(|(group, lag)| *lag > 0 || snapshot.closed && group.holds_end)
        .max_by_key(|(_, lag)| *lag)
        .map(|(group, lag)| match (group.name.escape_debug(), lag) {
            (name, 0) => format!("the end, for which the group \"{name}\" waits"),
            (name, lag) => format!("the {} bytes that the group \"{name}\" holds", grouped(lag)),
        })
}

/// A private queue cannot go on where another kind of queue has ended.
fn refuse(name: &QueueName, held: Option<String>) -> anyhow::Result<Step> {
    let attached = || {
        let segment = Segment::open(name, Mode::Observer, Duration::ZERO).ok()?;
        Custody::of(name, &segment).why_not()
    };
    let why = match held {
        Some(held) => format!("it keeps {held}"),
        None => attached().unwrap_or_else(|| "attached: somebody has it open".to_owned()),
    };
    let typed = typed(name.as_str());
    bail!(
        "the producer of {name} has died, and {why}: expected a free name, because a private queue takes no other \
         over; go on with `fanout pub {typed}` without --private, or give it up with `fanout rm --force {typed}`"
    )
}

fn taken_over(
    name: &QueueName,
    options: &QueueOptions,
    mut writer: Writer<AnyStrategy>,
    held: Option<String>,
) -> Writer<AnyStrategy> {
    // The dead are no reason not to wait for a consumer.
    for consumer in writer.consumers() {
        if matches!(writer.evict_dead(&consumer), Ok(Burial::Freed | Burial::Waits { .. })) {
            say(&format!("{} of {name} had died, too", super::laggard::describe(&consumer)));
        }
    }
    let (sent, next) = (writer.sent(), writer.next_sequence());
    let attached = match (living(&writer.consumers()), held) {
        (0, Some(held)) => format!("nobody is attached, but there are {held}"),
        (1, _) => "1 consumer is attached".to_owned(),
        (n, _) => format!("{n} consumers are attached"),
    };
    say(&format!(
        "took over the queue {name}, whose producer had died: {attached}; goes on after {} messages, at sequence {next}",
        grouped(sent)
    ));
    if writer.capacity() < options.capacity() {
        say(&format!("the queue keeps its capacity of {} bytes", grouped(writer.capacity())));
    }
    writer
}
