//! Wrong: fills a message before it sends it, and so loses what was read before an error.

use std::io::{self, ErrorKind, Read};

use day4::Writer;

pub(crate) fn splice(input: &mut impl Read, writer: &mut Writer, chunk: usize) -> io::Result<u64> {
    let mut total = 0;
    loop {
        let mut reservation = writer.reserve(chunk).map_err(io::Error::other)?;
        let mut filled = 0;
        while filled < chunk {
            match input.read(&mut reservation[filled..]) {
                Ok(0) => break,
                Ok(len) => filled += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled == 0 {
            return Ok(total);
        }
        reservation.publish(filled);
        total += filled as u64;
    }
}
