//! `fanout stat`: the state of a queue, or of a server of tasks, once or again and again.

pub(super) mod clients;
mod describe;
mod report;

use std::io::IsTerminal;
use std::thread;
use std::time::Duration;

use clap::Args;
use fanout::QueueName;
use fanout::inspect::observe;
use fanout::records::hosting::{self, HostState};
use fanout::segment::READY_TIMEOUT;
use serde::Serialize;

use self::describe::describe;
use self::report::Report;
use super::place::Place;
use super::print;
use yardstick::signals::Signals;

#[derive(Args)]
#[command(after_help = MEANING)]
pub(crate) struct Arguments {
    /// The queue's name; or the name of a server of tasks, or the path of its socket
    name: Place,
    /// Show it again every half second, until the producer closes, the server ends, or Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print JSON; with --watch, one object a line
    #[arg(long)]
    json: bool,
}

const MEANING: &str = "\
All counts of a ring of records are bytes. A pid is what a process said of
itself; in another container it has another number. Who is dead is asked of the
kernel, which knows it in all containers. \"since\" is for how long a consumer has
had its slot. \"waits for\" is how much room the producer waits for at this moment,
and \"blocks\" marks who is in its way. The epoch counts the producers that have
taken over from one that had died. The identity is a queue's own; a copy of the queue on
another host has the same.

Of a private queue (`pub --private`), the producer's process alone sees its consumers'
pages. So their lags are as of its last look: when it last waited for room, or a second
ago while it waits for input. Whether they are alive is not known here.

Of a server of tasks (`serve`), each client has a line: how many tasks it has issued, and
what became of them. Each is done, failed, waiting to be begun, or in flight. \"oldest\"
is for how long the oldest of those that have no answer has waited.

In JSON, the sequences (first, published, reserved) are strings of decimal
digits: a producer may begin to count anywhere, and many programs read numbers
above 2^53 wrong. All other figures are numbers. Of these only \"sent\" can pass
2^53: after 9 PB of records, or as many messages.";

const EVERY: Duration = Duration::from_millis(500);

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    let place = &arguments.name;
    let Place::Name(name) = place else { return watch_server(arguments, signals) };
    // Only a host that listens is asked what it is.
    let is_hosted =
        matches!(hosting::state(name), Some(HostState::Living | HostState::OtherUser(_)));
    if is_hosted && clients::ask(place)?.is_some() {
        return watch_server(arguments, signals);
    }
    watch_queue(arguments, name, signals)
}

fn watch_server(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    let mut report = clients::of(&arguments.name)?;
    loop {
        let text = match arguments.json {
            true => json(arguments, &report)?,
            false => home(arguments).to_owned() + &clients::describe(&report)?,
        };
        print(&text)?;
        if !arguments.watch {
            return Ok(());
        }
        thread::sleep(EVERY);
        signals.check()?;
        report = match clients::ask(&arguments.name) {
            Ok(Some(report)) => report,
            // It has ended.
            _ => return Ok(()),
        };
    }
}

fn watch_queue(arguments: &Arguments, name: &QueueName, signals: &Signals) -> anyhow::Result<()> {
    let queue = observe(name, READY_TIMEOUT)?;
    loop {
        let snapshot = queue.snapshot();
        let text = match arguments.json {
            true => json(arguments, &Report::new(name, &snapshot))?,
            false => home(arguments).to_owned() + &describe(name, &snapshot)?,
        };
        print(&text)?;
        if !arguments.watch || snapshot.closed {
            return Ok(());
        }
        thread::sleep(EVERY);
        signals.check()?;
    }
}

fn json(arguments: &Arguments, report: &impl Serialize) -> serde_json::Result<String> {
    let text = match arguments.watch {
        true => serde_json::to_string(report),
        false => serde_json::to_string_pretty(report),
    };
    Ok(text? + "\n")
}

/// What has a report replace the report before it.
fn home(arguments: &Arguments) -> &'static str {
    let screen = arguments.watch && std::io::stdout().is_terminal();
    if screen { "\x1b[H\x1b[2J" } else { "" }
}
