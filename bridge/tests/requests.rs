//! How a bridge asks the stream for messages: what is larger than a request, what ends a request, and who deletes the
//! consumer.

mod kit;

use std::thread;
use std::thread::sleep;
use std::time::Duration;

use async_nats::jetstream::consumer::AckPolicy;
use async_nats::jetstream::consumer::pull::Config;
use bridge::inbound::{self, InOptions};
use bridge::progress::Progress;
use bridge::server::ServerOptions;
use bridge::stop::Stop;
use bridge::stream::StreamOptions;
use kit::{Bridge, Consumer, DEADLINE, Jet, Producer, Server, Setup, Shape};
use testing::{Unique, within};

const STREAM: &str = "REQUESTS";

/// More than a request is for.
const LARGE: usize = 3 << 20;

/// Packs that are larger than what a bridge asks for at once, between others that are not.
#[test]
fn messages_larger_than_a_request() {
    let server = Server::start_with(&Setup::new().max_payload(8 << 20));
    let (url, shape, count) = (server.url(), Shape::of_lengths(0, 50_000), 1000);
    let (here, there) = (Unique::new("large-a"), Unique::new("large-b"));
    let mut producer = Producer::of(&here, shape, count).capacity(16 << 20).start();
    let mut out = Bridge::out(&here, &url, STREAM, &["--pack", &LARGE.to_string()]);
    producer.until_sent(1);
    out.terminate().with(143);
    // The ring fills, while the bridge keeps its place. So packs are full, too.
    producer.until_sent(500);
    out.restart();
    let mut into = Bridge::into(&there, &url, STREAM, &[]);
    let mut consumer = Consumer::start(&there, shape);
    producer.finish();
    consumer.finish().is_all(shape, count);
    out.wait().with(0);
    into.wait().with(0);
    let sizes: Vec<_> = Jet::new(&url).all(STREAM).iter().map(|one| one.payload.len()).collect();
    let large = sizes.iter().filter(|size| **size > 2 << 20).count();
    assert!(large > 1 && large < sizes.len(), "packs of these sizes: {sizes:?}");
}

/// The bridge makes another consumer, which goes on where the first one was. A request that waits at that moment is answered
/// with an error. A request that comes later gets no answer at all.
#[test]
fn a_consumer_that_somebody_deletes() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 500));
    let (here, there) = (Unique::new("deleted-a"), Unique::new("deleted-b"));
    let (url, rest) = (server.url(), Duration::from_millis(20));
    let mut producer = Producer::of(&here, shape, 1 << 40).resting(rest).start();
    let mut out = Bridge::out(&here, &url, STREAM, &[]);
    let mut into = Bridge::into(&there, &url, STREAM, &["--capacity", "65536"]);
    let mut consumer = Consumer::start(&there, shape);
    let jet = Jet::new(&url);
    for waits in [true, true, true, false] {
        consumer.until(consumer.next() + 200);
        if !waits {
            // The ring fills, and all that was asked for lies in the bridge.
            consumer.freeze();
            let most = consumer.next() + 10_000;
            within(DEADLINE, "more has come", || jet.messages(STREAM) > most);
        }
        assert_eq!(jet.delete_consumers(STREAM), 1);
        if !waits {
            consumer.thaw();
        }
        consumer.until(producer.sent());
    }
    let sent = producer.end();
    consumer.finish().is_all(shape, sent);
    out.wait().with(0);
    into.wait().with(0);
}

/// The server forgets requests, or the bridge believes so, while there is nothing to answer.
#[test]
fn a_server_that_stands_still_while_nothing_comes() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(0, 500), 2000);
    let (here, there) = (Unique::new("still-a"), Unique::new("still-b"));
    let mut producer = Producer::of(&here, shape, count).waiting_for(1).start();
    let mut out = Bridge::out(&here, &server.url(), STREAM, &[]);
    let mut into = Bridge::into(&there, &server.url(), STREAM, &[]);
    let mut consumer = Consumer::start(&there, shape);
    producer.until_drained();
    consumer.until(count);
    for seconds in [3, 6] {
        server.freeze();
        sleep(Duration::from_secs(seconds));
        server.thaw();
        sleep(Duration::from_secs(1));
    }
    assert!(out.is_running() && into.is_running());
    // The end of the queue comes through, too.
    producer.end();
    consumer.finish().is_all(shape, count);
    out.wait().with(0);
    into.wait().with(0);
}

/// Stops a bridge, also when the test fails.
struct Stopping(Stop);

impl Drop for Stopping {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Requests end by themselves, and new ones are made: that is no reason to make the consumer anew. Nor are the limits of a
/// consumer that was there.
#[test]
fn requests_that_end_while_nothing_comes() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(8, 400), 2000);
    let (here, there) = (Unique::new("ends-a"), Unique::new("ends-b"));
    let (url, jet) = (server.url(), Jet::new(server.url()));
    let mut producer = Producer::of(&here, shape, count).waiting_for(1).start();
    let mut out = Bridge::out(&here, &url, STREAM, &[]);
    within(DEADLINE, "there is a stream", || jet.messages(STREAM) > 0);
    jet.create_consumer(
        STREAM,
        Config {
            durable_name: Some("workers".to_owned()),
            ack_policy: AckPolicy::Explicit,
            max_batch: 10,
            max_expires: Duration::from_secs(1),
            ..Config::default()
        },
    );
    let (stop, progress) = (Stopping(Stop::new()), Progress::new());
    let options = InOptions::new((*there).clone(), StreamOptions::new(STREAM)).group("workers");
    thread::scope(|scope| {
        let stopping = Stopping(stop.0.clone());
        let bridge = scope.spawn(|| {
            inbound::carry(&ServerOptions::new(&url), &options, &progress, &stop.0).unwrap()
        });
        let consumer = Consumer::of(&there, shape).sharing().start();
        producer.until_drained();
        let all = || consumer.taken().len() as u64 == count;
        within(DEADLINE, "all is done", all);
        // Longer than a request stands, several times, and longer than the bridge waits for a sign of life.
        sleep(Duration::from_secs(6));
        assert!(!bridge.is_finished());
        assert_eq!(progress.resumptions.get(), 0, "times that the consumer was made anew");
        producer.end();
        out.wait().with(0);
        drop(stopping);
    });
    assert_eq!(progress.messages.get(), count);
}
