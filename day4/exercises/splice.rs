//! Exercise 2: a file into the ring, without a copy in between.

use std::io::{self, Read};

use day4::Writer;

/// Sends everything that `input` gives until it ends, and returns how many bytes that were. It reads straight
/// into the ring, as messages of 1 to `chunk` bytes (`chunk` is at least 1 and at most the ring's largest
/// message). A read that was interrupted is tried again. After any other error the ring is still usable.
pub(crate) fn splice(input: &mut impl Read, writer: &mut Writer, chunk: usize) -> io::Result<u64> {
    let _ = (input, writer, chunk);
    Ok(0)
}
