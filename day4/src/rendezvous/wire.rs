//! What goes over the socket, byte for byte.
//!
//! Two packets of a `SOCK_SEQPACKET` socket, whole or not at all; numbers are little-endian. The
//! client says hello:
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 0 | 8 | magic: `FANOUT` and two zeros |
//! | 8 | 4 | version of the protocol: 1 |
//! | 12 | 4 | role: 1 a consumer, 2 a tap, 3 a consumer that may get a room, 4 a member of a group |
//!
//! and in role 3, because then the server may have to register the consumer, more:
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 16 | 4 | where it begins: 0 with the oldest message, 1 with the next |
//! | 20 | 4 | what it promises: 0 nothing, 1 to go after a while, 2 to be lossy |
//! | 24 | 8 | after how many microseconds |
//! | 32 | 32 | its label, filled up with zeros |
//!
//! The server answers, and hangs up:
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 0 | 8 | magic: `FANOUT` and two zeros |
//! | 8 | 4 | version of the protocol: 1 |
//! | 12 | 4 | status: 0 let in, 1 refused, 2 failed, 3 all slots are taken, 4 it has to promise more, 5 rooms only |
//! | 16 | 4 | how many descriptors come with it (`SCM_RIGHTS`): the first is the ring's, the second a page's |
//! | 20 | 4 | zero |
//!
//! To a consumer in role 3 the server of a ring with private rooms says more:
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 24 | 8 | its slot; with status 3, how many slots there are |
//! | 32 | 8 | the state of that slot |
//! | 40 | 8 | the first sequence; with status 4, the most microseconds |
//!
//! A later minor change may attach more descriptors: a client closes those that it does not know.
//! Magic and version keep their places in every version, so that either side can name the other's.

use std::time::Duration;

use day3::{Policy, Start};

use super::packet::{head, long, version, word};

/// The version of the protocol that this crate speaks.
pub(super) const VERSION: u32 = 1;

/// Length of a client's hello in bytes.
const HELLO: usize = 16;

/// Length of a server's answer in bytes.
const ANSWER: usize = 24;

/// How much longer the hello of a consumer is that may get a room.
const ASKS: usize = 48;

/// How much longer the answer is that it may get.
const ROOM: usize = 24;

/// The most bytes of its label.
const LABEL: usize = 32;

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) role: u32,
    /// What a consumer says that may get a room.
    pub(super) asks: Option<Asks>,
}

/// What a consumer wants whom the server may have to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asks {
    pub(super) start: Start,
    pub(super) policy: Policy,
    pub(super) label: String,
}

/// The role of a consumer that may get a room.
pub(super) const RESIDENT: u32 = 3;
/// The role of a member of a group.
pub(super) const MEMBER: u32 = 4;

impl Hello {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = head(self.version, self.role);
        if let Some(Asks { start, policy, label }) = &self.asks {
            let (promise, after) = match policy {
                Policy::EvictAfter(after) => {
                    (1, u64::try_from(after.as_micros()).unwrap_or(u64::MAX))
                }
                Policy::Lossy => (2, 0),
                _ => (0u32, 0),
            };
            bytes.extend(u32::from(*start == Start::Latest).to_le_bytes());
            bytes.extend(promise.to_le_bytes());
            bytes.extend(after.to_le_bytes());
            let mut len = label.len().min(LABEL);
            while !label.is_char_boundary(len) {
                len -= 1;
            }
            bytes.extend(&label.as_bytes()[..len]);
            bytes.resize(HELLO + ASKS, 0);
        }
        bytes
    }

    /// `None` if this is no hello of any version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let version = version(bytes)?;
        match (version, word(bytes, 12)) {
            (VERSION, Some(role)) if bytes.len() == HELLO && role != RESIDENT => {
                Some(Self { version, role, asks: None })
            }
            (VERSION, Some(RESIDENT)) if bytes.len() == HELLO + ASKS => {
                Some(Self { version, role: RESIDENT, asks: Some(Asks::decode(bytes)?) })
            }
            (VERSION, _) => None,
            (_, role) => Some(Self { version, role: role.unwrap_or(0), asks: None }),
        }
    }
}

impl Asks {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let start = match word(bytes, 16)? {
            0 => Start::Oldest,
            1 => Start::Latest,
            _ => return None,
        };
        let policy = match word(bytes, 20)? {
            0 => Policy::Block,
            1 => Policy::EvictAfter(Duration::from_micros(long(bytes, 24)?)),
            2 => Policy::Lossy,
            _ => return None,
        };
        let label = bytes.get(32..32 + LABEL)?.split(|&byte| byte == 0).next()?;
        Some(Self { start, policy, label: String::from_utf8_lossy(label).into_owned() })
    }
}

/// What a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) version: u32,
    pub(super) status: u32,
    pub(super) descriptors: u32,
    /// Slot, state and first sequence of a consumer that has been registered.
    pub(super) room: Option<[u64; 3]>,
}

/// The client is let in, and gets descriptors.
pub(super) const LET_IN: u32 = 0;
/// The client may not have what it asked for.
pub(super) const REFUSED: u32 = 1;
/// The server could not give it.
pub(super) const FAILED: u32 = 2;
/// All slots are taken.
pub(super) const FULL: u32 = 3;
/// The client has to promise to go earlier.
pub(super) const LIMIT: u32 = 4;
/// Consumers of this ring have private rooms: there is no descriptor that a consumer could use, and no group.
pub(super) const ROOMS: u32 = 5;

impl Answer {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = head(self.version, self.status);
        bytes.extend([self.descriptors, 0].into_iter().flat_map(u32::to_le_bytes));
        bytes.extend(self.room.into_iter().flatten().flat_map(u64::to_le_bytes));
        bytes
    }

    /// `None` if this is no answer of any version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let version = version(bytes)?;
        match (version, word(bytes, 12), word(bytes, 16)) {
            (VERSION, Some(status), Some(descriptors)) if bytes.len() == ANSWER => {
                Some(Self { version, status, descriptors, room: None })
            }
            (VERSION, Some(status), Some(descriptors)) if bytes.len() == ANSWER + ROOM => {
                let room = [long(bytes, 24)?, long(bytes, 32)?, long(bytes, 40)?];
                Some(Self { version, status, descriptors, room: Some(room) })
            }
            (VERSION, ..) => None,
            _ => Some(Self { version, status: REFUSED, descriptors: 0, room: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_sixteen_bytes_of_the_documented_layout() {
        let hello = Hello { version: 1, role: 2, asks: None };
        assert_eq!(&hello.encode(), b"FANOUT\0\0\x01\0\0\0\x02\0\0\0");
        assert_eq!(Hello::decode(&hello.encode()), Some(hello));
    }

    #[test]
    fn a_consumer_that_may_get_a_room_says_more() {
        let after = Duration::from_micros(258);
        let label = format!("{}\u{e9}", "x".repeat(31));
        let asks = Asks { start: Start::Latest, policy: Policy::EvictAfter(after), label };
        let hello = Hello { version: 1, role: RESIDENT, asks: Some(asks) };
        let bytes = hello.encode();
        assert_eq!(&bytes[8..24], b"\x01\0\0\0\x03\0\0\0\x01\0\0\0\x01\0\0\0");
        assert_eq!((&bytes[24..32], bytes.len()), (&b"\x02\x01\0\0\0\0\0\0"[..], 64));
        let label = Hello::decode(&bytes).unwrap().asks.unwrap().label;
        assert_eq!(label, "x".repeat(31), "cut off between two characters");
        for len in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..len]), None, "{len}");
        }
        for (at, wrong) in [(16, 2), (20, 3)] {
            let mut bytes = bytes.clone();
            bytes[at] = wrong;
            assert_eq!(Hello::decode(&bytes), None, "byte {at}");
        }
    }

    #[test]
    fn an_answer_is_twenty_four_bytes_of_the_documented_layout() {
        let answer = Answer { version: 1, status: 2, descriptors: 3, room: None };
        let bytes = *b"FANOUT\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0";
        assert_eq!(answer.encode(), bytes);
        assert_eq!(Answer::decode(&bytes), Some(answer));
        let room = Answer { room: Some([7, 8, 1 << 40]), ..answer };
        assert_eq!((Answer::decode(&room.encode()), room.encode().len()), (Some(room), 48));
    }

    #[test]
    fn what_is_cut_or_too_long_or_unmarked_is_neither() {
        let hello = Hello { version: VERSION, role: 1, asks: None }.encode();
        let answer = Answer { version: VERSION, status: 0, descriptors: 1, room: None }.encode();
        for len in 0..HELLO {
            assert_eq!(Hello::decode(&hello[..len]), None, "{len}");
        }
        for len in 0..ANSWER {
            assert_eq!(Answer::decode(&answer[..len]), None, "{len}");
        }
        assert_eq!(Hello::decode(&answer), None);
        assert_eq!(Answer::decode(&[0; ANSWER]), None);
        assert_eq!(Hello::decode(b"GET / HTTP/1.1\r\n"), None);
    }

    #[test]
    fn another_version_is_read_whatever_follows_it() {
        let mut bytes = Hello { version: 7, role: 1, asks: None }.encode();
        bytes.extend([1, 2, 3]);
        assert_eq!(Hello::decode(&bytes).map(|hello| hello.version), Some(7));
        assert_eq!(Answer::decode(&bytes[..12]).map(|answer| answer.version), Some(7));
    }
}
