//! The questions to the contenders. Contenders that answer the same question are compared.

use core::fmt;

use serde::Serialize;
use yardstick::bytes::Lengths;

use crate::crew::Place;

/// One question, one part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// There and back, with one request outstanding; the same number of bytes each way.
    Request {
        /// The bytes of a request, and of an answer.
        bytes: usize,
        /// Where client and server are.
        place: Place,
    },
    /// One producer, one consumer in another process.
    OneWay(Size),
    /// One producer; each of several consumers gets all messages, which have 64 bytes.
    FanOut(usize),
    /// One producer; several consumers share the messages, which have 64 bytes.
    Sharing(usize),
    /// So many producers, threads as the consumer is; one consumer gets all messages, which have 64
    /// bytes.
    ManyToOne(usize),
    /// So many queues from one thread to another, and one message of 64 bytes at a time, with an answer.
    Queues(usize),
    /// Requests of 64 bytes, each with an answer of 64 bytes that depends on it.
    Task {
        /// Where client and server are.
        place: Place,
        /// How many requests wait for their answers at any time.
        outstanding: usize,
        /// What a side does that has nothing to do.
        rest: Rest,
    },
}

/// What a side does that has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It looks again and again.
    Spinning,
    /// It sleeps in the kernel, at once or after some looks.
    Sleeping,
}

/// How long messages are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// All have the same length.
    Fixed(usize),
    /// Random lengths, from 0 to this.
    UpTo(usize),
}

impl Size {
    /// The lengths themselves, the same for every run.
    pub fn lengths(self) -> Lengths {
        match self {
            Self::Fixed(size) => Lengths::fixed(size),
            Self::UpTo(most) => Lengths::uniform(1, most),
        }
    }

    /// The longest length.
    pub fn most(self) -> usize {
        let (Self::Fixed(most) | Self::UpTo(most)) = self;
        most
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = |bytes: usize| match bytes {
            0..1024 => format!("{bytes} B"),
            _ => format!("{} KiB", bytes / 1024),
        };
        match *self {
            Self::Fixed(size) => write!(f, "{}", unit(size)),
            Self::UpTo(most) => write!(f, "random 0 to {}", unit(most)),
        }
    }
}

/// What is counted per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A request and its answer.
    RoundTrips,
    /// A request and its answer, where it matters what the answer costs the server.
    Tasks,
    /// Messages that every consumer received, or that all consumers together received.
    Messages,
}

impl Question {
    /// All of them, in the order of the table.
    pub fn all() -> Vec<Self> {
        let requests = [Place::Threads, Place::Processes]
            .into_iter()
            .flat_map(|place| [19, 64].map(|bytes| Self::Request { bytes, place }));
        let sizes = [8, 64, 1 << 10, 64 << 10].map(Size::Fixed);
        let sizes = sizes.into_iter().chain([Size::UpTo(32 << 10)]);
        let places = [Place::Threads, Place::Processes].into_iter();
        let tasks = places.flat_map(|place| {
            [1, 64].into_iter().flat_map(move |outstanding| {
                [Rest::Spinning, Rest::Sleeping].map(|rest| Self::Task { place, outstanding, rest })
            })
        });
        requests
            .chain(sizes.map(Self::OneWay))
            .chain([1, 2, 3, 7].map(Self::FanOut))
            .chain([1, 2, 4].map(Self::Sharing))
            .chain([1, 2, 4, 16, 64].map(Self::ManyToOne))
            .chain([Self::Queues(64)])
            .chain(tasks)
            .collect()
    }

    /// Whether `--quick` asks this question.
    pub fn quick(self) -> bool {
        !matches!(
            self,
            Self::Request { bytes: 19, .. }
                | Self::OneWay(Size::Fixed(8 | 1024))
                | Self::FanOut(2 | 7)
                | Self::Sharing(1)
                | Self::ManyToOne(1 | 2 | 16 | 64)
                | Self::Task { place: Place::Threads, .. }
                | Self::Task { outstanding: 64, rest: Rest::Sleeping, .. }
        )
    }

    /// The chapter of the report that the question belongs to.
    pub fn chapter(self) -> &'static str {
        match self {
            Self::Request { .. } => "Request and response",
            Self::OneWay(_) => "One way",
            Self::FanOut(_) => "Fan-out",
            Self::Sharing(_) => "Work sharing",
            Self::ManyToOne(_) | Self::Queues(_) => "Many to one",
            Self::Task { .. } => "Tasks",
        }
    }

    /// The lengths of its messages.
    pub fn size(self) -> Size {
        match self {
            Self::Request { bytes, .. } => Size::Fixed(bytes),
            Self::OneWay(size) => size,
            Self::FanOut(_)
            | Self::Sharing(_)
            | Self::ManyToOne(_)
            | Self::Queues(_)
            | Self::Task { .. } => Size::Fixed(size_of::<crate::Packet>()),
        }
    }

    /// What is counted per second.
    pub fn unit(self) -> Unit {
        match self {
            Self::Request { .. } => Unit::RoundTrips,
            Self::Queues(_) | Self::Task { .. } => Unit::Tasks,
            Self::OneWay(_) | Self::FanOut(_) | Self::Sharing(_) | Self::ManyToOne(_) => {
                Unit::Messages
            }
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let consumers =
            |n: usize| if n == 1 { "1 consumer".into() } else { format!("each of {n}") };
        match *self {
            Self::Request { bytes, place: Place::Threads } => {
                write!(f, "request and response, {bytes} bytes each way, two threads")
            }
            Self::Request { bytes, place: Place::Processes } => {
                write!(f, "request and response, {bytes} bytes each way, two processes")
            }
            Self::OneWay(size) => write!(f, "one way, {size}, two processes"),
            Self::FanOut(n) => write!(f, "fan-out, 64 B, every message to {}", consumers(n)),
            Self::Sharing(n) => write!(f, "work sharing, 64 B, each message to one of {n}"),
            Self::ManyToOne(n) => {
                let producers = if n == 1 { "producer" } else { "producers" };
                write!(f, "many-to-one, 64 B, {n} {producers} to one consumer")
            }
            Self::Queues(n) => {
                write!(f, "many-to-one, 64 B, {n} queues, one message at a time, with its answer")
            }
            Self::Task { place, outstanding, rest } => {
                let sides = match place {
                    Place::Threads => "two threads",
                    Place::Processes => "two processes",
                };
                let rest = match rest {
                    Rest::Spinning => "spinning",
                    Rest::Sleeping => "sleeping",
                };
                write!(f, "task, 64 B each way, {sides}, {outstanding} outstanding, {rest}")
            }
        }
    }
}
