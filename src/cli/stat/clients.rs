//! `fanout stat` of a server of tasks: its clients.

use std::fmt::{Error, Write};

use anyhow::anyhow;
use fanout::records::error::RendezvousError;
use fanout::tasks::{ClientInfo, ConnectError, clients};
use serde::Serialize;
use yardstick::report::grouped;

use crate::cli::place::Place;

/// A server's report, for programs.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) name: String,
    /// "tasks".
    pub(crate) kind: &'static str,
    pub(crate) clients: Vec<Row>,
}

/// A client. Each task that it has issued is done, failed, waiting, or in flight.
#[derive(Serialize)]
pub(crate) struct Row {
    client: u64,
    /// As the kernel knows it; 0 if this pid namespace has no number for it.
    pid: u32,
    user: u32,
    shard: u64,
    pub(crate) issued: u64,
    pub(crate) done: u64,
    failed: u64,
    /// Not begun.
    waiting: u64,
    in_flight: u64,
    /// For how many milliseconds the oldest task has had no answer; 0 if there is none.
    oldest_ms: u64,
}

impl From<&ClientInfo> for Row {
    fn from(info: &ClientInfo) -> Self {
        let (waiting, in_flight) = (info.waiting(), info.in_flight());
        Self {
            client: info.client,
            pid: info.pid,
            user: info.uid,
            shard: info.shard,
            issued: info.issued,
            done: info.done(),
            failed: info.failed,
            waiting,
            in_flight,
            oldest_ms: info.oldest,
        }
    }
}

/// Asks the server there; `None` if something else serves there, such as a private queue's host.
pub(crate) fn ask(place: &Place) -> Result<Option<Report>, ConnectError> {
    match clients(place.path()) {
        Ok(all) => {
            let clients = all.iter().map(Row::from).collect();
            Ok(Some(Report { name: place.to_string(), kind: "tasks", clients }))
        }
        Err(ConnectError::Rendezvous(
            RendezvousError::NotAServer { .. } | RendezvousError::PeerClosed { .. },
        )) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same, where nothing else can be meant.
pub(super) fn of(place: &Place) -> anyhow::Result<Report> {
    ask(place)?.ok_or_else(|| {
        anyhow!("what serves at {place} is no server of tasks, expected one: check the path")
    })
}

pub(super) fn describe(report: &Report) -> Result<String, Error> {
    let mut out = String::new();
    let count = report.clients.len();
    writeln!(out, "server    {}, of tasks, clients: {}", report.name, grouped(count as u64))?;
    if count == 0 {
        return Ok(out);
    }
    writeln!(
        out,
        "{:>6}{:>9}{:>7}{:>14}{:>14}{:>9}{:>9}{:>11}{:>12}",
        "client", "pid", "shard", "issued", "done", "failed", "waiting", "in flight", "oldest"
    )?;
    for row in &report.clients {
        let oldest = match row.waiting + row.in_flight {
            0 => "-".to_owned(),
            _ => format!("{} ms", grouped(row.oldest_ms)),
        };
        writeln!(
            out,
            "{:>6}{:>9}{:>7}{:>14}{:>14}{:>9}{:>9}{:>11}{oldest:>12}",
            row.client,
            row.pid,
            row.shard,
            grouped(row.issued),
            grouped(row.done),
            grouped(row.failed),
            grouped(row.waiting),
            grouped(row.in_flight),
        )?;
    }
    Ok(out)
}
