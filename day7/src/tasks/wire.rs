//! What a client and its server say before the first task, byte for byte.
//!
//! Two packets of a `SOCK_SEQPACKET` socket, as for a [rendezvous](day4::rendezvous); numbers are little-endian. The
//! client says hello, with its arena's descriptor, if it has an arena:
//!
//! | offset | bytes | field |
//! |---:|---:|---|
//! | 0 | 8 | magic: `FANOUT` and two zeros |
//! | 8 | 4 | version of the protocol: 1 |
//! | 12 | 4 | role: 5 a client of tasks, 6 somebody who asks how the clients are |
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
//! | 40 | 8 | the longest answer |
//! | 48 | 8 | the client's number |
//! | 56 | 8 | 1 if the server writes a trace, and so wants to know when exactly a task was issued |
//!
//! Who asks how the clients are gets one packet: the first 24 bytes of an answer, and [`ROW`] bytes for each client.

use day4::rendezvous::packet::{head, long, version, word};

/// The version of the protocol that this crate speaks.
pub(super) const VERSION: u32 = 1;
/// A client of tasks.
pub(super) const CLIENT: u32 = 5;
/// Somebody who asks how the clients are.
pub(super) const OBSERVER: u32 = 6;

pub(super) const LET_IN: u32 = 0;
pub(super) const REFUSED: u32 = 1;
pub(super) const FAILED: u32 = 2;
pub(super) const FULL: u32 = 3;
pub(super) const ARENA: u32 = 6;

const HELLO: usize = 24;
const ANSWER: usize = 64;
/// How long the part of an answer is that every version has.
const HEAD: usize = 24;

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) role: u32,
    pub(super) arena: u64,
}

impl Hello {
    pub(super) fn new(role: u32, arena: u64) -> Self {
        Self { version: VERSION, role, arena }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = head(self.version, self.role);
        bytes.extend(self.arena.to_le_bytes());
        bytes
    }

    /// `None` if this is no hello of any version. A client of another kind of server says less.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
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
pub(super) struct Answer {
    pub(super) version: u32,
    pub(super) status: u32,
    pub(super) descriptors: u32,
    pub(super) seat: u32,
    pub(super) requests: u64,
    pub(super) answers: u64,
    pub(super) longest: u64,
    pub(super) client: u64,
    pub(super) traces: u64,
}

impl Answer {
    /// The client is not let in; the number says more.
    pub(super) fn no(status: u32, number: u64) -> Self {
        Self { version: VERSION, status, requests: number, ..Self::default() }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = head(self.version, self.status);
        bytes.extend([self.descriptors, self.seat].into_iter().flat_map(u32::to_le_bytes));
        let longs = [self.requests, self.answers, self.longest, self.client, self.traces];
        bytes.extend(longs.into_iter().flat_map(u64::to_le_bytes));
        bytes
    }

    /// `None` if this is no answer of any version. The server of a ring says less.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
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

/// How one client is, as a server tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// Its number, which no other client of this server has had.
    pub client: u64,
    /// Its process, as the kernel knows it; 0 if this pid namespace has no number for it.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// The shard that serves it.
    pub shard: u64,
    /// How many tasks it has issued, as it says.
    pub issued: u64,
    /// How many the server has begun.
    pub begun: u64,
    /// How many the server has answered, whatever the answer was.
    pub answered: u64,
    /// How many of those were not done: refused, failed, panicked or cancelled.
    pub failed: u64,
    /// How long the oldest task that is not answered has been waiting, in milliseconds; 0 if there is none.
    pub oldest: u64,
}

impl ClientInfo {
    /// How many tasks are done.
    pub fn done(&self) -> u64 {
        self.answered.saturating_sub(self.failed)
    }

    /// How many tasks wait in the ring: issued, and not begun.
    pub fn waiting(&self) -> u64 {
        self.issued.saturating_sub(self.begun)
    }

    /// How many were begun, and not answered.
    pub fn in_flight(&self) -> u64 {
        self.begun.saturating_sub(self.answered)
    }
}

/// How many bytes a server tells of each client.
pub(super) const ROW: usize = 64;

/// All clients, as one packet.
pub(super) fn encode_clients(clients: &[ClientInfo]) -> Vec<u8> {
    let mut bytes = head(VERSION, LET_IN);
    bytes.extend([0u32, clients.len() as u32].into_iter().flat_map(u32::to_le_bytes));
    for info in clients {
        let ids = [info.client, u64::from(info.uid) << 32 | u64::from(info.pid), info.shard];
        let counts = [info.issued, info.begun, info.answered, info.failed, info.oldest];
        bytes.extend(ids.into_iter().chain(counts).flat_map(u64::to_le_bytes));
    }
    bytes
}

/// `None` if this is no such packet.
pub(super) fn decode_clients(bytes: &[u8]) -> Option<Vec<ClientInfo>> {
    if version(bytes)? != VERSION || word(bytes, 12)? != LET_IN {
        return None;
    }
    let (rows, count) = (bytes.get(HEAD..)?, word(bytes, 20)? as usize);
    let row = |row: &[u8]| {
        let at = |n: usize| long(row, 8 * n).unwrap_or(0);
        ClientInfo {
            client: at(0),
            pid: at(1) as u32,
            uid: (at(1) >> 32) as u32,
            shard: at(2),
            issued: at(3),
            begun: at(4),
            answered: at(5),
            failed: at(6),
            oldest: at(7),
        }
    };
    (rows.len() == count * ROW).then(|| rows.chunks_exact(ROW).map(row).collect())
}

/// The longest packet that tells of so many clients.
pub(super) const fn clients_len(most: usize) -> usize {
    HEAD + most * ROW
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

    #[test]
    fn all_clients_go_into_one_packet() {
        let one = ClientInfo {
            client: 3,
            pid: 7,
            uid: u32::MAX,
            issued: 9,
            begun: 4,
            ..Default::default()
        };
        let all = [one, ClientInfo { answered: 2, oldest: 11, ..one }];
        let bytes = encode_clients(&all);
        assert_eq!(bytes.len(), clients_len(2));
        assert_eq!(decode_clients(&bytes).as_deref(), Some(&all[..]));
        assert_eq!((one.waiting(), all[1].in_flight()), (5, 2));
        assert_eq!(decode_clients(&bytes[..bytes.len() - 1]), None);
    }
}
