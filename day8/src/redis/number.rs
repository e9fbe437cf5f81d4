//! Integers as Redis reads them.

/// An integer, in the one way in which Redis writes it: no `+`, no space, no zero in front.
pub(super) fn parse(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] => return (!is_negative).then_some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut magnitude = 0_u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // 19 digits fit.
        magnitude = 10 * magnitude + u64::from(digit - b'0');
    }
    if is_negative { 0_i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn there_is_one_way_to_write_a_number() {
        for good in ["0", "7", "-1", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(parse(good.as_bytes()), Some(good.parse().unwrap()), "{good}");
        }
        let others = ["", "-", "+1", " 1", "1 ", "01", "-0", "-01", "1.0", "1e3", "0x1", "12a"];
        let too_large = ["9223372036854775808", "-9223372036854775809", "99999999999999999999"];
        for bad in others.iter().chain(&too_large) {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number: i64, text in "[-+ 0-9]{0,21}") {
            prop_assert_eq!(parse(number.to_string().as_bytes()), Some(number));
            let expected = text.parse().ok().filter(|number: &i64| number.to_string() == text);
            prop_assert_eq!(parse(text.as_bytes()), expected);
        }
    }
}
