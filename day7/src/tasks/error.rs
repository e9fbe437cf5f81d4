//! What can go wrong with tasks: one enum per operation.

use std::path::PathBuf;
use std::time::Duration;

use common::OsError;
use day3::TooLarge;
use day4::rendezvous::{HostError, RendezvousError};

use crate::selector::SelectorError;

pub use crate::line::ConnectError;

use super::arena::Buffer;

/// Why a server was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Its options cannot be had together.
    #[error("{what} is to be {expected}, found {found}: change the options")]
    Options {
        /// Which option.
        what: &'static str,
        /// What it can be.
        expected: &'static str,
        /// What it is.
        found: u64,
    },
    /// Its socket was not made.
    #[error(transparent)]
    Socket(#[from] RendezvousError),
    /// It did not get its name.
    #[error(transparent)]
    Name(#[from] HostError),
    /// A shard got no selector.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The kernel refused something.
    #[error("the server at {} was not made: {call}: {errno}", .path.display())]
    System {
        /// Where it was to listen.
        path: PathBuf,
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        errno: OsError,
    },
    /// The file for the trace was not made.
    #[error("{} was to hold the trace: {source}; choose another file", .path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// Another procedure has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameTaken {
    /// Another procedure has it.
    #[error("a procedure is called {name:?} already: choose another name")]
    Taken {
        /// The name.
        name: String,
    },
    /// It is not a name that can be sent.
    #[error("the name of a procedure has 1 to {most} bytes, found {found}: choose another")]
    Length {
        /// The most bytes of a name.
        most: usize,
        /// How many bytes it has.
        found: usize,
    },
}

/// Why there is no such shard to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// There are not as many.
    #[error("the server has the shards 0 to {last}, asked for {found}: bind it with more")]
    NoSuch {
        /// The last one's number.
        last: usize,
        /// The number that was asked for.
        found: usize,
    },
    /// Another thread has it.
    #[error("shard {found} was given out already: each is for one thread")]
    Taken {
        /// Its number.
        found: usize,
    },
}

/// The arena has no room for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no {len} bytes in one piece are free in the arena of {arena}: drop a buffer, or connect with a larger arena"
)]
#[non_exhaustive]
pub struct ArenaFull {
    /// How many bytes were asked for.
    pub len: usize,
    /// How many bytes the arena has; 0 without one.
    pub arena: u64,
}

/// A buffer does not have these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the buffer has {most} bytes, asked for {len} from byte {offset} on: stay within it")]
#[non_exhaustive]
pub struct OutOfBounds {
    /// The first byte asked for.
    pub offset: usize,
    /// How many were asked for.
    pub len: usize,
    /// How many there are.
    pub most: usize,
}

/// The answer is longer than the server's answers can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an answer has at most {most} bytes, found {len}: use an output, or bind the server with longer answers"
)]
#[non_exhaustive]
pub struct AnswerTooLong {
    /// How long it was to be.
    pub len: usize,
    /// How long it can be.
    pub most: usize,
}

/// Why a task was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// The server did not begin it.
    #[error("the server refused the task: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// The procedure says that it failed.
    #[error("the procedure failed: {reason}")]
    Error {
        /// Why.
        reason: String,
    },
    /// The procedure panicked. The server goes on.
    #[error("the procedure panicked: {message}")]
    Panicked {
        /// With what message.
        message: String,
    },
    /// It was cancelled before it was begun.
    #[error("the task was cancelled before it was begun")]
    Cancelled,
    /// The server ended, died, or has turned this client out. Whether the task was done is not known; it was not done
    /// twice.
    #[error("the server has died or ended with the task in hand: whether it was done is not known")]
    ServerDied,
}

/// Why a task was not issued. Its buffers come back.
#[derive(Debug)]
pub struct SubmitError {
    /// Why.
    pub why: NotSubmitted,
    /// The inputs.
    pub inputs: Vec<Buffer>,
    /// The outputs.
    pub outputs: Vec<Buffer>,
}

impl std::fmt::Display for SubmitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.why.fmt(f)
    }
}

impl std::error::Error for SubmitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.why.source()
    }
}

/// Why a task was not issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotSubmitted {
    /// There is no room for it now, or as many tasks are outstanding as may be.
    #[error("no room for another task, {outstanding} are outstanding: wait for an answer")]
    Full {
        /// How many are outstanding.
        outstanding: usize,
    },
    /// The arguments are longer than a request can be.
    #[error("the arguments do not fit: {0}; use an input")]
    TooLong(#[from] TooLarge),
    /// More buffers than a task can have.
    #[error("a task has at most {most} buffers, found {found}: use fewer, longer ones")]
    TooManyBuffers {
        /// The most.
        most: usize,
        /// How many there were.
        found: usize,
    },
    /// A buffer of another client.
    #[error(
        "a buffer is another client's, expected one of this client's arena: take it from `Client::buffer`"
    )]
    Buffer,
    /// A procedure of another client.
    #[error(
        "the procedure was found by another client: ask this one for it with `Client::procedure`"
    )]
    Procedure,
    /// The server has no such procedure.
    #[error("the server has no procedure called {name:?}: register it there")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// The server has ended or died, and the client does not look for another.
    #[error("the server has ended or died: connect again, or connect with `reconnect`")]
    ServerDied,
    /// The server has ended or died, and no other was found.
    #[error("the server has ended or died, and there is no other yet: {0}")]
    NotReconnected(#[source] Box<ConnectError>),
    /// A procedure of a local server asks its own server.
    #[error(
        "a procedure of a local server cannot ask that server: it would wait for itself; call the function"
    )]
    Nested,
    /// This is the child of a fork, and the client is its parent's.
    #[error("the client belongs to the process that this one was forked from: connect anew")]
    Forked,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// It was not issued.
    #[error(transparent)]
    NotSubmitted(#[from] NotSubmitted),
    /// It was not done.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// There is no answer yet. It may still be done.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}
