//! What a NATS message says about the messages of a queue that it carries.
//!
//! | header | what it says |
//! |---|---|
//! | `Nats-Msg-Id` | the queue's identity and the sequence of the first message, such as `4f3a2b1c9d8e7f60-1024` |
//! | `Fanout-At` | the same, as the stream counts, where that differs: work that several hosts share |
//! | `Fanout-Kind` | the kind of the message, unless it is 0; the payload is the message |
//! | `Fanout-Pack` | the payload holds so many messages; see [`pack`](crate::pack) |
//! | `Fanout-Type` | size, alignment and name of the message type, in a ring of fixed messages |
//! | `Fanout-End` | `closed`, or `aborted`, and the payload says why: nothing comes behind this sequence |
//! | `Fanout-Redelivered` | `1`: somebody may have worked on these messages before |
//! | `Fanout-Lost` | so many messages of the queue were given up before this one |
//!
//! The next message names the id that it expects before it. The server also refuses a second message of the same id, for as
//! long as it remembers: that costs it 126 bytes of memory each, so a bridge has its streams forget after a second.

use core::fmt;
use core::str::FromStr;

use async_nats::header::{HeaderMap, HeaderName, HeaderValue, NATS_MESSAGE_ID};

pub use day3::ring::MessageType;

use crate::error::EnvelopeError;

const AT: HeaderName = HeaderName::from_static("Fanout-At");
const KIND: HeaderName = HeaderName::from_static("Fanout-Kind");
const PACK: HeaderName = HeaderName::from_static("Fanout-Pack");
const TYPE: HeaderName = HeaderName::from_static("Fanout-Type");
const END: HeaderName = HeaderName::from_static("Fanout-End");
const REDELIVERED: HeaderName = HeaderName::from_static("Fanout-Redelivered");
const LOST: HeaderName = HeaderName::from_static("Fanout-Lost");

/// The headers' texts.
#[derive(Default)]
struct Texts<'h> {
    id: Option<&'h str>,
    at: Option<&'h str>,
    kind: Option<&'h str>,
    pack: Option<&'h str>,
    message_type: Option<&'h str>,
    end: Option<&'h str>,
    redelivered: Option<&'h str>,
    lost: Option<&'h str>,
}

impl<'h> Texts<'h> {
    /// Those that there are. To look for each of them would cost more than all else that is done with a small message.
    fn of(headers: &'h HeaderMap) -> Self {
        let mut texts = Self::default();
        for (name, values) in headers.iter() {
            let place = match name.as_ref() {
                "Nats-Msg-Id" => &mut texts.id,
                "Fanout-At" => &mut texts.at,
                "Fanout-Kind" => &mut texts.kind,
                "Fanout-Pack" => &mut texts.pack,
                "Fanout-Type" => &mut texts.message_type,
                "Fanout-End" => &mut texts.end,
                "Fanout-Redelivered" => &mut texts.redelivered,
                "Fanout-Lost" => &mut texts.lost,
                _ => continue,
            };
            *place = values.first().map(HeaderValue::as_str);
        }
        texts
    }
}

/// A place in a queue, on whatever host a copy of the queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The queue's identity, which its header tells.
    pub identity: u64,
    /// A sequence of the queue: bytes in a ring of records, messages in a ring of fixed messages.
    pub sequence: u64,
}

/// How long a position's text is, at most, with what stands behind it in the id of an end.
const LONGEST: usize = 16 + 1 + 20 + 4;

impl Position {
    /// The same as `to_string`, which costs several times as much: each message has one or two.
    pub(crate) fn text(self) -> String {
        let digit = |place: u32| b"0123456789abcdef"[(self.identity >> (4 * place)) as usize & 15];
        let mut text = String::with_capacity(LONGEST);
        text.extend((0..16).rev().map(|place| char::from(digit(place))));
        text.push('-');
        text.push_str(&self.sequence.to_string());
        text
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl FromStr for Position {
    type Err = EnvelopeError;

    fn from_str(text: &str) -> Result<Self, EnvelopeError> {
        let parse = || {
            let (identity, sequence) = text.split_once('-')?;
            let identity = u64::from_str_radix(identity, 16).ok()?;
            Some(Self { identity, sequence: sequence.parse().ok()? })
        };
        parse().ok_or_else(|| {
            malformed("Fanout-At or Nats-Msg-Id", text, "an identity and a sequence")
        })
    }
}

/// A number for a text, the same in every version of every bridge: FNV-1a.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What messages are, for an error.
pub(crate) fn describe(of: Option<&MessageType>) -> String {
    let Some(MessageType { name, size, align }) = of else {
        return "records of any length".to_owned();
    };
    format!("messages \"{}\" of {size} bytes, aligned to {align}", name.escape_debug())
}

/// What is in a NATS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// One message of this kind.
    One {
        /// What its sender said that it is; 0 in a ring of fixed messages.
        kind: u16,
    },
    /// So many messages, [packed](crate::pack).
    Pack {
        /// How many.
        count: u32,
    },
    /// The queue was closed: everything was sent.
    Closed,
    /// The producer gave up; the payload says why.
    Aborted,
}

/// All that the headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Where its first message was in the queue that it comes from.
    pub source: Position,
    /// Where its first message is as the stream counts; the queue on another host counts alike.
    pub at: Position,
    /// What it holds.
    pub content: Content,
    /// What the messages are, unless they are records.
    pub message_type: Option<MessageType>,
    /// Whether somebody may have worked on them before.
    pub redelivered: bool,
    /// How many messages of the queue were given up before this one.
    pub lost: u64,
}

impl Envelope {
    /// An envelope of a queue that is copied message for message.
    pub fn new(at: Position, content: Content) -> Self {
        Self { source: at, at, content, message_type: None, redelivered: false, lost: 0 }
    }

    /// The headers that say all this; with an id, by which the server knows the message if it comes again.
    pub fn headers(&self, with_id: bool) -> HeaderMap {
        self.headers_and_id(with_id).0
    }

    /// The same, and the id, if it is one of them.
    pub(crate) fn headers_and_id(&self, with_id: bool) -> (HeaderMap, Option<HeaderValue>) {
        let mut headers = HeaderMap::new();
        let is_copy = self.at == self.source;
        if !with_id || !is_copy {
            headers.insert(AT, self.at.text());
        }
        let id = (with_id || !is_copy).then(|| HeaderValue::from(self.id()));
        if let Some(id) = &id {
            headers.insert(NATS_MESSAGE_ID, id.clone());
        }
        match self.content {
            Content::One { kind: 0 } => {}
            Content::One { kind } => headers.insert(KIND, kind.to_string()),
            Content::Pack { count } => headers.insert(PACK, count.to_string()),
            Content::Closed => headers.insert(END, "closed"),
            Content::Aborted => headers.insert(END, "aborted"),
        }
        if let Some(MessageType { size, align, name }) = &self.message_type {
            headers.insert(TYPE, format!("{size} {align} {}", name.escape_default()));
        }
        if self.redelivered {
            headers.insert(REDELIVERED, "1");
        }
        if self.lost > 0 {
            headers.insert(LOST, self.lost.to_string());
        }
        (headers, id)
    }

    /// The id by which the server knows the message.
    fn id(&self) -> String {
        let mut id = self.source.text();
        if self.is_end() {
            // The end has the sequence of a message that never came; a successor's may come.
            id.push_str("-end");
        }
        id
    }

    /// Reads the headers of a NATS message.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError`]; a message without a position does not come from a bridge.
    pub fn parse(headers: Option<&HeaderMap>) -> Result<Self, EnvelopeError> {
        let texts = headers.map(Texts::of).unwrap_or_default();
        let id = texts.id.map(|id| id.strip_suffix("-end").unwrap_or(id));
        let at: Position = texts.at.or(id).ok_or(EnvelopeError::Foreign)?.parse()?;
        let source = id.map_or(Ok(at), str::parse)?;
        let content = match (texts.end, texts.pack, texts.kind) {
            (Some("closed"), _, _) => Content::Closed,
            (Some("aborted"), _, _) => Content::Aborted,
            (Some(end), _, _) => return Err(malformed("Fanout-End", end, "closed or aborted")),
            (None, Some(count), _) => Content::Pack { count: number("Fanout-Pack", count)? },
            (None, None, Some(kind)) => Content::One { kind: number("Fanout-Kind", kind)? },
            (None, None, None) => Content::One { kind: 0 },
        };
        let message_type = texts.message_type.map(message_type).transpose()?;
        let redelivered = texts.redelivered == Some("1");
        let lost = texts.lost.map_or(Ok(0), |lost| number("Fanout-Lost", lost))?;
        Ok(Self { source, at, content, message_type, redelivered, lost })
    }

    /// Whether it says that the queue has ended.
    pub fn is_end(&self) -> bool {
        matches!(self.content, Content::Closed | Content::Aborted)
    }
}

fn message_type(text: &str) -> Result<MessageType, EnvelopeError> {
    let expected = "a size, an alignment and a name";
    let parse = || {
        let mut parts = text.splitn(3, ' ');
        let (size, align) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let name = unescaped(parts.next()?)?;
        (size > 0).then_some(MessageType { size, align, name })
    };
    parse().ok_or_else(|| malformed("Fanout-Type", text, expected))
}

/// Undoes `escape_default`, which keeps a name within one line of ASCII.
fn unescaped(text: &str) -> Option<String> {
    let (mut name, mut rest) = (String::new(), text.chars());
    while let Some(next) = rest.next() {
        let meant = match (next, (next == '\\').then(|| rest.next())) {
            (next, None) => next,
            (_, Some(escaped)) => match escaped? {
                't' => '\t',
                'r' => '\r',
                'n' => '\n',
                'u' => {
                    let digits: String = rest.by_ref().take_while(|&digit| digit != '}').collect();
                    char::from_u32(u32::from_str_radix(digits.strip_prefix('{')?, 16).ok()?)?
                }
                same @ ('\\' | '\'' | '"') => same,
                _ => return None,
            },
        };
        name.push(meant);
    }
    Some(name)
}

fn number<N: FromStr>(header: &'static str, text: &str) -> Result<N, EnvelopeError> {
    text.parse().map_err(|_| malformed(header, text, "a number"))
}

fn malformed(header: &'static str, found: &str, expected: &'static str) -> EnvelopeError {
    EnvelopeError::Malformed { header, found: found.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(envelope: &Envelope) -> Envelope {
        let parse = |with_id| Envelope::parse(Some(&envelope.headers(with_id))).unwrap();
        assert_eq!(parse(true), parse(false));
        parse(true)
    }

    #[test]
    fn headers_say_what_the_envelope_says() {
        let at = Position { identity: 0x4f3a, sequence: u64::MAX };
        let contents = [
            Content::One { kind: 0 },
            Content::One { kind: u16::MAX },
            Content::Pack { count: 0 },
            Content::Pack { count: u32::MAX },
            Content::Closed,
            Content::Aborted,
        ];
        for content in contents {
            let mut envelope = Envelope::new(at, content);
            assert_eq!(back(&envelope), envelope);
            envelope.source = Position { identity: u64::MAX, sequence: 0 };
            envelope.redelivered = true;
            envelope.lost = 7;
            for name in [
                "u64",
                "",
                " with  spaces ",
                "\u{e4}\n\\\"'\t\r{}",
                "core::option::Option<[u8; 3]>",
            ] {
                envelope.message_type = Some(MessageType { size: 8, align: 4, name: name.into() });
                assert_eq!(back(&envelope), envelope);
            }
        }
    }

    #[test]
    fn a_position_is_written_as_it_is_read() {
        for identity in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            for sequence in [0, 9, 10, 1024, 10_000_000_000_000_000_000, u64::MAX] {
                let position = Position { identity, sequence };
                assert_eq!(position.to_string(), format!("{identity:016x}-{sequence}"));
                assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
            }
        }
    }

    #[test]
    fn what_does_not_come_from_a_bridge_is_refused() {
        assert!(matches!(Envelope::parse(None), Err(EnvelopeError::Foreign)));
        for id in ["", "17", "x-1", "1-", "-1", "1--1", "1-1-1", "11111111111111111-1"] {
            let mut headers = HeaderMap::new();
            headers.insert(AT, id);
            let error = Envelope::parse(Some(&headers)).unwrap_err();
            assert!(error.to_string().contains("an identity and a sequence"), "{error}");
        }
        for (header, value) in [
            ("Fanout-Kind", "65536"),
            ("Fanout-Pack", "-1"),
            ("Fanout-Type", "0 1 nothing"),
            ("Fanout-Type", "8 8"),
            ("Fanout-Type", "8 8 \\x"),
            ("Fanout-Type", "8 8 \\u{110000}"),
            ("Fanout-End", "soon"),
            ("Nats-Msg-Id", "here"),
            ("Fanout-Lost", "all"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AT, "1-1");
            headers.insert(header, value);
            assert!(Envelope::parse(Some(&headers)).is_err(), "{header}: {value}");
        }
    }
}
