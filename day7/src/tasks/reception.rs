//! Where clients come in: one thread that accepts them, makes what they get, and notices when they go.

use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::process::Origin;
use common::sync::{AtomicU64, Ordering};
use day3::outlook::Outlook;
use day3::{JoinOptions, Memory, Start};
use day4::ByteMemory;
use day4::frame::HEADER;
use day4::reader::Reader;
use day4::rendezvous::packet;
use day4::rendezvous::socket::{Accepted, Listening, is_welcome};
use day4::writer::Writer;
use day5::Yield;
use nix::errno::Errno;
use nix::sys::socket::UnixCredentials;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::Timespec;

use super::arena::{Foreign, NotMapped};
use super::clock;
use super::line::{self, Connection, Lane, Line, Party, Plan, Which};
use super::message::RequestHead;
use super::shard::{Arrival, HangsUp, Mailbox, Notice, ServerEnds, Tally};
use super::wire::{self, Answer, ClientInfo, Hello};

/// How long a client may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(1);
/// Most clients that have connected and said nothing yet; one more costs the oldest its place.
const MOST_VISITORS: usize = 64;
/// How long reception rests after the kernel refused it something.
const REST: Duration = Duration::from_millis(20);

/// What reception knows of the server.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) any_user: bool,
    pub(super) most: usize,
    pub(super) plan: Plan,
    pub(super) longest: usize,
    pub(super) traces: bool,
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    pub(super) counts: Arc<Counts>,
}

/// What reception counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) clients: AtomicU64,
    pub(super) admitted: AtomicU64,
    pub(super) turned_away: AtomicU64,
}

/// Reception at work, until this is dropped.
#[derive(Debug)]
pub(super) struct Reception {
    path: PathBuf,
    origin: Origin,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Reception {
    pub(super) fn open(listening: Listening, admission: Admission) -> io::Result<Self> {
        let path = listening.path().to_owned();
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        let (stopped, stop) = io::pipe()?;
        for (descriptor, token) in [(listening.as_fd(), LISTENER), (stopped.as_fd(), STOP)] {
            epoll::add(&set, descriptor, EventData::new_u64(token), EventFlags::IN)?;
        }
        let (visitors, admitted) = (HashMap::new(), HashMap::new());
        let mailbox = Acceptor {
            listening,
            admission,
            set,
            visitors,
            admitted,
            next: FIRST,
            _stopped: stopped,
        };
        let thread = thread::Builder::new().name("fanout-reception".into());
        let thread = thread.spawn(move || mailbox.work())?;
        Ok(Self { path, origin: Origin::here(), stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Reception {
    fn drop(&mut self) {
        self.stop = None;
        // The child of a fork has no such thread.
        if let Some(thread) = self.thread.take().filter(|_| self.origin.is_here()) {
            let _ = thread.join();
        }
    }
}

const LISTENER: u64 = 0;
const STOP: u64 = 1;
const FIRST: u64 = 2;

/// A client that has connected, and said nothing yet.
#[derive(Debug)]
struct Visitor {
    socket: OwnedFd,
    peer: UnixCredentials,
    since: Instant,
}

/// A client that a shard serves.
#[derive(Debug)]
struct Admitted {
    connection: Arc<Connection>,
    shard: usize,
    peer: UnixCredentials,
    tally: Arc<Tally>,
    line: Arc<Line>,
    requests: Outlook,
}

/// What the thread works with that lets clients in.
#[derive(Debug)]
struct Acceptor {
    listening: Listening,
    admission: Admission,
    set: OwnedFd,
    visitors: HashMap<u64, Visitor>,
    admitted: HashMap<u64, Admitted>,
    next: u64,
    _stopped: PipeReader,
}

impl Acceptor {
    fn work(mut self) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            let timeout = self.visitors.values().map(|visitor| visitor.since).min().map(|oldest| {
                let left = (oldest + HELLO_TIMEOUT).saturating_duration_since(Instant::now());
                let (tv_sec, tv_nsec) = (left.as_secs() as i64, left.subsec_nanos().into());
                Timespec { tv_sec, tv_nsec }
            });
            let capacity = rustix::buffer::spare_capacity(&mut events);
            if epoll::wait(&self.set, capacity, timeout.as_ref()).is_err() {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            for event in &events {
                match event.data.u64() {
                    STOP => return,
                    LISTENER => self.let_in(),
                    id => self.hear(id),
                }
            }
            self.turn_away_the_silent();
        }
    }

    /// Accepts all clients that have connected.
    fn let_in(&mut self) {
        loop {
            let (socket, peer) = match self.listening.accept() {
                Ok(Accepted::Client(socket, peer)) => (socket, peer),
                Ok(Accepted::Gone) => continue,
                Ok(Accepted::Nobody) => return,
                // No descriptor, for example: the client waits.
                Err(_) => return thread::sleep(REST),
            };
            if self.visitors.len() == MOST_VISITORS
                && let Some((&oldest, _)) = self.visitors.iter().min_by_key(|(_, one)| one.since)
            {
                self.visitors.remove(&oldest);
                self.turn_away();
            }
            let id = self.next;
            self.next += 1;
            let flags = EventFlags::IN | EventFlags::RDHUP;
            if epoll::add(&self.set, &socket, EventData::new_u64(id), flags).is_ok() {
                self.visitors.insert(id, Visitor { socket, peer, since: Instant::now() });
            }
        }
    }

    /// Hears a visitor, or finds that a client has gone.
    fn hear(&mut self, id: u64) {
        if let Some(visitor) = self.visitors.remove(&id) {
            if self.answer(id, visitor).is_none() {
                self.turn_away();
            }
        } else if let Some(entry) = self.admitted.remove(&id) {
            // A client says nothing more here. What it says all the same counts as its end.
            entry.connection.hang_up();
            self.admission.mailboxes[entry.shard].tell(Notice::Gone(id));
            if let Connection::Socket(socket) = &*entry.connection {
                let _ = epoll::delete(&self.set, socket);
            }
            self.count_clients();
        }
    }

    /// Answers a hello. `None` if the visitor is turned away.
    fn answer(&mut self, id: u64, visitor: Visitor) -> Option<()> {
        let Visitor { socket, peer, .. } = visitor;
        let said = packet::receive(&socket).ok()?;
        let hello = Hello::decode(&said.bytes)?;
        let tell = |answer: Answer| {
            let _ = packet::send(&socket, &answer.encode(), packet::NONE);
        };
        let is_ours = hello.version == wire::VERSION
            && matches!(hello.role, wire::CLIENT | wire::OBSERVER)
            && is_welcome(peer.uid(), self.admission.any_user);
        if !is_ours {
            tell(Answer::no(wire::REFUSED, 0));
            return None;
        }
        if hello.role == wire::OBSERVER {
            let clients = wire::encode_clients(&self.clients());
            let _ = packet::send(&socket, &clients, packet::NONE);
            return Some(());
        }
        if self.admitted.len() >= self.admission.most {
            tell(Answer::no(wire::FULL, self.admission.most as u64));
            return None;
        }
        let arena = match (hello.arena, said.descriptors.first()) {
            (0, _) => None,
            (bytes, Some(object)) => match Foreign::map(object, bytes) {
                Ok(arena) => Some(arena),
                Err(NotMapped::NotSealed) => return tell_no(tell, wire::ARENA, 0),
                Err(NotMapped::Length(found)) => return tell_no(tell, wire::ARENA, found),
                Err(NotMapped::System(_, errno)) => {
                    return tell_no(tell, wire::FAILED, errno as u64);
                }
            },
            (_, None) if said.cut => return tell_no(tell, wire::FAILED, Errno::EMFILE as u64),
            (_, None) => return tell_no(tell, wire::ARENA, 0),
        };
        // If all shards are gone, so is the server, for a client.
        let shard = self.shard()?;
        let connection = Arc::new(Connection::Socket(socket));
        match self.make(id, shard, peer, &connection, arena) {
            Ok(()) => Some(()),
            Err(errno) => {
                if let Connection::Socket(socket) = &*connection {
                    let no = Answer::no(wire::FAILED, errno as u64);
                    let _ = packet::send(socket, &no.encode(), packet::NONE);
                }
                None
            }
        }
    }

    /// The shard for another client: the one with the fewest. `None` if there is no shard any more.
    fn shard(&self) -> Option<usize> {
        let served = |shard| self.admitted.values().filter(|entry| entry.shard == shard).count();
        let open = |shard: &usize| self.admission.mailboxes[*shard].is_open();
        (0..self.admission.mailboxes.len()).filter(open).min_by_key(|shard| served(*shard))
    }

    /// Makes what a client gets, and sends the client to its shard.
    fn make(
        &mut self,
        id: u64,
        shard: usize,
        peer: UnixCredentials,
        connection: &Arc<Connection>,
        arena: Option<Foreign>,
    ) -> Result<(), Errno> {
        let Admission { plan, longest, traces, .. } = self.admission;
        let tally = Arc::<Tally>::default();
        let (object, client) = server_ends(plan, Arc::clone(connection), arena, Arc::clone(&tally))
            .map_err(|(_, e)| e)?;
        let entry = Admitted {
            connection: Arc::clone(connection),
            shard,
            peer,
            tally,
            line: Arc::clone(&client.line),
            requests: client.requests.outlook(),
        };
        self.admitted.insert(id, entry);
        self.count_clients();
        self.admission.counts.admitted.fetch_add(1, Ordering::Relaxed);
        let answer = Answer {
            version: wire::VERSION,
            status: wire::LET_IN,
            requests: plan.requests,
            answers: plan.answers,
            longest: longest as u64,
            client: id,
            traces: traces.into(),
            ..Answer::default()
        };
        let arrival = Arrival { id, pid: peer.pid().unsigned_abs(), object, answer, client };
        self.admission.mailboxes[shard].tell(Notice::Arrival(Box::new(arrival)));
        Ok(())
    }

    fn clients(&self) -> Vec<ClientInfo> {
        let now = clock::coarse();
        let mut all: Vec<_> =
            self.admitted.iter().map(|(id, entry)| entry.info(*id, now)).collect();
        all.sort_by_key(|info| info.client);
        all
    }

    fn count_clients(&self) {
        self.admission.counts.clients.store(self.admitted.len() as u64, Ordering::Relaxed);
    }

    fn turn_away_the_silent(&mut self) {
        let before = self.visitors.len();
        self.visitors.retain(|_, visitor| visitor.since.elapsed() < HELLO_TIMEOUT);
        for _ in self.visitors.len()..before {
            self.turn_away();
        }
    }

    fn turn_away(&self) {
        self.admission.counts.turned_away.fetch_add(1, Ordering::Relaxed);
    }
}

fn tell_no(tell: impl FnOnce(Answer), status: u32, number: u64) -> Option<()> {
    tell(Answer::no(status, number));
    None
}

/// A new line, with the server's ends of both rings.
pub(super) fn server_ends(
    plan: Plan,
    connection: Arc<Connection>,
    arena: Option<Foreign>,
    tally: Arc<Tally>,
) -> Result<(OwnedFd, ServerEnds), (&'static str, Errno)> {
    let object = line::create(plan)?;
    let line = Line::map(&object, plan, Party::Server, Arc::clone(&connection))?;
    line.start();
    let lane = |which| Arc::new(Lane::new(&line, which)) as Arc<dyn ByteMemory>;
    // SAFETY: the lane was made for records.
    let requests = unsafe {
        Reader::<Yield>::from_memory(lane(Which::Requests), Start::Oldest, &JoinOptions::new())
    };
    // It is the first consumer of a new ring.
    let requests = requests.map_err(|_| ("registering a consumer", Errno::EAGAIN))?;
    // SAFETY: the server writes the answers, and nobody else does.
    let answers = unsafe { Writer::<Yield>::from_memory(lane(Which::Answers)) };
    let hangs_up = HangsUp { connection, origin: Origin::here() };
    Ok((object, ServerEnds { requests, answers, arena, line, tally, hangs_up }))
}

impl Admitted {
    fn info(&self, id: u64, now: u64) -> ClientInfo {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // In this order: what is answered was begun, and what is begun was issued.
        let (failed, answered) = (load(&self.tally.failed), load(&self.tally.answered));
        let (begun, issued) = (load(&self.tally.begun), load(&self.line.words().issued));
        let waits_since = (issued > begun).then(|| self.head_of_line()).flatten();
        let works_since = (begun > answered).then(|| load(&self.tally.issued_at));
        let oldest = waits_since.into_iter().chain(works_since).min();
        ClientInfo {
            client: id,
            pid: self.peer.pid().unsigned_abs(),
            uid: self.peer.uid(),
            shard: self.shard as u64,
            issued,
            begun,
            answered,
            failed,
            oldest: oldest.map_or(0, |since| now.saturating_sub(since) / 1_000_000),
        }
    }

    /// When the task was issued that the server begins next. The client may be writing there: then this is any number.
    fn head_of_line(&self) -> Option<u64> {
        let lane = Lane::new(&self.line, Which::Requests);
        let at = self.requests.released() as usize & (lane.ring().capacity.get() as usize - 1);
        let at = at / 8 * 8 + HEADER + core::mem::offset_of!(RequestHead, issued);
        // SAFETY: the data is mapped twice in a row, so a page and more from any of its bytes on is mapped.
        let place = unsafe { lane.data().add(at) }.cast::<AtomicU64>();
        // SAFETY: mapped as long as the line, and aligned: a multiple of 8.
        Some(unsafe { place.as_ref() }.load(Ordering::Relaxed))
    }
}
