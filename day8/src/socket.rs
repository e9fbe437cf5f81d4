//! One interface over TCP, Unix sockets, channels and rings.
//!
//! A [`Socket`] tries first: it asks the poller only if there is nothing to read, or no room to write. Its two buffers are
//! rings of bytes in the heap of the coroutine that uses it. The kernel fills and empties them in place.
//!
//! **What was written leaves** when the buffer is full, on [`flush`](Output::flush), and before the socket waits for input. So
//! a service that answers a request after the other need not flush, and the answers to requests that came together leave
//! together.

mod buffer;
mod channel;
mod connect;
mod descriptor;
mod error;
mod transport;
mod wire;

use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};
use std::io::{IoSlice, IoSliceMut};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(crate) use self::buffer::Buffer;
pub(crate) use self::channel::Channel;
pub(crate) use self::descriptor::Descriptor;
pub use self::error::SocketError;
pub(crate) use self::transport::Transport;
pub(crate) use self::wire::{For, Wire};
use crate::runtime::Core;

/// So large an input's buffer grows, in bytes: nothing longer can be asked for at once.
pub const MOST_INPUT: usize = 64 << 10;
/// So much there is room for before bytes are read, in bytes.
const ROOM: usize = 2 << 10;
/// A buffer larger than this is given back when it is empty, and the socket waits.
const KEPT: usize = 4 << 10;

/// The end of a connection that reads.
pub struct Input {
    wire: Rc<Wire>,
    buffer: Buffer,
}

/// The end of a connection that writes.
pub struct Output {
    wire: Rc<Wire>,
}

/// A connection: bytes in both directions, in order.
pub struct Socket {
    input: Input,
    output: Output,
}

macro_rules! debug {
    ($($type:ident)*) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($type)).field("peer", &self.peer()).finish_non_exhaustive()
            }
        }
    )*};
}

debug!(Socket Input Output);

impl Input {
    /// Waits for more bytes, behind those that are buffered, and says how many have come. 0: the input has ended.
    ///
    /// # Errors
    ///
    /// [`SocketError::TooLong`] if [`MOST_INPUT`] bytes are buffered; and what is wrong with the connection.
    pub async fn fill(&mut self) -> Result<usize, SocketError> {
        let mut is_new = true;
        poll_fn(|context| self.poll_fill(context, &mut is_new, For::Bytes)).await
    }

    fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        is_new: &mut bool,
        why: For,
    ) -> Poll<Result<usize, SocketError>> {
        let Self { wire, buffer } = self;
        wire.bring(buffer)?;
        if buffer.room() < ROOM {
            wire.reserve(buffer, buffer.room().max(ROOM), MOST_INPUT)?;
            if buffer.room() == 0 {
                return Poll::Ready(Err(SocketError::TooLong { limit: MOST_INPUT }));
            }
        }
        let room = buffer.room();
        let read = wire.poll_read(context, is_new, why, &mut buffer.room_slices());
        match read {
            Poll::Ready(Ok(count)) => {
                buffer.commit(count);
                if count == room {
                    // There is more: the next read takes twice as much. If there is no room for that, it takes less.
                    let _ = wire.reserve(buffer, 2 * room, MOST_INPUT);
                }
            }
            Poll::Pending if buffer.is_empty() && buffer.room() > KEPT => buffer.release(),
            _ => {}
        }
        read
    }

    /// What has come and was not consumed, in one piece.
    pub fn buffered(&mut self) -> &[u8] {
        // In another coroutine's heap it cannot be reached; the next call that waits brings it here.
        if self.wire.bring(&mut self.buffer).is_err() {
            return &[];
        }
        self.buffer.contiguous()
    }

    /// How many bytes have come and were not consumed.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes so many bytes off the front of what is [buffered](Self::buffered); at most all of them.
    pub fn consume(&mut self, bytes: usize) {
        self.buffer.consume(bytes.min(self.buffer.len()));
    }

    /// Waits for the first byte of the next request. `false`: the client has ended or has been silent for too long, or
    /// the runtime shuts down and nothing has come. Then a service returns.
    ///
    /// # Errors
    ///
    /// What is wrong with the connection.
    pub async fn next_request(&mut self) -> Result<bool, SocketError> {
        if !self.buffer.is_empty() {
            return Ok(true);
        }
        let mut is_new = true;
        let count =
            poll_fn(|context| self.poll_fill(context, &mut is_new, For::NextRequest)).await?;
        Ok(count > 0)
    }

    /// All bytes up to the next one of this value, which is the last of them; or, if the input ends before, all that is left.
    /// `None`: the input has ended.
    ///
    /// # Errors
    ///
    /// [`SocketError::TooLong`] if these would be more than `limit` bytes; and what is wrong with the connection.
    pub async fn read_until(
        &mut self,
        delimiter: u8,
        limit: usize,
    ) -> Result<Option<&[u8]>, SocketError> {
        let mut seen = 0;
        let end = loop {
            let new = &self.buffered()[seen..];
            if let Some(at) = memchr::memchr(delimiter, new) {
                break seen + at + 1;
            }
            seen += new.len();
            if seen >= limit {
                return Err(SocketError::TooLong { limit });
            }
            if self.fill().await? == 0 {
                break seen;
            }
        };
        if end > limit {
            return Err(SocketError::TooLong { limit });
        }
        if end == 0 {
            return Ok(None);
        }
        Ok(Some(self.take(end)))
    }

    /// Takes so many bytes. They lie there until something is read.
    fn take(&mut self, count: usize) -> &[u8] {
        self.buffer.take(count)
    }

    /// The next line, without its `\n` or `\r\n`. The last line may have none. `None`: the input has ended.
    ///
    /// # Errors
    ///
    /// [`SocketError::TooLong`] if it has more than `limit` bytes, with its end; and what is wrong with the connection.
    pub async fn read_line(&mut self, limit: usize) -> Result<Option<&[u8]>, SocketError> {
        let Some(line) = self.read_until(b'\n', limit).await? else { return Ok(None) };
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Fills this slice.
    ///
    /// # Errors
    ///
    /// [`SocketError::Ended`] if the input ends before; and what is wrong with the connection.
    pub async fn read_exact(&mut self, into: &mut [u8]) -> Result<(), SocketError> {
        let mut filled = 0;
        while filled < into.len() {
            let rest = &mut into[filled..];
            let count = if !self.is_empty() {
                self.wire.bring(&mut self.buffer)?;
                let from = self.buffered();
                let count = from.len().min(rest.len());
                rest[..count].copy_from_slice(&from[..count]);
                self.consume(count);
                count
            } else if rest.len() < KEPT {
                self.fill().await?;
                if self.is_empty() { 0 } else { continue }
            } else {
                let mut is_new = true;
                let wire = &self.wire;
                poll_fn(|context| {
                    let mut into = [IoSliceMut::new(&mut *rest)];
                    wire.poll_read(context, &mut is_new, For::Bytes, &mut into)
                })
                .await?
            };
            if count == 0 {
                return Err(SocketError::Ended { missing: (into.len() - filled) as u64 });
            }
            filled += count;
        }
        Ok(())
    }

    /// Sends what comes to another socket: so many bytes, or (`None`) all. They go from this buffer straight to the other's
    /// transport. How many there were: fewer than asked for if the input has ended.
    ///
    /// # Errors
    ///
    /// What is wrong with either connection.
    pub async fn copy_to(
        &mut self,
        output: &mut Output,
        bytes: Option<u64>,
    ) -> Result<u64, SocketError> {
        let most = bytes.unwrap_or(u64::MAX);
        let mut copied = 0;
        while copied < most {
            if self.is_empty() && self.fill().await? == 0 {
                break;
            }
            let left = usize::try_from(most - copied).unwrap_or(usize::MAX);
            let mut is_new = true;
            let Self { wire, buffer } = self;
            let sent = poll_fn(|context| {
                wire.bring(buffer)?;
                output.wire.poll_send(context, &mut is_new, &buffer.slices(left))
            })
            .await?;
            buffer.consume(sent);
            copied += sent as u64;
        }
        Ok(copied)
    }

    /// After how long a wait for the other end fails: by default what
    /// [`RuntimeOptions::idle_timeout`](crate::RuntimeOptions::idle_timeout) says. `None`: never.
    pub fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        self.wire.set_idle_timeout(timeout);
    }

    /// After how long a wait for the other end fails.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.wire.idle_timeout()
    }

    /// When a wait for the other end fails, whatever came meanwhile: for the time of a whole request. `None`: never.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.wire.set_deadline(deadline);
    }

    /// Who is at the other end, for people to read.
    pub fn peer(&self) -> String {
        self.wire.peer()
    }
}

impl Output {
    /// Copies these bytes into the buffer, if there is room for all of them now.
    #[inline]
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.wire.try_write(bytes)
    }

    /// Writes all of these bytes: into the buffer, or, if they do not fit there, to the other end.
    ///
    /// # Errors
    ///
    /// What is wrong with the connection.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), SocketError> {
        if self.wire.try_write(bytes) {
            return Ok(());
        }
        self.write_vectored(&[IoSlice::new(bytes)]).await
    }

    /// Writes all of these parts, one behind the other, with as few system calls as it takes.
    ///
    /// # Errors
    ///
    /// What is wrong with the connection.
    pub async fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> Result<(), SocketError> {
        for some in parts.chunks(8) {
            let mut own = [IoSlice::new(&[]); 8];
            own[..some.len()].copy_from_slice(some);
            let mut left = &mut own[..some.len()];
            let (wire, mut is_new) = (&self.wire, true);
            poll_fn(|context| {
                let written = wire.poll_write(context, &mut is_new, &mut left);
                is_new = written.is_ready();
                written
            })
            .await?;
        }
        Ok(())
    }

    /// Sends what was written.
    ///
    /// # Errors
    ///
    /// What is wrong with the connection.
    pub async fn flush(&mut self) -> Result<(), SocketError> {
        let mut is_new = true;
        poll_fn(|context| self.wire.poll_flush(context, &mut is_new)).await
    }

    /// Sends what was written, and says that nothing more comes.
    ///
    /// # Errors
    ///
    /// What is wrong with the connection.
    pub async fn finish(&mut self) -> Result<(), SocketError> {
        self.flush().await?;
        self.wire.finish()
    }

    /// How many bytes were written and not sent.
    pub fn unsent(&self) -> usize {
        self.wire.unsent()
    }

    /// Who is at the other end, for people to read.
    pub fn peer(&self) -> String {
        self.wire.peer()
    }
}

impl Socket {
    pub(crate) fn new(core: &Rc<Core>, transport: Box<dyn Transport>) -> Self {
        Self::over(Wire::new(core, transport))
    }

    pub(crate) fn over(wire: Rc<Wire>) -> Self {
        let input = Input { wire: Rc::clone(&wire), buffer: Buffer::default() };
        Self { input, output: Output { wire } }
    }

    pub(crate) fn wire(&self) -> Rc<Wire> {
        Rc::clone(&self.input.wire)
    }

    /// Two sockets: what is written to one is read from the other. For coroutines of the runtime that this one belongs to.
    ///
    /// # Errors
    ///
    /// [`NotInRuntime`](crate::NotInRuntime).
    pub fn pair() -> Result<(Self, Self), crate::NotInRuntime> {
        let core = crate::runtime::current()?;
        let (one, other) = Channel::pair(&core);
        Ok((Self::new(&core, Box::new(one)), Self::new(&core, Box::new(other))))
    }

    /// Its two ends, to be used side by side.
    pub fn split(&mut self) -> (&mut Input, &mut Output) {
        (&mut self.input, &mut self.output)
    }

    /// Its two ends, for two coroutines. The connection ends when both are dropped.
    pub fn into_split(self) -> (Input, Output) {
        (self.input, self.output)
    }

    /// [`Input::fill`].
    pub async fn fill(&mut self) -> Result<usize, SocketError> {
        self.input.fill().await
    }

    /// [`Input::buffered`].
    pub fn buffered(&mut self) -> &[u8] {
        self.input.buffered()
    }

    /// [`Input::consume`].
    pub fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
    }

    /// [`Input::next_request`].
    pub async fn next_request(&mut self) -> Result<bool, SocketError> {
        self.input.next_request().await
    }

    /// [`Input::read_until`].
    pub async fn read_until(
        &mut self,
        delimiter: u8,
        limit: usize,
    ) -> Result<Option<&[u8]>, SocketError> {
        self.input.read_until(delimiter, limit).await
    }

    /// [`Input::read_line`].
    pub async fn read_line(&mut self, limit: usize) -> Result<Option<&[u8]>, SocketError> {
        self.input.read_line(limit).await
    }

    /// [`Input::read_exact`].
    pub async fn read_exact(&mut self, into: &mut [u8]) -> Result<(), SocketError> {
        self.input.read_exact(into).await
    }

    /// [`Input::copy_to`] the other's output.
    pub async fn copy_to(
        &mut self,
        other: &mut Self,
        bytes: Option<u64>,
    ) -> Result<u64, SocketError> {
        self.input.copy_to(&mut other.output, bytes).await
    }

    /// [`Input::set_idle_timeout`].
    pub fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        self.input.set_idle_timeout(timeout);
    }

    /// [`Input::set_deadline`].
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.input.set_deadline(deadline);
    }

    /// [`Output::try_write`].
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.output.try_write(bytes)
    }

    /// [`Output::write_all`].
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), SocketError> {
        self.output.write_all(bytes).await
    }

    /// [`Output::write_vectored`].
    pub async fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> Result<(), SocketError> {
        self.output.write_vectored(parts).await
    }

    /// [`Output::flush`].
    pub async fn flush(&mut self) -> Result<(), SocketError> {
        self.output.flush().await
    }

    /// [`Output::finish`].
    pub async fn finish(&mut self) -> Result<(), SocketError> {
        self.output.finish().await
    }

    /// Who is at the other end, for people to read.
    pub fn peer(&self) -> String {
        self.input.peer()
    }
}
