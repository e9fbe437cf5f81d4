//! A consumer that notices whatever is lost, repeated, out of order, or torn.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fanout::{JoinOptions, QueueName, Start};

use crate::ends::{Kind, Part, Reading, Took};

/// How many messages it takes at once.
const MOST: usize = 5;

/// A surviving consumer, member or tap.
pub(crate) struct Witness {
    end: Box<dyn Reading>,
    part: Part,
    /// The next number that it may see; unknown until it has seen the first.
    next: Option<u64>,
    /// A tap has counted from this number on.
    begin: Option<u64>,
    /// What a member has seen, in order.
    seen: Vec<u64>,
    /// What it has seen that was marked as a dead member's.
    again: Vec<u64>,
    /// Whether it waits for a successor when its producer dies.
    follows: bool,
}

impl Witness {
    /// Joins at the next message, which will be this number.
    pub(crate) fn latest(
        kind: Kind,
        name: &QueueName,
        part: Part,
        number: u64,
    ) -> anyhow::Result<Self> {
        Self::join(kind, name, part, Start::Latest, Some(number), false)
    }

    /// The same, for a consumer that waits for a successor when its producer dies.
    pub(crate) fn following(
        kind: Kind,
        name: &QueueName,
        part: Part,
        number: u64,
    ) -> anyhow::Result<Self> {
        Self::join(kind, name, part, Start::Latest, Some(number), true)
    }

    /// Joins at the oldest message, whatever its number.
    pub(crate) fn oldest(kind: Kind, name: &QueueName, part: Part) -> anyhow::Result<Self> {
        Self::join(kind, name, part, Start::Oldest, None, false)
    }

    fn join(
        kind: Kind,
        name: &QueueName,
        part: Part,
        start: Start,
        next: Option<u64>,
        follows: bool,
    ) -> anyhow::Result<Self> {
        let end = kind.join(name, part, start, &JoinOptions::new().follow(follows));
        let end = end.with_context(|| format!("{part:?} cannot join"))?;
        Ok(Self { end, part, next, begin: next, seen: Vec::new(), again: Vec::new(), follows })
    }

    /// What it is.
    pub(crate) fn part(&self) -> Part {
        self.part
    }

    /// What a member has seen, in order.
    pub(crate) fn seen(&self) -> &[u64] {
        &self.seen
    }

    /// What a member has seen that was marked as a dead member's, in order.
    pub(crate) fn again(&self) -> &[u64] {
        &self.again
    }

    /// The number of the next message that it may see; for a member, of those that it has seen.
    pub(crate) fn next(&self) -> Option<u64> {
        self.next
    }

    /// Takes what there is now, a few messages at a time.
    pub(crate) fn drain(&mut self) -> anyhow::Result<Took> {
        loop {
            let took = self.take(MOST)?;
            if !matches!(took, Took::Some | Took::Again) {
                return Ok(took);
            }
        }
    }

    /// Reads to the end, and says which it is; a consumer that follows finds none.
    pub(crate) fn end(&mut self, patience: Duration) -> anyhow::Result<Took> {
        let started = Instant::now();
        loop {
            let took = self.drain()?;
            if took != Took::Empty || self.follows {
                return Ok(took);
            }
            ensure!(started.elapsed() < patience, "{:?} is not told of the end", self.part);
            // An end that looks in vain asks who is alive, after a while.
            std::thread::yield_now();
        }
    }

    /// Takes up to about `most` messages.
    pub(crate) fn take(&mut self, most: usize) -> anyhow::Result<Took> {
        let mut numbers = Vec::new();
        let took = self.end.take(most, &mut numbers, &mut || ());
        let took = took.with_context(|| format!("{:?}, at {:?}", self.part, self.next))?;
        for number in numbers {
            self.check(number, took)?;
        }
        self.account()?;
        Ok(took)
    }

    /// Waits for the next message.
    pub(crate) fn wait(&mut self, timeout: Duration) -> anyhow::Result<Took> {
        let mut numbers = Vec::new();
        let took = self.end.wait(timeout, &mut numbers)?;
        numbers.into_iter().try_for_each(|number| self.check(number, took))?;
        Ok(took)
    }

    fn check(&mut self, number: u64, took: Took) -> anyhow::Result<()> {
        let (part, next) = (self.part, self.next);
        match part {
            Part::Broadcast | Part::Evictable => ensure!(
                next.is_none_or(|next| next == number),
                "{part:?} expected message {next:?}, found {number}: lost, repeated or out of order"
            ),
            Part::Tap | Part::Lossy => ensure!(
                next.is_none_or(|next| next <= number),
                "{part:?} expected message {next:?} or a later one, found {number}"
            ),
            // An earlier one was a dead member's. That none comes twice is checked for the whole group.
            Part::Member(_) => {
                ensure!(
                    took == Took::Again || next.is_none_or(|next| next <= number),
                    "{part:?} expected message {next:?} or a later one, found {number} without a mark"
                );
                self.seen.push(number);
            }
        }
        if took == Took::Again {
            self.again.push(number);
        }
        self.next = next.max(Some(number + 1));
        Ok(())
    }

    /// What a tap has received and lost is all that was sent.
    fn account(&mut self) -> anyhow::Result<()> {
        let (Some(passed), Some(next)) = (self.end.passed(), self.next) else { return Ok(()) };
        let begin = *self.begin.get_or_insert(next.wrapping_sub(passed));
        // What it has lost lies behind what it has received.
        let known = begin + passed;
        ensure!(
            known >= next,
            "a tap accounts for {begin} to {known}, and has received {}",
            next - 1
        );
        Ok(())
    }

    /// Checks that it has seen everything before this number.
    pub(crate) fn has_all(&self, sent: u64) -> anyhow::Result<()> {
        let part = self.part;
        match (part, self.next, self.begin, self.end.passed()) {
            (Part::Broadcast | Part::Evictable, Some(next), ..) => {
                ensure!(next == sent, "{part:?} has seen {next} of {sent} messages");
            }
            (Part::Tap | Part::Lossy, _, Some(begin), Some(passed)) => {
                let known = begin + passed;
                ensure!(known == sent, "a tap accounts for {known} of {sent} messages");
            }
            _ => {}
        }
        Ok(())
    }
}

/// What the members of one group have seen together: each number once. Returns which are missing of those
/// before `sent`, and from `first` on; without that, from the first that was seen.
pub(crate) fn missing<'a>(
    members: impl Iterator<Item = &'a Witness>,
    first: Option<u64>,
    sent: u64,
) -> anyhow::Result<Vec<u64>> {
    let mut seen: Vec<u64> = members.flat_map(|member| member.seen()).copied().collect();
    seen.sort_unstable();
    if let Some(twice) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
        anyhow::bail!("two members have received message {}", twice[0]);
    }
    if let Some(last) = seen.last() {
        ensure!(*last < sent, "a member has received message {last} of {sent}");
    }
    let first = first.or_else(|| seen.first().copied()).unwrap_or(sent);
    Ok((first..sent).filter(|number| seen.binary_search(number).is_err()).collect())
}
