//! Fanout, its rivals and the kernel's ways on this machine: the same work, interleaved, checked.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use benches::contenders::{self, Contender};
use benches::interrupt;
use benches::measure::{Effort, measure};
use benches::page;
use benches::question::Question;
use benches::report::Report;
use clap::Parser;
use yardstick::machine::Machine;
use yardstick::progress::bar;

/// Compare ways to pass messages, on this machine.
///
/// Every row writes all bytes of its messages and reads them all; a row whose count or checksum is
/// wrong has no figure. Rows that answer the same question run in turns.
#[derive(Parser)]
struct Arguments {
    /// Only rows whose question, name, mode or place holds this text, or each of the texts in `A + B`; limits
    /// stay
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
    /// How often each row runs
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,
    /// About how long each run of a row takes
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    seconds: Option<f64>,
    /// Under a minute: fewer questions, shorter runs, 3 repeats
    #[arg(long)]
    quick: bool,
    /// Let the scheduler decide where sides run, instead of giving each a core of its own
    #[arg(long)]
    unpinned: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// Also write a bar chart (SVG) for each question to this folder, and report.html, a page with
    /// all of them; makes the folder if there is none
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// Say what would run, and run nothing
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    yardstick::report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let effort = arguments.effort()?;
    let questions = chosen(arguments);
    ensure!(!questions.is_empty(), "no row holds {:?}: see --list", arguments.only);
    let mut out = std::io::stdout();
    if arguments.list {
        return Ok(list(&mut out, &questions)?);
    }
    arguments.plot.as_deref().map_or(Ok(()), page::prepare)?;
    yardstick::report::warn_of_debug_build();
    interrupt::note()?;
    let Effort { repeats, run, pinned, .. } = effort;
    let (machine, seconds) = (machine(), run.as_secs_f64());
    let mut report = Report { machine, repeats, seconds, pinned, groups: Vec::new() };
    if !arguments.json {
        announce(&mut out, &report)?;
    }
    let bar = bar(questions.iter().map(Vec::len).sum::<usize>() * (repeats + 1));
    for rows in &questions {
        let group = measure(rows, effort, |row| {
            bar.set_message(format!("{}: {} {}", row.question, row.name, row.mode));
            bar.inc(1);
        })?;
        if !arguments.json {
            bar.suspend(|| write!(out, "{}", group.table()).and_then(|()| out.flush()))?;
        }
        report.groups.push(group);
    }
    bar.finish_and_clear();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(folder) = &arguments.plot {
        for path in page::write(&report, folder)? {
            eprintln!("wrote {}", path.display());
        }
    }
    Ok(())
}

impl Arguments {
    /// How often each row runs, and for how long.
    fn effort(&self) -> anyhow::Result<Effort> {
        let (repeats, seconds) = if self.quick { (3, 0.02) } else { (7, 0.25) };
        let repeats = self.repeats.unwrap_or(repeats);
        let seconds = self.seconds.unwrap_or(seconds);
        ensure!(
            (1..=1000).contains(&repeats),
            "a comparison has 1 to 1000 runs of each row, found {repeats}: change --repeats"
        );
        ensure!(
            seconds > 0.0 && seconds <= 10.0,
            "a run takes more than 0 and at most 10 seconds, found {seconds}: change --seconds"
        );
        let run = Duration::from_secs_f64(seconds);
        let timeout = Duration::from_secs(4) + 60 * run;
        Ok(Effort { repeats, run, timeout, pinned: !self.unpinned })
    }
}

fn list(out: &mut impl Write, questions: &[Vec<Contender>]) -> std::io::Result<()> {
    for rows in questions {
        writeln!(out, "{}", rows[0].question)?;
        for Contender { name, mode, .. } in rows {
            writeln!(out, "  {name:<22}{mode}")?;
        }
    }
    Ok(())
}

/// The rows of each question, if one of them was asked for, with the limits of that question.
fn chosen(arguments: &Arguments) -> Vec<Vec<Contender>> {
    let asked = |row: &Contender| {
        let Contender { question, name, mode, place, .. } = row;
        let row =
            format!("{} {question} {name} {mode} {place:?}", question.chapter()).to_lowercase();
        arguments.only.to_lowercase().split(" + ").all(|text| row.contains(text))
    };
    let questions = Question::all().into_iter().filter(|q| q.quick() || !arguments.quick);
    let rows = questions.map(|question| {
        let rows = contenders::of(question);
        let wanted =
            rows.iter().any(|row| row.standing != contenders::Standing::Limit && asked(row));
        let stays =
            |row: &Contender| wanted && row.standing == contenders::Standing::Limit || asked(row);
        rows.into_iter().filter(stays).collect::<Vec<_>>()
    });
    rows.filter(|rows| !rows.is_empty()).collect()
}

fn announce(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    for (name, line) in report.machine.lines() {
        writeln!(out, "{name:<10}{line}")?;
    }
    writeln!(out, "{:<10}{}", "method", report.method())
}

/// The machine and the build that the tables come from.
fn machine() -> Machine {
    let flags = option_env!("RUSTFLAGS").map(|flags| format!("RUSTFLAGS='{flags}' "));
    let program = "cargo run --release -p benches --bin compare --";
    let machine = Machine::here(&(flags.unwrap_or_default() + program));
    Machine { compiler: format!("{}, {}", machine.compiler, stores()), ..machine }
}

/// How wide the stores are that this program was compiled for. A contender that writes in place uses
/// `yardstick::payload`, which makes stores of 32 bytes if the machine has them. For a contender that
/// takes messages by value, the compiler decides.
fn stores() -> &'static str {
    if cfg!(target_feature = "avx2") {
        "for AVX2"
    } else {
        "not for AVX2 (RUSTFLAGS=-Ctarget-cpu=native)"
    }
}
