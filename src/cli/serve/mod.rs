//! `fanout serve`: worker processes do what clients ask for, a line in, a line out.

mod outlet;
mod post;
mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use common::sync::{AtomicBool, Ordering};
use fanout::tasks::{CLIENTS, ServerOptions};
use fanout::wait::Strategy;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use self::post::{Crew, Procedure};
use self::worker::Recipe;
use super::place::Place;
use super::terminal::{Notice, say, typed};
use super::value::{seconds, size, strategy};
use yardstick::signals::Signals;

#[derive(Args)]
#[command(after_help = WORKERS)]
pub(crate) struct Arguments {
    /// The server's name, such as jobs; or a path for its socket, such as ./jobs
    name: Place,
    /// The worker's program, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// How many workers there are; clients are spread over them
    #[arg(long, default_value_t = 1, value_name = "N")]
    shards: usize,
    /// How many clients are served at once
    #[arg(long, default_value_t = CLIENTS, value_name = "N")]
    clients: usize,
    /// What `fanout call --procedure` calls it
    #[arg(long, default_value = LINE, value_name = "NAME")]
    procedure: String,
    /// Kill a worker that takes longer than this to answer a line, and start another
    #[arg(long, default_value = "60s", value_name = "SECONDS", value_parser = seconds)]
    timeout: Duration,
    /// The longest line, either way; K and M are understood
    #[arg(long, default_value = "4K", value_name = "BYTES", value_parser = size)]
    longest: u64,
    /// Serve every user of this host, not only this one (and root)
    #[arg(long)]
    any_user: bool,
    /// Give each worker a pipe to write to, not a terminal
    #[arg(long)]
    pipe: bool,
    /// Write when each task was issued, begun and done to this file, for chrome://tracing or ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// How to wait for clients
    #[arg(long, default_value_t, value_name = "HOW", value_parser = strategy())]
    wait: Strategy,
}

/// The procedure that is called where none is named.
pub(super) const LINE: &str = "line";

const WORKERS: &str = "\
Each worker is started once, and lives as long as the server. A task goes to its stdin
as one line, and the next line of its stdout is the answer: it has to answer each line
by one line before it waits for the next. Its stderr is the server's.

Most programs keep lines back while they write to a pipe: `tr` would answer after 4096
bytes. So a worker writes to a terminal, on which such programs write each line at once.
With --pipe it gets a pipe: for programs that flush each line, and on a terminal would
print colours. A worker's stdin is always a pipe. A program that waits for more input
than a line has to be told not to (`mawk -W interactive`).

A worker that dies fails the task that it had in hand; so does one that writes no line
within --timeout, and is killed. Another is started for the next task, after a pause
that grows from 0.1 to 5 seconds. A worker that writes a line unasked is replaced.

Ctrl-C (SIGINT) and SIGTERM end the server and its workers: the task in hand has half
a second left, and then a worker sees the end of its input, and half a second later
SIGTERM, and then SIGKILL; what it has started in its process group ends with it. If the
server is killed, the kernel kills its workers, but not what these have started. A
name that a killed server has left is taken over by the next; a path has to be
removed first (rm ./jobs).";

/// How often we look at signals.
const SLICE: Duration = Duration::from_millis(50);

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    let descriptors = raise_limit(arguments)?;
    let options = options(arguments);
    let recipe = Arc::new(Recipe {
        command: arguments.command.clone(),
        pipe: arguments.pipe,
        timeout: arguments.timeout,
        descriptors,
        ending: AtomicBool::new(false),
    });
    // Nobody should find a server that has no workers. And no worker should be started in vain.
    let server = arguments.name.bind(&options)?;
    let crew = Crew::start(&recipe, arguments.shards).with_context(|| {
        let program = arguments.command.first().map(|program| program.display().to_string());
        format!("cannot start the worker {}", program.unwrap_or_default())
    })?;
    let mut procedure = Procedure::new(&crew);
    server.register(&arguments.procedure, move |task| procedure.work(task))?;
    let serving = server.serve()?;
    let (name, mut notice) = (typed(&arguments.name.to_string()), Notice::new());
    let interrupted = loop {
        if let Err(interrupted) = signals.check() {
            break interrupted;
        }
        notice.still(|| format!("serving; try `echo hi | fanout call {name}`"));
        thread::sleep(SLICE);
    };
    recipe.ending.store(true, Ordering::Relaxed);
    drop(serving);
    crew.end();
    Err(interrupted.into())
}

fn options(arguments: &Arguments) -> ServerOptions {
    // What a request is beside its line, at most.
    const HEAD: u64 = 64;
    let longest = usize::try_from(arguments.longest).unwrap_or(usize::MAX);
    let ring = (arguments.longest.saturating_add(HEAD)).saturating_mul(2).max(16 << 10);
    let options = ServerOptions::new()
        .shards(arguments.shards)
        .clients(arguments.clients)
        .longest_answer(longest)
        .requests(ring)
        .waiting(arguments.wait);
    let options = if arguments.any_user { options.allow_any_user() } else { options };
    match &arguments.trace {
        Some(file) => options.trace(file),
        None => options,
    }
}

/// Raises this process's limit of descriptors to what so many clients need, as far as it may. Returns what the limits
/// were.
fn raise_limit(arguments: &Arguments) -> anyhow::Result<(rlim_t, rlim_t)> {
    // A client's connection, its line and its arena, while it comes; a worker's two ends; and some more.
    let needed = 3 * arguments.clients as u64 + 8 * arguments.shards as u64 + 64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if needed > hard {
        let clients = arguments.clients;
        say(&format!(
            "{clients} clients may need {needed} descriptors, and this process may have {hard}: raise the limit \
             (ulimit -Hn), or lower --clients"
        ));
    }
    if needed > soft {
        setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard)?;
    }
    Ok((soft, hard))
}
