//! Fanout and its rivals on this machine: the same work, interleaved, checked.

use std::io::IsTerminal;
use std::process::ExitCode;

use benches::contenders::{self, Contender};
use benches::machine;
use clap::Parser;
use common::affinity;
use common::report::{grouped, median};
use serde::Serialize;

/// Compare queues on this machine
#[derive(Parser)]
struct Arguments {
    /// Only rows whose task, name or mode holds this text
    #[arg(long, default_value = "")]
    only: String,
    /// How often each row runs
    #[arg(long, default_value_t = 9)]
    repeats: usize,
    /// Messages in a run
    #[arg(long, default_value_t = 4_194_304)]
    messages: u64,
    /// A quarter of the messages: under a minute
    #[arg(long)]
    quick: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Be the consumer of another comparison: the ring's name and a batch
    #[arg(long, hide = true, num_args = 2, value_names = ["NAME", "BATCH"])]
    child: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Row {
    task: &'static str,
    name: &'static str,
    mode: &'static str,
    sides: usize,
    more_sides_than_cores: bool,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Million messages a second that each consumer, or all that share, received; or why there is none.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Rates { median: f64, slowest: f64, fastest: f64, to_fanout: f64 },
    Failed { why: String },
}

fn main() -> ExitCode {
    common::report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some([name, batch]) = arguments.child.as_deref() {
        return contenders::child(name, batch.parse()?);
    }
    let chosen = |row: &Contender| {
        let Contender { task, name, mode, .. } = row;
        format!("{task} {name} {mode}").contains(&arguments.only)
    };
    let rows: Vec<Contender> = contenders::all().into_iter().filter(chosen).collect();
    anyhow::ensure!(!rows.is_empty(), "no row holds {:?}: see --help", arguments.only);
    anyhow::ensure!(arguments.repeats > 0, "a comparison needs a run: --repeats 1 or more");
    let messages = if arguments.quick { arguments.messages / 4 } else { arguments.messages };
    anyhow::ensure!(messages > 0, "a comparison needs messages: --messages 1 or more");

    let samples = measure(&rows, messages, arguments.repeats);
    let table = table(&rows, samples);
    if arguments.json {
        #[derive(Serialize)]
        struct Report {
            machine: Vec<String>,
            messages: u64,
            repeats: usize,
            rows: Vec<Row>,
        }
        let (machine, repeats) = (machine::lines(), arguments.repeats);
        let report = Report { machine, messages, repeats, rows: table };
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    for line in machine::lines() {
        println!("{line}");
    }
    println!(
        "work      {} messages of 64 bytes, capacity {}, medians of {} interleaved repeats",
        grouped(messages),
        contenders::CAPACITY,
        arguments.repeats
    );
    print(&table);
    Ok(())
}

type Samples = Result<Vec<f64>, String>;

/// Each repeat runs every row once, so that whatever disturbs the machine disturbs all.
fn measure(rows: &[Contender], messages: u64, repeats: usize) -> Vec<Samples> {
    let mut samples: Vec<Samples> = rows.iter().map(|_| Ok(Vec::new())).collect();
    for repeat in 0..repeats {
        for (row, samples) in rows.iter().zip(&mut samples) {
            let Ok(rates) = samples else { continue };
            match (row.run)(messages) {
                Ok(elapsed) => rates.push(messages as f64 / elapsed.as_secs_f64() / 1e6),
                Err(error) => *samples = Err(format!("{error:#}")),
            }
        }
        if std::io::stderr().is_terminal() {
            eprintln!("repeat {} of {} done", repeat + 1, repeats);
        }
    }
    samples
}

fn table(rows: &[Contender], samples: Vec<Samples>) -> Vec<Row> {
    let cores = affinity::cores().len();
    let middle = |samples: &Samples| samples.as_ref().ok().and_then(|rates| median(rates));
    let fanout = |task| {
        let first = rows.iter().position(|row| row.task == task && row.name == "fanout");
        first.and_then(|first| middle(&samples[first])).unwrap_or(f64::NAN)
    };
    let row = |(row, samples): (&Contender, &Samples)| {
        let outcome = match samples {
            Err(why) => Outcome::Failed { why: why.clone() },
            Ok(rates) => {
                let median = median(rates).unwrap_or(f64::NAN);
                Outcome::Rates {
                    median,
                    slowest: rates.iter().copied().fold(f64::INFINITY, f64::min),
                    fastest: rates.iter().copied().fold(0.0, f64::max),
                    to_fanout: median / fanout(row.task),
                }
            }
        };
        let Contender { task, name, mode, sides, .. } = *row;
        Row { task, name, mode, sides, more_sides_than_cores: sides > cores, outcome }
    };
    rows.iter().zip(&samples).map(row).collect()
}

fn print(table: &[Row]) {
    let mut task = "";
    for row in table {
        if row.task != task {
            task = row.task;
            let crowded = if row.more_sides_than_cores { " (more threads than cores)" } else { "" };
            println!("\n{task}{crowded}");
            println!(
                "  {:<22}{:<34}{:>9}{:>9}{:>9}{:>11}",
                "", "", "M msg/s", "slowest", "fastest", "to fanout"
            );
        }
        match &row.outcome {
            Outcome::Failed { why } => println!("  {:<22}{:<34}failed: {why}", row.name, row.mode),
            Outcome::Rates { median, slowest, fastest, to_fanout } => println!(
                "  {:<22}{:<34}{median:>9.1}{slowest:>9.1}{fastest:>9.1}{to_fanout:>11.2}",
                row.name, row.mode
            ),
        }
    }
}
