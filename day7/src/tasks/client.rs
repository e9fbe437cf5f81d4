//! The side that has tasks done.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::sync::Ordering;
use day3::{SendError, TrySendError};
use day4::reader::Reader;
use day4::writer::Writer;
use day5::strategy::{AnyStrategy, Strategy};
use nix::errno::Errno;

use crate::line::{self, ClientEnds, ConnectOptions, Line};
use crate::ready::Posting;

use super::arena::{Arena, Buffer};
use super::clock;
use super::core::{Core, Place};
use super::error::{ArenaFull, CallError, ConnectError, Failed, NotSubmitted, SubmitError};
use super::message::{LOOKUP, MOST_BUFFERS, MOST_OUTSTANDING, REQUEST, RequestHead, SPAN};
use super::ticket::Ticket;
use super::wire::{self, ClientInfo, Hello};

/// How a client is to be.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    arena: u64,
    reconnects: bool,
    connecting: ConnectOptions,
    outstanding: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { arena: 0, reconnects: false, connecting: ConnectOptions::new(), outstanding: 256 }
    }
}

impl ClientOptions {
    /// No arena, no second connection, 256 tasks outstanding.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an arena of so many bytes, for buffers.
    #[must_use]
    pub fn arena(self, bytes: u64) -> Self {
        Self { arena: bytes, ..self }
    }

    /// Connects again when the server has died or ended: tasks that were out have failed, and what is submitted from then
    /// on goes to the new server.
    #[must_use]
    pub fn reconnect(self) -> Self {
        Self { reconnects: true, ..self }
    }

    /// How long the server may take to answer a connection.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { connecting: self.connecting.timeout(timeout), ..self }
    }

    /// Trusts a server of this user, too.
    #[must_use]
    pub fn trust_user(self, user: u32) -> Self {
        Self { connecting: self.connecting.trust_user(user), ..self }
    }

    /// Trusts a server of any user.
    #[must_use]
    pub fn trust_any_user(self) -> Self {
        Self { connecting: self.connecting.trust_any_user(), ..self }
    }

    /// How it waits for answers.
    #[must_use]
    pub fn waiting(self, strategy: Strategy) -> Self {
        Self { connecting: self.connecting.waiting(strategy), ..self }
    }

    /// How many tasks may be outstanding, at most [`MOST_OUTSTANDING`].
    #[must_use]
    pub fn outstanding(self, most: usize) -> Self {
        Self { outstanding: most, ..self }
    }
}

/// A procedure that a client has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Procedure {
    pub(super) client: u64,
    pub(super) at: usize,
}

/// The end that has tasks done by a [`Server`](super::Server). Its clones are the same client; threads may share them.
///
/// # Examples
///
/// A task with buffers, while another one is outstanding:
///
/// ```
/// # mod fanout { pub use day7::tasks; }
/// use fanout::tasks::{Client, ClientOptions, Server, ServerOptions};
///
/// let path = std::env::temp_dir().join(format!("doc-client-{}", std::process::id()));
/// let server = Server::bind(&path, &ServerOptions::new())?;
/// server.register("reverse", |task| {
///     let mut bytes = task.inputs()[0].to_vec();
///     bytes.reverse();
///     Ok(task.outputs()[0].write(0, &bytes)?)
/// })?;
/// let serving = server.serve()?;
///
/// let client = Client::connect_with(&path, &ClientOptions::new().arena(1 << 20))?;
/// let reverse = client.procedure("reverse")?;
/// let mut tickets = Vec::new();
/// for word in [b"abc", b"xyz"] {
///     let mut input = client.buffer(3)?;
///     input.copy_from_slice(word);
///     tickets.push(client.submit(reverse, &[], vec![input], vec![client.buffer(3)?])?);
/// }
/// for (ticket, expected) in tickets.into_iter().zip([b"cba", b"zyx"]) {
///     let completed = ticket.wait();
///     completed.result?;
///     assert_eq!(&completed.outputs[0][..], expected);
/// }
/// # drop(serving);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) core: Arc<Core>,
}

/// A client's ends of its line.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) requests: Requests,
    pub(super) answers: Reader<Posting<AnyStrategy>>,
}

/// The end that requests are written to.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) writer: Writer<Posting<AnyStrategy>>,
    pub(super) line: Arc<Line>,
    /// Whether the server wants to know when exactly a task was issued.
    traces: bool,
}

/// The half that submits.
#[derive(Debug)]
pub(super) struct Submitting {
    /// `None` while there is no server.
    pub(super) requests: Option<Requests>,
    /// The procedures that were asked for, and their numbers in this server.
    pub(super) procedures: Vec<(String, Option<u32>)>,
}

impl Client {
    /// Connects to the server at `path`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ConnectError> {
        Self::connect_with(path, &ClientOptions::new())
    }

    /// Connects to the server at `path`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn connect_with(
        path: impl AsRef<Path>,
        options: &ClientOptions,
    ) -> Result<Self, ConnectError> {
        let path = path.as_ref();
        let arena = options.make_arena().map_err(|error| ConnectError::system(path, error))?;
        let ends = open(path, options, arena.as_ref())?;
        Ok(Self { core: Core::new(Some(path.to_owned()), options.clone(), arena, ends, None) })
    }

    /// Finds the procedure that the server has registered under this name.
    ///
    /// # Errors
    ///
    /// [`CallError`]; among others if there is none.
    pub fn procedure(&self, name: &str) -> Result<Procedure, CallError> {
        let mut submitting = self.core.submitting();
        let known = submitting.procedures.iter().position(|(known, _)| known == name);
        let at = known.unwrap_or(submitting.procedures.len());
        if known.is_none() {
            submitting.procedures.push((name.to_owned(), None));
        }
        match self.core.number_of(&mut submitting, at) {
            Ok(_) => Ok(Procedure { client: self.core.identity(), at }),
            Err(error) => {
                if known.is_none() {
                    submitting.procedures.pop();
                }
                Err(error)
            }
        }
    }

    /// Has a procedure done, and waits for its answer.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn call(&self, procedure: Procedure, args: &[u8]) -> Result<Vec<u8>, CallError> {
        let ticket = self.submit(procedure, args, Vec::new(), Vec::new());
        Ok(ticket.map_err(|error| error.why)?.wait().result?)
    }

    /// The same, waiting for at most `timeout`; then the task is cancelled, if it was not begun.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn call_timeout(
        &self,
        procedure: Procedure,
        args: &[u8],
        timeout: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let ticket = self.submit(procedure, args, Vec::new(), Vec::new());
        let mut ticket = ticket.map_err(|error| error.why)?;
        if !ticket.wait_timeout(timeout) {
            ticket.cancel();
            return Err(CallError::TimedOut(timeout));
        }
        Ok(ticket.wait().result?)
    }

    /// Issues a task, waiting for as long as there is no room for it. The buffers come back with the ticket.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]; nothing was issued.
    pub fn submit(
        &self,
        procedure: Procedure,
        args: &[u8],
        inputs: Vec<Buffer>,
        outputs: Vec<Buffer>,
    ) -> Result<Ticket, SubmitError> {
        self.issue(procedure, Task { args, inputs, outputs }, true)
    }

    /// Issues a task, if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]; nothing was issued.
    pub fn try_submit(
        &self,
        procedure: Procedure,
        args: &[u8],
        inputs: Vec<Buffer>,
        outputs: Vec<Buffer>,
    ) -> Result<Ticket, SubmitError> {
        self.issue(procedure, Task { args, inputs, outputs }, false)
    }

    /// A part of the arena, of so many bytes. It holds whatever was there before.
    ///
    /// # Errors
    ///
    /// [`ArenaFull`]; among others if the client has no arena.
    pub fn buffer(&self, len: usize) -> Result<Buffer, ArenaFull> {
        let Some(arena) = self.core.arena() else { return Err(ArenaFull { len, arena: 0 }) };
        arena.lend(len).or_else(|_| {
            // Tickets that were dropped give back their buffers when their answers are taken.
            self.core.look();
            arena.lend(len)
        })
    }

    /// How many tasks are outstanding, as far as answers have come.
    pub fn outstanding(&self) -> usize {
        self.core.look();
        self.core.outstanding()
    }

    fn issue(
        &self,
        procedure: Procedure,
        task: Task<'_>,
        waits: bool,
    ) -> Result<Ticket, SubmitError> {
        let core = &self.core;
        let mut task = task;
        let found = task.inputs.len() + task.outputs.len();
        let is_own = |buffer: &Buffer| buffer.is_of(core.arena());
        let why = if procedure.client != core.identity() {
            NotSubmitted::Procedure
        } else if found > MOST_BUFFERS {
            NotSubmitted::TooManyBuffers { most: MOST_BUFFERS, found }
        } else if !task.inputs.iter().chain(&task.outputs).all(is_own) {
            NotSubmitted::Buffer
        } else {
            let mut submitting = core.submitting();
            let issued = core.number_of(&mut submitting, procedure.at).map_err(not_submitted);
            let issued =
                issued.and_then(|number| core.issue(&mut submitting, number, &mut task, waits));
            match issued {
                Ok(ticket) => return Ok(ticket),
                Err(why) => why,
            }
        };
        Err(SubmitError { why, inputs: task.inputs, outputs: task.outputs })
    }
}

/// Why a procedure's number is not known.
fn not_submitted(error: CallError) -> NotSubmitted {
    match error {
        CallError::NotSubmitted(why) => why,
        _ => NotSubmitted::ServerDied,
    }
}

/// What is to be issued.
#[derive(Debug)]
pub(super) struct Task<'a> {
    pub(super) args: &'a [u8],
    pub(super) inputs: Vec<Buffer>,
    pub(super) outputs: Vec<Buffer>,
}

impl Task<'_> {
    fn len(&self) -> usize {
        REQUEST + (self.inputs.len() + self.outputs.len()) * SPAN + self.args.len()
    }

    /// Writes all but the head.
    fn write(&self, into: &mut [u8]) {
        let mut rest = into;
        for buffer in self.inputs.iter().chain(&self.outputs) {
            let (place, behind) = rest.split_at_mut(SPAN);
            place.copy_from_slice(bytemuck::bytes_of(&buffer.span()));
            rest = behind;
        }
        rest.copy_from_slice(self.args);
    }
}

impl Core {
    /// The number that this server has for a procedure.
    pub(super) fn number_of(
        self: &Arc<Self>,
        submitting: &mut Submitting,
        at: usize,
    ) -> Result<u32, CallError> {
        self.stand(submitting)?;
        if let Some(number) = submitting.procedures[at].1 {
            return Ok(number);
        }
        let name = submitting.procedures[at].0.clone();
        let mut lookup = Task { args: name.as_bytes(), inputs: Vec::new(), outputs: Vec::new() };
        let ticket = self.issue(submitting, LOOKUP, &mut lookup, true)?;
        let answer = match ticket.wait().result {
            Err(Failed::Refused { .. }) => return Err(NotSubmitted::Unknown { name }.into()),
            answer => answer?,
        };
        let number = answer.try_into().map(u32::from_ne_bytes).unwrap_or(LOOKUP);
        if number == LOOKUP {
            return Err(NotSubmitted::Unknown { name }.into());
        }
        submitting.procedures[at].1 = Some(number);
        Ok(number)
    }

    /// Sees to it that there is a server.
    fn stand(self: &Arc<Self>, submitting: &mut Submitting) -> Result<(), NotSubmitted> {
        if !self.is_here() {
            return Err(NotSubmitted::Forked);
        }
        if self.is_within() {
            return Err(NotSubmitted::Nested);
        }
        if !self.is_down() {
            return Ok(());
        }
        let Some((path, options)) = self.way_back() else { return Err(NotSubmitted::ServerDied) };
        submitting.requests = None;
        submitting.procedures.iter_mut().for_each(|(_, number)| *number = None);
        let ends = open(path, options, self.arena());
        let ends = ends.map_err(|error| NotSubmitted::NotReconnected(Box::new(error)))?;
        submitting.requests = Some(self.reconnected(ends));
        Ok(())
    }

    /// Issues a task to this procedure. Its buffers are the ticket's then.
    pub(super) fn issue(
        self: &Arc<Self>,
        submitting: &mut Submitting,
        number: u32,
        task: &mut Task<'_>,
        waits: bool,
    ) -> Result<Ticket, NotSubmitted> {
        let len = task.len();
        loop {
            let Some(Requests { writer, line, traces }) = &mut submitting.requests else {
                return Err(NotSubmitted::ServerDied);
            };
            // Before the look: an answer that comes after it is new.
            let received = self.received();
            match writer.try_reserve(len) {
                Ok(mut room) => {
                    task.write(&mut room[REQUEST..]);
                    let (inputs, outputs) = (task.inputs.len() as u16, task.outputs.len() as u16);
                    if let Some(Place { place, turn, entry }) = self.take_place(task) {
                        line.set_cancelled(place, false);
                        let issued = if *traces { clock::exact() } else { clock::coarse() };
                        let procedure = number;
                        let head = RequestHead { place, turn, procedure, inputs, outputs, issued };
                        room[..REQUEST].copy_from_slice(bytemuck::bytes_of(&head));
                        // A question for a procedure's number is no task.
                        if number != LOOKUP {
                            let count = &line.words().issued;
                            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                        }
                        room.publish(len);
                        return Ok(Ticket::new(Arc::clone(self), entry));
                    }
                }
                Err(TrySendError::Full) => {}
                Err(TrySendError::End(SendError::TooLarge(why))) => return Err(why.into()),
                Err(TrySendError::End(_)) => {
                    self.await_the_end();
                    return Err(NotSubmitted::ServerDied);
                }
            }
            if !waits {
                // A client that never waits takes its answers here.
                self.look();
                if self.received() != received {
                    continue;
                }
                return Err(NotSubmitted::Full { outstanding: self.outstanding() });
            }
            self.wait_for_another(received);
            if self.is_down() {
                return Err(NotSubmitted::ServerDied);
            }
        }
    }
}

impl ClientOptions {
    /// The arena that was asked for.
    pub(super) fn make_arena(&self) -> Result<Option<Arc<Arena>>, (&'static str, Errno)> {
        if self.arena == 0 { Ok(None) } else { Arena::new(self.arena).map(Some) }
    }

    /// How it connects, and waits.
    pub(super) fn connecting(&self) -> &ConnectOptions {
        &self.connecting
    }

    pub(super) fn reconnects(&self) -> bool {
        self.reconnects
    }

    /// How many tasks may be outstanding.
    pub(super) fn most(&self) -> usize {
        self.outstanding.clamp(1, MOST_OUTSTANDING)
    }
}

/// Connects to the server at `path`.
fn open(
    path: &Path,
    options: &ClientOptions,
    arena: Option<&Arc<Arena>>,
) -> Result<Ends, ConnectError> {
    let hello = Hello::new(wire::CLIENT, arena.map_or(0, |arena| arena.len()));
    let arena: Vec<_> = arena.map(|arena| arena.object().as_fd()).into_iter().collect();
    let connected = line::connect(path, &options.connecting, hello, &arena)?;
    Ok(connected.ends.into_tasks(connected.answer.traces != 0))
}

impl ClientEnds {
    /// The same ends, for tasks.
    pub(super) fn into_tasks(self, traces: bool) -> Ends {
        let Self { requests: writer, answers, line } = self;
        Ends { requests: Requests { writer, line, traces }, answers }
    }
}

/// Asks the server at `path` how its clients are.
///
/// # Errors
///
/// [`ConnectError`].
pub fn clients(path: impl AsRef<Path>) -> Result<Vec<ClientInfo>, ConnectError> {
    let (path, options) = (path.as_ref(), ClientOptions::new().trust_any_user());
    let hello = Hello::new(wire::OBSERVER, 0);
    let most = wire::clients_len(MOST_CLIENTS);
    let (_, received) = line::ask(path, &options.connecting, hello, &[], most)?;
    match wire::decode_clients(&received.bytes) {
        Some(clients) => Ok(clients),
        None => {
            line::read(path, hello, &received.bytes)?;
            let (path, expected) = (path.to_owned(), "a row for each client");
            Err(ConnectError::Damaged { path, expected, found: "something else".into() })
        }
    }
}

/// How many clients a packet can tell of.
const MOST_CLIENTS: usize = 2048;
