//! Measures how soon a producer goes on when a consumer is killed, and what it costs to ask who is alive.

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use common::QueueName;
use day2::{Mode, Segment};
use day3::ring::{Consumer, Member, Producer};
use day3::{JoinOptions, QueueOptions, Start};
use day5::{AnyStrategy, Strategy};
use day6::{Lease, Role};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use yardstick::report;

/// How soon a producer goes on when a consumer is killed
#[derive(Parser)]
struct Arguments {
    /// How often each measurement is repeated
    #[arg(long, default_value_t = 20)]
    repeats: usize,
    /// Do not give the dead process 256 MiB and 1 GiB of memory
    #[arg(long)]
    small: bool,
    /// Be a consumer of the queue of this name, with --mib of memory
    #[arg(long, hide = true)]
    consumer: Option<QueueName>,
    /// Mebibytes of memory that the consumer has
    #[arg(long, hide = true, default_value_t = 0)]
    mib: usize,
    /// The consumer is a member of a group
    #[arg(long, hide = true)]
    member: bool,
}

/// How long anything here may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Places of the ring.
const CAPACITY: u64 = 8;
/// How often each question is asked.
const QUESTIONS: u32 = 10_000;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    report::exit(match &arguments.consumer {
        Some(name) => stay(name, &arguments),
        None => measure(&arguments),
    })
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    report::warn_of_debug_build();
    println!("from kill -9 to the producer's next message, in ms; {} times", arguments.repeats);
    println!(
        "{:<10} {:>10} {:>6} {:>9} {:>9} {:>9}",
        "dead", "waits by", "MiB", "p50", "p90", "max"
    );
    let sizes: &[usize] = if arguments.small { &[0] } else { &[0, 256, 1024] };
    for &mib in sizes {
        for wait in [Strategy::Yield, Strategy::Adaptive] {
            for is_member in [false, true] {
                let times = samples(arguments, |round| next_message(wait, mib, is_member, round))?;
                let who = if is_member { "member" } else { "consumer" };
                row(&format!("{who:<10} {:>10} {mib:>6}", wait.to_string()), times);
            }
        }
    }
    println!("\nfrom kill -9 until the kernel has let go of the lock, in ms");
    println!("{:<10} {:>10} {:>6} {:>9} {:>9} {:>9}", "", "", "MiB", "p50", "p90", "max");
    for &mib in sizes {
        row(&format!("{:<10} {:>10} {mib:>6}", "", ""), samples(arguments, |_| until_free(mib))?);
    }
    println!("\nasking whether one role is taken, in us, mean of {QUESTIONS}");
    for locks in [1, 64, 1024] {
        println!("{locks:>5} locks on the queue {:>8.2}", question(locks)?);
    }
    Ok(())
}

/// That many samples, in order.
fn samples(
    arguments: &Arguments,
    sample: impl FnMut(usize) -> anyhow::Result<Duration>,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = (0..arguments.repeats.max(1)).map(sample).collect::<Result<Vec<_>, _>>()?;
    times.sort();
    Ok(times)
}

fn row(what: &str, times: Vec<Duration>) {
    let at = |part: usize| 1e3 * times[(times.len() - 1) * part / 100].as_secs_f64();
    println!("{what} {:>9.2} {:>9.2} {:>9.2}", at(50), at(90), at(100));
}

/// A queue that is full, and the process that holds its producer back.
struct Full {
    name: QueueName,
    producer: Producer<u64, AnyStrategy>,
    consumer: Attached,
}

impl Full {
    fn new(wait: Strategy, mib: usize, is_member: bool) -> anyhow::Result<Self> {
        let name: QueueName = format!("/day6-measure-{}", std::process::id()).parse()?;
        let producer = Producer::<u64, AnyStrategy>::create(&name, CAPACITY)?;
        let mut producer = producer.waiting(wait.start());
        let consumer = Attached::start(&name, mib, is_member)?;
        producer.send_batch(&[0; CAPACITY as usize])?;
        Ok(Self { name, producer, consumer })
    }
}

/// How long it takes a producer that is stuck behind a consumer to send a message when that consumer is killed.
fn next_message(
    wait: Strategy,
    mib: usize,
    is_member: bool,
    round: usize,
) -> anyhow::Result<Duration> {
    let Full { mut producer, mut consumer, .. } = Full::new(wait, mib, is_member)?;
    // The producer waits on a thread of its own. A sleeper looks by itself now and then, so the consumer dies after
    // another time in each round.
    let sender = thread::spawn(move || {
        let outcome = producer.send_timeout(1, TIMEOUT);
        (Instant::now(), outcome)
    });
    thread::sleep(Duration::from_millis(50 + 10 * (round as u64 % 10)));
    let killed = Instant::now();
    consumer.0.kill()?;
    let (sent, outcome) = sender.join().ok().context("the producer panicked")?;
    outcome?;
    Ok(sent.saturating_duration_since(killed))
}

/// How long it takes the kernel to let go of a killed consumer's lock.
fn until_free(mib: usize) -> anyhow::Result<Duration> {
    let Full { name, producer: _producer, mut consumer } = Full::new(Strategy::Yield, mib, false)?;
    let segment = Segment::open(&name, Mode::Reader, TIMEOUT)?;
    let killed = Instant::now();
    consumer.0.kill()?;
    while segment.is_leased(Role::Slot(0)) {
        ensure!(killed.elapsed() < TIMEOUT, "the kernel has not let go of the lock");
    }
    Ok(killed.elapsed())
}

/// How long it takes to ask whether one role is taken when so many are, in microseconds.
fn question(locks: u32) -> anyhow::Result<f64> {
    let name: QueueName = format!("/day6-measure-{}", std::process::id()).parse()?;
    allow_descriptors(u64::from(locks) + 64)?;
    let options = QueueOptions::new(CAPACITY).consumers(locks as usize);
    let _producer = Producer::<u64, AnyStrategy>::create_with(&name, &options)?;
    let segment = Segment::open(&name, Mode::Reader, TIMEOUT)?;
    let leases = (0..locks).map(|slot| segment.lease(Role::Slot(slot)));
    let leases = leases.collect::<Result<Vec<Lease>, _>>()?;
    let last = Role::Slot(locks - 1);
    let begun = Instant::now();
    let taken = (0..QUESTIONS).filter(|_| black_box(segment.is_leased(black_box(last)))).count();
    let elapsed = begun.elapsed();
    ensure!(taken == QUESTIONS as usize, "a role was free: {} leases", leases.len());
    Ok(1e6 * elapsed.as_secs_f64() / f64::from(QUESTIONS))
}

/// Each lease is an open file of its own.
fn allow_descriptors(needed: u64) -> anyhow::Result<()> {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if now < needed {
        setrlimit(Resource::RLIMIT_NOFILE, needed.min(most), most)
            .with_context(|| format!("{needed} descriptors are needed, found {most} allowed"))?;
    }
    Ok(())
}

/// Joins, has some memory, and reads nothing: it waits to be killed.
fn stay(name: &QueueName, arguments: &Arguments) -> anyhow::Result<()> {
    let memory = black_box(vec![1u8; arguments.mib << 20]);
    let options = JoinOptions::new();
    if arguments.member {
        let mut member = Member::<u64>::join_with(name, "measured", Start::Oldest, &options)?;
        println!("attached");
        let _batch = member.recv_batch(1)?;
        thread::sleep(TIMEOUT);
    } else {
        let _consumer = Consumer::<u64>::join_with(name, Start::Oldest, &options)?;
        println!("attached");
        thread::sleep(TIMEOUT);
    }
    drop(memory);
    Ok(())
}

/// A consumer process that has joined. It is killed and waited for when this is dropped.
struct Attached(Child);

impl Attached {
    fn start(name: &QueueName, mib: usize, is_member: bool) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--consumer", name.as_str(), "--mib", &mib.to_string()]);
        command.args(is_member.then_some("--member")).stdout(Stdio::piped());
        let mut this = Self(command.spawn()?);
        let output = this.0.stdout.take().context("a pipe was asked for")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "attached\n", "the consumer has not joined: {line}");
        Ok(this)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
