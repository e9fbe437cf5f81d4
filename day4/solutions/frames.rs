//! Exercise 1: reading the format by hand.

/// Cuts bytes, as they lie in a ring from the beginning of a frame on, into the messages of their
/// frames. `Err` is the offset of the first place where no frame begins, or where a frame does not
/// end within `bytes`.
pub(crate) fn frames(bytes: &[u8]) -> Result<Vec<&[u8]>, usize> {
    let (mut messages, mut offset) = (Vec::new(), 0);
    while offset < bytes.len() {
        let message = message(&bytes[offset..]).ok_or(offset)?;
        messages.push(message);
        offset += 8 + message.len().next_multiple_of(8);
    }
    Ok(messages)
}

/// The message of the first frame, if the whole frame is there, with its padding.
fn message(bytes: &[u8]) -> Option<&[u8]> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    let [a, b, c, d, _, _, b'f', b'r'] = *header else { return None };
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    rest.get(..len.next_multiple_of(8))?.get(..len)
}
