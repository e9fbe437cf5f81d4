//! One run: its processes are started, told to begin, and what they did is put together.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use yardstick::crew::Crew;

use crate::bridges::{Bridge, Queues};
use crate::load::{Bare, Load};
use crate::message::{Faults, Latency};
use crate::part::{Part, Usage};
use crate::server::{Servers, Store};

/// How long a run may take.
const TIMEOUT: Duration = Duration::from_secs(120);
/// What to do if it takes longer.
const ADVICE: &str = "is the machine busy? --quick carries less";

/// Who carries the load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Carrier {
    /// The client by itself, from a program to a program.
    Bare(Bare),
    /// Two bridges, from a queue to a queue.
    Bridge {
        /// The most bytes of a NATS message of several messages.
        pack: Option<usize>,
    },
}

/// What a run found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) messages: u64,
    /// From the first message's sending to the last one's arrival.
    pub(crate) elapsed: Duration,
    pub(crate) cpu: Cpu,
    pub(crate) faults: Faults,
    pub(crate) latency: Option<Latency>,
}

/// CPU time, by who used it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    /// All servers.
    pub(crate) server: Duration,
    /// What publishes: a program, or a bridge.
    pub(crate) out: Duration,
    /// What consumes.
    pub(crate) r#in: Duration,
    /// The producer and the consumer of the queues; a program that publishes is both in one.
    pub(crate) ends: Option<Duration>,
}

impl Sample {
    /// Messages in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64()
    }
}

/// Carries the load once, through a stream of its own.
pub(crate) fn run(
    servers: &Servers,
    store: Store,
    load: &Load,
    carrier: Carrier,
) -> anyhow::Result<Sample> {
    let sample = match carrier {
        Carrier::Bare(bare) => {
            servers.make_stream(&load.stream, store)?;
            bare_run(servers, load, bare)
        }
        Carrier::Bridge { pack } => bridge_run(servers, store, load, pack),
    }?;
    servers.remove_stream(&load.stream)?;
    Ok(sample)
}

fn bare_run(servers: &Servers, load: &Load, bare: Bare) -> anyhow::Result<Sample> {
    let mut crew = Crew::new(Instant::now() + TIMEOUT, ADVICE);
    hire(&mut crew, "publisher", &Part::Publish(load.clone(), bare))?;
    hire(&mut crew, "consumer", &Part::Consume(load.clone(), bare))?;
    crew.hear(0, "ready")?;
    let before = servers.cpu()?;
    let [sent, received] = go(&mut crew)?;
    let server = servers.cpu()? - before;
    let cpu = Cpu { server, out: sent.cpu, r#in: received.cpu, ends: None };
    sample(load, &sent, &received, cpu)
}

fn bridge_run(
    servers: &Servers,
    store: Store,
    load: &Load,
    pack: Option<usize>,
) -> anyhow::Result<Sample> {
    let deadline = Instant::now() + TIMEOUT;
    let queues = Queues::new(&load.stream);
    let mut crew = Crew::new(deadline, ADVICE);
    hire(&mut crew, "consumer", &Part::Receive(load.clone(), queues.to.clone()))?;
    // It waits for the bridge, which waits for its queue.
    hire(&mut crew, "producer", &Part::Send(load.clone(), queues.from.clone()))?;
    let out = Bridge::out(&queues.from, &load.url, &load.stream, store, pack)?;
    let r#in = Bridge::r#in(&queues.to, &load.url, &load.stream)?;
    crew.hear(0, "ready")?;
    let before = servers.cpu()?;
    let [received, sent] = go(&mut crew)?;
    let server = servers.cpu()? - before;
    let (out, r#in) = (out.finish(deadline)?, r#in.finish(deadline)?);
    let cpu = Cpu { server, out, r#in, ends: Some(sent.cpu + received.cpu) };
    sample(load, &sent, &received, cpu)
}

fn hire(crew: &mut Crew, name: &str, part: &Part) -> anyhow::Result<()> {
    let part = serde_json::to_string(part)?;
    crew.hire(name, &["--part".to_owned(), part], Vec::new())?;
    Ok(())
}

/// Lets both ends begin, and hears what they did, in the order in which they were hired.
fn go(crew: &mut Crew) -> anyhow::Result<[Usage; 2]> {
    crew.tell("go")?;
    let said = crew.hear(0, "done")?;
    let [first, second] = &said[..] else { anyhow::bail!("a run has two ends") };
    let parse = |said: &str| serde_json::from_str(said).context("what a part has done");
    Ok([parse(first)?, parse(second)?])
}

fn sample(load: &Load, sent: &Usage, received: &Usage, cpu: Cpu) -> anyhow::Result<Sample> {
    let faults = received.faults;
    let is_whole = (received.count, received.checksum) == (sent.count, sent.checksum);
    ensure!(
        is_whole || faults != Faults::default(),
        "{} messages with the checksum {:016x} were sent, {} with {:016x} arrived",
        sent.count,
        sent.checksum,
        received.count,
        received.checksum
    );
    let elapsed = received.ended.saturating_sub(sent.began);
    Ok(Sample { messages: load.messages, elapsed, cpu, faults, latency: received.latency })
}
