//! Coroutines alone: what it costs to start one and to switch to one, and how much memory one has.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use day8::{Isolation, Runtime, yield_now};
use nix::time::{ClockId, clock_gettime};

use crate::Effort;
use crate::table::{Asked, Table};
use crate::turns::{Contender, Sample, Turn, interleaved};

/// Coroutines that take turns.
const SWITCHING: u64 = 64;
/// Switches of each until the clock is looked at.
const SWITCHES: u64 = 1000;
/// Coroutines that are started until the clock is looked at.
const STARTED: u64 = 1000;
/// Coroutines that wait while their memory is looked at.
const WAITING: u64 = 10_000;

pub(crate) fn measure(effort: &Effort) -> anyhow::Result<Table> {
    let mut contenders = Vec::new();
    for (name, isolation) in [("none", Isolation::None), ("mprotect", Isolation::Mprotect)] {
        let start: Turn = Box::new(move |time| repeat(isolation, time, start));
        contenders.push(Contender::new(format!("start to end, {name}"), Ok(start)));
        let switch: Turn = Box::new(move |time| repeat(isolation, time, switch));
        contenders.push(Contender::new(format!("switch among {SWITCHING}, {name}"), Ok(switch)));
    }
    let outcomes = interleaved(effort, contenders);
    let memory = memory()?;
    let all = |bytes: u64| Some(bytes as f64 / WAITING as f64);
    Ok(Table::new("coroutine: alone in their runtime", "times", &outcomes)
        .find("bytes used of each one's heap", Asked::Reported, all(memory.used))
        .find("KiB of memory for each", Asked::Reported, all(memory.kib))
        .note("busy: of this process, which is the only one here"))
}

/// Does this again and again for so long.
fn repeat(
    isolation: Isolation,
    time: Duration,
    work: fn(&Runtime) -> anyhow::Result<u64>,
) -> anyhow::Result<Sample> {
    let runtime = Runtime::new(isolation)?;
    let cpu = || clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
    let (before, started, mut requests) = (cpu()?, Instant::now(), 0);
    while started.elapsed() < time {
        requests += work(&runtime)?;
    }
    Ok(Sample { requests, elapsed: started.elapsed(), cpu: cpu()? - before })
}

/// Starts coroutines one after the other, each of which ends at once.
fn start(runtime: &Runtime) -> anyhow::Result<u64> {
    let sum = runtime.block_on(async {
        let mut sum = 0;
        for number in 0..STARTED {
            sum += day8::spawn(async move { number })?.await.map_err(said)?;
        }
        anyhow::Ok(sum)
    })??;
    ensure!(sum == STARTED * (STARTED - 1) / 2, "a coroutine did not run");
    Ok(STARTED)
}

/// Has coroutines take turns.
fn switch(runtime: &Runtime) -> anyhow::Result<u64> {
    let switch = || async {
        for _ in 0..SWITCHES {
            yield_now().await;
        }
        SWITCHES
    };
    let all = (0..SWITCHING).map(|_| runtime.spawn(switch())).collect::<Result<Vec<_>, _>>()?;
    let done = runtime.block_on(async {
        let mut done = 0;
        for one in all {
            done += one.await.map_err(said)?;
        }
        anyhow::Ok(done)
    })??;
    ensure!(done == SWITCHING * SWITCHES, "a coroutine did not run to its end");
    Ok(done)
}

/// What a coroutine panicked with stays in its thread; what it says goes further.
fn said(panicked: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("{panicked}")
}

/// Memory of all waiting coroutines together.
struct Memory {
    /// Bytes of their heaps that are used.
    used: u64,
    /// KiB that this process has more.
    kib: u64,
}

/// Has coroutines wait, and looks at the memory.
fn memory() -> anyhow::Result<Memory> {
    let runtime = Runtime::new(Isolation::None)?;
    let before = resident()?;
    runtime.block_on(async move {
        let mut used = 0;
        let mut all = Vec::new();
        for _ in 0..WAITING {
            let (started, starting) = std::sync::mpsc::channel();
            all.push(day8::spawn(async move {
                let heap = day8::Heap::current().map_or(0, |heap| heap.used());
                // The receiver waits for this in this thread.
                let _ = started.send(heap as u64);
                std::future::pending::<()>().await;
            })?);
            yield_now().await;
            used += starting.try_recv().context("a coroutine did not run")?;
        }
        Ok(Memory { used, kib: resident()?.saturating_sub(before) })
    })?
}

/// This process's share of the memory that it uses, in KiB.
fn resident() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup")?;
    crate::server::proportional(&text).context("/proc/self/smaps_rollup has no Pss")
}
