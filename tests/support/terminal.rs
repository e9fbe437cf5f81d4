//! A terminal of the test's own, which the test may close.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use testing::{Process, eventually};

/// The test's end of a terminal. When it is dropped, the terminal hangs up.
pub(crate) struct Terminal {
    master: File,
    path: String,
    said: String,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        // Closed on exec: a child with a copy of our end would keep the terminal open.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let master = posix_openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname_r(&master).unwrap();
        Self { master: File::from(OwnedFd::from(master)), path, said: String::new() }
    }

    /// Starts a program at this terminal, as the leader of a session of its own, no signal ignored.
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> Process {
        self.lead("--default-signal", program, arguments)
    }

    /// Starts the command.
    pub(crate) fn fanout(&self, arguments: &[&str]) -> Process {
        self.start(env!("CARGO_BIN_EXE_fanout"), arguments)
    }

    /// Starts the command so that it does not get the signal of a closed terminal.
    pub(crate) fn deaf(&self, arguments: &[&str]) -> Process {
        self.lead("--ignore-signal=HUP", env!("CARGO_BIN_EXE_fanout"), arguments)
    }

    fn lead(&self, signals: &str, program: &str, arguments: &[&str]) -> Process {
        let mut command = Command::new("setsid");
        command.args(["--ctty", "env", signals, program]).args(arguments);
        command.stdin(self.end()).stdout(self.end()).stderr(self.end());
        Process::start(&mut command)
    }

    /// The program's end.
    fn end(&self) -> File {
        let flags = OFlag::O_NOCTTY.bits();
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(&self.path).unwrap()
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Everything that has been shown so far.
    pub(crate) fn said(&mut self) -> &str {
        let mut piece = [0; 4096];
        loop {
            match self.master.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => self.said.push_str(&String::from_utf8_lossy(&piece[..read])),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // There is nothing more for now, or the other end is closed.
                Err(_) => break,
            }
        }
        &self.said
    }

    pub(crate) fn until_says(&mut self, what: &str) {
        eventually(what, || self.said().contains(what));
    }
}
