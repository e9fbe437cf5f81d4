//! Scenarios in which a consumer, a member or a tap dies, or another process that does something to the queue.

use std::time::Duration;

use anyhow::{Context, ensure};
use fanout::inspect::{self, Observer};
use fanout::segment::READY_TIMEOUT;
use fanout::{JoinOptions, Start};

use super::Scenario;
use crate::ends::{Kind, Part, Reading, Took};
use crate::mark::Act;
use crate::trial::Trial;
use crate::trials::{Attended, GROUP, Loss, NEW_GROUP, ProducerAsleep, WAITING};

/// How many messages a victim takes.
const MOST: usize = 4;

/// How long a victim waits for a message that does not come.
const WAIT: Duration = Duration::from_millis(1);

/// All of them.
pub(super) fn all(kind: Kind) -> Vec<Scenario> {
    let (broadcast, member, tap) = (Part::Broadcast, Part::Member(GROUP), Part::Tap);
    vec![
        join(kind, "join", broadcast, false),
        join(kind, "join a group", member, false),
        join(kind, "join a new group", Part::Member(NEW_GROUP), false),
        join(kind, "join, and hold", Part::Member(NEW_GROUP), true),
        join(kind, "open a tap", tap, false),
        scenario(kind, "take", broadcast, claim),
        scenario(kind, "claim", member, claim),
        scenario(kind, "claim, contended", member, claim).meddled(),
        scenario(kind, "copy", tap, claim),
        scenario(kind, "release", broadcast, release),
        scenario(kind, "release a claim", member, release),
        scenario(kind, "release a part", broadcast, release_a_part),
        scenario(kind, "release a part of a claim", member, release_a_part),
        wait(kind, "wait", broadcast),
        wait(kind, "wait in a group", member),
        scenario(kind, "leave", broadcast, leave),
        scenario(kind, "leave a group", member, leave),
        evict(kind),
        forget(kind),
        asleep(kind, "release, the producer asleep", broadcast, release),
        asleep(kind, "release a claim, the producer asleep", member, release),
        asleep(kind, "leave, the producer asleep", broadcast, |act, end| {
            act.stage();
            leave(act, end)
        }),
    ]
}

/// What the victim may take with it: no more than it takes.
fn loss(part: Part, most: usize) -> Loss {
    if part == Part::Member(GROUP) { Loss::UpTo(most) } else { Loss::None }
}

fn attended(
    kind: Kind,
    name: &str,
    loss: Loss,
    victim: impl Fn(&Act) -> anyhow::Result<()> + 'static,
) -> Scenario {
    let survivors = move |name| Ok(Box::new(Attended::new(kind, loss, name)?) as Box<dyn Trial>);
    Scenario::new(format!("{kind}: {name}"), victim, survivors)
}

fn join(kind: Kind, name: &str, part: Part, holds: bool) -> Scenario {
    attended(kind, name, Loss::None, move |act| {
        let options = JoinOptions::new().hold_when_empty(holds);
        act.operate(|| kind.join(act.name(), part, Start::Oldest, &options))?;
        Ok(())
    })
}

/// A consumer joins, some messages come, and it dies in this operation.
fn scenario(
    kind: Kind,
    name: &str,
    part: Part,
    operation: impl Fn(&Act, Box<dyn Reading>) -> anyhow::Result<()> + 'static,
) -> Scenario {
    attended(kind, name, loss(part, most(kind)), consumer(kind, part, operation))
}

/// The same, while the producer sleeps from the second stage on.
fn asleep(
    kind: Kind,
    name: &str,
    part: Part,
    operation: impl Fn(&Act, Box<dyn Reading>) -> anyhow::Result<()> + 'static,
) -> Scenario {
    let loss = loss(part, most(kind));
    let survivors =
        move |name| Ok(Box::new(ProducerAsleep::new(kind, loss, name)?) as Box<dyn Trial>);
    Scenario::new(format!("{kind}: {name}"), consumer(kind, part, operation), survivors)
}

fn consumer(
    kind: Kind,
    part: Part,
    operation: impl Fn(&Act, Box<dyn Reading>) -> anyhow::Result<()> + 'static,
) -> impl Fn(&Act) -> anyhow::Result<()> + 'static {
    move |act: &Act| {
        let end = kind.join(act.name(), part, Start::Latest, &JoinOptions::new())?;
        act.stage();
        operation(act, end)
    }
}

/// How many messages a victim takes at most. Room for so many of the longest records has room for one more of the
/// others.
fn most(kind: Kind) -> usize {
    if kind == Kind::Messages { MOST } else { MOST + 1 }
}

fn claim(act: &Act, mut end: Box<dyn Reading>) -> anyhow::Result<()> {
    act.begin();
    let took = end.take(MOST, &mut Vec::new(), &mut || act.end())?;
    anyhow::bail!("it has found {took:?}")
}

fn release(act: &Act, mut end: Box<dyn Reading>) -> anyhow::Result<()> {
    let mut times = 0;
    let took = end.take(MOST, &mut Vec::new(), &mut || {
        times += 1;
        if times == 2 {
            act.stage();
            act.begin();
        }
    })?;
    act.end();
    anyhow::bail!("it has found {took:?}")
}

fn release_a_part(act: &Act, mut end: Box<dyn Reading>) -> anyhow::Result<()> {
    // The first call begins, the second ends.
    let took = end.take_apart(MOST, &mut || act.begin())?;
    anyhow::bail!("it has found {took:?}")
}

/// A consumer has read everything, and sleeps.
fn wait(kind: Kind, name: &str, part: Part) -> Scenario {
    attended(kind, name, loss(part, WAITING as usize), move |act| {
        let mut end = kind.join(act.name(), part, Start::Latest, &JoinOptions::new())?;
        act.stage();
        let mut numbers = Vec::new();
        while end.take(MOST, &mut numbers, &mut || ())? == Took::Some {}
        let took = act.operate(|| end.wait(WAIT, &mut numbers))?;
        ensure!(took == Took::Empty, "it has found {took:?}");
        Ok(())
    })
}

fn leave(act: &Act, end: Box<dyn Reading>) -> anyhow::Result<()> {
    act.operate(|| drop(end));
    Ok(())
}

/// Another process than the producer frees the slot of a consumer that was killed.
fn evict(kind: Kind) -> Scenario {
    const LABEL: &str = "casualty";
    let victim = |act: &Act| {
        act.stage();
        let consumers = Observer::open(act.name(), READY_TIMEOUT)?.snapshot().consumers;
        let dead = consumers.iter().find(|consumer| consumer.label == LABEL);
        let dead = dead.context("the casualty has not joined")?;
        act.operate(|| {
            // SAFETY: the casualty was killed at this process's first stage, and has ended.
            unsafe { inspect::evict(act.name(), dead, READY_TIMEOUT) }
        })?;
        Ok(())
    };
    attended(kind, "evict from outside", Loss::None, victim).casualty(move |act| {
        let options = JoinOptions::new().label(LABEL);
        let _consumer = kind.join(act.name(), Part::Broadcast, Start::Latest, &options)?;
        act.stage();
        Ok(())
    })
}

/// Another process than the producer forgets a group that has no member, and holds the producer back.
fn forget(kind: Kind) -> Scenario {
    attended(kind, "forget a group", Loss::None, move |act| {
        let (group, options) = (Part::Member(NEW_GROUP), JoinOptions::new().hold_when_empty(true));
        drop(kind.join(act.name(), group, Start::Latest, &options)?);
        act.stage();
        let forgotten = act.operate(|| inspect::forget(act.name(), NEW_GROUP, READY_TIMEOUT))?;
        ensure!(forgotten, "there was no such group");
        Ok(())
    })
}
