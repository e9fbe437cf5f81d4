//! One greedy client, and 63 that ask when they have their answer.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use day5::Strategy;
use day7::tasks::{Client, Procedure, ServerOptions, Ticket};

use crate::{BYTES, Bench, median, on_second_core};

/// How many polite clients there are.
const POLITE: usize = 63;
/// How many tasks the greedy one has outstanding.
const GREED: usize = 128;

pub(crate) fn measure(repeats: usize, time: Duration) -> anyhow::Result<()> {
    let bench = Bench::open("fair", &ServerOptions::new().quantum(1024))?;
    let greedy = bench.client(Strategy::Adaptive)?;
    let polite = (0..POLITE).map(|_| bench.client(Strategy::Adaptive));
    let polite = polite.collect::<anyhow::Result<Vec<_>>>()?;
    let rounds = on_second_core(move || {
        (0..repeats).map(|_| round(&greedy, &polite, time)).collect::<anyhow::Result<Vec<_>>>()
    });
    let rounds = rounds.join().map_err(|_| anyhow::anyhow!("the clients' thread panicked"))??;
    let ratios: Vec<_> = rounds.iter().map(|served| served.most / served.least).collect();
    let greedy: Vec<_> = rounds.iter().map(|served| served.greedy / served.least).collect();
    println!(
        "\none client with {GREED} tasks of {BYTES} bytes outstanding, {POLITE} with one; medians of {repeats}"
    );
    println!("most served of the {POLITE} / least served    {:>8.3}", median(&ratios));
    println!("the greedy one / least served      {:>8.1}", median(&greedy));
    Ok(())
}

/// How often clients were served in one round.
struct Served {
    most: f64,
    least: f64,
    greedy: f64,
}

type End = (Client, Procedure);

/// All clients are one thread's: the scheduler of threads has no say in who is served.
fn round(greedy: &End, polite: &[End], time: Duration) -> anyhow::Result<Served> {
    let ask = |(client, echo): &End| client.submit(*echo, &[7; BYTES], vec![], vec![]);
    let mut asked: Vec<Ticket> = polite.iter().map(ask).collect::<Result<_, _>>()?;
    let mut queue = std::collections::VecDeque::new();
    let mut served = vec![0u64; polite.len()];
    let mut eaten = 0u64;
    let started = Instant::now();
    while started.elapsed() < time {
        while queue.front().is_some_and(Ticket::is_ready) {
            finish(queue.pop_front().context("there is one")?)?;
            eaten += 1;
        }
        while queue.len() < GREED {
            queue.push_back(ask(greedy)?);
        }
        for (at, ticket) in asked.iter_mut().enumerate() {
            if ticket.is_ready() {
                finish(std::mem::replace(ticket, ask(&polite[at])?))?;
                served[at] += 1;
            }
        }
    }
    asked.into_iter().chain(queue).try_for_each(finish)?;
    let (most, least) = (served.iter().max().copied(), served.iter().min().copied());
    let (most, least) = (most.unwrap_or(0), least.unwrap_or(0));
    ensure!(least > 0, "a client was not served at all");
    Ok(Served { most: most as f64, least: least as f64, greedy: eaten as f64 })
}

fn finish(ticket: Ticket) -> anyhow::Result<()> {
    let answer = ticket.wait().result?;
    ensure!(answer == [7; BYTES], "a wrong answer: {answer:?}");
    Ok(())
}
