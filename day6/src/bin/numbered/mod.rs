//! What `day6-producer` sends: messages that say their number, which producer sent them, and whether they are
//! whole.

use anyhow::ensure;

/// A number, the epoch of the producer that sent it, a word that follows from both, and a check word.
pub(crate) type Message = [u64; 4];

/// The message with this number, from the producer of this epoch.
pub(crate) fn message(number: u64, epoch: u64) -> Message {
    let word = (number ^ epoch.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [number, epoch, word, number.rotate_left(9) ^ epoch.rotate_left(18) ^ word]
}

/// The number and the epoch of a message that is whole.
#[allow(dead_code, reason = "the producer reads none")]
pub(crate) fn check(found: &Message) -> anyhow::Result<(u64, u64)> {
    let [number, epoch, ..] = *found;
    ensure!(*found == message(number, epoch), "message {number} is torn: {found:x?}");
    Ok((number, epoch))
}
