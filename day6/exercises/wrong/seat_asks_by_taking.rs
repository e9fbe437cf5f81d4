//! Wrong: a question takes the seat for a moment. A process that wants the seat then finds it taken.

use std::io;
use std::path::Path;

use crate::seat_solution;

#[derive(Debug)]
pub(crate) struct Seat(#[allow(dead_code, reason = "it holds the lock")] seat_solution::Seat);

impl Seat {
    pub(crate) fn take(file: &Path, number: u32) -> io::Result<Option<Self>> {
        Ok(seat_solution::Seat::take(file, number)?.map(Self))
    }

    pub(crate) fn is_taken(file: &Path, number: u32) -> io::Result<bool> {
        Ok(Self::take(file, number)?.is_none())
    }
}
