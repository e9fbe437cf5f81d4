//! The body of a request.

use core::fmt;

use super::connection::{Exchange, Left};
use super::error::{HttpError, Refusal};
use super::status::Status;
use crate::{Input, SocketError};

/// The body of a request, as it comes: by its length, or in chunks.
///
/// What a handler does not read of it is thrown away after the answer, or else the connection is closed.
pub struct Body<'a> {
    input: Option<&'a mut Input>,
    exchange: &'a Exchange,
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("left", &self.exchange.left()).finish_non_exhaustive()
    }
}

impl<'a> Body<'a> {
    pub(crate) fn new(input: Option<&'a mut Input>, exchange: &'a Exchange) -> Self {
        Self { input, exchange }
    }

    /// The next bytes of the body, as many as are there; it waits for some. `None`: that was all.
    ///
    /// # Errors
    ///
    /// [`HttpError`]: the body is malformed or over the limit, or the connection has ended before it. Pass it on, and the
    /// client is told.
    pub async fn read(&mut self) -> Result<Option<&[u8]>, HttpError> {
        let Some(input) = &mut self.input else { return Ok(None) };
        input.consume(self.exchange.take_lent());
        let data = loop {
            let (skip, data) = self.exchange.advance(input.buffered())?;
            input.consume(skip);
            if data > 0 {
                break data;
            }
            if self.exchange.left() == Left::Nothing {
                return Ok(None);
            }
            if input.is_empty() && input.fill().await? == 0 {
                return Err(SocketError::Ended { missing: self.exchange.missing() }.into());
            }
        };
        self.exchange.lend(data);
        Ok(Some(&input.buffered()[..data]))
    }

    /// Reads all of it, and appends it to `into`: at most `most` bytes.
    ///
    /// # Errors
    ///
    /// [`HttpError`]; if there is more, a refusal with [`Status::CONTENT_TOO_LARGE`].
    pub async fn read_to_end(&mut self, into: &mut Vec<u8>, most: usize) -> Result<(), HttpError> {
        let mut left = most;
        while let Some(bytes) = self.read().await? {
            left = left.checked_sub(bytes.len()).ok_or(TOO_LARGE)?;
            into.extend_from_slice(bytes);
        }
        Ok(())
    }
}

pub(crate) const TOO_LARGE: Refusal =
    Refusal::new(Status::CONTENT_TOO_LARGE, "the body is over the limit");
