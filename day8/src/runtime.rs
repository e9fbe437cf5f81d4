//! An executor for one thread.
//!
//! A [`Runtime`] runs coroutines. Those that can go on stand in a queue, and the queue drains before the poller is asked;
//! the poller is asked at the latest after 256 polls. So neither starves the other. The poller turns readiness into
//! coroutines that can go on, and does nothing else.
//!
//! A coroutine that always finds something to read gives way after 128 reads and writes.

mod core;
mod options;
pub mod remote;
mod slots;
mod spawn;
mod task;
mod timers;

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::Arc;

pub(crate) use self::core::Core;
pub use options::RuntimeOptions;
pub(crate) use slots::Side;
pub(crate) use spawn::watch;
pub use spawn::{
    Elapsed, Panicked, SpawnError, Spawned, is_shutting_down, readable, sleep, spawn, timeout,
    yield_now,
};
pub(crate) use task::Kind;

use common::OsError;

use crate::heap::{Heap, HeapError, Isolation};
use crate::listener::Listener;
use crate::service::{self, Service};

/// Why a runtime cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The kernel refuses.
    #[error("{call} for a runtime: {source}")]
    Kernel {
        /// What it was asked for.
        call: &'static str,
        /// What it said.
        source: OsError,
    },
    /// A coroutine cannot run a runtime.
    #[error(
        "this thread runs a runtime already, which would stand still meanwhile: spawn a coroutine, or use another thread"
    )]
    Running,
    /// The process is a forked child's.
    #[error(
        "this process was forked from the one that the runtime belongs to, and shares its poller: make a runtime of its own, or exec a program"
    )]
    Forked,
    /// The future was dropped before it was done.
    #[error("the future was dropped, because the runtime has shut down")]
    Dropped,
    /// A coroutine has no heap.
    #[error(transparent)]
    Heap(#[from] HeapError),
}

/// Only a coroutine that is run by a [`Runtime`] can do this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this needs a runtime: call it from a coroutine that Runtime::run or Runtime::block_on runs"
)]
pub struct NotInRuntime;

/// What a runtime has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that have ended.
    pub ended: u64,
    /// Connections that ended with an error.
    pub failed: u64,
    /// Coroutines that have panicked.
    pub panicked: u64,
    /// Times that a listener had no descriptor or memory for a connection, and tried again.
    pub short: u64,
    /// Connections that were cut off at the end of a shutdown.
    pub cut: u64,
}

thread_local! {
    /// The runtime that this thread runs.
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// This thread runs a runtime for as long as this lives.
struct Entered;

impl Entered {
    fn new(core: &Rc<Core>) -> Result<Self, RuntimeError> {
        if !core.is_here() {
            return Err(RuntimeError::Forked);
        }
        CURRENT.with_borrow_mut(|current| match current {
            Some(_) => Err(RuntimeError::Running),
            None => {
                *current = Some(Rc::clone(core));
                Ok(Self)
            }
        })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let core = CURRENT.take();
        drop(core);
    }
}

/// The runtime that this thread runs.
pub(crate) fn current() -> Result<Rc<Core>, NotInRuntime> {
    // A thread that ends may have no such place any more.
    let current = CURRENT.try_with(|current| current.borrow().clone());
    current.ok().flatten().ok_or(NotInRuntime)
}

pub(crate) fn current_heap() -> Option<Heap> {
    current().ok()?.current_heap()
}

/// Whether this thread runs another runtime than this.
fn another_runs(runtime: u64) -> bool {
    let another = CURRENT.try_with(|current| {
        let current = current.borrow();
        current.as_ref().is_some_and(|core| core.identity() != runtime)
    });
    another.unwrap_or(false)
}

/// Queues a task of this runtime, if this thread runs it.
fn wake_here(runtime: u64, task: usize) -> bool {
    let woken = CURRENT.try_with(|current| {
        let current = current.borrow();
        let core = current.as_ref().filter(|core| core.identity() == runtime);
        core.map(|core| core.queue(task)).is_some()
    });
    woken.unwrap_or(false)
}

/// Has a runtime shut down, from any thread; a handle, which can be cloned.
#[derive(Clone)]
pub struct Shutdown(Arc<task::Remote>);

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").field("has_begun", &self.0.is_to_stop()).finish()
    }
}

impl Shutdown {
    /// From now on no connection is accepted. Those that wait for a request end. The others answer the requests that have
    /// begun, and end, or are cut off when [their time](RuntimeOptions::shutdown_timeout) is up.
    pub fn start(&self) {
        self.0.stop();
    }
}

/// Runs coroutines, in one thread.
///
/// A runtime belongs to the process that made it. In a forked child it cannot run: the child has the same poller, and
/// would take the parent's sockets off it. A child that does not call `exec` leaves the runtime and its sockets alone, and
/// ends with `_exit`.
///
/// ```
/// # mod fanout { pub mod serve { pub use day8::*; } }
/// use fanout::serve::{Isolation, Listener, Runtime, Socket, SocketError};
///
/// // Says how long each line is.
/// async fn lengths(mut socket: Socket) -> Result<(), SocketError> {
///     let (input, output) = socket.split();
///     while let Some(line) = input.read_line(1024).await? {
///         let answer = format!("{}\n", line.len());
///         output.write_all(answer.as_bytes()).await?;
///     }
///     Ok(())
/// }
///
/// let runtime = Runtime::new(Isolation::None)?;
/// let (listener, connector) = Listener::channel();
/// runtime.serve(listener, lengths)?;
/// let answers = runtime.block_on(async move {
///     let mut socket = connector.connect().await?;
///     socket.write_all(b"one\nthree\n").await?;
///     socket.finish().await?;
///     let mut answers = Vec::new();
///     while let Some(line) = socket.read_line(1024).await? {
///         answers.push(line.to_vec());
///     }
///     Ok::<_, SocketError>(answers)
/// })??;
/// assert_eq!(answers, [b"3", b"5"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Runtime {
    core: Rc<Core>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Runtime");
        out.field("connections", &self.connections()).finish_non_exhaustive()
    }
}

impl Runtime {
    /// A runtime with the default options, but for this one.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    pub fn new(isolation: Isolation) -> Result<Self, RuntimeError> {
        Self::with_options(&RuntimeOptions::new().isolation(isolation))
    }

    /// A runtime with these options.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    pub fn with_options(options: &RuntimeOptions) -> Result<Self, RuntimeError> {
        Ok(Self { core: Core::new(options)? })
    }

    /// Accepts connections, and has the service serve each of them in a coroutine of its own. It begins when the runtime
    /// runs.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Heap`].
    pub fn serve(&self, listener: Listener, service: impl Service) -> Result<(), RuntimeError> {
        let accepting = service::accept(Rc::clone(&self.core), listener, Rc::new(service));
        Ok(self.core.spawn(&self.core.heap()?, Kind::Listener, None, accepting)?)
    }

    /// Has a coroutine run, with a heap of its own.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Heap`].
    pub fn spawn<T: 'static>(
        &self,
        future: impl Future<Output = T> + 'static,
    ) -> Result<Spawned<T>, RuntimeError> {
        Ok(spawn::spawn_in(&self.core, future)?)
    }

    /// Runs until a shutdown is complete, or until no coroutine is left.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    pub fn run(&self) -> Result<(), RuntimeError> {
        let _entered = Entered::new(&self.core)?;
        self.core.turns(|| false)
    }

    /// Runs until this future is done. Other coroutines run beside it, and stand still after that until the runtime runs
    /// again.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`]. [`RuntimeError::Dropped`] if a shutdown was complete before.
    ///
    /// # Panics
    ///
    /// If the future does.
    pub fn block_on<T: 'static>(
        &self,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T, RuntimeError> {
        // Before anything is spawned: what is refused does not run some other time.
        let entered = Entered::new(&self.core)?;
        let spawned = self.spawn(future)?;
        self.core.turns(|| spawned.is_done())?;
        drop(entered);
        match spawned.take() {
            Some(Ok(value)) => Ok(value),
            Some(Err(panicked)) => match panicked.into_payload() {
                Some(payload) => resume_unwind(payload),
                None => Err(RuntimeError::Dropped),
            },
            None => Err(RuntimeError::Dropped),
        }
    }

    /// What has it shut down.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown(Arc::clone(self.core.remote()))
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.core.connections()
    }

    /// What it has seen so far.
    pub fn statistics(&self) -> Statistics {
        self.core.statistics.get()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.core.close();
    }
}
