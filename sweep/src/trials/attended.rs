//! A consumer dies, and its producer lives.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, ensure};
use fanout::QueueName;
use fanout::inspect::{ConsumerInfo, ConsumerKind, Observer};
use testing::Unique;

use super::{PATIENCE, Stage, succeed};
use crate::ends::{Kind, Part, Sending};
use crate::trial::{Dead, Outcome, Trial};
use crate::witness::{Witness, missing};

/// The group that a survivor is a member of.
pub(crate) const GROUP: &str = "workers";
/// A group that only the victim joins, with a name of several words.
pub(crate) const NEW_GROUP: &str = "a group that nobody knows";

/// The consumers that come after a death.
const NEWCOMERS: [Part; 6] = [
    Part::Broadcast,
    Part::Member(GROUP),
    Part::Member(NEW_GROUP),
    Part::Tap,
    Part::Lossy,
    Part::Evictable,
];

/// How many messages wait when the victim's operation begins.
pub(crate) const WAITING: u64 = 6;

/// Which of the waiting messages of its group a victim has released. These go to nobody else, and all others go to
/// one member that lives.
#[derive(Clone, Debug)]
pub(crate) struct Released {
    /// Before its operation.
    pub(crate) before: Range<u64>,
    /// In its operation.
    pub(crate) then: Range<u64>,
    /// What it has claimed and not released when the operation is done: this comes again, with a mark. `None` where
    /// that depends on the others.
    pub(crate) held: Option<Range<u64>>,
}

impl Released {
    /// None.
    pub(crate) const NONE: Self = Self { before: 0..0, then: 0..0, held: Some(0..0) };
}

/// The survivors: a producer, a broadcast consumer, a member of a group, and a tap.
pub(crate) struct Attended {
    stage: Stage,
    released: Released,
    /// The number of the first message that waits.
    base: u64,
    /// A process that was killed before the victim's operation.
    casualty: Option<u32>,
    // Last: the queue is gone before its name is removed.
    name: Unique,
}

impl Attended {
    pub(crate) fn new(kind: Kind, released: Released, name: Unique) -> anyhow::Result<Self> {
        let mut stage = Stage::create(kind, &name)?;
        let parts = [Part::Broadcast, Part::Member(GROUP), Part::Tap];
        for part in parts.into_iter().filter(|part| kind.has(*part)) {
            stage.join(&name, part)?;
        }
        // The first lap is not like the others.
        stage.laps(1)?;
        stage.drain()?;
        let base = stage.sent;
        Ok(Self { stage, released, base, casualty: None, name })
    }

    /// Fills the ring, as far as the victim lets it. Then lends out the producer.
    pub(super) fn fill(&mut self) -> anyhow::Result<(Box<dyn Sending>, u64)> {
        self.stage.drain()?;
        while self.stage.try_send(1, Duration::ZERO)? {
            self.stage.drain()?;
        }
        let producer = self.stage.producer.take().context("a producer")?;
        Ok((producer, self.stage.sent))
    }

    /// All consumers read what there is, so that the producer finds room.
    pub(super) fn drain(&mut self) -> anyhow::Result<()> {
        self.stage.drain()
    }

    /// Takes the producer back, which has sent one message.
    pub(super) fn put_back(&mut self, producer: Box<dyn Sending>) {
        self.stage.producer = Some(producer);
        self.stage.sent += 1;
    }

    /// What the list of consumers says of a process.
    pub(super) fn listed(&self, pid: u32) -> anyhow::Result<Option<ConsumerInfo>> {
        Ok(self.list()?.into_iter().find(|consumer| consumer.owner == pid))
    }

    /// The registered consumers, as an observer sees them. Who is alive in a private room, the producer alone
    /// knows: while it is lent out, nobody is listed.
    fn list(&self) -> anyhow::Result<Vec<ConsumerInfo>> {
        if self.stage.kind == Kind::Rooms {
            let producer = self.stage.producer.as_ref();
            return Ok(producer.map(|producer| producer.consumers()).unwrap_or_default());
        }
        Ok(Observer::open(&self.name, PATIENCE)?.snapshot().consumers)
    }

    /// A group that holds the producer back waits for a member: the victim was its only one.
    fn recover(&mut self) -> anyhow::Result<()> {
        if self.stage.producer()?.groups().iter().any(|group| group.holds) {
            self.stage.join_oldest(&self.name, Part::Member(NEW_GROUP))?;
        }
        Ok(())
    }

    /// Only the living are listed, and the dead that are in nobody's way: idle members.
    fn only_the_living(&mut self, dead: &[u32]) -> anyhow::Result<()> {
        for pid in dead {
            if let Some(listed) = self.listed(*pid)? {
                ensure!(listed.alive == Some(false), "a dead consumer is alive: {listed:?}");
                let _ = self.stage.producer()?.evict_dead(&listed)?;
            }
        }
        let registered = self.stage.witnesses.iter().filter(|end| end.part() != Part::Tap).count();
        let listed = self.list()?;
        let is_right =
            listed.len() == registered && listed.iter().all(|end| end.alive == Some(true));
        ensure!(is_right, "{registered} live, and listed are {listed:?}");
        Ok(())
    }

    /// The members of this group.
    fn members(&self, group: &'static str) -> impl Iterator<Item = &Witness> {
        let witnesses = self.stage.witnesses.iter();
        witnesses.filter(move |witness| witness.part() == Part::Member(group))
    }

    /// Each message that the victim had not released went to a member that lives. What the victim had claimed came with a
    /// mark. Says how many these are.
    fn account(&self, is_done: bool) -> anyhow::Result<(usize, usize)> {
        if !self.stage.kind.has(Part::Member(GROUP)) {
            return Ok((0, 0));
        }
        let Released { before, then, held } = self.released.clone();
        let number = |waiting| self.base + waiting;
        let mut least: Vec<u64> = before.map(number).collect();
        let mut most: Vec<u64> = then.map(number).collect();
        most.append(&mut least.clone());
        for numbers in [&mut least, &mut most] {
            numbers.sort_unstable();
        }
        let missing_ones = missing(self.members(GROUP), Some(0), self.stage.sent)?;
        ensure!(
            missing_ones == most || (!is_done && missing_ones == least),
            "the dead had released {least:?} of its group's messages, or {most:?}, and the group lacks \
             {missing_ones:?}"
        );
        let mut again: Vec<u64> = self.members(GROUP).flat_map(Witness::again).copied().collect();
        again.sort_unstable();
        let waiting = self.base..self.base + WAITING;
        ensure!(
            again.iter().all(|number| waiting.contains(number)),
            "{again:?} are marked as a dead member's, which can only have claimed some of {waiting:?}"
        );
        if let Some(held) = held.filter(|_| is_done) {
            let held: Vec<u64> = held.map(number).collect();
            ensure!(again == held, "the dead held {held:?}, and marked are {again:?}");
        }
        let strays = missing(self.members(NEW_GROUP), None, self.stage.sent)?;
        ensure!(strays.is_empty(), "the new group lacks {strays:?}");
        Ok((missing_ones.len(), again.len()))
    }
}

/// How the table calls what the list said of a victim.
pub(super) fn describe(listed: Option<&ConsumerInfo>) -> Outcome {
    match listed {
        Some(consumer) => format!("registered, {} behind", consumer.lag),
        None => "not registered".to_owned(),
    }
}

impl Trial for Attended {
    fn name(&self) -> &QueueName {
        &self.name
    }

    fn stage(&mut self, time: u32) -> anyhow::Result<()> {
        if time == 1 {
            self.stage.send_exactly(WAITING)?;
        }
        Ok(())
    }

    fn casualty(&mut self, dead: u32) -> anyhow::Result<()> {
        self.casualty = Some(dead);
        let listed = self.listed(dead)?.context("the casualty has not joined")?;
        ensure!(listed.alive == Some(false), "the casualty is dead, and listed as {listed:?}");
        if let ConsumerKind::Member { .. } = listed.kind {
            // So the next member that looks finds what the casualty held, whatever the clock says.
            let _ = self.stage.producer()?.evict_dead(&listed)?;
        }
        Ok(())
    }

    fn meddle(&mut self) -> anyhow::Result<()> {
        let member = self.stage.witnesses.iter_mut().find(|end| end.part() == Part::Member(GROUP));
        member.context("a member")?.take(2).map(drop)
    }

    fn judge(mut self: Box<Self>, dead: Dead) -> anyhow::Result<Outcome> {
        let subject = self.casualty.unwrap_or(dead.pid);
        let outcome = describe(self.listed(subject)?.as_ref());
        self.recover()?;
        self.stage.laps(2).context("after the death")?;

        let kind = self.stage.kind;
        for part in NEWCOMERS.into_iter().filter(|part| kind.has(*part)) {
            self.stage.join(&self.name, part).context("a newcomer")?;
        }
        self.stage.laps(1).context("with newcomers")?;
        self.only_the_living(&[dead.pid, subject])?;

        self.stage.close()?;
        let (released, again) = self.account(dead.is_done)?;
        let Self { stage, name, .. } = *self;
        drop(stage);
        succeed(kind, &name)?;
        let count = |count: usize, what: &str| {
            if count == 0 { String::new() } else { format!(", {count} {what}") }
        };
        Ok(format!("{outcome}{}{}", count(released, "released"), count(again, "again")))
    }
}
