//! The client by itself: a publisher to a stream, and a consumer of it, as good as they can be made.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use async_nats::jetstream::consumer::pull::Config as PullConfig;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::context::traits::Publisher;
use async_nats::jetstream::message::OutboundMessage;
use async_nats::jetstream::{self, ContextBuilder};
use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::{Builder, Runtime};

use crate::load::{Bare, Load, PULL};
use crate::message::{Author, Checker};
use crate::part::{Usage, wait_for_go};

/// Publishes the load.
pub(crate) fn publish(load: &Load, bare: Bare) -> anyhow::Result<Usage> {
    let runtime = runtime()?;
    let client = runtime.block_on(connect(load))?;
    let outbox = Outbox::new(load, bare);
    match bare {
        _ if load.rate.is_some() => paced(runtime, client, load, outbox),
        Bare::Documented => runtime.block_on(futures(client, load, outbox)),
        _ => runtime.block_on(inbox(client, load, outbox)),
    }
}

/// Receives the load, and checks it.
pub(crate) fn consume(load: &Load, bare: Bare) -> anyhow::Result<Usage> {
    runtime()?.block_on(async {
        let client = connect(load).await?;
        match bare {
            Bare::Documented => stream(client, load).await,
            _ => requests(client, load).await,
        }
    })
}

fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

async fn connect(load: &Load) -> anyhow::Result<Client> {
    let servers: Vec<&str> = load.url.split(',').collect();
    async_nats::connect(servers).await.context("connecting")
}

/// The messages that are to be published, with their headers.
struct Outbox {
    subject: Subject,
    bare: Bare,
    author: Author,
    messages: u64,
    size: usize,
    /// Room for messages that are to be written.
    room: BytesMut,
}

/// How many bytes are allocated at once.
const ROOM: usize = 1 << 16;

/// What is published.
struct Letter {
    payload: Bytes,
    headers: Option<HeaderMap>,
    /// Whether the publisher asks for an acknowledgement.
    asks: bool,
}

impl Outbox {
    fn new(load: &Load, bare: Bare) -> Self {
        let Load { messages, size, .. } = *load;
        let (subject, author) = (Subject::from(load.subject()), Author::new(load));
        Self { subject, bare, author, messages, size, room: BytesMut::new() }
    }

    fn is_empty(&self) -> bool {
        self.author.written() == self.messages
    }

    fn next(&mut self) -> anyhow::Result<Letter> {
        if self.room.is_empty() {
            self.room = BytesMut::zeroed(ROOM.max(self.size) / self.size * self.size);
        }
        let headers = self.bare.headers(self.author.written());
        let mut payload = self.room.split_to(self.size);
        self.author.write(&mut payload)?;
        let asks = self.author.written().is_multiple_of(self.bare.asks_every()) || self.is_empty();
        Ok(Letter { payload: payload.freeze(), headers, asks })
    }

    /// Publishes the next message, and has its acknowledgement sent to `reply`.
    async fn publish(&mut self, client: &Client, reply: &Subject) -> anyhow::Result<()> {
        let Letter { payload, headers, asks } = self.next()?;
        let subject = self.subject.clone();
        match (headers, asks.then(|| reply.clone())) {
            (Some(headers), Some(reply)) => {
                client.publish_with_reply_and_headers(subject, reply, headers, payload).await?;
            }
            (Some(headers), None) => client.publish_with_headers(subject, headers, payload).await?,
            (None, Some(reply)) => client.publish_with_reply(subject, reply, payload).await?,
            (None, None) => client.publish(subject, payload).await?,
        }
        Ok(())
    }
}

/// Each message has a future for its acknowledgement.
async fn futures(client: Client, load: &Load, mut outbox: Outbox) -> anyhow::Result<Usage> {
    let window = load.window as usize;
    let context = ContextBuilder::new().max_ack_inflight(2 * window).build(client);
    let mut waiting: VecDeque<PublishAckFuture> = VecDeque::with_capacity(window);
    let start = wait_for_go()?;
    while !outbox.is_empty() {
        let Letter { payload, headers, .. } = outbox.next()?;
        let message = OutboundMessage { subject: outbox.subject.clone(), payload, headers };
        waiting.push_back(context.publish_message(message).await?);
        if waiting.len() == window {
            let oldest = waiting.pop_front().context("the window is empty")?;
            ensure!(!oldest.await?.duplicate, "a message was there already");
        }
    }
    let mut last = 0;
    for ack in waiting {
        last = ack.await?.sequence;
    }
    ensure!(last == load.messages, "the stream has {last} messages, not {}", load.messages);
    start.end(&outbox.author.tally)
}

/// Acknowledgements come to one inbox. Each says how much is stored.
async fn inbox(client: Client, load: &Load, mut outbox: Outbox) -> anyhow::Result<Usage> {
    let (reply, mut acks) = new_inbox(&client).await?;
    let start = wait_for_go()?;
    let mut stored = 0;
    while !outbox.is_empty() {
        outbox.publish(&client, &reply).await?;
        while let Some(ack) = acks.next().now_or_never() {
            stored = sequence_of(ack)?;
        }
        while outbox.author.written() - stored >= load.window {
            stored = sequence_of(acks.next().await)?;
        }
    }
    until_stored(&mut acks, load.messages, stored).await?;
    start.end(&outbox.author.tally)
}

/// Each message is published when it is due. The clock of the client's runtime counts milliseconds, so a thread of its own
/// waits for that time.
fn paced(
    runtime: Runtime,
    client: Client,
    load: &Load,
    mut outbox: Outbox,
) -> anyhow::Result<Usage> {
    let (reply, mut acks) = runtime.block_on(new_inbox(&client))?;
    let (handle, messages) = (runtime.handle().clone(), load.messages);
    let driver = thread::spawn(move || runtime.block_on(until_stored(&mut acks, messages, 0)));
    let start = wait_for_go()?;
    while !outbox.is_empty() {
        outbox.author.wait()?;
        handle.block_on(outbox.publish(&client, &reply))?;
    }
    driver.join().map_err(|_| anyhow::anyhow!("the thread of acknowledgements has panicked"))??;
    start.end(&outbox.author.tally)
}

async fn new_inbox(client: &Client) -> anyhow::Result<(Subject, Subscriber)> {
    let reply = Subject::from(client.new_inbox());
    let acks = client.subscribe(reply.clone()).await?;
    client.flush().await?;
    Ok((reply, acks))
}

async fn until_stored(acks: &mut Subscriber, messages: u64, stored: u64) -> anyhow::Result<()> {
    let mut stored = stored;
    while stored < messages {
        stored = sequence_of(acks.next().await)?;
    }
    Ok(())
}

/// The sequence in the stream that an acknowledgement names.
fn sequence_of(ack: Option<Message>) -> anyhow::Result<u64> {
    #[derive(serde::Deserialize)]
    struct Ack {
        seq: Option<u64>,
        #[serde(default)]
        duplicate: bool,
    }
    let ack = ack.context("the connection is gone")?;
    let text = || format!("the server said {}", String::from_utf8_lossy(&ack.payload));
    let parsed: Ack = serde_json::from_slice(&ack.payload).with_context(text)?;
    ensure!(!parsed.duplicate, text());
    parsed.seq.with_context(text)
}

/// A consumer without acknowledgements, in the server's memory.
async fn ephemeral(client: &Client, load: &Load) -> anyhow::Result<PullConsumer> {
    let config = PullConfig {
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: Duration::from_secs(60),
        ..PullConfig::default()
    };
    let context = jetstream::new(client.clone());
    Ok(context.create_consumer_on_stream(config, &load.stream).await?)
}

/// The client's own stream of messages.
async fn stream(client: Client, load: &Load) -> anyhow::Result<Usage> {
    let consumer = ephemeral(&client, load).await?;
    let mut messages = consumer.stream().max_messages_per_batch(PULL).messages().await?;
    let mut checker = Checker::new(load);
    let start = wait_for_go()?;
    while checker.lacks() {
        let message = messages.next().await.context("the consumer is gone")??;
        checker.take(&message.payload)?;
    }
    start.end_checked(checker)
}

/// Requests of our own, two of them always, so that the server never waits for one.
async fn requests(client: Client, load: &Load) -> anyhow::Result<Usage> {
    let consumer = ephemeral(&client, load).await?;
    let name = &consumer.cached_info().name;
    let next = Subject::from(format!("$JS.API.CONSUMER.MSG.NEXT.{}.{name}", load.stream));
    let reply = Subject::from(client.new_inbox());
    let mut messages = client.subscribe(reply.clone()).await?;
    let request = Bytes::from(format!("{{\"batch\":{PULL},\"expires\":60000000000}}"));
    let ask = || client.publish_with_reply(next.clone(), reply.clone(), request.clone());
    let mut checker = Checker::new(load);
    let start = wait_for_go()?;
    ask().await?;
    let mut left = 0;
    while checker.lacks() {
        if left == 0 {
            ask().await?;
            left = PULL;
        }
        let message = messages.next().await.context("the consumer is gone")?;
        if let Some(status) = message.status {
            bail!("the server said {status} {:?}", message.description);
        }
        checker.take(&message.payload)?;
        left -= 1;
    }
    start.end_checked(checker)
}
