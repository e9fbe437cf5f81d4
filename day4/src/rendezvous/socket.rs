//! The socket at which strangers meet: who listens there, and who calls.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixCredentials, bind, connect, getsockopt, listen,
    socket,
};
use nix::sys::stat::{FchmodatFlags, Mode as Permissions, fchmod, fchmodat};
use nix::unistd::geteuid;

use super::address;
use super::error::{RendezvousError, failed};

/// A socket that listens at a path. Its file has mode 0600 from the first moment, and is removed when this is dropped,
/// if it is still this one's.
#[derive(Debug)]
pub struct Listening {
    // Before the listener: while that is open, no other file can have its inode.
    place: Place,
    listener: UnixListener,
}

/// Who has called.
#[derive(Debug)]
pub enum Accepted {
    /// This client.
    Client(OwnedFd, UnixCredentials),
    /// A client that was gone before it was accepted.
    Gone,
    /// Nobody.
    Nobody,
}

impl Listening {
    /// Listens at `path`.
    ///
    /// # Errors
    ///
    /// [`RendezvousError`]; what was at `path` before is left there, also a dead server's socket.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, RendezvousError> {
        let path = path.as_ref();
        let socket = unbound(path, SockType::SeqPacket)?;
        // Linux gives the file the mode that the socket has when it is bound.
        fchmod(&socket, Permissions::S_IRUSR | Permissions::S_IWUSR)
            .map_err(|errno| failed(path, "fchmod", errno))?;
        Self::at(path, socket)
    }

    /// Listens at `path` for streams, as any other server of the kind. Its file has the mode that the umask leaves.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_stream(path: impl AsRef<Path>) -> Result<Self, RendezvousError> {
        let path = path.as_ref();
        Self::at(path, unbound(path, SockType::Stream)?)
    }

    fn at(path: &Path, socket: OwnedFd) -> Result<Self, RendezvousError> {
        let failed = |call| move |errno| failed(path, call, errno);
        bind(socket.as_raw_fd(), &address(path)?).map_err(|errno| not_bound(path, errno))?;
        let place = Place::new(path).map_err(failed("lstat"))?;
        listen(&socket, Backlog::MAXCONN).map_err(failed("listen"))?;
        let listener = UnixListener::from(socket);
        Ok(Self { place, listener })
    }

    /// The path, and the listener, which does not block. Drop the path first: while the listener is open, no other file can
    /// have its inode.
    pub fn into_parts(self) -> (Place, UnixListener) {
        (self.place, self.listener)
    }

    /// Changes the mode of the socket's file.
    ///
    /// # Errors
    ///
    /// [`RendezvousError`] if it cannot be changed, or the file is no longer there.
    pub fn set_mode(&self, mode: u32) -> Result<(), RendezvousError> {
        let path = &self.place.path;
        if !self.place.is_ours() {
            let (path, expected) = (path.clone(), "this server's socket");
            return Err(RendezvousError::NotFound { path, expected });
        }
        let mode = Permissions::from_bits_truncate(mode);
        fchmodat(AT_FDCWD, path, mode, FchmodatFlags::NoFollowSymlink)
            .map_err(|errno| failed(path, "fchmodat", errno))
    }

    /// Where it listens, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// The next client, if one has connected.
    ///
    /// # Errors
    ///
    /// [`RendezvousError::System`].
    pub fn accept(&self) -> Result<Accepted, RendezvousError> {
        let socket = match self.listener.accept() {
            Ok((socket, _)) => OwnedFd::from(socket),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Accepted::Nobody),
            // The client was gone before we accepted it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {
                return Ok(Accepted::Gone);
            }
            Err(error) => return Err(failed(&self.place.path, "accept4", errno(&error))),
        };
        let Ok(peer) = getsockopt(&socket, PeerCredentials) else { return Ok(Accepted::Gone) };
        Ok(Accepted::Client(socket, peer))
    }
}

impl AsFd for Listening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Whether a process of this user is served.
pub fn is_welcome(uid: u32, any_user: bool) -> bool {
    any_user || uid == 0 || uid == geteuid().as_raw()
}

/// How often a client looks again for room in the queue of a server that has many, and a server for a path that gets free.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A connection to the server at `path`; `None` if it had no room for one before the deadline.
///
/// # Errors
///
/// [`RendezvousError`].
pub fn dial(path: &Path, deadline: Instant) -> Result<Option<OwnedFd>, RendezvousError> {
    let address = address(path)?;
    let socket = unbound(path, SockType::SeqPacket)?;
    loop {
        match nix::sys::socket::connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(Some(socket)),
            Err(Errno::EAGAIN) if Instant::now() >= deadline => return Ok(None),
            Err(Errno::EAGAIN) => thread::sleep(LOOK_AGAIN),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(not_connected(path, errno)),
        }
    }
}

fn not_connected(path: &Path, errno: Errno) -> RendezvousError {
    let to_owned = || path.to_owned();
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => {
            RendezvousError::NotFound { path: to_owned(), expected: "a server's socket" }
        }
        // The kernel says the same of a socket without a server and of what is no socket.
        Errno::ECONNREFUSED => match path.metadata() {
            Ok(found) if !found.file_type().is_socket() => {
                RendezvousError::NotASocket { path: to_owned() }
            }
            _ => RendezvousError::NobodyListens { path: to_owned() },
        },
        Errno::EPROTOTYPE => RendezvousError::NotAServer {
            path: to_owned(),
            expected: "a SOCK_SEQPACKET socket",
            found: "one of another type".into(),
        },
        errno => failed(path, "connect", errno),
    }
}

fn unbound(path: &Path, kind: SockType) -> Result<OwnedFd, RendezvousError> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Unix, kind, flags, None).map_err(|errno| failed(path, "socket", errno))
}

/// A path at which this process made a socket. The file is removed when this is dropped, if it is still this one's.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    identity: (u64, u64),
}

impl Place {
    fn new(path: &Path) -> Result<Self, Errno> {
        // Absolute: this process may change its folder before it removes the path.
        let path = std::path::absolute(path).map_err(|error| errno(&error))?;
        let identity = identity(&path).map_err(|error| errno(&error))?;
        Ok(Self { path, identity })
    }

    fn is_ours(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.identity)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Another process may have removed our socket and put something else there.
        if self.is_ours() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = path.symlink_metadata()?;
    Ok((found.dev(), found.ino()))
}

pub(super) fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn not_bound(path: &Path, errno: Errno) -> RendezvousError {
    let to_owned = || path.to_owned();
    match errno {
        Errno::EADDRINUSE => taken(path),
        Errno::ENOENT | Errno::ENOTDIR => {
            RendezvousError::NotFound { path: to_owned(), expected: "a folder for the socket" }
        }
        errno => failed(path, "bind", errno),
    }
}

/// Says what has the path: something else, a server, or a dead server's socket.
fn taken(path: &Path) -> RendezvousError {
    let to_owned = || path.to_owned();
    if path.symlink_metadata().is_ok_and(|found| !found.file_type().is_socket()) {
        return RendezvousError::NotASocket { path: to_owned() };
    }
    match knock(path) {
        Err(Errno::ECONNREFUSED) => RendezvousError::Stale { path: to_owned() },
        _ => RendezvousError::InUse { path: to_owned() },
    }
}

/// Whether a server listens there, of whatever type.
pub(crate) fn is_served(path: &Path) -> bool {
    !matches!(knock(path), Err(Errno::ECONNREFUSED | Errno::ENOENT))
}

/// Binds a socket in the place of one that a dead server has left at this path.
///
/// # Errors
///
/// What `bind` says; [`RendezvousError`] if what is there cannot be removed.
pub fn bind_over_the_dead<S>(
    path: &Path,
    bind: impl Fn(&Path) -> Result<S, RendezvousError>,
) -> Result<S, RendezvousError> {
    settle(|| bind(path), || remove_if(path, || is_dead(path)))
}

/// Binds a socket, and has what a dead server has left removed, if that is in the way.
pub(crate) fn settle<S>(
    bind: impl Fn() -> Result<S, RendezvousError>,
    remove: impl Fn() -> Result<bool, RendezvousError>,
) -> Result<S, RendezvousError> {
    let started = Instant::now();
    loop {
        match bind() {
            Err(RendezvousError::Stale { .. }) if remove()? || started.elapsed() < NEWBORN => {
                thread::sleep(LOOK_AGAIN);
            }
            bound => return bound,
        }
    }
}

/// How long a socket may be there at which nobody listens yet.
const NEWBORN: Duration = Duration::from_millis(100);

/// Whether a server was here, and has died. A socket that was made just now may be about to listen.
fn is_dead(path: &Path) -> bool {
    let Ok(found) = path.symlink_metadata() else { return false };
    // The clock may have been set back since: then it is old.
    let age = found.modified().ok().and_then(|made| made.elapsed().ok());
    found.file_type().is_socket() && age.is_none_or(|age| age >= NEWBORN / 2) && !is_served(path)
}

/// Removes what is at this path, if it is meant; says whether it did. Two processes that do so at once must not remove one
/// another's new socket: so they do it one after the other.
pub(crate) fn remove_if(path: &Path, is_meant: impl Fn() -> bool) -> Result<bool, RendezvousError> {
    if !is_meant() {
        return Ok(false);
    }
    let _one_by_one = lock_folder(path.parent().unwrap_or(path))?;
    if !is_meant() {
        return Ok(false);
    }
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(path, "unlink", errno(&error))),
    }
}

/// How long a process waits for another one that removes a name.
const LONGEST: Duration = Duration::from_secs(1);

fn lock_folder(folder: &Path) -> Result<Flock<File>, RendezvousError> {
    // A path of one part lies in the folder of this process.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let opened = File::open(folder);
    let mut file = opened.map_err(|error| failed(folder, "open", errno(&error)))?;
    let started = Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((again, Errno::EAGAIN)) if started.elapsed() < LONGEST => file = again,
            Err((_, errno)) => return Err(failed(folder, "flock", errno)),
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Connects and hangs up.
fn knock(path: &Path) -> Result<(), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    connect(socket.as_raw_fd(), &nix::sys::socket::UnixAddr::new(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_user_and_root_are_welcome_and_others_only_if_allowed() {
        let own = geteuid().as_raw();
        let other = if own == 65_534 { 65_533 } else { 65_534 };
        assert!(is_welcome(own, false));
        assert!(is_welcome(0, false));
        assert!(!is_welcome(other, false));
        assert!(is_welcome(other, true));
    }
}
