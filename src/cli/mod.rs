//! What the command `fanout` does: one module per subcommand.

mod bridge;
mod call;
mod clean;
mod column;
mod completions;
mod demo;
mod evict;
mod forget;
mod input;
mod laggard;
mod list;
mod output;
mod place;
mod publish;
mod remove;
mod serve;
mod stat;
mod subscribe;
mod succession;
mod terminal;
mod topic;
mod value;

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use self::subscribe::GaveUp;
use yardstick::signals::{Interrupted, Signals};

/// A shared-memory queue with one producer and many consumers
#[derive(Parser)]
#[command(name = "fanout", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Names work with and without their leading slash.

Exit codes:
    0  done; also when the reader of our output has gone
    1  an error, told in one line on stderr
    2  the command line is wrong
    3  sub: the producer gave up before it had sent everything; what it sent was written
  129  the terminal was closed (SIGHUP)
  130  interrupted (SIGINT, Ctrl-C)
  131  quit (SIGQUIT, Ctrl-\\)
  143  terminated (SIGTERM)
After a signal, too, a consumer frees its slot, and the producer removes its queue; unless
everything was sent, it tells its consumers that it gave up, and why.";

/// The exit code if the producer gave up.
const GAVE_UP: u8 = 3;

/// The kind of a message that is written out unchanged.
const BYTES: u16 = 0;
/// The kind of a message that is a line without its newline.
const LINE: u16 = 1;

#[derive(Subcommand)]
enum Command {
    /// Run a producer and three consumer processes, one of them a tap, and prove what arrived
    Demo(demo::Arguments),
    /// Create a queue and send what comes from stdin, or is in a file: lines, or chunks of bytes
    Pub(publish::Arguments),
    /// Receive messages and write them to stdout: lines as lines, chunks as they are
    Sub(subscribe::Arguments),
    /// Publish under names, subscribe with patterns; as many publishers as there are
    Topic(topic::Arguments),
    /// List the queues of this host, and the servers of tasks
    Ls(list::Arguments),
    /// Show a queue: what its producer does, who is attached, who lags, who blocks the producer;
    /// or the clients of a server of tasks
    Stat(stat::Arguments),
    /// Free the slot of a dead consumer, or with --force of one that lives
    Evict(evict::Arguments),
    /// Forget the place of a group that has no member, so that the producer no longer waits for it
    Forget(forget::Arguments),
    /// Remove a queue that its producer has left behind
    Rm(remove::Arguments),
    /// Remove all queues that nobody has open
    Clean(clean::Arguments),
    /// Serve tasks: a line that a client sends goes to a worker process, whose next line is the answer
    Serve(serve::Arguments),
    /// Have a server do tasks, each a line of stdin, and print its answers
    Call(call::Arguments),
    /// Carry a queue to other hosts, over NATS JetStream: `fanout bridge --help` has the rest
    Bridge(bridge::Arguments),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Be one of the demo's consumers
    #[command(hide = true)]
    DemoConsumer(demo::ConsumerArguments),
}

pub(crate) fn main() -> ExitCode {
    let outcome = run(Arguments::parse().command);
    if let Err(error) = &outcome {
        if let Some(interrupted) = interruption(error) {
            return ExitCode::from(interrupted.exit_code());
        }
        if is_broken_pipe(error) {
            return ExitCode::SUCCESS;
        }
        terminal::say(&format!("error: {error:#}"));
        let gave_up = error.downcast_ref::<GaveUp>().is_some();
        return if gave_up { ExitCode::from(GAVE_UP) } else { ExitCode::FAILURE };
    }
    ExitCode::SUCCESS
}

fn run(command: Command) -> anyhow::Result<()> {
    let signals = Signals::catch()?;
    match command {
        Command::Demo(arguments) => demo::run(&arguments, &signals),
        Command::DemoConsumer(arguments) => demo::consume(&arguments),
        Command::Pub(arguments) => publish::run(&arguments, &signals),
        Command::Sub(arguments) => subscribe::run(&arguments, &signals),
        Command::Topic(arguments) => topic::run(&arguments, &signals),
        Command::Ls(arguments) => list::run(&arguments),
        Command::Stat(arguments) => stat::run(&arguments, &signals),
        Command::Evict(arguments) => evict::run(&arguments, &signals),
        Command::Forget(arguments) => forget::run(&arguments),
        Command::Rm(arguments) => remove::run(&arguments),
        Command::Clean(arguments) => clean::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments, &signals),
        Command::Call(arguments) => call::run(&arguments, &signals),
        Command::Bridge(arguments) => bridge::run(&arguments, &signals),
        Command::Completions { shell } => completions::run(shell),
    }
}

/// Prints to stdout. Unlike with `print!`, a reader that has gone is an error, not a panic.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(_) if terminal::hung_up(stdout.as_fd()) => Err(Interrupted::hung_up().into()),
        outcome => Ok(outcome?),
    }
}

fn interruption(error: &anyhow::Error) -> Option<&Interrupted> {
    let inside = || error.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref();
    error.downcast_ref().or_else(inside)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
