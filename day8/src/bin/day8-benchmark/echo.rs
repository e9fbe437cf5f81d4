//! Echo: 64 clients, each with one line outstanding.

use std::time::Duration;

use crate::Effort;
use crate::client::{Clients, LINE};
use crate::server::{Server, ours, serve};
use crate::table::{Asked, Measure, Table};
use crate::turns::{Contender, Sample, Turn, interleaved};

/// Clients that have something to say.
pub(crate) const BUSY: usize = 64;

/// Ours, and the peers.
pub(crate) const OURS: &str = "day8-echo";
pub(crate) const BY_HAND: &str = "mio, by hand";
const TOKIO: &str = "tokio, current_thread";
const MONOIO: &str = "monoio";

pub(crate) fn against_peers(effort: &Effort) -> anyhow::Result<Table> {
    let contenders = vec![
        contender(OURS, ours_with(effort, "none")),
        contender(BY_HAND, peer(effort, "mio")),
        contender(TOKIO, peer(effort, "tokio")),
        contender(MONOIO, peer(effort, "monoio")),
    ];
    let outcomes = interleaved(effort, contenders);
    let title = format!("echo: {BUSY} clients, each with a line of {LINE} bytes outstanding");
    let table = Table::new(title, "lines", &outcomes)
        .compare(&outcomes, Measure::Rate, (OURS, BY_HAND), Asked::AtLeast(0.97))
        .compare(&outcomes, Measure::Rate, (OURS, TOKIO), Asked::AtLeast(1.0))
        .compare(&outcomes, Measure::Cpu, (OURS, BY_HAND), Asked::Reported)
        .compare(&outcomes, Measure::Cpu, (OURS, TOKIO), Asked::Reported)
        .note("each answer is compared with what it has to be, byte for byte");
    Ok(table)
}

pub(crate) fn isolation(effort: &Effort) -> anyhow::Result<Table> {
    let (protected, open) = ("day8-echo, mprotect", "day8-echo, none");
    let contenders = vec![
        contender(protected, ours_with(effort, "mprotect")),
        contender(open, ours_with(effort, "none")),
    ];
    let outcomes = interleaved(effort, contenders);
    let title = format!("isolation: echo, {BUSY} clients");
    Ok(Table::new(title, "lines", &outcomes)
        .compare(&outcomes, Measure::Rate, (protected, open), Asked::AtLeast(0.35))
        .compare(&outcomes, Measure::Cpu, (protected, open), Asked::Reported))
}

/// Our service.
pub(crate) fn ours_with(effort: &Effort, isolation: &str) -> anyhow::Result<Server> {
    let mut command = ours("day8-echo", "day8")?;
    command.args(["--isolation", isolation]);
    serve(effort, command)
}

/// A peer of this name.
pub(crate) fn peer(effort: &Effort, name: &str) -> anyhow::Result<Server> {
    let mut command = ours("day8-peers", "benches")?;
    command.arg(name);
    Server::talking(effort, command)
}

fn contender(name: &str, server: anyhow::Result<Server>) -> Contender {
    Contender::new(name, server.and_then(turn))
}

/// Turns of clients of this server, which stay connected between their turns.
fn turn(server: Server) -> anyhow::Result<Turn> {
    let mut clients = Clients::connect(server.tcp()?, BUSY)?;
    Ok(Box::new(move |time| sample(&mut clients, &server, time)))
}

/// One turn.
pub(crate) fn sample(
    clients: &mut Clients,
    server: &Server,
    time: Duration,
) -> anyhow::Result<Sample> {
    let before = server.cpu()?;
    let (requests, elapsed) = clients.run(time)?;
    Ok(Sample { requests, elapsed, cpu: server.cpu()? - before })
}
