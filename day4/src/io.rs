//! Streams over records: a file or a socket can be spliced through a ring.
//!
//! The bytes come out in the order in which they went in; where one message ends and the next begins
//! does not matter to a stream, and empty messages do not show.

use core::fmt::Debug;
use std::io::{self, BufRead, IoSlice, Read, Write};

use day3::Wait;
use day3::measured::Measured;

use crate::error::RecvError;
use crate::reader::{Receiver, Taken};
use crate::writer::Writer;

/// Sends what is written to it as messages of up to `chunk` bytes.
///
/// A write waits while the ring is full. It ends when the [`Writer`] is closed or dropped.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// # mod fanout { pub use day3::*; pub mod records { pub use day4::{*, io::*}; } }
/// use fanout::Start;
/// use fanout::records::{ReadRecords, Reader, WriteRecords, Writer};
///
/// let name = format!("/doc-stream-{}", std::process::id());
/// let mut writer = Writer::create(&name, 4096)?;
/// let mut reader = Reader::join(&name, Start::Oldest)?;
/// write!(WriteRecords::new(&mut writer, 1024), "{} bottles", 99)?;
/// writer.close();
/// let mut text = String::new();
/// ReadRecords::new(&mut reader).read_to_string(&mut text)?;
/// assert_eq!(text, "99 bottles");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct WriteRecords<'a, W: Wait> {
    writer: &'a mut Writer<W>,
    chunk: usize,
}

impl<'a, W: Wait> WriteRecords<'a, W> {
    /// Messages of at most `chunk` bytes: at least 1, and no more than the ring's
    /// [largest](Writer::largest).
    pub fn new(writer: &'a mut Writer<W>, chunk: usize) -> Self {
        let chunk = chunk.clamp(1, writer.largest());
        Self { writer, chunk }
    }
}

impl<W: Wait> Write for WriteRecords<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let total = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
        let len = total.min(self.chunk);
        if len == 0 {
            return Ok(0);
        }
        let mut reservation = self.writer.reserve(len).map_err(io::Error::other)?;
        let mut rest = &mut *reservation;
        for part in parts {
            let (place, behind) = rest.split_at_mut(part.len().min(rest.len()));
            place.copy_from_slice(&part[..place.len()]);
            rest = behind;
        }
        reservation.publish(len);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the bytes of messages, one message after the other; ends when the producer has closed.
///
/// A read waits while there is nothing. Dropping it gives back the message that it is in, read to the
/// end or not.
#[derive(Debug)]
pub struct ReadRecords<'a, K: Measured, W: Wait> {
    receiver: &'a mut Receiver<K, W>,
    current: Option<Taken>,
    /// How much of the current message has been consumed.
    position: usize,
}

impl<'a, K: Measured, W: Wait> ReadRecords<'a, K, W> {
    /// From the next message on.
    pub fn new(receiver: &'a mut Receiver<K, W>) -> Self {
        Self { receiver, current: None, position: 0 }
    }

    fn release(&mut self) {
        if self.current.take().is_some() {
            self.receiver.release();
        }
        self.position = 0;
    }
}

impl<K: Measured, W: Wait> BufRead for ReadRecords<'_, K, W> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        loop {
            if let Some(taken) = self.current {
                // SAFETY: released only by `release`, which needs us whole.
                let rest = &unsafe { taken.bytes() }[self.position..];
                if !rest.is_empty() {
                    return Ok(rest);
                }
                self.release();
            }
            match self.receiver.take_record() {
                Ok(taken) => self.current = Some(taken),
                Err(RecvError::Closed) => return Ok(&[]),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    fn consume(&mut self, amount: usize) {
        // More than there is ends the message.
        let len = self.current.map_or(0, |taken| taken.len());
        self.position = self.position.saturating_add(amount).min(len);
    }
}

impl<K: Measured, W: Wait> Read for ReadRecords<'_, K, W> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let from = self.fill_buf()?;
        let len = from.len().min(into.len());
        into[..len].copy_from_slice(&from[..len]);
        self.consume(len);
        Ok(len)
    }
}

impl<K: Measured, W: Wait> Drop for ReadRecords<'_, K, W> {
    fn drop(&mut self) {
        self.release();
    }
}
