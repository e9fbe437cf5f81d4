//! How a server of tasks tells how its clients are.
//!
//! Who [asks](OBSERVER) gets one packet: the first 24 bytes of an [answer](Answer), and [`ROW`] bytes for each client.

use day4::rendezvous::packet::{head, long, version, word};

pub(super) use crate::line::wire::{
    ARENA, Answer, CLIENT, FAILED, FULL, Hello, LET_IN, OBSERVER, REFUSED, VERSION,
};

/// How long the part of an answer is that every version has.
const HEAD: usize = 24;

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
