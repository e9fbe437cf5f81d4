//! Wrong: a note beside the file says that the seat is taken, and nobody removes it for the dead.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Seat(PathBuf);

impl Seat {
    pub(crate) fn take(file: &Path, number: u32) -> io::Result<Option<Self>> {
        let note = file.with_extension(number.to_string());
        match File::create_new(&note) {
            Ok(_) => Ok(Some(Self(note))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn is_taken(file: &Path, number: u32) -> io::Result<bool> {
        file.with_extension(number.to_string()).try_exists()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
