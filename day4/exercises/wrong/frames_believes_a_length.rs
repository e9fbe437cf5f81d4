//! Wrong: believes every length in a header, up to the end of the bytes.

pub(crate) fn frames(bytes: &[u8]) -> Result<Vec<&[u8]>, usize> {
    let (mut messages, mut offset) = (Vec::new(), 0);
    while let Some((header, rest)) = bytes.get(offset..).and_then(|rest| rest.split_first_chunk()) {
        let [a, b, c, d, _, _, b'f', b'r'] = *header else { return Err(offset) };
        let len = (u32::from_le_bytes([a, b, c, d]) as usize).min(rest.len());
        messages.push(&rest[..len]);
        offset += 8 + len.next_multiple_of(8);
    }
    Ok(messages)
}
