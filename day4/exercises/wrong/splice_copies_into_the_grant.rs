//! Wrong: takes room in the ring, and fills it from a buffer of its own.

use std::io::{self, ErrorKind, Read};

use day4::Writer;

pub(crate) fn splice(input: &mut impl Read, writer: &mut Writer, chunk: usize) -> io::Result<u64> {
    let mut buffer = vec![0; chunk];
    let mut total = 0;
    loop {
        let mut reservation = writer.reserve(chunk).map_err(io::Error::other)?;
        match input.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(len) => {
                reservation[..len].copy_from_slice(&buffer[..len]);
                reservation.publish(len);
                total += len as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
