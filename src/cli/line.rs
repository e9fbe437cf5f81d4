//! Lines as messages of a fixed size, until Day 4 lets messages have any size.

use anyhow::bail;
use bytemuck::{Pod, Zeroable};

/// A line of at most `N` bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Line<const N: usize> {
    len: u32,
    /// 1 if a newline followed, 0 at the end of a file that has none.
    newline: u32,
    bytes: [u8; N],
}

// SAFETY: zeros are an empty line.
unsafe impl<const N: usize> Zeroable for Line<N> {}
// SAFETY: integers and bytes, laid out as declared; N is a multiple of 4 (asserted below), so there is
// no padding behind them.
unsafe impl<const N: usize> Pod for Line<N> {}

impl<const N: usize> Line<N> {
    const NO_PADDING: () = assert!(N.is_multiple_of(4));

    /// What the header calls such messages.
    pub(crate) fn type_name() -> String {
        let () = Self::NO_PADDING;
        format!("{PREFIX}{N}")
    }

    /// Writes a line, which may end in a newline, into its place.
    pub(crate) fn set(&mut self, line: &[u8]) {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        self.len = text.len() as u32;
        self.newline = u32::from(text.len() < line.len());
        self.bytes[..text.len()].copy_from_slice(text);
    }

    /// The text without its newline, and the newline.
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        let text = &self.bytes[..(self.len as usize).min(N)];
        (text, if self.newline == 1 { b"\n" } else { b"" })
    }
}

const PREFIX: &str = "line/";

/// The sizes that there are; a queue has the smallest that holds its longest line.
pub(crate) const SIZES: [usize; 6] = [64, 256, 1024, 4096, 16384, 65536];

/// Runs `$call::<N>(…)` for the `N` of `$size`, which is one of [`SIZES`].
macro_rules! for_size {
    ($size:expr, $call:ident, $($argument:expr),*) => {
        match $size {
            64 => $call::<64>($($argument),*),
            256 => $call::<256>($($argument),*),
            1024 => $call::<1024>($($argument),*),
            4096 => $call::<4096>($($argument),*),
            16384 => $call::<16384>($($argument),*),
            _ => $call::<65536>($($argument),*),
        }
    };
}
pub(crate) use for_size;

/// The size for lines of up to `longest` bytes.
pub(crate) fn size_for(longest: usize) -> anyhow::Result<usize> {
    match SIZES.into_iter().find(|&size| size >= longest) {
        Some(size) if longest > 0 => Ok(size),
        _ => bail!("a line has 1 to {} bytes, found {longest}: change --max-size", SIZES[5]),
    }
}

/// The size that a header's message type names, if it is one of ours.
pub(crate) fn size_of_type(message_type: &str) -> Option<usize> {
    let size = message_type.strip_prefix(PREFIX)?.parse().ok()?;
    SIZES.contains(&size).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_out_as_it_went_in() {
        for line in [&b"text\n"[..], b"\n", b"no newline", b"", b"\r\n", b"\xff\0\n"] {
            let mut message = Line::<64>::zeroed();
            message.set(line);
            let (text, newline) = message.parts();
            assert_eq!([text, newline].concat(), line);
        }
    }

    #[test]
    fn a_queue_has_the_smallest_size_that_holds_its_lines() {
        assert_eq!(size_for(1).unwrap(), 64);
        assert_eq!(size_for(1024).unwrap(), 1024);
        assert_eq!(size_for(1025).unwrap(), 4096);
        assert!(size_for(0).is_err());
        assert!(size_for(65537).is_err());
        assert_eq!(size_of_type(&Line::<256>::type_name()), Some(256));
        assert_eq!(size_of_type("line/100"), None);
        assert_eq!(size_of_type("u64"), None);
    }
}
