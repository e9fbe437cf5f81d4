//! One thread's part of a server: it takes requests, has them done, and answers.

use core::ops::{Deref, DerefMut};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::sync::{AtomicBool, AtomicU64, Ordering};
use day3::link::Link;
use day3::{RecvError, SendError, Shared, TryRecvError, TrySendError};
use day4::reader::Reader;
use day4::record_len;
use day4::writer::Writer;
use day5::Yield;
use day5::strategy::SLICE;

use crate::line::{HangsUp, Line};
use crate::ready::Seat;
use crate::selector::{Key, Selector, Turn};

use super::arena::{Foreign, Input, Output};
use super::clock;
use super::message::{
    ANSWER, AnswerHead, CANCELLED, DONE, FAILED, LOOKUP, PANICKED, REFUSED, Request, Span,
};
use super::task::{self, Ended, Procedure, Registry, Task};
use super::trace::{self, Trace};
use super::wire::{self, Answer};

/// What a server counts of a client.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) begun: AtomicU64,
    pub(super) answered: AtomicU64,
    pub(super) failed: AtomicU64,
    /// When the task was issued that was begun last.
    pub(super) issued_at: AtomicU64,
}

/// A client that its shard is to take on.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) id: u64,
    pub(super) pid: u32,
    pub(super) object: OwnedFd,
    pub(super) answer: Answer,
    pub(super) client: ServerEnds,
}

/// A client, as its shard has it.
// The fields are dropped in this order: while the arena is mapped, the connection stands.
#[derive(Debug)]
pub(super) struct ServerEnds {
    pub(super) requests: Reader<Yield>,
    pub(super) answers: Writer<Yield>,
    pub(super) arena: Option<Foreign>,
    pub(super) line: Arc<Line>,
    pub(super) tally: Arc<Tally>,
    pub(super) hangs_up: HangsUp,
}

/// What reception tells a shard.
#[derive(Debug)]
pub(super) enum Notice {
    Arrival(Box<Arrival>),
    /// The client of this number is gone.
    Gone(u64),
}

/// Where a shard hears from reception.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// `None` when the shard is no more.
    notices: Mutex<Option<Vec<Notice>>>,
    /// Whether there may be any. A hint, with nothing behind it.
    has_news: AtomicBool,
    has_ended: AtomicBool,
    bell: Seat,
    /// The ready words, for clients.
    pub(super) board: OwnedFd,
}

impl Mailbox {
    fn notices(&self) -> MutexGuard<'_, Option<Vec<Notice>>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the shard. If it is no more, a client that was to come to it is hung up on.
    pub(super) fn tell(&self, notice: Notice) {
        let mut notices = self.notices();
        if let Some(notices) = &mut *notices {
            notices.push(notice);
            self.has_news.store(true, Ordering::Relaxed);
            self.bell.ring();
        }
    }

    /// Whether there is a shard to hear, now or later.
    pub(super) fn is_open(&self) -> bool {
        self.notices().is_some()
    }

    /// There is no shard any more.
    fn close(&self) {
        let notices = self.notices().take();
        drop(notices);
    }

    /// The server has ended.
    pub(super) fn end(&self) {
        // edge: end -> serve
        self.has_ended.store(true, Ordering::Release);
        self.has_news.store(true, Ordering::Relaxed);
        self.bell.ring();
    }

    pub(super) fn has_ended(&self) -> bool {
        // edge: end -> serve
        self.has_ended.load(Ordering::Acquire)
    }
}

/// A client, and what its turn needs to know of it.
#[derive(Debug)]
struct Served {
    id: u64,
    pid: u32,
    ends: ServerEnds,
    /// The ring of answers, to announce that it is full.
    answers: Shared,
}

/// A turn ends after the task that was longer than this many nanoseconds, or made the turn so. The clock that tells steps
/// by some milliseconds.
const LONGEST_TURN: u64 = 5_000_000;

/// One thread's part of a [`Server`](super::Server): it serves some of the clients.
///
/// [`serve`](Shard::serve) goes on until the server is dropped. A program with a loop of its own calls
/// [`turn`](Shard::turn) until that finds nothing, and then waits for the shard's descriptor.
pub struct Shard {
    number: usize,
    mailbox: Arc<Mailbox>,
    bell: Key,
    /// By the index of its key.
    clients: Vec<Option<Served>>,
    keys: HashMap<u64, Key>,
    procedures: Vec<Box<dyn Procedure>>,
    registry: Arc<Registry>,
    trace: Option<Arc<Trace>>,
    longest: usize,
    next_id: u64,
    request: Vec<u8>,
    answer: Vec<u8>,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    // After the clients, whose rings it watches.
    selector: Selector,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (number, clients) = (self.number, self.keys.len());
        f.debug_struct("Shard")
            .field("number", &number)
            .field("clients", &clients)
            .finish_non_exhaustive()
    }
}

/// Why a client's connection is ended by the server.
#[derive(Debug)]
enum Leaving {
    /// It ended itself, or died.
    Ended,
    /// It wrote what no client writes.
    Corrupt(String),
}

/// What a shard is made of.
pub(super) struct Parts {
    pub(super) number: usize,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) bell: Key,
    pub(super) selector: Selector,
    pub(super) registry: Arc<Registry>,
    pub(super) trace: Option<Arc<Trace>>,
    pub(super) longest: usize,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Shard {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { number, mailbox, bell, selector, registry, trace, longest } = parts;
        Self {
            number,
            mailbox,
            bell,
            clients: Vec::new(),
            keys: HashMap::new(),
            procedures: Vec::new(),
            registry,
            trace,
            longest,
            next_id: 0,
            request: Vec::new(),
            answer: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            selector,
        }
    }

    /// A mailbox for a shard with this selector, and the shard's bell.
    pub(super) fn mailbox(bell: Seat, board: OwnedFd) -> Arc<Mailbox> {
        let no = || AtomicBool::new(false);
        let notices = Mutex::new(Some(Vec::new()));
        Arc::new(Mailbox { notices, has_news: no(), has_ended: no(), bell, board })
    }

    /// Its number.
    pub fn number(&self) -> usize {
        self.number
    }

    /// How many clients it serves now.
    pub fn clients(&self) -> usize {
        self.keys.len()
    }

    /// Serves its clients until the server is dropped.
    pub fn serve(&mut self) {
        while !self.mailbox.has_ended() {
            // Not for ever: a process that has the board can take away reception's bit.
            self.turn_timeout(SLICE);
        }
    }

    /// Serves a client that has something, for as long as its turn is, if there is one; says whether there was.
    ///
    /// A turn in vain arms the descriptor.
    pub fn turn(&mut self) -> bool {
        let turn = self.selector.try_wait();
        self.take(turn)
    }

    /// The same, waiting for at most `timeout` until there is one.
    pub fn turn_timeout(&mut self, timeout: Duration) -> bool {
        let turn = self.selector.wait_timeout(timeout);
        self.take(turn)
    }

    /// Whether the server was dropped: nothing will come any more.
    pub fn has_ended(&self) -> bool {
        self.mailbox.has_ended()
    }

    /// Hears reception, if it has something to say, and serves the client whose turn it is; says whether there was either.
    fn take(&mut self, turn: Option<Turn>) -> bool {
        let has_news = self.mailbox.has_news.load(Ordering::Relaxed);
        // Before the turn: its client may be gone.
        if has_news {
            self.hear();
        }
        let Some(turn) = turn else { return has_news };
        // What it was the turn of may be gone by now, and a newcomer in its place.
        if turn.key != self.bell && (!has_news || self.selector.contains(turn.key)) {
            self.serve_one(turn);
        }
        true
    }

    fn serve_one(&mut self, turn: Turn) {
        match self.visit(turn.key, turn.bytes) {
            Ok(()) => {}
            Err(Leaving::Ended) => self.end(turn.key),
            Err(Leaving::Corrupt(why)) => {
                let client = self.client(turn.key).map_or((0, 0), |one| (one.id, one.pid));
                eprintln!(
                    "fanout: client {} (process {}) is turned out: {why}",
                    client.0, client.1
                );
                self.end(turn.key);
            }
        }
    }

    fn end(&mut self, key: Key) {
        // An old key has the index of a newcomer, whose seat would be lost.
        if !self.selector.remove(key) {
            return;
        }
        let served = self.clients.get_mut(key.index()).and_then(Option::take);
        if let Some(served) = served {
            self.keys.remove(&served.id);
        }
    }

    fn client(&self, key: Key) -> Option<&Served> {
        self.clients.get(key.index())?.as_ref()
    }

    /// Hears what reception has to say.
    fn hear(&mut self) {
        self.mailbox.has_news.store(false, Ordering::Relaxed);
        let notices = self.mailbox.notices().as_mut().map(std::mem::take);
        for notice in notices.into_iter().flatten() {
            match notice {
                Notice::Arrival(arrival) => drop(self.welcome(*arrival)),
                Notice::Gone(id) => {
                    if let Some(key) = self.keys.get(&id).copied() {
                        self.end(key);
                    }
                }
            }
        }
        if let Some(trace) = &self.trace {
            trace.flush();
        }
    }

    /// A number for a client that comes without reception.
    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Takes a client on, and tells it so. Returns its seat; `None` if there is none.
    pub(super) fn welcome(&mut self, arrival: Arrival) -> Option<Seat> {
        let Arrival { id, pid, object, answer, client } = arrival;
        let Some((key, seat)) = self.seat(&client) else {
            let no = Answer::no(wire::FULL, self.keys.len() as u64);
            client.hangs_up.connection().tell(&no, &[]);
            return None;
        };
        let answer = Answer { seat: seat.number() as u32, descriptors: 2, ..answer };
        let given = [object.as_fd(), self.mailbox.board.as_fd()];
        if client.hangs_up.connection().tell(&answer, &given) {
            let answers = Shared::new(client.answers.memory().clone());
            let served = Served { id, pid, ends: client, answers };
            if self.clients.len() <= key.index() {
                self.clients.resize_with(key.index() + 1, || None);
            }
            self.clients[key.index()] = Some(served);
            self.keys.insert(id, key);
            Some(seat)
        } else {
            self.selector.remove(key);
            None
        }
    }

    fn seat(&mut self, client: &ServerEnds) -> Option<(Key, Seat)> {
        let key = self.selector.add_seated(client.requests.outlook()).ok()?;
        Some((key, self.selector.seat(key)?))
    }

    /// One turn of a client. It ends early where tasks take long, so that another's one short task does not wait for many
    /// long ones, and when reception has something to say: the client may be gone.
    fn visit(&mut self, key: Key, bytes: u64) -> Result<(), Leaving> {
        let (mut left, begun) = (bytes, clock::coarse());
        while left > 0 {
            let Some(Some(served)) = self.clients.get_mut(key.index()) else { return Ok(()) };
            // Before the request is taken: nobody waits for a client that does not read its answers.
            if !has_room(served, self.longest)? {
                // It rings when it has read. Until then its requests are no reason to look.
                self.selector.rest(key);
                return Ok(());
            }
            let record = match served.ends.requests.try_recv() {
                Ok(record) => record,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::End(end)) => return Err(no_requests(end)),
            };
            left = left.saturating_sub(record_len(record.len()) as u64);
            self.request.clear();
            self.request.extend_from_slice(&record);
            drop(record);
            self.work(key)?;
            let is_long = clock::coarse().wrapping_sub(begun) > LONGEST_TURN;
            if is_long || self.mailbox.has_news.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Does the task that was copied, and answers.
    fn work(&mut self, key: Key) -> Result<(), Leaving> {
        let Some(Some(served)) = self.clients.get_mut(key.index()) else { return Ok(()) };
        let request = std::mem::take(&mut self.request);
        let Some(asked) = Request::parse(&request) else {
            return Err(Leaving::Corrupt("it sent what is no request".into()));
        };
        let tally = &served.ends.tally;
        tally.issued_at.store(asked.head.issued, Ordering::Relaxed);
        // A question for a procedure's number is no task.
        let one = u64::from(asked.head.procedure != LOOKUP);
        let count = |counter: &AtomicU64| {
            counter.store(counter.load(Ordering::Relaxed) + one, Ordering::Relaxed);
        };
        count(&tally.begun);
        let begun = self.trace.as_ref().map(|_| clock::exact());
        self.answer.clear();
        self.answer.resize(ANSWER, 0);
        let scratch = Scratch {
            procedures: &mut self.procedures,
            registry: &self.registry,
            inputs: &mut self.inputs,
            outputs: &mut self.outputs,
            answer: &mut self.answer,
            longest: self.longest,
        };
        let status = scratch.run(served, &asked);
        let head = AnswerHead { place: asked.head.place, turn: asked.head.turn, status, unused: 0 };
        self.answer[..ANSWER].copy_from_slice(bytemuck::bytes_of(&head));
        let tally = &served.ends.tally;
        count(&tally.answered);
        if status != DONE {
            count(&tally.failed);
        }
        if let (Some(trace), Some(begun)) = (&self.trace, begun) {
            trace.add(trace::Span {
                name: &self.registry.name(asked.head.procedure),
                client: served.id,
                pid: served.pid,
                shard: self.number,
                issued: asked.head.issued,
                begun,
                done: clock::exact(),
                status: name_of(status),
            });
        }
        let sent = served.ends.answers.try_send(&self.answer);
        self.request = request;
        match sent {
            Ok(()) => Ok(()),
            Err(TrySendError::Full) => {
                Err(Leaving::Corrupt("its ring of answers is damaged".into()))
            }
            Err(TrySendError::End(end)) => Err(no_answers(end)),
        }
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        // No client is sent here any more, and clients that wait to be let in are told.
        self.mailbox.close();
        if let Some(trace) = &self.trace {
            trace.flush();
        }
    }
}

impl Shard {
    /// The same shard, with a descriptor: see [`PollableShard`].
    ///
    /// # Errors
    ///
    /// What the kernel said: no descriptor, or no thread. The shard is lost then.
    pub fn into_pollable(mut self) -> std::io::Result<PollableShard> {
        let set = self.selector.watch()?;
        Ok(PollableShard { shard: self, set })
    }
}

/// A [`Shard`] with a descriptor for `poll`, `epoll`, `mio` or `io_uring`: readable when a [`turn`](Shard::turn) is worth
/// trying, once a turn was in vain.
#[derive(Debug)]
pub struct PollableShard {
    shard: Shard,
    set: Arc<OwnedFd>,
}

impl Deref for PollableShard {
    type Target = Shard;

    fn deref(&self) -> &Shard {
        &self.shard
    }
}

impl DerefMut for PollableShard {
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }
}

impl AsFd for PollableShard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}

/// Why there will be no more requests.
fn no_requests(end: RecvError) -> Leaving {
    match end {
        RecvError::Corrupt(why) => Leaving::Corrupt(why.to_string()),
        _ => Leaving::Ended,
    }
}

/// Why there can be no more answers.
fn no_answers(end: SendError) -> Leaving {
    match end {
        SendError::TooLarge(why) => Leaving::Corrupt(why.to_string()),
        _ => Leaving::Ended,
    }
}

/// Whether there is room for the longest answer. If not, the client rings when it has read.
fn has_room(served: &mut Served, longest: usize) -> Result<bool, Leaving> {
    let answers = &mut served.ends.answers;
    let mut try_now = || match answers.try_reserve(ANSWER + longest) {
        Ok(room) => {
            drop(room);
            Ok(true)
        }
        Err(TrySendError::Full) => Ok(false),
        Err(TrySendError::End(end)) => Err(no_answers(end)),
    };
    if try_now()? {
        return Ok(true);
    }
    day5::doorbell::announce(served.answers.doorbell().producer);
    try_now()
}

fn name_of(status: u32) -> &'static str {
    match status {
        DONE => "done",
        REFUSED => "refused",
        FAILED => "failed",
        PANICKED => "panicked",
        _ => "cancelled",
    }
}

/// What a shard has ready for each task.
struct Scratch<'a> {
    procedures: &'a mut Vec<Box<dyn Procedure>>,
    registry: &'a Registry,
    inputs: &'a mut Vec<Input>,
    outputs: &'a mut Vec<Output>,
    /// Begins with room for the head.
    answer: &'a mut Vec<u8>,
    longest: usize,
}

impl Scratch<'_> {
    /// Runs a task. What is to be said stands in the answer then.
    fn run(self, served: &Served, asked: &Request<'_>) -> u32 {
        let longest = self.longest;
        let say = |answer: &mut Vec<u8>, status: u32, text: &str| {
            let text = &text.as_bytes()[..text.floor_char_boundary(longest)];
            answer.truncate(ANSWER);
            answer.extend_from_slice(text);
            status
        };
        if served.ends.line.is_cancelled(asked.head.place) {
            return CANCELLED;
        }
        if asked.head.procedure == LOOKUP {
            return match self.registry.find(asked.args) {
                Some(number) => {
                    self.answer.extend(number.to_ne_bytes());
                    DONE
                }
                None => say(self.answer, REFUSED, "there is no procedure of this name"),
            };
        }
        let at = asked.head.procedure as usize - 1;
        if at >= self.procedures.len() {
            self.registry.copy_into(self.procedures);
        }
        let Some(procedure) = self.procedures.get_mut(at) else {
            return say(self.answer, REFUSED, "there is no procedure of this number");
        };
        let arena = served.ends.arena.as_ref();
        if let Err(why) = lay_out(arena, asked, self.inputs, self.outputs) {
            return say(self.answer, REFUSED, &why);
        }
        let mut body = std::mem::take(self.answer);
        let mut task = Task {
            args: asked.args,
            inputs: self.inputs,
            outputs: self.outputs,
            answer: &mut body,
            longest,
            client: served.id,
            pid: served.pid,
        };
        let ended = task::run(&mut **procedure, &mut task);
        self.inputs.clear();
        self.outputs.clear();
        *self.answer = body;
        match ended {
            Ended::Done => DONE,
            Ended::Failed(why) => say(self.answer, FAILED, &why),
            Ended::Panicked(message) => say(self.answer, PANICKED, &message),
        }
    }
}

/// Finds a task's buffers in the client's arena.
fn lay_out(
    arena: Option<&Foreign>,
    asked: &Request<'_>,
    inputs: &mut Vec<Input>,
    outputs: &mut Vec<Output>,
) -> Result<(), String> {
    inputs.clear();
    outputs.clear();
    let count = usize::from(asked.head.inputs);
    for (at, span) in asked.spans().enumerate() {
        let part = arena.and_then(|arena| arena.part(span)).ok_or_else(|| {
            let Span { offset, len } = span;
            format!("buffer {at}, {len} bytes at {offset}, lies outside of the client's arena")
        })?;
        if at < count {
            // SAFETY: the arena stays mapped while the task runs, and the buffers are gone after it.
            inputs.push(unsafe { Input::new(part) });
        } else {
            // SAFETY: as above.
            outputs.push(unsafe { Output::new(part) });
        }
    }
    let overlaps = |a: Span, b: Span| {
        a.len > 0 && b.len > 0 && a.offset < b.offset + b.len && b.offset < a.offset + a.len
    };
    for (at, output) in asked.spans().enumerate().skip(count) {
        if let Some((other, _)) =
            asked.spans().enumerate().find(|(other, span)| *other != at && overlaps(*span, output))
        {
            return Err(format!("buffer {at} is written, and overlaps buffer {other}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use testing::{DEADLINE, Folder};

    use super::*;
    use crate::tasks::{Client, ClientOptions, Server, ServerOptions};

    /// A client at this path, let in by this shard.
    fn client(shard: &mut Shard, path: &std::path::Path) -> Client {
        let path = path.to_owned();
        let options = ClientOptions::new().timeout(DEADLINE);
        let client = thread::spawn(move || Client::connect_with(path, &options).unwrap());
        while !client.is_finished() {
            shard.turn_timeout(Duration::from_millis(1));
        }
        client.join().unwrap()
    }

    #[test]
    fn who_has_the_place_of_a_client_that_went_is_not_ended_for_it() {
        let folder = Folder::new();
        let path = folder.join("server");
        let server = Server::bind(&path, &ServerOptions::new()).unwrap();
        let mut shard = server.shard(0).unwrap();
        let first = client(&mut shard, &path);
        let gone = *shard.keys.values().next().expect("it is in");
        drop(first);
        while shard.clients() > 0 {
            shard.turn_timeout(Duration::from_millis(1));
        }
        let second = client(&mut shard, &path);
        let key = *shard.keys.values().next().expect("it is in");
        assert!(key != gone && key.index() == gone.index(), "it has the same place");
        shard.end(gone);
        assert_eq!((shard.clients(), shard.selector.contains(key)), (1, true));
        drop(second);
    }
}
