//! Where connections come from.

use core::fmt;
use core::future::poll_fn;
use core::task::Poll;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::str::FromStr;
use std::task::Waker;
use std::time::Instant;

use common::OsError;
use day4::rendezvous::RendezvousError;
use day4::rendezvous::socket::{self, Place, bind_over_the_dead};
use mio::Interest;
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use nix::sys::socket::{Backlog, listen};

use crate::rings::RingListener;
use crate::runtime::{Core, Side};
use crate::socket::{Descriptor, Socket, SocketError, Transport};

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `127.0.0.1:8080`, `[::1]:8080`.
    Tcp(SocketAddr),
    /// `unix:PATH`: a Unix socket.
    Unix(PathBuf),
    /// `ring:PATH`: a pair of shared-memory rings for each client. The path is where clients ask for them.
    Ring(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Ring(path) => write!(f, "ring:{}", path.display()),
        }
    }
}

/// This is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address and a port (127.0.0.1:8080), unix:PATH or ring:PATH, found {0:?}")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.into());
        let path = |path: &str| if path.is_empty() { Err(wrong()) } else { Ok(path.into()) };
        if let Some(rest) = text.strip_prefix("unix:") {
            return path(rest).map(Self::Unix);
        }
        if let Some(rest) = text.strip_prefix("ring:") {
            return path(rest).map(Self::Ring);
        }
        text.parse().map(Self::Tcp).map_err(|_| wrong())
    }
}

/// Why there is no service at an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// A service that lives has it.
    #[error("{address} belongs to a service that is running: stop it, or choose another address")]
    Taken {
        /// The address.
        address: Address,
    },
    /// There is a file of this name that is no socket. It was not touched.
    #[error("{path} is there already, and is no socket: choose another path", path = .path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// There cannot be a socket at this path.
    #[error(transparent)]
    Path(RendezvousError),
    /// The kernel refuses.
    #[error("{call} for {address}: {source}")]
    Kernel {
        /// What it was asked for.
        call: &'static str,
        /// The address.
        address: Address,
        /// What it said.
        source: OsError,
    },
}

/// Where connections come from.
pub struct Listener(Kind);

enum Kind {
    Tcp(TcpListener),
    // In this order: see `socket::Listening::into_parts`.
    Unix { path: PathBuf, _place: Place, listener: UnixListener },
    Ring(RingListener),
    Channel(Rc<Queue>),
}

/// Sockets that wait to be accepted.
#[derive(Default)]
struct Queue {
    waiting: RefCell<VecDeque<Socket>>,
    listener: RefCell<Option<Waker>>,
    is_closed: std::cell::Cell<bool>,
}

/// Connects to a [`Listener::channel`], from coroutines of the runtime that serves it.
#[derive(Clone)]
pub struct Connector(Weak<Queue>);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// A new connection.
    ///
    /// # Errors
    ///
    /// [`SocketError::Disconnected`] if the listener is gone.
    pub async fn connect(&self) -> Result<Socket, SocketError> {
        let gone = || SocketError::from(io::Error::from(io::ErrorKind::NotConnected));
        let queue = self.0.upgrade().filter(|queue| !queue.is_closed.get()).ok_or_else(gone)?;
        let (own, other) =
            Socket::pair().map_err(|error| SocketError::Io(io::Error::other(error)))?;
        queue.waiting.borrow_mut().push_back(other);
        let waker = queue.listener.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(own)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.address().map(|address| address.to_string())).finish()
    }
}

impl Listener {
    /// Listens at an address. A Unix socket's file that a dead service has left is replaced, and the file goes with the
    /// listener.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    pub fn bind(address: &Address) -> Result<Self, BindError> {
        match address {
            Address::Tcp(socket) => match TcpListener::bind(*socket) {
                Ok(listener) => {
                    // As long a queue as the kernel allows: where it is full, clients try again after a second, and then
                    // after ever longer. It listens already, so what is refused leaves its queue as it is.
                    let _ = listen(&listener, Backlog::MAXCONN);
                    Ok(Self(Kind::Tcp(listener)))
                }
                Err(source) => Err(refused(address, source)),
            },
            Address::Unix(path) => Self::bind_path(address, path, |path| {
                let (place, listener) = socket::Listening::bind_stream(path)?.into_parts();
                let listener = UnixListener::from_std(listener);
                Ok(Kind::Unix { path: path.into(), _place: place, listener })
            }),
            Address::Ring(path) => {
                Self::bind_path(address, path, |path| RingListener::bind(path).map(Kind::Ring))
            }
        }
    }

    fn bind_path(
        address: &Address,
        path: &Path,
        bind: impl Fn(&Path) -> Result<Kind, RendezvousError>,
    ) -> Result<Self, BindError> {
        bind_over_the_dead(path, bind).map(Self).map_err(|error| not_bound(address, error))
    }

    /// A listener for coroutines of the runtime that serves it.
    pub fn channel() -> (Self, Connector) {
        let queue = Rc::<Queue>::default();
        let connector = Connector(Rc::downgrade(&queue));
        (Self(Kind::Channel(queue)), connector)
    }

    /// Where it listens: with port 0 the kernel has chosen one. `None` for a channel.
    pub fn address(&self) -> Option<Address> {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().ok().map(Address::Tcp),
            Kind::Unix { path, .. } => Some(Address::Unix(path.clone())),
            Kind::Ring(listener) => Some(Address::Ring(listener.path().into())),
            Kind::Channel(_) => None,
        }
    }

    /// The next connection, if there is one.
    fn try_accept(&mut self, core: &Rc<Core>) -> io::Result<Socket> {
        let transport: Box<dyn Transport> = match &mut self.0 {
            Kind::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // Answers leave at once: the service has put together what belongs together.
                // A client that has gone already is found out when it is read.
                let _ = stream.set_nodelay(true);
                Box::new(Descriptor::new(stream))
            }
            Kind::Unix { listener, .. } => Box::new(Descriptor::new(listener.accept()?.0)),
            Kind::Ring(listener) => Box::new(listener.accept(core.rings()?)?),
            Kind::Channel(queue) => {
                let socket = queue.waiting.borrow_mut().pop_front();
                return socket.ok_or_else(|| io::ErrorKind::WouldBlock.into());
            }
        };
        Ok(Socket::new(core, transport))
    }

    fn source(&mut self) -> Option<&mut dyn Source> {
        match &mut self.0 {
            Kind::Tcp(listener) => Some(listener),
            Kind::Unix { listener, .. } => Some(listener),
            Kind::Ring(listener) => Some(listener),
            Kind::Channel(_) => None,
        }
    }
}

/// A listener that a runtime watches.
pub(crate) struct Listening {
    core: Rc<Core>,
    listener: Listener,
    slot: usize,
    is_registered: bool,
}

impl Listening {
    pub(crate) fn new(core: &Rc<Core>, listener: Listener) -> Self {
        Self { core: Rc::clone(core), listener, slot: core.add_slot(), is_registered: false }
    }

    /// The next connection, when there may be another one; `None` when the runtime shuts down.
    pub(crate) async fn accept(&mut self) -> io::Result<Option<Socket>> {
        poll_fn(|context| {
            if self.core.is_stopping() {
                return Poll::Ready(Ok(None));
            }
            // Asked at each look: while this listener waited, another one may have taken the last place.
            if self.core.connections() >= self.core.options().connections {
                self.core.wake_at_end(context.waker().clone());
                return Poll::Pending;
            }
            if !self.core.may_go_on(context) {
                return Poll::Pending;
            }
            match self.listener.try_accept(&self.core) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                accepted => return Poll::Ready(accepted.map(Some)),
            }
            if let Kind::Channel(queue) = &self.listener.0 {
                let before = queue.listener.borrow_mut().replace(context.waker().clone());
                drop(before);
            }
            if let Kind::Ring(listener) = &self.listener.0 {
                // A client that has connected and says nothing is sent away when its time is up.
                let until = listener.time_left().map(|left| Instant::now() + left);
                self.core.begin_wait(self.slot, Side::Read, until);
            }
            // "Between requests": a shutdown wakes it.
            self.core.wait(self.slot, Side::Read, context, true);
            if !self.is_registered
                && let Some(source) = self.listener.source()
            {
                self.core.register(source, self.slot, Interest::READABLE)?;
                self.is_registered = true;
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(source) = self.listener.source().filter(|_| self.is_registered) {
            self.core.deregister(source);
        }
        self.core.remove_slot(self.slot);
        if let Kind::Channel(queue) = &self.listener.0 {
            queue.is_closed.set(true);
            let waiting = queue.waiting.take();
            drop(waiting);
        }
    }
}

fn refused(address: &Address, error: io::Error) -> BindError {
    if error.kind() == io::ErrorKind::AddrInUse {
        return BindError::Taken { address: address.clone() };
    }
    BindError::Kernel { call: "bind", address: address.clone(), source: OsError::new(error) }
}

fn not_bound(address: &Address, error: RendezvousError) -> BindError {
    let address = || address.clone();
    match error {
        RendezvousError::InUse { .. } => BindError::Taken { address: address() },
        RendezvousError::NotASocket { path } => BindError::NotASocket { path },
        RendezvousError::System { call, errno, .. } => {
            BindError::Kernel { call, address: address(), source: errno }
        }
        error => BindError::Path(error),
    }
}
