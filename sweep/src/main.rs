//! `sweep`: kills a process at every instruction of each operation, and prints what the others lost.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use nix::sched::sched_getcpu;
use sweep::{Options, Points, Scenario, scenarios, sweep};
use yardstick::affinity::{cores, pin};

/// What the scenarios that test the sweep itself are called.
const TOY: &str = "toy:";

/// Kills a process at every instruction of each operation on a queue, and asks the others what they lost
#[derive(Parser)]
struct Arguments {
    /// How many points at least, in all scenarios together
    #[arg(long, default_value_t = 10_000)]
    points: usize,
    /// Every instruction of each scenario
    #[arg(long, conflicts_with = "points")]
    every: bool,
    /// Only this point
    #[arg(long, conflicts_with_all = ["points", "every"])]
    at: Option<usize>,
    /// Only the scenario of this name, or all with this in their name; may be repeated
    #[arg(long)]
    scenario: Vec<String>,
    /// What is drawn at random follows from it
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seconds survivors may take before they are said to hang
    #[arg(long, default_value_t = 15)]
    patience: u64,
    /// Only list the scenarios
    #[arg(long)]
    list: bool,
}

impl Arguments {
    /// Those of the scenarios that are meant; the toys only by their name.
    fn chosen(&self) -> Vec<Scenario> {
        let mut all = scenarios();
        let names: Vec<_> = all.iter().map(|scenario| scenario.name().to_owned()).collect();
        let is_meant = |name: &str, part: &String| {
            if names.contains(part) { name == part } else { name.contains(part.as_str()) }
        };
        all.retain(|scenario| {
            let name = scenario.name();
            if self.scenario.is_empty() {
                return !name.starts_with(TOY);
            }
            self.scenario.iter().any(|part| is_meant(name, part))
        });
        all
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let chosen = arguments.chosen();
    ensure!(!chosen.is_empty(), "no scenario has that in its name: see --list");
    if arguments.list {
        chosen.iter().for_each(|scenario| println!("{}", scenario.name()));
        return Ok(ExitCode::SUCCESS);
    }
    // The tracer and its victim take turns. On one core none has to be woken on another.
    let (cores, own) = (cores(), sched_getcpu().unwrap_or(0));
    pin(&cores, cores.iter().position(|&core| core == own).unwrap_or(0));
    let points = match (arguments.every, arguments.at) {
        (true, _) => Points::Every,
        (_, Some(point)) => Points::At(point),
        _ => Points::Share(arguments.points),
    };
    let mut options = Options::default();
    (options.points, options.seed) = (points, arguments.seed);
    options.patience = Duration::from_secs(arguments.patience);

    let bar = yardstick::progress::bar(0);
    let report = sweep(&chosen, &options, &mut |scenario, more| {
        bar.set_message(scenario.to_owned());
        if more > 0 { bar.inc_length(more as u64) } else { bar.inc(1) }
    })?;
    bar.finish_and_clear();
    print!("{report}");
    Ok(ExitCode::from(u8::from(report.failures() > 0)))
}
