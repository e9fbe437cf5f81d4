//! How a handler answers.

use core::fmt;
use std::io::IoSlice;

use super::connection::Exchange;
use super::date::Clock;
use super::error::HttpError;
use super::head::Version;
use super::status::Status;
use crate::{Output, SocketError};

/// The way to answer a request: once.
pub struct Responder<'a> {
    output: &'a mut Output,
    /// Where heads are put together; the connection keeps it.
    head: &'a mut Vec<u8>,
    exchange: &'a Exchange,
    clock: &'a Clock,
}

impl fmt::Debug for Responder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").finish_non_exhaustive()
    }
}

/// A request has been answered. Only an answer makes one of these, so a handler that returns it has answered.
#[derive(Debug)]
pub struct Answered {
    pub(crate) keeps_alive: bool,
}

/// What a client that waits to be asked for its body is told.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A body of at most so many bytes is copied behind its head, so that both are written at once.
const SHORT: usize = 4096;

/// So much room most heads find without asking again, in bytes.
const ROOM: usize = 512;

impl<'a> Responder<'a> {
    pub(crate) fn new(
        output: &'a mut Output,
        head: &'a mut Vec<u8>,
        exchange: &'a Exchange,
        clock: &'a Clock,
    ) -> Self {
        Self { output, head, exchange, clock }
    }

    /// Begins the answer.
    pub fn status(self, status: Status) -> Response<'a> {
        self.head.clear();
        self.head.reserve(ROOM);
        self.head.extend_from_slice(status.line().as_bytes());
        self.head.extend_from_slice(&self.clock.line());
        Response { responder: self, is_bare: status.is_bare() }
    }

    /// Answers with a line of text: what most errors are.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub async fn text(self, status: Status, text: &str) -> Result<Answered, HttpError> {
        let line = format!("{text}\n");
        self.status(status)
            .header("Content-Type", "text/plain; charset=utf-8")
            .send(line.as_bytes())
            .await
    }

    /// Asks the client for its body.
    pub(crate) async fn ask(&mut self) -> Result<(), SocketError> {
        write(self.output, CONTINUE).await?;
        self.exchange.has_asked();
        Ok(())
    }
}

/// The beginning of an answer: a status, and headers.
///
/// Date, Connection, Content-Length and Transfer-Encoding are not for the handler to write.
pub struct Response<'a> {
    responder: Responder<'a>,
    is_bare: bool,
}

impl fmt::Debug for Response<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").finish_non_exhaustive()
    }
}

impl<'a> Response<'a> {
    /// Adds a header. A control character in the value, such as the end of a line, becomes a space.
    #[must_use]
    pub fn header(self, name: &'static str, value: &str) -> Self {
        debug_assert!(name.bytes().all(super::target::is_token), "{name:?} is no header's name");
        let head = &mut *self.responder.head;
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        let start = head.len();
        head.extend_from_slice(value.as_bytes());
        // Looked at as a whole, so that the compiler takes many bytes at once.
        if value.bytes().fold(false, |found, byte| found | is_control(byte)) {
            head[start..]
                .iter_mut()
                .filter(|byte| is_control(**byte))
                .for_each(|byte| *byte = b' ');
        }
        head.extend_from_slice(b"\r\n");
        self
    }

    /// Answers with these bytes.
    ///
    /// # Errors
    ///
    /// [`HttpError::Socket`].
    #[inline]
    pub async fn send(self, body: &[u8]) -> Result<Answered, HttpError> {
        let Self { responder, is_bare } = self;
        let Responder { output, head, exchange, .. } = responder;
        if !is_bare {
            head.extend_from_slice(b"Content-Length: ");
            head.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        let answered = end_head(head, exchange, exchange.keeps_alive());
        let body = if exchange.is_head() || is_bare { &[] } else { body };
        if body.len() <= SHORT {
            head.extend_from_slice(body);
            write(output, head).await?;
        } else {
            output.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]).await?;
        }
        Ok(answered)
    }

    /// Answers with a body that is written bit by bit: in chunks, or to a client of HTTP/1.0 until the connection ends.
    ///
    /// # Errors
    ///
    /// [`HttpError::Socket`].
    pub async fn stream(self) -> Result<Stream<'a>, HttpError> {
        let Self { responder, is_bare } = self;
        let Responder { output, head, exchange, .. } = responder;
        let is_chunked = exchange.version() == Version::Http11;
        if is_chunked && !is_bare {
            head.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        let keeps_alive = exchange.keeps_alive() && (is_chunked || is_bare);
        let answered = end_head(head, exchange, keeps_alive);
        write(output, head).await?;
        let way = match () {
            () if exchange.is_head() || is_bare => Way::Nowhere,
            () if is_chunked => Way::Chunks,
            () => Way::Plain,
        };
        Ok(Stream { output, way, answered })
    }
}

/// Whether a header's value must not hold this byte.
fn is_control(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' || byte == 0x7f
}

/// Ends the head of an answer.
fn end_head(head: &mut Vec<u8>, exchange: &Exchange, keeps_alive: bool) -> Answered {
    match (keeps_alive, exchange.version()) {
        (true, Version::Http11) => {}
        (true, Version::Http10) => head.extend_from_slice(b"Connection: keep-alive\r\n"),
        (false, _) => head.extend_from_slice(b"Connection: close\r\n"),
    }
    head.extend_from_slice(b"\r\n");
    exchange.begin();
    Answered { keeps_alive }
}

#[inline]
async fn write(output: &mut Output, bytes: &[u8]) -> Result<(), SocketError> {
    if output.try_write(bytes) { Ok(()) } else { output.write_all(bytes).await }
}

/// Where the body of a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Chunks,
    Plain,
    /// The client did not ask for it.
    Nowhere,
}

/// The body of an answer, written bit by bit. One that is not [finished](Stream::finish) is cut off: the client sees that
/// it is not complete.
pub struct Stream<'a> {
    output: &'a mut Output,
    way: Way,
    answered: Answered,
}

impl fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("way", &self.way).finish_non_exhaustive()
    }
}

impl Stream<'_> {
    /// Whether anybody gets what is written: after `HEAD` nobody does.
    pub fn is_wanted(&self) -> bool {
        self.way != Way::Nowhere
    }

    /// Writes more of the body. It leaves when there is enough of it, or with [`Stream::flush`].
    ///
    /// # Errors
    ///
    /// [`HttpError::Socket`]: in particular the client has gone.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), HttpError> {
        // A chunk without bytes would be the last.
        if bytes.is_empty() {
            return Ok(());
        }
        match self.way {
            Way::Nowhere => {}
            Way::Plain => write(self.output, bytes).await?,
            Way::Chunks => {
                let mut size = [0; 18];
                let size = hexadecimal(&mut size, bytes.len());
                let parts = [size, bytes, b"\r\n"].map(IoSlice::new);
                self.output.write_vectored(&parts).await?;
            }
        }
        Ok(())
    }

    /// Sends what was written.
    ///
    /// # Errors
    ///
    /// [`HttpError::Socket`]: in particular the client has gone.
    pub async fn flush(&mut self) -> Result<(), HttpError> {
        Ok(self.output.flush().await?)
    }

    /// The body ends here.
    ///
    /// # Errors
    ///
    /// [`HttpError::Socket`].
    pub async fn finish(self) -> Result<Answered, HttpError> {
        if self.way == Way::Chunks {
            write(self.output, b"0\r\n\r\n").await?;
        }
        Ok(self.answered)
    }
}

/// A chunk's size, with the end of its line.
fn hexadecimal(into: &mut [u8; 18], number: usize) -> &[u8] {
    let mut at = into.len() - 2;
    into[at..].copy_from_slice(b"\r\n");
    let mut rest = number;
    loop {
        at -= 1;
        into[at] = b"0123456789abcdef"[rest % 16];
        rest /= 16;
        if rest == 0 {
            return &into[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_hexadecimal() {
        for number in [1, 9, 10, 15, 16, 255, 4096, usize::MAX] {
            let mut into = [0; 18];
            assert_eq!(hexadecimal(&mut into, number), format!("{number:x}\r\n").as_bytes());
        }
    }
}
