//! Wrong: it writes its process's number beside the file, and asks whether there is such a process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::kill;
use nix::unistd::Pid;

#[derive(Debug)]
pub(crate) struct Seat(PathBuf);

impl Seat {
    pub(crate) fn take(file: &Path, number: u32) -> io::Result<Option<Self>> {
        if Self::is_taken(file, number)? {
            return Ok(None);
        }
        let note = note(file, number);
        fs::write(&note, std::process::id().to_string())?;
        Ok(Some(Self(note)))
    }

    pub(crate) fn is_taken(file: &Path, number: u32) -> io::Result<bool> {
        let owner = fs::read_to_string(note(file, number)).ok().and_then(|text| text.parse().ok());
        Ok(owner.is_some_and(|owner| kill(Pid::from_raw(owner), None).is_ok()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn note(file: &Path, number: u32) -> PathBuf {
    file.with_extension(number.to_string())
}
