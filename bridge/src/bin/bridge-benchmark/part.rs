//! The parts of a run: each is a process of its own.

use std::time::Duration;

use anyhow::Context;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};
use yardstick::bytes::Tally;
use yardstick::crew;

use crate::load::{Bare, Load};
use crate::message::{Checker, Faults, Latency};
use crate::{bare, ring};

/// What a process of a run does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Part {
    /// Publishes to the stream.
    Publish(Load, Bare),
    /// Consumes the stream.
    Consume(Load, Bare),
    /// Sends into this queue.
    Send(Load, String),
    /// Receives from this queue.
    Receive(Load, String),
}

/// What it did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// When it was told to begin, on a clock that all processes share.
    pub(crate) began: Duration,
    /// When it had its last message.
    pub(crate) ended: Duration,
    /// The CPU time that it used between the two.
    pub(crate) cpu: Duration,
    pub(crate) count: u64,
    pub(crate) checksum: u64,
    pub(crate) faults: Faults,
    pub(crate) latency: Option<Latency>,
}

impl Part {
    /// Plays it. The process that started it is told what it did.
    ///
    /// # Errors
    ///
    /// If that process cannot be told.
    pub(crate) fn play(&self) -> anyhow::Result<()> {
        crew::member(|| {
            let usage = match self {
                Self::Publish(load, bare) => bare::publish(load, *bare),
                Self::Consume(load, bare) => bare::consume(load, *bare),
                Self::Send(load, queue) => ring::send(load, queue),
                Self::Receive(load, queue) => ring::receive(load, queue),
            }?;
            serde_json::to_string(&usage).context("telling what was done")
        })
    }
}

/// When a part began.
pub(crate) struct Start {
    began: Duration,
    cpu: Duration,
}

/// Says that all is prepared, and waits for the others.
pub(crate) fn wait_for_go() -> anyhow::Result<Start> {
    crew::step("ready", "", "go")?;
    Ok(Start { began: crew::now()?, cpu: used(UsageWho::RUSAGE_SELF)? })
}

impl Start {
    /// All is sent.
    pub(crate) fn end(self, tally: &Tally) -> anyhow::Result<Usage> {
        let (ended, cpu) = (crew::now()?, used(UsageWho::RUSAGE_SELF)? - self.cpu);
        let Tally { count, checksum, .. } = *tally;
        let (faults, latency) = (Faults::default(), None);
        Ok(Usage { began: self.began, ended, cpu, count, checksum, faults, latency })
    }

    /// All has arrived.
    pub(crate) fn end_checked(self, mut checker: Checker) -> anyhow::Result<Usage> {
        let usage = self.end(&checker.tally)?;
        Ok(Usage { faults: checker.faults, latency: checker.latency(), ..usage })
    }
}

/// The CPU time that this process has used, or its children that have ended.
pub(crate) fn used(who: UsageWho) -> anyhow::Result<Duration> {
    let usage = getrusage(who)?;
    let parts = [usage.user_time(), usage.system_time()];
    Ok(parts.map(|part| Duration::from_micros(part.num_microseconds() as u64)).iter().sum())
}
