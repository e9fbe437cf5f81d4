//! Wrong on purpose: it believes that all has arrived.

use crate::lots::{Answer, Tail};

pub(crate) fn decide(identity: u64, first: u64, lengths: &[u64], tail: Option<Tail>) -> Answer {
    let _ = (identity, first, tail);
    Answer::Stored(lengths.len())
}
