//! Bodies in chunks.

use super::error::Refusal;
use super::status::Status;
use super::target::is_token;

/// The most bytes that lines between chunks may have: a size with its extensions, or all trailers together.
const MOST_LINE: u32 = 4096;

/// How far a body in chunks has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunks {
    state: State,
    /// Bytes of this line, or of the trailers.
    line: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the size, after so many digits.
    Size {
        size: u64,
        digits: u8,
    },
    /// After spaces that only an extension may follow.
    Space(u64),
    Extension(u64),
    /// After the CR behind the size.
    SizeEnd(u64),
    Data(u64),
    /// Before the CR LF behind the data, and between them.
    DataEnd,
    DataEndLf,
    /// At the start of a trailer, or of the empty line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    /// Between the last CR LF.
    Last,
    Done,
}

/// What a piece of a body in chunks holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// So many bytes that are not data.
    pub(crate) skip: usize,
    /// And so many bytes of data behind them.
    pub(crate) data: usize,
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Self { state: State::Size { size: 0, digits: 0 }, line: 0 }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads on, up to the end of the data that is there. With no data and nothing left of `bytes`, more has to come.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        let mut skip = 0;
        while let Some(&byte) = bytes.get(skip) {
            if let State::Data(left) = self.state {
                let data = (bytes.len() - skip).min(usize::try_from(left).unwrap_or(usize::MAX));
                self.state = match left - data as u64 {
                    0 => State::DataEnd,
                    left => State::Data(left),
                };
                return Ok(Step { skip, data });
            }
            if self.is_done() {
                break;
            }
            self.line += 1;
            if self.line > MOST_LINE {
                return Err(self.too_long());
            }
            self.state = self.state.next(byte).ok_or_else(|| self.malformed())?;
            if matches!(self.state, State::Data(_) | State::DataEnd | State::Size { digits: 0, .. })
            {
                self.line = 0;
            }
            skip += 1;
        }
        Ok(Step { skip, data: 0 })
    }

    #[cold]
    fn too_long(&self) -> Refusal {
        match self.state {
            State::Trailer
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerEnd
            | State::Last => {
                Refusal::new(Status::HEADERS_TOO_LARGE, "the trailers are over the limit")
            }
            _ => Refusal::malformed("the line of a chunk's size is over the limit"),
        }
    }

    #[cold]
    fn malformed(&self) -> Refusal {
        Refusal::malformed(match self.state {
            State::Size { .. } | State::Space(_) | State::SizeEnd(_) => {
                "expected a chunk's size: hexadecimal digits, then CR LF"
            }
            State::Extension(_) => "a chunk's extension holds a control character",
            State::Data(_) | State::DataEnd | State::DataEndLf => {
                "expected CR LF behind a chunk's data: its size is not what was said"
            }
            _ => "a trailer is no header",
        })
    }
}

impl State {
    /// After this byte, which is not data. `None`: it must not be there.
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                // The limit of the length also keeps the size from running over.
                if digits == 16 {
                    return None;
                }
                let digit = char::from(byte).to_digit(16)?;
                Self::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return None,
            (Self::Size { size, .. } | Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Size { size, .. } | Self::Space(size), b';') => Self::Extension(size),
            (Self::Size { size, .. } | Self::Space(size), b' ' | b'\t') => Self::Space(size),
            (Self::Extension(size), _) if is_text(byte) => Self::Extension(size),
            (Self::SizeEnd(0), b'\n') => Self::Trailer,
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataEnd, b'\r') => Self::DataEndLf,
            (Self::DataEndLf, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::Trailer, b'\r') => Self::Last,
            (Self::Trailer | Self::TrailerName, _) if is_token(byte) => Self::TrailerName,
            (Self::TrailerName, b':') => Self::TrailerValue,
            (Self::TrailerValue, b'\r') => Self::TrailerEnd,
            (Self::TrailerValue, _) if is_text(byte) => Self::TrailerValue,
            (Self::TrailerEnd, b'\n') => Self::Trailer,
            (Self::Last, b'\n') => Self::Done,
            _ => return None,
        })
    }
}

/// Whether a value may hold this byte.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The data of a body that comes in these pieces, and how many bytes it took; `None` if it has not ended.
    fn decode<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Vec<u8>, Option<usize>), u16> {
        let (mut chunks, mut data, mut taken) = (Chunks::new(), Vec::new(), 0);
        for piece in pieces {
            let mut at = 0;
            while at < piece.len() && !chunks.is_done() {
                let step = chunks.step(&piece[at..]).map_err(|refusal| refusal.status.code())?;
                data.extend_from_slice(&piece[at + step.skip..][..step.data]);
                at += step.skip + step.data;
            }
            taken += at;
        }
        Ok((data, chunks.is_done().then_some(taken)))
    }

    fn all(body: &str) -> Result<(String, Option<usize>), u16> {
        let (data, end) = decode([body.as_bytes()])?;
        Ok((String::from_utf8(data).unwrap(), end))
    }

    #[test]
    fn chunks_are_put_together() {
        for (body, data) in [
            ("0\r\n\r\n", ""),
            ("3\r\nabc\r\n0\r\n\r\n", "abc"),
            ("3;a=b\r\nabc\r\n2 ; c=\"d e\"\r\nde\r\n000\r\nX: y\r\nZ:\r\n\r\n", "abcde"),
            ("0000000000000003\r\n\r\n\n\r\n0\r\n\r\n", "\r\n\n"),
            ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
        ] {
            assert_eq!(all(body), Ok((data.to_owned(), Some(body.len()))), "{body:?}");
            let more = format!("{body}GET / HTTP/1.1\r\n");
            assert_eq!(all(&more), Ok((data.to_owned(), Some(body.len()))), "{body:?}");
            // Byte by byte, and cut in two.
            let bytes = body.as_bytes();
            assert_eq!(decode(bytes.chunks(1)), Ok((data.into(), Some(body.len()))), "{body:?}");
            for cut in 0..bytes.len() {
                assert_eq!(decode([&bytes[..cut]]).unwrap().1, None, "{body:?}");
                let (one, other) = bytes.split_at(cut);
                assert_eq!(decode([one, other]), Ok((data.into(), Some(body.len()))), "{body:?}");
            }
        }
    }

    #[test]
    fn what_others_might_read_another_way_is_refused() {
        for body in [
            "\r\n",
            "g\r\n",
            "+3\r\n",
            "-3\r\n",
            "0x3\r\n",
            " 3\r\n",
            "3 \r\n",
            "3\n",
            "3\r\r\n",
            "3\rabc",
            "3;a\nb\r\n",
            "3;a\rb\r\n",
            "3;\0\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n",
            "3\r\nabc0\r\n",
            "10000000000000000\r\n",
            "00000000000000003\r\n",
            "0\r\n X: y\r\n",
            "0\r\nX\r\n",
            "0\r\nX : y\r\n",
            "0\r\nX: y\n",
            "0\r\n: y\r\n",
            "0\r\nX: y\r\n z\r\n",
            "0\r\n\n",
            ";a\r\n",
            "3\r\nabc\r\n\r\n",
        ] {
            assert_eq!(all(body), Err(400), "{body:?}");
            assert_eq!(decode(body.as_bytes().chunks(1)), Err(400), "{body:?}");
        }
    }

    #[test]
    fn lines_between_chunks_have_limits() {
        let long = "x".repeat(MOST_LINE as usize);
        assert_eq!(all(&format!("3;{long}\r\n")), Err(400));
        assert_eq!(all(&format!("0\r\nX: {long}\r\n")), Err(431));
        assert_eq!(all(&format!("0\r\n{}", "X: y\r\n".repeat(MOST_LINE as usize))), Err(431));
        // Each line has its own.
        let body = format!("1;{0}\r\na\r\n1;{0}\r\nb\r\n0\r\n\r\n", "x".repeat(3000));
        assert_eq!(all(&body), Ok(("ab".to_owned(), Some(body.len()))));
    }

    proptest! {
        #[test]
        fn what_was_cut_in_chunks_comes_back(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..10), piece in 1..40usize) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend(format!("{:x}\r\n", chunk.len()).bytes());
                body.extend_from_slice(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            prop_assert_eq!(decode(body.chunks(piece)), Ok((chunks.concat(), Some(body.len()))));
        }

        /// `httparse` sees the same size, wherever ours sees one.
        #[test]
        fn a_size_is_what_httparse_reads(line in "[0-9a-fA-F]{0,18}[ \t]{0,2}(;[a-z=\" ]{0,5})?\r?\n") {
            let mut chunks = Chunks::new();
            if let Ok(step) = chunks.step(line.as_bytes()) && let State::Data(size) | State::SizeEnd(size) = chunks.state {
                prop_assert_eq!(step.skip, line.len());
                prop_assert_eq!(httparse::parse_chunk_size(line.as_bytes()), Ok(httparse::Status::Complete((line.len(), size))));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1..50usize) {
            let _ = decode(bytes.chunks(piece));
        }
    }
}
