//! The consumers that the producer waits for: which, how far behind, and since when.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use fanout::QueueName;
use fanout::inspect::{ConsumerInfo, ConsumerKind, Eviction, EvictionReason, GroupInfo};
use yardstick::report::grouped;

use super::terminal::{say, typed};

/// How long a consumer may stand still before we warn about it.
const STANDSTILL: Duration = Duration::from_secs(5);

/// What the producer waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum For {
    /// Room. Only the consumer that is furthest behind withholds it.
    Room,
    /// The end: all consumers have to read everything.
    End,
}

/// The consumers and groups that we have named already.
pub(crate) struct Laggards {
    name: QueueName,
    terminal: bool,
    named: BTreeSet<(For, Who)>,
    /// The groups without a member that we have named. The empty name stands for a consumer of any
    /// kind.
    missed: BTreeSet<String>,
    /// Since when there has been no consumer to wait for.
    alone: Option<Instant>,
    warned: BTreeSet<Who>,
}

/// A slot, and the process that claims to hold it.
pub(crate) type Who = (usize, u32);

/// One wait: how far behind each consumer is, and since when.
pub(crate) type Wait = BTreeMap<Who, (u64, Instant)>;

impl Laggards {
    pub(crate) fn of(name: &QueueName) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let (named, missed, warned) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { name: name.clone(), terminal, named, missed, alone: None, warned }
    }

    /// Looks which consumers hold us back, about once a second while a wait lasts. It names them on
    /// a terminal, and warns everywhere of a consumer that stands still. It says each thing once.
    pub(crate) fn check(
        &mut self,
        wait: &mut Wait,
        what: For,
        consumers: &[ConsumerInfo],
        groups: &[GroupInfo],
    ) {
        let furthest = consumers
            .iter()
            .filter(|consumer| consumer.gates())
            .map(|consumer| consumer.lag)
            .max()
            .unwrap_or(0);
        self.miss(self.missing(what, furthest, consumers, groups));
        let least = if what == For::Room { furthest } else { 1 };
        let late =
            consumers.iter().filter(|consumer| consumer.gates() && consumer.lag >= least.max(1));
        let late: Vec<&ConsumerInfo> = late.collect();
        // If several are equally late, the consumer in the lowest slot.
        if let Some(last) = late.iter().rev().max_by_key(|consumer| consumer.lag)
            && self.terminal
            && self.named.insert((what, who(last)))
        {
            say(&self.waiting(what, last, late.len() - 1));
        }
        let now = Instant::now();
        for consumer in late {
            let (lag, since) = wait.entry(who(consumer)).or_insert((consumer.lag, now));
            if *lag != consumer.lag {
                (*lag, *since) = (consumer.lag, now);
            }
            let stood = now.duration_since(*since);
            if self.is_warned_of(consumer, stood) {
                say(&self.warning(consumer, stood));
            }
        }
    }

    /// Whether it is time to warn of this consumer. Of one that has died, the obituary says what becomes of its messages.
    fn is_warned_of(&mut self, consumer: &ConsumerInfo, stood: Duration) -> bool {
        let is_dead = consumer.alive == Some(false);
        stood >= STANDSTILL && !is_dead && self.warned.insert(who(consumer))
    }

    /// Says on a terminal which consumer is missing. Anywhere else, warns of a group whose members
    /// stay away.
    fn miss(&mut self, missing: Option<(&str, String)>) {
        let Some((group, line)) = missing else {
            self.alone = None;
            return;
        };
        let alone = self.alone.get_or_insert_with(Instant::now).elapsed() >= STANDSTILL;
        if self.terminal && self.missed.insert(group.to_owned()) {
            say(&line);
        } else if alone && !group.is_empty() && self.missed.insert(group.to_owned()) {
            say(&format!("warning: {line}"));
        }
    }

    /// What to say if no attached consumer holds us back, and which group is missing.
    fn missing<'a>(
        &self,
        what: For,
        furthest: u64,
        consumers: &[ConsumerInfo],
        groups: &'a [GroupInfo],
    ) -> Option<(&'a str, String)> {
        let (name, queue) = (&self.name, typed(self.name.as_str()));
        let held = groups.iter().filter(|group| group.holds && group.members == 0);
        let held = held.filter(|group| group.lag > 0 && group.lag >= furthest);
        if let Some(group) = held.max_by_key(|group| group.lag) {
            let (lag, (shown, member)) = (grouped(group.lag), names_of(group));
            let line = format!(
                "{name} holds {lag} bytes for the group \"{shown}\": waiting for a member, such as \
                 `fanout sub {queue} --group {member}`"
            );
            return Some((&group.name, line));
        }
        let is_last = what == For::End && furthest == 0;
        if let Some(group) = groups.iter().find(|group| is_last && group.holds_end) {
            let (shown, member) = names_of(group);
            let whom = match group.members {
                0 => "a member of the group",
                _ => "the group",
            };
            let line = format!(
                "everything of {name} is read: waiting for {whom} \"{shown}\" to pass the end on; where no member of it runs, \
                 `fanout forget {queue} {member}` goes on without it"
            );
            return Some((&group.name, line));
        }
        let line = || {
            format!(
                "nobody listens to {name}: waiting for a consumer, such as `fanout sub {queue}`"
            )
        };
        (what == For::Room && consumers.is_empty()).then(|| ("", line()))
    }

    fn waiting(&self, what: For, consumer: &ConsumerInfo, others: usize) -> String {
        let (name, lag) = (&self.name, grouped(consumer.lag));
        let others = match others {
            0 => String::new(),
            others => format!(", and for {others} more"),
        };
        match what {
            For::Room => format!(
                "the queue {name} is full: waiting for {}, {lag} bytes behind{others}",
                describe(consumer)
            ),
            For::End => format!(
                "everything is sent: waiting for {} to read the last {lag} bytes of {name}{others}",
                describe(consumer)
            ),
        }
    }

    fn warning(&self, consumer: &ConsumerInfo, stood: Duration) -> String {
        let (name, slot) = (typed(self.name.as_str()), consumer.slot);
        format!(
            "warning: {} has held back {} bytes for {} s without moving, and is alive: see `fanout stat {name}`; \
             `fanout evict {name} {slot} --force` goes on without it",
            describe(consumer),
            grouped(consumer.lag),
            stood.as_secs()
        )
    }
}

pub(crate) fn who(consumer: &ConsumerInfo) -> Who {
    (consumer.slot, consumer.owner)
}

/// A group's name as it is shown, and as it is typed. Control characters in it are kept from our terminal.
fn names_of(group: &GroupInfo) -> (String, String) {
    let shown = group.name.escape_debug().to_string();
    let has_controls = group.name.chars().any(char::is_control);
    let typed = typed(if has_controls { &shown } else { &group.name });
    (shown, typed)
}

/// How a consumer describes itself. Other programs may have written anything there, so control
/// characters are kept from our terminal.
pub(crate) fn describe(consumer: &ConsumerInfo) -> String {
    let ConsumerInfo { slot, kind, owner, label, .. } = consumer;
    let group = match kind {
        ConsumerKind::Broadcast => String::new(),
        ConsumerKind::Member { group } => format!("of group \"{}\" ", group.escape_debug()),
    };
    format!("consumer {slot} {group}(label \"{}\", pid {owner} as it says)", label.escape_debug())
}

/// What is said of a consumer that was found dead, and of how much it held for its group, where that is known.
pub(crate) fn obituary(name: &QueueName, dead: &ConsumerInfo, held: Option<u64>) -> String {
    let what = match (&dead.kind, held) {
        (ConsumerKind::Broadcast, _) => {
            format!("{} bytes were left that it had not read", grouped(dead.lag))
        }
        (ConsumerKind::Member { .. }, Some(0)) => "it held nothing".to_owned(),
        (ConsumerKind::Member { .. }, Some(held)) => {
            format!("{} bytes that it held go to another member of its group", grouped(held))
        }
        (ConsumerKind::Member { .. }, None) => {
            "what it held goes to another member of its group".to_owned()
        }
    };
    format!("{} of {name} has died: {what}", describe(dead))
}

/// What is said of a consumer that was turned out.
pub(crate) fn dismissal(name: &QueueName, eviction: &Eviction) -> String {
    let consumer = &eviction.consumer;
    let why = match eviction.reason {
        EvictionReason::Lagged { after } => format!(
            "it held the producer back for {} s, and had promised to go after that",
            after.as_secs_f64()
        ),
        reason => reason.to_string(),
    };
    let (who, lag) = (describe(consumer), grouped(consumer.lag));
    format!("{who} of {name} was evicted: {why}; {lag} bytes were left that it had not read")
}

#[cfg(test)]
mod tests {
    use fanout::Start;
    use fanout::records::{Member, Writer};

    use super::*;

    #[test]
    fn nobody_is_warned_of_a_consumer_that_has_died() {
        let name = format!("/fanout-test-laggards-dead-{}", std::process::id());
        let name = QueueName::new(&name).unwrap();
        let mut writer = Writer::create(&name, 4096).unwrap();
        let mut held = Member::join(&name, "g", Start::Oldest).unwrap();
        writer.send(b"claimed").unwrap();
        drop(held.recv().unwrap());
        held.abandon();
        let (mut dead, mut laggards) = (writer.consumers().remove(0), Laggards::of(&name));
        assert_eq!(dead.alive, Some(false));
        assert!(!laggards.is_warned_of(&dead, STANDSTILL));
        dead.alive = Some(true);
        assert!(
            laggards.is_warned_of(&dead, STANDSTILL) && !laggards.is_warned_of(&dead, STANDSTILL)
        );
    }

    #[test]
    fn members_that_lag_are_named_with_their_group_and_counted() {
        let name = format!("/fanout-test-laggards-{}", std::process::id());
        let name = QueueName::new(&name).unwrap();
        let mut writer = Writer::create(&name, 4096).unwrap();
        let _members = [(); 2].map(|()| Member::join(&name, "g", Start::Oldest).unwrap());
        writer.send(b"for one of them").unwrap();
        let (consumers, laggards) = (writer.consumers(), Laggards::of(&name));
        let who = format!(
            "consumer 0 of group \"g\" (label \"\", pid {} as it says)",
            std::process::id()
        );
        let lag = consumers[0].lag;
        assert_eq!(
            laggards.waiting(For::Room, &consumers[0], 1),
            format!(
                "the queue {name} is full: waiting for {who}, {lag} bytes behind, and for 1 more"
            )
        );
        assert_eq!(
            laggards.waiting(For::End, &consumers[0], 0),
            format!("everything is sent: waiting for {who} to read the last {lag} bytes of {name}")
        );
    }
}
