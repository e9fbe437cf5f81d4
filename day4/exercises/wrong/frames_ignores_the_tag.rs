//! Wrong: accepts any word as a header if its length fits.

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
    let len = u32::from_le_bytes(header[..4].try_into().ok()?) as usize;
    rest.get(..len.next_multiple_of(8))?.get(..len)
}
