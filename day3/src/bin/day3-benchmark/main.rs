//! How many MB/s the ring moves on this machine, from one producer to one or more consumers. With
//! `--compare`, what share of the machine's limits that is.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;
use common::QueueName;
use serde::Serialize;
use yardstick::affinity;
use yardstick::report::{self, Throughput};

mod compare;
mod rivals;
mod run;
mod transport;

use bytemuck::Pod;
use yardstick::payload::{Message, Payload};

/// Day 3's benchmark: 1 GiB in messages of 64 bytes, unless told otherwise.
#[derive(Parser, Clone)]
struct Arguments {
    /// The queue's name
    #[arg(default_value = "/spmc_benchmark_queue")]
    name: QueueName,
    /// How many consumers receive
    #[arg(long, default_value_t = 1)]
    consumers: usize,
    /// Consumers share the messages as one group, instead of each seeing all
    #[arg(long)]
    groups: bool,
    /// Consumers are processes, instead of threads
    #[arg(long)]
    processes: bool,
    /// Bytes in a message: a power of two from 8 to 65536
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Messages that the ring holds: a power of two
    #[arg(long, default_value_t = 1024)]
    capacity: usize,
    /// Messages to send
    #[arg(long, default_value_t = 16_777_216)]
    messages: u64,
    /// Messages to write, and to read, at a time
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Print one JSON object instead of the story
    #[arg(long)]
    json: bool,
    /// Compare with simpler rings and with this machine's limits, one consumer, interleaved
    #[arg(long)]
    compare: bool,
    /// How often each contender runs in a comparison
    #[arg(long, default_value_t = 9)]
    repeats: usize,
    /// Receive, as a child process of another benchmark, on the core of this number
    #[arg(long, hide = true)]
    child: Option<usize>,
}

/// What `--json` prints beside the figures.
#[derive(Serialize)]
struct Outcome<'a, R> {
    size: usize,
    capacity: usize,
    messages: u64,
    batch: usize,
    consumers: usize,
    groups: bool,
    processes: bool,
    cores: usize,
    more_threads_than_cores: bool,
    #[serde(flatten)]
    result: &'a R,
}

fn main() -> ExitCode {
    report::exit(dispatch(&Arguments::parse()))
}

fn dispatch(arguments: &Arguments) -> anyhow::Result<()> {
    match arguments.size {
        8 => benchmark::<Message<1>>(arguments),
        16 => benchmark::<Message<2>>(arguments),
        32 => benchmark::<Message<4>>(arguments),
        64 => benchmark::<Message<8>>(arguments),
        128 => benchmark::<Message<16>>(arguments),
        256 => benchmark::<Message<32>>(arguments),
        512 => benchmark::<Message<64>>(arguments),
        1024 => benchmark::<Message<128>>(arguments),
        2048 => benchmark::<Message<256>>(arguments),
        4096 => benchmark::<Message<512>>(arguments),
        16384 => benchmark::<Message<2048>>(arguments),
        65536 => benchmark::<Message<8192>>(arguments),
        other => anyhow::bail!(
            "a message has 8, 16, 32, … 4096, 16384 or 65536 bytes, found {other}: choose one"
        ),
    }
}

fn benchmark<P: Payload + Pod>(arguments: &Arguments) -> anyhow::Result<()> {
    let (batch, capacity) = (arguments.batch, arguments.capacity);
    ensure!(
        (1..=capacity).contains(&batch),
        "a batch has 1 to {capacity} messages, the ring's capacity, found {batch}: change --batch"
    );
    ensure!(arguments.consumers > 0, "a benchmark needs a consumer: --consumers 1 or more");
    ensure!(arguments.messages > 0, "a benchmark needs a message: --messages 1 or more");
    ensure!(arguments.repeats > 0, "a comparison needs a run: --repeats 1 or more");
    if let Some(core) = arguments.child {
        return run::child::<P>(arguments, core);
    }
    report::warn_of_debug_build();
    if arguments.compare {
        return comparison::<P>(arguments);
    }
    let result = run::run::<P>(arguments)?;
    if arguments.json {
        print_json(arguments, arguments.consumers + 1, &result)?;
    }
    Ok(())
}

fn comparison<P: Payload + Pod>(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { messages, capacity, repeats, .. } = *arguments;
    let plan = compare::Plan { messages, capacity, repeats };
    let rows = compare::compare::<P>(&arguments.name, plan, |done| {
        if std::io::stderr().is_terminal() {
            eprintln!("repeat {done} of {repeats} done");
        }
    })?;
    if arguments.json {
        #[derive(Serialize)]
        struct Rows {
            repeats: usize,
            rows: Vec<compare::Row>,
        }
        return print_json(arguments, 2, &Rows { repeats, rows });
    }
    let (size, cores) = (arguments.size, affinity::cores().len());
    println!(
        "{} messages of {size} bytes, capacity {capacity}, {repeats} repeats, 2 threads on {cores} cores",
        report::grouped(messages)
    );
    compare::print(&rows);
    Ok(())
}

fn print_json<R: Serialize>(
    arguments: &Arguments,
    threads: usize,
    result: &R,
) -> anyhow::Result<()> {
    let cores = affinity::cores().len();
    let Arguments { size, capacity, messages, batch, consumers, groups, processes, .. } =
        *arguments;
    let more_threads_than_cores = threads > cores;
    let outcome = Outcome {
        size,
        capacity,
        messages,
        batch,
        consumers,
        groups,
        processes,
        cores,
        more_threads_than_cores,
        result,
    };
    println!("{}", serde_json::to_string_pretty(&outcome)?);
    Ok(())
}

fn throughput(arguments: &Arguments, elapsed: std::time::Duration) -> Throughput {
    let bytes = arguments.messages * arguments.size as u64;
    Throughput { messages: arguments.messages, bytes, elapsed }
}
