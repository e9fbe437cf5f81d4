//! A lap: what each member of a crew moves, all of them at the same time.

use std::time::Duration;

use anyhow::bail;
use yardstick::bytes::Tally;
use yardstick::crew::{Crew, member, now, step};

/// What a member of the crew moved, and its start and end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lap {
    pub(crate) tally: Tally,
    started: Duration,
    ended: Duration,
}

impl Lap {
    /// The time from the first member's start to the last member's end.
    pub(crate) fn time(laps: &[Self]) -> Duration {
        let started = laps.iter().map(|lap| lap.started).min().unwrap_or_default();
        let ended = laps.iter().map(|lap| lap.ended).max().unwrap_or_default();
        ended - started
    }
}

/// Lets all members start at the same moment, and waits until they have finished.
pub(crate) fn race(mut crew: Crew) -> anyhow::Result<Vec<Lap>> {
    crew.tell("go")?;
    crew.hear(0, "done")?.iter().map(|line| lap(line)).collect()
}

fn lap(line: &str) -> anyhow::Result<Lap> {
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [started, ended, count, bytes, checksum] = numbers[..] else {
        bail!("a child reported {line:?}, expected five numbers")
    };
    let (started, ended) = (Duration::from_nanos(started), Duration::from_nanos(ended));
    Ok(Lap { tally: Tally { count, bytes, checksum }, started, ended })
}

/// A member's work: it gets ready, says something that the next member needs, and then works.
pub(crate) struct Work<'a> {
    pub(crate) offer: String,
    pub(crate) run: Box<dyn FnOnce() -> anyhow::Result<Tally> + 'a>,
}

/// One member's part, in its own process.
pub(crate) fn run<'a>(prepare: impl FnOnce() -> anyhow::Result<Work<'a>>) -> anyhow::Result<()> {
    member(|| {
        let work = prepare()?;
        step("ready", &work.offer, "go")?;
        let started = now()?;
        let Tally { count, bytes, checksum } = (work.run)()?;
        let (started, ended) = (started.as_nanos(), now()?.as_nanos());
        Ok(format!("{started} {ended} {count} {bytes} {checksum}"))
    })
}
