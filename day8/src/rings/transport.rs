//! The service's end of a connection over rings.

use std::io::{self, IoSlice, IoSliceMut};
use std::rc::Rc;

use day3::link::Link;
use day3::{SendError, Shared};
use day5::{Yield, doorbell};
use day7::line::{HangsUp, ServerEnds};

use super::chunks::{Incoming, Outgoing};
use super::set::Place;
use crate::runtime::{Core, Side};
use crate::socket::Transport;

/// The service's end of a connection over rings. Nothing here waits.
// Dropped in this order: who is hung up on finds both rings at their ends.
pub(crate) struct RingTransport {
    answers: Outgoing<Yield>,
    requests: Incoming<Yield>,
    place: Place,
    /// The ring of answers, to announce that it is full.
    full: Shared,
    /// Whether the client has joined the ring of answers. Before that nothing would wait for it there.
    has_joined: bool,
    /// The client's number.
    id: u64,
    _hangs_up: HangsUp,
}

impl RingTransport {
    pub(super) fn new(ends: ServerEnds, place: Place, id: u64) -> Self {
        let ServerEnds { requests, answers, hangs_up, .. } = ends;
        let full = Shared::new(answers.memory().clone());
        Self {
            answers: Outgoing::new(answers),
            requests: Incoming::new(requests),
            place,
            full,
            has_joined: false,
            id,
            _hangs_up: hangs_up,
        }
    }

    /// The ring is full: has the client ring when it has read, and tries once more.
    #[cold]
    fn announce(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        doorbell::announce(self.full.doorbell().producer);
        match self.answers.put(parts) {
            Ok(Some(len)) => Ok(len),
            Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
            Err(why) => Err(no_output(why)),
        }
    }
}

impl Transport for RingTransport {
    /// `ConnectionReset` if the client has gone without an end; `InvalidData` if it wrote what no client writes.
    #[inline]
    fn read(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        // Before the look: what it wrote before it went is there.
        let is_gone = self.place.signs.is_gone.get();
        match self.requests.take(into)? {
            Some(len) => Ok(len),
            None if is_gone => Err(gone(io::ErrorKind::ConnectionReset)),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// `BrokenPipe` if the client has gone.
    #[inline]
    fn write(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.place.signs.is_gone.get() {
            return Err(gone(io::ErrorKind::BrokenPipe));
        }
        if !self.has_joined && self.answers.ring.is_abandoned() {
            // It rings when it has joined.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.has_joined = true;
        match self.answers.put(from) {
            Ok(Some(len)) => Ok(len),
            Ok(None) => self.announce(from),
            Err(why) => Err(no_output(why)),
        }
    }

    /// The client reads what is there, and then finds the end. That needs no room.
    fn finish(&mut self) -> io::Result<()> {
        self.answers.ring.close();
        Ok(())
    }

    #[inline]
    fn arm(&mut self, _: &Rc<Core>, slot: usize, side: Side) -> io::Result<bool> {
        // What no ring tells any more: the end that came together with the last bytes, and that the client has gone.
        let has_ended = side == Side::Read && self.requests.has_ended();
        if has_ended || self.place.signs.is_gone.get() {
            return Ok(true);
        }
        self.place.arm(slot, side);
        Ok(false)
    }

    fn tells_when_empty(&self) -> bool {
        true
    }

    fn close(&mut self, _: &Rc<Core>) {
        // Dropping it does all there is to do.
    }

    fn peer(&self) -> String {
        format!("ring, client {}", self.id)
    }
}

#[cold]
fn gone(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, "the client has gone without an end: it has died, or was killed")
}

#[cold]
fn no_output(why: SendError) -> io::Error {
    let kind = match why {
        SendError::Closed => io::ErrorKind::BrokenPipe,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, why)
}
