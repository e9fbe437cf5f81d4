//! Wrong: the seat is given back by closing the file. A child that was forked meanwhile has a copy of the open file, and
//! the lock lives as long as the copy.

use std::fs::File;
use std::io;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::seat_solution;

#[derive(Debug)]
pub(crate) struct Seat(#[allow(dead_code, reason = "it holds the lock")] File);

impl Seat {
    pub(crate) fn take(file: &Path, number: u32) -> io::Result<Option<Self>> {
        let file = File::options().read(true).write(true).open(file)?;
        let lock = libc::flock {
            l_type: libc::F_WRLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: i64::from(number),
            l_len: 1,
            l_pid: 0,
        };
        Ok(fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).is_ok().then_some(Self(file)))
    }

    pub(crate) fn is_taken(file: &Path, number: u32) -> io::Result<bool> {
        seat_solution::Seat::is_taken(file, number)
    }
}
