//! Echo by hand: what a loop over mio costs if it does nothing but this.
//!
//! One buffer serves all reads and one all writes, so that both stay in the cache; a client's own memory is only what
//! could not be read or written in one go.

use std::io::{self, ErrorKind, Read, Write};
use std::mem::take;

use anyhow::Context;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::lines::Lines;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;
/// What the poller says of the listener.
const LISTENER: Token = Token(usize::MAX);

struct Client {
    stream: TcpStream,
    lines: Lines,
    /// Answers that the kernel had no room for. Until they are sent, nothing is read.
    unsent: Vec<u8>,
    /// The client says nothing more; when the rest is sent, the connection ends.
    ended: bool,
}

/// What all clients share.
struct Buffers {
    input: Box<[u8]>,
    output: Vec<u8>,
}

pub(crate) fn serve(listener: std::net::TcpListener) -> anyhow::Result<()> {
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new().context("a poller")?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut clients = Slab::new();
    let mut buffers = Buffers { input: vec![0; PIECE].into(), output: Vec::with_capacity(PIECE) };
    loop {
        if let Err(error) = poll.poll(&mut events, None)
            && error.kind() != ErrorKind::Interrupted
        {
            return Err(error).context("waiting");
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut clients)?;
                continue;
            }
            let at = event.token().0;
            let Some(client) = clients.get_mut(at) else { continue };
            if !client.go_on(&mut buffers, event.is_read_closed()).unwrap_or(false) {
                clients.remove(at);
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, clients: &mut Slab<Client>) -> anyhow::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error).context("accepting a client"),
        };
        stream.set_nodelay(true)?;
        let entry = clients.vacant_entry();
        // Once for both, edge-triggered: no further call for a client that sometimes does not read.
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(entry.key()), interest)?;
        entry.insert(Client { stream, lines: Lines::default(), unsent: vec![], ended: false });
    }
}

impl Client {
    /// Does what can be done now. Returns whether the connection goes on.
    ///
    /// `ending`: the end has come, perhaps behind bytes; the poller will not tell of it again.
    fn go_on(&mut self, buffers: &mut Buffers, ending: bool) -> io::Result<bool> {
        if !self.unsent.is_empty() {
            let unsent = take(&mut self.unsent);
            self.send(&unsent)?;
        }
        while self.unsent.is_empty() && !self.ended {
            let read = match self.stream.read(&mut buffers.input) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            buffers.output.clear();
            self.lines.answer(&buffers.input[..read], &mut buffers.output)?;
            if read == 0 {
                self.ended = true;
                self.lines.finish(&mut buffers.output)?;
            }
            self.send(&buffers.output)?;
            // Less came than there is room for: the kernel has no more now, and will tell when it has.
            if read > 0 && read < buffers.input.len() && !ending {
                break;
            }
        }
        Ok(!self.ended || !self.unsent.is_empty())
    }

    /// Sends this, or keeps what the kernel has no room for.
    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent.extend_from_slice(bytes);
        Ok(())
    }
}
