//! The tries of each end. A try in vain arms the end's descriptor.

use std::time::Duration;

use bytemuck::Pod;
use day3::measured::Measured;
use day3::sequencer::Cursor;
use day3::wait::Wait;
use day3::{RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError};

use super::signal::Signal;
use super::{Armed, Pollable};

impl<T: Pod, K: Cursor, W: Wait, V: Wait> Pollable<day3::ring::Receiver<T, K, W>, V> {
    /// The next message, if there is one now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        match self.end.try_recv() {
            Ok(message) => Ok(message),
            Err(_) => self.end.recv_timeout(Duration::ZERO).map_err(|no| why(&self.signal, no)),
        }
    }

    /// Lends up to `most` messages, if there is one now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    pub fn try_recv_batch(
        &mut self,
        most: usize,
    ) -> Result<day3::ring::Batch<'_, T, K, Armed<V>>, TryRecvError> {
        let batch = self.end.recv_batch_timeout(most, Duration::ZERO);
        batch.map_err(|no| why(&self.signal, no))
    }
}

impl<K: Measured, W: Wait, V: Wait> Pollable<day4::reader::Receiver<K, W>, V> {
    /// Lends the next message, if there is one now; otherwise the descriptor is armed.
    ///
    /// A record borrows the reader; wait for the descriptor after the last record is dropped.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    ///
    /// # Examples
    ///
    /// ```
    /// # mod fanout {
    /// #     pub use {day3::*, day4 as records, day5::{Adaptive, self as pollable}};
    /// # }
    /// use fanout::pollable::Pollable;
    /// use fanout::records::error::{RecvError, TryRecvError};
    /// use fanout::records::{Reader, Writer};
    /// use fanout::{Adaptive, Start};
    /// use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    /// use std::os::fd::AsFd;
    ///
    /// let name = format!("/doc-poll-records-{}", std::process::id());
    /// let mut writer = Writer::create(&name, 4096)?.waiting(Adaptive::default());
    /// let mut reader = Pollable::bridged(Reader::join(&name, Start::Oldest)?)?;
    /// writer.send(b"one")?;
    /// writer.send(b"another")?;
    /// drop(writer);
    /// let mut letters = 0;
    /// loop {
    ///     let nothing = match reader.try_recv() {
    ///         Ok(record) => {
    ///             letters += record.len();
    ///             continue;
    ///         }
    ///         Err(nothing) => nothing,
    ///     };
    ///     match nothing {
    ///         TryRecvError::Empty => {
    ///             poll(&mut [PollFd::new(reader.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
    ///         }
    ///         TryRecvError::End(RecvError::Closed) => break,
    ///         TryRecvError::End(error) => return Err(error.into()),
    ///     }
    /// }
    /// assert_eq!(letters, 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_recv(&mut self) -> Result<day4::reader::Record<'_, K, Armed<V>>, TryRecvError> {
        let record = self.end.recv_timeout(Duration::ZERO);
        record.map_err(|no| why(&self.signal, no))
    }

    /// Lends the next messages that together take at most `bytes` of ring, but at least one, if there
    /// is one now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    pub fn try_recv_batch(
        &mut self,
        bytes: usize,
    ) -> Result<day4::reader::Records<'_, K, Armed<V>>, TryRecvError> {
        let records = self.end.recv_batch_timeout(bytes, Duration::ZERO);
        records.map_err(|no| why(&self.signal, no))
    }
}

impl<T: Pod, W: Wait, V: Wait> Pollable<day3::ring::Tap<T, W>, V> {
    /// The next message that can be had now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let message = self.end.recv_timeout(Duration::ZERO);
        message.inspect(|_| self.signal.found()).map_err(|no| why(&self.signal, no))
    }
}

impl<W: Wait, V: Wait> Pollable<day4::tap::Tap<W>, V> {
    /// Copies the next message that can be had now into `into`, which it replaces, and says how long
    /// it is; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    pub fn try_recv(&mut self, into: &mut Vec<u8>) -> Result<usize, TryRecvError> {
        self.try_recv_kind(into).map(|_| into.len())
    }

    /// The same; says of what kind the message is.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    pub fn try_recv_kind(&mut self, into: &mut Vec<u8>) -> Result<u16, TryRecvError> {
        let kind = self.end.recv_kind_timeout(into, Duration::ZERO);
        kind.inspect(|_| self.signal.found()).map_err(|no| why(&self.signal, no))
    }
}

impl<T: Pod, W: Wait, V: Wait> Pollable<day3::ring::Producer<T, W>, V> {
    /// Sends a message if there is a place for it now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was sent.
    #[inline]
    pub fn try_send(&mut self, message: T) -> Result<(), TrySendError> {
        match self.end.try_send(message) {
            Err(TrySendError::Full) => {}
            sent => return sent,
        }
        self.end.send_timeout(message, Duration::ZERO).map_err(unsent)
    }

    /// Tells consumers that everything is sent; to send is an error from now on.
    pub fn close(&mut self) {
        self.end.close();
    }

    /// Tells consumers that nothing more will come, though not everything is sent, and why.
    pub fn abort(&mut self, reason: &str) {
        self.end.abort(reason);
    }
}

impl<W: Wait, V: Wait> Pollable<day4::writer::Writer<W>, V> {
    /// Sends a message if there is room for it now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was sent.
    #[inline]
    pub fn try_send(&mut self, message: &[u8]) -> Result<(), TrySendError> {
        match self.end.try_send(message) {
            Err(TrySendError::Full) => {}
            sent => return sent,
        }
        self.end.send_timeout(message, Duration::ZERO).map_err(unsent)
    }

    /// Tells consumers that everything is sent; to send is an error from now on.
    pub fn close(&mut self) {
        self.end.close();
    }

    /// Tells consumers that nothing more will come, though not everything is sent, and why.
    pub fn abort(&mut self, reason: &str) {
        self.end.abort(reason);
    }
}

/// Why a send with a timeout of zero found no room.
fn unsent(error: SendTimeoutError) -> TrySendError {
    match error {
        SendTimeoutError::TimedOut(_) => TrySendError::Full,
        SendTimeoutError::End(end) => end.into(),
    }
}

/// Why a wait with a timeout of zero found nothing.
#[cold]
fn why(signal: &Signal, nothing: RecvTimeoutError) -> TryRecvError {
    match nothing {
        RecvTimeoutError::TimedOut(_) => signal.nothing(),
        RecvTimeoutError::End(end) => end.into(),
    }
}
