//! Requests that a person types: words on a line.

/// The words of a line, or `None` if a quote is open at its end, or if a word goes on right behind a quote.
///
/// `"…"` understands `\n`, `\r`, `\t`, `\b`, `\a`, `\xHH` and `\` before anything else; `'…'` only `\'`. As in Redis, a
/// line ends at a zero byte.
pub(super) fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let end = memchr::memchr(0, line).unwrap_or(line.len());
    let mut rest = &line[..end];
    let mut words = Vec::new();
    loop {
        let blanks = rest.iter().take_while(|byte| is_space(**byte)).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        rest = take_word(rest, &mut word)?;
        words.push(word);
    }
}

/// What C calls a space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Takes a word off the beginning. A quote may stand in its middle, and ends it.
fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return Some(rest),
            [b'"', quoted @ ..] => return ended(take_double(quoted, word)?),
            [b'\'', quoted @ ..] => return ended(take_single(quoted, word)?),
            [byte, ..] if is_space(*byte) => return Some(rest),
            [byte, more @ ..] => {
                word.push(*byte);
                rest = more;
            }
        }
    }
}

/// Behind a quote, there is a space, or nothing.
fn ended(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|byte| is_space(*byte)).then_some(rest)
}

fn take_double<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, more) = match rest {
            [] => return None,
            [b'"', more @ ..] => return Some(more),
            [b'\\', b'x', high, low, more @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (16 * digit(*high) + digit(*low), more)
            }
            [b'\\', escaped, more @ ..] => (unescape(*escaped), more),
            [byte, more @ ..] => (*byte, more),
        };
        word.push(byte);
        rest = more;
    }
}

fn take_single<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, more) = match rest {
            [] => return None,
            [b'\'', more @ ..] => return Some(more),
            [b'\\', b'\'', more @ ..] => (b'\'', more),
            [byte, more @ ..] => (*byte, more),
        };
        word.push(byte);
        rest = more;
    }
}

fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        _ => (hex | 0x20) - b'a' + 10,
    }
}

fn unescape(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_in_redis() {
        let split = |line: &[u8]| split(line).map(|words| words.join(&b'|'));
        for (line, expected) in [
            (&b"set key  value "[..], Some(&b"set|key|value"[..])),
            (b"", Some(b"")),
            (b" \t ", Some(b"")),
            (br#"a"b c" 'd e'"#, Some(b"ab c|d e")),
            (br#""\x41\n\"\\\q\x4""#, Some(b"A\n\"\\qx4")),
            (br"'\'\n'", Some(br"'\n")),
            (b"get a\0b", Some(b"get|a")),
            (b"\"a\0\"", None),
            (br#""open"#, None),
            (br#""open\""#, None),
            (br"'open\'", None),
            (br#""a"b"#, None),
            (br"'a'b", None),
            (br#""" ''"#, Some(b"|")),
        ] {
            assert_eq!(split(line).as_deref(), expected, "{}", line.escape_ascii());
        }
    }
}
