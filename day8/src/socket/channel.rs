//! A socket between two coroutines of one runtime.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::rc::Rc;

use super::transport::Transport;
use crate::runtime::{Core, Side};

/// So many bytes are under way at most, in each direction.
const CAPACITY: usize = 64 << 10;

/// One direction.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    is_finished: bool,
    is_abandoned: bool,
    /// Who waits for bytes, and who for room.
    reader: Option<usize>,
    writer: Option<usize>,
}

/// One end of two pipes.
pub(crate) struct Channel {
    core: Rc<Core>,
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
    notice: Option<(usize, Side)>,
}

impl Channel {
    pub(crate) fn pair(core: &Rc<Core>) -> (Self, Self) {
        let (one, other) = (Rc::<RefCell<Pipe>>::default(), Rc::<RefCell<Pipe>>::default());
        let end = |incoming: &Rc<_>, outgoing: &Rc<_>| Self {
            core: Rc::clone(core),
            incoming: Rc::clone(incoming),
            outgoing: Rc::clone(outgoing),
            notice: None,
        };
        (end(&one, &other), end(&other, &one))
    }

    fn notify(&self, slot: Option<usize>, side: Side) {
        if let Some(slot) = slot {
            self.core.notify(slot, side);
        }
    }
}

impl Transport for Channel {
    fn read(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let mut pipe = self.incoming.borrow_mut();
        if pipe.bytes.is_empty() {
            return if pipe.is_finished { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let count = io::Read::read_vectored(&mut pipe.bytes, into)?;
        self.notice = pipe.writer.take().map(|writer| (writer, Side::Write));
        Ok(count)
    }

    fn write(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut pipe = self.outgoing.borrow_mut();
        if pipe.is_abandoned {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = CAPACITY - pipe.bytes.len();
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut count = 0;
        for part in from {
            let part = &part[..part.len().min(room - count)];
            pipe.bytes.extend(part);
            count += part.len();
        }
        self.notice = pipe.reader.take().map(|reader| (reader, Side::Read));
        Ok(count)
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut pipe = self.outgoing.borrow_mut();
        pipe.is_finished = true;
        self.notice = pipe.reader.take().map(|reader| (reader, Side::Read));
        Ok(())
    }

    fn take_notice(&mut self) -> Option<(usize, Side)> {
        self.notice.take()
    }

    fn arm(&mut self, _: &Rc<Core>, slot: usize, side: Side) -> io::Result<bool> {
        // All is one thread. But between a try and this a waker was cloned, which may be anybody's.
        Ok(match side {
            Side::Read => {
                let mut pipe = self.incoming.borrow_mut();
                pipe.reader = Some(slot);
                !pipe.bytes.is_empty() || pipe.is_finished
            }
            Side::Write => {
                let mut pipe = self.outgoing.borrow_mut();
                pipe.writer = Some(slot);
                pipe.bytes.len() < CAPACITY || pipe.is_abandoned
            }
        })
    }

    fn tells_when_empty(&self) -> bool {
        false
    }

    fn close(&mut self, _: &Rc<Core>) {
        let writer = {
            let mut pipe = self.incoming.borrow_mut();
            (pipe.is_abandoned, pipe.reader) = (true, None);
            pipe.bytes = VecDeque::new();
            pipe.writer.take()
        };
        self.notify(writer, Side::Write);
        let reader = {
            let mut pipe = self.outgoing.borrow_mut();
            (pipe.is_finished, pipe.writer) = (true, None);
            pipe.reader.take()
        };
        self.notify(reader, Side::Read);
    }

    fn peer(&self) -> String {
        "channel".into()
    }
}
