//! `fanout demo`: a producer and three consumer processes, and the proof of what arrived.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use common::payload::{Message, Tally, fill, sum};
use common::report::{Throughput, grouped};
use fanout::error::{RecvError, RecvTimeoutError, TryRecvError};
use fanout::{Consumer, JoinOptions, Producer, QueueName, Start, Tap};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::print;
use super::signals::Signals;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How long to send
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct ConsumerArguments {
    name: QueueName,
    kind: Kind,
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
/// How often the line on the screen changes, and consumers report.
const TICK: Duration = Duration::from_millis(100);
/// How long anything may stand still before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// Sends for as long as was asked, as fast as the slowest broadcast consumer lets it.
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
            ensure!(moved.elapsed() < PATIENCE, "no message left for {PATIENCE:?}: gave up");
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
        // Nobody but the tap itself knows; it has said so up to a tick ago.
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
        ensure!(started.elapsed() < PATIENCE, "{what} within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// An error if a consumer has ended before its time.
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

/// A consumer process, as its parent knows it.
struct Peer {
    kind: Kind,
    process: Child,
    state: Arc<Mutex<State>>,
    reader: Option<JoinHandle<()>>,
}

/// What a consumer has said last.
#[derive(Clone, Copy, Default)]
struct State {
    ready: bool,
    ended: bool,
    received: u64,
    lost: u64,
    sum: u64,
    faults: u64,
    lag: u64,
}

impl Peer {
    fn spawn(name: &QueueName, kind: Kind) -> anyhow::Result<Self> {
        let argument = kind.to_possible_value().context("a kind has a name")?;
        let mut process = Command::new(std::env::current_exe()?)
            .args(["demo-consumer", name.as_str(), argument.get_name()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a consumer")?;
        let output = process.stdout.take().context("a consumer has no output")?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                *state = State::parse(&line).unwrap_or(*state);
            }
        });
        Ok(Self { kind, process, state, reader: Some(reader) })
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It has ended by itself unless we are here for an error.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl State {
    fn print(&self) -> anyhow::Result<()> {
        let Self { ended, received, lost, sum, faults, lag, .. } = self;
        Ok(writeln!(std::io::stdout(), "{ended} {received} {lost} {sum} {faults} {lag}")?)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let ended = words.next()?.parse().ok()?;
        let mut number = || words.next()?.parse().ok();
        let (received, lost, sum, faults) = (number()?, number()?, number()?, number()?);
        Some(Self { ready: true, ended, received, lost, sum, faults, lag: number()? })
    }

    fn add(&mut self, messages: &[Packet]) {
        self.received += messages.len() as u64;
        self.sum = self.sum.wrapping_add(sum(messages));
    }
}

/// The part of a child process.
pub(crate) fn consume(arguments: &ConsumerArguments) -> anyhow::Result<()> {
    let options = JoinOptions::new().label("fanout demo");
    match arguments.kind {
        Kind::Broadcast => {
            watch(Consumer::<Packet>::join_with(&arguments.name, Start::Oldest, &options)?)
        }
        Kind::Tap => tap(Tap::<Packet>::open(&arguments.name, Start::Oldest)?),
    }
}

fn watch(mut consumer: Consumer<Packet>) -> anyhow::Result<()> {
    let mut state = State::default();
    state.print()?;
    let mut tick = Instant::now();
    loop {
        match consumer.recv_batch_timeout(4 * BATCH, TICK) {
            Ok(batch) => {
                let (head, tail) = batch.slices();
                let mut expected = batch.first().get();
                for messages in [head, tail] {
                    state.faults += count_faults(messages, &mut expected);
                    state.add(messages);
                }
            }
            Err(RecvTimeoutError::TimedOut(_)) => {}
            Err(RecvTimeoutError::End(RecvError::Closed)) => break,
            Err(error) => return Err(error.into()),
        }
        if tick.elapsed() >= TICK {
            state.print()?;
            tick = Instant::now();
        }
    }
    state.ended = true;
    state.print()
}

/// Messages that do not have the sequence expected of them.
fn count_faults(messages: &[Packet], expected: &mut u64) -> u64 {
    let mut faults = 0;
    for message in messages {
        faults += u64::from(message[0] != *expected);
        *expected += 1;
    }
    faults
}

fn tap(mut tap: Tap<Packet>) -> anyhow::Result<()> {
    let mut state = State::default();
    state.print()?;
    let mut tick = Instant::now();
    let mut messages = [Packet::default(); BATCH];
    let mut last = None;
    loop {
        match tap.try_recv_into(&mut messages) {
            Ok(received) => {
                for message in &messages[..received] {
                    // Later than the one before, and whole: each word follows from the first.
                    let whole = message.iter().zip(message[0]..).all(|(word, due)| *word == due);
                    state.faults +=
                        u64::from(!whole || last.is_some_and(|last| message[0] <= last));
                    last = Some(message[0]);
                }
                state.add(&messages[..received]);
            }
            Err(TryRecvError::Empty) => thread::sleep(Duration::from_micros(100)),
            Err(TryRecvError::End(_)) => break,
        }
        (state.lost, state.lag) = (tap.lost(), tap.lag());
        if tick.elapsed() >= TICK {
            state.print()?;
            tick = Instant::now();
        }
    }
    state.ended = true;
    state.print()
}

#[derive(Serialize)]
struct Summary {
    seconds: f64,
    message_bytes: usize,
    sent: u64,
    checksum: u64,
    million_messages_per_second: f64,
    megabytes_per_second: f64,
    consumers: Vec<Row>,
    proved: bool,
}

#[derive(Serialize)]
struct Row {
    kind: Kind,
    received: u64,
    lost: u64,
    checksum: u64,
    faults: u64,
    proved: bool,
}

impl Summary {
    fn new(sent: Tally, elapsed: Duration, children: &[Peer]) -> Self {
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

    fn print(&self, json: bool) -> anyhow::Result<()> {
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

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("expected a number of seconds, above 0 and up to 86400".to_owned()),
    }
}
