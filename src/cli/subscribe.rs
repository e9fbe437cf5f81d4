//! `fanout sub`: messages in, lines out.

use std::io::{BufWriter, Write};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use bytemuck::Zeroable;
use clap::{Args, ValueEnum};
use day3::sequencer::Cursor;
use fanout::error::{JoinError, OpenError, RecvError, RecvTimeoutError, TryRecvError};
use fanout::inspect::Observer;
use fanout::segment::READY_DEADLINE;
use fanout::{Consumer, Group, JoinOptions, QueueName, Receiver, Start, Tap};

use super::line::{Line, for_size, size_of_type};
use super::nap::Nap;
use super::output::Output;
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
    loop {
        let size = wait_for_queue(arguments, signals)?;
        match for_size!(size, subscribe, arguments, signals) {
            // Gone between two looks: as if it had never been there.
            Err(error) if !arguments.no_wait && is_gone(&error) => {}
            outcome => return outcome,
        }
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<JoinError>();
    matches!(error, Some(JoinError::Open(OpenError::NotFound { .. })))
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
    let mut printer = Printer {
        stdout: BufWriter::with_capacity(1 << 16, Output::new(signals)?),
        left: arguments.count.unwrap_or(u64::MAX),
    };
    if arguments.tap {
        let tap = Tap::<Line<N>>::open_with(name, start, &options)?;
        return tap_lines(tap.waiting(Nap), &mut printer, signals);
    }
    if let Some(group) = &arguments.group {
        let member = Group::<Line<N>>::join_with(name, group, start, &options)?;
        return receive(member.waiting(Nap), GROUP_BATCH, &mut printer, signals);
    }
    let consumer = Consumer::<Line<N>>::join_with(name, start, &options)?;
    receive(consumer.waiting(Nap), BATCH, &mut printer, signals)
}

/// Where lines go, and how many more.
struct Printer<'a> {
    stdout: BufWriter<Output<'a>>,
    left: u64,
}

impl Printer<'_> {
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
    printer: &mut Printer<'_>,
    signals: &Signals,
) -> anyhow::Result<()> {
    while printer.left > 0 {
        signals.check()?;
        let most = most.min(printer.left) as usize;
        match receiver.recv_batch_timeout(most, SLICE) {
            Ok(batch) => {
                for line in batch.iter() {
                    printer.write(line)?;
                }
                printer.written(batch.len())?;
            }
            Err(RecvTimeoutError::TimedOut(_)) => printer.stdout.get_ref().check_reader()?,
            Err(RecvTimeoutError::End(RecvError::Closed)) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn tap_lines<const N: usize>(
    mut tap: Tap<Line<N>, Nap>,
    printer: &mut Printer<'_>,
    signals: &Signals,
) -> anyhow::Result<()> {
    let outcome = print_until_end(&mut tap, printer, signals);
    // Ctrl-C is how most taps end; only one whose reader has gone has nobody to tell.
    if !outcome.as_ref().is_err_and(super::is_broken_pipe) {
        eprintln!("{} messages received, {} missed", tap.received(), tap.lost());
    }
    outcome
}

fn print_until_end<const N: usize>(
    tap: &mut Tap<Line<N>, Nap>,
    printer: &mut Printer<'_>,
    signals: &Signals,
) -> anyhow::Result<()> {
    // At most a mebibyte of them, whatever their size.
    let mut lines = vec![Line::<N>::zeroed(); ((1 << 20) / N).clamp(1, BATCH as usize)];
    let mut checked = Instant::now();
    while printer.left > 0 {
        signals.check()?;
        let most = lines.len().min(usize::try_from(printer.left).unwrap_or(usize::MAX));
        match tap.try_recv_into(&mut lines[..most]) {
            Ok(received) => {
                for line in &lines[..received] {
                    printer.write(line)?;
                }
                printer.written(received)?;
            }
            Err(TryRecvError::Empty) => {
                if checked.elapsed() >= SLICE {
                    printer.stdout.get_ref().check_reader()?;
                    checked = Instant::now();
                }
                thread::sleep(Duration::from_micros(500));
            }
            Err(TryRecvError::End(_)) => break,
        }
    }
    Ok(())
}
