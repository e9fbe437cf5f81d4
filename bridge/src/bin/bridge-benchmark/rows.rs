//! The rows: who carries what, and what is asked of it.

use async_nats::jetstream::stream::StorageType;
use clap::ValueEnum;

use crate::Effort;
use crate::load::{Bare, Load};
use crate::run::{Carrier, Sample, run};
use crate::server::{Servers, Store};
use crate::table::{Asked, Table};

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Row {
    /// 64 bytes, one server, memory
    Small,
    /// The same, several messages in one NATS message
    Packed,
    /// 16 KiB, one server, memory
    Large,
    /// 64 bytes, three servers, three replicas, files
    Replicated,
    /// How long 64 bytes are on their way, 10,000 times a second
    Latency,
}

/// Who carries, under which name, and how many messages.
struct Contender {
    name: String,
    carrier: Carrier,
    messages: u64,
}

/// The best that we know to make of the client, if each message is to be acknowledged.
const BEST: &str = "client, one inbox";
/// What most programs do.
const DOCUMENTED: &str = "client, a future each";
const OURS: &str = "bridge";
/// The sizes of packs.
const PACKS: [usize; 4] = [1 << 10, 4 << 10, 16 << 10, 64 << 10];
/// Messages in a second, where latency is measured.
const RATE: u32 = 10_000;

const SMALL: usize = 64;
const LARGE: usize = 16 << 10;
const MEMORY: Store = Store { storage: StorageType::Memory, replicas: 1 };
const REPLICATED: Store = Store { storage: StorageType::File, replicas: 3 };

fn bare(name: &str, bare: Bare, messages: u64) -> Contender {
    Contender { name: name.to_owned(), carrier: Carrier::Bare(bare), messages }
}

fn bridge(pack: Option<usize>, messages: u64) -> Contender {
    let name = pack.map_or(OURS.to_owned(), packed);
    Contender { name, carrier: Carrier::Bridge { pack }, messages }
}

fn packed(pack: usize) -> String {
    format!("{OURS} --pack {pack}")
}

/// All that the client by itself can do, and the bridge.
fn everybody(messages: u64) -> Vec<Contender> {
    vec![
        bare(DOCUMENTED, Bare::Documented, messages),
        bare(BEST, Bare::Inbox, messages),
        bare("client, identity and expectation", Bare::Checked, messages),
        bare("client, an answer for 64", Bare::LastOfBatch, messages),
        bridge(None, messages),
    ]
}

impl Row {
    pub(crate) fn measure(self, effort: &Effort) -> anyhow::Result<Table> {
        match self {
            Self::Small => small(effort),
            Self::Packed => packs(effort),
            Self::Large => large(effort),
            Self::Replicated => replicated(effort),
            Self::Latency => latency(effort),
        }
    }
}

fn small(effort: &Effort) -> anyhow::Result<Table> {
    let title = "64 B, one server, memory";
    let table = measure(effort, title, MEMORY, SMALL, None, everybody(effort.messages(400_000)))?;
    Ok(table.ratio(OURS, BEST, effort.at_least(0.9)).ratio(OURS, DOCUMENTED, Asked::Reported))
}

fn packs(effort: &Effort) -> anyhow::Result<Table> {
    let mut contenders = vec![bare(BEST, Bare::Inbox, effort.messages(400_000))];
    contenders.extend(PACKS.map(|pack| bridge(Some(pack), effort.messages(5_000_000))));
    let title = "64 B, packed, one server, memory";
    let table = measure(effort, title, MEMORY, SMALL, None, contenders)?;
    let asked = |pack| if pack == LARGE { effort.at_least(20.0) } else { Asked::Reported };
    Ok(PACKS.into_iter().fold(table, |table, pack| table.ratio(&packed(pack), BEST, asked(pack))))
}

fn large(effort: &Effort) -> anyhow::Result<Table> {
    let messages = effort.messages(50_000);
    let contenders = vec![
        bare(DOCUMENTED, Bare::Documented, messages),
        bare(BEST, Bare::Inbox, messages),
        bridge(None, messages),
    ];
    let table = measure(effort, "16 KiB, one server, memory", MEMORY, LARGE, None, contenders)?;
    Ok(table.ratio(OURS, BEST, effort.at_least(0.9)).ratio(OURS, DOCUMENTED, Asked::Reported))
}

fn replicated(effort: &Effort) -> anyhow::Result<Table> {
    let mut contenders = everybody(effort.messages(150_000));
    contenders.push(bridge(Some(LARGE), effort.messages(2_000_000)));
    let title = "64 B, three servers, three replicas, files";
    let table = measure(effort, title, REPLICATED, SMALL, None, contenders)?;
    Ok(table
        .ratio(OURS, BEST, effort.at_least(0.9))
        .ratio(OURS, DOCUMENTED, Asked::Reported)
        .ratio(&packed(LARGE), BEST, effort.at_least(0.9)))
}

fn latency(effort: &Effort) -> anyhow::Result<Table> {
    let messages = effort.messages(100_000);
    let contenders = vec![bare(BEST, Bare::Inbox, messages), bridge(None, messages)];
    let title = "64 B, 10,000 messages a second, one server, memory";
    measure(effort, title, MEMORY, SMALL, Some(RATE), contenders)
}

/// All contenders in turns, so that whatever disturbs the machine disturbs all of them. The first round warms up.
fn measure(
    effort: &Effort,
    title: &str,
    store: Store,
    size: usize,
    rate: Option<u32>,
    contenders: Vec<Contender>,
) -> anyhow::Result<Table> {
    let servers = Servers::start(store.replicas)?;
    let mut samples: Vec<Vec<Sample>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..effort.runs + effort.warm {
        for (number, contender) in contenders.iter().enumerate() {
            let load = Load {
                url: servers.url(),
                stream: format!("BENCHMARK-{round}-{number}"),
                messages: contender.messages,
                size,
                window: window(size),
                rate,
            };
            effort.bar.set_message(format!("{title}: {}", contender.name));
            let sample = run(&servers, store, &load, contender.carrier);
            let sample = sample.map_err(|error| error.context(contender.name.clone()))?;
            effort.bar.inc(1);
            if round >= effort.warm {
                samples[number].push(sample);
            }
        }
    }
    let names = contenders.into_iter().map(|contender| contender.name);
    Ok(Table::new(title, size, names.zip(samples).collect()))
}

/// How many messages the client by itself has on their way: more slow the server down.
fn window(size: usize) -> u64 {
    (WINDOW_BYTES / size as u64).clamp(64, WINDOW)
}

const WINDOW: u64 = 4096;
const WINDOW_BYTES: u64 = 4 << 20;
