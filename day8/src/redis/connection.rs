//! One client: its requests in turn, and the messages of the channels that it listens to.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::rc::Rc;
use std::time::Instant;

use crate::{Input, Output, Socket, SocketError};

use super::Redis;
use super::answers::{Answers, Pieces};
use super::channels::Mailbox;
use super::command::{Call, Client, Flow};
use super::long::{Long, Memory, Progress};
use super::request::{Arguments, Parsed, parse};

/// How long a message waits that there is no room for, before it is tried again.
const AGAIN: Duration = Duration::from_millis(1);
/// What its client is told when there was none for as long as a client may be silent.
const UNREAD: &[u8] =
    b"-ERR a subscriber of the topic does not read: the message was not published\r\n";
/// How many messages are written in one go.
const MESSAGES: usize = 256;

/// What is to be done before the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Wait for more bytes.
    Read,
    /// Write the pieces of answers.
    Write,
    /// Wait a little.
    Wait,
    /// Write the answers, and end.
    Close,
}

/// A client, and what has come of its next request.
#[derive(Debug)]
pub(super) struct Connection {
    redis: Rc<Redis>,
    client: Client,
    /// A long request that is being read.
    long: Option<Box<Long>>,
    /// A long request that was read, and is to be executed.
    ready: Option<Arguments<'static>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(long) = self.long.take() {
            self.redis.arriving.set(self.redis.arriving.get() - long.held());
        }
        if let Some(listener) = self.client.listener.take() {
            for channel in &listener.channels {
                self.redis.ignore(channel, self.client.id);
            }
        }
    }
}

impl Connection {
    pub(super) fn new(redis: Rc<Redis>) -> Self {
        let client = Client::new(redis.new_client());
        Self { redis, client, long: None, ready: None }
    }

    /// Executes the requests that these bytes hold. Says how many bytes they had.
    pub(super) fn turn(&mut self, bytes: &[u8], answers: &mut Answers<'_>) -> (usize, Turn) {
        let limits = self.redis.limits();
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            if self.long.is_some() || self.ready.is_some() {
                let (more, turn) = self.turn_long(rest, answers);
                taken += more;
                if let Some(turn) = turn {
                    return (taken, turn);
                }
                continue;
            }
            match parse(rest, &limits) {
                Parsed::Request(arguments, len) => match self.execute(&arguments, answers) {
                    Flow::Continue => taken += len,
                    Flow::Close => return (bytes.len(), Turn::Close),
                    Flow::Again => return (taken, Turn::Wait),
                },
                Parsed::Incomplete => return (taken, Turn::Read),
                Parsed::Long => self.long = Some(Box::new(Long::new())),
                Parsed::Wrong(error) => {
                    answers.raw(&error.answer());
                    return (bytes.len(), Turn::Close);
                }
            }
            if answers.is_late() {
                return (taken, Turn::Write);
            }
        }
    }

    /// The same for a request that is read piece by piece. `None`: there may be another one behind it.
    #[cold]
    fn turn_long(&mut self, bytes: &[u8], answers: &mut Answers<'_>) -> (usize, Option<Turn>) {
        let mut taken = 0;
        if let Some(long) = &mut self.long {
            let (limits, before) = (self.redis.limits(), long.held());
            let most = self.redis.free_memory().saturating_add(before);
            let (more, progress) = long.take(bytes, &limits, most);
            let held = long.held();
            self.redis.arriving.set(self.redis.arriving.get() + held - before);
            taken = more;
            match progress {
                Progress::Going => return (taken, Some(Turn::Read)),
                Progress::Wrong(error) => {
                    answers.raw(&error.answer());
                    return (bytes.len(), Some(Turn::Close));
                }
                Progress::Whole(arguments, memory) => {
                    self.long = None;
                    self.redis.arriving.set(self.redis.arriving.get() - held);
                    if memory == Memory::Refused {
                        Call::refuse(answers);
                    } else {
                        self.ready = Some(arguments);
                    }
                }
            }
        }
        let turn =
            self.ready.take().and_then(|arguments| match self.execute(&arguments, answers) {
                Flow::Continue => None,
                Flow::Close => Some(Turn::Close),
                Flow::Again => {
                    self.ready = Some(arguments);
                    Some(Turn::Wait)
                }
            });
        (taken, turn.or(answers.is_late().then_some(Turn::Write)))
    }

    #[inline]
    fn execute(&mut self, arguments: &Arguments<'_>, answers: &mut Answers<'_>) -> Flow {
        let (service, client) = (&*self.redis, &mut self.client);
        arguments.with(|arguments| {
            if arguments.is_empty() {
                return Flow::Continue;
            }
            Call { service, client, arguments, answers }.execute()
        })
    }

    /// Whether nothing of a request has come.
    fn is_idle(&self) -> bool {
        self.long.is_none()
    }

    fn mailbox(&self) -> Option<Rc<Mailbox>> {
        self.client.listener.as_ref().map(|listener| Rc::clone(&listener.mailbox))
    }
}

/// A subscriber does not read: more messages wait for it than it may keep waiting.
#[derive(Debug, thiserror::Error)]
#[error("a subscriber keeps more than {limit} bytes of messages waiting, and was let go")]
struct Overrun {
    limit: usize,
}

/// Serves a client until it ends, or until it keeps too many messages waiting.
pub(super) async fn serve(redis: Rc<Redis>, mut socket: Socket) -> Result<(), SocketError> {
    let (input, output) = socket.split();
    let idle = input.idle_timeout();
    let mut connection = Connection::new(redis);
    let mut pieces = Pieces::default();
    // Since when there is no room for a message.
    let mut waiting = None;
    loop {
        let (taken, turn) = {
            let bytes = input.buffered();
            connection.turn(bytes, &mut Answers::new(Some(&mut *output), &mut pieces))
        };
        input.consume(taken);
        if taken > 0 || turn != Turn::Wait {
            waiting = None;
        }
        connection.redis.start_sweeping();
        let mailbox = connection.mailbox();
        if !pieces.is_empty() {
            guard(mailbox.as_deref(), pieces.write(output)).await?;
        }
        match turn {
            Turn::Write => {}
            Turn::Wait => {
                // The answers so far are not held back; and a client that has gone does not stay for ever.
                guard(mailbox.as_deref(), output.flush()).await?;
                let since = waiting.get_or_insert_with(Instant::now).elapsed();
                if idle.is_some_and(|idle| since >= idle) {
                    return output.write_all(UNREAD).await;
                }
                crate::sleep(AGAIN).await;
            }
            // The answers are sent by the runtime.
            Turn::Close => return Ok(()),
            Turn::Read => {
                let goes_on = match &mailbox {
                    None => read(connection.is_idle(), input).await?,
                    Some(mailbox) => {
                        let goes_on = listen(&connection, mailbox, input, output).await?;
                        input.set_idle_timeout(idle);
                        // The messages that were there come before the answers.
                        send(mailbox, output).await?;
                        goes_on
                    }
                };
                if !goes_on {
                    return Ok(());
                }
            }
        }
    }
}

/// Waits for more bytes. `false`: none will come.
async fn read(is_idle: bool, input: &mut Input) -> Result<bool, SocketError> {
    if is_idle && input.is_empty() {
        input.next_request().await
    } else {
        Ok(input.fill().await? > 0)
    }
}

/// Waits for more bytes, and writes messages meanwhile. `false`: the connection is to end.
async fn listen(
    connection: &Connection,
    mailbox: &Mailbox,
    input: &mut Input,
    output: &mut Output,
) -> Result<bool, SocketError> {
    let idle = input.idle_timeout();
    loop {
        input.set_idle_timeout(idle);
        send(mailbox, output).await?;
        guard(Some(mailbox), output.flush()).await?;
        let is_idle = connection.is_idle();
        if is_idle && input.is_empty() && connection.client.listens() {
            // Who listens has nothing to say.
            input.set_idle_timeout(None);
        }
        let any = poll_fn(|context| mailbox.poll_any(context));
        if let Some(goes_on) = either(read(is_idle, input), any).await {
            return goes_on;
        }
    }
}

/// Writes the messages that are there.
async fn send(mailbox: &Mailbox, output: &mut Output) -> Result<(), SocketError> {
    while !mailbox.is_empty() {
        let (mut pieces, mut bytes) = (Pieces::default(), 0);
        for message in core::iter::from_fn(|| mailbox.take()).take(MESSAGES) {
            bytes += message.len();
            pieces.push_shared(message);
        }
        guard(Some(mailbox), pieces.write(output)).await?;
        mailbox.sent(bytes);
    }
    mailbox.check()
}

/// Waits for a write, but no longer than there is room for the messages that wait behind it.
async fn guard(
    mailbox: Option<&Mailbox>,
    write: impl Future<Output = Result<(), SocketError>>,
) -> Result<(), SocketError> {
    let Some(mailbox) = mailbox else { return write.await };
    let overrun = poll_fn(|context| mailbox.poll_overrun(context));
    either(write, overrun).await.unwrap_or_else(|| mailbox.check())
}

impl Mailbox {
    fn check(&self) -> Result<(), SocketError> {
        if self.is_overrun() {
            return Err(SocketError::service(Overrun { limit: self.most() }));
        }
        Ok(())
    }
}

/// Waits for either of two. `None`: it was the second; the first is dropped.
async fn either<T>(first: impl Future<Output = T>, second: impl Future<Output = ()>) -> Option<T> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|context| {
        if let Poll::Ready(value) = first.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        second.as_mut().poll(context).map(|()| None)
    })
    .await
}
