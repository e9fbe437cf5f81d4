//! iceoryx2: services in shared memory, between processes or threads, in their lossless configuration:
//! nothing overflows, and a publisher waits until every subscriber has room.
//!
//! It has no batches. A message is loaned, written in place, sent, and read in place. A subscriber
//! polls, or waits for an event that follows each message. A publisher that finds no room yields, and
//! after 10,000 times sleeps, as iceoryx2 itself does. All rows use its `ipc` services. Fan-out between
//! threads also has a row with its `local` services, which stay within one process; there and back they
//! are no faster.

#[cfg(feature = "iceoryx2")]
mod services;
#[cfg(feature = "iceoryx2")]
mod tasks;

use super::Contender;
use crate::crew::Place;
use crate::question::{Question, Rest};

const NAME: &str = "iceoryx2 0.10";

/// The kind of service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Between processes, or between threads that do not know that they share a process.
    Ipc,
    /// Between threads of one process.
    Local,
}

/// The messaging pattern.
#[derive(Clone, Copy)]
enum Pattern {
    /// Slices of bytes, one way.
    Slices,
    /// Messages of one type, to all subscribers.
    Broadcast,
    /// Slices of bytes both ways.
    BothWays,
    /// Slices of bytes both ways, and an event after each.
    Events,
    /// Requests and responses.
    RequestResponse,
    /// Messages of one type, from many publishers to one subscriber.
    Merge,
    /// Requests and responses of one type, so many at a time; with events, or without.
    Tasks {
        /// How many requests are out.
        outstanding: usize,
        /// Whether a side that has nothing to do waits for an event.
        sleeps: bool,
    },
}

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let mut rows = Vec::new();
    let mut row = |pattern, mode, scope, sides| {
        rows.push(contender(question, (pattern, mode), scope, sides));
    };
    match question {
        Question::Request { place, .. } => {
            row(Pattern::BothWays, "pub/sub both ways, polling", Scope::Ipc, (place, 2));
            row(Pattern::RequestResponse, "request_response, polling", Scope::Ipc, (place, 2));
            row(Pattern::Events, "pub/sub + event", Scope::Ipc, (place, 2));
        }
        Question::OneWay(_) => {
            row(Pattern::Slices, "loan_slice_uninit", Scope::Ipc, (Place::Processes, 2));
        }
        Question::FanOut(consumers) => {
            for (scope, place) in [
                (Scope::Ipc, Place::Threads),
                (Scope::Local, Place::Threads),
                (Scope::Ipc, Place::Processes),
            ] {
                row(Pattern::Broadcast, "loan_uninit", scope, (place, consumers + 1));
            }
        }
        Question::Sharing(_) | Question::Queues(_) => {}
        Question::ManyToOne(producers) => {
            let sides = (Place::Threads, producers + 1);
            row(Pattern::Merge, "pub/sub, a publisher each", Scope::Ipc, sides);
            row(Pattern::Merge, "pub/sub, a publisher each", Scope::Local, sides);
        }
        Question::Task { place, outstanding, rest } => {
            let (sleeps, mode) = match rest {
                Rest::Spinning => (false, "request_response, polling"),
                Rest::Sleeping => (true, "request_response + event"),
            };
            row(Pattern::Tasks { outstanding, sleeps }, mode, Scope::Ipc, (place, 2));
        }
    }
    rows
}

fn contender(
    question: Question,
    (pattern, mode): (Pattern, &str),
    scope: Scope,
    sides: (Place, usize),
) -> Contender {
    let mode = match scope {
        Scope::Ipc => mode.to_owned(),
        Scope::Local => format!("local, {mode}"),
    };
    #[cfg(feature = "iceoryx2")]
    return Contender::rival(question, (NAME, mode), sides, move |job| {
        services::build(job, pattern, scope, sides.1)
    });
    #[cfg(not(feature = "iceoryx2"))]
    {
        let _ = (pattern, sides);
        Contender::missing(question, (NAME, mode), "not compiled: cargo feature iceoryx2 is off")
    }
}
