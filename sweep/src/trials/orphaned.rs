//! A producer dies, and its consumers live.

use std::ops::RangeInclusive;

use anyhow::{Context, ensure};
use fanout::QueueName;
use fanout::error::ResumeError;
use fanout::inspect::Observer;
use testing::Unique;

use super::{GROUP, PATIENCE, Stage, replace, succeed};
use crate::ends::{Kind, Part, Took};
use crate::trial::{Dead, Outcome, Trial};
use crate::witness::{Witness, missing};

/// How the operation ends the queue, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It does not.
    Not,
    /// Everything was sent.
    Closed,
    /// Not everything was sent.
    Aborted,
}

/// What is to be expected of a producer's last operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    /// How many messages it sends.
    pub(crate) messages: u64,
    /// Whether they become visible together.
    pub(crate) together: bool,
    /// How it ends the queue.
    pub(crate) ends: Ends,
}

/// The survivors: two broadcast consumers, of which one has read less, and waits for a successor; a member of a
/// group, and a tap.
pub(crate) struct Orphaned {
    kind: Kind,
    last: Last,
    witnesses: Vec<Witness>,
    casualty: Option<u32>,
    /// How many messages were sent before the last operation.
    before: u64,
    // Last: the ends are gone before the name is removed.
    name: Unique,
}

impl Orphaned {
    /// How many messages the producer sends before it is joined: more than a lap.
    pub(crate) const BEFORE: u64 = 24;
    /// How many messages it sends at once afterwards.
    pub(crate) const WAITING: u64 = 5;

    pub(crate) fn new(kind: Kind, last: Last, name: Unique) -> Self {
        Self { kind, last, witnesses: Vec::new(), casualty: None, before: 0, name }
    }

    /// How many messages there may be in the end.
    fn expected(&self, is_done: bool) -> RangeInclusive<u64> {
        let most = self.before + self.last.messages;
        if is_done { most..=most } else { self.before..=most }
    }

    /// All consumers read what there is. They have to agree.
    fn read(&mut self, dead: Dead) -> anyhow::Result<(u64, Took)> {
        let mut ends = Vec::new();
        for witness in &mut self.witnesses {
            let took = witness.end(PATIENCE).context("after the producer's death")?;
            ends.push((witness.next().context("nothing read")?, took));
        }
        let (sent, took) = ends[0];
        let agrees = |(next, end): &(u64, Took)| {
            *next == sent && (*end == took || (*end == Took::Empty && took == Took::Died))
        };
        ensure!(ends.iter().all(agrees), "the consumers do not agree: {ends:?}");
        let expected = self.expected(dead.is_done);
        ensure!(expected.contains(&sent), "{expected:?} messages are to be there, and {sent} are");
        let is_whole = [*expected.start(), *expected.end()].contains(&sent);
        ensure!(
            is_whole || !self.last.together,
            "of a batch, a part is there: {sent} of {expected:?}"
        );
        for witness in &self.witnesses {
            witness.has_all(sent)?;
        }
        let members = self.witnesses.iter().filter(|end| end.part() == Part::Member(GROUP));
        let lost = missing(members, Some(Self::BEFORE), sent)?;
        ensure!(lost.is_empty(), "the group lacks {lost:?}");
        Ok((sent, took))
    }

    /// Takes out the consumers that are to sleep: the first of the broadcast consumers, and the member.
    pub(super) fn take_sleepers(&mut self) -> Vec<Witness> {
        vec![self.witnesses.remove(2), self.witnesses.remove(0)]
    }

    /// Puts one of them back, before the one that follows.
    pub(super) fn put_back(&mut self, witness: Witness) {
        self.witnesses.insert(0, witness);
    }

    /// The tap, which does not sleep, reads. Says whether the last operation has sent something, and what comes
    /// behind it.
    pub(super) fn peek(&mut self) -> anyhow::Result<(bool, Took)> {
        let tap = self.witnesses.iter_mut().find(|witness| witness.part() == Part::Tap);
        let tap = tap.context("a tap")?;
        let took = tap.end(PATIENCE)?;
        Ok((tap.next() > Some(self.before), took))
    }

    /// The end that consumers see has to be the operation's, or the producer's death.
    fn check_end(&self, dead: Dead, took: Took) -> anyhow::Result<()> {
        let allowed = match self.last.ends {
            Ends::Not => Took::Died,
            Ends::Closed => Took::Closed,
            Ends::Aborted => Took::Aborted,
        };
        let is_early = !dead.is_done && took == Took::Died;
        ensure!(took == allowed || is_early, "the consumers found {took:?}, expected {allowed:?}");
        Ok(())
    }

    /// Whether the slot that the operation was to free is still taken.
    fn casualty_is_listed(&self) -> anyhow::Result<Option<bool>> {
        let Some(casualty) = self.casualty else { return Ok(None) };
        let listed = Observer::open(&self.name, PATIENCE)?.snapshot().consumers;
        Ok(Some(listed.iter().any(|consumer| consumer.owner == casualty)))
    }

    /// A consumer that comes after the producer's death reads what is there.
    fn late_consumer(&self, sent: u64) -> anyhow::Result<()> {
        for part in [Part::Broadcast, Part::Member("a group that comes late")] {
            let mut late = Witness::oldest(self.kind, &self.name, part)?;
            late.drain().context("a late consumer")?;
            let next = late.next().context("a late consumer found nothing")?;
            ensure!(next == sent, "a late consumer has read up to {next}, and {sent} were sent");
        }
        Ok(())
    }

    /// Another producer takes over, if the queue has not ended, and all consumers get what it sends.
    fn go_on(&mut self, sent: u64, took: Took) -> anyhow::Result<()> {
        let resumed = self.kind.resume(&self.name);
        if took != Took::Died {
            let is_ended = matches!(resumed, Err(ResumeError::Ended { .. }));
            ensure!(is_ended, "a queue that has ended is taken over: {:?}", resumed.err());
            return replace(self.kind, &self.name);
        }
        let producer = Some(resumed.context("a producer cannot take over from a dead one")?);
        let witnesses = core::mem::take(&mut self.witnesses);
        let mut stage = Stage { kind: self.kind, producer, witnesses, sent };
        stage.laps(2).context("the successor")?;
        for part in [Part::Broadcast, Part::Member(GROUP), Part::Tap] {
            stage.join(&self.name, part).context("a newcomer after the successor")?;
        }
        stage.laps(1).context("the successor, with newcomers")?;
        stage.close().context("the successor's end")
    }
}

impl Trial for Orphaned {
    fn name(&self) -> &QueueName {
        &self.name
    }

    fn stage(&mut self, time: u32) -> anyhow::Result<()> {
        let (kind, name) = (self.kind, &*self.name);
        if time == 1 {
            let latest = |part| Witness::latest(kind, name, part, Self::BEFORE);
            let follower = Witness::following(kind, name, Part::Broadcast, Self::BEFORE);
            self.witnesses = vec![
                latest(Part::Broadcast)?,
                follower?,
                latest(Part::Member(GROUP))?,
                latest(Part::Tap)?,
            ];
        } else {
            self.witnesses[0].drain()?;
            self.before = self.witnesses[0].next().unwrap_or(0);
        }
        Ok(())
    }

    fn casualty(&mut self, dead: u32) -> anyhow::Result<()> {
        self.casualty = Some(dead);
        Ok(())
    }

    fn judge(mut self: Box<Self>, dead: Dead) -> anyhow::Result<Outcome> {
        let is_named = self.name.exists();
        let listed = if is_named { self.casualty_is_listed()? } else { None };
        let (sent, took) = self.read(dead)?;
        self.check_end(dead, took)?;
        let epoch = if is_named {
            self.late_consumer(sent)?;
            let epoch = Observer::open(&self.name, PATIENCE)?.snapshot().epoch;
            self.go_on(sent, took)?;
            epoch
        } else {
            0
        };
        succeed(self.kind, &self.name)?;
        Ok(match (self.last.messages, self.last.ends) {
            (0, Ends::Not) => match listed {
                Some(true) => "not evicted".to_owned(),
                Some(false) => "evicted".to_owned(),
                None => format!("epoch {epoch}"),
            },
            (0, _) => format!("{took:?}{}", if is_named { "" } else { ", no name" }).to_lowercase(),
            _ => format!("{} sent, epoch {epoch}", sent - self.before),
        })
    }
}

/// The same survivors: their first producer was killed, and another one dies that takes over.
pub(crate) struct Resumed(Orphaned);

impl Resumed {
    pub(crate) fn new(kind: Kind, last: Last, name: Unique) -> Self {
        Self(Orphaned::new(kind, last, name))
    }
}

impl Trial for Resumed {
    fn name(&self) -> &QueueName {
        self.0.name()
    }

    fn casualty_stage(&mut self, time: u32) -> anyhow::Result<()> {
        self.0.stage(time)
    }

    fn judge(self: Box<Self>, dead: Dead) -> anyhow::Result<Outcome> {
        Box::new(self.0).judge(dead)
    }
}
