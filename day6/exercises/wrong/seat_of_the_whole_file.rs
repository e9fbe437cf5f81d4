//! Wrong: it locks the whole file, so that there is one seat.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

#[derive(Debug)]
pub(crate) struct Seat(#[allow(dead_code, reason = "it holds the lock")] File);

impl Seat {
    pub(crate) fn take(file: &Path, _number: u32) -> io::Result<Option<Self>> {
        let file = File::open(file)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub(crate) fn is_taken(file: &Path, number: u32) -> io::Result<bool> {
        Ok(Self::take(file, number)?.is_none())
    }
}
