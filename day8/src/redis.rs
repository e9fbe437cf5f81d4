//! A part of Redis: keys and values in memory, and channels, for any client that speaks RESP2.
//!
//! Its commands are PING, ECHO, SET, GET, DEL, EXISTS, INCR, MGET, MSET, EXPIRE, TTL, DBSIZE, FLUSHALL, CONFIG GET,
//! COMMAND, HELLO, CLIENT (ID, GETNAME, SETNAME), QUIT, SUBSCRIBE, UNSUBSCRIBE and PUBLISH. Their answers are those of
//! Redis 7, byte for byte; any other command is unknown to it, and it says so in Redis's words.
//!
//! With a [topic space](RedisOptions::topics), channels are topics: what is published in the space by any process
//! arrives at subscribers of this service, and the other way round. A channel whose name is no
//! [`Topic`](day7::topics::Topic)'s is one of this service only.
//!
//! Nothing is stored on a disk, and nobody is asked for a password: a client that can connect may do everything.
//!
//! # What it costs to connect
//!
//! A request is read where it lies in the socket's buffer. One that is longer than that is read piece by piece, and has
//! memory for what has come of it, not for what was announced. What clients have sent of such requests counts as used
//! memory, as keys and values do. A subscriber that does not read is closed when
//! [more than so much](RedisOptions::subscriber_limit) waits for it.

use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::rc::Rc;

use common::QueueName;
use day7::topics::JoinSpaceError;

use crate::{Service, Socket, SocketError};

mod answers;
mod channels;
mod command;
mod connection;
mod glob;
mod inline;
mod long;
mod number;
mod request;
mod store;
#[cfg(test)]
mod tests;
mod topics;

use channels::{Bytes, Channels, Mailbox};
use request::Limits;
use store::Store;
use topics::{ListenError, Topics, Unpublished};

/// The most arguments that a request may have.
const MOST_ARGUMENTS: usize = 1 << 20;
/// How often keys that have expired are looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// How many keys a sweep looks at, or frees, before others have their turn.
const PORTION: usize = 256;
/// How many portions a sweep has each time, at most; more, while it finds many that have expired.
const PORTIONS: usize = 64;

/// What a Redis service may use.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    memory: usize,
    argument: usize,
    subscriber: usize,
    topics: Option<QueueName>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { memory: 1 << 30, argument: 64 << 20, subscriber: 32 << 20, topics: None }
    }
}

impl RedisOptions {
    /// 1 GiB for keys and values; arguments of up to 64 MiB; up to 32 MiB that wait for one subscriber; no topics.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes keys and values may have, with requests that are being read. 0: as many as there are.
    #[must_use]
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// How many bytes one argument of a request may have: a value, above all.
    #[must_use]
    pub fn longest_argument(mut self, bytes: usize) -> Self {
        self.argument = bytes;
        self
    }

    /// How many bytes of messages may wait for one subscriber. It is closed when there are more.
    #[must_use]
    pub fn subscriber_limit(mut self, bytes: usize) -> Self {
        self.subscriber = bytes;
        self
    }

    /// Whose topics the channels are.
    #[must_use]
    pub fn topics(mut self, space: QueueName) -> Self {
        self.topics = Some(space);
        self
    }
}

/// A Redis service. All of its connections have the same keys and channels.
#[derive(Debug)]
pub struct Redis {
    options: RedisOptions,
    store: RefCell<Store>,
    channels: Rc<RefCell<Channels>>,
    topics: Option<Topics>,
    /// How many bytes of long requests have come.
    arriving: Cell<usize>,
    next_client: Cell<i64>,
    is_sweeping: Cell<bool>,
}

impl Redis {
    /// A service without a key.
    ///
    /// # Errors
    ///
    /// [`JoinSpaceError`]: the topic space could not be opened.
    pub fn new(options: &RedisOptions) -> Result<Self, JoinSpaceError> {
        let topics = options.topics.as_ref().map(Topics::open).transpose()?;
        Ok(Self {
            options: options.clone(),
            store: RefCell::default(),
            channels: Rc::default(),
            topics,
            arriving: Cell::new(0),
            next_client: Cell::new(1),
            is_sweeping: Cell::new(false),
        })
    }

    fn limits(&self) -> Limits {
        Limits { argument: self.options.argument, arguments: MOST_ARGUMENTS }
    }

    fn subscriber_limit(&self) -> usize {
        self.options.subscriber
    }

    fn new_client(&self) -> i64 {
        let client = self.next_client.get();
        self.next_client.set(client + 1);
        client
    }

    /// How many bytes may be added.
    fn free_memory(&self) -> usize {
        match self.options.memory {
            0 => usize::MAX,
            most => most.saturating_sub(self.store.borrow().used() + self.arriving.get()),
        }
    }

    /// Whether what a request holds may be added.
    fn has_memory_for(&self, arguments: &[&[u8]]) -> bool {
        self.options.memory == 0 || {
            let needed: usize = arguments.iter().map(|argument| argument.len()).sum();
            needed <= self.free_memory()
        }
    }

    /// What CONFIG GET tells.
    fn parameters(&self) -> [(&'static str, String); 10] {
        let Self { options, .. } = self;
        let subscriber = options.subscriber;
        [
            ("appendonly", "no".to_owned()),
            (
                "client-output-buffer-limit",
                format!("normal 0 0 0 slave 0 0 0 pubsub {subscriber} 0 0"),
            ),
            ("databases", "1".to_owned()),
            ("maxmemory", options.memory.to_string()),
            ("maxmemory-policy", "noeviction".to_owned()),
            ("proto-max-bulk-len", options.argument.to_string()),
            ("requirepass", String::new()),
            ("save", String::new()),
            ("io-threads", "1".to_owned()),
            ("cluster-enabled", "no".to_owned()),
        ]
    }

    /// From now on, this client hears the channel.
    fn listen(
        &self,
        channel: &Bytes,
        client: i64,
        mailbox: &Rc<Mailbox>,
    ) -> Result<(), ListenError> {
        if let Some(topics) = &self.topics
            && !self.channels.borrow().contains(channel)
        {
            topics.listen(channel, &self.channels)?;
        }
        self.channels.borrow_mut().add(channel, client, mailbox);
        Ok(())
    }

    /// It does so no longer.
    fn ignore(&self, channel: &Bytes, client: i64) {
        self.channels.borrow_mut().remove(channel, client);
        if let Some(topics) = &self.topics
            && !self.channels.borrow().contains(channel)
        {
            topics.ignore(channel);
        }
    }

    /// Delivers a message to all subscribers, and says how many there are.
    fn publish(&self, channel: &[u8], payload: &[u8]) -> Result<usize, Unpublished> {
        let elsewhere = match &self.topics {
            Some(topics) => topics.publish(channel, payload)?,
            None => 0,
        };
        Ok(elsewhere + self.channels.borrow().publish(channel, payload))
    }

    /// Has what can be put off done later, if there is any.
    fn start_sweeping(self: &Rc<Self>) {
        if self.is_sweeping.get() || !self.store.borrow().needs_sweep() {
            return;
        }
        // Without a coroutine, keys expire when they are asked for; the next request tries again.
        self.is_sweeping.set(crate::spawn(Rc::clone(self).sweep()).is_ok());
    }

    async fn sweep(self: Rc<Self>) {
        while self.store.borrow().needs_sweep() && !crate::is_shutting_down() {
            let mut portions = PORTIONS;
            while portions > 0 {
                let swept = self.store.borrow_mut().sweep(PORTION);
                // While there is much to do, the sweep goes on.
                let is_worth_it = swept.freed > 0 || swept.expired > swept.looked / 4;
                portions -= usize::from(!is_worth_it);
                crate::yield_now().await;
            }
            crate::sleep(SWEEP_EVERY).await;
        }
        self.is_sweeping.set(false);
    }
}

impl Service for Redis {
    async fn serve(self: Rc<Self>, socket: Socket) -> Result<(), SocketError> {
        connection::serve(self, socket).await
    }
}
