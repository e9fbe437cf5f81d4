//! Queues that their producer's process hands out under their names: writers whose consumers have private rooms, what
//! stands under such a name, and how it is removed.
//!
//! The name is that of a socket in `/dev/shm`, where the queue itself would be. Other programs may have sockets there,
//! too. So the host marks its own: once it listens, it sets the sticky bit of the socket's file. A marked socket
//! of this user at which nobody listens was left by a host that has died. It may be removed, or replaced. A socket without
//! the mark is left alone. Whatever else serves under a name [listens](listen) in the same way. A host that is killed before it has set the mark leaves such a one: it has to be removed by hand.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;

use common::{NameError, QueueName};
use day2::{Holder, OpenError, Segment};
use day3::inspect::Observer;
use day3::{JoinError, JoinOptions, QueueOptions, Wait};
use nix::unistd::geteuid;

use crate::error::CreateError;
use crate::memory::socket_of;
use crate::rendezvous::socket::{self, Listening};
use crate::rendezvous::{HostError, MARK, RendezvousError, Server, client, is_served};
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
        let server = settle(&name, Server::bind)?;
        let server = if options.mode() & 0o006 != 0 { server.allow_any_user()? } else { server };
        let offer = writer.offer();
        Ok(writer.served_by(server.mark()?.serve(offer)?))
    }
}

/// Listens under this name, in place of a host that has died, for clients of this user, or of any. What is served there
/// is for the caller to say: a queue is [hosted](Writer::host).
///
/// # Errors
///
/// [`HostError`]; in particular the name may be taken.
pub fn listen(name: &QueueName, any_user: bool) -> Result<Listening, HostError> {
    let listening = settle(name, Listening::bind)?;
    listening.set_mode(MARK | if any_user { 0o666 } else { 0o600 })?;
    Ok(listening)
}

/// The path of the socket at which the host of this name listens.
pub fn path_of(name: &QueueName) -> PathBuf {
    socket_of(name)
}

/// Binds a socket under this name, in place of a host that has died.
fn settle<S>(
    name: &QueueName,
    bind: impl Fn(PathBuf) -> Result<S, RendezvousError>,
) -> Result<S, HostError> {
    socket::settle(|| bind(socket_of(name)), || remove_dead(name))
        .map_err(|error| taken(name, error))
}

/// The same error, in terms of the name.
fn taken(name: &QueueName, error: RendezvousError) -> HostError {
    let taken = |by| day2::CreateError::Taken { name: name.clone(), by };
    match error {
        RendezvousError::NotASocket { .. } => {
            CreateError::from(taken(Segment::holder(name))).into()
        }
        RendezvousError::InUse { .. } => CreateError::from(taken(Holder::Living)).into(),
        error => error.into(),
    }
}

/// What has become of the host under whose name a queue is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostState {
    /// It listens.
    Living,
    /// It has died. The queue's memory went with the last process that had it open.
    Dead,
    /// It belongs to another user, who was not asked.
    OtherUser(u32),
}

/// What has become of the host that has this name; `None` if the name is no host's. It connects to no socket that
/// is not a host's.
pub fn state(name: &QueueName) -> Option<HostState> {
    let path = socket_of(name);
    let found = path.symlink_metadata().ok()?;
    if !found.file_type().is_socket() || found.mode() & MARK == 0 {
        return None;
    }
    Some(match found.uid() {
        user if user != geteuid().as_raw() => HostState::OtherUser(user),
        _ if is_served(&path) => HostState::Living,
        _ => HostState::Dead,
    })
}

/// Looks at the queue of this name, wherever it is: in a segment, or with its host.
///
/// It waits up to `timeout` for a creator that has not finished.
///
/// # Errors
///
/// [`JoinError`].
pub fn observe(name: &QueueName, timeout: Duration) -> Result<Observer, JoinError> {
    match Observer::open(name, timeout) {
        Err(OpenError::Socket { .. }) => {}
        observer => return Ok(observer?),
    }
    let (path, options) = (socket_of(name), JoinOptions::new().timeout(timeout));
    let found = client::find(&path, name, &options, Some(options.trust()));
    let segment = found.map_err(|error| error.of_queue(name, &path))?;
    Ok(Observer::of(segment)?)
}

/// Removes the name that a host which has died has left; says whether there was one.
///
/// # Errors
///
/// [`RendezvousError`].
pub fn remove_dead(name: &QueueName) -> Result<bool, RendezvousError> {
    remove_if(name, |state| state == HostState::Dead)
}

/// Removes the name of a host, even of one that is alive: nobody else finds its queue any more. It says whether there
/// was one.
///
/// # Errors
///
/// [`RendezvousError`].
pub fn remove(name: &QueueName) -> Result<bool, RendezvousError> {
    remove_if(name, |_| true)
}

fn remove_if(
    name: &QueueName,
    is_meant: impl Fn(HostState) -> bool,
) -> Result<bool, RendezvousError> {
    socket::remove_if(&socket_of(name), || state(name).is_some_and(&is_meant))
}
