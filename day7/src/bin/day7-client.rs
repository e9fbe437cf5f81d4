//! Has `day7-server` do tasks.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::ensure;
use clap::{Parser, Subcommand};
use day7::tasks::{Buffer, Client, ClientOptions, Procedure, Ticket};
use yardstick::report::{self, grouped};

/// Have tasks done
#[derive(Parser)]
struct Arguments {
    /// Where the server is found
    #[arg(long, default_value = "/tmp/day7-server")]
    path: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Add numbers
    Add {
        /// The numbers
        #[arg(required = true, allow_negative_numbers = true)]
        numbers: Vec<i64>,
    },
    /// Add two rows of numbers, such as 1,2,3 and 10,20,30, which lie in memory that the server sees
    Sum {
        /// One row
        #[arg(value_delimiter = ',', num_args = 1, required = true)]
        left: Vec<u32>,
        /// The other
        #[arg(value_delimiter = ',', num_args = 1, required = true)]
        right: Vec<u32>,
    },
    /// Have so many rows added, many at once, and check each sum
    Many {
        /// How many
        tasks: u64,
        /// How many are outstanding at once
        #[arg(long, default_value_t = 64)]
        outstanding: usize,
    },
    /// Have any procedure done, and print its answer
    Call {
        /// Its name
        procedure: String,
        /// Its arguments
        words: Vec<String>,
    },
}

/// How many bytes the arena has: enough for the buffers of all tasks that are outstanding.
const ARENA: u64 = 1 << 20;
/// How many numbers a row of `many` has.
const ROW: usize = 16;

fn main() -> ExitCode {
    report::exit(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = Client::connect_with(&arguments.path, &ClientOptions::new().arena(ARENA))?;
    match arguments.what {
        What::Add { numbers } => {
            let words: Vec<_> = numbers.iter().map(i64::to_string).collect();
            call(&client, "add", &words)
        }
        What::Call { procedure, words } => call(&client, &procedure, &words),
        What::Sum { left, right } => {
            let sums = issue(&client, client.procedure("sum")?, &left, &right)?.wait();
            sums.result?;
            println!("{:?}", numbers(&sums.outputs[0]));
            Ok(())
        }
        What::Many { tasks, outstanding } => many(&client, tasks, outstanding),
    }
}

/// Issues one task, and waits for its answer.
fn call(client: &Client, procedure: &str, words: &[String]) -> anyhow::Result<()> {
    let procedure = client.procedure(procedure)?;
    let answer = client.call(procedure, words.join(" ").as_bytes())?;
    println!("{}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Issues a sum of two rows. Its ticket has the buffers until the answer comes.
fn issue(client: &Client, sum: Procedure, left: &[u32], right: &[u32]) -> anyhow::Result<Ticket> {
    let row = |numbers: &[u32]| -> anyhow::Result<Buffer> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let mut buffer = client.buffer(bytes.len())?;
        buffer.copy_from_slice(&bytes);
        Ok(buffer)
    };
    let output = client.buffer(size_of_val(left))?;
    Ok(client.submit(sum, &[], vec![row(left)?, row(right)?], vec![output])?)
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|four| four.try_into().map_or(0, u32::from_le_bytes)).collect()
}

/// Keeps many tasks outstanding. The oldest is waited for first, in whatever order they are answered.
fn many(client: &Client, tasks: u64, outstanding: usize) -> anyhow::Result<()> {
    let sum = client.procedure("sum")?;
    let mut tickets = VecDeque::new();
    let started = Instant::now();
    for task in 0..tasks {
        if tickets.len() == outstanding.max(1) {
            check(tickets.pop_front())?;
        }
        let left = [task as u32; ROW];
        let right: [u32; ROW] = std::array::from_fn(|at| at as u32);
        tickets.push_back((task, issue(client, sum, &left, &right)?));
    }
    while !tickets.is_empty() {
        check(tickets.pop_front())?;
    }
    let rate = tasks as f64 / started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    println!("tasks: {tasks}, every sum right; {} a second", grouped(rate as u64));
    Ok(())
}

/// Waits for a task, and compares each number of its sum with what it has to be.
fn check(ticket: Option<(u64, Ticket)>) -> anyhow::Result<()> {
    let Some((task, ticket)) = ticket else { return Ok(()) };
    let completed = ticket.wait();
    completed.result?;
    let found = numbers(&completed.outputs[0]);
    let expected: Vec<u32> = (0..ROW as u32).map(|at| (task as u32).wrapping_add(at)).collect();
    ensure!(found == expected, "task {task}: expected {expected:?}, found {found:?}");
    Ok(())
}
