//! What a client and its server say before the first record, byte for byte.
//!
//! Two packets of a `SOCK_SEQPACKET` socket, as for a [rendezvous](day4::rendezvous); numbers are little-endian. The
//! client says hello, with its arena's descriptor, if it has an arena:
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 0 | 8 | magic: `FANOUT` and two zeros |
//! | 8 | 4 | version of the protocol: 1 |
//! | 12 | 4 | role: 5 a client of tasks, 6 somebody who asks how the clients are, 7 a client of a service |
//! | 16 | 8 | bytes of its arena; 0 without one |
//!
//! The server answers, with the descriptors of the client's line and of the ready words, and keeps the connection:
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 0 | 8 | magic: `FANOUT` and two zeros |
//! | 8 | 4 | version of the protocol: 1 |
//! | 12 | 4 | status: 0 let in, 1 refused, 2 failed, 3 full, 6 the arena is refused |
//! | 16 | 4 | how many descriptors come with it |
//! | 20 | 4 | the client's seat among the ready words |
//! | 24 | 8 | bytes of the ring of requests; with status 2 the error's number, with 3 the most clients, with 6 the bytes found |
//! | 32 | 8 | bytes of the ring of answers |
//! | 40 | 8 | the longest answer of a task; 0 from a service |
//! | 48 | 8 | the client's number |
//! | 56 | 8 | 1 if the server writes a trace, and so wants to know when exactly a task was issued |

use day4::rendezvous::packet::{head, long, version, word};

/// The version of the protocol that this crate speaks.
pub const VERSION: u32 = 1;
/// A client of tasks.
pub const CLIENT: u32 = 5;
/// Somebody who asks how the clients are.
pub const OBSERVER: u32 = 6;
/// A client of a service: its records are the chunks of two streams of bytes.
pub const STREAM: u32 = 7;

/// The client is let in.
pub const LET_IN: u32 = 0;
/// It is not: this user, or this role.
pub const REFUSED: u32 = 1;
/// The kernel refused the server something.
pub const FAILED: u32 = 2;
/// There are as many clients as are served.
pub const FULL: u32 = 3;
/// Its arena is refused.
pub const ARENA: u32 = 6;

const HELLO: usize = 24;
const ANSWER: usize = 64;

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version of the protocol that it speaks.
    pub version: u32,
    /// What it wants to be.
    pub role: u32,
    /// How many bytes its arena has.
    pub arena: u64,
}

impl Hello {
    /// A client with this role says this.
    pub fn new(role: u32, arena: u64) -> Self {
        Self { version: VERSION, role, arena }
    }

    /// As a packet.
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = head(self.version, self.role);
        bytes.extend(self.arena.to_le_bytes());
        bytes
    }

    /// `None` if this is no hello of any version. A client of another kind of server says less.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let version = version(bytes)?;
        let role = word(bytes, 12).unwrap_or(0);
        match long(bytes, 16) {
            Some(arena) if bytes.len() == HELLO => Some(Self { version, role, arena }),
            _ if version != VERSION || matches!(role, 1..=4) => {
                Some(Self { version, role, arena: 0 })
            }
            _ => None,
        }
    }
}

/// What a server answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The version of the protocol that it speaks.
    pub version: u32,
    /// Whether the client is let in.
    pub status: u32,
    /// How many descriptors come with it.
    pub descriptors: u32,
    /// The client's seat.
    pub seat: u32,
    /// Bytes of the ring of requests, or what the status says more.
    pub requests: u64,
    /// Bytes of the ring of answers.
    pub answers: u64,
    /// The longest answer.
    pub longest: u64,
    /// The client's number.
    pub client: u64,
    /// 1 if the server writes a trace.
    pub traces: u64,
}

impl Answer {
    /// The client is not let in; the number says more.
    pub fn no(status: u32, number: u64) -> Self {
        Self { version: VERSION, status, requests: number, ..Self::default() }
    }

    /// As a packet.
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = head(self.version, self.status);
        bytes.extend([self.descriptors, self.seat].into_iter().flat_map(u32::to_le_bytes));
        let longs = [self.requests, self.answers, self.longest, self.client, self.traces];
        bytes.extend(longs.into_iter().flat_map(u64::to_le_bytes));
        bytes
    }

    /// `None` if this is no answer of any version. The server of a ring says less.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, status) = (version(bytes)?, word(bytes, 12)?);
        if version != VERSION {
            return Some(Self { version, status: REFUSED, ..Self::default() });
        }
        if bytes.len() != ANSWER {
            return None;
        }
        Some(Self {
            version,
            status,
            descriptors: word(bytes, 16)?,
            seat: word(bytes, 20)?,
            requests: long(bytes, 24)?,
            answers: long(bytes, 32)?,
            longest: long(bytes, 40)?,
            client: long(bytes, 48)?,
            traces: long(bytes, 56)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_heard_and_what_is_cut_is_not() {
        let hello = Hello::new(CLIENT, 1 << 40);
        assert_eq!(Hello::decode(&hello.encode()), Some(hello));
        assert_eq!(&hello.encode()[..16], b"FANOUT\0\0\x01\0\0\0\x05\0\0\0");
        let answer = Answer { version: 1, status: 3, seat: 7, answers: 9, ..Answer::default() };
        assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        for len in 0..HELLO {
            assert_eq!(Hello::decode(&hello.encode()[..len]), None, "{len}");
        }
        for len in 0..ANSWER {
            assert_eq!(Answer::decode(&answer.encode()[..len]), None, "{len}");
        }
        let other = Hello { version: 2, ..hello }.encode();
        assert_eq!(Hello::decode(&other[..12]).map(|hello| hello.version), Some(2));
    }
}
