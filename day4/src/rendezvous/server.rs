//! The side that hands out a ring.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::sync::{Arc, AtomicU64, Ordering};
use day2::DescriptorError;
use day3::Wait;
use day3::wait::deadline;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::UnixCredentials;

use super::Role;
use super::error::{RendezvousError, failed};
use super::packet;
use super::socket::{Accepted, Listening, errno, is_welcome};
use super::wire::{self, Answer, Hello};
use crate::Offer;
use crate::rooms::{Admission, NoAdmission, Request};
use crate::writer::Writer;

/// How long a client may take to say what it wants.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(1);

/// The mode bit of a socket at which a queue is found by its name. Ordinary sockets have no use for it.
pub(crate) const MARK: u32 = 0o1000;

/// Most clients that have connected and said nothing yet; one more costs the oldest its place.
const MOST_VISITORS: usize = 64;

/// How long a server in a thread of its own rests after the kernel refused it something.
const REST: Duration = Duration::from_millis(20);

/// A client that got a ring's descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The client's process, as the kernel knows it; 0 if this pid namespace has no number for it.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// What it wants to be.
    pub role: Role,
}

/// A Unix socket at which strangers ask for a ring.
///
/// Its file has mode 0600 from the first moment, and is removed when the server is dropped, if it is
/// still the server's own. A client has [`HELLO_TIMEOUT`] to say hello. A client that is silent, or
/// talks nonsense, is turned away, and holds up no other.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// # mod fanout { pub use {day3::*, day4 as records}; }
/// use fanout::Start;
/// use fanout::records::rendezvous::{Role, Server, connect};
/// use fanout::records::{Reader, Writer};
///
/// let path = std::env::temp_dir().join(format!("doc-server-{}", std::process::id()));
/// let mut writer = Writer::anonymous(4096)?;
/// let mut server = Server::bind(&path)?;
///
/// let stranger = std::thread::spawn(move || Reader::connect(path, Start::Oldest));
/// let admitted = server.accept(&writer, Duration::from_secs(10))?;
/// assert_eq!(admitted.role, Role::Consumer);
///
/// let mut reader = stranger.join().unwrap()?;
/// writer.send(b"hello, stranger")?;
/// assert_eq!(&*reader.recv()?, b"hello, stranger");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Server {
    any_user: bool,
    tally: Arc<Tally>,
    // Before the visitors: who is hung up on finds nothing there any more.
    listening: Listening,
    visitors: VecDeque<Visitor>,
}

/// What a server counts.
#[derive(Debug, Default)]
struct Tally {
    admitted: AtomicU64,
    turned_away: AtomicU64,
    failed: AtomicU64,
}

/// A client that has connected and not said hello.
#[derive(Debug)]
struct Visitor {
    socket: OwnedFd,
    peer: UnixCredentials,
    since: Instant,
}

impl Server {
    /// Listens at `path`, for processes of this user (and root's).
    ///
    /// # Errors
    ///
    /// [`RendezvousError`]; what was at `path` before is left there, also a dead server's socket.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, RendezvousError> {
        let listening = Listening::bind(path)?;
        let (visitors, tally) = (VecDeque::new(), Arc::default());
        Ok(Self { any_user: false, tally, listening, visitors })
    }

    /// Serves every user of this host from now on, and opens the socket's file to them (mode 0666).
    ///
    /// The ring's own permissions apply all the same: other users can join a ring of mode 0666, and tap a
    /// ring of mode 0644 ([`Writer::anonymous_with`]).
    ///
    /// # Errors
    ///
    /// [`RendezvousError`] if the file's mode cannot be changed, or the file is no longer there.
    pub fn allow_any_user(mut self) -> Result<Self, RendezvousError> {
        self.listening.set_mode(0o666)?;
        self.any_user = true;
        Ok(self)
    }

    /// Marks the socket's file as that of a server at which a queue is found by its name. It listens by now. So a
    /// marked file at which nobody listens is a dead server's.
    pub(crate) fn mark(self) -> Result<Self, RendezvousError> {
        self.listening.set_mode(MARK | if self.any_user { 0o666 } else { 0o600 })?;
        Ok(self)
    }

    /// Where it listens, as an absolute path.
    pub fn path(&self) -> &Path {
        self.listening.path()
    }

    /// How many clients were turned away so far: silent ones, those that talk nonsense or another
    /// version, and those of users or for roles that are not served.
    pub fn turned_away(&self) -> u64 {
        self.tally.turned_away.load(Ordering::Relaxed)
    }

    /// Serves one client with a descriptor of `writer`'s ring, waiting for it up to `timeout`.
    ///
    /// Clients that are turned away meanwhile do not count.
    ///
    /// # Errors
    ///
    /// [`RendezvousError::TimedOut`] if none came, [`RendezvousError::Descriptor`] if one came for
    /// which there was no descriptor (it is told), or what the kernel refused. The server can go on.
    pub fn accept<W: Wait>(
        &mut self,
        writer: &Writer<W>,
        timeout: Duration,
    ) -> Result<Admitted, RendezvousError> {
        let deadline = deadline(timeout);
        let admitted = self.admit(&writer.offer(), Some(deadline), None)?;
        admitted.ok_or_else(|| RendezvousError::TimedOut {
            path: self.listening.path().to_owned(),
            expected: "a client",
            waited: timeout,
        })
    }

    /// Serves all clients that come, in a thread of its own, until the result is dropped.
    ///
    /// # Errors
    ///
    /// [`RendezvousError::System`] if there can be no thread.
    pub fn serve(mut self, offer: Offer) -> Result<Serving, RendezvousError> {
        let (path, tally) = (self.listening.path().to_owned(), Arc::clone(&self.tally));
        let started = || -> io::Result<_> {
            let (stopped, stop) = io::pipe()?;
            let work = move || self.serve_until(&stopped, &offer);
            Ok((stop, thread::Builder::new().name("fanout-serve".into()).spawn(work)?))
        };
        match started() {
            Ok((stop, thread)) => {
                Ok(Serving { path, tally, stop: Some(stop), thread: Some(thread) })
            }
            Err(error) => Err(failed(&path, "starting a thread", errno(&error))),
        }
    }

    fn serve_until(&mut self, stop: &PipeReader, offer: &Offer) {
        loop {
            match self.admit(offer, None, Some(stop.as_fd())) {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => {
                    self.tally.failed.fetch_add(1, Ordering::Relaxed);
                    let mut stop = [PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
                    if packet::wait(&mut stop, Some(Instant::now() + REST)) != Ok(0) {
                        return;
                    }
                }
            }
        }
    }

    /// Serves one client; `None` if `deadline` has passed or `stop` was hung up.
    fn admit(
        &mut self,
        offer: &Offer,
        deadline: Option<Instant>,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<Option<Admitted>, RendezvousError> {
        // A client that has connected and said hello before the deadline is served. So there are two
        // looks after the deadline: one to let clients in, one to hear them.
        let mut looks_left = 2;
        while looks_left > 0 {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                looks_left -= 1;
            }
            let ready = self.look(deadline, stop)?;
            if ready.stop {
                return Ok(None);
            }
            if let Some(admitted) = self.hear(&ready.visitors, offer)? {
                return Ok(Some(admitted));
            }
            self.turn_away_the_silent();
            if ready.listener {
                self.let_in()?;
            }
        }
        Ok(None)
    }

    /// Waits until a client connects or speaks, or until a deadline has passed: the caller's, or a visitor's.
    fn look(
        &self,
        deadline: Option<Instant>,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<Ready, RendezvousError> {
        let timeout = self.visitors.front().map(|oldest| oldest.since + HELLO_TIMEOUT);
        let deadline = deadline.into_iter().chain(timeout).min();
        let listener = self.listening.as_fd();
        let own = [Some(listener), stop].into_iter().flatten();
        let sockets = self.visitors.iter().map(|visitor| visitor.socket.as_fd());
        let mut polled: Vec<_> =
            own.chain(sockets).map(|socket| PollFd::new(socket, PollFlags::POLLIN)).collect();
        packet::wait(&mut polled, deadline)
            .map_err(|errno| failed(self.listening.path(), "poll", errno))?;
        let mut ready = polled.iter().map(|socket| socket.any().unwrap_or(true));
        let listener = ready.next().unwrap_or(false);
        let stop = stop.is_some() && ready.next().unwrap_or(false);
        Ok(Ready { listener, stop, visitors: ready.collect() })
    }

    /// Accepts all clients that have connected.
    fn let_in(&mut self) -> Result<(), RendezvousError> {
        for _ in 0..MOST_VISITORS {
            let (socket, peer) = match self.listening.accept()? {
                Accepted::Client(socket, peer) => (socket, peer),
                Accepted::Gone => {
                    self.turn_away();
                    continue;
                }
                Accepted::Nobody => return Ok(()),
            };
            if self.visitors.len() == MOST_VISITORS {
                self.visitors.pop_front();
                self.turn_away();
            }
            self.visitors.push_back(Visitor { socket, peer, since: Instant::now() });
        }
        Ok(())
    }

    /// Listens to the visitors that have something to say, until one of them is admitted.
    fn hear(
        &mut self,
        speaks: &[bool],
        offer: &Offer,
    ) -> Result<Option<Admitted>, RendezvousError> {
        // The last first, so that the others keep their positions.
        for at in (0..speaks.len()).rev().filter(|at| speaks[*at]) {
            let Some(visitor) = self.visitors.remove(at) else { continue };
            match self.answer(&visitor, offer)? {
                Some(role) => {
                    let (pid, uid) = (visitor.peer.pid(), visitor.peer.uid());
                    self.tally.admitted.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(Admitted { pid, uid, role }));
                }
                None => self.turn_away(),
            }
        }
        Ok(None)
    }

    /// Hears a visitor and answers it. Says in which role the visitor was let in, if it was.
    fn answer(&self, visitor: &Visitor, offer: &Offer) -> Result<Option<Role>, RendezvousError> {
        let version = wire::VERSION;
        // A client that is turned away may be gone already.
        let tell = |status, room| {
            let answer = Answer { version, status, descriptors: 0, room };
            let _ = packet::send(&visitor.socket, &answer.encode(), packet::NONE);
        };
        let say = |status| tell(status, None);
        let Ok(bytes) = packet::receive_bytes(&visitor.socket) else { return Ok(None) };
        let Some(hello) = Hello::decode(&bytes) else { return Ok(None) };
        let role = Role::from_code(hello.role)
            .filter(|_| hello.version == version && is_welcome(visitor.peer.uid(), self.any_user));
        let Some(role) = role else {
            say(wire::REFUSED);
            return Ok(None);
        };
        let (descriptors, room) = match give(offer, &hello, role, visitor.peer.pid()) {
            Ok(given) => given,
            Err(NotGiven::Said(status, room)) => {
                tell(status, room);
                return Ok(None);
            }
            Err(NotGiven::Failed(source)) => {
                say(wire::FAILED);
                let path = self.listening.path().to_owned();
                return Err(RendezvousError::Descriptor { path, source });
            }
            Err(NotGiven::NotRegistered(source)) => {
                say(wire::FAILED);
                let path = self.listening.path().to_owned();
                return Err(RendezvousError::NotRegistered { path, source });
            }
        };
        let count = descriptors.len() as u32;
        let answer = Answer { version, status: wire::LET_IN, descriptors: count, room };
        match packet::send(&visitor.socket, &answer.encode(), &descriptors) {
            Ok(()) => Ok(Some(role)),
            Err(Errno::EPIPE | Errno::ECONNRESET | Errno::EAGAIN) => Ok(None),
            Err(errno) => {
                say(wire::FAILED);
                Err(failed(self.listening.path(), "sendmsg", errno))
            }
        }
    }

    fn turn_away_the_silent(&mut self) {
        while self.visitors.front().is_some_and(|oldest| oldest.since.elapsed() >= HELLO_TIMEOUT) {
            self.visitors.pop_front();
            self.turn_away();
        }
    }

    fn turn_away(&self) {
        self.tally.turned_away.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a client gets: descriptors, and where its room is.
type Given = (Vec<OwnedFd>, Option<[u64; 3]>);

/// Why a client gets nothing.
enum NotGiven {
    /// It is told this.
    Said(u32, Option<[u64; 3]>),
    /// The kernel gave no descriptor.
    Failed(DescriptorError),
    /// The client could not be registered.
    NotRegistered(Box<dyn Error + Send + Sync>),
}

fn give(offer: &Offer, hello: &Hello, role: Role, pid: i32) -> Result<Given, NotGiven> {
    let host = offer.host();
    if let (Some(host), Some(asks)) = (&host, &hello.asks) {
        let (start, policy, label) = (asks.start, asks.policy, asks.label.clone());
        let request = Request { start, policy, label, owner: pid.unsigned_abs() };
        return match host.admit(&request) {
            Ok(Admission { ring, page, slot, state, first }) => {
                Ok((vec![ring, page], Some([slot as u64, state, first.get()])))
            }
            Err(NoAdmission::Full(most)) => {
                Err(NotGiven::Said(wire::FULL, Some([most as u64, 0, 0])))
            }
            Err(NoAdmission::Limit(limit)) => {
                let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
                Err(NotGiven::Said(wire::LIMIT, Some([0, 0, micros])))
            }
            Err(NoAdmission::Failed(error)) => Err(NotGiven::NotRegistered(error)),
        };
    }
    if host.is_some() && role == Role::Consumer {
        return Err(NotGiven::Said(wire::ROOMS, None));
    }
    let ring = offer.descriptor(role.mode()).map_err(NotGiven::Failed)?;
    Ok((vec![ring], None))
}

/// Which sockets have something for the server.
struct Ready {
    listener: bool,
    stop: bool,
    visitors: Vec<bool>,
}

/// Binds a server to `path` and lets it serve all clients that come, in a thread of its own.
///
/// The writer stays with its owner: `offer` is all that the thread needs. A ring whose writer has gone
/// is handed out still, and reads as closed.
///
/// # Errors
///
/// [`RendezvousError`]; what was at `path` before is left there.
///
/// # Examples
///
/// ```
/// # mod fanout { pub use {day3::*, day4 as records}; }
/// use fanout::Start;
/// use fanout::records::rendezvous::serve;
/// use fanout::records::{Reader, Tap, Writer};
///
/// let path = std::env::temp_dir().join(format!("doc-serving-{}", std::process::id()));
/// let mut writer = Writer::anonymous(4096)?;
/// let serving = serve(&path, writer.offer())?;
///
/// let mut reader = Reader::connect(&path, Start::Oldest)?; // usually in another process
/// let mut tap = Tap::connect(&path, Start::Oldest)?;
/// writer.send(b"to all")?;
/// assert_eq!(&*reader.recv()?, b"to all");
///
/// drop(serving); // the path is gone, and the ring is not
/// let mut bytes = Vec::new();
/// tap.recv(&mut bytes)?;
/// assert_eq!(bytes, b"to all");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn serve(path: impl AsRef<Path>, offer: Offer) -> Result<Serving, RendezvousError> {
    Server::bind(path)?.serve(offer)
}

/// A server at work in a thread of its own; dropping this ends it and removes its path.
#[derive(Debug)]
pub struct Serving {
    path: PathBuf,
    tally: Arc<Tally>,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Where it listens, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many clients got a descriptor so far.
    pub fn admitted(&self) -> u64 {
        self.tally.admitted.load(Ordering::Relaxed)
    }

    /// How many clients were turned away so far; see [`Server::turned_away`].
    pub fn turned_away(&self) -> u64 {
        self.tally.turned_away.load(Ordering::Relaxed)
    }

    /// How often so far the kernel refused something that a client was to get, such as a descriptor.
    pub fn failed(&self) -> u64 {
        self.tally.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // The thread does not panic, and a drop could not report it.
            let _ = thread.join();
        }
    }
}
