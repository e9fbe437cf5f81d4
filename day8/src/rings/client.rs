//! The client's side: a stream of bytes for programs that block.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use day3::{RecvError, SendError, SendTimeoutError};
use day5::Strategy;
use day5::strategy::AnyStrategy;
use day7::line::wire::{Hello, STREAM};
use day7::line::{self, ClientEnds, ConnectError, ConnectOptions, Line};
use day7::ready::Posting;

use super::chunks::{Incoming, Outgoing, no_input};

/// How long a writer that waits for room waits before it asks whether the service is there.
const SLICE: Duration = Duration::from_millis(100);

/// How a client connects to a service, and waits for it.
#[derive(Clone, Debug, Default)]
pub struct RingOptions(ConnectOptions);

impl RingOptions {
    /// A service of its own user, that lets it in within 2 seconds; it waits as [`Strategy::Adaptive`] does.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long the service may take to let the client in.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self(self.0.timeout(timeout))
    }

    /// How both halves wait: [`Strategy::Spin`] for the shortest time, [`Strategy::Sleep`] for the least work.
    #[must_use]
    pub fn waiting(self, strategy: Strategy) -> Self {
        Self(self.0.waiting(strategy))
    }

    /// Trusts a service of this user, too.
    #[must_use]
    pub fn trust_user(self, user: u32) -> Self {
        Self(self.0.trust_user(user))
    }

    /// Trusts a service of any user.
    #[must_use]
    pub fn trust_any_user(self) -> Self {
        Self(self.0.trust_any_user())
    }
}

/// A connection to a service over a pair of rings, for a program that blocks: [`Read`] and [`Write`].
///
/// Nothing is buffered here: what was written is with the service, and [`flush`](Write::flush) does nothing. Two threads
/// that read and write at the same time take one [half](Self::split) each. Dropping it ends both directions; what was
/// written before is still read.
///
/// Its errors are those of a socket: [`ConnectionReset`](io::ErrorKind::ConnectionReset) where the service has died,
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe) where it reads no more.
///
/// # Examples
///
/// ```no_run
/// # mod fanout { pub mod serve { pub use day8::*; } }
/// use std::io::{Read, Write};
///
/// use fanout::serve::rings::RingStream;
///
/// let mut stream = RingStream::connect("/run/echo")?;
/// stream.write_all(b"hello\n")?;
/// stream.finish();
/// let mut answer = String::new();
/// stream.read_to_string(&mut answer)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
// The writer is dropped first: a service that finds the connection closed finds the end of the stream as well.
#[derive(Debug)]
pub struct RingStream {
    writer: RingWriter,
    reader: RingReader,
}

/// The half of a [`RingStream`] that reads.
#[derive(Debug)]
pub struct RingReader {
    answers: Incoming<Posting<AnyStrategy>>,
    /// The connection stands as long as either half is there.
    _line: Arc<Line>,
}

/// The half of a [`RingStream`] that writes. Dropping it tells the service that nothing more comes.
#[derive(Debug)]
pub struct RingWriter {
    requests: Outgoing<Posting<AnyStrategy>>,
    line: Arc<Line>,
}

impl RingStream {
    /// Connects to the service that listens at `ring:PATH`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ConnectError> {
        Self::connect_with(path, &RingOptions::new())
    }

    /// The same, with these options.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn connect_with(
        path: impl AsRef<Path>,
        options: &RingOptions,
    ) -> Result<Self, ConnectError> {
        let connected = line::connect(path.as_ref(), &options.0, Hello::new(STREAM, 0), &[])?;
        let ClientEnds { requests, answers, line, .. } = connected.ends;
        // The service writes nothing before somebody reads it: now somebody does.
        connected.seat.ring();
        let reader = RingReader { answers: Incoming::new(answers), _line: Arc::clone(&line) };
        Ok(Self { writer: RingWriter { requests: Outgoing::new(requests), line }, reader })
    }

    /// Tells the service that nothing more comes. What it answers can still be read.
    pub fn finish(&mut self) {
        self.writer.finish();
    }

    /// The two halves, for two threads.
    pub fn split(self) -> (RingReader, RingWriter) {
        (self.reader, self.writer)
    }
}

impl Read for RingStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader.read(into)
    }

    fn read_vectored(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.reader.read_vectored(into)
    }
}

impl Write for RingStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writer.write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Read for RingReader {
    /// What is there, waiting for the first byte of it.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.read_vectored(&mut [IoSliceMut::new(into)])
    }

    fn read_vectored(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        loop {
            if let Some(len) = self.answers.take(into)? {
                return Ok(len);
            }
            match self.answers.ring.recv() {
                // It was waited for, and is taken in the next round.
                Ok(record) => record.give_back(),
                Err(RecvError::Closed) => return Ok(0),
                Err(why) => return Err(no_input(why)),
            }
        }
    }
}

impl RingWriter {
    /// Tells the service that nothing more comes.
    pub fn finish(&mut self) {
        self.requests.ring.close();
    }

    /// Waits until there is room for some of these bytes, or the service is found to be gone.
    #[cold]
    fn wait_for_room(&mut self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let wanted = self.requests.wanted(parts);
        loop {
            match self.requests.ring.reserve_timeout(wanted, SLICE) {
                Ok(room) => {
                    drop(room);
                    return Ok(());
                }
                Err(SendTimeoutError::TimedOut(_)) if self.line.is_alive() => {}
                Err(SendTimeoutError::TimedOut(_)) => return Err(reads_no_more()),
                Err(SendTimeoutError::End(why)) => return Err(no_output(why)),
            }
        }
    }
}

impl Write for RingWriter {
    /// As many of the bytes as there is room for, waiting until there is some.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            // The service's end has left, or was found dead: what is sent now would be read by nobody.
            if self.requests.ring.is_abandoned() {
                return Err(reads_no_more());
            }
            match self.requests.put(parts) {
                Ok(Some(len)) => return Ok(len),
                Ok(None) => self.wait_for_room(parts)?,
                Err(why) => return Err(no_output(why)),
            }
        }
    }

    /// Does nothing: what was written is with the service.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cold]
fn reads_no_more() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the service reads no more: it has ended the connection",
    )
}

/// Why no more can be written.
#[cold]
fn no_output(why: SendError) -> io::Error {
    let kind = match why {
        SendError::Closed => io::ErrorKind::BrokenPipe,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, why)
}
