//! `fanout demo`: a producer and three consumer processes, and the proof of what arrived.

mod consumer;
mod peer;
mod summary;

use std::io::IsTerminal;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::{Args, ValueEnum};
use fanout::{Producer, QueueName};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use yardstick::payload::{Message, Tally, fill};
use yardstick::report::{Throughput, grouped};

pub(crate) use self::consumer::{ConsumerArguments, consume};
use self::peer::Peer;
use self::summary::Summary;
use yardstick::signals::Signals;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How long to send
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Broadcast,
    Tap,
}

/// A message of 64 bytes: its sequence, and seven words that follow from it.
type Packet = Message<8>;

const CAPACITY: u64 = 4096;
const BATCH: usize = 64;
const KINDS: [Kind; 3] = [Kind::Broadcast, Kind::Broadcast, Kind::Tap];
/// How often the line on the screen changes, and how often consumers report.
const TICK: Duration = Duration::from_millis(100);
/// How long the demo waits without any progress before it gives up.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    let name = QueueName::new(&format!("fanout-demo-{}", std::process::id()))?;
    let mut producer = Producer::<Packet>::create(&name, CAPACITY)?;
    let mut children = KINDS
        .into_iter()
        .map(|kind| Peer::spawn(&name, kind))
        .collect::<anyhow::Result<Vec<_>>>()?;
    wait_until(signals, &mut children, "consumers did not join", |children| {
        children.iter().all(|child| child.state().ready)
    })?;

    let started = Instant::now();
    let sent = send(&mut producer, arguments, signals, &mut children)?;
    producer.close();
    wait_until(signals, &mut children, "consumers did not finish", |children| {
        children.iter().all(|child| child.state().ended)
    })?;
    let elapsed = started.elapsed();
    drop(producer);
    let summary = Summary::new(sent, elapsed, &children);
    summary.print(arguments.json)?;
    ensure!(
        summary.proved,
        "a consumer did not get what was sent: this is a defect, please report it"
    );
    Ok(())
}

/// Sends for the time that was asked for, as fast as the slowest broadcast consumer allows.
fn send(
    producer: &mut Producer<Packet>,
    arguments: &Arguments,
    signals: &Signals,
    children: &mut [Peer],
) -> anyhow::Result<Tally> {
    let bar = progress(arguments);
    let (started, length) = (Instant::now(), Duration::from_secs_f64(arguments.seconds));
    let (mut sent, mut shown) = (Tally::default(), Tally::default());
    let (mut tick, mut moved) = (Instant::now(), Instant::now());
    loop {
        // About a millisecond of work between two looks at the clock.
        for _ in 0..256 {
            let Ok(mut places) = producer.try_reserve(BATCH) else {
                thread::yield_now();
                continue;
            };
            let (head, tail) = places.slices();
            let behind = sent.count + head.len() as u64;
            let sum = fill(head, sent.count).wrapping_add(fill(tail, behind));
            places.publish();
            sent.add(BATCH as u64, sum);
        }
        if started.elapsed() >= length {
            bar.finish_and_clear();
            return Ok(sent);
        }
        if tick.elapsed() >= TICK {
            signals.check()?;
            check(children)?;
            if sent.count > shown.count {
                moved = Instant::now();
            }
            ensure!(moved.elapsed() < TIMEOUT, "no message left for {TIMEOUT:?}: gave up");
            let rate = throughput(sent.count - shown.count, tick.elapsed());
            bar.set_message(format!("{rate}   lag {}", lags(producer, children)));
            bar.tick();
            (shown, tick) = (sent, Instant::now());
        }
    }
}

fn progress(arguments: &Arguments) -> ProgressBar {
    if arguments.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>3}  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn lags(producer: &Producer<Packet>, children: &[Peer]) -> String {
    let registered = producer.consumers();
    let lag = |child: &Peer| match child.kind {
        Kind::Broadcast => registered
            .iter()
            .find(|consumer| consumer.owner == child.process.id())
            .map_or(0, |consumer| consumer.lag),
        // Only the tap itself knows its lag. Its last report is at most a tick old.
        Kind::Tap => child.state().lag,
    };
    let label = |child: &Peer| match child.kind {
        Kind::Broadcast => "broadcast",
        Kind::Tap => "tap",
    };
    let texts: Vec<String> = children
        .iter()
        .map(|child| format!("{} {:>6}", label(child), grouped(lag(child))))
        .collect();
    texts.join(" · ")
}

fn throughput(messages: u64, elapsed: Duration) -> Throughput {
    Throughput { messages, bytes: messages * size_of::<Packet>() as u64, elapsed }
}

fn wait_until(
    signals: &Signals,
    children: &mut [Peer],
    what: &str,
    done: impl Fn(&[Peer]) -> bool,
) -> anyhow::Result<()> {
    let started = Instant::now();
    while !done(children) {
        signals.check()?;
        check(children)?;
        ensure!(started.elapsed() < TIMEOUT, "{what} within {TIMEOUT:?}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Fails if a consumer process has ended early.
fn check(children: &mut [Peer]) -> anyhow::Result<()> {
    for child in children {
        if let Some(status) = child.process.try_wait()?
            && !status.success()
        {
            bail!("a consumer process ended early: {status}");
        }
    }
    Ok(())
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("expected a number of seconds, above 0 and up to 86400".to_owned()),
    }
}
