//! Writers whose consumers have private rooms.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{NameError, QueueName};
use day3::{QueueOptions, Wait};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::stat::Mode as Permissions;

use crate::error::CreateError;
use crate::memory::socket_of;
use crate::rendezvous::{HostError, RendezvousError, Server};
use crate::rooms::Host;
use crate::writer::Writer;

impl<W: Wait> Writer<W> {
    /// Creates a ring without a name whose consumers have private rooms: a consumer can harm nobody but itself. It is
    /// for processes that [connect](crate::rendezvous).
    ///
    /// What this takes of other rings: it has no groups, and consumers join as long as something
    /// [serves](crate::rendezvous::serve) the ring.
    ///
    /// # Errors
    ///
    /// [`CreateError`]. Linux before 5.1 cannot keep an object from being mapped writable.
    ///
    /// # Examples
    ///
    /// ```
    /// # mod fanout { pub use {day3::*, day4 as records}; }
    /// use fanout::records::rendezvous::serve;
    /// use fanout::records::{Reader, Writer};
    /// use fanout::{QueueOptions, Start};
    ///
    /// let path = std::env::temp_dir().join(format!("doc-rooms-{}", std::process::id()));
    /// let mut writer = Writer::private(&QueueOptions::new(4096))?;
    /// let _serving = serve(&path, writer.offer())?;
    /// let mut reader = Reader::connect(&path, Start::Oldest)?; // usually in another process
    /// writer.send(b"only for reading")?;
    /// assert_eq!(&*reader.recv()?, b"only for reading");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn private(options: &QueueOptions) -> Result<Self, CreateError> {
        let memory = Host::create(options)?;
        // SAFETY: the segment was just created for records, by us, writable.
        Ok(unsafe { Self::from_memory_with(memory, options.unattended()) })
    }

    /// Creates the queue `name`, whose consumers have [private](Self::private) rooms.
    ///
    /// Consumers and taps join it by its name, as any other queue. What they find there is a socket, at which this
    /// process serves them in a thread of its own, until this writer is dropped. With it goes the name.
    ///
    /// # Errors
    ///
    /// [`HostError`]; in particular the name may be taken.
    pub fn host<N>(name: N, options: &QueueOptions) -> Result<Self, HostError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(|error| CreateError::from(error.into()))?;
        let writer = Self::private(options)?;
        let path = socket_of(&name);
        let server = match Server::bind(&path) {
            Err(RendezvousError::Stale { .. }) => replace(&path)?,
            server => server?,
        };
        let server = if options.mode() & 0o006 != 0 { server.allow_any_user()? } else { server };
        let offer = writer.offer();
        Ok(writer.served_by(server.serve(offer)?))
    }
}

/// How long it waits for another process that replaces a dead server's socket, too.
const LONGEST: Duration = Duration::from_secs(1);

/// Replaces the socket that a dead server has left at this path.
///
/// Two processes that do so at once must not remove one another's new socket: so they do it one after the other.
fn replace(path: &Path) -> Result<Server, RendezvousError> {
    let failed = |call| move |errno| crate::rendezvous::failed(path, call, errno);
    let folder = path.parent().unwrap_or(path);
    let folder = open(folder, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Permissions::empty());
    let mut folder = folder.map_err(failed("open"))?;
    let started = Instant::now();
    let _one_by_one = loop {
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => break lock,
            Err((again, Errno::EAGAIN)) if started.elapsed() < LONGEST => folder = again,
            Err((_, errno)) => return Err(failed("flock")(errno)),
        }
        sleep(Duration::from_millis(1));
    };
    match Server::bind(path) {
        Err(RendezvousError::Stale { .. }) => {
            std::fs::remove_file(path).map_err(|error| {
                failed("unlink")(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
            })?;
            Server::bind(path)
        }
        server => server,
    }
}
