//! The memory wheel: messages of random size from one process to another, through the ring of records
//! with spinning and with sleeping sides, and through a socket. Beside them stand the limits of this
//! machine.

use std::io::Write;
use std::os::fd::RawFd;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;
use day4::record_len;
use serde::Serialize;
use yardstick::bytes::{FIRST, Lengths, Touch};
use yardstick::progress::bar;
use yardstick::{affinity, report};

mod lap;
mod ring;
mod sleeper;
mod socket;
mod wheel;

use wheel::{Load, Mode, Party, Row};

/// Day 4's benchmark: a million messages of 0 to 32767 bytes between two processes, every byte written
/// in place and verified, unless told otherwise.
#[derive(Parser, Clone)]
struct Arguments {
    /// Messages to move in each run
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Bytes in the longest message; lengths are uniform from 0 to this
    #[arg(long, default_value_t = 32_767)]
    most: usize,
    /// Bytes in every message, instead of random lengths
    #[arg(long, conflicts_with = "most")]
    size: Option<usize>,
    /// Where random lengths begin: the same seed makes the same messages
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Bytes that the ring holds: a power of two from 4096
    #[arg(long, default_value_t = 4 << 20)]
    capacity: u64,
    /// Bytes of ring that the sender makes visible together, in whole messages; 0: each by itself
    #[arg(long, default_value_t = 0)]
    batch: usize,
    /// How often each mode runs
    #[arg(long, default_value_t = 7)]
    repeats: usize,
    /// Write and read the first 16 bytes of each message only
    #[arg(long)]
    touch_first: bool,
    /// Run only the modes whose name has this in it
    #[arg(long, default_value = "")]
    only: String,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// Take part in a run of this mode, as a child process
    #[arg(long, hide = true, requires = "party")]
    part: Option<Mode>,
    /// The party in that run
    #[arg(long, hide = true)]
    party: Option<Party>,
    /// A descriptor inherited for it
    #[arg(long, hide = true)]
    descriptor: Vec<RawFd>,
    /// Where the sender's ring is found
    #[arg(long, hide = true, default_value = "")]
    at: String,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Outcome<'a> {
    messages: u64,
    total_bytes: u64,
    most: usize,
    fixed_size: bool,
    seed: u64,
    capacity: u64,
    batch: usize,
    touch_first: bool,
    repeats: usize,
    cores: usize,
    more_processes_than_cores: bool,
    socket_buffer: usize,
    rows: &'a [Row],
}

fn main() -> ExitCode {
    report::exit(dispatch(&Arguments::parse()))
}

fn dispatch(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { messages, capacity, repeats, .. } = *arguments;
    ensure!(messages > 0, "a benchmark needs a message: --messages 1 or more");
    ensure!(repeats > 0, "a benchmark needs a run: --repeats 1 or more");
    ensure!(
        capacity.is_power_of_two() && (4096..=1 << 40).contains(&capacity),
        "a ring's capacity is a power of two from 4096 bytes to 1 TiB, found {capacity}: \
         change --capacity"
    );
    let most = arguments.size.unwrap_or(arguments.most);
    ensure!(
        record_len(most) as u64 <= capacity,
        "a message of {most} bytes takes {} bytes of a ring, which holds {capacity}: \
         choose a larger --capacity",
        record_len(most)
    );
    ensure!(
        arguments.batch as u64 <= capacity,
        "a batch of {} bytes does not fit into a ring of {capacity}: choose a smaller --batch",
        arguments.batch
    );
    let load = load(arguments);
    match (arguments.part, arguments.party) {
        (Some(mode), Some(party)) => {
            let Arguments { descriptor, at, .. } = arguments;
            lap::run(|| wheel::work(mode, party, &load, descriptor, at))
        }
        _ => benchmark(arguments, load),
    }
}

fn load(arguments: &Arguments) -> Load {
    let Arguments { messages, most, seed, capacity, .. } = *arguments;
    let lengths = match arguments.size {
        Some(size) => Lengths::fixed(size),
        None => Lengths::uniform(seed, most),
    };
    let bytes = lengths.clone().total(messages);
    let touch = if arguments.touch_first { Touch::First } else { Touch::All };
    // It is given back in quarters, as the hand-over does it.
    let release = (capacity / 4) as usize;
    let batch = arguments.batch;
    Load { messages, lengths, bytes, touch, capacity, batch, release }
}

fn benchmark(arguments: &Arguments, load: Load) -> anyhow::Result<()> {
    let Arguments { seed, repeats, .. } = *arguments;
    let modes: Vec<Mode> =
        Mode::ALL.into_iter().filter(|mode| mode.label().contains(&arguments.only)).collect();
    ensure!(
        !modes.is_empty(),
        "no mode has {:?} in its name: --only spin, sleep, seqpacket, memcpy or hand-over",
        arguments.only
    );
    report::warn_of_debug_build();
    let cores = affinity::cores().len();
    let socket_buffer = socket::room(&socket::pair(load.capacity as usize)?.0)?;
    if !arguments.json {
        announce(arguments, &load, cores, socket_buffer)?;
    }
    let bar = bar(repeats * modes.len());
    let rows = wheel::turn(&modes, &load, repeats, &passed_on(arguments), |mode| {
        bar.set_message(mode.label());
        bar.inc(1);
    });
    bar.finish_and_clear();
    let rows = rows?;
    if !arguments.json {
        wheel::print(&rows);
        return Ok(());
    }
    let outcome = Outcome {
        messages: load.messages,
        total_bytes: load.bytes,
        most: load.lengths.most(),
        fixed_size: arguments.size.is_some(),
        seed,
        capacity: load.capacity,
        batch: load.batch,
        touch_first: arguments.touch_first,
        repeats,
        cores,
        more_processes_than_cores: cores < 2,
        socket_buffer,
        rows: &rows,
    };
    println!("{}", serde_json::to_string_pretty(&outcome)?);
    Ok(())
}

/// Says what is about to be moved.
fn announce(
    arguments: &Arguments,
    load: &Load,
    cores: usize,
    socket_buffer: usize,
) -> anyhow::Result<()> {
    let grouped = report::grouped;
    let lengths = match arguments.size {
        Some(size) => format!("{size} bytes each"),
        None => format!("0 to {} bytes, seed {}", load.lengths.most(), arguments.seed),
    };
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{} bytes in {} messages of {lengths}",
        grouped(load.bytes),
        grouped(load.messages)
    )?;
    let touch = match load.touch {
        Touch::All => "every byte is written and verified".to_owned(),
        Touch::First => format!("only the first {FIRST} bytes of a message are touched"),
    };
    writeln!(
        out,
        "ring of {} bytes, socket buffer of {}, {} repeats, 2 processes on {cores} cores{}; {touch}",
        grouped(load.capacity),
        grouped(socket_buffer as u64),
        arguments.repeats,
        if cores < 2 { " (more processes than cores: they take turns)" } else { "" },
    )?;
    Ok(out.flush()?)
}

/// The arguments that the processes of a run get, too.
fn passed_on(arguments: &Arguments) -> Vec<String> {
    let Arguments { messages, most, size, seed, capacity, batch, touch_first, .. } = arguments;
    let mut all = vec![
        format!("--messages={messages}"),
        format!("--seed={seed}"),
        format!("--capacity={capacity}"),
        format!("--batch={batch}"),
    ];
    all.push(match size {
        Some(size) => format!("--size={size}"),
        None => format!("--most={most}"),
    });
    if *touch_first {
        all.push("--touch-first".to_owned());
    }
    all
}
