//! Requests that lie in the socket's buffer as a whole: nothing is copied.

use core::fmt;
use core::ops::Deref;

use super::inline;
use super::number;

/// The most bytes that a line may have: of an inline request, of a count, of a length.
pub(super) const MOST_LINE: usize = 64 << 10;
/// A request that is longer, and is not there as a whole, is read piece by piece. A socket's buffer is larger.
pub(super) const LONG: usize = 4 << 10;
/// So many arguments need no memory of their own.
const FEW: usize = 8;

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The most bytes that one argument may have.
    pub(super) argument: usize,
    /// The most arguments that one request may have.
    pub(super) arguments: usize,
}

/// What is no request. The connection ends after that: nobody knows where the next request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProtocolError {
    Count,
    LongCount,
    Length,
    LongLength,
    NoDollar { found: u8 },
    LongLine,
    Quotes,
}

impl fmt::Display for ProtocolError {
    /// In Redis's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        f.write_str(match self {
            Self::Count => "invalid multibulk length",
            Self::LongCount => "too big mbulk count string",
            Self::Length => "invalid bulk length",
            Self::LongLength => "too big bulk count string",
            Self::LongLine => "too big inline request",
            Self::Quotes => "unbalanced quotes in request",
            Self::NoDollar { .. } => "expected '$', got '",
        })
    }
}

impl ProtocolError {
    /// The answer: the bytes that a client sent need not be text.
    pub(super) fn answer(self) -> Vec<u8> {
        let mut answer = format!("-ERR {self}").into_bytes();
        match self {
            Self::NoDollar { found: b'\r' | b'\n' } => answer.extend(b" '"),
            Self::NoDollar { found } => answer.extend([found, b'\'']),
            _ => {}
        }
        answer.extend(b"\r\n");
        answer
    }
}

/// The arguments of a request, of which the first is the command's name.
#[derive(Debug)]
pub(super) enum Arguments<'a> {
    Few {
        slices: [&'a [u8]; FEW],
        len: usize,
    },
    Many(Vec<&'a [u8]>),
    /// Those of an inline request are unquoted, and so cannot be slices.
    Words(Vec<Vec<u8>>),
}

/// What the bytes so far are.
#[derive(Debug)]
pub(super) enum Parsed<'a> {
    /// A request of so many bytes. One without arguments has no answer.
    Request(Arguments<'a>, usize),
    /// The beginning of a request: more has to come.
    Incomplete,
    /// The beginning of a request that is to be read piece by piece.
    Long,
    Wrong(ProtocolError),
}

/// Why a part is not there.
enum Stop {
    Incomplete,
    Wrong(ProtocolError),
}

/// Reads the request that these bytes begin with.
#[inline]
pub(super) fn parse<'a>(bytes: &'a [u8], limits: &Limits) -> Parsed<'a> {
    let parsed = match bytes {
        [] => return Parsed::Incomplete,
        [b'*', ..] => parse_array(bytes, limits),
        _ => parse_line(bytes),
    };
    match parsed {
        Parsed::Incomplete if bytes.len() > LONG => Parsed::Long,
        parsed => parsed,
    }
}

#[inline]
fn parse_array<'a>(bytes: &'a [u8], limits: &Limits) -> Parsed<'a> {
    let (count, mut at) = match read_number(bytes, 1, ProtocolError::LongCount) {
        Ok(Some(number)) => number,
        Ok(None) => return Parsed::Wrong(ProtocolError::Count),
        Err(Stop::Incomplete) => return Parsed::Incomplete,
        Err(Stop::Wrong(error)) => return Parsed::Wrong(error),
    };
    let count = match check_count(count, limits) {
        Ok(count) => count,
        Err(error) => return Parsed::Wrong(error),
    };
    if count > FEW {
        return parse_many(bytes, at, count, limits);
    }
    let mut slices = [&[][..]; FEW];
    for slice in &mut slices[..count] {
        match read_bulk(bytes, at, limits) {
            Ok((start, len)) => {
                *slice = &bytes[start..start + len];
                at = start + len + 2;
            }
            Err(stop) => return stopped(stop, bytes),
        }
    }
    Parsed::Request(Arguments::Few { slices, len: count }, at)
}

#[cold]
fn parse_many<'a>(bytes: &'a [u8], mut at: usize, count: usize, limits: &Limits) -> Parsed<'a> {
    // An argument has at least 6 bytes: a count that was only announced costs nothing.
    let mut slices = Vec::with_capacity(count.min(bytes.len() / 6));
    for _ in 0..count {
        match read_bulk(bytes, at, limits) {
            Ok((start, len)) => {
                slices.push(&bytes[start..start + len]);
                at = start + len + 2;
            }
            // Nothing is read twice: a client that sends byte by byte would make us look at all of it each time.
            Err(Missing::Bytes { .. }) => return Parsed::Long,
            Err(stop) => return stopped(stop, bytes),
        }
    }
    Parsed::Request(Arguments::Many(slices), at)
}

/// Why a bulk string is not there.
enum Missing {
    /// The request has at least so many bytes.
    Bytes {
        least: usize,
    },
    Wrong(ProtocolError),
}

#[cold]
fn stopped<'a>(missing: Missing, bytes: &[u8]) -> Parsed<'a> {
    match missing {
        Missing::Bytes { least } if least.max(bytes.len()) > LONG => Parsed::Long,
        Missing::Bytes { .. } => Parsed::Incomplete,
        Missing::Wrong(error) => Parsed::Wrong(error),
    }
}

/// Where the bulk string at `at` begins, and its length.
#[inline]
fn read_bulk(bytes: &[u8], at: usize, limits: &Limits) -> Result<(usize, usize), Missing> {
    match bytes.get(at) {
        Some(b'$') => {}
        // Redis looks at the line only when it is there.
        found => return Err(no_dollar(found.copied(), bytes, at)),
    }
    let (len, start) = match read_number(bytes, at + 1, ProtocolError::LongLength) {
        Ok(Some(number)) => number,
        Ok(None) => return Err(Missing::Wrong(ProtocolError::Length)),
        Err(Stop::Incomplete) => return Err(Missing::Bytes { least: 0 }),
        Err(Stop::Wrong(error)) => return Err(Missing::Wrong(error)),
    };
    let len = check_length(len, limits).map_err(Missing::Wrong)?;
    // As in Redis, what the two bytes behind it are does not matter.
    if bytes.len() < start + len + 2 {
        return Err(Missing::Bytes { least: start + len + 2 });
    }
    Ok((start, len))
}

#[cold]
fn no_dollar(found: Option<u8>, bytes: &[u8], at: usize) -> Missing {
    let line = bytes.get(at..).unwrap_or_default();
    match (found, memchr::memchr(b'\r', line)) {
        (Some(found), Some(end)) if end + 1 < line.len() => {
            Missing::Wrong(ProtocolError::NoDollar { found })
        }
        (_, None) if line.len() > MOST_LINE => Missing::Wrong(ProtocolError::LongLength),
        _ => Missing::Bytes { least: 0 },
    }
}

pub(super) fn check_count(count: i64, limits: &Limits) -> Result<usize, ProtocolError> {
    // As in Redis, an array of -1 is an empty one.
    let count = usize::try_from(count).unwrap_or(0);
    if count <= limits.arguments { Ok(count) } else { Err(ProtocolError::Count) }
}

pub(super) fn check_length(len: i64, limits: &Limits) -> Result<usize, ProtocolError> {
    let len = usize::try_from(len).ok().filter(|len| *len <= limits.argument);
    len.ok_or(ProtocolError::Length)
}

/// The number on the line at `at`, and where the next line begins. `None`: what stands there is no number.
#[inline]
fn read_number(bytes: &[u8], at: usize, long: ProtocolError) -> Result<Option<(i64, usize)>, Stop> {
    let mut number = 0_i64;
    // 18 digits fit into the number.
    for (index, &byte) in bytes[at..].iter().enumerate().take(19) {
        match byte {
            b'0'..=b'9' => number = number.wrapping_mul(10).wrapping_add((byte - b'0').into()),
            // As in Redis, what the byte behind it is does not matter.
            b'\r' if index > 0 && bytes.len() > at + index + 1 => {
                if bytes[at] == b'0' && index > 1 {
                    return Ok(None);
                }
                return Ok(Some((number, at + index + 2)));
            }
            _ => break,
        }
    }
    read_odd_number(bytes, at, long)
}

/// The same for what is no plain number.
#[cold]
fn read_odd_number(
    bytes: &[u8],
    at: usize,
    long: ProtocolError,
) -> Result<Option<(i64, usize)>, Stop> {
    let line = &bytes[at..];
    match memchr::memchr(b'\r', line) {
        Some(end) if end > MOST_LINE => Err(Stop::Wrong(long)),
        Some(end) if end + 1 < line.len() => {
            Ok(number::parse(&line[..end]).map(|number| (number, at + end + 2)))
        }
        None if line.len() > MOST_LINE => Err(Stop::Wrong(long)),
        _ => Err(Stop::Incomplete),
    }
}

#[cold]
fn parse_line<'a>(bytes: &[u8]) -> Parsed<'a> {
    match memchr::memchr(b'\n', bytes) {
        Some(end) if end <= MOST_LINE => match words(&bytes[..end]) {
            Ok(words) => Parsed::Request(words, end + 1),
            Err(error) => Parsed::Wrong(error),
        },
        None if bytes.len() <= MOST_LINE => Parsed::Incomplete,
        _ => Parsed::Wrong(ProtocolError::LongLine),
    }
}

/// The arguments of an inline request. The line's end is not part of it, but a "\r" may be.
pub(super) fn words<'a>(line: &[u8]) -> Result<Arguments<'a>, ProtocolError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    inline::split(line).map(Arguments::Words).ok_or(ProtocolError::Quotes)
}

impl<'a> Arguments<'a> {
    /// Calls `with` with the arguments as slices.
    #[inline]
    pub(super) fn with<R>(&self, with: impl FnOnce(&[&[u8]]) -> R) -> R {
        match self {
            Self::Few { slices, len } => with(&slices[..*len]),
            Self::Many(slices) => with(slices),
            Self::Words(words) => {
                let slices: Vec<&[u8]> = words.iter().map(Deref::deref).collect();
                with(&slices)
            }
        }
    }
}
