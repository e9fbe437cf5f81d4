//! Exercise 1: reading the format by hand.

/// Cuts bytes, as they lie in a ring from the beginning of a frame on, into the messages of their
/// frames. `Err` is the offset of the first place where a frame should begin and does not, or where a
/// frame begins that does not end within `bytes`.
pub(crate) fn frames(bytes: &[u8]) -> Result<Vec<&[u8]>, usize> {
    let _ = bytes;
    Ok(Vec::new())
}
