//! Scenarios in which a producer dies.

use std::time::Duration;

use anyhow::{Context, ensure};
use fanout::inspect::ConsumerInfo;
use fanout::{JoinOptions, Start};

use super::Scenario;
use crate::ends::{Kind, Part, Sending};
use crate::mark::Act;
use crate::trial::Trial;
use crate::trials::{ConsumersAsleep, Created, Ends, Last, Orphaned, Resumed};

/// The number of the first message of a producer's last operation.
const NEXT: u64 = Orphaned::BEFORE + Orphaned::WAITING;

/// How long a victim waits for room that nobody makes.
const WAIT: Duration = Duration::from_millis(1);

/// An operation that neither sends nor ends anything.
const QUIET: Last = Last { messages: 0, together: true, ends: Ends::Not };

/// All of them.
pub(super) fn all(kind: Kind) -> Vec<Scenario> {
    let ending = |ends| Last { ends, ..QUIET };
    let sending = |messages, together| Last { messages, together, ends: Ends::Not };
    vec![
        create(kind),
        scenario(kind, "publish", sending(3, false), |act, mut producer| {
            act.operate(|| (NEXT..NEXT + 3).try_for_each(|number| producer.try_send(number)))?;
            Ok(())
        }),
        scenario(kind, "publish a batch", sending(3, true), |act, mut producer| {
            act.operate(|| producer.send_batch(NEXT..NEXT + 3, Duration::ZERO))?;
            Ok(())
        }),
        scenario(kind, "publish in place", sending(1, true), |act, mut producer| {
            act.operate(|| producer.send_in_place(NEXT))
        }),
        scenario(kind, "wait for room", QUIET, |act, mut producer| {
            let mut next = NEXT;
            while producer.try_send(next).is_ok() {
                next += 1;
            }
            act.stage();
            let sent = act.operate(|| producer.send_within(next, WAIT));
            ensure!(sent.is_err(), "there was room");
            Ok(())
        }),
        scenario(kind, "close", ending(Ends::Closed), |act, mut producer| {
            act.operate(|| producer.close());
            Ok(())
        }),
        scenario(kind, "abort", ending(Ends::Aborted), |act, mut producer| {
            act.operate(|| producer.abort("a reason of more than eight bytes"));
            Ok(())
        }),
        scenario(kind, "drop the producer", ending(Ends::Closed), |act, producer| {
            act.operate(|| drop(producer));
            Ok(())
        }),
        evict(kind, "evict", |producer, dead| {
            // SAFETY: the casualty was killed at this process's first stage, and has ended.
            unsafe { producer.evict(dead) };
        }),
        evict(kind, "evict the dead", |producer, dead| {
            let _ = producer.evict_dead(dead);
        }),
        resume(kind, "resume", QUIET),
        resume(kind, "resume, and publish", sending(3, false)),
        replace(kind),
        asleep(kind, "publish to sleepers", sending(1, true), |act, mut producer| {
            act.operate(|| producer.try_send(NEXT))?;
            Ok(())
        }),
        asleep(kind, "close on sleepers", ending(Ends::Closed), |act, mut producer| {
            act.operate(|| producer.close());
            Ok(())
        }),
    ]
}

fn create(kind: Kind) -> Scenario {
    let victim = move |act: &Act| {
        act.operate(|| kind.create(act.name()))?;
        Ok(())
    };
    let survivors = move |name| Ok(Box::new(Created::new(kind, name)) as Box<dyn Trial>);
    Scenario::new(format!("{kind}: create"), victim, survivors)
}

/// A producer sends more than a lap to nobody, then something to its consumers, and dies in this operation.
fn scenario(
    kind: Kind,
    name: &str,
    last: Last,
    operation: impl Fn(&Act, Box<dyn Sending>) -> anyhow::Result<()> + 'static,
) -> Scenario {
    let survivors = move |name| Ok(Box::new(Orphaned::new(kind, last, name)) as Box<dyn Trial>);
    Scenario::new(format!("{kind}: {name}"), producer(kind, operation), survivors)
}

/// The same, while consumers sleep.
fn asleep(
    kind: Kind,
    name: &str,
    last: Last,
    operation: impl Fn(&Act, Box<dyn Sending>) -> anyhow::Result<()> + 'static,
) -> Scenario {
    let survivors =
        move |name| Ok(Box::new(ConsumersAsleep::new(kind, last, name)) as Box<dyn Trial>);
    Scenario::new(format!("{kind}: {name}"), producer(kind, operation), survivors)
}

fn producer(
    kind: Kind,
    operation: impl Fn(&Act, Box<dyn Sending>) -> anyhow::Result<()> + 'static,
) -> impl Fn(&Act) -> anyhow::Result<()> + 'static {
    move |act: &Act| {
        let mut producer = kind.create(act.name())?;
        (0..Orphaned::BEFORE).try_for_each(|number| producer.try_send(number))?;
        act.stage();
        (Orphaned::BEFORE..NEXT).try_for_each(|number| producer.try_send(number))?;
        act.stage();
        operation(act, producer)
    }
}

/// The producer frees the slot of a consumer that was killed.
fn evict(kind: Kind, name: &str, how: fn(&mut dyn Sending, &ConsumerInfo)) -> Scenario {
    const LABEL: &str = "casualty";
    let operation = move |act: &Act, mut producer: Box<dyn Sending>| {
        let consumers = producer.consumers();
        let dead = consumers.iter().find(|consumer| consumer.label == LABEL);
        let dead = dead.context("the casualty has not joined")?;
        act.operate(|| how(&mut *producer, dead));
        Ok(())
    };
    scenario(kind, name, QUIET, operation).casualty(move |act| {
        let options = JoinOptions::new().label(LABEL);
        let _consumer = kind.join(act.name(), Part::Broadcast, Start::Latest, &options)?;
        act.die();
        Ok(())
    })
}

/// A producer was killed before. The victim takes over from it, and sends something if it is to.
fn resume(kind: Kind, name: &str, last: Last) -> Scenario {
    let victim = move |act: &Act| {
        act.stage();
        act.operate(|| -> anyhow::Result<_> {
            let mut producer = kind.resume(act.name())?;
            (NEXT..NEXT + last.messages).try_for_each(|number| producer.try_send(number))?;
            Ok(producer)
        })?;
        Ok(())
    };
    let survivors = move |name| Ok(Box::new(Resumed::new(kind, last, name)) as Box<dyn Trial>);
    Scenario::new(format!("{kind}: {name}"), victim, survivors).casualty(killed(kind))
}

/// A producer was killed before. The victim puts a new queue in the place of its queue.
fn replace(kind: Kind) -> Scenario {
    let victim = move |act: &Act| {
        act.stage();
        act.operate(|| kind.replace(act.name()))?;
        Ok(())
    };
    let survivors = move |name| Ok(Box::new(Created::new(kind, name)) as Box<dyn Trial>);
    Scenario::new(format!("{kind}: replace"), victim, survivors).casualty(killed(kind))
}

/// A producer that is killed when it has sent something.
fn killed(kind: Kind) -> impl Fn(&Act) -> anyhow::Result<()> + 'static {
    producer(kind, |act, _producer| {
        act.die();
        Ok(())
    })
}
