//! Where clients come in: one thread that accepts them, makes what they get, and notices when they go.

use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::process::Origin;
use common::sync::{AtomicU64, Ordering};
use day3::Memory;
use day3::outlook::Outlook;
use day4::frame::HEADER;
use day4::rendezvous::packet;
use day4::rendezvous::socket::Listening;
use nix::errno::Errno;
use nix::sys::socket::UnixCredentials;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::time::Timespec;

use crate::line::{self, Caller, Connection, Lane, Line, Plan, Visitors, Which};

use super::arena::{Foreign, NotMapped};
use super::clock;
use super::message::RequestHead;
use super::shard::{Arrival, Mailbox, Notice, ServerEnds, Tally};
use super::wire::{self, Answer, ClientInfo};

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
        let visitors = Visitors::new(listening)?;
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        let (stopped, stop) = io::pipe()?;
        for (descriptor, token) in [(visitors.as_fd(), VISITORS), (stopped.as_fd(), STOP)] {
            epoll::add(&set, descriptor, EventData::new_u64(token), EventFlags::IN)?;
        }
        let admitted = HashMap::new();
        let mailbox = Acceptor { visitors, admission, set, admitted, _stopped: stopped };
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

/// Someone has come or said something. Clients have other numbers than these two.
const VISITORS: u64 = 0;
const STOP: u64 = 1;

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
    visitors: Visitors,
    admission: Admission,
    set: OwnedFd,
    admitted: HashMap<u64, Admitted>,
    _stopped: PipeReader,
}

impl Acceptor {
    fn work(mut self) {
        let mut events = Vec::with_capacity(64);
        loop {
            events.clear();
            let timeout = self.visitors.time_left().map(|left| {
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
                    VISITORS => {}
                    id => self.part_with(id),
                }
            }
            self.hear();
        }
    }

    /// Answers all clients that have said hello, and turns away those that say nothing.
    fn hear(&mut self) {
        loop {
            match self.visitors.hear() {
                Ok(Some(caller)) => {
                    if self.answer(caller).is_none() {
                        self.turn_away(1);
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    // No descriptor, for example: the client waits.
                    thread::sleep(REST);
                    break;
                }
            }
        }
        let turned_away = self.visitors.take_turned_away();
        self.turn_away(turned_away);
    }

    /// Finds that a client has gone.
    fn part_with(&mut self, id: u64) {
        let Some(entry) = self.admitted.remove(&id) else { return };
        // A client says nothing more here. What it says all the same counts as its end.
        entry.connection.hang_up();
        self.admission.mailboxes[entry.shard].tell(Notice::Gone(id));
        if let Connection::Socket(socket) = &*entry.connection {
            let _ = epoll::delete(&self.set, socket);
        }
        self.count_clients();
    }

    /// Answers a hello. `None` if the visitor is turned away.
    fn answer(&mut self, caller: Caller) -> Option<()> {
        if !caller.is_welcome(&[wire::CLIENT, wire::OBSERVER], self.admission.any_user) {
            return tell_no(&caller, wire::REFUSED, 0);
        }
        if caller.hello.role == wire::OBSERVER {
            let clients = wire::encode_clients(&self.clients());
            let _ = packet::send(&caller.socket, &clients, packet::NONE);
            return Some(());
        }
        if self.admitted.len() >= self.admission.most {
            return tell_no(&caller, wire::FULL, self.admission.most as u64);
        }
        let (hello, said) = (caller.hello, &caller.said);
        let arena = match (hello.arena, said.descriptors.first()) {
            (0, _) => None,
            (bytes, Some(object)) => match Foreign::map(object, bytes) {
                Ok(arena) => Some(arena),
                Err(NotMapped::NotSealed) => return tell_no(&caller, wire::ARENA, 0),
                Err(NotMapped::Length(found)) => return tell_no(&caller, wire::ARENA, found),
                Err(NotMapped::System(_, errno)) => {
                    return tell_no(&caller, wire::FAILED, errno as u64);
                }
            },
            (_, None) if said.cut => return tell_no(&caller, wire::FAILED, Errno::EMFILE as u64),
            (_, None) => return tell_no(&caller, wire::ARENA, 0),
        };
        // If all shards are gone, so is the server, for a client.
        let shard = self.shard()?;
        let Caller { id, socket, peer, .. } = caller;
        let connection = Arc::new(Connection::Socket(socket));
        match self.make(id, shard, peer, &connection, arena) {
            Ok(()) => Some(()),
            Err(errno) => {
                connection.tell(&Answer::no(wire::FAILED, errno as u64), &[]);
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
        if let Connection::Socket(socket) = &**connection {
            // A client says nothing more: the set tells of its end.
            let flags = EventFlags::IN | EventFlags::RDHUP;
            epoll::add(&self.set, socket, EventData::new_u64(id), flags)
                .map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
        }
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
            requests: plan.requests(),
            answers: plan.answers(),
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

    fn turn_away(&self, visitors: u64) {
        self.admission.counts.turned_away.fetch_add(visitors, Ordering::Relaxed);
    }
}

fn tell_no(caller: &Caller, status: u32, number: u64) -> Option<()> {
    caller.tell(&Answer::no(status, number), &[]);
    None
}

/// A new line, with the server's ends of both rings.
pub(super) fn server_ends(
    plan: Plan,
    connection: Arc<Connection>,
    arena: Option<Foreign>,
    tally: Arc<Tally>,
) -> Result<(OwnedFd, ServerEnds), (&'static str, Errno)> {
    let (object, ends) = line::ServerEnds::create(c"fanout-tasks", plan, connection)?;
    let line::ServerEnds { requests, answers, line, hangs_up } = ends;
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
