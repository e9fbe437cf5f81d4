//! `fanout sub`: messages in, lines out.

use std::io::{BufWriter, StdoutLock, Write};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use bytemuck::Zeroable;
use clap::{Args, ValueEnum};
use day3::sequencer::Cursor;
use fanout::error::{OpenError, RecvError, RecvTimeoutError, TryRecvError};
use fanout::inspect::Observer;
use fanout::segment::READY_DEADLINE;
use fanout::{Consumer, Group, JoinOptions, QueueName, Receiver, Start, Tap};

use super::line::{Line, for_size, size_of_type};
use super::nap::Nap;
use super::signals::Signals;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The queue's name
    name: QueueName,
    /// Share the messages with the other subscribers of this group
    #[arg(long, conflicts_with = "tap")]
    group: Option<String>,
    /// Only look: never slow the producer, and say at the end how many messages were missed
    #[arg(long)]
    tap: bool,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = From::Oldest)]
    from: From,
    /// End after this many messages
    #[arg(long)]
    count: Option<u64>,
    /// Fail if the queue does not exist yet, instead of waiting for it
    #[arg(long)]
    no_wait: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    /// With the oldest message that is still there
    Oldest,
    /// With the next message
    Latest,
}

/// How long a step may take before signals are looked at.
const SLICE: Duration = Duration::from_millis(50);
/// How often a queue that is not there yet is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How many messages are written out together.
const BATCH: u64 = 256;
/// A group's member takes fewer at a time: what it has taken nobody else can do.
const GROUP_BATCH: u64 = 16;

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    if arguments.count == Some(0) {
        return Ok(());
    }
    let size = wait_for_queue(arguments, signals)?;
    for_size!(size, subscribe, arguments, signals)
}

/// Waits until the queue exists; returns the size of its lines.
fn wait_for_queue(arguments: &Arguments, signals: &Signals) -> anyhow::Result<usize> {
    let name = &arguments.name;
    loop {
        signals.check()?;
        match Observer::open(name, READY_DEADLINE) {
            Ok(queue) => {
                let message_type = queue.snapshot().message_type;
                return match size_of_type(&message_type) {
                    Some(size) => Ok(size),
                    None => bail!(
                        "{name} holds messages of type {message_type:?}, not lines of fanout pub: \
                         read it with the program that knows that type"
                    ),
                };
            }
            Err(OpenError::NotFound { .. }) if !arguments.no_wait => thread::sleep(LOOK_AGAIN),
            Err(error) => return Err(error.into()),
        }
    }
}

fn subscribe<const N: usize>(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    let name = &arguments.name;
    let options = JoinOptions::new().label("fanout sub").message_type(&Line::<N>::type_name());
    let start = match arguments.from {
        From::Oldest => Start::Oldest,
        From::Latest => Start::Latest,
    };
    let mut output = Output {
        stdout: BufWriter::with_capacity(1 << 16, std::io::stdout().lock()),
        left: arguments.count.unwrap_or(u64::MAX),
    };
    if arguments.tap {
        let tap = Tap::<Line<N>>::open_with(name, start, &options)?;
        return tap_lines(tap.waiting(Nap), &mut output, signals);
    }
    if let Some(group) = &arguments.group {
        let member = Group::<Line<N>>::join_with(name, group, start, &options)?;
        return receive(member.waiting(Nap), GROUP_BATCH, &mut output, signals);
    }
    let consumer = Consumer::<Line<N>>::join_with(name, start, &options)?;
    receive(consumer.waiting(Nap), BATCH, &mut output, signals)
}

/// Where lines go, and how many more.
struct Output<'a> {
    stdout: BufWriter<StdoutLock<'a>>,
    left: u64,
}

impl Output<'_> {
    fn write<const N: usize>(&mut self, line: &Line<N>) -> std::io::Result<()> {
        let (text, newline) = line.parts();
        self.stdout.write_all(text)?;
        self.stdout.write_all(newline)
    }

    fn written(&mut self, lines: usize) -> std::io::Result<()> {
        self.left -= lines as u64;
        self.stdout.flush()
    }
}

fn receive<const N: usize, K: Cursor>(
    mut receiver: Receiver<Line<N>, K, Nap>,
    most: u64,
    output: &mut Output<'_>,
    signals: &Signals,
) -> anyhow::Result<()> {
    while output.left > 0 {
        signals.check()?;
        let most = most.min(output.left) as usize;
        match receiver.recv_batch_timeout(most, SLICE) {
            Ok(batch) => {
                for line in batch.iter() {
                    output.write(line)?;
                }
                output.written(batch.len())?;
            }
            Err(RecvTimeoutError::TimedOut(_)) => {}
            Err(RecvTimeoutError::End(RecvError::Closed)) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn tap_lines<const N: usize>(
    mut tap: Tap<Line<N>, Nap>,
    output: &mut Output<'_>,
    signals: &Signals,
) -> anyhow::Result<()> {
    // At most a mebibyte of them, whatever their size.
    let mut lines = vec![Line::<N>::zeroed(); ((1 << 20) / N).clamp(1, BATCH as usize)];
    while output.left > 0 {
        signals.check()?;
        let most = lines.len().min(usize::try_from(output.left).unwrap_or(usize::MAX));
        match tap.try_recv_into(&mut lines[..most]) {
            Ok(received) => {
                for line in &lines[..received] {
                    output.write(line)?;
                }
                output.written(received)?;
            }
            Err(TryRecvError::Empty) => thread::sleep(Duration::from_micros(500)),
            Err(TryRecvError::End(_)) => break,
        }
    }
    eprintln!("{} messages received, {} missed", tap.received(), tap.lost());
    Ok(())
}
