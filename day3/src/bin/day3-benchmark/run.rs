//! One run, told step by step.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use day3::sequencer::Cursor;
use day3::{Consumer, Member, Producer, Receiver, Start};
use serde::Serialize;
use yardstick::affinity;
use yardstick::payload::{Payload, Tally};

use crate::transport::{receive, send};
use crate::{Arguments, throughput};
use bytemuck::Pod;

/// The group of `--groups`.
const GROUP: &str = "benchmark";
/// How long consumers may take to read the rest once the producer has closed.
const DRAIN: Duration = Duration::from_secs(60);

/// The figures of a run.
#[derive(Serialize)]
pub(crate) struct Figures {
    elapsed_seconds: f64,
    megabytes_per_second: f64,
    million_messages_per_second: f64,
    producer_sum: u64,
    consumer_sums: Vec<u64>,
}

/// A registered consumer of either kind.
trait Receive: Send {
    fn receive(&mut self, batch: usize) -> Tally;
}

impl<P: Payload + Pod, K: Cursor + Send> Receive for Receiver<P, K> {
    fn receive(&mut self, batch: usize) -> Tally {
        receive(self, batch)
    }
}

fn join<P: Payload + Pod>(arguments: &Arguments) -> anyhow::Result<Box<dyn Receive>> {
    let name = &arguments.name;
    Ok(if arguments.groups {
        Box::new(Member::<P>::join(name, GROUP, Start::Oldest)?)
    } else {
        Box::new(Consumer::<P>::join(name, Start::Oldest)?)
    })
}

/// The story of a run. With `--json` it prints nothing.
struct Story<'a> {
    arguments: &'a Arguments,
}

impl Story<'_> {
    fn tell(&self, line: &str) {
        if !self.arguments.json {
            println!("{line}");
        }
    }

    fn creating(&self, mode: &str) {
        let Arguments { name, size, capacity, .. } = self.arguments;
        self.tell(&format!(
            "creating spmc_queue {name} of size {size} and capacity {capacity} with mode {mode}"
        ));
    }

    fn destroying(&self, mode: &str, destroy: impl FnOnce()) {
        self.tell(&format!("destroying spmc_queue {} of mode {mode}", self.arguments.name));
        destroy();
        self.tell("spmc_queue destroyed");
    }
}

/// Runs the benchmark, and prints its story unless JSON was asked for.
pub(crate) fn run<P: Payload + Pod>(arguments: &Arguments) -> anyhow::Result<Figures> {
    let story = Story { arguments };
    story.tell("Initializing the performance benchmark...");
    story.creating("writer");
    let mut producer = Producer::<P>::create(&arguments.name, arguments.capacity as u64)?;
    story.tell("spmc_queue created");
    let mut consumers = Vec::new();
    for core in 1..=arguments.consumers {
        story.creating("reader");
        consumers.push(if arguments.processes {
            Side::Process(ChildConsumer::spawn(arguments, core)?)
        } else {
            Side::Thread(join::<P>(arguments)?)
        });
        story.tell("spmc_queue created");
    }
    story.tell("Initialized performance benchmark");

    let (sent, received, elapsed) = race(arguments, &story, &mut producer, &mut consumers)?;
    let figures = figures(arguments, sent, &received, elapsed)?;
    story.tell(&format!("Elapsed time: {:.6} seconds", figures.elapsed_seconds));
    story.tell(&format!("Throughput: {:.2} MB/s", figures.megabytes_per_second));
    let producer_sum = figures.producer_sum;
    for consumer_sum in &figures.consumer_sums {
        story.tell(&format!(
            "test_producer_sum = {producer_sum} and test_consumer_sum = {consumer_sum}"
        ));
    }

    story.tell("Destroying the performance benchmark...");
    story.destroying("writer", || drop(producer));
    for consumer in consumers {
        story.destroying("reader", || drop(consumer));
    }
    story.tell("Destroyed performance benchmark");
    Ok(figures)
}

/// With more sides than cores, the kernel places them better than we do.
fn a_core_each(arguments: &Arguments, cores: &[usize]) -> bool {
    arguments.consumers < cores.len()
}

/// A consumer, in a thread or in a process.
enum Side {
    Thread(Box<dyn Receive>),
    Process(ChildConsumer),
}

impl Side {
    fn receive(&mut self, batch: usize) -> anyhow::Result<Tally> {
        match self {
            Self::Thread(consumer) => Ok(consumer.receive(batch)),
            Self::Process(child) => child.tally(),
        }
    }
}

/// Lets all sides start at the same moment.
fn race<P: Payload + Pod>(
    arguments: &Arguments,
    story: &Story<'_>,
    producer: &mut Producer<P>,
    consumers: &mut [Side],
) -> anyhow::Result<(Tally, Vec<Tally>, Duration)> {
    let cores = &affinity::cores();
    let Arguments { messages, batch, .. } = *arguments;
    let pinned = a_core_each(arguments, cores);
    let start = &Barrier::new(consumers.len() + 2);
    story.tell("waiting for the producer & consumer thread to be ready...");
    thread::scope(|scope| {
        story.tell("producer thread spawns");
        let sender = scope.spawn(move || {
            if pinned {
                affinity::pin(cores, 0);
            }
            start.wait();
            let sent = send(producer, messages, batch);
            producer.close();
            sent
        });
        let mut receivers = Vec::new();
        for (i, consumer) in consumers.iter_mut().enumerate() {
            story.tell("consumer thread spawns");
            receivers.push(scope.spawn(move || {
                if pinned {
                    affinity::pin(cores, i + 1);
                }
                start.wait();
                consumer.receive(batch)
            }));
        }
        start.wait();
        let started = Instant::now();
        story.tell("performance benchmark starts");
        let panicked = |_| anyhow!("a thread of the benchmark panicked");
        let sent = sender.join().map_err(panicked)??;
        let received: Vec<Tally> = receivers
            .into_iter()
            .map(|receiver| receiver.join().map_err(panicked)?)
            .collect::<anyhow::Result<_>>()?;
        let elapsed = started.elapsed();
        story.tell("performance benchmark ends");
        Ok((sent, received, elapsed))
    })
}

/// Checks that everything arrived: the figures of a run that lost something mean nothing.
fn figures(
    arguments: &Arguments,
    sent: Tally,
    received: &[Tally],
    elapsed: Duration,
) -> anyhow::Result<Figures> {
    let totals: Vec<Tally> = if arguments.groups {
        vec![received.iter().fold(Tally::default(), |total, tally| total.and(*tally))]
    } else {
        received.to_vec()
    };
    for total in &totals {
        ensure!(
            *total == sent && sent.count == arguments.messages,
            "{} messages with sum {} were sent, {} with sum {} arrived",
            sent.count,
            sent.sum,
            total.count,
            total.sum
        );
    }
    let rate = throughput(arguments, elapsed);
    Ok(Figures {
        elapsed_seconds: elapsed.as_secs_f64(),
        megabytes_per_second: rate.megabytes_per_second(),
        million_messages_per_second: rate.million_messages_per_second(),
        producer_sum: sent.sum,
        consumer_sums: totals.iter().map(|total| total.sum).collect(),
    })
}

/// A consumer in its own process. It prints `ready` when it has joined, and its tally at the end.
struct ChildConsumer {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl ChildConsumer {
    fn spawn(arguments: &Arguments, core: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(arguments.name.as_str()).args(["--child", &core.to_string()]);
        command.args(["--consumers", &arguments.consumers.to_string()]);
        command.args(["--size", &arguments.size.to_string()]);
        command.args(["--capacity", &arguments.capacity.to_string()]);
        command.args(["--batch", &arguments.batch.to_string()]);
        if arguments.groups {
            command.arg("--groups");
        }
        let mut child = command.stdout(Stdio::piped()).spawn().context("starting a consumer")?;
        let output = child.stdout.take().context("a consumer has no output")?;
        let mut this = Self { child, output: BufReader::new(output) };
        ensure!(this.line()? == "ready", "a consumer process could not join");
        Ok(this)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn tally(&mut self) -> anyhow::Result<Tally> {
        let line = self.line()?;
        let (count, sum) = line.split_once(' ').context("a consumer process died")?;
        Ok(Tally { count: count.parse()?, sum: sum.parse()? })
    }
}

impl Drop for ChildConsumer {
    fn drop(&mut self) {
        // After its tally it ends by itself. If we are here because of an error, it must not stay.
        let started = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && started.elapsed() < DRAIN {
            if thread::panicking() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child process's part.
pub(crate) fn child<P: Payload + Pod>(arguments: &Arguments, core: usize) -> anyhow::Result<()> {
    let cores = affinity::cores();
    if a_core_each(arguments, &cores) {
        affinity::pin(&cores, core);
    }
    let mut consumer = join::<P>(arguments)?;
    let mut output = std::io::stdout();
    writeln!(output, "ready")?;
    output.flush()?;
    let tally = consumer.receive(arguments.batch);
    writeln!(output, "{} {}", tally.count, tally.sum)?;
    Ok(output.flush()?)
}
