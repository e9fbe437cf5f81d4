//! Attaches to the ring of `day3-producer`, and checks every message that it should get.

mod numbered;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;

use anyhow::ensure;
use clap::{Parser, ValueEnum};
use common::{QueueName, Sequence};
use day2::Mode;
use day3::sequencer::Cursor;
use day3::{Consumer, Member, Receiver, RecvError, Start, Tap, TryRecvError};

use crate::numbered::{Checksum, Message, SIZE, message};

/// Day 3's consumer: takes every message, or its group's share, or taps.
#[derive(Parser)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/spmc_ring")]
    name: QueueName,
    /// Share the messages with the other members of this group
    #[arg(long, conflicts_with = "tap")]
    group: Option<String>,
    /// Only look, without slowing the producer, and miss what is overwritten
    #[arg(long)]
    tap: bool,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = Begin::Latest)]
    from: Begin,
    /// How many messages to take at a time
    #[arg(long, default_value = "64")]
    batch: NonZeroUsize,
    /// Leave after this many messages
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    count: u64,
    /// Print the last line of figures only
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Begin {
    /// With the oldest message that is sure to be still there
    Oldest,
    /// With the next message to be published
    Latest,
}

fn main() -> ExitCode {
    yardstick::report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { name, group, tap, .. } = arguments;
    let mode = if *tap { Mode::Observer } else { Mode::Reader };
    let start = match arguments.from {
        Begin::Oldest => Start::Oldest,
        Begin::Latest => Start::Latest,
    };

    let say = |line: String| {
        if !arguments.quiet {
            println!("{line}")
        }
    };
    say(format!("attaching to spmc_queue {name} of size {SIZE} with mode {mode}"));
    let tally = if *tap {
        let tap = Tap::open(name, start)?;
        say("spmc_queue attached".to_owned());
        listen(tap, arguments)?
    } else if let Some(group) = group {
        let member = Member::join(name, group, start)?;
        say(format!("spmc_queue attached, first sequence = {}", member.first_sequence()));
        read(member, Tally::of_some(), arguments)?
    } else {
        let consumer = Consumer::join(name, start)?;
        let first = consumer.first_sequence();
        say(format!("spmc_queue attached, first sequence = {first}"));
        read(consumer, Tally::of_all(first), arguments)?
    };
    let Tally { received, lost, checksum, .. } = tally;
    println!("received = {received}, lost = {lost}, checksum = {checksum}");
    say(format!("spmc_queue {name} of mode {mode} detached"));
    Ok(())
}

/// Takes the messages of a consumer, or of a member of a group.
fn read<K: Cursor>(
    mut receiver: Receiver<Message, K>,
    mut tally: Tally,
    arguments: &Arguments,
) -> anyhow::Result<Tally> {
    while tally.received < arguments.count {
        let batch = match receiver.recv_batch(tally.room(arguments)) {
            Ok(batch) => batch,
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        };
        for message in batch.iter() {
            tally.count(message)?;
        }
    }
    Ok(tally)
}

/// Copies the messages that a tap can get.
fn listen(mut tap: Tap<Message>, arguments: &Arguments) -> anyhow::Result<Tally> {
    let mut tally = Tally::of_some();
    let mut messages = vec![[0; 8]; arguments.batch.get()];
    while tally.received < arguments.count {
        let room = tally.room(arguments);
        match tap.try_recv_into(&mut messages[..room]) {
            Ok(received) => {
                for message in &messages[..received] {
                    tally.count(message)?;
                }
            }
            Err(TryRecvError::Empty) => thread::yield_now(),
            Err(TryRecvError::End(_)) => break,
        }
    }
    tally.lost = tap.lost();
    Ok(tally)
}

/// What has arrived so far, and what may come next.
struct Tally {
    /// The lowest sequence that may come next; `None` before the first message of a group or a tap.
    next: Option<Sequence>,
    /// Whether sequences may be missing, because other members got them or a tap lost them.
    gaps: bool,
    received: u64,
    lost: u64,
    checksum: Checksum,
}

impl Tally {
    fn of_all(first: Sequence) -> Self {
        Self { next: Some(first), gaps: false, ..Self::of_some() }
    }

    fn of_some() -> Self {
        Self { next: None, gaps: true, received: 0, lost: 0, checksum: Checksum::default() }
    }

    /// How many messages to ask for.
    fn room(&self, arguments: &Arguments) -> usize {
        let left = arguments.count - self.received;
        arguments.batch.get().min(left as usize)
    }

    fn count(&mut self, found: &Message) -> anyhow::Result<()> {
        let sequence = Sequence::new(found[0]);
        ensure!(*found == message(sequence.get()), "message {sequence} is torn: {found:x?}");
        let next = self.next.unwrap_or(sequence);
        let in_order = sequence == next || self.gaps && next.is_before(sequence);
        ensure!(in_order, "message {next} was to come next, found {sequence}");
        self.next = Some(sequence.plus(1));
        self.received += 1;
        self.checksum.add(found);
        Ok(())
    }
}
