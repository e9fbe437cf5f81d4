//! The service's end of a connection over rings.

use std::io::{self, IoSlice, IoSliceMut};

use day3::link::Link;
use day3::{SendError, Shared};
use day5::{Yield, doorbell};
use day7::line::{HangsUp, ServerEnds};

use super::chunks::{Incoming, Outgoing};
use super::set::{Place, Side};

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
    _hangs_up: HangsUp,
}

impl RingTransport {
    pub(super) fn new(ends: ServerEnds, place: Place) -> Self {
        let ServerEnds { requests, answers, hangs_up, .. } = ends;
        let full = Shared::new(answers.memory().clone());
        Self {
            answers: Outgoing::new(answers),
            requests: Incoming::new(requests),
            place,
            full,
            has_joined: false,
            _hangs_up: hangs_up,
        }
    }

    /// Copies what has come into these parts; how much. 0: nothing more will come.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock); [`ConnectionReset`](io::ErrorKind::ConnectionReset) if the client has
    /// gone without an end; [`InvalidData`](io::ErrorKind::InvalidData) if it wrote what no client writes.
    #[inline]
    pub(crate) fn read(&mut self, parts: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        // Before the look: what it wrote before it went is there.
        let is_gone = self.place.signs.is_gone.get();
        match self.requests.take(parts)? {
            Some(len) => Ok(len),
            None if is_gone => Err(gone(io::ErrorKind::ConnectionReset)),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Copies of these parts what there is room for; how much.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock); [`BrokenPipe`](io::ErrorKind::BrokenPipe) if the client has gone.
    #[inline]
    pub(crate) fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.place.signs.is_gone.get() {
            return Err(gone(io::ErrorKind::BrokenPipe));
        }
        if !self.has_joined && self.answers.ring.is_abandoned() {
            // It rings when it has joined.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.has_joined = true;
        match self.answers.put(parts) {
            Ok(Some(len)) => Ok(len),
            Ok(None) => self.announce(parts),
            Err(why) => Err(no_output(why)),
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

    /// Tells the client that nothing more comes. It reads what is there. That needs no room.
    pub(crate) fn finish(&mut self) {
        self.answers.ring.close();
    }

    /// After a try in vain: has this slot told when the next one is worth it.
    #[inline]
    pub(crate) fn arm(&mut self, slot: usize, side: Side) {
        self.place.arm(slot, side);
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
