//! Wrong on purpose: it sends everything again.

use crate::lots::{Answer, Tail};

pub(crate) fn decide(identity: u64, first: u64, lengths: &[u64], tail: Option<Tail>) -> Answer {
    let _ = (identity, first, lengths, tail);
    Answer::Stored(0)
}
