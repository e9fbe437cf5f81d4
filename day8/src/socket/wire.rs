//! What both halves of a socket share: the transport, and what was written and not sent.

use core::cell::{Cell, RefCell};
use core::task::{Context, Poll};
use std::io::{self, IoSlice, IoSliceMut};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::buffer::Buffer;
use super::error::SocketError;
use super::transport::Transport;
use crate::heap::{Heap, Isolation};
use crate::runtime::{Core, Side};

/// So large an output's buffer grows, in bytes.
const MOST_OUTPUT: usize = 16 << 10;
/// So many parts are sent with one call.
const MOST_PARTS: usize = 16;

/// One connection.
pub(crate) struct Wire {
    core: Rc<Core>,
    slot: usize,
    transport: RefCell<Box<dyn Transport>>,
    output: RefCell<Buffer>,
    tells_when_empty: bool,
    idle: Cell<Option<Duration>>,
    deadline: Cell<Option<Instant>>,
    is_finished: Cell<bool>,
    has_ended: Cell<bool>,
    /// Whether there is a wait to be ended, for each side.
    waits: [Cell<bool>; 2],
    /// Where buffers lie if no coroutine's heap can have them.
    fallback: RefCell<Option<Heap>>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.transport.get_mut().close(&self.core);
        self.core.remove_slot(self.slot);
    }
}

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    Bytes,
    NextRequest,
    /// What was written is to leave, and then something is read.
    Answers,
}

impl Wire {
    pub(crate) fn new(core: &Rc<Core>, transport: Box<dyn Transport>) -> Rc<Self> {
        Rc::new(Self {
            core: Rc::clone(core),
            slot: core.add_slot(),
            tells_when_empty: transport.tells_when_empty(),
            transport: RefCell::new(transport),
            output: RefCell::default(),
            idle: Cell::new(core.options().idle),
            deadline: Cell::new(None),
            is_finished: Cell::new(false),
            has_ended: Cell::new(false),
            waits: Default::default(),
            fallback: RefCell::default(),
        })
    }

    pub(crate) fn peer(&self) -> String {
        self.transport.borrow().peer()
    }

    pub(crate) fn set_idle_timeout(&self, timeout: Option<Duration>) {
        self.idle.set(timeout);
    }

    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.idle.get()
    }

    pub(crate) fn set_deadline(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
    }

    /// Whether the other end has said that nothing more comes.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// A heap for a buffer: that of the coroutine that runs, and outside of coroutines one of the socket's own.
    fn heap(&self) -> Result<Heap, SocketError> {
        if let Some(heap) = self.core.current_heap() {
            return Ok(heap);
        }
        if self.core.options().isolation == Isolation::Mprotect {
            return Err(outside());
        }
        let mut fallback = self.fallback.borrow_mut();
        if fallback.is_none() {
            *fallback = Some(self.core.heap()?);
        }
        Ok(fallback.clone().expect("it was just made"))
    }

    /// Moves a buffer to the heap of the coroutine that uses it, if that of another one would be closed.
    #[inline]
    pub(crate) fn bring(&self, buffer: &mut Buffer) -> Result<(), SocketError> {
        if self.core.options().isolation == Isolation::None {
            return Ok(());
        }
        match buffer.heap() {
            Some(heap) if !self.core.is_current(heap) => self.bring_now(buffer),
            _ => Ok(()),
        }
    }

    #[cold]
    fn bring_now(&self, buffer: &mut Buffer) -> Result<(), SocketError> {
        let heap = self.core.current_heap().ok_or_else(outside)?;
        Ok(buffer.move_to(&heap)?)
    }

    pub(crate) fn reserve(
        &self,
        buffer: &mut Buffer,
        room: usize,
        most: usize,
    ) -> Result<(), SocketError> {
        Ok(buffer.reserve(room, most, &self.heap()?)?)
    }

    /// Reads into these parts, or waits for something to read. 0: nothing more comes, or, if it is for the next request,
    /// nobody waits for an answer.
    pub(crate) fn poll_read(
        &self,
        context: &mut Context<'_>,
        is_new: &mut bool,
        why: For,
        into: &mut [IoSliceMut<'_>],
    ) -> Poll<Result<usize, SocketError>> {
        if self.has_ended.get() {
            return Poll::Ready(Ok(0));
        }
        loop {
            if !self.core.may_go_on(context) {
                return Poll::Pending;
            }
            // At a shutdown it looks once more: a request that has come already is answered.
            let is_last = || why == For::NextRequest && self.core.is_stopping();
            if self.core.may(self.slot, Side::Read) || is_last() {
                let wanted: usize = into.iter().map(|part| part.len()).sum();
                let read = self.transport.borrow_mut().read(into);
                self.pass_on();
                match read {
                    Ok(count) => {
                        self.has_ended.set(count == 0 && wanted > 0);
                        if self.tells_when_empty && count < wanted {
                            self.core.spend(self.slot, Side::Read);
                        }
                        self.core.charge(count);
                        self.end_wait(Side::Read);
                        return Poll::Ready(Ok(count));
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.core.spend(self.slot, Side::Read);
                    }
                    Err(error) => return Poll::Ready(Err(self.failed(error, Side::Read))),
                }
            }
            // What was written leaves before the answer to it is waited for.
            if let Poll::Ready(Err(error)) = self.poll_flush_for(context, &mut false, For::Answers)
            {
                return Poll::Ready(Err(error));
            }
            if is_last() {
                self.end_wait(Side::Read);
                return Poll::Ready(Ok(0));
            }
            return match self.wait(context, Side::Read, is_new, why) {
                Ok(()) => Poll::Pending,
                Err(SocketError::TimedOut { .. }) if why == For::NextRequest => Poll::Ready(Ok(0)),
                Err(error) => Poll::Ready(Err(error)),
            };
        }
    }

    /// Has the coroutine woken when another try is worth it, or when its time is up.
    fn wait(
        &self,
        context: &mut Context<'_>,
        side: Side,
        is_new: &mut bool,
        why: For,
    ) -> Result<(), SocketError> {
        if !self.core.serves() {
            return Err(elsewhere());
        }
        let index = side as usize;
        if std::mem::take(is_new) || !self.waits[index].get() {
            let until = self.idle.get().and_then(|idle| self.core.now().checked_add(idle));
            let deadline = [until, self.deadline.get()].into_iter().flatten().min();
            self.core.begin_wait(self.slot, side, deadline);
            self.waits[index].set(true);
        } else if self.core.has_expired(self.slot, side) {
            self.end_wait(side);
            let after = self.idle.get().unwrap_or_default();
            return Err(SocketError::TimedOut { after, to_write: side == Side::Write });
        }
        if why == For::Answers {
            self.core.wait_to_flush(self.slot, context);
        } else {
            self.core.wait(self.slot, side, context, why == For::NextRequest);
        }
        let armed = self.transport.borrow_mut().arm(&self.core, self.slot, side);
        let again = armed.map_err(|error| self.failed(error, side))?;
        if again || !self.core.is_spent(self.slot, side) {
            self.core.notify(self.slot, side);
        }
        Ok(())
    }

    fn end_wait(&self, side: Side) {
        if self.waits[side as usize].replace(false) {
            self.core.end_wait(self.slot, side);
        }
    }

    fn failed(&self, error: io::Error, side: Side) -> SocketError {
        self.end_wait(side);
        error.into()
    }

    /// Copies these bytes into the buffer, if there is room for all of them.
    #[inline]
    pub(crate) fn try_write(&self, bytes: &[u8]) -> bool {
        if self.is_finished.get() {
            return false;
        }
        let mut output = self.output.borrow_mut();
        if self.bring(&mut output).is_err() {
            return false;
        }
        if output.room() < bytes.len() && !self.make_room(&mut output, bytes.len()) {
            return false;
        }
        output.push(bytes);
        true
    }

    #[cold]
    fn make_room(&self, output: &mut Buffer, room: usize) -> bool {
        self.reserve(output, room, MOST_OUTPUT).is_ok() && output.room() >= room
    }

    /// Writes parts of a message: into the buffer if they fit, otherwise straight to the other end, behind what is in the
    /// buffer. Advances `parts` to what is left.
    pub(crate) fn poll_write(
        &self,
        context: &mut Context<'_>,
        is_new: &mut bool,
        parts: &mut &mut [IoSlice<'_>],
    ) -> Poll<Result<(), SocketError>> {
        loop {
            let left: usize = parts.iter().map(|part| part.len()).sum();
            if left == 0 {
                return Poll::Ready(Ok(()));
            }
            if self.is_finished.get() {
                return Poll::Ready(Err(SocketError::Finished));
            }
            let mut output = self.output.borrow_mut();
            self.bring(&mut output)?;
            if left <= MOST_OUTPUT && (output.room() >= left || self.make_room(&mut output, left)) {
                parts.iter().for_each(|part| output.push(part));
                IoSlice::advance_slices(parts, left);
                return Poll::Ready(Ok(()));
            }
            drop(output);
            let sent = self.poll_send(context, is_new, parts);
            match sent {
                Poll::Ready(Ok(sent)) => IoSlice::advance_slices(parts, sent),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Sends what is in the buffer, and as much as goes of what is behind it. How many bytes of that.
    pub(crate) fn poll_send(
        &self,
        context: &mut Context<'_>,
        is_new: &mut bool,
        behind: &[IoSlice<'_>],
    ) -> Poll<Result<usize, SocketError>> {
        self.poll_send_for(context, is_new, behind, For::Bytes)
    }

    fn poll_send_for(
        &self,
        context: &mut Context<'_>,
        is_new: &mut bool,
        behind: &[IoSlice<'_>],
        why: For,
    ) -> Poll<Result<usize, SocketError>> {
        loop {
            if self.is_finished.get() {
                return Poll::Ready(Err(SocketError::Finished));
            }
            if !self.core.may_go_on(context) {
                return Poll::Pending;
            }
            if self.core.may(self.slot, Side::Write) {
                let sent = self.send(behind);
                self.pass_on();
                match sent {
                    Ok(sent) => {
                        self.end_wait(Side::Write);
                        if sent > 0 || behind.is_empty() && self.output.borrow().is_empty() {
                            return Poll::Ready(Ok(sent));
                        }
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.core.spend(self.slot, Side::Write);
                    }
                    Err(error) => return Poll::Ready(Err(self.failed(error, Side::Write))),
                }
            }
            self.wait(context, Side::Write, is_new, why)?;
            return Poll::Pending;
        }
    }

    /// One call to the transport. How many bytes of what is behind the buffer were sent.
    fn send(&self, behind: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut output = self.output.borrow_mut();
        self.bring(&mut output).map_err(io::Error::other)?;
        let buffered = output.len();
        let sent = {
            let [first, second] = output.slices(buffered);
            let mut parts = [IoSlice::new(&[]); MOST_PARTS];
            let mut count = 0;
            let full = [first, second].into_iter().chain(behind.iter().copied());
            for part in full.filter(|part| !part.is_empty()).take(MOST_PARTS) {
                parts[count] = part;
                count += 1;
            }
            if count == 0 {
                return Ok(0);
            }
            self.transport.borrow_mut().write(&parts[..count])?
        };
        self.core.charge(sent);
        let of_buffer = sent.min(buffered);
        output.consume(of_buffer);
        Ok(sent - of_buffer)
    }

    /// Sends what was written.
    pub(crate) fn poll_flush(
        &self,
        context: &mut Context<'_>,
        is_new: &mut bool,
    ) -> Poll<Result<(), SocketError>> {
        self.poll_flush_for(context, is_new, For::Bytes)
    }

    fn poll_flush_for(
        &self,
        context: &mut Context<'_>,
        is_new: &mut bool,
        why: For,
    ) -> Poll<Result<(), SocketError>> {
        loop {
            if self.output.borrow().is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self.poll_send_for(context, is_new, &[], why) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Says that nothing more comes. What was written was sent before.
    pub(crate) fn finish(&self) -> Result<(), SocketError> {
        if !self.is_finished.replace(true) {
            let finished = self.transport.borrow_mut().finish();
            self.pass_on();
            finished?;
        }
        Ok(())
    }

    /// Tells the other end of a channel what it waits for.
    #[inline]
    fn pass_on(&self) {
        if !self.tells_when_empty {
            self.pass_on_now();
        }
    }

    fn pass_on_now(&self) {
        let notice = self.transport.borrow_mut().take_notice();
        if let Some((slot, side)) = notice {
            self.core.notify(slot, side);
        }
    }

    pub(crate) fn unsent(&self) -> usize {
        self.output.borrow().len()
    }
}

fn outside() -> SocketError {
    SocketError::Io(io::Error::other(
        "with Isolation::Mprotect a socket can be used only by coroutines of its runtime",
    ))
}

#[cold]
fn elsewhere() -> SocketError {
    SocketError::Io(io::Error::other(
        "this socket belongs to a runtime that is gone, or to another one than this coroutine's: nobody would end the wait",
    ))
}
