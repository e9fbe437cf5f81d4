//! The messages of a consumer, which are asked for ahead.
//!
//! All requests have one inbox, and a request is made when those before it are answered by half: so the server always has
//! one, and never waits for the next. Whatever happens to a request, the server says how much of it is left, or it says
//! nothing any more; in the second case, and whenever it refuses one, the consumer has to be made anew.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{self, PullConsumer};
use async_nats::{Client, Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use serde_json::json;

use crate::progress::Progress;
use crate::stop::Stop;
use crate::stream::{Fault, Track};

/// How many messages the server may send ahead.
pub(super) const AHEAD: usize = 2048;
/// How many messages a request is for.
const BATCH: usize = AHEAD / 2;
/// The same, where hosts share the consumer: what one of them was sent, and has yet to work on, no other one gets.
const SHARED_BATCH: usize = 128;
/// How many bytes it is for, at most. A message of a server's usual limit, which is 1 MiB, fits in with its headers.
const BATCH_BYTES: usize = 2 << 20;
/// For how long a request stands.
const EXPIRES: Duration = Duration::from_secs(30);
/// The server gives a sign of life so often. Without two of them, it has forgotten the requests, or is gone.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// What has come.
pub(super) enum Arrival {
    Message(Message),
    /// Nothing, so far.
    Nothing,
    /// Nothing comes any more.
    End,
}

/// Requests to a consumer, and what comes of them.
pub(super) struct Pull {
    client: Client,
    /// Where requests go.
    api: Subject,
    inbox: Subject,
    messages: Subscriber,
    request: Bytes,
    /// How many messages a request is for, and how many bytes.
    batch: usize,
    bytes: Option<usize>,
    /// How many messages were asked for and have not come.
    due: usize,
    /// How many bytes have come since the last request.
    since: usize,
    /// Whether the next message is larger than a request.
    is_large: bool,
    reconnects: u64,
}

impl Pull {
    /// Begins to ask a consumer.
    ///
    /// A request to one that hosts share has no limit of bytes. Where that ends a request, and the next message is one that
    /// comes again, a server of version 2.9 delivers another one twice, as if it came for the first time.
    pub(super) async fn begin(
        track: &Track,
        consumer: &PullConsumer,
        is_shared: bool,
        progress: &Progress,
    ) -> Result<Self, Fault> {
        let consumer::Info { name, config, .. } = consumer.cached_info();
        let (client, reconnects) = (track.client.clone(), progress.reconnects.get());
        let inbox = Subject::from(client.new_inbox());
        let messages = client.subscribe(inbox.clone()).await.map_err(|_| Fault::Away)?;
        // One that was there may have limits, which somebody has set.
        let most = |limit: i64| usize::try_from(limit).ok().filter(|limit| *limit > 0);
        let batch = if is_shared { SHARED_BATCH } else { BATCH };
        let batch = batch.min(most(config.max_batch).unwrap_or(batch));
        let bytes = BATCH_BYTES.min(most(config.max_bytes).unwrap_or(BATCH_BYTES));
        let expires = match config.max_expires {
            Duration::ZERO => EXPIRES,
            limit => EXPIRES.min(limit),
        };
        let mut request = json!({
            "batch": batch,
            "expires": expires.as_nanos() as u64,
            "idle_heartbeat": HEARTBEAT.min(expires / 2).as_nanos() as u64,
        });
        let bytes = (!is_shared).then_some(bytes);
        if let Some(bytes) = bytes {
            request["max_bytes"] = json!(bytes);
        }
        Ok(Self {
            client,
            api: format!("$JS.API.CONSUMER.MSG.NEXT.{}.{name}", track.name).into(),
            inbox,
            messages,
            request: request.to_string().into(),
            batch,
            bytes,
            due: 0,
            since: 0,
            is_large: false,
            reconnects,
        })
    }

    /// The next message, which it waits for; `None` if nothing comes any more.
    pub(super) async fn next(&mut self, progress: &Progress) -> Option<Message> {
        let mut heard = Instant::now();
        loop {
            self.ask(progress).await?;
            match tokio::time::timeout(Stop::SLICE, self.messages.next()).await {
                Ok(message) => match self.arrival(message) {
                    Arrival::Message(message) => return Some(message),
                    Arrival::Nothing => heard = Instant::now(),
                    Arrival::End => return None,
                },
                Err(_) if heard.elapsed() > 2 * HEARTBEAT => return None,
                Err(_) => {}
            }
        }
    }

    /// What has come already.
    pub(super) fn try_next(&mut self) -> Arrival {
        while let Some(message) = self.messages.next().now_or_never() {
            match self.arrival(message) {
                Arrival::Nothing => {}
                arrival => return arrival,
            }
        }
        Arrival::Nothing
    }

    /// Asks for more, if half of it has come; `None` if the client is closed.
    async fn ask(&mut self, progress: &Progress) -> Option<()> {
        let reconnects = progress.reconnects.get();
        if reconnects != self.reconnects {
            // The server may have forgotten what it was asked for before.
            (self.reconnects, self.due) = (reconnects, 0);
        }
        let mut asked = false;
        while self.due <= self.batch
            || self.is_large
            || self.bytes.is_some_and(|bytes| self.since >= bytes)
        {
            let (request, messages) = match self.is_large {
                // An empty request is for one message, whatever its size.
                true => (Bytes::new(), 1),
                false => (self.request.clone(), self.batch),
            };
            let (api, inbox) = (self.api.clone(), self.inbox.clone());
            self.client.publish_with_reply(api, inbox, request).await.ok()?;
            self.due += messages;
            (self.since, self.is_large, asked) = (0, false, true);
        }
        if asked {
            // The client's own task writes to the socket.
            tokio::task::yield_now().await;
        }
        Some(())
    }

    /// What a message of the inbox is: one of the stream, or something that the server says of a request.
    fn arrival(&mut self, message: Option<Message>) -> Arrival {
        let Some(message) = message else { return Arrival::End };
        match message.status {
            None | Some(StatusCode::OK) => {
                self.due = self.due.saturating_sub(1);
                self.since += message.length;
                Arrival::Message(message)
            }
            Some(StatusCode::IDLE_HEARTBEAT) => Arrival::Nothing,
            Some(StatusCode::TIMEOUT | StatusCode::REQUEST_TERMINATED) => self.end_of(&message),
            Some(_) => Arrival::End,
        }
    }

    /// A request has ended: after its time, or because the next message is larger than what is left of it. Whatever else may
    /// have ended it, such as the end of the consumer, the server does not say what is left.
    fn end_of(&mut self, message: &Message) -> Arrival {
        let number = |name: &str| -> Option<usize> {
            message.headers.as_ref()?.get(name)?.as_str().parse().ok()
        };
        let Some(left) = number("Nats-Pending-Messages") else { return Arrival::End };
        self.due = self.due.saturating_sub(left);
        let is_whole = self.bytes.is_some() && number("Nats-Pending-Bytes") == self.bytes;
        self.is_large |= is_whole && message.status == Some(StatusCode::REQUEST_TERMINATED);
        Arrival::Nothing
    }
}
