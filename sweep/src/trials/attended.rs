//! A consumer dies, and its producer lives.

use std::time::Duration;

use anyhow::{Context, ensure};
use fanout::QueueName;
use testing::Unique;

use super::{Stage, succeed};
use crate::ends::{Kind, Part};
use crate::trial::{Dead, Outcome, Trial};
use crate::witness::{Witness, missing};

/// The group that a survivor is a member of.
pub(crate) const GROUP: &str = "workers";
/// A group that only the victim joins, with a name of several words.
pub(crate) const NEW_GROUP: &str = "a group that nobody knows";

/// How many messages wait when the victim's operation begins.
pub(crate) const WAITING: u64 = 6;

/// What a victim may take with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing: each message goes to a member that lives.
    None,
    /// So many messages of its group: what it had claimed. Today they are lost.
    UpTo(usize),
}

/// The survivors: a producer, a broadcast consumer, a member of a group, and a tap.
pub(crate) struct Attended {
    stage: Stage,
    loss: Loss,
    /// The process that the victim was to evict.
    casualty: Option<u32>,
    // Last: the queue is gone before its name is removed.
    name: Unique,
}

impl Attended {
    pub(crate) fn new(kind: Kind, loss: Loss, name: Unique) -> anyhow::Result<Self> {
        let mut stage = Stage::create(kind, &name)?;
        for part in [Part::Broadcast, Part::Member(GROUP), Part::Tap] {
            stage.join(&name, part)?;
        }
        // The first lap is not like the others.
        stage.laps(1)?;
        stage.drain()?;
        Ok(Self { stage, loss, casualty: None, name })
    }

    /// Fills the ring, as far as the victim lets it.
    pub(super) fn fill(&mut self) -> anyhow::Result<()> {
        self.stage.drain()?;
        while self.stage.try_send(1, Duration::ZERO)? {
            self.stage.drain()?;
        }
        Ok(())
    }

    /// Sends a message for which there is room in time.
    pub(super) fn send_one(&mut self, timeout: Duration) -> anyhow::Result<()> {
        ensure!(self.stage.try_send(1, timeout)?, "the producer that slept found no room");
        Ok(())
    }

    /// What the list of consumers says of a process.
    fn listed(&self, pid: u32) -> Option<String> {
        let consumers = self.stage.producer.consumers();
        let dead = consumers.iter().find(|consumer| consumer.owner == pid)?;
        Some(format!("registered, {} behind", dead.lag))
    }

    /// What survivors have to do today before the producer goes on: they free the slots of the dead. And somebody
    /// joins a group that holds the producer back, and has no member.
    fn recover(&mut self, dead: &[u32]) -> anyhow::Result<()> {
        let consumers = self.stage.producer.consumers();
        for consumer in consumers.iter().filter(|consumer| dead.contains(&consumer.owner)) {
            // SAFETY: its process was killed, and has ended.
            unsafe { self.stage.producer.evict(consumer) };
        }
        if self.stage.producer.groups().iter().any(|group| group.holds && group.members == 0) {
            self.stage.join_oldest(&self.name, Part::Member(NEW_GROUP))?;
        }
        Ok(())
    }

    /// The members of this group.
    fn members(&self, group: &'static str) -> impl Iterator<Item = &Witness> {
        let witnesses = self.stage.witnesses.iter();
        witnesses.filter(move |witness| witness.part() == Part::Member(group))
    }

    /// How many messages the victim took with it.
    fn lost(&self) -> anyhow::Result<usize> {
        let lost = missing(self.members(GROUP), Some(0), self.stage.sent)?;
        let is_run = lost.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        let most = if let Loss::UpTo(most) = self.loss { most } else { 0 };
        ensure!(
            lost.len() <= most && is_run,
            "the dead may have taken {most} messages in a row from its group, which lacks {lost:?}"
        );
        let strays = missing(self.members(NEW_GROUP), None, self.stage.sent)?;
        ensure!(strays.is_empty(), "the new group lacks {strays:?}");
        Ok(lost.len())
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
        ensure!(self.listed(dead).is_some(), "the casualty has not joined");
        Ok(())
    }

    fn meddle(&mut self) -> anyhow::Result<()> {
        let member = self.stage.witnesses.iter_mut().find(|end| end.part() == Part::Member(GROUP));
        member.context("a member")?.take(2).map(drop)
    }

    fn judge(mut self: Box<Self>, dead: Dead) -> anyhow::Result<Outcome> {
        let subject = self.casualty.unwrap_or(dead.pid);
        let outcome = self.listed(subject).unwrap_or_else(|| "not registered".to_owned());
        self.recover(&[dead.pid, subject])?;
        self.stage.laps(2).context("after the death")?;

        for part in [Part::Broadcast, Part::Member(GROUP), Part::Member(NEW_GROUP), Part::Tap] {
            self.stage.join(&self.name, part).context("a newcomer")?;
        }
        self.stage.laps(1).context("with newcomers")?;
        let registered = self.stage.witnesses.iter().filter(|end| end.part() != Part::Tap).count();
        let listed = self.stage.producer.consumers();
        ensure!(listed.len() == registered, "{registered} live, and listed are {listed:?}");

        self.stage.close()?;
        let lost = self.lost()?;
        let Self { stage, name, .. } = *self;
        let kind = stage.kind;
        drop(stage);
        succeed(kind, &name)?;
        Ok(if lost == 0 { outcome } else { format!("{outcome}, {lost} lost") })
    }
}
