//! Wrong: accepts a frame whose padding is cut off.

pub(crate) fn frames(bytes: &[u8]) -> Result<Vec<&[u8]>, usize> {
    let (mut messages, mut offset) = (Vec::new(), 0);
    while offset < bytes.len() {
        let message = message(&bytes[offset..]).ok_or(offset)?;
        messages.push(message);
        offset += 8 + message.len().next_multiple_of(8);
    }
    Ok(messages)
}

fn message(bytes: &[u8]) -> Option<&[u8]> {
    let (header, rest) = bytes.split_first_chunk::<8>()?;
    let [a, b, c, d, _, _, b'f', b'r'] = *header else { return None };
    rest.get(..u32::from_le_bytes([a, b, c, d]) as usize)
}
