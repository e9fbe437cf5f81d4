//! How a queue ends here, it ends there; and the next one of its name follows.

mod kit;

use std::time::Duration;

use day3::inspect::Observer;
use kit::{Bridge, Consumer, Producer, Server, Shape};
use testing::{Unique, eventually};

const STREAM: &str = "ENDS";

#[test]
fn a_reason_to_give_up_travels() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let (here, there) = (Unique::new("abort-a"), Unique::new("abort-b"));
    let reason = "the disk is full: 3 \u{20ac}";
    let mut producer = Producer::of(&here, shape, 1000).waiting_for(1).aborting(reason).start();
    let mut out = Bridge::out(&here, &server.url(), STREAM, &["--quiet"]);
    let mut into = Bridge::into(&there, &server.url(), STREAM, &["--quiet"]);
    let mut consumer = Consumer::start(&there, shape);
    producer.finish();
    consumer.finish().is_all_until(shape, 1000, &format!("aborted {reason}"));
    for bridge in [&mut out, &mut into] {
        let ended = bridge.wait().with(3);
        assert!(ended.stderr.contains(reason), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn a_queue_without_a_message_ends_too() {
    let (server, shape) = (Server::start(), Shape::of_length(8));
    let (here, there) = (Unique::new("empty-a"), Unique::new("empty-b"));
    let mut producer = Producer::of(&here, shape, 0).waiting_for(1).start();
    let mut out = Bridge::out(&here, &server.url(), STREAM, &[]);
    let mut into = Bridge::into(&there, &server.url(), STREAM, &[]);
    let mut consumer = Consumer::start(&there, shape);
    producer.finish();
    out.wait().with(0);
    consumer.finish().is_all(shape, 0);
    into.wait().with(0);
}

/// The bridge on the other host was killed while the end of such a queue waited for its consumer.
#[test]
fn the_end_of_a_queue_without_a_message_waits_for_its_consumer() {
    let (server, shape) = (Server::start(), Shape::of_length(8));
    let (here, there) = (Unique::new("empty-a"), Unique::new("empty-b"));
    let mut producer = Producer::of(&here, shape, 0).waiting_for(1).start();
    let mut out = Bridge::out(&here, &server.url(), STREAM, &[]);
    let mut into = Bridge::into(&there, &server.url(), STREAM, &[]);
    producer.finish();
    out.wait().with(0);
    let waits = format!("waiting for the consumers of {}", there.bare());
    for bridge in 1..=2 {
        eventually("each bridge waits", || into.said().matches(&waits).count() == bridge);
        if bridge == 1 {
            into.kill();
            into.restart();
        }
    }
    Consumer::start(&there, shape).finish().is_all(shape, 0);
    into.wait().with(0);
}

/// The bridges stay, and carry each next queue of the name.
#[test]
fn queues_of_one_name_follow_one_another() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 300).with_kinds());
    let (here, there) = (Unique::new("follow-a"), Unique::new("follow-b"));
    let mut out = Bridge::out(&here, &server.url(), STREAM, &["--follow", "--pack", "1000"]);
    let mut into = Bridge::into(&there, &server.url(), STREAM, &["--follow"]);
    for (count, reason) in [(2000, None), (1000, Some("no more paper")), (3000, None), (1, None)] {
        let producer = Producer::of(&here, shape, count).waiting_for(1);
        let mut producer = match reason {
            Some(reason) => producer.aborting(reason).start(),
            None => producer.start(),
        };
        let mut consumer = Consumer::start(&there, shape);
        producer.finish();
        let ended = reason.map_or("closed".to_owned(), |reason| format!("aborted {reason}"));
        consumer.finish().is_all_until(shape, count, &ended);
        eventually("the ended queues are gone", || !here.exists() && !there.exists());
        assert!(out.is_running() && into.is_running());
    }
    out.terminate().with(143);
    into.terminate().with(143);
}

/// A host that comes when all is over gets all of it, one queue after another.
#[test]
fn a_host_that_comes_late_gets_the_queues_in_turn() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 300));
    let (here, there) = (Unique::new("late-a"), Unique::new("late-b"));
    let mut out = Bridge::out(&here, &server.url(), STREAM, &["--follow"]);
    for count in [500, 700] {
        Producer::of(&here, shape, count).waiting_for(1).start().finish();
        eventually("the ended queue is gone", || !here.exists());
    }
    out.terminate().with(143);
    let mut into = Bridge::into(&there, &server.url(), STREAM, &["--follow"]);
    for count in [500, 700] {
        Consumer::start(&there, shape).finish().is_all(shape, count);
        eventually("the ended queue is gone, or the next one has come", || {
            !there.exists() || count == 500
        });
    }
    into.terminate().with(143);
}

/// The bridge on the other host was killed when the queue ended here.
#[test]
fn an_end_waits_for_a_bridge_that_was_killed() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 300));
    let (here, there) = (Unique::new("end-a"), Unique::new("end-b"));
    let mut producer = Producer::of(&here, shape, 3000).waiting_for(1).start();
    let mut out = Bridge::out(&here, &server.url(), STREAM, &[]);
    let mut into = Bridge::into(&there, &server.url(), STREAM, &[]);
    let mut consumer = Consumer::start(&there, shape);
    consumer.until(3000);
    into.kill();
    producer.finish();
    out.wait().with(0);
    consumer.goes_on();
    into.restart();
    consumer.finish().is_all(shape, 3000);
    into.wait().with(0);
}

/// The bridge on this host was killed, with everything carried, before the queue ended.
#[test]
fn an_end_waits_for_a_bridge_that_has_carried_everything() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 300));
    for reason in [None, Some("no more paper")] {
        let (here, there) = (Unique::new("told-a"), Unique::new("told-b"));
        let stream = if reason.is_some() { "ABORTED" } else { "CLOSED" };
        let producer = Producer::of(&here, shape, 3000).waiting_for(1);
        let mut producer = match reason {
            Some(reason) => producer.aborting(reason).start(),
            None => producer.start(),
        };
        let mut out = Bridge::out(&here, &server.url(), stream, &[]);
        let mut into = Bridge::into(&there, &server.url(), stream, &[]);
        let mut consumer = Consumer::start(&there, shape);
        producer.until_drained();
        out.kill();
        consumer.until(3000);
        producer.hang_up();
        let observer = Observer::open(&here, Duration::ZERO).unwrap();
        eventually("the queue has ended", || observer.snapshot().closed);
        assert!(producer.is_running() && into.is_running());
        out.restart();
        let ended = reason.map_or("closed".to_owned(), |reason| format!("aborted {reason}"));
        consumer.finish().is_all_until(shape, 3000, &ended);
        let code = if reason.is_some() { 3 } else { 0 };
        out.wait().with(code);
        into.wait().with(code);
        producer.end();
    }
}
