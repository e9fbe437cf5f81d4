//! What waiting costs: round trips, CPU time while nothing comes, and throughput with more processes
//! than cores. Each way to wait is measured beside what the machine and the kernel offer.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use serde::Serialize;
use yardstick::machine::Machine;
use yardstick::progress::bar;
use yardstick::report;

mod broadcast;
mod cue;
mod ends;
mod idle;
mod ping;
mod plan;
mod plot;
mod run;
mod table;
mod watch;

use plan::{Case, Duty, Plan};
use table::Tables;
use watch::Watch;

/// Day 5's benchmark: ping-pong between two processes, idle waits, and broadcasts to one to seven
/// consumers, interleaved in one run.
#[derive(Parser, Clone)]
struct Arguments {
    /// How often each case runs; idle waits run once
    #[arg(long, default_value_t = 7)]
    repeats: usize,
    /// Seconds that each ping-pong takes; a broadcast sends for a quarter of that
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Seconds that the idle wait
    #[arg(long, default_value_t = 5.0)]
    idle: f64,
    /// Calls per second in the ping-pongs that have a schedule
    #[arg(long, default_value_t = 10_000.0)]
    rate: f64,
    /// Run only the cases whose name has this in it: ping-pong/rate/, idle/, broadcast/adaptive/7x64
    #[arg(long, default_value = "")]
    only: String,
    /// One short run of each, with one and three consumers: to see that everything works
    #[arg(long, conflicts_with_all = ["repeats", "seconds", "idle"])]
    quick: bool,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Write a plot of the ping-pongs' percentiles, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Take part in a run of this case, as a child process
    #[arg(long, hide = true, requires = "duty")]
    case: Option<String>,
    /// The duty in that run
    #[arg(long, hide = true)]
    duty: Option<Duty>,
    /// A descriptor inherited for it
    #[arg(long, hide = true)]
    descriptor: Vec<RawFd>,
    /// The names of rings for it
    #[arg(long, hide = true)]
    at: Vec<String>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Outcome<'a> {
    origin: &'a Machine,
    repeats: usize,
    seconds: f64,
    rate: f64,
    /// The share of all cores' time that other programs used meanwhile.
    others_percent: Option<f64>,
    #[serde(flatten)]
    tables: &'a Tables,
}

/// The most consumers of a broadcast.
const MOST: usize = 7;

fn main() -> ExitCode {
    report::exit(dispatch(&Arguments::parse()))
}

fn dispatch(arguments: &Arguments) -> anyhow::Result<()> {
    let plan = plan(arguments)?;
    let (Some(name), Some(duty)) = (&arguments.case, arguments.duty) else {
        return benchmark(arguments, &plan);
    };
    let consumers: Vec<usize> = (1..=MOST).collect();
    let case = Case::all(&consumers).into_iter().find(|case| case.to_string() == *name);
    let case = case.with_context(|| format!("there is no case {name:?}"))?;
    let Arguments { at, descriptor, .. } = arguments;
    cue::play(|cue| run::play((case, duty), &plan, (at, descriptor), cue))
}

fn plan(arguments: &Arguments) -> anyhow::Result<Plan> {
    let Arguments { repeats, seconds, idle, rate, quick, .. } = *arguments;
    ensure!(repeats > 0, "a benchmark needs a run: --repeats 1 or more");
    let (seconds, idle) = if quick { (0.05, 0.3) } else { (seconds, idle) };
    for (name, seconds) in [("seconds", seconds), ("idle", idle)] {
        ensure!(
            (0.01..=600.0).contains(&seconds),
            "a run takes 0.01 to 600 seconds, found {seconds}: change --{name}"
        );
    }
    ensure!(
        (1.0..=1e6).contains(&rate),
        "1 to 1000000 calls go in a second, found {rate}: change --rate"
    );
    let (seconds, idle) = (Duration::from_secs_f64(seconds), Duration::from_secs_f64(idle));
    Ok(Plan { seconds, idle, rate })
}

fn benchmark(arguments: &Arguments, plan: &Plan) -> anyhow::Result<()> {
    let Arguments { quick, ref only, .. } = *arguments;
    let repeats = if quick { 1 } else { arguments.repeats };
    let consumers: Vec<usize> = if quick { vec![1, 3] } else { (1..=MOST).collect() };
    let mut cases = Case::all(&consumers);
    cases.retain(|case| case.to_string().contains(only));
    ensure!(
        !cases.is_empty(),
        "no case has {only:?} in its name: --only ping-pong/fast/spin, ping-pong/rate/, idle/ or \
         broadcast/adaptive/7x64"
    );
    report::warn_of_debug_build();
    let origin = Machine::here("day5-benchmark");
    let Plan { seconds, idle, rate } = *plan;
    let (seconds, idle) = (seconds.as_secs_f64(), idle.as_secs_f64());
    if !arguments.json {
        origin.lines().iter().for_each(|(name, line)| println!("{name:<10}{line}"));
        let expected = run::estimate(&cases, plan, repeats).as_secs_f64();
        println!("repeats   {repeats}, medians; at least {expected:.0} s");
    }
    let watch = Watch::start();
    let bar = bar(repeats * cases.len());
    let passed_on =
        [format!("--seconds={seconds}"), format!("--idle={idle}"), format!("--rate={rate}")];
    let runs = run::turn(&cases, plan, repeats, &passed_on, |case| {
        bar.set_message(case.to_string());
        bar.inc(1);
    });
    bar.finish_and_clear();
    let tables = Tables::new(&runs?);
    let others_percent = watch.and_then(|watch| watch.others());
    if let Some(path) = &arguments.plot {
        let plot = plot::svg(&tables.ping_pong, &origin, rate)?;
        std::fs::write(path, plot).with_context(|| format!("writing {}", path.display()))?;
    }
    if arguments.json {
        let (origin, tables) = (&origin, &tables);
        let outcome = Outcome { origin, repeats, seconds, rate, others_percent, tables };
        println!("{}", serde_json::to_string_pretty(&outcome)?);
        return Ok(());
    }
    if let Some(percent) = others_percent {
        println!("others    used {percent:.1} % of the cores meanwhile");
    }
    print!("{}", tables.text(rate)?);
    Ok(())
}
