//! `fanout pub`: lines or chunks in, messages out.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use common::report::grouped;
use fanout::records::{ends::Writer, record_len};
use fanout::wait::{Named, Strategy};
use fanout::{QueueName, QueueOptions, SLOTS};

use super::input::{Cut, Input};
use super::laggard::{For, Laggards, Wait};
use super::signals::Signals;
use super::terminal::{Notice, say, typed};
use super::value::{permissions, size, strategy};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The queue's name
    name: QueueName,
    /// Hold the first message until this many consumers are attached; 0 starts at once
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = consumers)]
    wait_for: usize,
    /// Send what is in this file, instead of stdin
    #[arg(long)]
    file: Option<PathBuf>,
    /// Send chunks of this size instead of lines; only the last may be shorter
    #[arg(long, value_name = "BYTES", value_parser = size)]
    chunk: Option<u64>,
    /// How much the queue holds, rounded up to a power of two; K, M and G are understood
    #[arg(long, default_value = "1M", value_name = "BYTES", value_parser = size)]
    capacity: u64,
    /// Who may open the queue: octal permissions, as of a file; consumers have to read and write
    #[arg(long, default_value = "600", value_parser = permissions)]
    mode: u32,
    /// How to wait
    #[arg(long, default_value_t, value_name = "HOW", value_parser = strategy())]
    wait: Strategy,
}

fn consumers(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(count) if count <= SLOTS => Ok(count),
        _ => Err(format!("expected 0 to {SLOTS} consumers: a queue has no more slots")),
    }
}

/// How long a step may take before signals are looked at.
const SLICE: Duration = Duration::from_millis(50);
/// After how many of them we look who holds us back: about a second.
const LOOK: u32 = 20;
/// How many bytes of the ring are written before they are published together.
const BATCH: usize = 1 << 16;

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    let cut = match arguments.chunk {
        // One that cannot be addressed is too large for the queue, too.
        Some(chunk) => Cut::Chunks(usize::try_from(chunk).unwrap_or(usize::MAX)),
        None => Cut::Lines,
    };
    // Opened first: a file that is not there should not make a queue.
    let mut input = Input::open(arguments.file.as_deref(), cut)?;
    let options = QueueOptions::new(arguments.capacity).permissions(arguments.mode);
    let writer = Writer::<Named>::create_with(&arguments.name, &options)?;
    let writer = writer.waiting(arguments.wait.start());
    let mut publisher = Publisher { writer, signals, laggards: Laggards::of(&arguments.name) };
    if let Cut::Chunks(chunk) = cut {
        publisher.check_chunk(chunk)?;
    }
    let capacity = publisher.writer.capacity();
    if capacity != arguments.capacity {
        say(&format!("capacity rounded up to {} bytes", grouped(capacity)));
    }
    publisher.wait_for_consumers(arguments)?;
    while input.read_more(signals)? {
        publisher.send_all(&mut input)?;
    }
    publisher.send_all(&mut input)?;
    publisher.finish()
}

struct Publisher<'a> {
    writer: Writer<Named>,
    signals: &'a Signals,
    laggards: Laggards,
}

impl Publisher<'_> {
    fn wait_for_consumers(&mut self, arguments: &Arguments) -> anyhow::Result<()> {
        let (wanted, mut notice) = (arguments.wait_for, Notice::new());
        while self.writer.wait_for_consumers(wanted, SLICE).is_err() {
            self.signals.check()?;
            notice.still(|| {
                let (name, typed) = (&arguments.name, typed(&arguments.name));
                match (wanted, self.writer.consumers().len()) {
                    (1, _) => {
                        format!("waiting for a consumer of {name}, such as `fanout sub {typed}`")
                    }
                    (_, 1) => format!("waiting for {wanted} consumers of {name}: 1 is attached"),
                    (_, found) => {
                        format!("waiting for {wanted} consumers of {name}: {found} are attached")
                    }
                }
            });
        }
        Ok(())
    }

    /// Sends the whole messages that have been read.
    fn send_all(&mut self, input: &mut Input) -> anyhow::Result<()> {
        while let Some(len) = input.peek().map(|piece| piece.bytes.len()) {
            self.check_line(len, "")?;
            self.wait_for_room(len)?;
            self.send_some(input, record_len(len))?;
        }
        // A line that has no end yet is refused as soon as it is too long.
        self.check_line(input.unfinished(), " or more")
    }

    /// Sends as many messages as there is room for, and time to collect; the first takes `first` bytes.
    fn send_some(&mut self, input: &mut Input, first: usize) -> anyhow::Result<()> {
        let mut batch = self.writer.try_batch_up_to(first.max(BATCH))?;
        while let Some(piece) = input.peek() {
            if batch.push_as(piece.bytes, piece.kind).is_err() {
                break;
            }
            input.take();
        }
        batch.commit();
        Ok(())
    }

    fn check_line(&mut self, len: usize, or_more: &str) -> anyhow::Result<()> {
        let (most, sent) = (self.writer.largest(), self.writer.sent());
        ensure!(
            len <= most,
            "line {} has {len} bytes{or_more}, the longest that this queue can hold has {most}: \
             raise --capacity; {sent} lines were sent",
            sent + 1
        );
        Ok(())
    }

    fn check_chunk(&self, chunk: usize) -> anyhow::Result<()> {
        let most = self.writer.largest();
        ensure!(
            chunk <= most,
            "a chunk has {chunk} bytes, the longest that this queue can hold has {most}: \
             lower --chunk, or raise --capacity"
        );
        Ok(())
    }

    fn wait_for_room(&mut self, len: usize) -> anyhow::Result<()> {
        let (mut slices, mut wait) = (0u32, Wait::new());
        while self.writer.grant_timeout(len, SLICE).is_err() {
            self.signals.check()?;
            slices += 1;
            if slices.is_multiple_of(LOOK) {
                self.laggards.look(&mut wait, For::Room, &self.writer.consumers());
            }
        }
        Ok(())
    }

    /// Closes, and waits until everyone has read everything.
    fn finish(mut self) -> anyhow::Result<()> {
        self.writer.close();
        let (mut slices, mut wait) = (0u32, Wait::new());
        while self.writer.drain(SLICE).is_err() {
            self.signals.check()?;
            slices += 1;
            if slices.is_multiple_of(LOOK) {
                self.laggards.look(&mut wait, For::End, &self.writer.consumers());
            }
        }
        Ok(())
    }
}
