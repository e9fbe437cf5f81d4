//! `fanout sub`: messages in, lines and bytes out.

use std::io::{BufWriter, Write};
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use fanout::error::{JoinError, OpenError};

use fanout::records::ends::{
    Copying, CopyingCursor, Cursor, Evictable, Member, Reader, Receiver, Tap,
};
use fanout::records::error::{RecvError, RecvTimeoutError, TryRecvError};

use fanout::wait::{AnyStrategy, Strategy};
use fanout::{Ending, JoinOptions, Policy, QueueName, Start};

use super::LINE;
use super::output::Output;
use super::terminal::{Notice, say};
use super::value::{Trusted, label, strategy, trusted};
use yardstick::signals::Signals;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The queue's name
    name: QueueName,
    /// Share the messages with the other subscribers of this group
    #[arg(long, conflicts_with = "tap")]
    group: Option<String>,
    /// From now on, let the producer wait for the group also while it has no member: a worker that is
    /// restarted has missed nothing; if none comes back, a full queue stays full
    #[arg(long, requires = "group")]
    hold: bool,
    /// Only look: never slow the producer, and say at the end how many messages were missed
    #[arg(long)]
    tap: bool,
    /// What the producer does while this subscriber is too slow: block (wait for it), lossy (go on, and
    /// this says at the end how many messages it missed), or evict=5s (wait no longer than that)
    #[arg(long, value_name = "POLICY", default_value_t, conflicts_with_all = ["tap", "group"])]
    policy: Policy,
    /// If the producer dies, wait for the one that takes the queue over; after a private queue, for the
    /// next queue of that name
    #[arg(long)]
    follow: bool,
    /// Join also a queue that this user owns, or any user: the owner could kill this process
    #[arg(long, value_name = "USER|any", value_parser = trusted)]
    trust_user: Option<Trusted>,
    /// Where to begin
    #[arg(long, value_enum, default_value_t = From::Oldest)]
    from: From,
    /// End after this many messages
    #[arg(long)]
    count: Option<u64>,
    /// Fail if the queue does not exist yet, instead of waiting for it
    #[arg(long)]
    no_wait: bool,
    /// What `fanout stat` calls this consumer; a tap is registered nowhere, and has no label
    #[arg(long, value_name = "TEXT", default_value = "fanout sub", conflicts_with = "tap", value_parser = label)]
    label: String,
    /// How to wait
    #[arg(long, default_value_t, value_name = "HOW", value_parser = strategy())]
    wait: Strategy,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    /// With the oldest message that is still there
    Oldest,
    /// With the next message
    Latest,
}

/// How long a step may take before the command looks at signals.
const SLICE: Duration = Duration::from_millis(50);
/// How many bytes of the ring are written out together.
const BATCH: usize = 1 << 16;
/// A group's member takes less at a time: no other member can do what it has taken.
const GROUP_BATCH: usize = 1 << 12;
/// Such a small batch holds exactly one message.
const ONE: usize = 1;

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    if arguments.count == Some(0) {
        return Ok(());
    }
    let mut printer = Printer {
        stdout: BufWriter::with_capacity(BATCH, Output::new(signals)?),
        left: arguments.count.unwrap_or(u64::MAX),
        silence: Notice::new(),
        name: &arguments.name,
    };
    let (mut notice, mut plan) = (Notice::new(), Plan::new(arguments));
    loop {
        signals.check()?;
        match subscribe(arguments, plan, &mut printer, signals) {
            Err(error) if plan.waits && is_not_there(&error) => {
                printer.stdout.get_ref().check_reader()?;
                notice.still(|| format!("no queue {} yet: waiting for a producer", arguments.name));
            }
            // Where a successor can take the queue over, an end that follows does not get this far.
            Err(error) if arguments.follow && error.downcast_ref::<ProducerDied>().is_some() => {
                let name = &arguments.name;
                say(&format!(
                    "the producer of {name} died, and nobody can take a private queue over: waiting for the next {name}"
                ));
                (plan, notice) = (Plan { waits: true, start: Start::Oldest }, Notice::new());
            }
            outcome => return outcome,
        }
    }
}

/// What a subscriber does if there is no queue, and where in a queue it begins.
#[derive(Clone, Copy)]
struct Plan {
    waits: bool,
    start: Start,
}

impl Plan {
    fn new(arguments: &Arguments) -> Self {
        let start = match arguments.from {
            From::Oldest => Start::Oldest,
            From::Latest => Start::Latest,
        };
        Self { waits: !arguments.no_wait, start }
    }
}

/// The producer died before it had closed the queue.
#[derive(Debug, thiserror::Error)]
#[error(
    "the producer died before it had closed the queue, and everything that it had published is written: start the \
     producer again, and join again; with --follow, sub waits for the next producer by itself"
)]
struct ProducerDied;

/// The producer has sent a part of what it wanted to send.
#[derive(Debug, thiserror::Error)]
#[error("the producer gave up before it had sent everything{}", because(.reason))]
pub(crate) struct GaveUp {
    reason: String,
}

impl GaveUp {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Aborted { reason } => Self { reason },
            _ => Self { reason: String::new() },
        }
    }
}

/// Other programs may have written anything there: no control characters on our terminal.
fn because(reason: &str) -> String {
    if reason.is_empty() {
        return String::new();
    }
    format!(": {}", reason.escape_debug())
}

fn is_not_there(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<JoinError>();
    matches!(error, Some(JoinError::Open(OpenError::NotFound { .. })))
}

fn subscribe(
    arguments: &Arguments,
    Plan { waits, start }: Plan,
    printer: &mut Printer<'_>,
    signals: &Signals,
) -> anyhow::Result<()> {
    let name = &arguments.name;
    // In slices, so that the command can look at signals in between.
    let timeout = if waits { SLICE } else { Duration::ZERO };
    let options = JoinOptions::new()
        .label(&arguments.label)
        .wait_for_queue(timeout)
        .hold_when_empty(arguments.hold)
        .policy(arguments.policy)
        .follow(arguments.follow);
    let options = match arguments.trust_user {
        None => options,
        Some(Trusted::User(user)) => options.trust_user(user),
        Some(Trusted::Any) => options.trust_any_user(),
    };
    if arguments.tap {
        let tap = Tap::<AnyStrategy>::open_with(name, start, &options)?;
        return tap_messages(tap.waiting(arguments.wait.start()), printer, signals);
    }
    if let Some(group) = &arguments.group {
        let member = Member::<AnyStrategy>::join_with(name, group, start, &options)?
            .waiting(arguments.wait.start());
        // If it took more than its count, the rest would be lost to the other members.
        let most = if arguments.count.is_some() { ONE } else { GROUP_BATCH };
        return receive(member, most, printer, signals);
    }
    match arguments.policy {
        Policy::Lossy => {
            let tap = Tap::<AnyStrategy>::join(name, start, &options)?;
            tap_messages(tap.waiting(arguments.wait.start()), printer, signals)
        }
        Policy::EvictAfter(_) => {
            let consumer = Evictable::<AnyStrategy>::join(name, start, &options)?;
            print_until_end(&mut consumer.waiting(arguments.wait.start()), printer, signals)
        }
        _ => {
            let reader = Reader::<AnyStrategy>::join_with(name, start, &options)?;
            receive(reader.waiting(arguments.wait.start()), BATCH, printer, signals)
        }
    }
}

/// Where messages go, and how many are still to come.
struct Printer<'a> {
    stdout: BufWriter<Output<'a>>,
    left: u64,
    /// It lasts until the first message has come.
    silence: Notice,
    name: &'a QueueName,
}

impl Printer<'_> {
    /// Another wait has passed without a message.
    fn wait_on(&mut self) -> std::io::Result<()> {
        self.silence.still(|| format!("attached to {}: waiting for a message", self.name));
        self.stdout.get_ref().check_reader()
    }

    fn print(&mut self, kind: u16, message: &[u8]) -> std::io::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        self.silence.over();
        self.stdout.write_all(message)?;
        if kind == LINE { self.stdout.write_all(b"\n") } else { Ok(()) }
    }
}

fn receive<K: Cursor>(
    mut receiver: Receiver<K, AnyStrategy>,
    most: usize,
    printer: &mut Printer<'_>,
    signals: &Signals,
) -> anyhow::Result<()> {
    printer.silence = Notice::new();
    let end = loop {
        if printer.left == 0 {
            return Ok(());
        }
        signals.check()?;
        match receiver.recv_batch_timeout(most, SLICE) {
            Ok(records) => {
                for (kind, message) in records.iter_with_kinds() {
                    printer.print(kind, message)?;
                }
                // They count as read only when they have been written out.
                printer.stdout.flush()?;
            }
            Err(RecvTimeoutError::TimedOut(_)) => printer.wait_on()?,
            Err(RecvTimeoutError::End(end)) => break end,
        }
    };
    conclude(end, receiver.ending())
}

/// Says how the messages ended.
fn conclude(end: RecvError, ending: Ending) -> anyhow::Result<()> {
    match end {
        RecvError::Closed => Ok(()),
        RecvError::Aborted => Err(GaveUp::from(ending).into()),
        RecvError::Evicted => bail!(
            "this consumer was evicted, because it held the producer back for longer than it had promised, or by \
             force (then the last messages that it wrote may be damaged): it goes no further; start it again to \
             go on"
        ),
        RecvError::ProducerDied => Err(ProducerDied.into()),
        end => Err(end.into()),
    }
}

fn tap_messages(
    mut tap: Tap<AnyStrategy>,
    printer: &mut Printer<'_>,
    signals: &Signals,
) -> anyhow::Result<()> {
    let outcome = print_until_end(&mut tap, printer, signals);
    // Ctrl-C is how most taps end. Only if the reader has gone, there is nothing to report to.
    if !outcome.as_ref().is_err_and(super::is_broken_pipe) {
        say(&format!("{} messages received, {} missed", tap.received(), tap.lost()));
    }
    outcome
}

fn print_until_end(
    source: &mut Copying<impl CopyingCursor, AnyStrategy>,
    printer: &mut Printer<'_>,
    signals: &Signals,
) -> anyhow::Result<()> {
    let mut message = Vec::new();
    printer.silence = Notice::new();
    while printer.left > 0 {
        signals.check()?;
        let received = match source.try_recv_kind(&mut message) {
            Err(TryRecvError::Empty) => {
                printer.stdout.flush()?;
                source.recv_kind_timeout(&mut message, SLICE)
            }
            received => received.map_err(|error| match error {
                TryRecvError::End(end) => RecvTimeoutError::End(end),
                TryRecvError::Empty => RecvTimeoutError::TimedOut(Duration::ZERO),
            }),
        };
        match received {
            Ok(kind) => printer.print(kind, &message)?,
            Err(RecvTimeoutError::TimedOut(_)) => printer.wait_on()?,
            Err(RecvTimeoutError::End(end)) => {
                printer.stdout.flush()?;
                return conclude(end, source.ending());
            }
        }
    }
    Ok(printer.stdout.flush()?)
}
