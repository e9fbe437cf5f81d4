//! The steps that a crew takes together.

use std::time::Duration;

use anyhow::Context;
use nix::time::{ClockId, clock_gettime};
use yardstick::crew::{Crew, member, step};

/// Tells a member when to take its next step.
pub(crate) struct Cue(());

impl Cue {
    /// Says that we are ready, and waits until all are: then we can join what the others have
    /// created.
    pub(crate) fn meet(&mut self) -> anyhow::Result<()> {
        step("ready", "", "meet")
    }

    /// Says that we have joined all that we need, and waits until all members have.
    pub(crate) fn go(&mut self) -> anyhow::Result<()> {
        step("met", "", "go")
    }
}

/// Lets the crew meet and then start at the same moment. Returns their reports, in the order of
/// hiring.
///
/// `met` is called in between: names that the members used to find one another are no longer
/// needed.
pub(crate) fn race(crew: &mut Crew, met: impl FnOnce()) -> anyhow::Result<Vec<String>> {
    crew.hear(0, "ready")?;
    crew.tell("meet")?;
    crew.hear(0, "met")?;
    met();
    crew.tell("go")?;
    crew.hear(0, "done")
}

/// One member's part, in a process of its own.
pub(crate) fn play(
    play: impl FnOnce(&mut Cue) -> anyhow::Result<serde_json::Value>,
) -> anyhow::Result<()> {
    member(|| play(&mut Cue(())))
}

/// The CPU time that this process has used.
pub(crate) fn used() -> anyhow::Result<Duration> {
    let clock = ClockId::CLOCK_PROCESS_CPUTIME_ID;
    Ok(clock_gettime(clock).context("reading the CPU time")?.into())
}
