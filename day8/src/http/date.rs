//! The date in answers.

use std::cell::Cell;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;
use nix::time::{ClockId, clock_gettime};

const PREFIX: &[u8; 6] = b"Date: ";
/// `Sun, 06 Nov 1994 08:49:37 GMT`: a date has one length.
const DATE: usize = 29;
const LINE: usize = PREFIX.len() + DATE + 2;

/// The line that says what time it is. It is written anew once in a second.
#[derive(Debug)]
pub(crate) struct Clock(Cell<(i64, [u8; LINE])>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Cell::new((i64::MIN, [0; LINE])))
    }

    /// `Date: …`, with the end of the line.
    #[inline]
    pub(crate) fn line(&self) -> [u8; LINE] {
        let (second, line) = self.0.get();
        // The coarse clock, which the kernel sets at each tick: a date counts seconds.
        let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map_or(0, |now| now.tv_sec());
        if now == second { line } else { self.renew(now) }
    }

    #[cold]
    fn renew(&self, now: i64) -> [u8; LINE] {
        let line = written(now);
        self.0.set((now, line));
        line
    }
}

fn written(second: i64) -> [u8; LINE] {
    let mut line = [b' '; LINE];
    line[..PREFIX.len()].copy_from_slice(PREFIX);
    // A clock that is before 1970 or beyond the year 9999 has no date that HTTP can write.
    let second = second.clamp(0, 253_402_300_799) as u64;
    let date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(second)).to_string();
    line[PREFIX.len()..LINE - 2].copy_from_slice(date.as_bytes());
    line[LINE - 2..].copy_from_slice(b"\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_http_writes_it() {
        assert_eq!(&written(784_111_777), b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        assert_eq!(&written(-1), b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
        assert_eq!(&written(i64::MAX), b"Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n");
    }

    #[test]
    fn the_line_is_of_now() {
        let clock = Clock::new();
        let line = clock.line();
        let date = std::str::from_utf8(&line[PREFIX.len()..LINE - 2]).unwrap();
        let said = httpdate::parse_http_date(date).unwrap();
        let off = said.elapsed().unwrap_or_else(|error| error.duration());
        assert!(off < testing::DEADLINE, "{date}");
        assert_eq!(clock.0.get().1, line);
    }
}
