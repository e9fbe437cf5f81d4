//! What a client costs that does nothing.

use anyhow::{Context, ensure};
use day5::Strategy;
use day7::tasks::ServerOptions;

use crate::Bench;

pub(crate) fn measure(clients: usize) -> anyhow::Result<()> {
    let bench = Bench::open("memory", &ServerOptions::new())?;
    // The first one costs what is made once.
    let _first = bench.client(Strategy::Adaptive)?;
    let before = (field("/proc/meminfo", "Shmem:")?, field("/proc/self/status", "RssAnon:")?);
    let all = (1..clients).map(|_| bench.client(Strategy::Adaptive));
    let all = all.collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(bench.clients() == clients as u64, "not all clients are there");
    let after = (field("/proc/meminfo", "Shmem:")?, field("/proc/self/status", "RssAnon:")?);
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / all.len() as f64;
    println!("\nan idle client, mean of {}", all.len());
    println!("shared memory: two rings            {:>8.1} KiB", each(after.0, before.0));
    println!("private memory, of both sides       {:>8.1} KiB", each(after.1, before.1));
    Ok(())
}

/// A line of a file of the kernel's, in KiB.
fn field(file: &str, name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("{file} has no {name}"))?;
    let number = line.split_whitespace().next().and_then(|word| word.parse().ok());
    number.with_context(|| format!("{file}: {name} is no number"))
}
