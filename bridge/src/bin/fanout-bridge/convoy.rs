//! Several bridges in one process: a thread for each queue, and one that watches them.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bridge::inbound::{self, InOptions};
use bridge::metrics::{Direction, Exporter, Subject};
use bridge::outbound::{self, OutOptions, Outcome};
use bridge::progress::Progress;
use bridge::server::ServerOptions;
use bridge::stop::Stop;
use yardstick::signals::Signals;

use crate::report::Report;

/// What this process is to do.
pub(crate) struct Plan {
    pub(crate) way: Direction,
    pub(crate) server: ServerOptions,
    pub(crate) stream: String,
    pub(crate) metrics: Option<String>,
    pub(crate) quiet: bool,
    pub(crate) carriers: Vec<Carrier>,
}

/// One queue to carry.
pub(crate) struct Carrier {
    /// The queue's name, without its slash.
    pub(crate) name: String,
    pub(crate) work: Work,
}

#[derive(Clone)]
pub(crate) enum Work {
    Out(OutOptions),
    In(InOptions),
}

/// A producer has sent a part of what it wanted to send.
#[derive(Debug, thiserror::Error)]
#[error("the producer of {queue} gave up before it had sent everything{}; what it sent was carried", because(.reason))]
pub(crate) struct GaveUp {
    queue: String,
    reason: String,
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({})", reason.escape_debug()) }
}

/// How often the bridges and the signals are looked at.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) fn run(plan: &Plan, signals: &Signals) -> anyhow::Result<()> {
    // A mistake in the login is told once, and not once for each queue.
    plan.server.check()?;
    let watched: Vec<Subject> = plan.carriers.iter().map(|carrier| plan.subject(carrier)).collect();
    let exporter = match &plan.metrics {
        Some(address) => Some(Exporter::start(address, watched.clone())?),
        None => None,
    };
    let mut report = Report::new(plan, &watched);
    if let Some(exporter) = &exporter {
        report.tell(&format!("figures at http://{}/metrics", exporter.address()));
    }
    let mut convoy =
        Convoy { stop: Stop::new(), running: Vec::new(), first_error: None, gave_up: None };
    for (carrier, subject) in plan.carriers.iter().zip(&watched) {
        if let Err(error) = convoy.start(plan, carrier, subject) {
            convoy.first_error = Some(error);
            convoy.stop.stop();
            break;
        }
    }
    let mut interrupted = None;
    while !convoy.running.is_empty() {
        thread::sleep(LOOK);
        if interrupted.is_none()
            && let Err(signal) = signals.check()
        {
            interrupted = Some(signal);
            convoy.stop.stop();
        }
        report.look();
        convoy.collect(&mut report);
    }
    report.end();
    match (convoy.first_error, interrupted, convoy.gave_up) {
        (Some(error), _, _) => Err(error),
        (None, Some(interrupted), _) => Err(interrupted.into()),
        (None, None, Some(gave_up)) => Err(gave_up.into()),
        (None, None, None) => Ok(()),
    }
}

impl Plan {
    fn subject(&self, carrier: &Carrier) -> Subject {
        Subject {
            queue: carrier.name.clone(),
            direction: self.way,
            stream: self.stream.clone(),
            progress: Arc::new(Progress::new()),
        }
    }
}

type Ended = anyhow::Result<Outcome>;

/// The bridges that run, and what became of the others.
struct Convoy {
    stop: Stop,
    running: Vec<(usize, String, JoinHandle<Ended>)>,
    first_error: Option<anyhow::Error>,
    gave_up: Option<GaveUp>,
}

impl Convoy {
    fn start(&mut self, plan: &Plan, carrier: &Carrier, subject: &Subject) -> anyhow::Result<()> {
        let (server, work, stop) = (plan.server.clone(), carrier.work.clone(), self.stop.clone());
        let progress = Arc::clone(&subject.progress);
        let thread = thread::Builder::new().name(carrier.name.clone());
        let handle = thread.spawn(move || -> Ended {
            Ok(match &work {
                Work::Out(options) => outbound::carry(&server, options, &progress, &stop)?,
                Work::In(options) => inbound::carry(&server, options, &progress, &stop)?,
            })
        });
        let handle = handle.context("cannot start a thread")?;
        self.running.push((self.running.len(), carrier.name.clone(), handle));
        Ok(())
    }

    /// Looks who has ended. The first error ends all others.
    fn collect(&mut self, report: &mut Report<'_>) {
        let several = self.running.len() > 1 || self.first_error.is_some();
        for (at, name, handle) in self.running.extract_if(.., |(_, _, handle)| handle.is_finished())
        {
            let ended = handle.join().unwrap_or_else(|panic| {
                let said = common::panic_message(&*panic).unwrap_or("no reason");
                Err(anyhow!("the bridge of {name} panicked: {said}"))
            });
            match ended {
                Ok(outcome) => {
                    report.ended(at, &outcome);
                    if let Outcome::Aborted { reason } = outcome {
                        self.gave_up.get_or_insert(GaveUp { queue: name, reason });
                    }
                }
                Err(error) => {
                    self.stop.stop();
                    let error = if several { error.context(name) } else { error };
                    self.first_error.get_or_insert(error);
                }
            }
        }
    }
}
