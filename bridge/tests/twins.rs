//! More bridges than there should be.

mod kit;

use kit::{Bridge, Consumer, DEADLINE, Jet, Producer, Server, Shape};
use testing::{Unique, within};

const STREAM: &str = "TWINS";

#[test]
fn a_second_bridge_out_of_one_queue_is_refused() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 200));
    let (here, there) = (Unique::new("second-a"), Unique::new("second-b"));
    let rest = std::time::Duration::from_millis(1);
    let mut producer = Producer::of(&here, shape, 1 << 40).resting(rest).start();
    let mut out = Bridge::out(&here, &server.url(), STREAM, &[]);
    let mut into = Bridge::into(&there, &server.url(), STREAM, &[]);
    let mut consumer = Consumer::start(&there, shape);
    consumer.until(1000);
    for more in [&["--quiet"][..], &["--quiet", "--pack", "1000"]] {
        let mut second = Bridge::out(&here, &server.url(), STREAM, more);
        second.wait().badly(&[here.bare(), STREAM, &out.id().to_string()]);
        let next = consumer.next();
        consumer.until(next + 1000);
    }
    let sent = producer.end();
    consumer.finish().is_all(shape, sent);
    out.wait().with(0);
    into.wait().with(0);
}

/// One of them carries. A supervisor may start the other one again and again.
#[test]
fn two_bridges_that_are_started_together() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 200));
    let (here, there) = (Unique::new("together-a"), Unique::new("together-b"));
    let rest = std::time::Duration::from_millis(1);
    let mut producer = Producer::of(&here, shape, 1 << 40).resting(rest).start();
    let mut twins = [(); 2].map(|()| Bridge::out(&here, &server.url(), STREAM, &["--quiet"]));
    let mut into = Bridge::into(&there, &server.url(), STREAM, &[]);
    let mut consumer = Consumer::start(&there, shape);
    let mut refused = 0;
    while refused < 3 {
        for twin in &mut twins {
            if !twin.is_running() {
                let ended = twin.wait();
                ended.badly(&[here.bare(), STREAM]);
                twin.forget();
                twin.restart();
                refused += 1;
            }
        }
        consumer.goes_on();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let sent = producer.sent();
    consumer.until(sent + 1);
    let sent = producer.end();
    consumer.finish().is_all(shape, sent);
    into.wait().with(0);
}

/// A queue's bridge to two streams is two bridges, and each has all messages.
#[test]
fn one_queue_into_two_streams() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 200));
    let here = Unique::new("two-streams");
    let mut producer = Producer::of(&here, shape, 3000).waiting_for(2).start();
    let mut bridges = ["ONE", "TWO"].map(|stream| Bridge::out(&here, &server.url(), stream, &[]));
    producer.finish();
    for (bridge, stream) in bridges.iter_mut().zip(["ONE", "TWO"]) {
        bridge.wait().with(0);
        // And the end.
        assert_eq!(Jet::new(server.url()).messages(stream), 3001);
    }
}

/// By mistake, two queues are carried into one subject at the same time: at least one bridge is refused. What the stream
/// has of each queue has no gap, and the rest is still in the queue.
fn two_queues(out: &[&str]) {
    let server = Server::start();
    let (url, jet) = (server.url(), Jet::new(server.url()));
    let rest = std::time::Duration::from_millis(1);
    // The lengths tell the queues apart.
    let mut queues = [16, 24].map(|length| {
        let name = Unique::new("one-subject");
        let shape = Shape::of_length(length);
        let producer = Producer::of(&name, shape, 1 << 40).resting(rest).start();
        (name, shape, producer)
    });
    let quiet = [&["--quiet"], out].concat();
    let mut bridges: Vec<_> =
        queues.iter().map(|(name, ..)| Bridge::out(name, &url, STREAM, &quiet)).collect();
    within(DEADLINE, "one is refused", || bridges.iter_mut().any(|bridge| !bridge.is_running()));
    for bridge in &mut bridges {
        if bridge.is_running() {
            bridge.terminate().with(143);
        } else {
            bridge.wait().badly(&[STREAM, "another queue"]);
        }
    }
    // A pack has a header for each message.
    let header = if out.is_empty() { 0 } else { bridge::pack::HEADER };
    let of_queue = |length: usize| {
        let stored = jet.all(STREAM).into_iter();
        let of_queue = stored.filter(move |stored| stored.payload.len() == header + length);
        of_queue
            .map(move |stored| u64::from_le_bytes(*stored.payload[header..].first_chunk().unwrap()))
    };
    let numbers = queues.each_ref().map(|(_, shape, _)| of_queue(shape.most).collect::<Vec<_>>());
    for (numbers, (_, shape, _)) in numbers.iter().zip(&queues) {
        let gap = numbers.iter().zip(0..).find(|(number, place)| **number != *place);
        assert_eq!(gap, None, "messages of {} bytes, and their places", shape.most);
    }
    // What the stream did not take is still in its queue. It goes to a new stream of the same name, because the queue
    // keeps its place for that.
    for ((name, shape, producer), numbers) in queues.iter_mut().zip(&numbers) {
        jet.delete(STREAM);
        let count = numbers.len() as u64;
        let mut out = Bridge::out(name, &url, STREAM, &quiet);
        let there = Unique::new("one-subject-b");
        let mut into = Bridge::into(&there, &url, STREAM, &["--quiet"]);
        let mut consumer = Consumer::of(&there, *shape).beginning_anywhere().start();
        consumer.until(count + 1000);
        let sent = producer.end();
        let received = consumer.finish();
        assert!(received.first <= count, "it begins with {}, behind {count}", received.first);
        assert_eq!((received.next, received.ended.as_str()), (sent, "closed"));
        out.wait().with(0);
        into.wait().with(0);
    }
}

#[test]
fn two_queues_into_one_subject() {
    two_queues(&[]);
}

/// Each pack has one message here, and names the one before it.
#[test]
fn two_queues_into_one_subject_packed() {
    two_queues(&["--pack", "1"]);
}
