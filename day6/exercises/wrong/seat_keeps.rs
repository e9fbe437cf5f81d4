//! Wrong: the seat is free only when the process ends.

use std::io;
use std::path::Path;

use crate::seat_solution;

#[derive(Debug)]
pub(crate) struct Seat;

impl Seat {
    pub(crate) fn take(file: &Path, number: u32) -> io::Result<Option<Self>> {
        Ok(seat_solution::Seat::take(file, number)?.map(|seat| {
            std::mem::forget(seat);
            Self
        }))
    }

    pub(crate) fn is_taken(file: &Path, number: u32) -> io::Result<bool> {
        seat_solution::Seat::is_taken(file, number)
    }
}
