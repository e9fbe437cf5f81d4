//! Echo among thousands of clients that do nothing, and what one of those costs.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::Effort;
use crate::client::Clients;
use crate::echo::{BUSY, BY_HAND, OURS, ours_with, peer, sample};
use crate::server::Server;
use crate::table::{Asked, Measure, Table};
use crate::turns::{Contender, Turn, interleaved};

/// How long a server warms up before its memory is looked at.
const WARM: Duration = Duration::from_millis(100);

type Start = fn(&Effort) -> anyhow::Result<Server>;

/// The servers, each of which stands here twice: with idle clients and without.
const SERVERS: [(&str, Start); 3] = [
    (OURS, |effort| ours_with(effort, "none")),
    (BY_HAND, |effort| peer(effort, "mio")),
    ("tokio", |effort| peer(effort, "tokio")),
];

pub(crate) fn measure(effort: &Effort) -> anyhow::Result<Table> {
    let mut contenders = Vec::new();
    let mut memory = Vec::new();
    for (name, start) in SERVERS {
        let alone = start(effort).and_then(|server| busy(server, None));
        let among = start(effort).and_then(|server| crowded(effort, server));
        let (among, each) = match among {
            Ok((turn, each)) => (Ok(turn), Some(each)),
            Err(error) => (Err(error), None),
        };
        contenders.push(Contender::new(format!("{name}, among idle"), among));
        contenders.push(Contender::new(format!("{name}, without"), alone));
        memory.push((name, each));
    }
    let outcomes = interleaved(effort, contenders);
    let title = format!("idle: echo, {BUSY} busy clients among {} idle ones", effort.idle);
    let mut table = Table::new(title, "lines", &outcomes);
    for (name, _) in SERVERS {
        let asked = |least| if name == OURS { Asked::AtLeast(least) } else { Asked::Reported };
        let pair = (format!("{name}, among idle"), format!("{name}, without"));
        let pair = (pair.0.as_str(), pair.1.as_str());
        table = table.compare(&outcomes, Measure::Rate, pair, asked(0.95)).compare(
            &outcomes,
            Measure::Cpu,
            pair,
            Asked::Reported,
        );
    }
    for (name, each) in memory {
        let asked = if name == OURS { Asked::AtMost(20.0) } else { Asked::Reported };
        table = table.find(format!("KiB for each idle client: {name}"), asked, each);
    }
    Ok(table.note("KiB: of the server's process, without what the kernel has for a socket"))
}

/// Turns of busy clients.
fn busy(server: Server, holder: Option<Holder>) -> anyhow::Result<Turn> {
    let mut clients = Clients::connect(server.tcp()?, BUSY)?;
    // What ends last stands last.
    let mut held = (holder, server);
    Ok(Box::new(move |time| {
        let sample = sample(&mut clients, &held.1, time)?;
        held.0.as_mut().map_or(Ok(()), Holder::check)?;
        Ok(sample)
    }))
}

/// Turns of busy clients among idle ones, and the KiB that one of the idle costs.
fn crowded(effort: &Effort, server: Server) -> anyhow::Result<(Turn, f64)> {
    ensure!(effort.idle > 0, "no idle clients: --idle");
    Clients::connect(server.tcp()?, BUSY)?.run(WARM)?;
    let before = server.memory()?;
    let holder = Holder::start(server.tcp()?, effort.idle)?;
    let grown = server.memory()?.saturating_sub(before);
    Ok((busy(server, Some(holder))?, grown as f64 / effort.idle as f64))
}

/// A process that holds idle clients: so each process needs descriptors for its own clients only.
struct Holder {
    child: Child,
    said: BufReader<ChildStdout>,
}

/// What a holder says when each of its clients has had an answer.
const ANSWERED: &str = "answered";

impl Holder {
    fn start(server: SocketAddr, clients: usize) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--hold", &server.to_string(), "--idle", &clients.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = child.stdout.take().context("its output is a pipe")?;
        let mut holder = Self { child, said: BufReader::new(said) };
        holder.wait()?;
        Ok(holder)
    }

    /// All clients are still there: each has another line answered.
    fn check(&mut self) -> anyhow::Result<()> {
        self.child.stdin.as_mut().context("its input is a pipe")?.write_all(b"\n")?;
        self.wait()
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        ensure!(line.trim_end() == ANSWERED, "idle clients had no answer");
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended already, of an error that it has told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Holds idle clients, until nobody asks for them any more. Each has a line answered before it is idle, so that the
/// server has all that it needs for a client, and another one each time when it is asked for.
pub(crate) fn hold(server: SocketAddr, clients: usize) -> anyhow::Result<()> {
    let mut clients = Clients::connect(server, clients)?;
    let mut asked = std::io::stdin().lines();
    loop {
        clients.run(Duration::ZERO)?;
        println!("{ANSWERED}");
        if asked.next().is_none() {
            return Ok(());
        }
    }
}
