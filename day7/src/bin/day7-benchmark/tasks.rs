//! There and back: one task outstanding, or 64.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::ensure;
use day5::Strategy;
use day7::tasks::{Client, Procedure, ServerOptions, Ticket};
use nix::time::{ClockId, clock_gettime};

use crate::{BYTES, Bench, median};

/// The rows: how the two wait, and how many tasks are outstanding.
const ROWS: [(Strategy, usize); 4] =
    [(Strategy::Spin, 1), (Strategy::Adaptive, 1), (Strategy::Sleep, 1), (Strategy::Adaptive, 64)];

pub(crate) fn measure(repeats: usize, time: Duration) -> anyhow::Result<()> {
    println!("\ntasks of {BYTES} bytes there and back, medians of {repeats}");
    println!("{:<12}{:>12}{:>14}{:>18}", "waiting", "outstanding", "ns each", "CPU ns each");
    let mut samples = [const { (Vec::new(), Vec::new()) }; ROWS.len()];
    for _ in 0..repeats {
        for ((strategy, outstanding), (times, cpu)) in ROWS.iter().zip(&mut samples) {
            // Each time a server of its own: one that spins has a core for itself also while nobody asks.
            let options = ServerOptions::new().waiting(*strategy);
            let bench = Bench::open(&format!("tasks-{strategy}"), &options)?;
            let (client, echo) = bench.client(*strategy)?;
            let before = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
            let (count, elapsed) = rate(&client, echo, *outstanding, time)?;
            let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)? - before;
            times.push(elapsed.as_nanos() as f64 / count as f64);
            cpu.push(Duration::from(used).as_nanos() as f64 / count as f64);
        }
    }
    for ((strategy, outstanding), (times, cpu)) in ROWS.iter().zip(&samples) {
        let (strategy, times, cpu) = (strategy.name(), median(times), median(cpu));
        println!("{strategy:<12}{outstanding:>12}{times:>14.0}{cpu:>18.0}");
    }
    println!("CPU: of both sides together");
    Ok(())
}

/// How many tasks were done in about this time, `outstanding` at once; each answer is checked.
pub(crate) fn rate(
    client: &Client,
    echo: Procedure,
    outstanding: usize,
    time: Duration,
) -> anyhow::Result<(u64, Duration)> {
    let mut tickets = VecDeque::with_capacity(outstanding);
    let (mut asked, mut done) = (0u64, 0u64);
    let started = Instant::now();
    let mut finish = |ticket: Ticket| -> anyhow::Result<()> {
        let answer = ticket.wait().result?;
        let expected = [done as u8; BYTES];
        ensure!(answer == expected, "task {done} has the answer {answer:?}");
        done += 1;
        Ok(())
    };
    while !asked.is_multiple_of(64) || started.elapsed() < time {
        if tickets.len() == outstanding
            && let Some(oldest) = tickets.pop_front()
        {
            finish(oldest)?;
        }
        tickets.push_back(client.submit(echo, &[asked as u8; BYTES], vec![], vec![])?);
        asked += 1;
    }
    tickets.into_iter().try_for_each(&mut finish)?;
    ensure!(asked == done, "{asked} tasks were asked for, {done} were done");
    Ok((done, started.elapsed()))
}
