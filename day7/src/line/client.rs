//! The side that connects.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use day2::Trust;
use day3::wait::deadline;
use day3::{JoinOptions, Start};
use day4::ByteMemory;
use day4::reader::Reader;
use day4::rendezvous::RendezvousError;
use day4::rendezvous::packet::{self, Packet};
use day4::rendezvous::socket::dial;
use day4::writer::Writer;
use day5::strategy::{AnyStrategy, Strategy};
use nix::errno::Errno;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::geteuid;

use crate::ready::{Posting, Seat};

use super::connection::Connection;
use super::error::ConnectError;
use super::memory::{Lane, Line, Party, Plan, Which, sealed_len};
use super::wire::{self, Answer, Hello};

/// How a client connects, and waits.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    timeout: Duration,
    trust: Trust,
    waiting: Strategy,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        let timeout = Duration::from_secs(2);
        Self { timeout, trust: Trust::OwnUser, waiting: Strategy::Adaptive }
    }
}

impl ConnectOptions {
    /// A server of its own user, that answers within 2 seconds.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the server may take to answer a connection.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Trusts a server of this user, too.
    #[must_use]
    pub fn trust_user(self, user: u32) -> Self {
        Self { trust: Trust::User(user), ..self }
    }

    /// Trusts a server of any user.
    #[must_use]
    pub fn trust_any_user(self) -> Self {
        Self { trust: Trust::AnyUser, ..self }
    }

    /// How it waits for the server, once it is connected.
    #[must_use]
    pub fn waiting(self, strategy: Strategy) -> Self {
        Self { waiting: strategy, ..self }
    }
}

/// A client's ends of its line. Both ring the client's seat at the server.
// The writer is dropped before the reader: a server that is told of the end finds the ring of requests closed.
#[derive(Debug)]
#[non_exhaustive]
pub struct ClientEnds {
    /// Where the client writes.
    pub requests: Writer<Posting<AnyStrategy>>,
    /// Where it reads.
    pub answers: Reader<Posting<AnyStrategy>>,
    /// The memory of both. While anybody has it, the connection stands.
    pub line: Arc<Line>,
}

impl ClientEnds {
    /// The client's ends of this line.
    pub(crate) fn new(
        line: Arc<Line>,
        seat: Option<Seat>,
        options: &ConnectOptions,
    ) -> Result<Self, String> {
        let lane = |which| Arc::new(Lane::new(&line, which)) as Arc<dyn ByteMemory>;
        let posting = || Posting::with(seat.clone(), options.waiting.start());
        // SAFETY: the client writes the requests, and nobody else does.
        let writer = unsafe { Writer::<AnyStrategy>::from_memory(lane(Which::Requests)) };
        let (join, lane) = (JoinOptions::new(), lane(Which::Answers));
        // SAFETY: the lane is that of a ring of records.
        let answers = unsafe { Reader::<AnyStrategy>::from_memory(lane, Start::Oldest, &join) };
        let answers = answers.map_err(|error| error.to_string())?.waiting(posting());
        Ok(Self { requests: writer.waiting(posting()), answers, line })
    }
}

/// What a server has given to a client.
#[derive(Debug)]
#[non_exhaustive]
pub struct Connected {
    /// What it said.
    pub answer: Answer,
    /// The client's ends.
    pub ends: ClientEnds,
    /// The client's seat, which both ends ring.
    pub seat: Seat,
}

/// Connects to the server at `path`, says hello, and gives it these descriptors.
///
/// # Errors
///
/// [`ConnectError`].
pub fn connect(
    path: &Path,
    options: &ConnectOptions,
    hello: Hello,
    descriptors: &[BorrowedFd<'_>],
) -> Result<Connected, ConnectError> {
    let (socket, received) = ask(path, options, hello, descriptors, 128)?;
    let answer = read(path, hello, &received.bytes)?;
    let (page, board) = match <[_; 2]>::try_from(received.descriptors) {
        Ok([line, board]) => (line, board),
        Err(found) => {
            let (path, found) = (path.to_owned(), format!("{} descriptors", found.len()));
            return Err(ConnectError::Damaged { path, expected: "two descriptors", found });
        }
    };
    let damaged =
        |expected, found: String| ConnectError::Damaged { path: path.to_owned(), expected, found };
    let plan = Plan::new(answer.requests, answer.answers).ok_or_else(|| {
        let found = format!("{} and {} bytes", answer.requests, answer.answers);
        damaged("two rings whose sizes are powers of two", found)
    })?;
    let system = |error| ConnectError::system(path, error);
    let len = sealed_len(&page).map_err(system)?;
    if len.is_none_or(|len| len < plan.total()) {
        let found = len.map_or("one that can be cut short".into(), |len| format!("{len} bytes"));
        return Err(damaged("an object of the size that it says", found));
    }
    let seat = Seat::of_server(board, answer.seat as usize)
        .map_err(|error| damaged("its ready words", error.to_string()))?;
    let connection = Arc::new(Connection::Socket(socket));
    let line = Line::map(&page, plan, Party::Client, connection).map_err(system)?;
    let ends = ClientEnds::new(line, Some(seat.clone()), options)
        .map_err(|why| damaged("a ring with room for one consumer", why))?;
    Ok(Connected { answer, ends, seat })
}

/// Says hello to the server at `path`, and hears its answer, of up to `most` bytes.
pub(crate) fn ask(
    path: &Path,
    options: &ConnectOptions,
    hello: Hello,
    descriptors: &[BorrowedFd<'_>],
    most: usize,
) -> Result<(OwnedFd, Packet), ConnectError> {
    let until: Instant = deadline(options.timeout);
    let timed_out = |expected| {
        let (path, waited) = (path.to_owned(), options.timeout);
        ConnectError::from(RendezvousError::TimedOut { path, expected, waited })
    };
    let Some(socket) = dial(path, until)? else {
        return Err(timed_out("a place in the server's queue"));
    };
    let failed = |call| move |errno| ConnectError::system(path, (call, errno));
    let hung_up = |call| {
        move |errno| match errno {
            Errno::EPIPE | Errno::ECONNRESET => {
                RendezvousError::PeerClosed { path: path.to_owned() }.into()
            }
            errno => ConnectError::system(path, (call, errno)),
        }
    };
    let peer = getsockopt(&socket, PeerCredentials).map_err(failed("getsockopt(SO_PEERCRED)"))?;
    let (expected, found) = (geteuid().as_raw(), peer.uid());
    let name = "/fanout-tasks".parse().expect("a valid name");
    if options.trust.check_user(&name, found).is_err() {
        return Err(ConnectError::User { path: path.to_owned(), expected, found });
    }
    packet::send(&socket, &hello.encode(), descriptors).map_err(hung_up("sendmsg"))?;
    if !packet::readable(&socket, until).map_err(failed("poll"))? {
        return Err(timed_out("an answer"));
    }
    let received = packet::receive_up_to(&socket, most).map_err(hung_up("recvmsg"))?;
    if received.bytes.is_empty() {
        return Err(RendezvousError::PeerClosed { path: path.to_owned() }.into());
    }
    Ok((socket, received))
}

/// What the server has answered, if it has let the client in.
pub(crate) fn read(path: &Path, hello: Hello, bytes: &[u8]) -> Result<Answer, ConnectError> {
    let path = path.to_owned();
    let Some(answer) = Answer::decode(bytes) else {
        let (expected, found) = (kind(hello), format!("\"{}\"", bytes.escape_ascii()));
        return Err(RendezvousError::NotAServer { path, expected, found }.into());
    };
    if answer.version != wire::VERSION {
        let (expected, found) = (wire::VERSION, answer.version);
        return Err(RendezvousError::Version { path, expected, found }.into());
    }
    match answer.status {
        wire::LET_IN => Ok(answer),
        wire::REFUSED => Err(ConnectError::Refused { path, user: geteuid().as_raw() }),
        wire::FULL => Err(ConnectError::Full { path, most: answer.requests }),
        wire::ARENA => {
            Err(ConnectError::Arena { path, bytes: hello.arena, found: answer.requests })
        }
        wire::FAILED => {
            let errno = common::OsError::new(Errno::from_raw(answer.requests as i32));
            Err(ConnectError::Failed { path, errno })
        }
        status => {
            let (expected, found) = ("a status that is known", format!("status {status}"));
            Err(ConnectError::Damaged { path, expected, found })
        }
    }
}

/// Who answers such a client.
fn kind(hello: Hello) -> &'static str {
    if hello.role == wire::STREAM { "a service" } else { "a server of tasks" }
}
