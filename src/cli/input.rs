//! Input, cut into messages as it comes: lines, or chunks of the same size.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::terminal::{Notice, hung_up};
use super::{BYTES, LINE};
use yardstick::signals::{Interrupted, Signals};

/// Where one message ends and the next begins.
#[derive(Clone, Copy)]
pub(crate) enum Cut {
    /// After each newline, which is not part of the message.
    Lines,
    /// After so many bytes.
    Chunks(usize),
}

/// A message that has been read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) bytes: &'a [u8],
    /// [`LINE`] if a newline followed, [`BYTES`] if not.
    pub(crate) kind: u16,
}

impl Piece<'_> {
    /// How many bytes of input it was.
    fn len(&self) -> usize {
        self.bytes.len() + usize::from(self.kind == LINE)
    }
}

pub(crate) struct Input {
    source: File,
    terminal: bool,
    /// What the input is called when we say that nothing has come from it.
    called: String,
    /// It is there from the first read on.
    notice: Option<Notice>,
    cut: Cut,
    buffer: Vec<u8>,
    /// `start..end` of the buffer has been read and not been taken yet.
    start: usize,
    end: usize,
    /// There is no newline between `start` and here.
    searched: usize,
    ended: bool,
}

/// How many bytes are read at a time.
const READ: usize = 1 << 18;
/// How long a step may take before the command looks at signals.
const SLICE: Duration = Duration::from_millis(50);

impl Input {
    /// Opens a file, or stdin if none is named.
    pub(crate) fn open(path: Option<&Path>, cut: Cut) -> anyhow::Result<Self> {
        let (source, called) = match path {
            Some(path) => {
                let called = path.display().to_string();
                (open(path).with_context(|| format!("cannot read {called}"))?, called)
            }
            // Past the standard library's own buffer, which could hold lines that poll does not
            // know of.
            None => {
                (File::from(std::io::stdin().as_fd().try_clone_to_owned()?), "stdin".to_owned())
            }
        };
        let (terminal, notice, buffer) = (source.is_terminal(), None, Vec::new());
        let (start, end, searched, ended) = (0, 0, 0, false);
        Ok(Self { source, terminal, called, notice, cut, buffer, start, end, searched, ended })
    }

    /// Whether there is more to read, or an end to be found, without waiting.
    pub(crate) fn is_ready(&self) -> anyhow::Result<bool> {
        let mut polled = [PollFd::new(self.source.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::ZERO) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => bail!("waiting for input failed: {errno}"),
        }
    }

    /// Waits for input, and reads it; `false` at its end. It calls `meanwhile` again and again while it waits.
    pub(crate) fn read_more(
        &mut self,
        signals: &Signals,
        mut meanwhile: impl FnMut(),
    ) -> anyhow::Result<bool> {
        self.make_room();
        loop {
            signals.check()?;
            let mut polled = [PollFd::new(self.source.as_fd(), PollFlags::POLLIN)];
            let slice = PollTimeout::try_from(SLICE).unwrap_or(PollTimeout::ZERO);
            match poll(&mut polled, slice) {
                Ok(0) | Err(Errno::EINTR) => {
                    self.wait_on();
                    meanwhile();
                    continue;
                }
                Ok(_) => {}
                Err(errno) => bail!("waiting for input failed: {errno}"),
            }
            match self.source.read(&mut self.buffer[self.end..]) {
                // The terminal is gone, which is not the end of the input: the user has not typed
                // everything.
                Ok(0) | Err(_) if self.terminal && hung_up(self.source.as_fd()) => {
                    return Err(Interrupted::hung_up().into());
                }
                Ok(0) => {
                    self.ended = true;
                    return Ok(false);
                }
                Ok(read) => {
                    self.end += read;
                    self.notice.get_or_insert_with(Notice::new).over();
                    return Ok(true);
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error).context("reading input failed"),
            }
        }
    }

    /// Another wait has passed without input.
    fn wait_on(&mut self) {
        let Self { notice, terminal, called, .. } = self;
        notice.get_or_insert_with(Notice::new).still(|| {
            if *terminal {
                "reading from this terminal: type what is to be sent; Ctrl-D ends it".to_owned()
            } else {
                format!("waiting for a writer: nothing has come from {called} yet")
            }
        });
    }

    /// Moves what has not been taken to the front. If that is not enough, the buffer grows.
    fn make_room(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.searched -= self.start;
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() - self.end < READ {
            self.buffer.resize((2 * self.buffer.len()).max(self.end + READ), 0);
        }
    }

    /// The next message, if all of it has been read. [`take`](Self::take) moves on to the message
    /// after it.
    pub(crate) fn peek(&mut self) -> Option<Piece<'_>> {
        let kind = match self.cut {
            Cut::Lines => {
                let rest = &self.buffer[self.searched..self.end];
                let newline = rest.iter().position(|&byte| byte == b'\n');
                self.searched = newline.map_or(self.end, |newline| self.searched + newline);
                if newline.is_some() { LINE } else { BYTES }
            }
            Cut::Chunks(_) => BYTES,
        };
        let rest = &self.buffer[self.start..self.end];
        let bytes = match (kind, self.cut) {
            (LINE, _) => &self.buffer[self.start..self.searched],
            (_, Cut::Chunks(size)) if rest.len() >= size => &rest[..size],
            _ if self.ended && !rest.is_empty() => rest,
            _ => return None,
        };
        Some(Piece { bytes, kind })
    }

    /// Takes the message that [`peek`](Self::peek) has shown.
    pub(crate) fn take(&mut self) {
        self.start += self.peek().map_or(0, |piece| piece.len());
        self.searched = self.searched.max(self.start);
    }

    /// How many bytes of an incomplete message have been read.
    pub(crate) fn unfinished(&mut self) -> usize {
        if self.peek().is_some() { 0 } else { self.end - self.start }
    }
}

/// Opens a file. A FIFO is opened at once, although it may have no writer yet: a plain `open` would wait
/// for its first writer, and not even Ctrl-C could end that. Until a writer has come, `poll` shows no
/// end.
fn open(path: &Path) -> std::io::Result<File> {
    let kind = path.metadata()?.file_type();
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    let flags = if kind.is_fifo() { OFlag::O_NONBLOCK } else { OFlag::empty() };
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of a file, if we look for pieces after each read.
    fn pieces(name: &str, bytes: &[u8], cut: Cut) -> Vec<(Vec<u8>, u16)> {
        let path = std::env::temp_dir().join(format!("fanout-{name}-{}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let input = Input::open(Some(&path), cut);
        std::fs::remove_file(&path).unwrap();
        let (mut input, signals) = (input.unwrap(), Signals::catch().unwrap());
        let mut pieces = Vec::new();
        loop {
            let more = input.read_more(&signals, || ()).unwrap();
            while let Some(piece) = input.peek() {
                pieces.push((piece.bytes.to_vec(), piece.kind));
                input.take();
            }
            if !more {
                assert_eq!(input.unfinished(), 0);
                return pieces;
            }
        }
    }

    #[test]
    fn lines_end_at_newlines_wherever_a_read_ends() {
        let long = vec![b'x'; 2 * READ + 3];
        let file = [&b"one\n\n"[..], &long, b"\ntwo\r\n", &long[..READ], b"\nend"].concat();
        let expected: [&[u8]; 6] = [b"one", b"", &long, b"two\r", &long[..READ], b"end"];
        let pieces = pieces("lines", &file, Cut::Lines);
        assert!(pieces.iter().map(|(bytes, _)| &bytes[..]).eq(expected));
        assert!(pieces.iter().map(|(_, kind)| *kind).eq([LINE, LINE, LINE, LINE, LINE, BYTES]));
    }

    #[test]
    fn chunks_have_one_size_except_the_last() {
        let file: Vec<u8> = (0..2 * READ as u32 + 5).map(|i| (i % 251) as u8).collect();
        for size in [1000, READ - 1, READ, READ + 1, file.len(), file.len() + 1, usize::MAX] {
            let pieces = pieces("chunks", &file, Cut::Chunks(size));
            let expected: Vec<_> = file.chunks(size).map(|chunk| (chunk.to_vec(), BYTES)).collect();
            assert!(pieces == expected, "chunks of {size}");
        }
    }
}
