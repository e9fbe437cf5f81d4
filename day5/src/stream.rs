//! Queues in asynchronous programs: a `Stream` of messages, and a `send`, or a `Sink`, that waits without
//! blocking.
//!
//! Both are a [`Pollable`] in tokio's reactor ([`AsyncFd`]); make them inside a runtime whose I/O is
//! enabled. For another reactor, do the same with its type for descriptors and [`Pollable`]'s `AsFd`.
//!
//! Each message, sent or received, costs a unit of the task's budget ([`tokio::task::coop`]): a task
//! that never has to wait still lets other tasks run.
//!
//! # Examples
//!
//! ```
//! # mod fanout { pub use {day3::*, day5::{self as pollable, stream}}; }
//! use fanout::pollable::Pollable;
//! use fanout::stream::{Messages, Sender};
//! use fanout::{Consumer, Producer, Start};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
//! let name = format!("/doc-stream-{}", std::process::id());
//! let producer = Producer::<u64>::create(&name, 4)?;
//! let consumer = Consumer::<u64>::join(&name, Start::Oldest)?;
//! let mut sender = Sender::new(Pollable::bridged(producer)?)?;
//! let mut messages = Messages::new(Pollable::bridged(consumer)?)?;
//!
//! let send = async {
//!     for number in 0..100 {
//!         sender.send(number).await?; // waits while the ring is full
//!     }
//!     drop(sender); // closes
//!     Ok::<_, fanout::stream::SendError>(())
//! };
//! let receive = async {
//!     let mut sum = 0;
//!     while let Some(number) = messages.recv().await? {
//!         sum += number;
//!     }
//!     Ok::<_, fanout::stream::StreamError>(sum)
//! };
//! let (sent, sum) = tokio::join!(send, receive);
//! sent?;
//! assert_eq!(sum?, 4950);
//! # Ok(())
//! # })
//! # }
//! ```

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use bytemuck::Pod;
use day3::SendError as RingError;
use day3::measured::Measured;
use day3::sequencer::Cursor;
use day3::wait::Wait;
use day3::{RecvError, TryRecvError, TrySendError};
use futures_core::Stream;
use futures_core::stream::FusedStream;
use futures_sink::Sink;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::coop;

use crate::pollable::Pollable;

/// Why a stream has ended although the producer has not closed the queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// There will be no more messages.
    #[error(transparent)]
    Recv(#[from] RecvError),
    /// The reactor has stopped waiting; the queue is as it was.
    #[error("tokio's reactor does not wait for the queue any more: {0}; keep the runtime running")]
    Reactor(#[from] io::Error),
}

/// Why a message was not sent. No part of it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It will never be sent, however long the caller waits.
    #[error(transparent)]
    End(#[from] RingError),
    /// The reactor has stopped waiting; the queue is as it was.
    #[error("tokio's reactor does not wait for room any more: {0}; keep the runtime running")]
    Reactor(#[from] io::Error),
}

mod sealed {
    /// An end that has the same descriptor, and keeps it open, for its whole life.
    pub trait Steady: std::os::fd::AsRawFd {}

    impl<E: crate::pollable::End, V: day3::wait::Wait> Steady for crate::pollable::Pollable<E, V> {}
}

use sealed::Steady;

/// Registers it with the reactor of the current runtime.
fn register<P: Steady>(pollable: P) -> io::Result<AsyncFd<P>> {
    // SAFETY: the descriptor stays the same, and open, as long as the end lives. While the end is
    // registered, no code can replace it.
    let registered = unsafe { AsyncFd::register_with_interest(pollable, Interest::READABLE) };
    registered.map_err(|error| error.into_parts().1)
}

/// A pollable end that yields messages of its own: a consumer, a member of a group, or a tap.
pub trait Receive: Steady + Unpin {
    /// What it yields: a message of a ring as it is, or a copy of a record.
    type Message;

    /// The next message, if there is one now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    fn receive(&mut self) -> Result<Self::Message, TryRecvError>;
}

impl<T, K, W, V> Receive for Pollable<day3::ring::Receiver<T, K, W>, V>
where
    T: Pod,
    K: Cursor,
    W: Wait,
    V: Wait,
    Self: Unpin,
{
    type Message = T;

    #[inline]
    fn receive(&mut self) -> Result<T, TryRecvError> {
        self.try_recv()
    }
}

impl<K: Measured, W: Wait, V: Wait> Receive for Pollable<day4::reader::Receiver<K, W>, V>
where
    Self: Unpin,
{
    type Message = Vec<u8>;

    #[inline]
    fn receive(&mut self) -> Result<Vec<u8>, TryRecvError> {
        self.try_recv().map(|record| record.to_vec())
    }
}

impl<T: Pod, W: Wait, V: Wait> Receive for Pollable<day3::ring::Tap<T, W>, V>
where
    Self: Unpin,
{
    type Message = T;

    fn receive(&mut self) -> Result<T, TryRecvError> {
        self.try_recv()
    }
}

impl<W: Wait, V: Wait> Receive for Pollable<day4::tap::Tap<W>, V>
where
    Self: Unpin,
{
    type Message = Vec<u8>;

    fn receive(&mut self) -> Result<Vec<u8>, TryRecvError> {
        let mut message = Vec::new();
        self.try_recv(&mut message).map(|_| message)
    }
}

/// The messages of a queue, in order, as a [`Stream`].
///
/// It ends when the producer has closed the queue and everything is read. For any other reason it
/// yields one [`StreamError`] first, and then ends.
#[derive(Debug)]
pub struct Messages<P: Steady> {
    fd: AsyncFd<P>,
    is_over: bool,
}

impl<P: Receive> Messages<P> {
    /// A stream of the messages that this consumer or tap receives.
    ///
    /// # Errors
    ///
    /// What the reactor said.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or in a runtime without I/O.
    pub fn new(pollable: P) -> io::Result<Self> {
        Ok(Self { fd: register(pollable)?, is_over: false })
    }

    /// The consumer or tap.
    pub fn get_ref(&self) -> &P {
        self.fd.get_ref()
    }

    /// Takes the consumer or tap back out of the reactor.
    pub fn into_inner(self) -> P {
        self.fd.into_inner()
    }

    /// Waits for the next message; `None` when the producer has closed the queue and everything is
    /// read. A call that is cancelled takes no message with it.
    ///
    /// # Errors
    ///
    /// [`StreamError`]; after it comes `None`.
    pub async fn recv(&mut self) -> Result<Option<P::Message>, StreamError> {
        poll_fn(|context| self.poll_recv(context)).await.transpose()
    }

    fn poll_recv(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<P::Message, StreamError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let budget = ready!(coop::poll_proceed(context));
        loop {
            match self.fd.get_mut().receive() {
                Ok(message) => {
                    budget.made_progress();
                    return Poll::Ready(Some(Ok(message)));
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::End(end)) => return self.over(end.into()),
            }
            // Readiness from before that look is of no use any more. Readiness from after it is
            // kept, since the descriptor was armed by then.
            match ready!(self.fd.poll_read_ready(context)) {
                Ok(mut ready) => ready.clear_ready(),
                Err(error) => return self.over(error.into()),
            }
        }
    }

    fn over(&mut self, error: StreamError) -> Poll<Option<Result<P::Message, StreamError>>> {
        self.is_over = true;
        match error {
            StreamError::Recv(RecvError::Closed) => Poll::Ready(None),
            error => Poll::Ready(Some(Err(error))),
        }
    }
}

impl<P: Receive> Stream for Messages<P> {
    type Item = Result<P::Message, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(context)
    }
}

impl<P: Receive> FusedStream for Messages<P> {
    fn is_terminated(&self) -> bool {
        self.is_over
    }
}

/// A pollable end that sends messages: a producer, of messages or of records.
pub trait Transmit: Steady + Unpin {
    /// A message that waits for room: a message of a ring as it is, or a record's bytes.
    type Message: Unpin;

    /// Sends a message if there is room for it now; otherwise the descriptor is armed.
    ///
    /// # Errors
    ///
    /// [`TrySendError`].
    fn transmit(&mut self, message: &Self::Message) -> Result<(), TrySendError>;

    /// Tells consumers that everything is sent.
    fn finish(&mut self);

    /// Tells consumers that not everything is sent, and why.
    fn give_up(&mut self, reason: &str);
}

impl<T: Pod + Unpin, W: Wait, V: Wait> Transmit for Pollable<day3::ring::Producer<T, W>, V>
where
    Self: Unpin,
{
    type Message = T;

    #[inline]
    fn transmit(&mut self, message: &T) -> Result<(), TrySendError> {
        self.try_send(*message)
    }

    fn finish(&mut self) {
        self.close();
    }

    fn give_up(&mut self, reason: &str) {
        self.abort(reason);
    }
}

impl<W: Wait, V: Wait> Transmit for Pollable<day4::writer::Writer<W>, V>
where
    Self: Unpin,
{
    type Message = Vec<u8>;

    #[inline]
    fn transmit(&mut self, message: &Vec<u8>) -> Result<(), TrySendError> {
        self.try_send(message)
    }

    fn finish(&mut self) {
        self.close();
    }

    fn give_up(&mut self, reason: &str) {
        self.abort(reason);
    }
}

/// A producer whose `send` waits for room without blocking its thread.
///
/// It is a [`Sink`], too: of messages, or of records as `Vec<u8>`. A sink takes one message more
/// than there is room for, and `flush` waits until that message is sent. Consumers see what is sent
/// at once, flushed or not.
///
/// Dropping it closes the queue. If a message still waits for room then, consumers are told that not
/// everything was sent: [`RecvError::Aborted`].
#[derive(Debug)]
pub struct Sender<P: Transmit> {
    /// Only [`Sender::into_inner`] takes it.
    fd: Option<AsyncFd<P>>,
    /// The message that a sink has taken while there was no room for it.
    waiting: Option<P::Message>,
}

impl<P: Transmit> Sender<P> {
    /// Sends through this producer.
    ///
    /// # Errors
    ///
    /// What the reactor said.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or in a runtime without I/O.
    pub fn new(pollable: P) -> io::Result<Self> {
        Ok(Self { fd: Some(register(pollable)?), waiting: None })
    }

    /// The producer.
    pub fn get_ref(&self) -> &P {
        self.fd.as_ref().expect("it is there until the end").get_ref()
    }

    fn fd(&mut self) -> &mut AsyncFd<P> {
        self.fd.as_mut().expect("it is there until the end")
    }

    /// Takes the producer back out of the reactor, and the message that a sink has taken and not
    /// sent.
    pub fn into_inner(mut self) -> (P, Option<P::Message>) {
        let fd = self.fd.take().expect("it is there until the end");
        (fd.into_inner(), self.waiting.take())
    }

    /// Tells consumers that nothing more will come. A message that a sink has taken and not sent is
    /// dropped, and consumers are told that not everything was sent.
    pub fn close(&mut self) {
        let is_done = self.waiting.take().is_none();
        let producer = self.fd().get_mut();
        if is_done {
            producer.finish();
        } else {
            producer.give_up(UNSENT);
        }
    }

    /// Tries until there is room; `attempt` arms the descriptor when it says that the ring is full.
    fn poll_attempt(
        &mut self,
        context: &mut Context<'_>,
        mut attempt: impl FnMut(&mut P) -> Result<(), TrySendError>,
    ) -> Poll<Result<(), SendError>> {
        let budget = ready!(coop::poll_proceed(context));
        loop {
            let end = match attempt(self.fd().get_mut()) {
                Ok(()) => Ok(()),
                Err(TrySendError::End(end)) => Err(end.into()),
                Err(TrySendError::Full) => {
                    // As for a message: the descriptor was armed before this look.
                    ready!(self.fd().poll_read_ready(context))?.clear_ready();
                    continue;
                }
            };
            budget.made_progress();
            return Poll::Ready(end);
        }
    }

    /// Sends the message that waits, if there is one.
    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let Some(message) = self.waiting.take() else { return Poll::Ready(Ok(())) };
        let sent = self.poll_attempt(context, |producer| producer.transmit(&message));
        if sent.is_pending() {
            self.waiting = Some(message);
        }
        sent
    }
}

/// What consumers are told when a message was still waiting for room.
const UNSENT: &str = "its last message was not sent";

impl<P: Transmit> Drop for Sender<P> {
    fn drop(&mut self) {
        // Without `fd`, the producer closes by itself, or it was taken out.
        if self.fd.is_some() && self.waiting.is_some() && !std::thread::panicking() {
            self.close();
        }
    }
}

impl<T: Pod + Unpin, W: Wait, V: Wait> Sender<Pollable<day3::ring::Producer<T, W>, V>>
where
    Pollable<day3::ring::Producer<T, W>, V>: Transmit<Message = T>,
{
    /// Sends a message, waiting while the ring is full. A call that is cancelled has sent nothing.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    pub async fn send(&mut self, message: T) -> Result<(), SendError> {
        poll_fn(|context| {
            ready!(self.poll_waiting(context))?;
            self.poll_attempt(context, |producer| producer.try_send(message))
        })
        .await
    }
}

impl<W: Wait, V: Wait> Sender<Pollable<day4::writer::Writer<W>, V>>
where
    Pollable<day4::writer::Writer<W>, V>: Transmit<Message = Vec<u8>>,
{
    /// Sends a message, waiting while there is no room. A call that is cancelled has sent nothing.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        poll_fn(|context| {
            ready!(self.poll_waiting(context))?;
            self.poll_attempt(context, |writer| writer.try_send(message))
        })
        .await
    }
}

impl<P: Transmit> Sink<P::Message> for Sender<P> {
    type Error = SendError;

    fn poll_ready(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        if self.waiting.is_some() {
            return self.poll_waiting(context);
        }
        ready!(coop::poll_proceed(context)).made_progress();
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, message: P::Message) -> Result<(), SendError> {
        assert!(self.waiting.is_none(), "expected poll_ready before each start_send");
        match self.fd().get_mut().transmit(&message) {
            Ok(()) => Ok(()),
            Err(TrySendError::End(end)) => Err(end.into()),
            Err(TrySendError::Full) => {
                self.waiting = Some(message);
                Ok(())
            }
        }
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        self.poll_waiting(context)
    }

    fn poll_close(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        ready!(self.poll_waiting(context))?;
        self.close();
        Poll::Ready(Ok(()))
    }
}
