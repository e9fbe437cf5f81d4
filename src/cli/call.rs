//! `fanout call`: has a server do tasks, and prints its answers.

use std::collections::VecDeque;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use fanout::records::error::RendezvousError;
use fanout::tasks::{
    CallError, Client, ClientOptions, ConnectError, Failed, MOST_OUTSTANDING, NotSubmitted,
    Procedure, Ticket,
};
use fanout::wait::Strategy;

use super::input::{Cut, Input};
use super::output::Output;
use super::place::Place;
use super::serve::LINE;
use super::terminal::{Notice, say, typed};
use super::value::{Trusted, seconds, strategy, trusted};
use yardstick::signals::Signals;

#[derive(Args)]
#[command(after_help = ORDER)]
pub(crate) struct Arguments {
    /// The server's name, or its path
    name: Place,
    /// One task: these words, with spaces between; without any, each line of stdin is a task
    #[arg(value_parser = OsStringValueParser::new().map(|word| word.as_bytes().to_vec()))]
    words: Vec<Word>,
    /// The procedure that is to do it
    #[arg(long, default_value = LINE, value_name = "NAME")]
    procedure: String,
    /// How many tasks may be with the server at once
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = outstanding)]
    outstanding: usize,
    /// Give a task up when it has no answer after this time; it may still be done
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// If the server dies or ends, wait for the next one at that place; tasks that it had are not sent again
    #[arg(long)]
    reconnect: bool,
    /// Fail if there is no server yet, instead of waiting for it
    #[arg(long)]
    no_wait: bool,
    /// Trust also a server of this user, or of any user: it sees what is sent
    #[arg(long, value_name = "USER|any", value_parser = trusted)]
    trust_user: Option<Trusted>,
    /// How to wait for answers
    #[arg(long, default_value_t, value_name = "HOW", value_parser = strategy())]
    wait: Strategy,
}

/// A word of a task, of any bytes.
type Word = Vec<u8>;

const ORDER: &str = "\
Answers are printed in the order of the tasks, a line each. A task that fails prints no
answer, but a line on stderr; the others are done all the same, and the exit code is 1.
If the server dies, this says so and ends, unless it is to --reconnect.";

fn outstanding(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(count) if (1..=MOST_OUTSTANDING).contains(&count) => Ok(count),
        _ => Err(format!("expected 1 to {MOST_OUTSTANDING} tasks")),
    }
}

/// How long a step may take before the command looks at signals.
const SLICE: Duration = Duration::from_millis(50);
/// How long an answer is waited for before we look whether there is more input.
const GLANCE: Duration = Duration::from_millis(10);
/// How often we look for a server that is not there.
const LOOK: Duration = Duration::from_millis(20);
/// No ring has room for a longer line.
const LONGEST: usize = 1 << 30;

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    let server = reach(arguments, signals, !arguments.no_wait)?;
    let mut caller = Caller {
        arguments,
        signals,
        server,
        sent: VecDeque::new(),
        lines: 0,
        failed: 0,
        lost: None,
        stdout: BufWriter::new(Output::new(signals)?),
    };
    let outcome = caller.call_all();
    // What was answered is printed, whatever came then.
    let flushed = caller.stdout.flush();
    outcome?;
    flushed?;
    caller.conclude()
}

/// The client, and the procedure that it has found.
type Reached = (Client, Procedure);

/// Connects to the server; waits until there is one, if it `waits`.
fn reach(arguments: &Arguments, signals: &Signals, waits: bool) -> anyhow::Result<Reached> {
    let (place, mut notice) = (&arguments.name, Notice::new());
    let called = typed(&place.to_string());
    loop {
        // In a thread: a server that stands still would keep us from looking at signals.
        let (path, options) = (place.path(), options(arguments));
        let procedure = arguments.procedure.clone();
        let (send, receive) = mpsc::channel();
        thread::spawn(move || send.send(find(&path, &options, &procedure)));
        let found = loop {
            match receive.recv_timeout(SLICE) {
                Ok(found) => break found,
                Err(RecvTimeoutError::Timeout) => signals.check()?,
                Err(RecvTimeoutError::Disconnected) => bail!("connecting to {place} has panicked"),
            }
            notice
                .still(|| format!("waiting for the server {place}, which is busy or stands still"));
        };
        match found {
            Ok(reached) => return Ok(reached),
            Err(error) if waits && is_not_there(&error) => {}
            Err(error) => return Err(error),
        }
        signals.check()?;
        notice.still(|| format!("waiting for a server, such as `fanout serve {called} -- cat`"));
        thread::sleep(LOOK);
    }
}

fn find(
    path: &std::path::Path,
    options: &ClientOptions,
    procedure: &str,
) -> anyhow::Result<Reached> {
    let client = Client::connect_with(path, options)?;
    let procedure = client.procedure(procedure)?;
    Ok((client, procedure))
}

fn options(arguments: &Arguments) -> ClientOptions {
    // A server whose worker is at work lets nobody in meanwhile.
    let timeout = arguments.timeout.unwrap_or(Duration::MAX);
    let options = ClientOptions::new()
        .outstanding(arguments.outstanding)
        .waiting(arguments.wait)
        .timeout(timeout);
    match arguments.trust_user {
        None => options,
        Some(Trusted::User(user)) => options.trust_user(user),
        Some(Trusted::Any) => options.trust_any_user(),
    }
}

/// Whether there may be a server later.
fn is_not_there(error: &anyhow::Error) -> bool {
    use RendezvousError::{NobodyListens, NotFound, PeerClosed};
    let rendezvous = match error.downcast_ref() {
        Some(ConnectError::Rendezvous(error)) => Some(error),
        _ => None,
    };
    // It has ended while it let us in.
    let has_ended = matches!(
        error.downcast_ref(),
        Some(
            CallError::Failed(Failed::ServerDied)
                | CallError::NotSubmitted(NotSubmitted::ServerDied)
        )
    );
    has_ended
        || matches!(rendezvous, Some(NotFound { .. } | NobodyListens { .. } | PeerClosed { .. }))
}

/// A task that was sent.
struct Sent {
    /// Its number, from 1 on.
    line: u64,
    ticket: Ticket,
    /// When it is given up.
    until: Option<Instant>,
}

struct Caller<'a> {
    arguments: &'a Arguments,
    signals: &'a Signals,
    server: Reached,
    /// In the order of their lines.
    sent: VecDeque<Sent>,
    /// How many tasks there were so far.
    lines: u64,
    failed: u64,
    /// The first and the last task that a server had when it died.
    lost: Option<(u64, u64)>,
    stdout: BufWriter<Output<'a>>,
}

impl Caller<'_> {
    fn call_all(&mut self) -> anyhow::Result<()> {
        if !self.arguments.words.is_empty() {
            self.send(&self.arguments.words.join(&b' '))?;
            return self.settle_all();
        }
        let mut input = Input::open(None, Cut::Lines)?;
        loop {
            while let Some(piece) = input.peek() {
                self.send(piece.bytes)?;
                input.take();
            }
            ensure!(
                input.unfinished() <= LONGEST,
                "line {} has {LONGEST} bytes or more, and a server takes fewer",
                self.lines + 1
            );
            while self.settle_one(Duration::ZERO)? {}
            if self.lost.is_some() {
                return self.settle_all();
            }
            self.stdout.flush()?;
            // Answers are printed when they come, and not when there is more input.
            if !self.sent.is_empty() && !input.is_ready()? {
                self.signals.check()?;
                self.settle_one(GLANCE)?;
                continue;
            }
            if !input.read_more(self.signals, || ())? {
                break;
            }
        }
        while let Some(piece) = input.peek() {
            self.send(piece.bytes)?;
            input.take();
        }
        self.settle_all()
    }

    /// Sends a task, as soon as there is room for it.
    fn send(&mut self, task: &[u8]) -> anyhow::Result<()> {
        self.lines += 1;
        let line = self.lines;
        loop {
            while self.settle_one(Duration::ZERO)? {}
            if self.sent.len() < self.arguments.outstanding {
                let (client, procedure) = &self.server;
                match client.try_submit(*procedure, task, Vec::new(), Vec::new()) {
                    Ok(ticket) => {
                        let now = Instant::now();
                        let until =
                            self.arguments.timeout.and_then(|timeout| now.checked_add(timeout));
                        self.sent.push_back(Sent { line, ticket, until });
                        return Ok(());
                    }
                    Err(error) => match self.refused(line, error.why)? {
                        ControlFlow::Continue(()) => {}
                        ControlFlow::Break(()) => return Ok(()),
                    },
                }
            }
            self.stdout.flush()?;
            self.signals.check()?;
            if self.sent.is_empty() {
                // What was given up is still with the server.
                thread::sleep(GLANCE);
            }
            self.settle_one(SLICE)?;
        }
    }

    /// A task could not be sent: it may be tried again, or has failed.
    fn refused(&mut self, line: u64, why: NotSubmitted) -> anyhow::Result<ControlFlow<()>> {
        match why {
            NotSubmitted::Full { .. } => Ok(ControlFlow::Continue(())),
            NotSubmitted::ServerDied => {
                // What it had is settled first, with the server that had it.
                self.settle_all()?;
                if !self.arguments.reconnect {
                    return Err(self.died());
                }
                self.server = reach(self.arguments, self.signals, true)?;
                Ok(ControlFlow::Continue(()))
            }
            why => {
                self.fail(line, &why.to_string());
                Ok(ControlFlow::Break(()))
            }
        }
    }

    fn settle_all(&mut self) -> anyhow::Result<()> {
        while !self.sent.is_empty() {
            self.signals.check()?;
            if !self.settle_one(GLANCE)? {
                self.stdout.flush()?;
                self.settle_one(SLICE)?;
            }
        }
        match self.lost {
            Some(_) if !self.arguments.reconnect => Err(self.died()),
            _ => Ok(()),
        }
    }

    /// Prints the answer to the oldest task, if it comes within `timeout`; says whether it did.
    fn settle_one(&mut self, timeout: Duration) -> anyhow::Result<bool> {
        let Some(oldest) = self.sent.front_mut() else { return Ok(false) };
        let left = oldest.until.map(|until| until.saturating_duration_since(Instant::now()));
        let is_over = left.is_some_and(|left| left <= timeout);
        let has_answer = oldest.ticket.is_ready()
            || oldest.ticket.wait_timeout(left.map_or(timeout, |left| left.min(timeout)));
        if !has_answer && !is_over {
            return Ok(false);
        }
        let Some(Sent { line, ticket, .. }) = self.sent.pop_front() else { return Ok(false) };
        if !has_answer {
            ticket.cancel();
            let timeout = self.arguments.timeout.unwrap_or_default();
            self.fail(line, &format!("no answer within {timeout:?}; it may still be done"));
            return Ok(true);
        }
        match ticket.wait().result {
            Ok(answer) => {
                self.stdout.write_all(&answer)?;
                self.stdout.write_all(b"\n")?;
            }
            Err(Failed::ServerDied) if !self.arguments.reconnect => {
                let (first, _) = *self.lost.get_or_insert((line, line));
                self.lost = Some((first, line));
            }
            Err(failed) => self.fail(line, &failed.to_string()),
        }
        Ok(true)
    }

    fn fail(&mut self, line: u64, why: &str) {
        self.failed += 1;
        // What a server says may be anything: no control characters on our terminal.
        say(&format!("error: task {line}: {}", why.escape_debug()));
    }

    /// The server has died, and no other is wanted.
    fn died(&self) -> anyhow::Error {
        let what = match self.lost {
            None => "no task was with it".to_owned(),
            Some((first, last)) if first == last => {
                format!("whether task {first} was done is not known")
            }
            Some((first, last)) => {
                format!("whether tasks {first} to {last} were done is not known")
            }
        };
        anyhow!(
            "the server {} has died or ended: {what} (--reconnect waits for the next)",
            self.arguments.name
        )
    }

    fn conclude(self) -> anyhow::Result<()> {
        match (self.failed, self.lines) {
            (0, _) => Ok(()),
            (failed, lines) => bail!("{failed} of {lines} tasks failed"),
        }
    }
}
