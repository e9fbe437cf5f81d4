//! Measures what a server's clients pay for one another: one busy client among many idle ones, one greedy client among
//! polite ones, and the memory of one that does nothing.

mod fair;
mod idle;
mod memory;
mod selector;
mod tasks;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use day5::Strategy;
use day7::tasks::{Client, ClientOptions, Procedure, Server, ServerOptions, Serving};
use yardstick::machine::Machine;
use yardstick::{affinity, descriptors, report};

/// What a server's clients pay for one another
#[derive(Parser)]
struct Arguments {
    /// Measure only what has this in its name: selector, tasks, idle, fair or memory
    #[arg(long, default_value = "")]
    only: String,
    /// How often each measurement is repeated
    #[arg(long, default_value_t = 7)]
    repeats: usize,
    /// How long each takes, in milliseconds
    #[arg(long, default_value_t = 300)]
    millis: u64,
    /// How many messages there are in each run of "selector"
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// How many clients there are in "idle" and "memory"
    #[arg(long, default_value_t = 1024)]
    clients: usize,
}

/// Bytes of a request, and of its answer.
const BYTES: usize = 64;

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    report::warn_of_debug_build();
    ensure!(arguments.repeats > 0, "at least one repeat is needed");
    ensure!(arguments.clients > 1, "at least two clients are needed");
    // Both ends of each connection are in this process.
    descriptors::allow_all()?;
    for (name, line) in Machine::here("cargo run --release -p day7 --bin day7-benchmark").lines() {
        println!("{name:<10}{line}");
    }
    let only = |name: &str| name.contains(&arguments.only);
    let time = Duration::from_millis(arguments.millis);
    if only("selector") {
        let (repeats, messages) = (arguments.repeats, arguments.messages);
        // In a thread of its own: it pins itself to a core, and what it starts would be pinned there, too.
        let measured = thread::spawn(move || selector::measure(repeats, messages)).join();
        measured.map_err(|_| anyhow::anyhow!("the measurement panicked"))??;
    }
    if only("tasks") {
        tasks::measure(arguments.repeats, time)?;
    }
    if only("idle") {
        idle::measure(arguments.repeats, time, arguments.clients)?;
    }
    if only("fair") {
        fair::measure(arguments.repeats, time)?;
    }
    if only("memory") {
        memory::measure(arguments.clients)?;
    }
    Ok(())
}

/// A server in threads of this process, whose procedure gives back what it gets.
struct Bench {
    path: PathBuf,
    serving: Serving,
}

impl Bench {
    fn open(name: &str, options: &ServerOptions) -> anyhow::Result<Self> {
        let file = format!("day7-benchmark-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(file);
        let server = Server::bind(&path, options)?;
        server.register("echo", |task| Ok(task.answer(task.args())?))?;
        Ok(Self { serving: server.serve()?, path })
    }

    fn client(&self, strategy: Strategy) -> anyhow::Result<(Client, Procedure)> {
        let client = Client::connect_with(&self.path, &ClientOptions::new().waiting(strategy))?;
        let echo = client.procedure("echo")?;
        Ok((client, echo))
    }

    /// How many clients it has.
    fn clients(&self) -> u64 {
        self.serving.server().clients()
    }
}

/// Runs `work` in a thread on the second core, if there is one; the server has the first.
fn on_second_core<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    thread::spawn(move || {
        affinity::pin(&affinity::cores(), 1);
        work()
    })
}

/// The median; there is one or more.
fn median(samples: &[f64]) -> f64 {
    report::median(samples).unwrap_or(f64::NAN)
}
