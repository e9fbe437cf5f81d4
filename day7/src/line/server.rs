//! The side that is connected to.

use core::ffi::CStr;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use day3::{JoinOptions, Start};
use day4::ByteMemory;
use day4::reader::Reader;
use day4::rendezvous::packet::{self, Packet};
use day4::rendezvous::socket::{Accepted, Listening, is_welcome};
use day4::rendezvous::{RendezvousError, failed};
use day4::writer::Writer;
use day5::Yield;
use nix::errno::Errno;
use nix::sys::socket::UnixCredentials;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::Timespec;

use super::connection::{Connection, HangsUp};
use super::memory::{Lane, Line, Party, Plan, Which, sealed};
use super::wire::{self, Answer, Hello};

/// How long a client may take to say hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(1);
/// Most clients that have connected and said nothing yet; one more costs the oldest its place.
const MOST_VISITORS: usize = 64;

/// A server's ends of a client's line.
// In this order: who is hung up on finds both rings closed.
#[derive(Debug)]
#[non_exhaustive]
pub struct ServerEnds {
    /// Where the server reads.
    pub requests: Reader<Yield>,
    /// Where it writes.
    pub answers: Writer<Yield>,
    /// The memory of both.
    pub line: Arc<Line>,
    /// Ends the connection with the ends.
    pub hangs_up: HangsUp,
}

impl ServerEnds {
    /// A new line, in an object of this name, with the server's ends of both rings. The object is for the client.
    ///
    /// # Errors
    ///
    /// The call that failed, and what the kernel said.
    pub fn create(
        name: &CStr,
        plan: Plan,
        connection: Arc<Connection>,
    ) -> Result<(OwnedFd, Self), (&'static str, Errno)> {
        let object = sealed(name, plan.total())?;
        let line = Line::map(&object, plan, Party::Server, Arc::clone(&connection))?;
        line.start();
        let lane = |which| Arc::new(Lane::new(&line, which)) as Arc<dyn ByteMemory>;
        let (requests, join) = (lane(Which::Requests), JoinOptions::new());
        // SAFETY: the lane was made for records.
        let requests = unsafe { Reader::<Yield>::from_memory(requests, Start::Oldest, &join) };
        // It is the first consumer of a new ring.
        let requests = requests.map_err(|_| ("registering a consumer", Errno::EAGAIN))?;
        // SAFETY: the server writes the answers, and nobody else does.
        let answers = unsafe { Writer::<Yield>::from_memory(lane(Which::Answers)) };
        Ok((object, Self { requests, answers, line, hangs_up: HangsUp::new(connection) }))
    }
}

/// A client that has connected, and said nothing yet.
#[derive(Debug)]
struct Visitor {
    socket: OwnedFd,
    peer: UnixCredentials,
    since: Instant,
}

/// A client that has said hello.
#[derive(Debug)]
#[non_exhaustive]
pub struct Caller {
    /// Its number, which no other client of this server has had.
    pub id: u64,
    /// The connection to it.
    pub socket: OwnedFd,
    /// Who it is, as the kernel says.
    pub peer: UnixCredentials,
    /// What it said.
    pub hello: Hello,
    /// What it gave.
    pub said: Packet,
}

impl Caller {
    /// Whether it speaks our language, wants to be what is served here, and is a user who is served.
    pub fn is_welcome(&self, roles: &[u32], any_user: bool) -> bool {
        self.hello.version == wire::VERSION
            && roles.contains(&self.hello.role)
            && is_welcome(self.peer.uid(), any_user)
    }

    /// Tells it something; says whether that went.
    pub fn tell(&self, answer: &Answer, descriptors: &[BorrowedFd<'_>]) -> bool {
        packet::send(&self.socket, &answer.encode(), descriptors).is_ok()
    }
}

/// A socket that listens, and who has connected there and said nothing yet. Nothing here waits: a visitor that says
/// nothing costs a descriptor for a second, and nobody else anything.
#[derive(Debug)]
pub struct Visitors {
    listening: Listening,
    set: OwnedFd,
    visitors: HashMap<u64, Visitor>,
    /// What the kernel has told, and was not seen to.
    ready: VecDeque<u64>,
    next: u64,
    turned_away: u64,
}

const LISTENER: u64 = 0;
/// The number of the first client. Those below it are for what is watched beside clients.
const FIRST: u64 = 2;

impl Visitors {
    /// The clients that come to this socket.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn new(listening: Listening) -> std::io::Result<Self> {
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&set, listening.as_fd(), EventData::new_u64(LISTENER), EventFlags::IN)?;
        let (visitors, ready) = (HashMap::new(), VecDeque::new());
        Ok(Self { listening, set, visitors, ready, next: FIRST, turned_away: 0 })
    }

    /// Where they come to, as an absolute path.
    pub fn path(&self) -> &Path {
        self.listening.path()
    }

    /// How long there is until the oldest of them has said nothing for too long; `None` if there is none.
    pub fn time_left(&self) -> Option<Duration> {
        let oldest = self.visitors.values().map(|visitor| visitor.since).min()?;
        Some((oldest + HELLO_TIMEOUT).saturating_duration_since(Instant::now()))
    }

    /// How many were sent away here since the last call, because they said nothing, or nothing sensible.
    pub fn take_turned_away(&mut self) -> u64 {
        std::mem::take(&mut self.turned_away)
    }

    /// The next client that has said hello, if there is one now. Once there is none, the descriptor tells when to ask again.
    ///
    /// # Errors
    ///
    /// [`RendezvousError::System`]: no client is let in now, for want of descriptors for example. Those that wait stay.
    pub fn hear(&mut self) -> Result<Option<Caller>, RendezvousError> {
        self.turn_away_the_silent();
        loop {
            match self.next_event()? {
                None => return Ok(None),
                Some(LISTENER) => self.let_in()?,
                Some(id) => {
                    let Some(visitor) = self.visitors.remove(&id) else { continue };
                    match listen_to(id, visitor) {
                        Some(caller) => {
                            // Its next owner watches it in a set of its own.
                            let _ = epoll::delete(&self.set, &caller.socket);
                            return Ok(Some(caller));
                        }
                        None => self.turned_away += 1,
                    }
                }
            }
        }
    }

    fn next_event(&mut self) -> Result<Option<u64>, RendezvousError> {
        if self.ready.is_empty() {
            let mut events = Vec::with_capacity(64);
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.set, room, Some(&now)) {
                Ok(_) => {}
                // A signal: the next look finds the same.
                Err(rustix::io::Errno::INTR) => return self.next_event(),
                Err(errno) => {
                    let errno = Errno::from_raw(errno.raw_os_error());
                    return Err(failed(self.path(), "epoll_wait", errno));
                }
            }
            self.ready.extend(events.iter().map(|event| event.data.u64()));
        }
        Ok(self.ready.pop_front())
    }

    /// Accepts all clients that have connected.
    fn let_in(&mut self) -> Result<(), RendezvousError> {
        loop {
            let (socket, peer) = match self.listening.accept()? {
                Accepted::Client(socket, peer) => (socket, peer),
                Accepted::Gone => continue,
                Accepted::Nobody => return Ok(()),
            };
            if self.visitors.len() == MOST_VISITORS
                && let Some((&oldest, _)) = self.visitors.iter().min_by_key(|(_, one)| one.since)
            {
                self.visitors.remove(&oldest);
                self.turned_away += 1;
            }
            let id = self.next;
            self.next += 1;
            let flags = EventFlags::IN | EventFlags::RDHUP;
            if epoll::add(&self.set, &socket, EventData::new_u64(id), flags).is_ok() {
                self.visitors.insert(id, Visitor { socket, peer, since: Instant::now() });
            }
        }
    }

    fn turn_away_the_silent(&mut self) {
        let before = self.visitors.len();
        self.visitors.retain(|_, visitor| visitor.since.elapsed() < HELLO_TIMEOUT);
        self.turned_away += (before - self.visitors.len()) as u64;
    }
}

impl AsFd for Visitors {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}

/// Hears a hello. `None` if it is none.
fn listen_to(id: u64, visitor: Visitor) -> Option<Caller> {
    let Visitor { socket, peer, .. } = visitor;
    let said = packet::receive(&socket).ok()?;
    let hello = Hello::decode(&said.bytes)?;
    Some(Caller { id, socket, peer, hello, said })
}
