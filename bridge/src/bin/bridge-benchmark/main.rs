//! Measures the bridges beside the client that they stand on, with real servers, all of it on this machine.

mod bare;
mod bridges;
mod load;
mod message;
mod part;
mod ring;
mod rows;
mod run;
mod server;
mod table;

use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use indicatif::ProgressBar;
use serde::Serialize;
use yardstick::machine::Machine;
use yardstick::{progress, report};

use crate::part::Part;
use crate::rows::Row;
use crate::table::{Asked, Table};

/// What two bridges carry through NATS JetStream, beside the client by itself
#[derive(Parser)]
struct Arguments {
    /// Measure only these rows
    #[arg(long, value_enum)]
    only: Vec<Row>,
    /// How often each contender carries its load; one round more, the first, warms up
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// A fiftieth of the messages, one run each: it shows that all of it works, and no figure
    #[arg(long)]
    quick: bool,
    /// Print one JSON object instead of the tables
    #[arg(long)]
    json: bool,
    /// Play this part, as a child process of the benchmark
    #[arg(long, hide = true)]
    part: Option<String>,
}

/// How much is measured.
struct Effort {
    runs: u32,
    /// Rounds before these.
    warm: u32,
    /// A load is divided by that.
    share: u64,
    bar: ProgressBar,
}

impl Effort {
    /// How many messages a load has that has so many as a rule.
    fn messages(&self, rule: u64) -> u64 {
        rule / self.share
    }

    /// What a ratio has to be. Loads as short as those of a quick run are mostly their beginning, so nothing is asked of it.
    fn at_least(&self, ratio: f64) -> Asked {
        if self.share > 1 { Asked::Reported } else { Asked::AtLeast(ratio) }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    machine: Machine,
    server: String,
    runs: u32,
    tables: &'a [Table],
}

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(part) = &arguments.part {
        return serde_json::from_str::<Part>(part).context("this part")?.play();
    }
    report::warn_of_debug_build();
    let effort = match arguments.quick {
        true => Effort { runs: 1, warm: 0, share: 50, bar: progress::bar(0) },
        false => Effort { runs: arguments.runs, warm: 1, share: 1, bar: progress::bar(0) },
    };
    let server = version()?;
    let machine = Machine::here("cargo run --release -p bridge --bin bridge-benchmark --");
    if !arguments.json {
        println!("{}", note(&machine, &server));
    }
    let rows = if arguments.only.is_empty() { Row::value_variants() } else { &arguments.only };
    let mut tables = Vec::new();
    for row in rows {
        let table = row.measure(&effort)?;
        if !arguments.json {
            print!("\n{table}");
        }
        tables.push(table);
    }
    if arguments.json {
        let report = Report { machine, server, runs: effort.runs, tables: &tables };
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    let faulty = tables.iter().filter(|table| table.has_faults()).count();
    ensure!(faulty == 0, "in {faulty} of the tables messages are lost, repeated, or out of order");
    Ok(())
}

/// Where the figures come from, and who shares the cores.
fn note(machine: &Machine, server: &str) -> String {
    let Machine { processor, cores, kernel, compiler, commit, date, command } = machine;
    format!(
        "note: this machine: {processor}, {cores} cores, which all servers, both ends, and both bridges or the client's \
         two programs share; {kernel}, {compiler}, {server}, {commit}, {date}; {command}"
    )
}

/// Which server is installed.
fn version() -> anyhow::Result<String> {
    let output = Command::new("nats-server").arg("--version").output();
    let output = output.context("nats-server is not installed: apt-get install nats-server")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
