//! Wrong: a lock of the older kind belongs to the process, and so never refuses its owner.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

#[derive(Debug)]
pub(crate) struct Seat(#[allow(dead_code, reason = "it holds the lock")] File);

impl Seat {
    pub(crate) fn take(file: &Path, number: u32) -> io::Result<Option<Self>> {
        let file = File::options().read(true).write(true).open(file)?;
        match fcntl(&file, FcntlArg::F_SETLK(&byte(number))) {
            Ok(_) => Ok(Some(Self(file))),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(crate) fn is_taken(file: &Path, number: u32) -> io::Result<bool> {
        let mut lock = byte(number);
        fcntl(File::options().read(true).write(true).open(file)?, FcntlArg::F_GETLK(&mut lock))?;
        Ok(lock.l_type != libc::F_UNLCK as i16)
    }
}

fn byte(number: u32) -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: i64::from(number),
        l_len: 1,
        l_pid: 0,
    }
}
