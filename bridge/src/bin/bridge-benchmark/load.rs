//! What is carried, and how.

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SEQUENCE, NATS_MESSAGE_ID};
use serde::{Deserialize, Serialize};

/// What both ends of a run have to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    /// The servers.
    pub(crate) url: String,
    /// The stream.
    pub(crate) stream: String,
    /// How many messages.
    pub(crate) messages: u64,
    /// Their size in bytes, a multiple of 8.
    pub(crate) size: usize,
    /// How many messages may be unacknowledged.
    pub(crate) window: u64,
    /// Messages in a second; `None`: as many as can be.
    pub(crate) rate: Option<u32>,
}

/// How many messages are a batch: so often a publisher asks for an acknowledgement, if not for each message.
pub(crate) const BATCH: u64 = 64;
/// How many messages a consumer asks for at once.
pub(crate) const PULL: usize = 200;

impl Load {
    /// Where the stream's messages are published.
    pub(crate) fn subject(&self) -> String {
        format!("fanout.{}", self.stream)
    }

    /// Which message is the first whose latency counts. Those before it find cold caches, and clients that are new.
    pub(crate) fn warm(&self) -> u64 {
        self.messages / 10
    }
}

/// How the client by itself is used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Bare {
    /// As the client's documentation shows it: a future for each acknowledgement, a stream of pulled messages.
    Documented,
    /// Acknowledgements of all messages come to one inbox; the consumer sends its own requests.
    Inbox,
    /// The same, and each message has an identity and the sequence that it expects before it.
    Checked,
    /// As `Inbox`; only the last message of each batch asks for an acknowledgement.
    LastOfBatch,
}

impl Bare {
    /// The headers of this message.
    pub(crate) fn headers(self, number: u64) -> Option<HeaderMap> {
        if self != Self::Checked {
            return None;
        }
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, format!("{:016x}-{number}", u64::MAX / 3));
        headers.insert(NATS_EXPECTED_LAST_SEQUENCE, number.to_string());
        Some(headers)
    }

    /// Which messages ask for an acknowledgement: each of so many.
    pub(crate) fn asks_every(self) -> u64 {
        if self == Self::LastOfBatch { BATCH } else { 1 }
    }
}
