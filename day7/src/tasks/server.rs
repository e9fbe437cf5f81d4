//! The server: its options, its procedures, its shards.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use common::process::Origin;
use common::sync::Ordering;
use common::{OsError, QueueName};
use day4::frame::record_len;
use day4::hosting;
use day4::rendezvous::socket::Listening;
use day5::strategy::Strategy;

use crate::line::{Plan, errno_of};
use crate::ready::MOST_SEATS;
use crate::selector::{Selector, SelectorOptions};

use super::error::{BindError, NameTaken, ShardError};
use super::message::{ANSWER, REQUEST};
use super::reception::{Admission, Counts, Reception};
use super::shard::{Mailbox, Parts, Shard};
use super::task::{Outcome, ProcedureId, Registry, Task};
use super::trace::Trace;

/// How many clients a server has, unless its options say otherwise.
pub const CLIENTS: usize = 1024;
const _: () = assert!(CLIENTS < MOST_SEATS, "one seat is reception's");

/// How a server is to be.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    shards: usize,
    clients: usize,
    quantum: u64,
    requests: u64,
    answers: u64,
    longest_answer: usize,
    any_user: bool,
    waiting: Strategy,
    trace: Option<PathBuf>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            shards: 1,
            clients: CLIENTS,
            quantum: 64 << 10,
            requests: 16 << 10,
            answers: 16 << 10,
            longest_answer: 4096,
            any_user: false,
            waiting: Strategy::Adaptive,
            trace: None,
        }
    }
}

impl ServerOptions {
    /// One shard, 1,024 clients, 16 KiB each way.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many threads share the clients.
    #[must_use]
    pub fn shards(self, shards: usize) -> Self {
        Self { shards, ..self }
    }

    /// How many clients are served at once, at most.
    #[must_use]
    pub fn clients(self, clients: usize) -> Self {
        Self { clients, ..self }
    }

    /// How many bytes of requests a client's turn is, while others wait.
    #[must_use]
    pub fn quantum(self, bytes: u64) -> Self {
        Self { quantum: bytes, ..self }
    }

    /// How many bytes of requests a client's ring holds; rounded up to a power of two of at least a page.
    #[must_use]
    pub fn requests(self, bytes: u64) -> Self {
        Self { requests: bytes, ..self }
    }

    /// How many bytes of answers a client's ring holds; rounded up to a power of two of at least a page, and to what
    /// the longest answer needs.
    #[must_use]
    pub fn answers(self, bytes: u64) -> Self {
        Self { answers: bytes, ..self }
    }

    /// How many bytes an answer has, at most; more goes into outputs.
    #[must_use]
    pub fn longest_answer(self, bytes: usize) -> Self {
        Self { longest_answer: bytes, ..self }
    }

    /// Serves clients of every user; otherwise only those of its own, and root's.
    #[must_use]
    pub fn allow_any_user(self) -> Self {
        Self { any_user: true, ..self }
    }

    /// How a shard waits while no client has anything.
    #[must_use]
    pub fn waiting(self, strategy: Strategy) -> Self {
        Self { waiting: strategy, ..self }
    }

    /// Writes one line a task to this file, in the format of Chrome's trace viewer.
    #[must_use]
    pub fn trace(self, file: impl Into<PathBuf>) -> Self {
        Self { trace: Some(file.into()), ..self }
    }

    pub(super) fn check(&self) -> Result<(), BindError> {
        let within = |what, expected, found, range: std::ops::RangeInclusive<u64>| {
            let wrong = BindError::Options { what, expected, found };
            if range.contains(&found) { Ok(()) } else { Err(wrong) }
        };
        within("the number of shards", "1 to 256", self.shards as u64, 1..=256)?;
        let most = (self.shards * (MOST_SEATS - 1)) as u64;
        let clients = "1 or more, and at most one less than there are seats for each shard";
        within("the number of clients", clients, self.clients as u64, 1..=most)?;
        let ring = "1 byte to 1 GiB";
        within("the ring of requests", ring, self.requests, 1..=1 << 30)?;
        within("the ring of answers", ring, self.answers, 1..=1 << 30)?;
        let longest = self.longest_answer as u64;
        within("the longest answer", "16 bytes to 256 MiB", longest, 16..=256 << 20)?;
        within("the quantum", "1 byte or more", self.quantum, 1..=u64::MAX)
    }

    pub(super) fn plan(&self) -> Plan {
        let answer = record_len(ANSWER + self.longest_answer) as u64;
        let answers = Plan::rounded(self.answers.max(answer));
        let requests = Plan::rounded(self.requests.max(2 * record_len(REQUEST) as u64));
        Plan::new(requests, answers).expect("rounded")
    }
}

/// A server: clients find it at a path, and have it do tasks.
///
/// Each client has a ring for its requests, and one for its answers. A [`Shard`] looks only at those that rang. The
/// thread that [`bind`](Server::bind) starts lets clients in, and notices when they go.
///
/// Dropping it removes the path, and ends its shards: their clients get
/// [`ServerDied`](super::Failed::ServerDied) for what is outstanding.
///
/// # Examples
///
/// ```
/// # mod fanout { pub use day7::tasks; }
/// use fanout::tasks::{Client, Server, ServerOptions};
///
/// let path = std::env::temp_dir().join(format!("doc-tasks-{}", std::process::id()));
/// let server = Server::bind(&path, &ServerOptions::new())?;
/// server.register("add", |task| {
///     let sum: u32 = task.args().iter().map(|byte| u32::from(*byte)).sum();
///     Ok(task.answer(&sum.to_le_bytes())?)
/// })?;
/// let serving = server.serve()?;
///
/// let client = Client::connect(&path)?; // usually in another process
/// let add = client.procedure("add")?;
/// assert_eq!(client.call(add, &[3, 4])?, 7u32.to_le_bytes());
/// # drop(serving);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Server {
    // First: no client comes while the shards end.
    reception: Reception,
    mailboxes: Vec<Arc<Mailbox>>,
    shards: Mutex<Vec<Option<Parts>>>,
    registry: Arc<Registry>,
    counts: Arc<Counts>,
    origin: Origin,
}

impl Server {
    /// Listens at `path`, for processes of this user (and root's) unless the options say otherwise.
    ///
    /// Clients are let in from now on, and wait until a shard serves them.
    ///
    /// # Errors
    ///
    /// [`BindError`]; what was at `path` before is left there.
    pub fn bind(path: impl AsRef<Path>, options: &ServerOptions) -> Result<Self, BindError> {
        Self::listening(options, || {
            let listening = Listening::bind(path)?;
            if options.any_user {
                listening.set_mode(0o666)?;
            }
            Ok(listening)
        })
    }

    /// Listens under this name, as a queue that is [hosted](day4::writer::Writer::host): at a marked socket, whose name is
    /// among those of the queues. A name that a dead server has left behind is taken over.
    ///
    /// Clients connect to [`hosting::path_of`](day4::hosting::path_of) the name.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    pub fn host(name: &QueueName, options: &ServerOptions) -> Result<Self, BindError> {
        Self::listening(options, || Ok(hosting::listen(name, options.any_user)?))
    }

    /// A server that listens where `listen` says, which is called last.
    fn listening(
        options: &ServerOptions,
        listen: impl FnOnce() -> Result<Listening, BindError>,
    ) -> Result<Self, BindError> {
        options.check()?;
        let trace = options.open_trace()?;
        let registry = Arc::<Registry>::default();
        let mut shards = Vec::new();
        for number in 0..options.shards {
            shards.push(options.parts(number, &registry, trace.as_ref())?);
        }
        let mailboxes: Vec<_> = shards.iter().map(|parts| Arc::clone(&parts.mailbox)).collect();
        let listening = listen()?;
        let path = listening.path().to_owned();
        let counts = Arc::<Counts>::default();
        let admission = Admission {
            any_user: options.any_user,
            most: options.clients,
            plan: options.plan(),
            longest: options.longest_answer,
            traces: trace.is_some(),
            mailboxes: mailboxes.clone(),
            counts: Arc::clone(&counts),
        };
        let reception =
            Reception::open(listening, admission).map_err(|error| BindError::System {
                path,
                call: "starting reception",
                errno: OsError::new(errno_of(&error)),
            })?;
        let shards = Mutex::new(shards.into_iter().map(Some).collect());
        Ok(Self { reception, mailboxes, shards, registry, counts, origin: Origin::here() })
    }

    /// Where it listens, as an absolute path.
    pub fn path(&self) -> &Path {
        self.reception.path()
    }

    /// Adds a procedure that clients find by this name. Each shard has a copy of its own, so that shards do not wait for
    /// each other; what they are to share, share it with an `Arc`.
    ///
    /// A procedure that fails or panics costs the client that task; the server goes on.
    ///
    /// # Errors
    ///
    /// [`NameTaken`].
    pub fn register<F>(&self, name: &str, procedure: F) -> Result<ProcedureId, NameTaken>
    where
        F: FnMut(&mut Task<'_>) -> Outcome + Clone + Send + 'static,
    {
        self.registry.add(name, Box::new(procedure))
    }

    /// The shard of this number, for one thread.
    ///
    /// # Errors
    ///
    /// [`ShardError`].
    pub fn shard(&self, number: usize) -> Result<Shard, ShardError> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let last = shards.len() - 1;
        let parts = shards.get_mut(number).ok_or(ShardError::NoSuch { last, found: number })?;
        Ok(Shard::new(parts.take().ok_or(ShardError::Taken { found: number })?))
    }

    /// Serves clients in a thread for each shard that is left, until the result is dropped.
    ///
    /// # Errors
    ///
    /// What the kernel said: no thread.
    pub fn serve(self) -> std::io::Result<Serving> {
        let mut threads = Vec::new();
        for number in 0..self.mailboxes.len() {
            let Ok(mut shard) = self.shard(number) else { continue };
            let thread = thread::Builder::new().name(format!("fanout-shard-{number}"));
            threads.push(thread.spawn(move || shard.serve())?);
        }
        Ok(Serving { server: Some(self), origin: Origin::here(), threads })
    }

    /// How many clients it has now.
    pub fn clients(&self) -> u64 {
        self.counts.clients.load(Ordering::Relaxed)
    }

    /// How many clients were let in so far.
    pub fn admitted(&self) -> u64 {
        self.counts.admitted.load(Ordering::Relaxed)
    }

    /// How many were turned away so far.
    pub fn turned_away(&self) -> u64 {
        self.counts.turned_away.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            return;
        }
        for mailbox in &self.mailboxes {
            mailbox.end();
        }
    }
}

/// A server at work in threads of its own; dropping this ends it.
#[derive(Debug)]
pub struct Serving {
    server: Option<Server>,
    origin: Origin,
    threads: Vec<JoinHandle<()>>,
}

impl Serving {
    /// The server.
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("it is there until this is dropped")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.server = None;
        // The child of a fork has no such threads.
        let is_here = self.origin.is_here();
        // A procedure that drops its own server runs in one of them, which ends after it.
        let own = thread::current().id();
        let others = |thread: &JoinHandle<()>| is_here && thread.thread().id() != own;
        for thread in self.threads.drain(..).filter(others) {
            // A shard does not panic, and a drop could not report it.
            let _ = thread.join();
        }
    }
}

impl ServerOptions {
    /// Whether there is a trace.
    pub(super) fn traces(&self) -> bool {
        self.trace.is_some()
    }

    /// How many clients are served.
    pub(super) fn most_clients(&self) -> u64 {
        self.clients as u64
    }

    /// The file for the trace, if there is to be one.
    pub(super) fn open_trace(&self) -> Result<Option<Arc<Trace>>, BindError> {
        let Some(file) = &self.trace else { return Ok(None) };
        let failed = |source| BindError::Trace { path: file.clone(), source };
        Ok(Some(Arc::new(Trace::create(file).map_err(failed)?)))
    }

    /// What a shard is made of.
    pub(super) fn parts(
        &self,
        number: usize,
        registry: &Arc<Registry>,
        trace: Option<&Arc<Trace>>,
    ) -> Result<Parts, BindError> {
        let options =
            SelectorOptions::new().quantum(self.quantum).seats(MOST_SEATS).waiting(self.waiting);
        let mut selector = Selector::with_options(&options)?;
        let bell = selector.add_bell().expect("a new selector has a seat");
        let seat = selector.seat(bell).expect("a bell has a seat");
        let board = selector.board_descriptor().map_err(|error| BindError::System {
            path: PathBuf::new(),
            call: "fcntl(F_DUPFD_CLOEXEC)",
            errno: OsError::new(errno_of(&error)),
        })?;
        let mailbox = Shard::mailbox(seat, board);
        let (registry, trace) = (Arc::clone(registry), trace.cloned());
        let longest = self.longest_answer;
        Ok(Parts { number, mailbox, bell, selector, registry, trace, longest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_does_nothing_takes_no_more_than_64_kib() {
        assert!(ServerOptions::new().plan().total() <= 64 << 10);
    }
}
