//! `fanout stat`: the state of a queue, once or again and again.

mod describe;
mod report;

use std::io::IsTerminal;
use std::thread;
use std::time::Duration;

use clap::Args;
use fanout::QueueName;
use fanout::inspect::observe;
use fanout::segment::READY_TIMEOUT;

use self::describe::describe;
use self::report::Report;
use super::print;
use super::signals::Signals;

#[derive(Args)]
#[command(after_help = MEANING)]
pub(crate) struct Arguments {
    /// The queue's name
    name: QueueName,
    /// Show it again every half second, until the producer closes or Ctrl-C
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
taken over from one that had died.

Of a private queue (`pub --private`), the producer's process alone sees its consumers'
pages. So their lags are as of its last look: when it last waited for room, or a second
ago while it waits for input. Whether they are alive is not known here.

In JSON, the sequences (first, published, reserved) are strings of decimal
digits: a producer may begin to count anywhere, and many programs read numbers
above 2^53 wrong. All other figures are numbers. Of these only \"sent\" can pass
2^53: after 9 PB of records, or as many messages.";

const EVERY: Duration = Duration::from_millis(500);

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    let queue = observe(&arguments.name, READY_TIMEOUT)?;
    let screen = std::io::stdout().is_terminal();
    loop {
        let snapshot = queue.snapshot();
        let text = if arguments.json {
            let report = Report::new(&arguments.name, &snapshot);
            let json = if arguments.watch {
                serde_json::to_string(&report)?
            } else {
                serde_json::to_string_pretty(&report)?
            };
            json + "\n"
        } else {
            // With --watch, each report replaces the report before it.
            let home = if arguments.watch && screen { "\x1b[H\x1b[2J" } else { "" };
            format!("{home}{}", describe(&arguments.name, &snapshot)?)
        };
        print(&text)?;
        if !arguments.watch || snapshot.closed {
            return Ok(());
        }
        thread::sleep(EVERY);
        signals.check()?;
    }
}
