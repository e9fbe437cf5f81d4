//! The modes, interleaved: each runs once before any runs again.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use day3::Spin;
use serde::Serialize;
use std::os::fd::{OwnedFd, RawFd};
use yardstick::affinity;
use yardstick::bytes::{Lengths, Tally, Touch};
use yardstick::crew::Crew;
use yardstick::descriptors::{both, inherited};
use yardstick::limits::{Copy, HandOver};
use yardstick::report::{Throughput, median};

use crate::lap::{Lap, Work, race};
use crate::sleeper::{Sleeper, bell};
use crate::{ring, socket};

/// A way to move messages from one process to another, or a limit that such ways are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    Spin,
    Sleep,
    Seqpacket,
    Memcpy,
    HandOver,
}

impl Mode {
    /// All modes, in the order in which they run.
    pub(crate) const ALL: [Self; 5] =
        [Self::Spin, Self::Sleep, Self::Seqpacket, Self::Memcpy, Self::HandOver];

    /// Its name in the table.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Spin => "spin: ring of records",
            Self::Sleep => "sleep: ring, eventfd + epoll",
            Self::Seqpacket => "seqpacket: socket",
            Self::Memcpy => "memcpy, one thread",
            Self::HandOver => "hand-over limit",
        }
    }

    /// Whether it moves the messages themselves, or only as many bytes.
    fn moves_messages(self) -> bool {
        matches!(self, Self::Spin | Self::Sleep | Self::Seqpacket)
    }
}

/// Which party of a run a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Party {
    Sender,
    Receiver,
}

/// What each run moves.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) messages: u64,
    pub(crate) lengths: Lengths,
    /// The bytes of all messages together.
    pub(crate) bytes: u64,
    pub(crate) touch: Touch,
    /// The ring's capacity in bytes.
    pub(crate) capacity: u64,
    /// Bytes of ring that the sender makes visible together; 0 for each message by itself.
    pub(crate) batch: usize,
    /// Bytes of ring that the receiver takes, and gives back, at a time.
    pub(crate) release: usize,
}

/// How slow a run may be before it is stopped: 20 MB/s, and a minute for the rest.
fn timeout(load: &Load) -> Duration {
    Duration::from_secs(60 + load.bytes / 20_000_000 + load.messages / 10_000)
}

/// One run. The processes get `arguments` besides their part.
fn run(mode: Mode, load: &Load, arguments: &[String]) -> anyhow::Result<(Tally, Duration)> {
    let mut crew = Crew::new(Instant::now() + timeout(load), "use fewer --messages");
    let (sender, receiver) = descriptors(mode, load)?;
    let part = |party: &str, at: &[String]| {
        let name = mode.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
        let part = ["--part".to_owned(), name, "--party".to_owned(), party.to_owned()];
        [&part, at, arguments].concat()
    };
    let sender = crew.hire("sender", &part("sender", &[]), sender)?;
    let offer = crew.hear(sender, "ready")?.remove(0);
    if mode != Mode::Memcpy {
        let at = if offer.is_empty() { vec![] } else { vec!["--at".to_owned(), offer] };
        let receiver = crew.hire("receiver", &part("receiver", &at), receiver)?;
        crew.hear(receiver, "ready")?;
    }
    let laps = race(crew)?;
    let tally = laps[0].tally;
    for lap in &laps {
        ensure!(lap.tally == tally, "sent was {tally:?}, received {:?}", lap.tally);
    }
    let moved = if mode == Mode::HandOver { load.bytes.next_multiple_of(8) } else { load.bytes };
    ensure!(tally.bytes == moved, "{} of {moved} bytes were moved", tally.bytes);
    ensure!(
        mode == Mode::HandOver || tally.count == load.messages,
        "{} of {} messages were moved",
        tally.count,
        load.messages
    );
    Ok((tally, Lap::time(&laps)))
}

/// The descriptors that sender and receiver inherit.
fn descriptors(mode: Mode, load: &Load) -> anyhow::Result<(Vec<OwnedFd>, Vec<OwnedFd>)> {
    Ok(match mode {
        Mode::Spin | Mode::Memcpy => (vec![], vec![]),
        Mode::Sleep => {
            let (senders, receivers) = (both(bell()?)?, both(bell()?)?);
            (vec![senders.0, receivers.0], vec![receivers.1, senders.1])
        }
        Mode::Seqpacket => {
            let (one, other) = socket::pair(load.capacity as usize)?;
            (vec![one], vec![other])
        }
        Mode::HandOver => {
            let (one, other) = both(HandOver::create(load.capacity)?)?;
            (vec![one], vec![other])
        }
    })
}

/// What a process with this part does in a run.
pub(crate) fn work<'a>(
    mode: Mode,
    party: Party,
    load: &'a Load,
    descriptors: &[RawFd],
    at: &str,
) -> anyhow::Result<Work<'a>> {
    let cores = affinity::cores();
    if cores.len() > 1 {
        affinity::pin(&cores, party as usize);
    }
    // SAFETY: the process that started us passed each on, and this is called once.
    let take = |n: &RawFd| unsafe { inherited(*n) };
    let mut descriptors = descriptors.iter().map(take).collect::<Result<Vec<_>, _>>()?.into_iter();
    let mut next = || descriptors.next().context("a descriptor is missing");
    let simply = |run: Box<dyn FnOnce() -> anyhow::Result<Tally> + 'a>| {
        Ok(Work { offer: String::new(), run })
    };
    match (mode, party) {
        (Mode::Spin, Party::Sender) => ring::sender(load, Spin),
        (Mode::Spin, Party::Receiver) => ring::receiver(load, at, Spin),
        (Mode::Sleep, Party::Sender) => ring::sender(load, Sleeper::new(next()?, next()?)?),
        (Mode::Sleep, Party::Receiver) => ring::receiver(load, at, Sleeper::new(next()?, next()?)?),
        (Mode::Seqpacket, _) => {
            let end = next()?;
            simply(match party {
                Party::Sender => Box::new(move || socket::sender(&end, load)),
                Party::Receiver => Box::new(move || socket::receiver(&end, load)),
            })
        }
        (Mode::Memcpy, _) => {
            let mut copy = Copy::new(load.capacity);
            simply(Box::new(move || Ok(copy.run(load.messages, load.lengths.clone())?)))
        }
        (Mode::HandOver, _) => {
            let memory = next()?;
            // SAFETY: of the two processes that have this memory, one sends and one receives.
            let quarters = unsafe { HandOver::map(&memory, load.capacity) }?;
            simply(match party {
                Party::Sender => Box::new(move || Ok(quarters.send(load.bytes))),
                Party::Receiver => Box::new(move || Ok(quarters.receive(load.bytes))),
            })
        }
    }
}

/// A mode's result.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) mode: Mode,
    /// Medians over the repeats.
    pub(crate) megabytes_per_second: f64,
    pub(crate) messages_per_second: f64,
    pub(crate) slowest: f64,
    pub(crate) fastest: f64,
    pub(crate) to_seqpacket: Option<f64>,
    pub(crate) to_hand_over: Option<f64>,
    count: u64,
    bytes: u64,
    checksum: u64,
}

/// Runs each of `modes` `repeats` times.
pub(crate) fn turn(
    modes: &[Mode],
    load: &Load,
    repeats: usize,
    arguments: &[String],
    mut progress: impl FnMut(Mode),
) -> anyhow::Result<Vec<Row>> {
    let mut runs: Vec<Vec<(Tally, Duration)>> = vec![Vec::with_capacity(repeats); modes.len()];
    for _ in 0..repeats {
        for (mode, runs) in modes.iter().zip(&mut runs) {
            progress(*mode);
            let run = run(*mode, load, arguments).with_context(|| mode.label())?;
            if let Some((before, _)) = runs.first() {
                ensure!(*before == run.0, "{}: two runs moved different bytes", mode.label());
            }
            runs.push(run);
        }
    }
    let of = |mode| modes.iter().position(|other| *other == mode).map(|i| &runs[i]);
    let (seqpacket, hand_over) = (of(Mode::Seqpacket), of(Mode::HandOver));
    let compared = |(mode, runs): (&Mode, &Vec<_>)| Row {
        to_seqpacket: seqpacket.and_then(|those| ratio(runs, those)),
        to_hand_over: hand_over.and_then(|those| ratio(runs, those)),
        ..row(*mode, load, runs)
    };
    let rows: Vec<Row> = modes.iter().zip(&runs).map(compared).collect();
    let mut tallies = rows.iter().filter(|row| row.mode.moves_messages()).map(|row| row.checksum);
    if let Some(first) = tallies.next() {
        ensure!(tallies.all(|other| other == first), "two modes moved different bytes");
    }
    Ok(rows)
}

fn row(mode: Mode, load: &Load, runs: &[(Tally, Duration)]) -> Row {
    let Load { messages, bytes, .. } = *load;
    let rate = |elapsed| Throughput { messages, bytes, elapsed };
    let rates: Vec<f64> = runs.iter().map(|run| rate(run.1).megabytes_per_second()).collect();
    let counts: Vec<f64> =
        runs.iter().map(|run| rate(run.1).million_messages_per_second() * 1e6).collect();
    let Tally { count, bytes, checksum } = runs.first().map_or_else(Tally::default, |run| run.0);
    Row {
        mode,
        megabytes_per_second: median(&rates).unwrap_or(0.0),
        messages_per_second: median(&counts).unwrap_or(0.0),
        slowest: rates.iter().copied().fold(f64::INFINITY, f64::min),
        fastest: rates.iter().copied().fold(0.0, f64::max),
        to_seqpacket: None,
        to_hand_over: None,
        count,
        bytes,
        checksum,
    }
}

/// The median of how much faster `these` runs were than `those`, repeat by repeat. The machine
/// changes from minute to minute, and changes both runs of one repeat alike.
fn ratio(these: &[(Tally, Duration)], those: &[(Tally, Duration)]) -> Option<f64> {
    let seconds = |run: &(Tally, Duration)| run.1.as_secs_f64();
    let ratios: Vec<f64> =
        these.iter().zip(those).map(|(one, other)| seconds(other) / seconds(one)).collect();
    median(&ratios)
}

/// Prints the table of a benchmark.
pub(crate) fn print(rows: &[Row]) {
    println!(
        "{:<30}{:>9}{:>13}{:>9}{:>9}{:>14}{:>14}",
        "median", "MB/s", "messages/s", "slowest", "fastest", "of seqpacket", "of hand-over"
    );
    let ratio = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    for row in rows {
        println!(
            "{:<30}{:>9.0}{:>13.0}{:>9.0}{:>9.0}{:>14}{:>14}",
            row.mode.label(),
            row.megabytes_per_second,
            row.messages_per_second,
            row.slowest,
            row.fastest,
            ratio(row.to_seqpacket),
            ratio(row.to_hand_over),
        );
    }
}
