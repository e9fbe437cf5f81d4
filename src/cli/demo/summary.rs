//! What was sent, what arrived, and whether the one proves the other.

use std::time::Duration;

use serde::{Serialize, Serializer};
use yardstick::payload::Tally;
use yardstick::report::grouped;

use super::peer::{Peer, State};
use super::{Kind, Packet, throughput};
use crate::cli::print;

#[derive(Serialize)]
pub(super) struct Summary {
    seconds: f64,
    message_bytes: usize,
    sent: u64,
    #[serde(serialize_with = "hexadecimal")]
    checksum: u64,
    million_messages_per_second: f64,
    megabytes_per_second: f64,
    consumers: Vec<Row>,
    pub(super) proved: bool,
}

#[derive(Serialize)]
struct Row {
    kind: Kind,
    received: u64,
    lost: u64,
    #[serde(serialize_with = "hexadecimal")]
    checksum: u64,
    faults: u64,
    proved: bool,
}

impl Summary {
    pub(super) fn new(sent: Tally, elapsed: Duration, children: &[Peer]) -> Self {
        let row = |child: &Peer| {
            let State { received, lost, sum, faults, .. } = child.state();
            let all = received + lost == sent.count && faults == 0;
            let proved = all && (child.kind == Kind::Tap || (lost == 0 && sum == sent.sum));
            Row { kind: child.kind, received, lost, checksum: sum, faults, proved }
        };
        let consumers: Vec<Row> = children.iter().map(row).collect();
        let proved = consumers.iter().all(|row| row.proved);
        let rate = throughput(sent.count, elapsed);
        Self {
            seconds: elapsed.as_secs_f64(),
            message_bytes: size_of::<Packet>(),
            sent: sent.count,
            checksum: sent.sum,
            million_messages_per_second: rate.million_messages_per_second(),
            megabytes_per_second: rate.megabytes_per_second(),
            consumers,
            proved,
        }
    }

    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return print(&(serde_json::to_string_pretty(self)? + "\n"));
        }
        let elapsed = Duration::from_secs_f64(self.seconds);
        let mut text = format!(
            "{} messages of {} bytes in {:.2} s: {}\n\n",
            grouped(self.sent),
            self.message_bytes,
            self.seconds,
            throughput(self.sent, elapsed)
        );
        text += &format!(
            "{:<12}{:>16}{:>16}{:>18}  proof\n",
            "process", "received", "lost", "checksum"
        );
        text += &format!(
            "{:<12}{:>16}{:>16}{:>18x}  sent\n",
            "producer",
            grouped(self.sent),
            "-",
            self.checksum
        );
        for row in &self.consumers {
            let (kind, proof) = match (row.kind, row.proved) {
                (Kind::Broadcast, true) => ("broadcast", "every message, in order, same checksum"),
                (Kind::Tap, true) => ("tap", "received + lost = sent, each one whole"),
                (Kind::Broadcast, false) => ("broadcast", "FAILED"),
                (Kind::Tap, false) => ("tap", "FAILED"),
            };
            let (received, lost) = (grouped(row.received), grouped(row.lost));
            text += &format!("{kind:<12}{received:>16}{lost:>16}{:>18x}  {proof}\n", row.checksum);
        }
        print(&text)
    }
}

/// Some programs that read JSON only know integers up to 2^53, and a checksum has 64 bits.
fn hexadecimal<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:016x}"))
}
