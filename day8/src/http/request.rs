//! What a handler gets.

use core::fmt;
use core::str;

use super::body::Body;
use super::connection::Exchange;
use super::error::HttpError;
use super::head::{Facts, Version};
use super::response::Responder;
use super::target::Authority;
use crate::Input;

/// The head of a request. It costs nothing to copy.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    bytes: &'a [u8],
    facts: &'a Facts,
}

impl<'a> Head<'a> {
    pub(crate) fn new(bytes: &'a [u8], facts: &'a Facts) -> Self {
        Self { bytes, facts }
    }

    /// Such as `GET`. A handler that knows `GET` answers `HEAD` in the same way: the body is left out for it.
    pub fn method(self) -> &'a str {
        match self.facts.method.of(self.bytes) {
            b"GET" => "GET",
            b"POST" => "POST",
            other => text(other),
        }
    }

    /// The target's path, percent signs and all, without the query.
    pub fn path(self) -> &'a str {
        self.target().0
    }

    /// What follows the question mark, if there is one.
    pub fn query(self) -> Option<&'a str> {
        self.target().1
    }

    fn target(self) -> (&'a str, Option<&'a str>) {
        let target = self.facts.path.of(self.bytes);
        let (path, query) = match memchr::memchr(b'?', target) {
            Some(at) => (text(&target[..at]), Some(text(&target[at + 1..]))),
            None => (text(target), None),
        };
        let path = match path {
            // Where the target is a host alone.
            "" if self.method() == "OPTIONS" => "*",
            "" => "/",
            path => path,
        };
        (path, query)
    }

    /// The host that the request is for. A request of HTTP/1.0 need not name one.
    pub fn host(self) -> Option<Authority<'a>> {
        let text = text(self.facts.host?.of(self.bytes));
        Some(Authority::known(text, self.facts.host_len))
    }

    /// The protocol's version.
    pub fn version(self) -> Version {
        self.facts.version
    }

    /// The value of the first header of this name, which is compared without regard to case.
    pub fn header(self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All headers, in their order.
    pub fn headers(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut rest = self.facts.fields.of(self.bytes);
        core::iter::from_fn(move || {
            // The lines were checked when the head was read.
            let end = memchr::memchr(b'\r', rest)?;
            let (line, behind) = rest.split_at(end);
            rest = behind.get(2..).unwrap_or_default();
            let colon = memchr::memchr(b':', line)?;
            Some((text(&line[..colon]), line[colon + 1..].trim_ascii()))
        })
    }
}

impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, query) = self.target();
        f.debug_struct("Head")
            .field("method", &self.method())
            .field("path", &path)
            .field("query", &query)
            .finish_non_exhaustive()
    }
}

/// It was checked to be ASCII.
fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}

/// A request: its head, and its body, which a handler may take.
pub struct Request<'a> {
    head: Head<'a>,
    input: Option<&'a mut Input>,
    exchange: &'a Exchange,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head.fmt(f)
    }
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        head: Head<'a>,
        input: Option<&'a mut Input>,
        exchange: &'a Exchange,
    ) -> Self {
        Self { head, input, exchange }
    }

    /// The head. It outlives the request, so it is still there beside the body.
    pub fn head(&self) -> Head<'a> {
        self.head
    }

    /// Such as `GET`; see [`Head::method`].
    pub fn method(&self) -> &'a str {
        self.head.method()
    }

    /// The target's path; see [`Head::path`].
    pub fn path(&self) -> &'a str {
        self.head.path()
    }

    /// The value of the first header of this name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.head.header(name)
    }

    /// The body. A client that waits to be asked for it (`Expect: 100-continue`) is asked.
    ///
    /// # Errors
    ///
    /// [`HttpError`].
    pub async fn body(self, responder: &mut Responder<'_>) -> Result<Body<'a>, HttpError> {
        if self.exchange.is_to_be_asked() {
            responder.ask().await?;
        }
        Ok(Body::new(self.input, self.exchange))
    }
}
