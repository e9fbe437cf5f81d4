//! The service of all echo peers: `Line N: …` for each line.

use std::io::{self, Write};

/// The longest line; a client that sends a longer one is no longer served.
const LONGEST: usize = 16 << 10;

/// How far one client has come. It holds memory only for a line that has not come whole.
#[derive(Default)]
pub(crate) struct Lines {
    count: u64,
    begun: Vec<u8>,
}

impl Lines {
    /// Appends the answer to each line of which the end has come.
    ///
    /// # Errors
    ///
    /// If a line is too long.
    pub(crate) fn answer(&mut self, mut came: &[u8], answers: &mut Vec<u8>) -> io::Result<()> {
        while let Some(end) = memchr::memchr(b'\n', came) {
            let (line, rest) = came.split_at(end + 1);
            self.count += 1;
            answers.extend_from_slice(b"Line ");
            answers.extend_from_slice(itoa::Buffer::new().format(self.count).as_bytes());
            answers.extend_from_slice(b": ");
            answers.append(&mut self.begun);
            answers.extend_from_slice(line);
            came = rest;
        }
        self.begun.extend_from_slice(came);
        if self.begun.len() > LONGEST {
            return Err(io::Error::other(format!("a line of more than {LONGEST} bytes")));
        }
        Ok(())
    }

    /// Appends the answer to a last line that has no end.
    pub(crate) fn finish(&mut self, answers: &mut Vec<u8>) -> io::Result<()> {
        if !self.begun.is_empty() {
            self.count += 1;
            write!(answers, "Line {}: ", self.count)?;
            answers.append(&mut self.begun);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_cut_anywhere_has_the_same_answers() {
        let said = b"one\n\nthree\r\nfour";
        let expected = b"Line 1: one\nLine 2: \nLine 3: three\r\nLine 4: four";
        for cut in 0..=said.len() {
            let (mut lines, mut answers) = (Lines::default(), Vec::new());
            lines.answer(&said[..cut], &mut answers).unwrap();
            lines.answer(&said[cut..], &mut answers).unwrap();
            lines.finish(&mut answers).unwrap();
            assert_eq!(answers, expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_refused() {
        let mut lines = Lines::default();
        lines.answer(&[b'x'; LONGEST], &mut Vec::new()).unwrap();
        lines.answer(b"x", &mut Vec::new()).unwrap_err();
    }
}
