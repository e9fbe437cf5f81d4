//! Where in a stream to begin, as a user types it.

use std::time::{Duration, SystemTime};

use bridge::inbound::From;

/// Reads `oldest`, `latest`, a number of the stream's, or a time.
pub(crate) fn point(text: &str) -> Result<From, String> {
    match text {
        "oldest" => return Ok(From::Oldest),
        "latest" => return Ok(From::Latest),
        _ => {}
    }
    if let Ok(sequence) = text.parse() {
        return Ok(From::Sequence(sequence));
    }
    time(text).map(From::Time).ok_or_else(|| {
        "expected oldest, latest, a number of the stream's, or a time such as 2026-11-22T12:00:00Z or \
         2026-11-22T13:00:00+01:00"
            .to_owned()
    })
}

/// Reads a time as RFC 3339 writes it, without a leap second.
fn time(text: &str) -> Option<SystemTime> {
    let (date, clock) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (clock, ahead) = zone(clock)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let days = days_since_1970(year, month, day)?;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - ahead;
    let since = Duration::new(u64::try_from(seconds).ok()?, nanos);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// Takes the offset from the end: the rest, and how many seconds its clock is ahead of UTC.
fn zone(clock: &str) -> Option<(&str, i64)> {
    if let Some(rest) = clock.strip_suffix(['Z', 'z']) {
        return Some((rest, 0));
    }
    let at = clock.rfind(['+', '-'])?;
    let (rest, offset) = clock.split_at(at);
    let [hours, minutes] = numbers(&offset[1..], ':', [2, 2])?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let ahead = hours * 3_600 + minutes * 60;
    Some((rest, if offset.starts_with('-') { -ahead } else { ahead }))
}

/// Numbers with exactly so many digits each.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let (mut numbers, mut pieces) = ([0; N], text.split(between));
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let piece = pieces.next()?;
        if piece.len() != digits || !piece.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = piece.parse().ok()?;
    }
    pieces.next().is_none().then_some(numbers)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = usize::try_from(month - 1).ok()?;
    if year < 1970 || day < 1 || day > *months.get(before)? {
        return None;
    }
    let years: i64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    Some(years + months[..before].iter().sum::<i64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_word_a_number_or_a_time() {
        assert_eq!(point("oldest"), Ok(From::Oldest));
        assert_eq!(point("latest"), Ok(From::Latest));
        assert_eq!(point("17"), Ok(From::Sequence(17)));
        // What `date -u -d TIME +%s` says.
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-22T12:00:00Z", 1_795_348_800),
            ("2026-11-22T13:00:00+01:00", 1_795_348_800),
            ("2026-11-22 09:30:00-02:30", 1_795_348_800),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(point(text), Ok(From::Time(time)), "{text}");
        }
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_250);
        assert_eq!(point("1970-01-01T00:00:01.25Z"), Ok(From::Time(time)));
    }

    #[test]
    fn what_is_no_point_is_refused() {
        for text in [
            "",
            "first",
            "-1",
            "1.5",
            "18446744073709551616",
            "2026-11-22",
            "2026-11-22T12:00:00",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T12:00Z",
            "2026-11-22T12:00:00.Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "2026-11-22T12:00:00+1:00",
            "26-11-22T12:00:00Z",
        ] {
            assert!(point(text).is_err(), "{text}");
        }
    }
}
