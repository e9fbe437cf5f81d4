//! Values as a user types them: a number of bytes, permissions, a time.

use std::time::Duration;

/// Reads `65536`, `64K`, `1M` or `2G`; a K is 1,024 bytes.
pub fn size(text: &str) -> Result<u64, String> {
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

/// Reads permissions, such as 600 or 660.
pub fn permissions(text: &str) -> Result<u32, String> {
    // `from_str_radix` would take a sign.
    let octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
    match mode {
        Some(mode) if mode & 0o600 == 0o600 => Ok(mode),
        _ => Err("expected octal permissions, such as 600, 660 or 666: the owner has to read and \
                  write, and so has a consumer of another user"
            .to_owned()),
    }
}

/// Reads a number of seconds, such as 5s or 0.5s.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse().ok();
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "expected a time above 0, such as 5s or 0.5s".to_owned())
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

    #[test]
    fn a_time_is_in_seconds_and_above_zero() {
        assert_eq!(seconds("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for refused in ["", "s", "0s", "-1s", "5ms", "5 s", "nans", "infs", "1e300s"] {
            assert!(seconds(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn permissions_are_octal_and_let_the_owner_in() {
        for (text, mode) in [("600", 0o600), ("0660", 0o660), ("666", 0o666), ("777", 0o777)] {
            assert_eq!(permissions(text), Ok(mode));
        }
        for refused in ["", "0", "60", "400", "200", "1600", "680", "+600", "-600", "0o600", "rw"] {
            assert!(permissions(refused).is_err(), "{refused}");
        }
    }
}
