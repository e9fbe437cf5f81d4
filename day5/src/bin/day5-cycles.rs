//! Two processes that wake each other up, again and again: is a wake-up ever lost?
//!
//! They sleep on the doorbell, and look without being woken only after an hour. So nothing but the
//! other side can wake them, and a lost wake-up would leave both asleep.

use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use common::QueueName;
use day3::ring::{Consumer, Producer};
use day3::{JoinError, Start};
use day5::{Sleep, barrier};
use nix::sys::resource::{UsageWho, getrusage};
use yardstick::report::{self, grouped};

/// Pass a message back and forth between two processes that sleep while they wait
#[derive(Parser)]
struct Arguments {
    /// How often both sides sleep and are woken
    #[arg(long, default_value_t = 100_000)]
    cycles: u64,
    /// Answer, as the second process, on the queues of this name
    #[arg(long, hide = true)]
    answer: Option<String>,
    /// The second process makes its own fences
    #[arg(long)]
    answer_without_membarrier: bool,
}

/// Longer than any run: neither side looks without being woken.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// After this long, a wake-up was lost: nothing here takes a second.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the other process may take to start.
const START: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    report::exit(match &arguments.answer {
        Some(name) => answer(name, arguments.cycles),
        None => ask(&arguments),
    })
}

/// One process's two ends.
struct Ends {
    out: Producer<u64, Sleep>,
    back: Consumer<u64, Sleep>,
}

impl Ends {
    /// Creates the queue that this process writes, and joins the other process's queue as soon as
    /// it is there.
    fn new(own: &str, other: &str) -> anyhow::Result<Self> {
        let out = Producer::<u64, Sleep>::create(own, 4)?.waiting(Sleep::in_slices(FOR_EVER));
        let other: QueueName = other.parse()?;
        let started = Instant::now();
        let back = loop {
            match Consumer::<u64, Sleep>::join(other.clone(), Start::Oldest) {
                Ok(back) => break back.waiting(Sleep::in_slices(FOR_EVER)),
                Err(JoinError::Open(day2::OpenError::NotFound { .. }))
                    if started.elapsed() < START =>
                {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
            }
        };
        let mut ends = Self { out, back };
        ends.out.wait_for_consumers(1, START).context("the other process did not join")?;
        Ok(ends)
    }

    /// Receives the next message, which must have this number.
    fn expect(&mut self, number: u64) -> anyhow::Result<()> {
        let started = Instant::now();
        let found = self.back.recv_timeout(TIMEOUT);
        if started.elapsed() < TIMEOUT {
            let found = found.with_context(|| format!("waiting for message {number}"))?;
            ensure!(found == number, "expected message {number}, found {found}");
            return Ok(());
        }
        // When its timeout has passed, the wait looks once more without being woken.
        match found {
            Ok(_) => bail!("a wake-up was lost: message {number} was there, and nobody woke us"),
            Err(_) => bail!("no message {number} within {TIMEOUT:?}: the other side sleeps"),
        }
    }
}

/// Busy for a time that differs with each message, so that the message arrives before the other side
/// sleeps, while it falls asleep, and after.
fn dawdle(number: u64) {
    let mut moment = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
    if moment < 512 {
        while moment > 0 {
            std::hint::spin_loop();
            moment -= 1;
        }
    }
}

fn answer(name: &str, cycles: u64) -> anyhow::Result<()> {
    let mut ends = Ends::new(&format!("{name}-answer"), &format!("{name}-ask"))?;
    for number in 0..cycles {
        ends.expect(number)?;
        dawdle(!number);
        ends.out.send(number)?;
    }
    // Leaving closes the queue. The last answer has to be read first.
    ends.out.drain(TIMEOUT)?;
    Ok(())
}

/// The other process. It is killed when this is dropped.
struct Answerer(Child);

impl Drop for Answerer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(arguments: &Arguments) -> anyhow::Result<()> {
    report::warn_of_debug_build();
    let cycles = arguments.cycles;
    let name = format!("/day5-cycles-{}", std::process::id());
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--answer", &name, "--cycles", &cycles.to_string()]).stdin(Stdio::null());
    if arguments.answer_without_membarrier {
        command.env("FANOUT_MEMBARRIER", "off");
    }
    let mut answerer = Answerer(command.spawn().context("starting the other process")?);
    let started = Instant::now();
    let mut ends = Ends::new(&format!("{name}-ask"), &format!("{name}-answer"))?;
    for number in 0..cycles {
        ends.out.send(number)?;
        ends.expect(number)?;
        dawdle(number);
    }
    ends.out.drain(TIMEOUT)?;
    let status = answerer.0.wait()?;
    ensure!(status.success(), "the other process failed: {status}");
    let sleeps = |who| getrusage(who).map(|usage| usage.voluntary_context_switches());
    println!(
        "{} cycles in {:.1} s, {} and {} sleeps, fences {}, 0 wake-ups lost",
        grouped(cycles),
        started.elapsed().as_secs_f64(),
        grouped(sleeps(UsageWho::RUSAGE_SELF)?.unsigned_abs()),
        grouped(sleeps(UsageWho::RUSAGE_CHILDREN)?.unsigned_abs()),
        if barrier::is_expedited() { "by membarrier" } else { "of our own" },
    );
    Ok(())
}
