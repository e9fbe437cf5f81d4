//! TCP and Unix sockets.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::rc::Rc;

use mio::Interest;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};

use super::transport::Transport;
use crate::runtime::{Core, Side};

/// What TCP and Unix sockets have in common.
pub(crate) trait Stream: Read + Write + Source {
    fn shut_down(&self) -> io::Result<()>;
    fn peer(&self) -> String;
}

impl Stream for TcpStream {
    fn shut_down(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn peer(&self) -> String {
        self.peer_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
    }
}

impl Stream for UnixStream {
    fn shut_down(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn peer(&self) -> String {
        "unix".into()
    }
}

/// A descriptor, which the poller watches from the first try in vain on.
pub(crate) struct Descriptor<S> {
    stream: S,
    is_registered: bool,
}

impl<S> Descriptor<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, is_registered: false }
    }
}

impl<S: Stream> Transport for Descriptor<S> {
    fn read(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match into {
            [one] => self.stream.read(one),
            [one, rest] if rest.is_empty() => self.stream.read(one),
            _ => self.stream.read_vectored(into),
        }
    }

    fn write(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        match from {
            [one] => self.stream.write(one),
            [one, rest] if rest.is_empty() => self.stream.write(one),
            _ => self.stream.write_vectored(from),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stream.shut_down()
    }

    fn arm(&mut self, core: &Rc<Core>, slot: usize, _: Side) -> io::Result<bool> {
        if !self.is_registered {
            // Both at once, and only once: the poller tells what there is already, and then every change.
            core.register(&mut self.stream, slot, Interest::READABLE | Interest::WRITABLE)?;
            self.is_registered = true;
        }
        Ok(false)
    }

    fn tells_when_empty(&self) -> bool {
        true
    }

    fn close(&mut self, core: &Rc<Core>) {
        if self.is_registered {
            core.deregister(&mut self.stream);
        }
    }

    fn peer(&self) -> String {
        self.stream.peer()
    }
}
