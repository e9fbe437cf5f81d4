//! Consumers and streams that somebody has made, with settings that not every bridge can work with.

mod kit;

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull, push};
use async_nats::jetstream::stream;
use kit::{Bridge, Consumer, DEADLINE, Jet, Producer, Server, Shape};
use testing::{Unique, within};

const STREAM: &str = "ODD";
const COUNT: u64 = 300;

/// A server whose stream has messages.
fn filled() -> Server {
    let (server, here) = (Server::start(), Unique::new("odd-a"));
    let mut producer = Producer::start(&here, Shape::of_length(100), COUNT);
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
    assert!(!there.exists(), "a queue was made");
}

#[test]
fn a_consumer_that_a_bridge_cannot_work_with_is_refused() {
    let shared = pull::Config {
        durable_name: Some("workers".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(30),
        ..pull::Config::default()
    };
    let short = Duration::from_secs(29);
    let odd = [
        // Its messages come as if they were empty, or not at all.
        ("headers only", pull::Config { headers_only: true, ..shared.clone() }),
        ("max waiting", pull::Config { max_waiting: 1, ..shared.clone() }),
        // A message is given to another host while this one works on it, or is given up.
        (
            "ack wait of at least 30 s, found 29s",
            pull::Config { ack_wait: short, ..shared.clone() },
        ),
        ("max deliver", pull::Config { max_deliver: 5, ..shared.clone() }),
        // One acknowledgement is for all messages before it, which other hosts may work on.
        ("ack policy", pull::Config { ack_policy: AckPolicy::All, ..shared.clone() }),
    ];
    let server = filled();
    let jet = Jet::new(server.url());
    for (word, config) in odd {
        jet.create_consumer(STREAM, config);
        refuses(&server, &[STREAM, "workers", word]);
        assert_eq!(jet.delete_consumers(STREAM), 1);
    }
    // Such a consumer is only refused for what is odd.
    jet.create_consumer(STREAM, shared);
    let there = Unique::new("odd-b");
    let mut into = Bridge::into(&there, &server.url(), STREAM, &["--group", "workers"]);
    let consumer = Consumer::of(&there, Shape::of_length(100)).sharing().start();
    within(DEADLINE, "all is done", || consumer.taken().len() as u64 == COUNT);
    into.terminate().with(143);
}

/// A stream that forgets a message when somebody has acknowledged it is for hosts that share work.
#[test]
fn a_work_queue_is_for_a_group() {
    let (server, shape) = (Server::start(), Shape::of_length(100));
    let (here, there) = (Unique::new("work-a"), Unique::new("work-b"));
    let url = server.url();
    Jet::new(&url).create(stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["fanout.ODD".to_owned()],
        retention: stream::RetentionPolicy::WorkQueue,
        ..stream::Config::default()
    });
    let mut producer = Producer::start(&here, shape, COUNT);
    let mut out = Bridge::out(&here, &url, STREAM, &["--quiet"]);
    Bridge::into(&there, &url, STREAM, &["--quiet"]).wait().badly(&[
        STREAM,
        "workqueue",
        "--group",
    ]);
    let mut into = Bridge::into(&there, &url, STREAM, &["--group", "workers"]);
    let consumer = Consumer::of(&there, shape).sharing().start();
    producer.finish();
    out.wait().with(0);
    within(DEADLINE, "all is done", || consumer.taken().len() as u64 == COUNT);
    into.terminate().with(143);
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
