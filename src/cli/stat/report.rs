//! A queue's report, for programs.

use fanout::inspect::{ConsumerKind, Snapshot};
use fanout::{Ending, QueueName};
use serde::{Serialize, Serializer};

use fanout::inspect::listing::word;

#[derive(Serialize)]
pub(super) struct Report<'a> {
    pub(super) name: &'a str,
    /// "ring" or "records"; with the latter, all that follows counts bytes, not messages.
    pub(super) kind: String,
    /// Whether each consumer has a page of its own. Then lags are as of the producer's last look at these.
    pub(super) private: bool,
    pub(super) message_type: &'a str,
    pub(super) message_size: u64,
    pub(super) capacity: u64,
    pub(super) bytes: u64,
    #[serde(serialize_with = "digits")]
    pub(super) first: u64,
    #[serde(serialize_with = "digits")]
    pub(super) published: u64,
    #[serde(serialize_with = "digits")]
    pub(super) reserved: u64,
    pub(super) sent: u64,
    /// The same for all copies of the queue, on other hosts, too: 16 hexadecimal digits.
    pub(super) identity: String,
    pub(super) closed: bool,
    /// "open", "finished" or "aborted".
    pub(super) ending: &'static str,
    /// Why the producer gave up.
    pub(super) reason: Option<&'a str>,
    pub(super) producer: Producer,
    /// How many producers have taken over from one that had died.
    pub(super) epoch: u64,
    /// How many consumers the queue has room for.
    pub(super) slots: usize,
    /// How much room the producer waits for; 0 while it does not wait.
    pub(super) waits_for: u64,
    /// Whether a consumer is in the producer's way, or a whole lap behind.
    pub(super) full: bool,
    pub(super) gating_slot: Option<usize>,
    pub(super) consumers: Vec<Row<'a>>,
    pub(super) groups: Vec<Group<'a>>,
}

#[derive(Serialize)]
pub(super) struct Producer {
    /// As the producer itself has written it. Another pid namespace has other numbers.
    pub(super) pid: u32,
    /// Whether the producer, or a child of it, has the queue open.
    pub(super) lives: bool,
}

#[derive(Serialize)]
pub(super) struct Row<'a> {
    pub(super) slot: usize,
    pub(super) kind: &'static str,
    /// What it has promised about lagging: block, lossy, or evict=5s.
    pub(super) policy: String,
    /// How many messages a lossy consumer has missed.
    pub(super) missed: u64,
    pub(super) group: Option<&'a str>,
    pub(super) label: &'a str,
    pub(super) pid: u32,
    /// Whether its process is alive, as the kernel knows; in a private queue, nobody but its producer knows.
    pub(super) alive: Option<bool>,
    /// When it took its slot: seconds since 1970.
    pub(super) since: u64,
    pub(super) lag: u64,
    pub(super) gates: bool,
    /// Whether this consumer keeps the producer waiting.
    pub(super) blocks: bool,
}

/// A group that the queue keeps a place for, with or without a member.
#[derive(Serialize)]
pub(super) struct Group<'a> {
    pub(super) name: &'a str,
    pub(super) members: usize,
    pub(super) lag: u64,
    /// Whether the producer waits for the group even while it has no member.
    pub(super) holds: bool,
    /// Whether the group's place has been overwritten.
    pub(super) overwritten: bool,
    /// Whether the group, without a member, keeps the producer waiting.
    pub(super) blocks: bool,
    /// How much went to a second member, because the first had died.
    pub(super) redelivered: u64,
}

/// The producer chooses where sequences begin. They may lie above 2^53, where many programs misread
/// numbers.
fn digits<S: Serializer>(sequence: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(sequence)
}

impl<'a> Report<'a> {
    pub(super) fn new(name: &'a QueueName, snapshot: &'a Snapshot) -> Self {
        let gating = snapshot.gating().map(|consumer| consumer.slot);
        let rows = snapshot.consumers.iter().map(|consumer| {
            let (kind, group) = match &consumer.kind {
                ConsumerKind::Broadcast => ("broadcast", None),
                ConsumerKind::Member { group } => ("member", Some(group.as_str())),
            };
            let (slot, label, pid, lag) =
                (consumer.slot, consumer.label.as_str(), consumer.owner, consumer.lag);
            let (gates, blocks) = (gating == Some(slot), consumer.gates() && blocks(snapshot, lag));
            let (alive, since) = (consumer.alive, consumer.since);
            let (policy, missed) = (consumer.policy.to_string(), consumer.missed);
            Row { slot, kind, policy, missed, group, label, pid, alive, since, lag, gates, blocks }
        });
        let consumers: Vec<Row<'_>> = rows.collect();
        let groups = groups(snapshot);
        let (ending, reason) = match &snapshot.ending {
            Ending::Open => ("open", None),
            Ending::Aborted { reason } => ("aborted", Some(reason.as_str())),
            _ => ("finished", None),
        };
        let full =
            consumers.iter().any(|row| row.blocks) || groups.iter().any(|group| group.blocks);
        Self {
            name: name.as_str(),
            kind: word(snapshot.kind),
            private: snapshot.private,
            message_type: &snapshot.message_type,
            message_size: snapshot.message_size,
            capacity: snapshot.capacity,
            bytes: snapshot.bytes,
            first: snapshot.first,
            published: snapshot.published,
            reserved: snapshot.reserved,
            sent: snapshot.sent(),
            identity: format!("{:016x}", snapshot.identity),
            closed: snapshot.closed,
            ending,
            reason,
            producer: Producer { pid: snapshot.producer_pid, lives: snapshot.producer_lives },
            epoch: snapshot.epoch,
            slots: snapshot.slots,
            waits_for: waits_for(snapshot),
            full,
            gating_slot: gating,
            consumers,
            groups,
        }
    }
}

fn groups(snapshot: &Snapshot) -> Vec<Group<'_>> {
    let group = |group: &'_ fanout::inspect::GroupInfo| {
        let overwritten = group.members == 0 && !group.holds && group.lag > snapshot.capacity;
        let blocks = group.members == 0 && group.holds && blocks(snapshot, group.lag);
        (group.members, group.lag, group.holds, overwritten, blocks)
    };
    let rows = snapshot.groups.iter().map(|info| {
        let (members, lag, holds, overwritten, blocks) = group(info);
        let (name, redelivered) = (info.name.as_str(), info.redelivered);
        Group { name, members, lag, holds, overwritten, blocks, redelivered }
    });
    rows.collect()
}

/// At most the capacity, whatever is written there.
fn waits_for(snapshot: &Snapshot) -> u64 {
    snapshot.waits_for.min(snapshot.capacity)
}

/// Whether a consumer with this lag is in the producer's way.
fn blocks(snapshot: &Snapshot, lag: u64) -> bool {
    let needed = match waits_for(snapshot) {
        // The producer has not asked for room yet, but there is none.
        0 => 1,
        needed => needed,
    };
    !snapshot.closed && lag.saturating_add(needed) > snapshot.capacity
}
