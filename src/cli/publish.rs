//! `fanout pub`: lines or chunks in, messages out.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use clap::error::ErrorKind;
use clap::{Args, ValueEnum};
use fanout::inspect::listing::living;
use fanout::inspect::{Burial, ConsumerInfo};
use fanout::records::error::{SendError, SendTimeoutError, TrySendError};
use fanout::records::{ends::Writer, record_len};
use fanout::wait::{AnyStrategy, Strategy};
use fanout::{MOST_SLOTS, QueueName, QueueOptions, REASON_BYTES, SLOTS, Unattended};
use yardstick::report::grouped;

use super::input::{Cut, Input};
use super::laggard::{For, Laggards, Wait, Who, dismissal, obituary, who};
use super::succession::{self, Kind};
use super::terminal::{Notice, say, typed};
use super::value::{permissions, seconds, size, strategy};
use yardstick::signals::Signals;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The queue's name
    name: QueueName,
    /// Hold the first message until this many consumers are attached; 0 starts at once
    #[arg(long, default_value_t = 1, value_name = "N")]
    wait_for: usize,
    /// How many consumers the queue has room for, taps not counted
    #[arg(long, default_value_t = SLOTS, value_name = "N", value_parser = slots)]
    slots: usize,
    /// Hand the queue out so that a consumer can harm nobody but itself: it gets a page of its own, and
    /// cannot write the rest. Such a queue has no groups, and ends with this process
    #[arg(long)]
    private: bool,
    /// Let in only subscribers that may be evicted when they have held the queue back for as long as
    /// this (`sub --policy evict=5s`), and lossy ones and taps
    #[arg(long, value_name = "SECONDS", requires = "private", value_parser = seconds)]
    lag_limit: Option<Duration>,
    /// What to do with messages while no consumer is attached, and no group holds (`sub --hold`)
    #[arg(long, value_enum, default_value_t = Unheard::Overwrite, value_name = "WHAT")]
    when_nobody_listens: Unheard,
    /// Send what is in this file, instead of stdin
    #[arg(long)]
    file: Option<PathBuf>,
    /// Send chunks of this size instead of lines; only the last may be shorter
    #[arg(long, value_name = "BYTES", value_parser = size)]
    chunk: Option<u64>,
    /// How much the queue holds, rounded up to a power of two; K, M and G are understood
    #[arg(long, default_value = "1M", value_name = "BYTES", value_parser = size)]
    capacity: u64,
    /// Who may open the queue: octal permissions, as of a file; consumers have to read and write. With
    /// --private: 600 (this user) or 666 (every user)
    #[arg(long, default_value = "600", value_parser = permissions)]
    mode: u32,
    /// How to wait
    #[arg(long, default_value_t, value_name = "HOW", value_parser = strategy())]
    wait: Strategy,
}

#[derive(Clone, Copy, ValueEnum)]
enum Unheard {
    /// Send them: a consumer that comes later finds what the queue still holds
    Overwrite,
    /// Wait until a consumer comes
    Wait,
    /// End with an error
    Refuse,
}

impl From<Unheard> for Unattended {
    fn from(unheard: Unheard) -> Self {
        match unheard {
            Unheard::Overwrite => Self::Overwrite,
            Unheard::Wait => Self::Wait,
            Unheard::Refuse => Self::Refuse,
        }
    }
}

fn slots(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(count) if (1..=MOST_SLOTS).contains(&count) => Ok(count),
        _ => Err(format!("expected 1 to {MOST_SLOTS} consumers")),
    }
}

/// How long a step may take before the command looks at signals.
const SLICE: Duration = Duration::from_millis(50);
/// After how many slices we look which consumers hold us back: about a second.
const LOOK: u32 = 20;
/// How many bytes of the ring are written before they are published together.
const BATCH: usize = 1 << 16;

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    let cut = match arguments.chunk {
        // A chunk size beyond the address space is too large for the queue, too.
        Some(chunk) => Cut::Chunks(usize::try_from(chunk).unwrap_or(usize::MAX)),
        None => Cut::Lines,
    };
    if let Some(message) = contradiction(arguments) {
        clap::Error::raw(ErrorKind::ValueValidation, message + "\n").exit();
    }
    // The input is opened first: a missing file should not create a queue.
    let mut input = Input::open(arguments.file.as_deref(), cut)?;
    let kind = if arguments.private { Kind::Private } else { Kind::Shared };
    let writer = succession::establish(&arguments.name, &options(arguments), kind)?;
    let writer = writer.waiting(arguments.wait.start());
    let (name, laggards) = (&arguments.name, Laggards::of(&arguments.name));
    let mut publisher = Publisher { name, writer, signals, laggards, buried: BTreeSet::new() };
    let outcome = publisher.publish(arguments, cut, &mut input);
    publisher.tell();
    publisher.ask_all();
    if let Err(error) = &outcome {
        // Otherwise consumers would believe that everything had been sent.
        publisher.writer.abort(&reason(error));
    }
    outcome
}

/// Why arguments that are right one by one cannot be used together.
fn contradiction(arguments: &Arguments) -> Option<String> {
    let Arguments { wait_for, slots, private, mode, .. } = arguments;
    if wait_for > slots {
        return Some(format!(
            "--wait-for {wait_for} would wait for ever: the queue has room for {slots} consumers; raise --slots"
        ));
    }
    // The kernel tells the host a subscriber's user, and not all of the user's groups.
    let is_for_group = mode & 0o060 != 0 && mode & 0o006 == 0;
    (*private && is_for_group).then(|| {
        format!(
            "--mode {mode:o} would let a group in, and a private queue is for its own user (600) or for every user (666)"
        )
    })
}

fn options(arguments: &Arguments) -> QueueOptions {
    let options = QueueOptions::new(arguments.capacity)
        .permissions(arguments.mode)
        .consumers(arguments.slots)
        .when_nobody_listens(arguments.when_nobody_listens.into());
    match arguments.lag_limit {
        Some(limit) => options.lag_limit(limit),
        None => options,
    }
}

/// Why we give up, shortened to what the queue has room for.
fn reason(error: &anyhow::Error) -> String {
    let text = match super::interruption(error) {
        Some(interrupted) => interrupted.to_string(),
        None => format!("{error:#}"),
    };
    shortened(text.lines().next().unwrap_or_default(), REASON_BYTES)
}

/// As many whole words as fit into `most` bytes. An ellipsis tells that there were more.
fn shortened(line: &str, most: usize) -> String {
    if line.len() <= most {
        return line.to_owned();
    }
    let room = line.floor_char_boundary(most.saturating_sub("\u{2026}".len()));
    let whole = line[..room].rfind(' ').unwrap_or(room);
    format!("{}\u{2026}", &line[..whole])
}

struct Publisher<'a> {
    name: &'a QueueName,
    writer: Writer<AnyStrategy>,
    signals: &'a Signals,
    laggards: Laggards,
    /// The dead that we have told of.
    buried: BTreeSet<Who>,
}

impl Publisher<'_> {
    fn publish(
        &mut self,
        arguments: &Arguments,
        cut: Cut,
        input: &mut Input,
    ) -> anyhow::Result<()> {
        if let Cut::Chunks(chunk) = cut {
            self.check_chunk(chunk)?;
        }
        let capacity = self.writer.capacity();
        if capacity != arguments.capacity && self.writer.epoch() == 0 {
            say(&format!("capacity rounded up to {} bytes", grouped(capacity)));
        }
        self.wait_for_consumers(arguments)?;
        while self.read_more(arguments, input)? {
            self.send_all(input)?;
        }
        self.send_all(input)?;
        self.finish()
    }

    fn wait_for_consumers(&mut self, arguments: &Arguments) -> anyhow::Result<()> {
        let (wanted, mut notice) = (arguments.wait_for, Notice::new());
        while self.writer.wait_for_consumers(wanted, SLICE).is_err() {
            self.signals.check()?;
            self.tell();
            notice.still(|| {
                let (name, typed) = (&arguments.name, typed(arguments.name.as_str()));
                match (wanted, living(&self.writer.consumers())) {
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

    /// Waits for input, and reads it; `false` at its end. What `stat` shows of a private queue's consumers is what
    /// this process has seen of them last. So it looks at them meanwhile.
    fn read_more(&mut self, arguments: &Arguments, input: &mut Input) -> anyhow::Result<bool> {
        let (signals, mut slices) = (self.signals, 0u32);
        input.read_more(signals, || {
            slices += 1;
            if arguments.private && slices.is_multiple_of(LOOK) {
                self.ask_all();
                self.tell();
            }
        })
    }

    /// Sends all complete messages that have been read.
    fn send_all(&mut self, input: &mut Input) -> anyhow::Result<()> {
        while let Some(len) = input.peek().map(|piece| piece.bytes.len()) {
            self.check_line(len, "")?;
            self.wait_for_room(len)?;
            self.send_some(input, record_len(len))?;
        }
        // An unfinished line is refused as soon as it is too long.
        self.check_line(input.unfinished(), " or more")
    }

    /// Sends as many messages as there is room for, and time to collect. The first takes `first` bytes.
    fn send_some(&mut self, input: &mut Input, first: usize) -> anyhow::Result<()> {
        // The last consumer may have left since we saw that there was room.
        let mut batch = match self.writer.try_batch_up_to(first.max(BATCH)) {
            Ok(batch) => batch,
            Err(TrySendError::Full) => return Ok(()),
            Err(TrySendError::End(end)) => return Err(self.refused(end)),
        };
        while let Some(piece) = input.peek() {
            if batch.push_as(piece.bytes, piece.kind).is_err() {
                break;
            }
            input.take();
        }
        batch.publish();
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
        loop {
            let outcome = self.writer.reserve_timeout(len, SLICE).map(drop);
            self.tell();
            match outcome {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::TimedOut(_)) => {}
                Err(SendTimeoutError::End(end)) => return Err(self.refused(end)),
            }
            self.signals.check()?;
            slices += 1;
            if slices.is_multiple_of(LOOK) {
                self.check(&mut wait, For::Room);
            }
        }
    }

    /// Says which consumers the writer has found dead, or has turned out.
    fn tell(&mut self) {
        for death in self.writer.take_deaths() {
            self.tell_death(&death.consumer, Some(death.held));
        }
        for eviction in self.writer.take_evictions() {
            say(&dismissal(self.name, &eviction));
        }
    }

    /// Asks who of all consumers is dead, and says it. The writer itself asks only about those that hold it back, and
    /// goes on without one that is dying before it is dead.
    fn ask_all(&mut self) {
        for consumer in self.writer.consumers() {
            if matches!(self.writer.evict_dead(&consumer), Ok(Burial::Freed | Burial::Waits { .. }))
            {
                self.tell_death(&consumer, None);
            }
        }
    }

    fn tell_death(&mut self, consumer: &ConsumerInfo, held: Option<u64>) {
        if self.buried.insert(who(consumer)) {
            say(&obituary(self.name, consumer, held));
        }
    }

    fn check(&mut self, wait: &mut Wait, what: For) {
        self.ask_all();
        self.laggards.check(wait, what, &self.writer.consumers(), &self.writer.groups());
    }

    fn refused(&mut self, end: SendError) -> anyhow::Error {
        let sent = self.writer.sent();
        match end {
            SendError::Abandoned => anyhow!(
                "no consumer is attached, and none is to be waited for (--when-nobody-listens refuse); \
                 sent before that: {sent} {}",
                if sent == 1 { "message" } else { "messages" }
            ),
            end => end.into(),
        }
    }

    /// Closes the queue, and waits until all consumers have read everything.
    fn finish(&mut self) -> anyhow::Result<()> {
        self.writer.close();
        let (mut slices, mut wait) = (0u32, Wait::new());
        while self.writer.drain(SLICE).is_err() {
            self.signals.check()?;
            self.tell();
            slices += 1;
            if slices.is_multiple_of(LOOK) {
                self.check(&mut wait, For::End);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_cut_between_words() {
        assert_eq!(shortened("as it is", 8), "as it is");
        assert_eq!(shortened("as it is", 7), "as\u{2026}");
        assert_eq!(shortened("as it is", 5), "as\u{2026}");
        assert_eq!(shortened("\u{e4}\u{e4}\u{e4}", 5), "\u{e4}\u{2026}");
        let error = anyhow!("the cause of it").context("reading failed\nand more");
        assert_eq!(reason(&error), "reading failed");
        let long = anyhow!("line 3 has 4089 bytes, the longest that this queue can hold has 4088");
        assert!(reason(&long).len() <= REASON_BYTES && reason(&long).ends_with('\u{2026}'));
    }
}
