//! A server that does not answer, or is gone for a while, and a stream that is full.

mod kit;

use std::thread::sleep;
use std::time::Duration;

use kit::{Bridge, Consumer, Jet, Producer, Server, Shape, in_full_or};
use testing::{Unique, within};

const STREAM: &str = "CUT";

/// Longer than the ring and everything in between has room for.
const RING: u64 = 1 << 16;

/// Waits until the producer can send no more, because its ring is full.
fn until_blocked(producer: &Producer) {
    let mut sent = producer.sent();
    within(kit::DEADLINE, "the producer waits", || {
        sleep(Duration::from_millis(500));
        let before = std::mem::replace(&mut sent, producer.sent());
        sent == before
    });
}

struct Chain {
    producer: Producer,
    out: Bridge,
    into: Bridge,
    consumer: Consumer,
    _names: [Unique; 2],
}

fn chain(what: &str, server: &Server, shape: Shape, count: u64, out: &[&str]) -> Chain {
    let here = Unique::new(&format!("{what}-a"));
    let there = Unique::new(&format!("{what}-b"));
    let rest = Duration::from_micros(300);
    let producer =
        Producer::of(&here, shape, count).capacity(RING).waiting_for(1).resting(rest).start();
    let out = Bridge::out(&here, &server.url(), STREAM, out);
    let into = Bridge::into(&there, &server.url(), STREAM, &["--capacity", "65536"]);
    let consumer = Consumer::start(&there, shape);
    Chain { producer, out, into, consumer, _names: [here, there] }
}

impl Chain {
    fn finish(mut self, shape: Shape, count: u64) {
        if self.producer.is_running() {
            self.producer.finish();
        }
        self.consumer.finish().is_all(shape, count);
        self.out.wait().with(0);
        self.into.wait().with(0);
    }
}

/// As if the network were cut: nobody is told that the connection is gone.
#[test]
fn a_server_that_does_not_answer_for_a_while() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(0, 2000), 20_000);
    let mut chain = chain("frozen", &server, shape, count, &[]);
    for number in [3000, 12_000] {
        chain.consumer.until(number);
        server.freeze();
        until_blocked(&chain.producer);
        sleep(Duration::from_secs(in_full_or(20, 3)));
        assert!(chain.producer.is_running(), "the producer only waits");
        server.thaw();
    }
    chain.finish(shape, count);
}

/// The servers' client finds out after a while by itself that nobody is there.
#[test]
fn a_server_that_is_killed_and_comes_back() {
    let (mut server, shape, count) = (Server::start(), Shape::of_lengths(0, 2000), 20_000);
    let mut chain = chain("killed", &server, shape, count, &["--pack", "8192"]);
    for number in [2000, 7000, 13_000] {
        chain.consumer.until(number);
        server.kill();
        sleep(Duration::from_millis(500));
        server.restart();
    }
    chain.finish(shape, count);
}

/// A stream that has no room refuses messages. The bridge waits, and the producer waits for the bridge.
#[test]
fn a_full_stream_holds_the_producer_back() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(0, 1000), 6000);
    let here = Unique::new("full-a");
    let there = Unique::new("full-b");
    let url = server.url();
    let mut producer = Producer::of(&here, shape, count).capacity(RING).waiting_for(1).start();
    let mut out = Bridge::out(&here, &url, STREAM, &["--max-bytes", "400000"]);
    let mut into = Bridge::into(&there, &url, STREAM, &["--capacity", "65536"]);
    let mut consumer = Consumer::start(&there, shape);
    let jet = Jet::new(&url);
    // What the stream has, the consumer gets, and nothing more.
    producer.until_sent(1);
    until_blocked(&producer);
    let held = producer.sent();
    assert!(held < count, "it held only {held}");
    assert!(out.is_running() && into.is_running());
    within(kit::DEADLINE, "it says why", || {
        out.said().contains(&format!("the stream {STREAM} is full: waiting until it has room"))
    });
    let stored = jet.messages(STREAM);
    consumer.until(stored);
    // Room is made for some, and then for all.
    jet.purge_before(STREAM, stored);
    producer.until_sent(held + 1);
    until_blocked(&producer);
    consumer.until(jet.info(STREAM).unwrap().state.last_sequence);
    jet.update(STREAM, |config| config.max_bytes = -1);
    producer.finish();
    consumer.finish().is_all(shape, count);
    let said = out.wait().with(0).stderr;
    assert!(said.contains(&format!("the stream {STREAM} has room again")), "{said}");
    into.wait().with(0);
}

/// Asked to stop, a bridge leaves everything as it is. Who follows on the other side stays attached.
#[test]
fn bridges_that_are_stopped_and_started_again() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 500).with_kinds());
    let mut chain = chain("stopped", &server, shape, 1 << 40, &["--pack", "2048"]);
    for _ in 0..5 {
        // Everybody is back when something has come through that was sent later.
        let sent = chain.producer.sent();
        chain.consumer.until(sent + 1);
        chain.into.terminate().with(143);
        chain.into.restart();
        chain.out.terminate().with(143);
        chain.out.restart();
        chain.consumer.goes_on();
    }
    let sent = chain.producer.sent();
    chain.consumer.until(sent + 1);
    let sent = chain.producer.end();
    chain.finish(shape, sent);
}
