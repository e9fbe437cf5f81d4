//! Stdout, written so that no reader can hold us up, neither by standing still nor by going away.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, IsTerminal, Result, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::terminal::hung_up;
use yardstick::signals::{Interrupted, Signals};

/// Stdout without a buffer. When it is time to stop, a write ends with
/// [`Interrupted`](yardstick::signals::Interrupted) inside an I/O error.
pub(crate) struct Output<'a> {
    file: File,
    terminal: bool,
    /// How many bytes may be written at once.
    most: usize,
    signals: &'a Signals,
}

/// How long a step may take before the command looks at signals.
const SLICE: Duration = Duration::from_millis(50);
/// How many bytes a pipe that is ready takes without blocking: `PIPE_BUF`.
const PIPE_BUF: usize = 4096;

impl<'a> Output<'a> {
    pub(crate) fn new(signals: &'a Signals) -> Result<Self> {
        let file = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        let terminal = file.is_terminal();
        let waits = kind.is_fifo() || kind.is_socket() || terminal;
        if !waits {
            return Ok(Self { file, terminal, most: usize::MAX, signals });
        }
        if kind.is_fifo()
            && let Ok(pipe) = reopen(&file)
        {
            return Ok(Self { file: pipe, terminal, most: usize::MAX, signals });
        }
        Ok(Self { file, terminal, most: PIPE_BUF, signals })
    }

    /// Fails if the reader of our output has gone, or the terminal is closed.
    pub(crate) fn check_reader(&self) -> Result<()> {
        self.poll(PollFlags::empty(), Duration::ZERO).map(drop)
    }

    fn has_hung_up(&self) -> bool {
        self.terminal && hung_up(self.file.as_fd())
    }

    /// Whether one of these events comes within `timeout`.
    fn poll(&self, events: PollFlags, timeout: Duration) -> Result<bool> {
        let mut polled = [PollFd::new(self.file.as_fd(), events)];
        match poll(&mut polled, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO)) {
            Ok(0) | Err(Errno::EINTR) => Ok(false),
            Ok(_) if self.has_hung_up() => Err(Error::other(Interrupted::hung_up())),
            // The reader of the pipe has closed it. The write itself finds out everything else.
            Ok(_) if polled[0].revents() == Some(PollFlags::POLLERR) => {
                Err(ErrorKind::BrokenPipe.into())
            }
            Ok(_) => Ok(true),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Opens a pipe once more, so that it does not block us. Programs that share our stdout do not
/// notice.
fn reopen(file: &File) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        loop {
            self.signals.check().map_err(Error::other)?;
            if !self.poll(PollFlags::POLLOUT, SLICE)? {
                continue;
            }
            match self.file.write(&bytes[..bytes.len().min(self.most)]) {
                // There is room for less than a page, or another writer was faster.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) if self.has_hung_up() => return Err(Error::other(Interrupted::hung_up())),
                outcome => return outcome,
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}
