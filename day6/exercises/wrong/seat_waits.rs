//! Wrong: it waits until the seat is free.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// One of the many seats of a file, taken for as long as this lives.
#[derive(Debug)]
pub(crate) struct Seat(File, libc::flock);

impl Seat {
    /// Takes the seat of this number, if nobody has it; `None` if somebody has, even this process.
    pub(crate) fn take(file: &Path, number: u32) -> io::Result<Option<Self>> {
        // An open file of its own: locks of one open file do not exclude one another.
        let file = open(file)?;
        let lock = byte(number);
        match fcntl(&file, FcntlArg::F_OFD_SETLKW(&lock)) {
            Ok(_) => Ok(Some(Self(file, lock))),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether somebody has the seat of this number, even this process.
    pub(crate) fn is_taken(file: &Path, number: u32) -> io::Result<bool> {
        let mut lock = byte(number);
        fcntl(open(file)?, FcntlArg::F_OFD_GETLK(&mut lock))?;
        Ok(lock.l_type != libc::F_UNLCK as i16)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A child that was forked has a copy of the open file: closing ours would not be enough.
        self.1.l_type = libc::F_UNLCK as i16;
        let _ = fcntl(&self.0, FcntlArg::F_OFD_SETLK(&self.1));
    }
}

fn open(file: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(file)
}

/// A lock on one byte, which need not be there.
fn byte(number: u32) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: i64::from(number),
        l_len: 1,
        l_pid: 0,
    }
}
