//! A connection: one request after the other.

use core::cell::Cell;
use core::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::body::TOO_LARGE;
use super::chunked::Chunks;
use super::date::Clock;
use super::error::{HttpError, Refusal};
use super::head::{self, Facts, Framing, Known, Version};
use super::request::{Head, Request};
use super::response::{Answered, Responder};
use super::status::Status;
use crate::socket::MOST_INPUT;
use crate::{Input, Output, Service, Socket, SocketError, is_shutting_down};

/// Answers requests.
///
/// ```
/// # mod fanout { pub mod serve { pub use day8::*; } }
/// use fanout::serve::http::{
///     Answered, Handler, Http, HttpError, HttpOptions, Request, Responder, Status,
/// };
/// use fanout::serve::{Isolation, Listener, Runtime, SocketError};
///
/// struct Greeter;
///
/// impl Handler for Greeter {
///     async fn handle(
///         &self,
///         request: Request<'_>,
///         responder: Responder<'_>,
///     ) -> Result<Answered, HttpError> {
///         match request.path() {
///             "/" => responder.status(Status::OK).send(b"hello\n").await,
///             _ => responder.text(Status::NOT_FOUND, "nothing is here").await,
///         }
///     }
/// }
///
/// let runtime = Runtime::new(Isolation::None)?;
/// let (listener, connector) = Listener::channel();
/// runtime.serve(listener, Http::new(Greeter, HttpOptions::new()))?;
/// let answer = runtime.block_on(async move {
///     let mut socket = connector.connect().await?;
///     socket.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
///     let line = socket.read_line(1024).await?.map(<[u8]>::to_vec);
///     Ok::<_, SocketError>(line)
/// })??;
/// assert_eq!(answer.as_deref(), Some(&b"HTTP/1.1 200 OK"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Handler: 'static {
    /// Answers a request.
    ///
    /// An error that is a [`Refusal`] becomes the answer, if none has begun. Any other ends the connection.
    fn handle(
        &self,
        request: Request<'_>,
        responder: Responder<'_>,
    ) -> impl Future<Output = Result<Answered, HttpError>>;
}

/// What an HTTP service allows.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    most_head: usize,
    most_body: u64,
    most_unread: u64,
    head_timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpOptions {
    /// Heads of up to 16 KiB, which are complete after 30 seconds, and bodies of up to 1 MiB.
    pub fn new() -> Self {
        Self {
            most_head: 16 << 10,
            most_body: 1 << 20,
            most_unread: 64 << 10,
            head_timeout: Duration::from_secs(30),
        }
    }

    /// The most bytes that the line and the headers of a request may have. A longer head is refused with 431, or with 414
    /// if it is the line. It has to fit a socket's buffer, so it can be raised to 32 KiB.
    #[must_use]
    pub fn most_head(mut self, bytes: usize) -> Self {
        self.most_head = bytes.min(MOST_INPUT / 2);
        self
    }

    /// The most bytes that a body may have. A longer one is refused with 413.
    #[must_use]
    pub fn most_body(mut self, bytes: u64) -> Self {
        self.most_body = bytes;
        self
    }

    /// How much of a body that the handler has left unread is thrown away to keep the connection. If there may be more, the
    /// connection is closed.
    #[must_use]
    pub fn most_unread(mut self, bytes: u64) -> Self {
        self.most_unread = bytes;
        self
    }

    /// How long a head may take from its first byte to its last. A slower one is refused with 408.
    #[must_use]
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = timeout;
        self
    }
}

/// How much of the body has not been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    Length(u64),
    Chunks(Chunks),
}

/// One request and its answer, as its body and its answer see it together.
#[derive(Debug)]
pub(crate) struct Exchange {
    left: Cell<Left>,
    /// Bytes that the handler looks at, and that are still in the input's buffer.
    lent: Cell<usize>,
    /// How many bytes of body have been seen.
    seen: Cell<u64>,
    most_body: u64,
    most_unread: u64,
    /// The client sends the body only if it is asked.
    is_to_be_asked: Cell<bool>,
    /// Whether the answer's head was written.
    has_begun: Cell<bool>,
    keeps_alive: bool,
    /// Whether no other request has come behind this one, as far as is known.
    is_last: bool,
    is_head: bool,
    version: Version,
}

impl Exchange {
    /// The exchange that this head begins, with so many bytes behind the head.
    fn new(facts: &Facts, behind: usize, options: &HttpOptions) -> Self {
        let left = match facts.framing {
            Framing::None => Left::Nothing,
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunks(Chunks::new()),
        };
        Self {
            left: Cell::new(left),
            lent: Cell::new(0),
            seen: Cell::new(0),
            most_body: options.most_body,
            most_unread: options.most_unread,
            is_to_be_asked: Cell::new(facts.expects),
            has_begun: Cell::new(false),
            keeps_alive: facts.keeps_alive,
            is_last: facts.framing != Framing::None || behind == 0,
            is_head: facts.is_head,
            version: facts.version,
        }
    }

    pub(crate) fn left(&self) -> Left {
        self.left.get()
    }

    /// How many bytes are missing if the input ends here: at least one.
    pub(crate) fn missing(&self) -> u64 {
        match self.left.get() {
            Left::Length(length) => length,
            _ => 1,
        }
    }

    pub(crate) fn is_head(&self) -> bool {
        self.is_head
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn is_to_be_asked(&self) -> bool {
        self.is_to_be_asked.get()
    }

    pub(crate) fn has_asked(&self) {
        self.is_to_be_asked.set(false);
    }

    /// The answer's head is written.
    pub(crate) fn begin(&self) {
        self.has_begun.set(true);
    }

    pub(crate) fn lend(&self, bytes: usize) {
        self.lent.set(bytes);
    }

    pub(crate) fn take_lent(&self) -> usize {
        self.lent.take()
    }

    /// Whether the connection goes on after this answer, as far as can be said before the body was read.
    pub(crate) fn keeps_alive(&self) -> bool {
        let can = match self.left.get() {
            Left::Nothing => true,
            // A client that was not asked for its body may send it, or the next request: nobody knows.
            _ if self.is_to_be_asked.get() => false,
            Left::Length(length) => length <= self.most_unread,
            Left::Chunks(_) => true,
        };
        // A shutdown loses no answer: what has come already is answered.
        self.keeps_alive && can && !(self.is_last && is_shutting_down())
    }

    /// Says how many of these bytes are not of the body's data, and how many behind these are. They count as read.
    pub(crate) fn advance(&self, bytes: &[u8]) -> Result<(usize, usize), Refusal> {
        let (skip, data) = match self.left.get() {
            Left::Nothing => (0, 0),
            Left::Length(length) => {
                let data = bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                let left = length - data as u64;
                self.left.set(if left == 0 { Left::Nothing } else { Left::Length(left) });
                (0, data)
            }
            Left::Chunks(mut chunks) => {
                let step = chunks.step(bytes)?;
                self.left.set(if chunks.is_done() { Left::Nothing } else { Left::Chunks(chunks) });
                (step.skip, step.data)
            }
        };
        let seen = self.seen.get() + data as u64;
        self.seen.set(seen);
        if seen > self.most_body {
            return Err(TOO_LARGE);
        }
        Ok((skip, data))
    }
}

/// A service that speaks HTTP.
pub struct Http<H> {
    handler: H,
    options: HttpOptions,
    clock: Clock,
}

impl<H> fmt::Debug for Http<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Memory that a connection keeps from one request to the next.
#[derive(Default)]
struct Scratch {
    /// The headers that the client sends.
    known: Known,
    /// The head of a request with a body.
    request: Vec<u8>,
    /// The head of an answer.
    answer: Vec<u8>,
}

/// A connection does not keep more than this for later.
const KEPT: usize = 4096;

impl Scratch {
    fn trim(&mut self) {
        for bytes in [&mut self.request, &mut self.answer] {
            if bytes.capacity() > 2 * KEPT {
                *bytes = Vec::new();
            }
        }
    }
}

impl<H: Handler> Service for Http<H> {
    async fn serve(self: Rc<Self>, mut socket: Socket) -> Result<(), SocketError> {
        let (input, output) = socket.split();
        let mut scratch = Scratch::default();
        // The runtime closes the connection gently, so that the client reads the last answer. If it were closed while
        // the client sends, the kernel would send a reset, and the client's kernel would throw the answer away.
        while input.next_request().await? && self.answer(input, output, &mut scratch).await? {
            scratch.trim();
        }
        Ok(())
    }
}

impl<H: Handler> Http<H> {
    /// A service that has this handler answer.
    pub fn new(handler: H, options: HttpOptions) -> Self {
        Self { handler, options, clock: Clock::new() }
    }

    /// The handler.
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// Answers one request; says whether another one may follow.
    async fn answer(
        &self,
        input: &mut Input,
        output: &mut Output,
        scratch: &mut Scratch,
    ) -> Result<bool, SocketError> {
        let facts = match scratch.known.parse(input.buffered(), self.options.most_head) {
            Ok(Some(facts)) => facts,
            // It is not complete, or it is not to be taken.
            _ => match self.rest_of_head(input).await? {
                Ok(Some(facts)) => facts,
                Ok(None) => return Ok(false),
                Err(refusal) => return self.refuse(output, refusal, &mut scratch.answer).await,
            },
        };
        let exchange = Exchange::new(&facts, input.len() - facts.len, &self.options);
        if matches!(facts.framing, Framing::Length(length) if length > self.options.most_body) {
            return self.refuse(output, TOO_LARGE, &mut scratch.answer).await;
        }
        let Scratch { request, answer, .. } = scratch;
        let outcome = if facts.framing == Framing::None {
            let head = Head::new(&input.buffered()[..facts.len], &facts);
            let responder = Responder::new(output, answer, &exchange, &self.clock);
            let outcome = self.handler.handle(Request::new(head, None, &exchange), responder).await;
            input.consume(facts.len);
            outcome
        } else {
            request.clear();
            request.extend_from_slice(&input.buffered()[..facts.len]);
            input.consume(facts.len);
            let head = Head::new(request, &facts);
            let request = Request::new(head, Some(input), &exchange);
            let responder = Responder::new(output, answer, &exchange, &self.clock);
            self.handler.handle(request, responder).await
        };
        match outcome {
            Ok(Answered { keeps_alive: true }) if exchange.left() == Left::Nothing => {
                input.consume(exchange.take_lent());
                Ok(true)
            }
            Ok(Answered { keeps_alive: true }) => discard(input, &exchange).await,
            Ok(Answered { keeps_alive: false }) => Ok(false),
            Err(HttpError::Refused(refusal)) if !exchange.has_begun.get() => {
                self.refuse(output, refusal, answer).await
            }
            // The answer stays incomplete, and the client sees that.
            Err(HttpError::Refused(_)) => Ok(false),
            Err(HttpError::Socket(error)) => Err(error),
        }
    }

    /// Waits for the rest of a head. `None`: the client has ended before.
    #[cold]
    async fn rest_of_head(
        &self,
        input: &mut Input,
    ) -> Result<Result<Option<Facts>, Refusal>, SocketError> {
        input.set_deadline(Instant::now().checked_add(self.options.head_timeout));
        let head = self.whole_head(input).await;
        input.set_deadline(None);
        match head {
            Err(SocketError::TimedOut { to_write: false, .. }) => Ok(Err(TOO_SLOW)),
            head => head,
        }
    }

    async fn whole_head(
        &self,
        input: &mut Input,
    ) -> Result<Result<Option<Facts>, Refusal>, SocketError> {
        loop {
            // Some clients send an empty line behind a body.
            while input.buffered().starts_with(b"\r\n") {
                input.consume(2);
            }
            match head::parse(input.buffered(), self.options.most_head) {
                Ok(None) => {}
                parsed => return Ok(parsed),
            }
            if input.fill().await? == 0 {
                return Ok(Ok(None));
            }
        }
    }

    /// Tells the client that its request is not served.
    #[cold]
    async fn refuse(
        &self,
        output: &mut Output,
        refusal: Refusal,
        answer: &mut Vec<u8>,
    ) -> Result<bool, SocketError> {
        let text = format!("{refusal}\n");
        answer.clear();
        answer.extend_from_slice(refusal.status.line().as_bytes());
        answer.extend_from_slice(&self.clock.line());
        answer.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: ");
        answer.extend_from_slice(itoa::Buffer::new().format(text.len()).as_bytes());
        answer.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
        answer.extend_from_slice(text.as_bytes());
        output.write_all(answer).await?;
        Ok(false)
    }
}

const TOO_SLOW: Refusal =
    Refusal::new(Status::REQUEST_TIMEOUT, "the rest of the request's head did not come in time");

/// Throws away what the handler has left of the body; says whether that was all of it.
#[cold]
async fn discard(input: &mut Input, exchange: &Exchange) -> Result<bool, SocketError> {
    input.consume(exchange.take_lent());
    let mut left = exchange.most_unread;
    loop {
        let Ok((skip, data)) = exchange.advance(input.buffered()) else { return Ok(false) };
        input.consume(skip + data);
        let Some(rest) = left.checked_sub((skip + data) as u64) else { return Ok(false) };
        left = rest;
        if exchange.left() == Left::Nothing {
            return Ok(true);
        }
        if input.is_empty() && input.fill().await? == 0 {
            return Ok(false);
        }
    }
}
