//! Exercise 2: a file into the ring, without a copy in between.

use std::io::{self, Read};

use day4::Writer;

/// Sends what `input` gives until it ends, as messages of 1 to `chunk` bytes (`chunk` is at least 1 and
/// at most the ring's largest message), read straight into the ring; says how many bytes. A read that
/// was interrupted is tried again. After any other error the ring can be used on.
pub(crate) fn splice(input: &mut impl Read, writer: &mut Writer, chunk: usize) -> io::Result<u64> {
    let _ = (input, writer, chunk);
    Ok(0)
}
