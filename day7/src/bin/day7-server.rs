//! Does tasks for `day7-client`, until its standard input ends.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use clap::Parser;
use day7::tasks::{Outcome, Server, ServerOptions, Task};
use yardstick::report;

/// Do tasks: add, sum, sleep, panic, echo
#[derive(Parser)]
struct Arguments {
    /// Where clients find it
    #[arg(default_value = "/tmp/day7-server")]
    path: PathBuf,
    /// How many threads share the clients
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Write when each task was issued, begun and done to this file, for chrome://tracing
    #[arg(long)]
    trace: Option<PathBuf>,
}

fn main() -> ExitCode {
    report::exit(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut options = ServerOptions::new().shards(arguments.shards);
    if let Some(file) = &arguments.trace {
        options = options.trace(file);
    }
    let server = Server::bind(&arguments.path, &options)?;
    server.register("add", add)?;
    server.register("sum", sum)?;
    server.register("sleep", sleep)?;
    server.register("panic", |task| panic!("asked for it by client {}", task.client()))?;
    server.register("echo", |task| Ok(task.answer(task.args())?))?;
    let serving = server.serve()?;
    println!("serving; the end of its input ends it");
    io::stdin().read_to_end(&mut Vec::new())?;
    println!("clients that came: {}", serving.server().admitted());
    Ok(())
}

/// The arguments, as text: numbers with spaces between.
fn numbers<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    task: &Task<'_>,
) -> Result<Vec<T>, Box<dyn std::error::Error + Send + Sync>> {
    let text = std::str::from_utf8(task.args())?;
    Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

/// Adds the numbers among its arguments. Whatever goes wrong, the client is told.
fn add(task: &mut Task<'_>) -> Outcome {
    let mut sum = 0i64;
    for number in numbers::<i64>(task)? {
        sum = sum.checked_add(number).ok_or("the sum is too large")?;
    }
    Ok(task.answer(sum.to_string().as_bytes())?)
}

/// Adds two inputs, number by number, into an output. Only where they are was sent.
fn sum(task: &mut Task<'_>) -> Outcome {
    let ([left, right], [output]) = task.buffers() else {
        return Err("expected two inputs and one output".into());
    };
    let (left, right) = (left.to_vec(), right.to_vec());
    if left.len() != right.len() {
        return Err("expected two inputs of one length".into());
    }
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
    let pairs = left.chunks_exact(4).zip(right.chunks_exact(4));
    let sums = pairs.flat_map(|(a, b)| number(a).wrapping_add(number(b)).to_le_bytes());
    Ok(output.write(0, &sums.collect::<Vec<_>>())?)
}

/// Sleeps for so many milliseconds. Meanwhile the other clients of this shard wait.
fn sleep(task: &mut Task<'_>) -> Outcome {
    let milliseconds = numbers::<u64>(task)?.iter().sum();
    thread::sleep(Duration::from_millis(milliseconds));
    Ok(task.answer(b"slept")?)
}
