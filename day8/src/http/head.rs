//! The head of a request: its line and its headers, checked once.

use core::mem::MaybeUninit;
use core::ops::Range;

use httparse::Status::{Complete, Partial};
use memchr::{memchr, memchr_iter};

use super::error::Refusal;
use super::status::Status;
use super::target::{Authority, Target, is_token};

/// The most headers that a request may have.
pub const MOST_FIELDS: usize = 100;

/// The protocol's version that a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: a connection carries one request, unless the client asks for more.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How a request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// After so many bytes, at least one.
    Length(u64),
    /// It comes in chunks.
    Chunked,
}

/// A piece of the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(Range { start, end }: Range<usize>) -> Self {
        // A head is shorter than its limit, which is far below 4 GiB.
        Self { start: start as u32, end: end as u32 }
    }

    pub(crate) fn of(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }

    /// The same, where so many bytes lie before it.
    fn moved(self, by: usize) -> Self {
        Self { start: self.start + by as u32, end: self.end + by as u32 }
    }

    /// The same, without so many bytes before it. `None`: it lies in these.
    fn back(self, by: usize) -> Option<Self> {
        let by = by as u32;
        Some(Self { start: self.start.checked_sub(by)?, end: self.end.checked_sub(by)? })
    }

    /// Where this slice lies in the head that it is a part of.
    fn within(head: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr() - head.as_ptr().addr();
        Self::new(start..start + part.len())
    }
}

/// What was found in a head. Positions count from its first byte, so they hold for a copy as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its length, with the empty line.
    pub(crate) len: usize,
    pub(crate) method: Span,
    /// The target's path and query; empty where the target names a host alone.
    pub(crate) path: Span,
    /// The host that the request is for, if it names one.
    pub(crate) host: Option<Span>,
    /// How many bytes of that are not its port.
    pub(crate) host_len: usize,
    /// The header lines, without the empty one.
    pub(crate) fields: Span,
    pub(crate) version: Version,
    pub(crate) framing: Framing,
    pub(crate) keeps_alive: bool,
    /// Whether the client sends the body only when it has been asked for it.
    pub(crate) expects: bool,
    pub(crate) is_head: bool,
}

/// Reads the head at the start of these bytes. `None`: it is not complete.
///
/// What it answers depends on the bytes alone, never on how many of them have come already: a head that is refused
/// before it is complete is refused for its first line, which is also the first thing that is looked at later.
pub(crate) fn parse(bytes: &[u8], limit: usize) -> Result<Option<Facts>, Refusal> {
    // `httparse` skips empty lines before the first; here the caller has done that.
    if let [b'\r' | b'\n', ..] = bytes {
        return parse_slowly(bytes, limit);
    }
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(Complete(len)) if len <= limit => facts(&bytes[..len], &request).map(Some),
        _ => parse_slowly(bytes, limit),
    }
}

/// The header lines of the plain request that was read last.
///
/// A client sends the same ones with each request: its name, what it accepts, its cookies. So they are compared with the
/// last ones, and read anew only if they differ. What they say depends on nothing but their bytes.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// With the empty line. Empty: nothing is known.
    fields: Vec<u8>,
    /// What Host says. Positions count from the first header.
    host: Span,
    host_len: usize,
    keeps_alive: bool,
}

/// Longer header lines are read anew each time.
const MOST_KNOWN: usize = 1 << 10;

impl Known {
    /// Reads a head as [`parse`] does.
    #[inline]
    pub(crate) fn parse(&mut self, bytes: &[u8], limit: usize) -> Result<Option<Facts>, Refusal> {
        if let Some(facts) = self.recall(bytes, limit) {
            return Ok(Some(facts));
        }
        let facts = parse(bytes, limit)?;
        if let Some(facts) = &facts {
            self.learn(bytes, facts);
        }
        Ok(facts)
    }

    /// What [`parse`] would say of this head, if its line is a plain one, and its headers are the known ones.
    #[inline]
    fn recall(&self, bytes: &[u8], limit: usize) -> Option<Facts> {
        let start = memchr(b'\n', bytes)? + 1;
        let len = start + self.fields.len();
        if self.fields.is_empty() || len > limit || bytes.get(start..len)? != self.fields {
            return None;
        }
        let line = bytes[..start].strip_suffix(b" HTTP/1.1\r\n")?;
        let end = memchr(b' ', line)?;
        let (method, target) = (&line[..end], &line[end + 1..]);
        let is_plain = target.starts_with(b"/") && check_method(method);
        // A second space is refused here as well: no target has one.
        let target = check_target(method, target).ok().filter(|_| is_plain)?;
        Some(Facts {
            len,
            method: Span::new(0..end),
            path: Span::within(bytes, target.path),
            host: Some(self.host.moved(start)),
            host_len: self.host_len,
            fields: Span::new(start..len - 2),
            version: Version::Http11,
            framing: Framing::None,
            keeps_alive: self.keeps_alive,
            expects: false,
            is_head: method == b"HEAD",
        })
    }

    /// Remembers the headers of a request without a body.
    fn learn(&mut self, bytes: &[u8], facts: &Facts) {
        let start = facts.fields.start as usize;
        // If the target names a host, that lies before the headers, and nobody has kept what Host says.
        let host = facts.host.and_then(|host| host.back(start));
        let is_plain = facts.version == Version::Http11 && facts.framing == Framing::None;
        let Some(host) = host.filter(|_| is_plain && facts.len - start <= MOST_KNOWN) else {
            return;
        };
        self.fields.clear();
        self.fields.extend_from_slice(&bytes[start..facts.len]);
        (self.host, self.host_len) = (host, facts.host_len);
        self.keeps_alive = facts.keeps_alive;
    }
}

/// What is incomplete, too long or wrong.
#[cold]
fn parse_slowly(bytes: &[u8], limit: usize) -> Result<Option<Facts>, Refusal> {
    let window = &bytes[..bytes.len().min(limit)];
    let is_all = window.len() < limit;
    let Some(line) = memchr(b'\n', window) else {
        let long = Refusal::new(Status::URI_TOO_LONG, "the request line is over the limit");
        return if is_all { Ok(None) } else { Err(long) };
    };
    check_line(&window[..line])?;
    let Some(end) = end_of_head(window, line) else {
        let long = Refusal::new(Status::HEADERS_TOO_LARGE, "the headers are over the limit");
        return if is_all { Ok(None) } else { Err(long) };
    };
    let head = &window[..end];
    check_ends(head)?;
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields) {
        Ok(Complete(len)) if len == end => facts(head, &request).map(Some),
        Ok(Complete(_) | Partial) => Err(Refusal::malformed("the head ends too early")),
        Err(error) => Err(why(error)),
    }
}

fn why(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => {
            Refusal::new(Status::HEADERS_TOO_LARGE, "there are more headers than the limit")
        }
        httparse::Error::HeaderName => Refusal::malformed(
            "a header's name holds a character that it may not, or a space before the colon, or its line is folded",
        ),
        httparse::Error::HeaderValue => {
            Refusal::malformed("a header's value holds a control character, or its line is folded")
        }
        _ => Refusal::malformed("the head does not follow the rules"),
    }
}

/// Where the first empty line ends; each line may end in a bare LF, so that no reader could end the head earlier.
fn end_of_head(window: &[u8], first: usize) -> Option<usize> {
    let mut last = first;
    memchr_iter(b'\n', &window[first + 1..]).find_map(|at| {
        let at = first + 1 + at;
        let line = &window[last + 1..at];
        last = at;
        matches!(line, b"" | b"\r").then_some(at + 1)
    })
}

/// The first line, up to its LF.
fn check_line(line: &[u8]) -> Result<(), Refusal> {
    let Some(line) = line.strip_suffix(b"\r") else {
        return Err(BARE_LF);
    };
    let malformed = Refusal::malformed(
        "expected a request line: a method, a target and a version, with one space between them",
    );
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed);
    };
    if !check_method(method) || target.is_empty() {
        return Err(malformed);
    }
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => check_target(method, target).map(drop),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            let why = "expected version 1.1 or 1.0, found another";
            Err(Refusal::new(Status::VERSION_NOT_SUPPORTED, why))
        }
        _ => Err(malformed),
    }
}

fn check_method(method: &[u8]) -> bool {
    !method.is_empty() && method.iter().all(|&byte| is_token(byte))
}

fn check_target<'a>(method: &[u8], target: &'a [u8]) -> Result<Target<'a>, Refusal> {
    if method == b"CONNECT" {
        return Err(Refusal::new(Status::NOT_IMPLEMENTED, "this is no proxy: it has no CONNECT"));
    }
    Target::parse(method, target)
}

const BARE_LF: Refusal = Refusal::malformed("expected each line to end in CR LF, found a bare LF");

/// Each LF follows a CR. That each CR is followed by an LF, `httparse` has checked.
#[inline]
fn check_ends(head: &[u8]) -> Result<(), Refusal> {
    for at in memchr_iter(b'\n', head) {
        if at == 0 || head[at - 1] != b'\r' {
            return Err(BARE_LF);
        }
    }
    Ok(())
}

/// What the headers say of the message and the connection.
#[derive(Default)]
struct Said<'a> {
    host: Option<&'a [u8]>,
    length: Option<&'a [u8]>,
    coding: Option<Coding>,
    closes: bool,
    keeps: bool,
    expects: bool,
}

fn facts(head: &[u8], request: &httparse::Request<'_, '_>) -> Result<Facts, Refusal> {
    let line = memchr(b'\n', head).ok_or(BARE_LF)?;
    if !head[..line].ends_with(b"\r") {
        return Err(BARE_LF);
    }
    let (method, target) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
    let target = check_target(method.as_bytes(), target.as_bytes())?;
    check_ends(&head[line + 1..])?;
    let version = if request.version == Some(1) { Version::Http11 } else { Version::Http10 };
    let said = listen(request.headers)?;
    let host = match (said.host, version) {
        (None, Version::Http11) => {
            return Err(Refusal::malformed("expected a Host header, found none"));
        }
        (None, Version::Http10) => None,
        (Some(host), _) => {
            Some(Authority::parse(host).ok_or(Refusal::malformed("what Host says is no host"))?)
        }
    };
    // What the target says counts, whatever Host says beside it.
    let host = target.authority.or(host);
    let framing = framing(version, &said)?;
    Ok(Facts {
        len: head.len(),
        method: Span::within(head, method.as_bytes()),
        path: Span::within(head, target.path),
        host: host.map(|host| Span::within(head, host.as_str().as_bytes())),
        host_len: host.map_or(0, |host| host.host().len()),
        fields: Span::new(line + 1..head.len() - 2),
        version,
        framing,
        keeps_alive: !said.closes && (version == Version::Http11 || said.keeps),
        // A client of HTTP/1.0 cannot expect that.
        expects: said.expects && version == Version::Http11 && framing != Framing::None,
        is_head: method == "HEAD",
    })
}

fn listen<'a>(fields: &[httparse::Header<'a>]) -> Result<Said<'a>, Refusal> {
    let mut said = Said::default();
    for field in fields {
        let (name, value) = (field.name, field.value);
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        // Most headers are told apart by their length.
        match name.len() {
            4 if is("host") => only(&mut said.host, value, "there is more than one Host")?,
            6 if is("expect") => expectation(&mut said, value)?,
            10 if is("connection") => connection(&mut said, value),
            14 if is("content-length") => {
                only(&mut said.length, value, "there is more than one Content-Length")?;
            }
            17 if is("transfer-encoding") => {
                let coding = said.coding.take().unwrap_or_default();
                said.coding = Some(coding.and(value));
            }
            _ => {}
        }
    }
    Ok(said)
}

fn only<'a>(
    place: &mut Option<&'a [u8]>,
    value: &'a [u8],
    why: &'static str,
) -> Result<(), Refusal> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::malformed(why)),
    }
}

#[cold]
fn expectation(said: &mut Said<'_>, value: &[u8]) -> Result<(), Refusal> {
    if !value.eq_ignore_ascii_case(b"100-continue") {
        let why = "expected no expectation but 100-continue";
        return Err(Refusal::new(Status::EXPECTATION_FAILED, why));
    }
    said.expects = true;
    Ok(())
}

fn connection(said: &mut Said<'_>, value: &[u8]) {
    for option in items(value) {
        said.closes |= option.eq_ignore_ascii_case(b"close");
        said.keeps |= option.eq_ignore_ascii_case(b"keep-alive");
    }
}

/// The items of a list, without the spaces around them.
fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let trim = |item: &mut &[u8]| {
        while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = item {
            *item = rest;
        }
    };
    value.split(|&byte| byte == b',').map(move |mut item| {
        trim(&mut item);
        item
    })
}

/// What Transfer-Encoding lists.
#[derive(Clone, Copy, Default)]
struct Coding {
    /// How many times it lists `chunked`.
    chunked: usize,
    /// Whether that is the last.
    is_last: bool,
    /// Whether it lists something else.
    others: bool,
    /// Whether an item is empty or no name.
    malformed: bool,
}

impl Coding {
    /// With what another line lists.
    #[cold]
    fn and(mut self, value: &[u8]) -> Self {
        for item in items(value) {
            self.is_last = item.eq_ignore_ascii_case(b"chunked");
            self.chunked += usize::from(self.is_last);
            self.others |= !self.is_last;
            // A coding may have parameters; chunked has none.
            let name = item.split(|byte| b"; \t".contains(byte)).next().unwrap_or(item);
            self.malformed |= name.is_empty() || !name.iter().all(|&byte| is_token(byte));
            self.malformed |= !self.is_last && name.eq_ignore_ascii_case(b"chunked");
        }
        self
    }
}

fn framing(version: Version, said: &Said<'_>) -> Result<Framing, Refusal> {
    match (said.length, said.coding) {
        (None, None) => Ok(Framing::None),
        (Some(_), Some(_)) => Err(Refusal::malformed(
            "expected Content-Length or Transfer-Encoding, found both: nobody can say where the body ends",
        )),
        (Some(length), None) => Ok(match length_of(length)? {
            0 => Framing::None,
            length => Framing::Length(length),
        }),
        (None, Some(_)) if version == Version::Http10 => {
            Err(Refusal::malformed("HTTP/1.0 has no Transfer-Encoding"))
        }
        (None, Some(coding)) => check_coding(coding),
    }
}

fn check_coding(coding: Coding) -> Result<Framing, Refusal> {
    match coding {
        Coding { malformed: true, .. } => {
            Err(Refusal::malformed("Transfer-Encoding is no list of codings"))
        }
        Coding { chunked: 2.., .. } => {
            Err(Refusal::malformed("Transfer-Encoding says chunked more than once"))
        }
        Coding { chunked: 1, is_last: false, .. } => {
            Err(Refusal::malformed("Transfer-Encoding says chunked, but not last"))
        }
        Coding { others: true, .. } => Err(Refusal::new(
            Status::NOT_IMPLEMENTED,
            "expected the transfer coding chunked alone, found another",
        )),
        _ => Ok(Framing::Chunked),
    }
}

/// Digits and nothing else. More than a `u64` holds is as good as the most that it holds: it is over every limit.
fn length_of(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::malformed("Content-Length is no number in digits"));
    }
    let digit =
        |length: u64, digit: &u8| length.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Ok(value.iter().fold(0, digit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 14;

    fn code(head: &str) -> Result<Option<Facts>, u16> {
        parse(head.as_bytes(), LIMIT).map_err(|refusal| refusal.status.code())
    }

    /// A head with this line and these headers, and a Host.
    fn with(fields: &str) -> Result<Facts, u16> {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        code(&head).map(|facts| facts.expect("the head is complete"))
    }

    #[test]
    fn a_plain_head_is_taken_apart() {
        let head = b"GET /a?b HTTP/1.1\r\nHost: h:80\r\nX: y \r\n\r\nmore";
        let facts = parse(head, LIMIT).unwrap().unwrap();
        assert_eq!(facts.len, head.len() - 4);
        assert_eq!(facts.method.of(head), b"GET");
        assert_eq!(facts.path.of(head), b"/a?b");
        assert_eq!(facts.host.unwrap().of(head), b"h:80");
        assert_eq!(facts.fields.of(head), b"Host: h:80\r\nX: y \r\n");
        assert_eq!((facts.version, facts.framing), (Version::Http11, Framing::None));
        assert!(facts.keeps_alive && !facts.expects && !facts.is_head);
    }

    #[test]
    fn lines_that_are_no_requests_are_refused() {
        for (line, status) in [
            ("GET / HTTP/2.0", 505),
            ("GET / HTTP/1.2", 505),
            ("GET / HTTP/0.9", 505),
            ("GET / http/1.1", 400),
            ("GET / HTTP/11", 400),
            ("GET / FTP/1.1", 400),
            ("GET /", 400),
            ("GET", 400),
            ("GET  / HTTP/1.1", 400),
            ("GET /  HTTP/1.1", 400),
            ("GET / HTTP/1.1 ", 400),
            (" GET / HTTP/1.1", 400),
            ("GET\t/ HTTP/1.1", 400),
            ("G(T / HTTP/1.1", 400),
            ("GET /\u{e4} HTTP/1.1", 400),
            ("GET /a#b HTTP/1.1", 400),
            ("GET * HTTP/1.1", 400),
            ("CONNECT h:80 HTTP/1.1", 501),
            ("GET / HTTP/1.1\r", 400),
            ("GET /\r HTTP/1.1", 400),
            ("GET /\0 HTTP/1.1", 400),
            ("\u{16}\u{3}\u{1}", 400),
        ] {
            // Before the headers have come, and after that: also if they are wrong.
            for rest in ["", "Host: h\r\n\r\n", "Host : h\r\n\r\n", "\r\n"] {
                assert_eq!(code(&format!("{line}\r\n{rest}")), Err(status), "{line:?}");
            }
        }
        assert_eq!(
            code("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").map(|facts| facts.is_some()),
            Ok(true)
        );
        assert_eq!(code("GET / HTTP/1.1\nHost: h\r\n\r\n"), Err(400));
    }

    #[test]
    fn headers_that_others_might_read_another_way_are_refused() {
        for fields in [
            "X : y\r\n",
            "X\t: y\r\n",
            " X: y\r\n",
            "X: y\r\n z\r\n",
            "X: y\r\n\tz\r\n",
            "X: y\n",
            "X: y\rZ: z\r\n",
            "X: a\0b\r\n",
            "X: a\u{b}b\r\n",
            "X\r\n",
            ": y\r\n",
            "X y: z\r\n",
            "Host: h\r\n",
            "X: y\n\r\n",
        ] {
            assert_eq!(with(fields), Err(400), "{fields:?}");
        }
        assert!(with("X:\r\nY:y\r\nZ: \t z\t \r\n").is_ok());
    }

    #[test]
    fn a_body_has_one_length() {
        for (fields, framing) in [
            ("Content-Length: 0\r\n", Ok(Framing::None)),
            ("Content-Length: 5\r\n", Ok(Framing::Length(5))),
            ("content-length:\t005 \r\n", Ok(Framing::Length(5))),
            ("Content-Length: 99999999999999999999999\r\n", Ok(Framing::Length(u64::MAX))),
            ("Content-Length: +5\r\n", Err(400)),
            ("Content-Length: -5\r\n", Err(400)),
            ("Content-Length: 0x5\r\n", Err(400)),
            ("Content-Length: 5 5\r\n", Err(400)),
            ("Content-Length: 5, 5\r\n", Err(400)),
            ("Content-Length: \r\n", Err(400)),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Err(400)),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", Err(400)),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(400)),
            ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", Err(400)),
            ("Transfer-Encoding: gzip\r\nContent-Length: 5\r\n", Err(400)),
            ("Transfer-Encoding: chunked\r\n", Ok(Framing::Chunked)),
            ("transfer-encoding: CHUNKED\r\n", Ok(Framing::Chunked)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(501)),
            ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Err(501)),
            ("Transfer-Encoding: gzip\r\n", Err(501)),
            ("Transfer-Encoding: identity\r\n", Err(501)),
            ("Transfer-Encoding: xchunked\r\n", Err(501)),
            ("Transfer-Encoding: chunked, gzip\r\n", Err(400)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", Err(400)),
            ("Transfer-Encoding: chunked, chunked\r\n", Err(400)),
            ("Transfer-Encoding: chunked;q=1\r\n", Err(400)),
            ("Transfer-Encoding: chunked,\r\n", Err(400)),
            ("Transfer-Encoding: \r\n", Err(400)),
            ("Transfer-Encoding: \"chunked\"\r\n", Err(400)),
            ("Transfer-Encoding : chunked\r\n", Err(400)),
        ] {
            assert_eq!(with(fields).map(|facts| facts.framing), framing, "{fields:?}");
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(code(old), Err(400));
    }

    #[test]
    fn a_request_names_one_host() {
        assert_eq!(code("GET / HTTP/1.1\r\n\r\n"), Err(400));
        assert_eq!(code("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), Err(400));
        assert_eq!(code("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), Err(400));
        assert_eq!(code("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), Err(400));
        assert_eq!(code("GET http://h/ HTTP/1.1\r\n\r\n"), Err(400));
        let host = |head: &str| {
            let facts = code(head).unwrap().unwrap();
            facts.host.map(|host| String::from_utf8(host.of(head.as_bytes()).to_vec()).unwrap())
        };
        assert_eq!(host("GET / HTTP/1.0\r\n\r\n"), None);
        assert_eq!(host("GET / HTTP/1.1\r\nHost:\r\n\r\n").as_deref(), Some(""));
        assert_eq!(host("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n").as_deref(), Some("b"));
    }

    #[test]
    fn connections_are_kept_as_the_version_says() {
        let keeps = |version: &str, fields: &str| {
            let head = format!("GET / HTTP/{version}\r\nHost: h\r\n{fields}\r\n");
            code(&head).unwrap().unwrap().keeps_alive
        };
        assert!(keeps("1.1", "") && !keeps("1.0", ""));
        assert!(
            !keeps("1.1", "Connection: close\r\n") && keeps("1.0", "Connection: Keep-Alive\r\n")
        );
        assert!(!keeps("1.1", "Connection: x, CLOSE ,y\r\n"));
        assert!(!keeps("1.0", "Connection: keep-alive\r\nConnection: close\r\n"));
        assert!(keeps("1.1", "Connection: closed\r\n"));
    }

    #[test]
    fn known_headers_are_not_read_again() {
        let fields = "Host: h:80\r\nConnection: x\r\n\r\n";
        let mut known = Known::default();
        let first = format!("GET / HTTP/1.1\r\n{fields}");
        assert_eq!(known.recall(first.as_bytes(), LIMIT), None);
        known.parse(first.as_bytes(), LIMIT).unwrap();
        for (line, is_known) in [
            ("HEAD /a?b HTTP/1.1", true),
            ("X /%20 HTTP/1.1", true),
            ("GET / HTTP/1.0", false),
            ("GET http://i/ HTTP/1.1", false),
            ("OPTIONS * HTTP/1.1", false),
            ("CONNECT / HTTP/1.1", false),
            ("GET / / HTTP/1.1", false),
            ("GET  / HTTP/1.1", false),
            (" / HTTP/1.1", false),
            ("G(T / HTTP/1.1", false),
            ("GET /% HTTP/1.1", false),
            ("GET /\r HTTP/1.1", false),
            ("\r\nGET / HTTP/1.1", false),
            ("GET / HTTP/1.1\r\nX: y", false),
        ] {
            let head = format!("{line}\r\n{fields}more");
            let recalled = known.recall(head.as_bytes(), LIMIT);
            assert_eq!(recalled.is_some(), is_known, "{line:?}");
            if is_known {
                assert_eq!(Ok(recalled), parse(head.as_bytes(), LIMIT), "{line:?}");
                assert_eq!(known.recall(head.as_bytes(), head.len() - 5), None, "{line:?}");
            }
        }
        let other = "GET / HTTP/1.1\r\nHost: h:81\r\nConnection: x\r\n\r\n";
        assert_eq!(known.recall(other.as_bytes(), LIMIT), None);
    }

    /// Whatever was read before, and whatever comes: what is remembered changes nothing.
    #[test]
    fn every_head_is_read_alike_after_every_other() {
        let lines = [
            "GET / HTTP/1.1",
            "HEAD / HTTP/1.1",
            "GET / HTTP/1.0",
            "GET http://other/ HTTP/1.1",
            "OPTIONS * HTTP/1.1",
        ];
        let long = format!("Host: h\r\nX: {}\r\n", "y".repeat(MOST_KNOWN));
        let fields = [
            "",
            "Host: h\r\n",
            "Host: [::1]:8080\r\n",
            "Host: h\r\nConnection: close\r\n",
            "Connection: keep-alive\r\nHost:  h \r\n",
            "Host: h\r\nContent-Length: 0\r\nExpect: 100-continue\r\n",
            "Host: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n",
            "Host: h\r\nTransfer-Encoding: chunked\r\n",
            "Host: h\r\nExpect: more\r\n",
            &long,
        ];
        let heads = lines.map(|line| fields.map(|fields| format!("{line}\r\n{fields}\r\nmore")));
        for before in heads.as_flattened() {
            for head in heads.as_flattened() {
                let mut known = Known::default();
                let _ = known.parse(before.as_bytes(), LIMIT);
                let found = known.parse(head.as_bytes(), LIMIT);
                assert_eq!(found, parse(head.as_bytes(), LIMIT), "{head:?} after {before:?}");
                assert!(known.fields.capacity() <= MOST_KNOWN);
            }
        }
    }

    /// The same for any byte anywhere.
    #[test]
    fn a_known_head_with_a_byte_that_differs_is_read_as_a_new_one() {
        let base = b"GET /a?b HTTP/1.1\r\nHost: h:80\r\nConnection: close\r\n\r\nmore";
        let mut known = Known::default();
        let mut check = |head: &[u8]| {
            known.parse(base, LIMIT).unwrap();
            let found = known.parse(head, LIMIT);
            assert_eq!(found, parse(head, LIMIT), "{}", head.escape_ascii());
        };
        for at in 0..base.len() {
            let (before, behind) = base.split_at(at);
            check(before);
            check(&[before, &behind[1..]].concat());
            for byte in 0..=u8::MAX {
                check(&[before, &[byte], &behind[1..]].concat());
                check(&[before, &[byte], behind].concat());
            }
        }
    }

    #[test]
    fn limits_count_bytes_and_headers() {
        let long = "y".repeat(LIMIT);
        assert_eq!(with(&format!("X: {long}\r\n")), Err(431));
        assert_eq!(code(&format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n")), Err(414));
        assert_eq!(code(&format!("GET /{long}")), Err(414));
        assert_eq!(code(&format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}")), Err(431));
        assert_eq!(code(&format!("GET / HTTP/9.9\r\nX: {long}")), Err(505));
        let fields = |count: usize| with(&"X: y\r\n".repeat(count)).map(drop);
        assert_eq!((fields(MOST_FIELDS - 1), fields(MOST_FIELDS)), (Ok(()), Err(431)));
        // To the byte.
        let frame = "GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n".len();
        let exactly = |len: usize| with(&format!("X: {}\r\n", "y".repeat(len - frame))).map(drop);
        assert_eq!((exactly(LIMIT), exactly(LIMIT + 1)), (Ok(()), Err(431)));
    }

    #[test]
    fn expectations_are_known_or_refused() {
        let body = "Content-Length: 5\r\n";
        assert!(with(&format!("{body}Expect: 100-Continue\r\n")).unwrap().expects);
        assert!(!with("Expect: 100-continue\r\n").unwrap().expects);
        assert_eq!(with(&format!("{body}Expect: a miracle\r\n")).map(drop), Err(417));
    }

    /// Heads that are mostly right, with something wrong here and there.
    fn heads() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "GET ",
            "POST ",
            "/ ",
            "/a?b ",
            "HTTP/1.1",
            "HTTP/1.0",
            "HTTP/1.2",
            "\r\n",
            "\r\n",
            "\r\n",
            "\n",
            "\r",
            "Host: h",
            "Host: i",
            "X: y",
            "X : y",
            " ",
            ":",
            "Content-Length: 3",
            "Transfer-Encoding: chunked",
            "\0",
            "\u{e4}",
            "http://h/ ",
        ]);
        prop::collection::vec(piece, 0..14).prop_map(|pieces| {
            let mut head = b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec();
            if pieces.len().is_multiple_of(2) {
                head.clear();
            }
            head.extend(pieces.concat().bytes());
            head
        })
    }

    fn view(bytes: &[u8]) -> Result<Option<(usize, String, String, usize)>, httparse::Error> {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        Ok(match request.parse(bytes)? {
            Complete(len) => Some((
                len,
                request.method.unwrap().to_owned(),
                request.path.unwrap().to_owned(),
                request.headers.len(),
            )),
            Partial => None,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// What is taken, `httparse` takes as well, and sees the same in it.
        #[test]
        fn nothing_is_taken_that_httparse_refuses(head in heads()) {
            if let Ok(Some(facts)) = parse(&head, LIMIT) {
                let (len, method, path, fields) = view(&head).unwrap().unwrap();
                prop_assert_eq!(facts.len, len);
                prop_assert_eq!(facts.method.of(&head), method.as_bytes());
                prop_assert!(path.as_bytes().ends_with(facts.path.of(&head)));
                let lines = facts.fields.of(&head).split(|&byte| byte == b'\n').count() - 1;
                prop_assert_eq!(lines, fields);
            }
        }

        /// Headers that are remembered change nothing.
        #[test]
        fn who_remembers_headers_says_the_same(heads in prop::collection::vec(heads(), 1..8)) {
            let mut known = Known::default();
            for head in &heads {
                for end in [&b""[..], b"\r\n\r\n", b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"] {
                    let bytes = [head, end].concat();
                    for limit in [LIMIT, bytes.len(), 40] {
                        prop_assert_eq!(known.parse(&bytes, limit), parse(&bytes, limit));
                    }
                }
            }
        }

        /// A head is judged alike, however much of it is there when it is first looked at.
        #[test]
        fn a_part_says_nothing_else_than_the_whole(head in heads()) {
            let mut whole = head.clone();
            whole.extend(b"\r\n\r\n");
            let answer = parse(&whole, LIMIT);
            for cut in 0..whole.len() {
                match parse(&whole[..cut], LIMIT) {
                    Ok(None) => {}
                    early => prop_assert_eq!(&early, &answer, "after {} of {:?}", cut, String::from_utf8_lossy(&whole)),
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, 64);
        }
    }
}
