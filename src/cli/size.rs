//! A number of bytes, as one types it.

/// Reads `65536`, `64K`, `1M` or `2G`; a K is 1,024 bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 20),
        Some(b'g' | b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("expected 1 byte or more, such as 65536, 64K, 1M or 2G".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_letter() {
        assert_eq!(size("1"), Ok(1));
        assert_eq!(size("65536"), size("64K"));
        assert_eq!(size("1024k"), size("1M"));
        assert_eq!(size("2g"), size("2048m"));
        let most = u64::MAX >> 30;
        assert_eq!(size(&format!("{most}G")), Ok(most << 30));
        for refused in ["", "0", "0K", "K", "-1", "1.5M", "1MB", "1 M", "ä", "18446744073709551616"]
        {
            assert!(size(refused).is_err(), "{refused}");
        }
        assert!(size(&format!("{}G", most + 1)).is_err());
    }
}
