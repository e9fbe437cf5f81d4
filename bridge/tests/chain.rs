//! The chain: each message expects another one before it. So what was sent once is stored once, however late it comes, and
//! from whomever.

mod kit;

use std::time::Duration;

use kit::{Bridge, Jet, Producer, Server, Shape};
use testing::Unique;

const STREAM: &str = "CHAIN";

/// Carries a queue out, and then sends all that is in the stream once more, as a network would that had kept it.
fn comes_again(out: &[&str], least: usize) {
    let server = Server::start();
    let (queue, jet) = (Unique::new("chain"), Jet::new(server.url()));
    let mut producer = Producer::of(&queue, Shape::of_lengths(0, 100), 1000).waiting_for(1).start();
    let mut bridge = Bridge::out(&queue, &server.url(), STREAM, out);
    producer.finish();
    bridge.wait().with(0);
    let stored = jet.all(STREAM);
    assert!(stored.len() >= least, "{} NATS messages are too few", stored.len());
    // The server forgets ids after a second. From then on the chain alone refuses.
    std::thread::sleep(Duration::from_secs(3));
    jet.send_again(&stored);
    assert_eq!(jet.messages(STREAM), stored.len() as u64, "some were stored twice");
}

#[test]
fn messages_that_come_again_are_refused() {
    comes_again(&[], 1001);
}

#[test]
fn packs_that_come_again_are_refused() {
    comes_again(&["--pack", "500"], 50);
}

#[test]
fn messages_of_one_of_several_subjects_that_come_again_are_refused() {
    comes_again(&["--subject", "chain.{queue}"], 1001);
}
