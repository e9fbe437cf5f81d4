//! Text without its figures: any two numbers look the same.

/// The text with `#` for each number: digits, with commas and points between them, or hexadecimal.
pub(super) fn of(text: &str) -> String {
    let mut shape = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = number_len(rest);
        if len == 0 {
            shape.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            shape.push('#');
            rest = &rest[len..];
        }
    }
    // Columns move with the width of their numbers.
    shape.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn number_len(text: &str) -> usize {
    if let Some(hex) = text.strip_prefix("0x") {
        return 2 + hex.bytes().take_while(u8::is_ascii_hexdigit).count();
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut len = 0;
    while digit(len) || (len > 0 && matches!(bytes.get(len), Some(b',' | b'.')) && digit(len + 1)) {
        len += 1;
    }
    len
}
