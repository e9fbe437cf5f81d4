//! What is asked of the contenders. Those that answer the same question are compared.

use core::fmt;

use serde::Serialize;
use yardstick::bytes::Lengths;

use crate::crew::Place;

/// One question, one part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// There and back, one request outstanding: so many bytes each way.
    Request {
        /// In a request, and in an answer.
        bytes: usize,
        /// Where client and server are.
        place: Place,
    },
    /// One producer, one consumer in another process.
    OneWay(Size),
    /// One producer; every one of so many consumers sees all messages, which have 64 bytes.
    FanOut(usize),
    /// One producer; so many consumers share the messages, which have 64 bytes.
    Sharing(usize),
}

/// How long messages are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// All alike.
    Fixed(usize),
    /// Random, from nothing to so many.
    UpTo(usize),
}

impl Size {
    /// The lengths themselves; the same each time.
    pub fn lengths(self) -> Lengths {
        match self {
            Self::Fixed(size) => Lengths::fixed(size),
            Self::UpTo(most) => Lengths::uniform(1, most),
        }
    }

    /// The longest.
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
    /// Messages that every consumer, or all that share, received.
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
        requests
            .chain(sizes.map(Self::OneWay))
            .chain([1, 2, 3, 7].map(Self::FanOut))
            .chain([1, 2, 4].map(Self::Sharing))
            .collect()
    }

    /// The few that `--quick` asks.
    pub fn quick(self) -> bool {
        !matches!(
            self,
            Self::Request { bytes: 19, .. }
                | Self::OneWay(Size::Fixed(8 | 1024))
                | Self::FanOut(2 | 7)
                | Self::Sharing(1)
        )
    }

    /// The chapter that it belongs to.
    pub fn chapter(self) -> &'static str {
        match self {
            Self::Request { .. } => "Request and response",
            Self::OneWay(_) => "One way",
            Self::FanOut(_) => "Fan-out",
            Self::Sharing(_) => "Work sharing",
        }
    }

    /// Its lengths.
    pub fn size(self) -> Size {
        match self {
            Self::Request { bytes, .. } => Size::Fixed(bytes),
            Self::OneWay(size) => size,
            Self::FanOut(_) | Self::Sharing(_) => Size::Fixed(size_of::<crate::Packet>()),
        }
    }

    /// What is counted.
    pub fn unit(self) -> Unit {
        match self {
            Self::Request { .. } => Unit::RoundTrips,
            Self::OneWay(_) | Self::FanOut(_) | Self::Sharing(_) => Unit::Messages,
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
        }
    }
}
