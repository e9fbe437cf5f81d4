//! Numbers, for people.

/// A number with a comma between thousands: `16,777,216`.
///
/// ```
/// assert_eq!(common::grouped(16_777_216), "16,777,216");
/// ```
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_between_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1 << 20, "1,048,576")] {
            assert_eq!(grouped(number), text);
        }
    }
}
