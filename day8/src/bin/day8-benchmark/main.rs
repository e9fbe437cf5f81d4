//! Measures Day 8's services beside their peers: each server is a process on one core, the generator has another.

mod client;
mod coroutine;
mod echo;
mod http;
mod idle;
mod nginx;
mod redis;
mod rings;
mod server;
mod table;
mod turns;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use serde::Serialize;
use yardstick::machine::Machine;
use yardstick::{affinity, descriptors, report};

use crate::table::Table;

/// What Day 8's services do in a second, and what that costs, beside their peers
#[derive(Parser)]
struct Arguments {
    /// Measure only these rows
    #[arg(value_enum)]
    rows: Vec<Row>,
    /// How often each contender has its turn; one turn more, the first, warms up
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    turns: u32,
    /// How long a turn takes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// How many clients do nothing in the row "idle"
    #[arg(long, default_value_t = 9000)]
    idle: usize,
    /// Print one JSON object instead of the tables
    #[arg(long)]
    json: bool,
    /// Hold so many idle clients of the server at this address, as a child process of the benchmark
    #[arg(long, hide = true, requires = "idle")]
    hold: Option<SocketAddr>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Row {
    /// 64 clients that have a line echoed
    Echo,
    /// The same beside thousands that do nothing, and what one of those costs
    Idle,
    /// Echo, with the memory of connections protected from one another and without
    Isolation,
    /// A static answer over HTTP
    Http,
    /// The same, 16 requests at a time
    Pipelined,
    /// SET and GET of Redis, one at a time and 16
    Redis,
    /// GET over a pair of rings and over TCP
    Rings,
    /// What it costs to start a coroutine and to switch to one, and its memory
    Coroutine,
}

impl Row {
    fn measure(self, effort: &Effort) -> anyhow::Result<Vec<Table>> {
        match self {
            Self::Echo => Ok(vec![echo::against_peers(effort)?]),
            Self::Idle => Ok(vec![idle::measure(effort)?]),
            Self::Isolation => Ok(vec![echo::isolation(effort)?]),
            Self::Http => Ok(vec![http::measure(effort, 1)?]),
            Self::Pipelined => Ok(vec![http::measure(effort, 16)?]),
            Self::Redis => redis::measure(effort),
            Self::Rings => Ok(vec![rings::measure(effort)?]),
            Self::Coroutine => Ok(vec![coroutine::measure(effort)?]),
        }
    }
}

/// How much is measured.
struct Effort {
    turns: u32,
    /// Seconds of a turn.
    seconds: u32,
    idle: usize,
    /// The cores that this program may use: the first is the servers', the second the generators'.
    cores: Vec<usize>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    machine: Machine,
    turns: u32,
    seconds: u32,
    tables: &'a [Table],
}

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(address) = arguments.hold {
        return idle::hold(address, arguments.idle);
    }
    report::warn_of_debug_build();
    let cores = affinity::cores();
    if cores.len() < 2 {
        eprintln!("note: server and generator share the only core, so rates say little");
    }
    let idle = make_room_for_descriptors(arguments.idle)?;
    let effort = Effort { turns: arguments.turns, seconds: arguments.seconds, idle, cores };
    let machine = Machine::here("cargo run --release -p day8 --bin day8-benchmark --");
    if !arguments.json {
        for (name, line) in machine.lines() {
            println!("{name:<10}{line}");
        }
    }
    let rows = if arguments.rows.is_empty() { Row::value_variants() } else { &arguments.rows };
    let mut tables = Vec::new();
    for row in rows {
        let measured = row.measure(&effort)?;
        if !arguments.json {
            measured.iter().for_each(|table| print!("\n{table}"));
        }
        tables.extend(measured);
    }
    ensure!(!tables.is_empty(), "nothing was measured");
    if arguments.json {
        let Effort { turns, seconds, .. } = effort;
        let report = Report { machine, turns, seconds, tables: &tables };
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(())
}

/// Descriptors that are neither an idle client's nor a busy one's.
const OTHER_DESCRIPTORS: usize = 256;

/// Allows as many descriptors as the system lets us; servers inherit that. Returns how many idle clients fit.
fn make_room_for_descriptors(idle: usize) -> anyhow::Result<usize> {
    let most = descriptors::allow_all().context("raising the limit of descriptors")?;
    let room = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(OTHER_DESCRIPTORS);
    if idle > room {
        eprintln!(
            "note: a process may have {most} descriptors here, so there are {room} idle clients instead of {idle}; \
             root can allow more: ulimit -n {}",
            idle + OTHER_DESCRIPTORS
        );
    }
    Ok(idle.min(room))
}
