//! Connections to services elsewhere.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use mio::Interest;
use mio::net::{TcpStream, UnixStream};

use super::{Descriptor, Socket, SocketError, Transport};
use crate::listener::Address;
use crate::runtime::{self, Side, sleep, watch};

/// How long a client waits before it asks a Unix socket again whose queue is full.
const SHORT: Duration = Duration::from_millis(1);

impl Socket {
    /// Connects to a service at an address. It waits for as long as the kernel does: a [`timeout`](crate::timeout) ends it
    /// before.
    ///
    /// # Errors
    ///
    /// What the kernel says, or that there is no runtime.
    pub async fn connect(address: &Address) -> Result<Self, SocketError> {
        let core = runtime::current().map_err(|error| SocketError::Io(io::Error::other(error)))?;
        let transport: Box<dyn Transport> = match address {
            Address::Tcp(address) => Box::new(Descriptor::new(connect_tcp(*address).await?)),
            Address::Unix(path) => Box::new(Descriptor::new(connect_unix(path).await?)),
            Address::Ring(_) => return Err(io::Error::from(io::ErrorKind::Unsupported).into()),
        };
        Ok(Self::new(&core, transport))
    }
}

async fn connect_tcp(address: SocketAddr) -> Result<TcpStream, SocketError> {
    let stream = TcpStream::connect(address)?;
    loop {
        watch(&stream, Interest::WRITABLE, Side::Write).await?;
        if let Some(error) = stream.take_error()? {
            return Err(error.into());
        }
        match stream.peer_addr() {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    // What is written together is sent together anyway.
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect_unix(path: &Path) -> Result<UnixStream, SocketError> {
    loop {
        match UnixStream::connect(path) {
            // The service's queue is full, and no poller says when it is not.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(SHORT).await,
            connected => return Ok(connected?),
        }
    }
}
