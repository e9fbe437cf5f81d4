//! A hand on the server's streams, as an operator has it.

use std::future::Future;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::{self, Context, consumer, stream};
use futures_util::StreamExt;

use super::bound::DEADLINE;

/// Does something to streams. Each call has a connection of its own, so that a server may be restarted in between.
#[derive(Clone, Debug)]
pub(crate) struct Jet {
    url: String,
}

/// A message as it lies in a stream.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) sequence: u64,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Vec<u8>,
}

impl Stored {
    /// The text of this header, if it is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.as_str())
    }
}

impl Jet {
    /// Of these servers.
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }

    #[track_caller]
    fn with<T, F: Future<Output = T>>(&self, work: impl FnOnce(Context) -> F) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let done = runtime.block_on(async {
            let servers: Vec<&str> = self.url.split(',').collect();
            let work =
                async { work(jetstream::new(async_nats::connect(servers).await.unwrap())).await };
            tokio::time::timeout(DEADLINE, work).await
        });
        done.unwrap_or_else(|_| panic!("the server does not answer"))
    }

    /// Creates a stream.
    #[track_caller]
    pub(crate) fn create(&self, config: stream::Config) {
        self.with(async |jet| drop(jet.create_stream(config).await.unwrap()));
    }

    /// What the server says about a stream, if there is one.
    #[track_caller]
    pub(crate) fn info(&self, stream: &str) -> Option<stream::Info> {
        self.with(async |jet| Some(jet.get_stream(stream).await.ok()?.cached_info().clone()))
    }

    /// How many messages it has; none if there is no stream.
    #[track_caller]
    pub(crate) fn messages(&self, stream: &str) -> u64 {
        self.info(stream).map_or(0, |info| info.state.messages)
    }

    /// Changes a stream's configuration.
    #[track_caller]
    pub(crate) fn update(&self, stream: &str, change: impl FnOnce(&mut stream::Config)) {
        self.with(async |jet| {
            let mut config = jet.get_stream(stream).await.unwrap().cached_info().config.clone();
            change(&mut config);
            jet.update_stream(config).await.unwrap();
        });
    }

    /// Removes messages before this sequence of the stream.
    #[track_caller]
    pub(crate) fn purge_before(&self, stream: &str, sequence: u64) {
        self.with(async |jet| {
            let stream = jet.get_stream(stream).await.unwrap();
            stream.purge().sequence(sequence).await.unwrap();
        });
    }

    /// Removes a message.
    #[track_caller]
    pub(crate) fn delete_message(&self, stream: &str, sequence: u64) {
        self.with(async |jet| {
            let stream = jet.get_stream(stream).await.unwrap();
            assert!(stream.delete_message(sequence).await.unwrap());
        });
    }

    /// Removes a stream.
    #[track_caller]
    pub(crate) fn delete(&self, stream: &str) {
        let deleted = self.with(async |jet| jet.delete_stream(stream).await.unwrap());
        assert!(deleted.success);
    }

    /// Creates a consumer of a stream.
    #[track_caller]
    pub(crate) fn create_consumer(&self, stream: &str, config: consumer::pull::Config) {
        self.with(async |jet| drop(jet.create_consumer_on_stream(config, stream).await.unwrap()));
    }

    /// Deletes all consumers of a stream. Says how many there were.
    #[track_caller]
    pub(crate) fn delete_consumers(&self, stream: &str) -> usize {
        self.with(async |jet| {
            let stream = jet.get_stream(stream).await.unwrap();
            let names: Vec<_> = stream.consumer_names().collect().await;
            for name in &names {
                stream.delete_consumer(name.as_ref().unwrap()).await.unwrap();
            }
            names.len()
        })
    }

    /// Publishes a message that no bridge has sent.
    #[track_caller]
    pub(crate) fn publish(&self, subject: &str, headers: HeaderMap, payload: &[u8]) {
        let (subject, payload) = (subject.to_owned(), payload.to_vec());
        self.with(async |jet| {
            let sent = jet.publish_with_headers(subject, headers, payload.into()).await.unwrap();
            sent.await.unwrap();
        });
    }

    /// Sends messages once more, but without the ids by which the server knows them for two minutes. What it says to that is
    /// not looked at.
    #[track_caller]
    pub(crate) fn send_again(&self, messages: &[Stored]) {
        self.with(async |jet| {
            for Stored { subject, headers, payload, .. } in messages.iter().cloned() {
                let headers = headers.iter().filter(|(name, _)| **name != NATS_MESSAGE_ID);
                let headers: HeaderMap = headers
                    .flat_map(|(name, values)| {
                        values.iter().map(move |value| (name.clone(), value.clone()))
                    })
                    .collect();
                let sent = jet.publish_with_headers(subject, headers, payload.into()).await;
                let _ = sent.unwrap().await;
            }
        });
    }

    /// All that a stream has, in order.
    #[track_caller]
    pub(crate) fn all(&self, stream: &str) -> Vec<Stored> {
        self.with(async |jet| {
            let stream = jet.get_stream(stream).await.unwrap();
            let (first, last) = (
                stream.cached_info().state.first_sequence,
                stream.cached_info().state.last_sequence,
            );
            if first > last {
                return Vec::new();
            }
            let config = consumer::pull::OrderedConfig::default();
            let mut messages =
                stream.create_consumer(config).await.unwrap().messages().await.unwrap();
            let mut all = Vec::new();
            while let Some(message) = messages.next().await {
                let message = message.unwrap();
                let sequence = message.info().unwrap().stream_sequence;
                all.push(Stored {
                    subject: message.subject.to_string(),
                    sequence,
                    headers: message.headers.clone().unwrap_or_default(),
                    payload: message.payload.to_vec(),
                });
                if sequence >= last {
                    break;
                }
            }
            all
        })
    }
}
