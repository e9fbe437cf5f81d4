//! Consumers that somebody has made, with settings that no bridge can work with.

mod kit;

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull, push};
use kit::{Bridge, Jet, Producer, Server, Shape};
use testing::Unique;

const STREAM: &str = "ODD";

/// A server whose stream has messages.
fn filled() -> Server {
    let (server, here) = (Server::start(), Unique::new("odd-a"));
    let mut producer = Producer::start(&here, Shape::of_length(100), 300);
    let mut out = Bridge::out(&here, &server.url(), STREAM, &["--quiet"]);
    producer.finish();
    out.wait().with(0);
    server
}

/// What a bridge says of the consumer whose name it was given.
#[track_caller]
fn refuses(server: &Server, words: &[&str]) {
    let there = Unique::new("odd-b");
    let more = ["--quiet", "--group", "workers"];
    let mut into = Bridge::into(&there, &server.url(), STREAM, &more);
    let line = into.wait().badly(words);
    assert!(line.contains("choose another group"), "{line}");
}

#[test]
fn a_consumer_that_a_bridge_cannot_work_with_is_refused() {
    let shared = pull::Config {
        durable_name: Some("workers".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(30),
        ..pull::Config::default()
    };
    // Its messages come as if they were empty, or not at all.
    let odd = [
        ("headers only", pull::Config { headers_only: true, ..shared.clone() }),
        ("max waiting", pull::Config { max_waiting: 1, ..shared }),
    ];
    let server = filled();
    let jet = Jet::new(server.url());
    for (word, config) in odd {
        jet.create_consumer(STREAM, config);
        refuses(&server, &[STREAM, "workers", word]);
        assert_eq!(jet.delete_consumers(STREAM), 1);
    }
}

#[test]
fn a_consumer_that_pushes_is_refused() {
    let server = filled();
    let config = push::Config {
        durable_name: Some("workers".to_owned()),
        deliver_subject: "somewhere".to_owned(),
        ..push::Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = async_nats::connect(server.url()).await.unwrap();
        let jet = async_nats::jetstream::new(client);
        drop(jet.create_consumer_on_stream(config, STREAM).await.unwrap());
    });
    refuses(&server, &[STREAM, "workers", "expected kind pull, found push"]);
}
