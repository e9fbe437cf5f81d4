//! What is said of a queue, as a program reads it.

use fanout::QueueName;
use fanout::inspect::{ConsumerKind, Snapshot};
use serde::Serialize;

use crate::cli::column::kind;

#[derive(Serialize)]
pub(super) struct Report<'a> {
    pub(super) name: &'a str,
    /// "ring" or "records"; with the latter, all that follows counts bytes, not messages.
    pub(super) kind: String,
    pub(super) message_type: &'a str,
    pub(super) message_size: u64,
    pub(super) capacity: u64,
    pub(super) bytes: u64,
    pub(super) first: u64,
    pub(super) published: u64,
    pub(super) reserved: u64,
    pub(super) sent: u64,
    pub(super) closed: bool,
    pub(super) full: bool,
    pub(super) gating_slot: Option<usize>,
    pub(super) consumers: Vec<Row<'a>>,
}

#[derive(Serialize)]
pub(super) struct Row<'a> {
    pub(super) slot: usize,
    pub(super) kind: &'static str,
    pub(super) group: Option<&'a str>,
    pub(super) label: &'a str,
    pub(super) pid: u32,
    pub(super) lag: u64,
    pub(super) gates: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new(name: &'a QueueName, snapshot: &'a Snapshot) -> Self {
        let gating = snapshot.gating();
        let rows = snapshot.consumers.iter().map(|consumer| {
            let (kind, group) = match &consumer.kind {
                ConsumerKind::Broadcast => ("broadcast", None),
                ConsumerKind::Member { group } => ("member", Some(group.as_str())),
            };
            let gates = gating.is_some_and(|gating| gating.slot == consumer.slot);
            let (slot, label, pid, lag) =
                (consumer.slot, consumer.label.as_str(), consumer.owner, consumer.lag);
            Row { slot, kind, group, label, pid, lag, gates }
        });
        Self {
            name: name.as_str(),
            kind: kind(snapshot.kind),
            message_type: &snapshot.message_type,
            message_size: snapshot.message_size,
            capacity: snapshot.capacity,
            bytes: snapshot.bytes,
            first: snapshot.first,
            published: snapshot.published,
            reserved: snapshot.reserved,
            sent: snapshot.sent(),
            closed: snapshot.closed,
            full: gating.is_some_and(|gating| gating.lag >= snapshot.capacity),
            gating_slot: gating.map(|gating| gating.slot),
            consumers: rows.collect(),
        }
    }
}
