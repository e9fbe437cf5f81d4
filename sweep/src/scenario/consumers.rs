//! Scenarios in which a consumer, a member or a tap dies, or another process that does something to the queue.

use std::time::Duration;

use anyhow::{Context, ensure};
use fanout::inspect::{self, ConsumerInfo, Observer};
use fanout::segment::READY_TIMEOUT;
use fanout::{JoinOptions, QueueName, Start};

use super::Scenario;
use crate::ends::{Kind, Part, Reading, Took};
use crate::mark::Act;
use crate::trial::Trial;
use crate::trials::{Attended, GROUP, NEW_GROUP, ProducerAsleep, Released, WAITING};

/// How many messages a victim takes.
const MOST: usize = 4;

/// How long a victim waits for a message that does not come.
const WAIT: Duration = Duration::from_millis(1);

/// All of them.
pub(super) fn all(kind: Kind) -> Vec<Scenario> {
    let (broadcast, member, tap) = (Part::Broadcast, Part::Member(GROUP), Part::Tap);
    let none = &Released::NONE;
    let all = MOST as u64;
    let claimed = &Released { held: Some(0..all), ..Released::NONE };
    let contended = &Released { held: None, ..Released::NONE };
    let released = &Released { then: 0..all, ..Released::NONE };
    let first = &Released { then: 0..1, held: Some(1..all), ..Released::NONE };
    let read = &Released { before: 0..WAITING, ..Released::NONE };
    vec![
        join(kind, "join", broadcast, false),
        join(kind, "join a group", member, false),
        join(kind, "join a new group", Part::Member(NEW_GROUP), false),
        join(kind, "join, and hold", Part::Member(NEW_GROUP), true),
        join(kind, "open a tap", tap, false),
        join(kind, "join, lossy", Part::Lossy, false),
        join(kind, "join, evictable", Part::Evictable, false),
        scenario(kind, "take", broadcast, none, claim),
        scenario(kind, "claim", member, claimed, claim),
        scenario(kind, "claim, contended", member, contended, claim).meddled(),
        scenario(kind, "copy", tap, none, claim),
        scenario(kind, "copy, lossy", Part::Lossy, none, claim),
        scenario(kind, "copy, evictable", Part::Evictable, none, claim),
        scenario(kind, "release", broadcast, none, release),
        scenario(kind, "release a claim", member, released, release),
        scenario(kind, "release a part", broadcast, none, release_a_part),
        scenario(kind, "release a part of a claim", member, first, release_a_part),
        scenario(kind, "wait", broadcast, none, wait),
        scenario(kind, "wait in a group", member, read, wait),
        scenario(kind, "leave", broadcast, none, leave),
        scenario(kind, "leave a group", member, none, leave),
        scenario(kind, "leave, lossy", Part::Lossy, none, leave),
        scenario(kind, "leave, evictable", Part::Evictable, none, leave),
        redeliver(kind, "redeliver", claimed, claim),
        redeliver(kind, "release what was redelivered", released, release),
        evict(kind, "evict from outside", |name, dead| {
            // SAFETY: the casualty was killed at this process's first stage, and has ended.
            unsafe { inspect::evict(name, dead, READY_TIMEOUT) }.is_ok()
        }),
        evict(kind, "evict the dead from outside", |name, dead| {
            inspect::evict_dead(name, dead, READY_TIMEOUT).is_ok()
        }),
        forget(kind),
        asleep(kind, "release, the producer asleep", broadcast, none, release),
        asleep(kind, "release a claim, the producer asleep", member, released, release),
        asleep(kind, "leave, the producer asleep", broadcast, none, |act, end| {
            act.stage();
            leave(act, end)
        }),
    ]
}

/// Those of consumers that have private rooms: their host survives.
pub(super) fn guests() -> Vec<Scenario> {
    let (kind, broadcast) = (Kind::Rooms, Part::Broadcast);
    let none = &Released::NONE;
    vec![
        join(kind, "join", broadcast, false),
        join(kind, "open a tap", Part::Tap, false),
        join(kind, "join, lossy", Part::Lossy, false),
        join(kind, "join, evictable", Part::Evictable, false),
        scenario(kind, "take", broadcast, none, claim),
        scenario(kind, "copy, lossy", Part::Lossy, none, claim),
        scenario(kind, "copy, evictable", Part::Evictable, none, claim),
        scenario(kind, "release", broadcast, none, release),
        scenario(kind, "release a part", broadcast, none, release_a_part),
        scenario(kind, "wait", broadcast, none, wait),
        scenario(kind, "leave", broadcast, none, leave),
        scenario(kind, "leave, lossy", Part::Lossy, none, leave),
        scenario(kind, "leave, evictable", Part::Evictable, none, leave),
        asleep(kind, "release, the producer asleep", broadcast, none, release),
        asleep(kind, "leave, the producer asleep", broadcast, none, |act, end| {
            act.stage();
            leave(act, end)
        }),
    ]
}

fn attended(
    kind: Kind,
    name: &str,
    released: Released,
    victim: impl Fn(&Act) -> anyhow::Result<()> + 'static,
) -> Scenario {
    let survivors =
        move |name| Ok(Box::new(Attended::new(kind, released.clone(), name)?) as Box<dyn Trial>);
    Scenario::new(format!("{kind}: {name}"), victim, survivors)
}

fn join(kind: Kind, name: &str, part: Part, holds: bool) -> Scenario {
    attended(kind, name, Released::NONE, move |act| {
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
    released: &Released,
    operation: impl Fn(&Act, Box<dyn Reading>) -> anyhow::Result<()> + 'static,
) -> Scenario {
    attended(kind, name, released.clone(), consumer(kind, part, operation))
}

/// The same, while the producer sleeps from the second stage on.
fn asleep(
    kind: Kind,
    name: &str,
    part: Part,
    released: &Released,
    operation: impl Fn(&Act, Box<dyn Reading>) -> anyhow::Result<()> + 'static,
) -> Scenario {
    let released = released.clone();
    let survivors = move |name| {
        Ok(Box::new(ProducerAsleep::new(kind, released.clone(), name)?) as Box<dyn Trial>)
    };
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
fn wait(act: &Act, mut end: Box<dyn Reading>) -> anyhow::Result<()> {
    let mut numbers = Vec::new();
    while end.take(MOST, &mut numbers, &mut || ())? == Took::Some {}
    let took = act.operate(|| end.wait(WAIT, &mut numbers))?;
    ensure!(took == Took::Empty, "it has found {took:?}");
    Ok(())
}

fn leave(act: &Act, end: Box<dyn Reading>) -> anyhow::Result<()> {
    act.operate(|| drop(end));
    Ok(())
}

/// A member was killed before, with a claim in hand. The victim reads the other messages, and then does this with
/// what the dead member had claimed.
fn redeliver(
    kind: Kind,
    name: &str,
    released: &Released,
    operation: impl Fn(&Act, Box<dyn Reading>) -> anyhow::Result<()> + 'static,
) -> Scenario {
    let released = Released { before: MOST as u64..WAITING, ..released.clone() };
    let victim = move |act: &Act, mut end: Box<dyn Reading>| {
        let mut numbers = Vec::new();
        end.take(MOST, &mut numbers, &mut || ())?;
        ensure!(numbers.len() == WAITING as usize - MOST, "the casualty has left {numbers:?}");
        operation(act, end)
    };
    scenario(kind, name, Part::Member(GROUP), &released, victim).casualty(move |act| {
        let options = JoinOptions::new();
        let mut end = kind.join(act.name(), Part::Member(GROUP), Start::Latest, &options)?;
        let took = end.take(MOST, &mut Vec::new(), &mut || act.die())?;
        anyhow::bail!("it has found {took:?}")
    })
}

/// Another process than the producer frees the slot of a consumer that was killed.
fn evict(kind: Kind, name: &str, how: fn(&QueueName, &ConsumerInfo) -> bool) -> Scenario {
    const LABEL: &str = "casualty";
    let victim = move |act: &Act| {
        act.stage();
        let consumers = Observer::open(act.name(), READY_TIMEOUT)?.snapshot().consumers;
        let dead = consumers.iter().find(|consumer| consumer.label == LABEL);
        let dead = dead.context("the casualty has not joined")?;
        let is_done = act.operate(|| how(act.name(), dead));
        ensure!(is_done, "the casualty was not evicted");
        Ok(())
    };
    attended(kind, name, Released::NONE, victim).casualty(move |act| {
        let options = JoinOptions::new().label(LABEL);
        let _consumer = kind.join(act.name(), Part::Broadcast, Start::Latest, &options)?;
        act.die();
        Ok(())
    })
}

/// Another process than the producer forgets a group that has no member, and holds the producer back.
fn forget(kind: Kind) -> Scenario {
    attended(kind, "forget a group", Released::NONE, move |act| {
        let (group, options) = (Part::Member(NEW_GROUP), JoinOptions::new().hold_when_empty(true));
        drop(kind.join(act.name(), group, Start::Latest, &options)?);
        act.stage();
        let forgotten = act.operate(|| inspect::forget(act.name(), NEW_GROUP, READY_TIMEOUT))?;
        ensure!(forgotten, "there was no such group");
        Ok(())
    })
}
