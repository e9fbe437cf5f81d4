//! What a bridge tells on stderr: how it gets on, and what happens to it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use bridge::metrics::{Direction, Subject};
use bridge::outbound::Outcome;
use bridge::progress::{Link, Progress, State};
use common::grouped;

use crate::convoy::Plan;

/// How often a terminal's line is rewritten.
const LIVELY: Duration = Duration::from_secs(1);
/// How often a log gets a line, if there is something new.
const CALM: Duration = Duration::from_secs(10);
/// A wait that is shorter is not worth a line.
const SHORT: Duration = Duration::from_secs(1);

/// Returns to the beginning of a terminal's line, and empties it.
const REWRITE: &str = "\r\x1b[K";
/// A line longer than the terminal is cut, and not wrapped: it could not be rewritten.
const CUT: (&str, &str) = ("\x1b[?7l", "\x1b[?7h");

/// Writes a line to stderr in one piece, because other programs may write there, too. A terminal that is closed is no
/// reason to panic.
pub(crate) fn say(line: &str) {
    write(&format!("{line}\n"));
}

fn write(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

pub(crate) struct Report<'a> {
    plan: &'a Plan,
    quiet: bool,
    is_terminal: bool,
    /// Whether the terminal's last line is one that is rewritten.
    is_open: bool,
    watched: Vec<Watched>,
    told: Instant,
    before: Totals,
}

/// A bridge, and what was last seen of it.
struct Watched {
    subject: Subject,
    link: Link,
    reconnects: u64,
    waits: Wait,
    has_ended: bool,
}

/// A state that holds the bridge up, since when, and whether that was told.
struct Wait {
    state: State,
    since: Instant,
    is_told: bool,
}

/// Sums over all bridges.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    messages: u64,
    bytes: u64,
    lag_messages: u64,
    lag_bytes: u64,
    reconnects: u64,
    lost: u64,
}

impl<'a> Report<'a> {
    pub(crate) fn new(plan: &'a Plan, subjects: &[Subject]) -> Self {
        let now = Instant::now();
        let watched = subjects.iter().map(|subject| Watched {
            subject: subject.clone(),
            link: Link::Never,
            reconnects: 0,
            waits: Wait { state: State::Starting, since: now, is_told: false },
            has_ended: false,
        });
        Self {
            plan,
            quiet: plan.quiet,
            is_terminal: std::io::stderr().is_terminal(),
            is_open: false,
            watched: watched.collect(),
            told: now,
            before: Totals::default(),
        }
    }

    /// Tells an event.
    pub(crate) fn tell(&mut self, line: &str) {
        if self.quiet {
            return;
        }
        let clear = if self.is_open { REWRITE } else { "" };
        self.is_open = false;
        write(&format!("{clear}{line}\n"));
    }

    /// Looks at all bridges, and tells what is new.
    pub(crate) fn look(&mut self) {
        let mut events = Vec::new();
        for watched in &mut self.watched {
            watched.look(self.plan, &mut events);
        }
        for event in events {
            self.tell(&event);
        }
        let (elapsed, pause) = (self.told.elapsed(), if self.is_terminal { LIVELY } else { CALM });
        if self.quiet || elapsed < pause {
            return;
        }
        let now = self.totals();
        if self.is_terminal {
            let line = self.line(&now, elapsed);
            write(&format!("{REWRITE}{}{line}{}", CUT.0, CUT.1));
            self.is_open = true;
        } else if now != self.before {
            say(&self.line(&now, elapsed));
        }
        (self.told, self.before) = (Instant::now(), now);
    }

    /// A bridge has ended.
    pub(crate) fn ended(&mut self, at: usize, outcome: &Outcome) {
        // What happened just before comes first.
        self.look();
        let watched = &mut self.watched[at];
        watched.has_ended = true;
        let (name, progress) = (&watched.subject.queue, &watched.subject.progress);
        let how = match outcome {
            Outcome::Closed => "done",
            Outcome::Aborted { .. } => "the producer gave up",
            Outcome::Stopped => "stopped",
        };
        let line = format!(
            "{name}: {how}, {} carried{}",
            messages(progress.messages.get()),
            losses(progress)
        );
        self.tell(&line);
    }

    /// Nothing more comes.
    pub(crate) fn end(&mut self) {
        if self.is_open {
            self.is_open = false;
            write(REWRITE);
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for Watched { subject: Subject { progress, .. }, .. } in &self.watched {
            totals.messages += progress.messages.get();
            totals.bytes += progress.bytes.get();
            totals.lag_messages += progress.lag_messages.get();
            totals.lag_bytes += progress.lag_bytes.get();
            totals.reconnects += progress.reconnects.get();
            totals.lost += progress.lost.get();
        }
        totals
    }

    fn line(&self, now: &Totals, elapsed: Duration) -> String {
        let (from, to) = match self.plan.way {
            Direction::Out => (self.queues(), self.plan.stream.clone()),
            Direction::In => (self.plan.stream.clone(), self.queues()),
        };
        let per_second =
            |count: u64, before: u64| count.saturating_sub(before) as f64 / elapsed.as_secs_f64();
        let mut line = format!(
            "{from} -> {to}: {} ({}/s, {:.1} MB/s)",
            messages(now.messages),
            grouped(per_second(now.messages, self.before.messages) as u64),
            per_second(now.bytes, self.before.bytes) / 1e6,
        );
        match (now.lag_messages, now.lag_bytes) {
            (0, 0) => line += ", no lag",
            (0, bytes) => line += &format!(", {} bytes to go", grouped(bytes)),
            (left, bytes) => {
                line += &format!(", {} ({} bytes) to go", messages(left), grouped(bytes))
            }
        }
        let ages = self.watched.iter().filter_map(|watched| watched.subject.progress.oldest_age());
        if let Some(age) = ages.max() {
            line += &format!(", oldest unacknowledged {:.3} s", age.as_secs_f64());
        }
        if now.reconnects > 0 {
            line += &format!(", {} reconnects", grouped(now.reconnects));
        }
        if now.lost > 0 {
            line += &format!(", {} lost", messages(now.lost));
        }
        line
    }

    fn queues(&self) -> String {
        match &self.watched[..] {
            [one] => one.subject.queue.clone(),
            several => format!("{} queues", several.len()),
        }
    }
}

fn messages(count: u64) -> String {
    format!("{} {}", grouped(count), if count == 1 { "message" } else { "messages" })
}

fn losses(progress: &Progress) -> String {
    match progress.lost.get() {
        0 => String::new(),
        lost => format!(", {} lost", messages(lost)),
    }
}

impl Watched {
    fn look(&mut self, plan: &Plan, events: &mut Vec<String>) {
        if self.has_ended {
            return;
        }
        let progress = &self.subject.progress;
        let (link, reconnects) = (progress.link(), progress.reconnects.get());
        let (server, name) = (&plan.server, &self.subject.queue);
        let event = match (self.link, link) {
            (Link::Never, Link::Up) => Some(format!("connected to {server}")),
            // A bridge that has ended hangs up: that is no loss.
            (Link::Up | Link::Never, Link::Lost) if progress.state() != State::Ended => {
                Some(format!("lost the server {server}: trying to connect again"))
            }
            (Link::Lost, Link::Up) => Some("connected again".to_owned()),
            (Link::Up, Link::Up) if reconnects != self.reconnects => {
                Some("lost the server for a moment, and connected again".to_owned())
            }
            _ => None,
        };
        (self.link, self.reconnects) = (link, reconnects);
        events.extend(event.map(|event| format!("{name}: {event}")));
        let state = progress.state();
        let event = self.waits.look(state, link, &plan.stream, name);
        events.extend(event.map(|event| format!("{name}: {event}")));
    }
}

impl Wait {
    /// What to say of a state that lasts, and of its end.
    fn look(&mut self, state: State, link: Link, stream: &str, queue: &str) -> Option<String> {
        if state != self.state {
            let (before, was_told) = (self.state, self.is_told);
            *self = Self { state, since: Instant::now(), is_told: false };
            // A bridge that was stopped has waited in vain.
            let is_over = was_told && state != State::Ended;
            return is_over.then(|| over(before, stream, queue)).flatten();
        }
        if self.is_told || self.since.elapsed() < SHORT {
            return None;
        }
        let told = match state {
            State::Starting if link == Link::Up => {
                Some(format!("waiting for the stream {stream}, or for its first message"))
            }
            State::WaitingForConsumers => Some(format!("waiting for the consumers of {queue}")),
            State::WaitingForQueue => Some(format!("no queue {queue} yet: waiting for a producer")),
            State::StreamFull => {
                Some(format!("the stream {stream} is full: waiting until it has room"))
            }
            State::QueueFull => {
                Some(format!("the queue {queue} is full: waiting for its consumers"))
            }
            State::Starting | State::Carrying | State::Ended => None,
        };
        self.is_told = told.is_some();
        told
    }
}

fn over(state: State, stream: &str, queue: &str) -> Option<String> {
    match state {
        State::WaitingForQueue => Some(format!("found the queue {queue}")),
        State::StreamFull => Some(format!("the stream {stream} has room again")),
        State::QueueFull => Some(format!("the queue {queue} has room again")),
        State::WaitingForConsumers => Some("the consumers are there".to_owned()),
        State::Starting | State::Carrying | State::Ended => None,
    }
}
