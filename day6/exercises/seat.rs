//! Exercise 1: a seat that the kernel takes back.

use std::io;
use std::path::Path;

/// One of the many seats of a file, taken for as long as this lives.
#[derive(Debug)]
pub(crate) struct Seat {}

impl Seat {
    /// Takes the seat of this number, if nobody has it; `None` if somebody has, even this process. It does not wait.
    ///
    /// The file is there, and stays as it is. The seat is free again when this is dropped, also while a child lives that
    /// was forked meanwhile, and when the process dies, however it dies.
    pub(crate) fn take(file: &Path, number: u32) -> io::Result<Option<Self>> {
        let _ = (file, number);
        Ok(None)
    }

    /// Whether somebody has the seat of this number, even this process. Nobody who takes a seat meanwhile notices.
    pub(crate) fn is_taken(file: &Path, number: u32) -> io::Result<bool> {
        let _ = (file, number);
        Ok(false)
    }
}
