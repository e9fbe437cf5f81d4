//! Rings of fixed messages, and types that differ.

mod kit;

use kit::{Bridge, Consumer, Producer, Server, Shape, in_full_or};
use testing::Unique;

const STREAM: &str = "FIXED";

fn carry(what: &str, count: u64, first: u64, out: &[&str]) {
    let (server, shape) = (Server::start(), Shape::fixed());
    let (here, there) = (Unique::new(&format!("{what}-a")), Unique::new(&format!("{what}-b")));
    let producer = Producer::of(&here, shape, count).capacity(1 << 12).first(first);
    let mut producer = producer.waiting_for(1).start();
    let mut out = Bridge::out(&here, &server.url(), STREAM, out);
    let mut into = Bridge::into(&there, &server.url(), STREAM, &["--capacity", "65536"]);
    let mut consumer = Consumer::of(&there, shape).origin(first).start();
    producer.finish();
    consumer.finish().is_all(shape, count);
    out.wait().with(0);
    into.wait().with(0);
}

#[test]
fn fixed_messages_one_by_one() {
    carry("fixed", in_full_or(1_000_000, 20_000), (1 << 32) - 100, &["--storage", "memory"]);
}

#[test]
fn fixed_messages_packed() {
    carry("fixed-packed", in_full_or(10_000_000, 300_000), 7, &["--pack", "16384"]);
}

#[test]
fn fixed_messages_survive_the_bridges_and_the_producer() {
    let (server, shape) = (Server::start(), Shape::fixed());
    let (here, there) = (Unique::new("fixed-kill-a"), Unique::new("fixed-kill-b"));
    let rest = std::time::Duration::from_millis(2);
    let producer = Producer::of(&here, shape, 1 << 40).capacity(1 << 12).resting(rest);
    let mut producer = producer.start();
    let mut out = Bridge::out(&here, &server.url(), STREAM, &["--pack", "4000"]);
    let mut into = Bridge::into(&there, &server.url(), STREAM, &[]);
    let mut consumer = Consumer::start(&there, shape);
    for round in 0..9 {
        let sent = producer.sent();
        consumer.until(sent + 1);
        match round % 3 {
            0 => {
                out.kill();
                out.restart();
            }
            1 => {
                into.kill();
                into.restart();
            }
            _ => {
                producer.kill();
                producer.restart();
            }
        }
        consumer.goes_on();
    }
    let sent = producer.sent();
    consumer.until(sent + 1);
    let sent = producer.end();
    consumer.finish().is_all(shape, sent);
    out.wait().with(0);
    into.wait().with(0);
}

/// Work that several hosts share has one type.
#[test]
fn a_queue_of_another_type_is_refused_where_work_is_shared() {
    let server = Server::start();
    let (here, other) = (Unique::new("type-a"), Unique::new("type-b"));
    let share = ["--group", "workers"];
    let mut producer =
        Producer::of(&here, Shape::fixed(), 100).capacity(128).waiting_for(1).start();
    let mut out = Bridge::out(&here, &server.url(), STREAM, &share);
    producer.finish();
    out.wait().with(0);
    let shape = Shape::of_length(32);
    let mut records = Producer::start(&other, shape, 10);
    // A group that holds, once it has had this member.
    let member = || Consumer::of(&other, shape).member("workers");
    member().up_to(0).start().finish();
    let mut refused =
        Bridge::out(&other, &server.url(), STREAM, &["--group", "workers", "--quiet"]);
    refused.wait().badly(&[STREAM, "four-words/1", "another stream"]);
    // Nothing of it is lost.
    let mut consumer = member().start();
    records.finish();
    assert_eq!(consumer.finish().next, 10);
}
