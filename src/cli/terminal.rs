//! The terminal that a user may sit at: what is said there, and whether it is still open.

use std::io::{IsTerminal, Write};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a wait may be silent.
const SILENCE: Duration = Duration::from_secs(1);

/// Writes a line to stderr in one piece, because other programs may write there, too. Unlike with
/// `eprintln!`, a terminal that is closed is no reason to panic.
pub(crate) fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Says once, and only on a terminal, what a wait is waiting for. A script needs no such notice.
pub(crate) struct Notice {
    /// `None` once there is nothing more to say.
    since: Option<Instant>,
}

impl Notice {
    pub(crate) fn new() -> Self {
        Self { since: std::io::stderr().is_terminal().then(Instant::now) }
    }

    /// The wait is over.
    pub(crate) fn over(&mut self) {
        self.since = None;
    }

    /// The wait goes on.
    pub(crate) fn still(&mut self, what: impl FnOnce() -> String) {
        if self.since.is_some_and(|since| since.elapsed() >= SILENCE) {
            self.since = None;
            say(&what());
        }
    }
}

/// Whether the other end of this terminal is closed.
pub(crate) fn hung_up(terminal: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(terminal, PollFlags::empty())];
    let found = poll(&mut polled, PollTimeout::ZERO).is_ok();
    found && polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
}

/// The name of a queue or of a group as a user would type it into a shell.
pub(crate) fn typed(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.,:+@%".contains(c);
    if name.chars().all(plain) {
        return name.to_string();
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_quoted_where_a_shell_would_take_it_apart() {
        assert_eq!(typed("/prices-1.eu"), "/prices-1.eu");
        assert_eq!(typed("/two words"), "'/two words'");
        assert_eq!(typed("/it's;$HOME"), r"'/it'\''s;$HOME'");
    }
}
