//! Exercise 2: a file into the ring, without a copy in between.

use std::io::{self, ErrorKind, Read};

use day4::Writer;

/// Sends everything that `input` gives until it ends, and returns how many bytes that were. It reads
/// straight into the ring, as messages of 1 to `chunk` bytes (`chunk` is at least 1 and at most the
/// ring's largest message). A read that was interrupted is tried again. After any other error the ring
/// is still usable.
pub(crate) fn splice(input: &mut impl Read, writer: &mut Writer, chunk: usize) -> io::Result<u64> {
    let mut total = 0;
    loop {
        let mut reservation = writer.reserve(chunk).map_err(io::Error::other)?;
        match input.read(&mut reservation) {
            Ok(0) => return Ok(total),
            Ok(len) => {
                reservation.publish(len);
                total += len as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
