//! A server in the thread that asks: for tests and profiles.

use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;

use crate::line::{ClientEnds, Connection, Line, Party};

use super::arena::{Arena, Foreign, NotMapped};
use super::client::{Client, ClientOptions};
use super::core::Core;
use super::error::{BindError, ConnectError, NameTaken};
use super::reception::server_ends;
use super::server::{Server, ServerOptions};
use super::shard::{Arrival, Shard, Tally};
use super::task::{Outcome, ProcedureId, Registry, Task};
use super::wire::Answer;

/// A server whose procedures run in the thread that waits for their answer. It is the same code, with no other thread,
/// no other process, and no name; nothing sleeps.
///
/// # Examples
///
/// ```
/// # mod fanout { pub use day7::tasks; }
/// use fanout::tasks::{ClientOptions, Server, ServerOptions};
///
/// let server = Server::local(&ServerOptions::new())?;
/// server.register("upper", |task| Ok(task.answer(&task.args().to_ascii_uppercase())?))?;
/// let client = server.client(&ClientOptions::new())?;
/// let upper = client.procedure("upper")?;
/// assert_eq!(client.call(upper, b"hi")?, b"HI");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Local {
    shard: Arc<Mutex<Shard>>,
    registry: Arc<Registry>,
    options: ServerOptions,
}

impl Server {
    /// A server whose procedures run in the thread that waits for their answer.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    pub fn local(options: &ServerOptions) -> Result<Local, BindError> {
        let registry = Arc::<Registry>::default();
        options.check()?;
        let (trace, options) = (options.open_trace()?, options.clone());
        let shard = Shard::new(options.parts(0, &registry, trace.as_ref())?);
        Ok(Local { shard: Arc::new(Mutex::new(shard)), registry, options })
    }
}

impl Local {
    /// Adds a procedure that clients find by this name.
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

    /// A client of this server. What it waits for, it does itself.
    ///
    /// A procedure cannot ask its own server: that is an error, as it would wait for itself.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn client(&self, options: &ClientOptions) -> Result<Client, ConnectError> {
        let path = std::path::Path::new("(local)");
        let system = |error| ConnectError::system(path, error);
        let arena = options.make_arena().map_err(system)?;
        let foreign =
            arena.as_ref().map(|arena: &Arc<Arena>| Foreign::map(arena.object(), arena.len()));
        let foreign = foreign.transpose().map_err(|error| match error {
            NotMapped::System(call, errno) => system((call, errno)),
            _ => system(("mmap", Errno::EINVAL)),
        })?;
        let (plan, traces) = (self.options.plan(), self.options.traces());
        let connection = Arc::new(Connection::Local);
        let tally = Arc::<Tally>::default();
        let (object, client) =
            server_ends(plan, Arc::clone(&connection), foreign, tally).map_err(system)?;
        let line = Line::map(&object, plan, Party::Client, connection).map_err(system)?;
        let damaged = |found| ConnectError::Damaged {
            path: path.to_owned(),
            expected: "a ring with room for one consumer",
            found,
        };
        let mut shard = self.shard.lock().unwrap_or_else(PoisonError::into_inner);
        let id = shard.next_id();
        let arrival =
            Arrival { id, pid: std::process::id(), object, answer: Answer::default(), client };
        let seat = shard.welcome(arrival);
        drop(shard);
        let Some(seat) = seat else {
            let most = self.options.most_clients();
            return Err(ConnectError::Full { path: path.to_owned(), most });
        };
        let ends = ClientEnds::new(line, Some(seat), options.connecting()).map_err(damaged)?;
        let ends = ends.into_tasks(traces);
        let local = Some(Arc::clone(&self.shard));
        Ok(Client { core: Core::new(None, options.clone(), arena, ends, local) })
    }
}
