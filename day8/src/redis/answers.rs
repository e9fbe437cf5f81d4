//! Answers, as RESP2 writes them.
//!
//! They go straight into the socket's buffer. What does not fit in there waits in pieces, until the connection writes it;
//! a long value is such a piece, and is not copied.

use std::io::IoSlice;
use std::rc::Rc;

use crate::{Output, SocketError};

use super::store::Value;

/// A longer value is shared with the store, and goes from there to the socket.
const LONGEST_COPY: usize = 4 << 10;
/// A value that is not longer is written in one go with its length.
const SHORT: usize = 64;
/// How many pieces are written in one go.
const MOST_SLICES: usize = 64;

/// What is yet to be written.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Shared(Value),
}

/// What did not fit into the socket's buffer.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<Piece>);

impl Pieces {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what others have, too: a message for many subscribers.
    pub(super) fn push_shared(&mut self, bytes: Rc<[u8]>) {
        self.0.push(Piece::Shared(bytes));
    }

    /// Writes all of them.
    pub(super) async fn write(&mut self, output: &mut Output) -> Result<(), SocketError> {
        let pieces = core::mem::take(&mut self.0);
        for some in pieces.chunks(MOST_SLICES) {
            let empty: &[u8] = &[];
            let mut slices = [IoSlice::new(empty); MOST_SLICES];
            for (slice, piece) in slices.iter_mut().zip(some) {
                *slice = IoSlice::new(piece.bytes());
            }
            output.write_vectored(&slices[..some.len()]).await?;
        }
        Ok(())
    }

    /// All of their bytes.
    #[cfg(test)]
    pub(super) fn take_bytes(&mut self) -> Vec<u8> {
        self.0.drain(..).flat_map(|piece| piece.bytes().to_vec()).collect()
    }
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Where commands write their answers.
#[derive(Debug)]
pub(super) struct Answers<'a> {
    /// None: all of it is kept in pieces.
    output: Option<&'a mut Output>,
    pieces: &'a mut Pieces,
}

impl<'a> Answers<'a> {
    pub(super) fn new(output: Option<&'a mut Output>, pieces: &'a mut Pieces) -> Self {
        Self { output, pieces }
    }

    /// Whether there is something that only the connection can write.
    #[inline]
    pub(super) fn is_late(&self) -> bool {
        !self.pieces.is_empty()
    }

    /// Writes bytes as they are.
    #[inline]
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        if self.pieces.0.is_empty()
            && let Some(output) = &mut self.output
            && output.try_write(bytes)
        {
            return;
        }
        self.keep(bytes);
    }

    #[cold]
    fn keep(&mut self, bytes: &[u8]) {
        if let Some(Piece::Bytes(last)) = self.pieces.0.last_mut() {
            last.extend_from_slice(bytes);
        } else {
            self.pieces.0.push(Piece::Bytes(bytes.to_vec()));
        }
    }

    #[inline]
    pub(super) fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    #[inline]
    pub(super) fn nil(&mut self) {
        self.raw(b"$-1\r\n");
    }

    /// An error: a code, and a text, such as `ERR syntax error`.
    pub(super) fn error(&mut self, text: impl AsRef<[u8]>) {
        self.raw(&[b"-", text.as_ref(), b"\r\n"].concat());
    }

    /// `:17`
    #[inline]
    pub(super) fn integer(&mut self, number: i64) {
        self.number(b':', number);
    }

    /// The beginning of an array of so many elements.
    #[inline]
    pub(super) fn array(&mut self, len: usize) {
        self.number(b'*', len as i64);
    }

    #[inline]
    fn number(&mut self, kind: u8, number: i64) {
        let mut line = Line::new();
        line.number(kind, number);
        self.raw(line.bytes());
    }

    /// A bulk string, which is copied.
    #[inline]
    pub(super) fn bulk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let mut line = Line::new();
        line.number(b'$', bytes.len() as i64);
        if bytes.len() <= SHORT {
            line.push(bytes);
            line.push(b"\r\n");
            self.raw(line.bytes());
        } else {
            self.raw(line.bytes());
            self.raw(bytes);
            self.raw(b"\r\n");
        }
    }

    /// A value. A long one is not copied.
    #[inline]
    pub(super) fn value(&mut self, value: &Value) {
        if value.len() > LONGEST_COPY { self.long(value) } else { self.bulk(value) }
    }

    #[cold]
    fn long(&mut self, value: &Value) {
        self.number(b'$', value.len() as i64);
        self.pieces.push_shared(Rc::clone(value));
        self.keep(b"\r\n");
    }
}

/// A short piece of an answer.
struct Line {
    bytes: [u8; 1 + 20 + 2 + SHORT + 2],
    len: usize,
}

impl Line {
    #[inline]
    fn new() -> Self {
        Self { bytes: [0; _], len: 0 }
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    #[inline]
    fn number(&mut self, kind: u8, number: i64) {
        self.push(&[kind]);
        self.push(itoa::Buffer::new().format(number).as_bytes());
        self.push(b"\r\n");
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
