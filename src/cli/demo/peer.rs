//! A consumer process of the demo, as its parent sees it, and the lines that it sends to its
//! parent.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::Context;
use clap::ValueEnum;
use fanout::QueueName;
use yardstick::payload::sum;

use super::{Kind, Packet};

/// A consumer process, as its parent sees it.
pub(super) struct Peer {
    pub(super) kind: Kind,
    pub(super) process: Child,
    state: Arc<Mutex<State>>,
    reader: Option<JoinHandle<()>>,
}

/// A consumer's last report.
#[derive(Clone, Copy, Default)]
pub(super) struct State {
    pub(super) ready: bool,
    pub(super) ended: bool,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) sum: u64,
    pub(super) faults: u64,
    pub(super) lag: u64,
}

impl Peer {
    pub(super) fn spawn(name: &QueueName, kind: Kind) -> anyhow::Result<Self> {
        let argument = kind.to_possible_value().context("a kind has a name")?;
        let mut process = Command::new(std::env::current_exe()?)
            .args(["demo-consumer", name.as_str(), argument.get_name()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a consumer")?;
        let output = process.stdout.take().context("a consumer has no output")?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                *state = State::parse(&line).unwrap_or(*state);
            }
        });
        Ok(Self { kind, process, state, reader: Some(reader) })
    }

    pub(super) fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Unless we are here because of an error, it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl State {
    pub(super) fn print(&self) -> anyhow::Result<()> {
        let Self { ended, received, lost, sum, faults, lag, .. } = self;
        Ok(writeln!(std::io::stdout(), "{ended} {received} {lost} {sum} {faults} {lag}")?)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let ended = words.next()?.parse().ok()?;
        let mut number = || words.next()?.parse().ok();
        let (received, lost, sum, faults) = (number()?, number()?, number()?, number()?);
        Some(Self { ready: true, ended, received, lost, sum, faults, lag: number()? })
    }

    pub(super) fn add(&mut self, messages: &[Packet]) {
        self.received += messages.len() as u64;
        self.sum = self.sum.wrapping_add(sum(messages));
    }
}
