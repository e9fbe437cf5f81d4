//! One busy client, alone and among many idle ones.

use std::time::Duration;

use anyhow::ensure;
use day5::Strategy;
use day7::tasks::ServerOptions;

use crate::tasks::rate;
use crate::{BYTES, Bench, median, on_second_core};

/// How many tasks the busy client has outstanding.
const OUTSTANDING: usize = 64;

pub(crate) fn measure(repeats: usize, time: Duration, clients: usize) -> anyhow::Result<()> {
    let options = ServerOptions::new().waiting(Strategy::Adaptive);
    let alone = Bench::open("alone", &options)?;
    let crowded = Bench::open("crowded", &options)?;
    let mut idle = Vec::new();
    for _ in 1..clients {
        idle.push(crowded.client(Strategy::Adaptive)?);
    }
    let busy = [alone.client(Strategy::Adaptive)?, crowded.client(Strategy::Adaptive)?];
    ensure!(crowded.clients() == clients as u64, "not all clients are there");
    let rates = on_second_core(move || -> anyhow::Result<_> {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..repeats {
            for (rates, (client, echo)) in rates.iter_mut().zip(&busy) {
                let (count, elapsed) = rate(client, *echo, OUTSTANDING, time)?;
                rates.push(count as f64 / elapsed.as_secs_f64() / 1e6);
            }
        }
        Ok(rates)
    });
    let rates = rates.join().map_err(|_| anyhow::anyhow!("the busy client panicked"))??;
    let [alone, among] = rates.each_ref().map(|rates| median(rates));
    println!(
        "\none busy client, {OUTSTANDING} tasks of {BYTES} bytes outstanding, medians of {repeats}"
    );
    println!("{:<40}{alone:>8.2} million tasks/s", "alone");
    let others = format!("among {} idle ones", clients - 1);
    println!("{others:<40}{among:>8.2} million tasks/s, {:.2} of alone", among / alone);
    drop(idle);
    Ok(())
}
