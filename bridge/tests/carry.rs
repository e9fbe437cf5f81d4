//! From ring to ring, over one server: counts, checksums, kinds, boundaries and sequences.

mod kit;

use std::ops::Range;
use std::process::Command;

use day3::{QueueOptions, Unattended};
use day4::record_len;
use day4::writer::Writer;
use day5::Adaptive;
use kit::{Bridge, Consumer, DEADLINE, Jet, Producer, Received, Server, Shape, in_full_or};
use testing::{Unique, eventually};

const STREAM: &str = "CARRY";

/// A queue on "host A", and its copy on "host B".
struct Pair {
    here: Unique,
    there: Unique,
}

impl Pair {
    fn new(what: &str) -> Self {
        let (here, there) = (format!("{what}-a"), format!("{what}-b"));
        Self { here: Unique::new(&here), there: Unique::new(&there) }
    }
}

/// Carries messages from ring to ring, with these arguments for the bridge out, and checks all of them.
fn carry(what: &str, shape: Shape, count: u64, out: &[&str]) {
    let server = Server::start();
    let pair = Pair::new(what);
    let mut producer = Producer::of(&pair.here, shape, count).waiting_for(1).start();
    let mut to = Bridge::out(&pair.here, &server.url(), STREAM, out);
    let mut from = Bridge::into(&pair.there, &server.url(), STREAM, &[]);
    let mut consumer = Consumer::start(&pair.there, shape);
    producer.finish();
    let received = consumer.finish();
    println!("{what}: {count} messages, checksum {:016x}", received.checksum);
    received.is_all(shape, count);
    to.wait().with(0);
    from.wait().with(0);
}

#[test]
fn short_messages_packed_in_memory() {
    let count = in_full_or(10_000_000, 200_000);
    carry("short", Shape::of_length(64), count, &["--storage", "memory", "--pack", "16384"]);
}

#[test]
fn short_messages_packed_in_files() {
    let count = in_full_or(10_000_000, 200_000);
    carry("short-file", Shape::of_length(64), count, &["--storage", "file", "--pack", "16384"]);
}

#[test]
fn short_messages_one_by_one() {
    let count = in_full_or(1_000_000, 20_000);
    carry("single", Shape::of_length(64), count, &["--storage", "memory"]);
}

#[test]
fn messages_of_all_lengths_one_by_one() {
    let count = in_full_or(1_000_000, 5_000);
    let shape = Shape::of_lengths(0, 32_767);
    carry("lengths", shape, count, &["--storage", "file"]);
}

#[test]
fn messages_of_all_lengths_packed() {
    let count = in_full_or(1_000_000, 5_000);
    let shape = Shape::of_lengths(0, 32_767).with_kinds();
    carry("lengths-packed", shape, count, &["--storage", "file", "--pack", "65536"]);
}

/// Messages that look like frames, like packs' ends and like lines of the protocol, and empty ones, of various kinds.
#[test]
fn bytes_that_look_like_what_carries_them() {
    let shape = Shape::of_lengths(0, 12).with_kinds().with_looks();
    carry("looks", shape, 20_000, &[]);
    carry("looks-packed", shape, 50_000, &["--pack", "1000"]);
}

#[test]
fn empty_messages() {
    carry("empty", Shape::of_length(0), 3_000, &[]);
    carry("empty-packed", Shape::of_length(0).with_kinds(), 3_000, &["--pack", "100"]);
}

/// A queue that does not begin at 0, and whose messages are carried to three hosts.
#[test]
fn every_host_gets_every_message_with_its_sequence() {
    let server = Server::start();
    let here = Unique::new("fan-a");
    let shape = Shape::of_lengths(0, 500).with_kinds();
    let (count, first) = (20_000, (1 << 32) - 800);
    let mut producer = Producer::of(&here, shape, count).first(first).waiting_for(1).start();
    let mut to = Bridge::out(&here, &server.url(), STREAM, &["--pack", "4096"]);
    let hosts: Vec<Unique> = (0..3).map(|host| Unique::new(&format!("fan-b{host}"))).collect();
    let mut ends: Vec<_> = hosts
        .iter()
        .map(|there| {
            let from = Bridge::into(there, &server.url(), STREAM, &["--capacity", "65536"]);
            (from, Consumer::of(there, shape).origin(first).start())
        })
        .collect();
    producer.finish();
    to.wait().with(0);
    for (from, consumer) in &mut ends {
        consumer.finish().is_all(shape, count);
        from.wait().with(0);
    }
}

/// The first message that a host receives that begins in the middle, with what `from` says.
fn begin_in_the_middle(what: &str, pack: &[&str], from: impl FnOnce(&Jet) -> String) -> Received {
    let server = Server::start();
    let pair = Pair::new(what);
    let shape = Shape::of_lengths(0, 300);
    let mut producer = Producer::of(&pair.here, shape, 2000).waiting_for(1).start();
    let mut to = Bridge::out(&pair.here, &server.url(), STREAM, pack);
    producer.finish();
    to.wait().with(0);
    let from = from(&Jet::new(server.url()));
    let mut bridge = Bridge::into(&pair.there, &server.url(), STREAM, &["--from", &from]);
    let mut consumer = Consumer::of(&pair.there, shape).beginning_anywhere().start();
    let received = consumer.finish();
    bridge.wait().with(0);
    assert_eq!((received.next, received.ended.as_str()), (2000, "closed"));
    received
}

#[test]
fn a_host_may_begin_at_a_message_of_the_stream() {
    let received = begin_in_the_middle("middle", &[], |_| "701".to_owned());
    assert_eq!(received.first, 700);
}

#[test]
fn a_host_may_begin_at_a_pack() {
    let mut packed = 0;
    let received = begin_in_the_middle("middle-pack", &["--pack", "2000"], |jet| {
        let all = jet.all(STREAM);
        let counts = all.iter().filter_map(|stored| stored.header("Fanout-Pack"));
        packed = counts.take(10).map(|count| count.parse::<u64>().unwrap()).sum();
        "11".to_owned()
    });
    assert_eq!(received.first, packed);
}

/// A stream with 500 messages of a queue, and a host that begins then or later, with what `from` says; which message is
/// the first that it receives?
fn begin_behind(what: &str, starts_early: bool, from: impl FnOnce() -> String) {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 300));
    let pair = Pair::new(what);
    let options = QueueOptions::new(1 << 20).when_nobody_listens(Unattended::Wait);
    let mut writer = Writer::<Adaptive>::create_with(pair.here.as_str(), &options).unwrap();
    let send = |writer: &mut Writer<Adaptive>, numbers: Range<u64>| {
        let mut message = Vec::new();
        for number in numbers {
            shape.write(number, &mut message);
            let mut batch = writer.batch(record_len(message.len())).unwrap();
            batch.push_as(&message, shape.kind(number)).unwrap();
            batch.publish();
        }
        // What was released is in the stream.
        writer.drain(DEADLINE).unwrap();
    };
    let mut to = Bridge::out(&pair.here, &server.url(), STREAM, &[]);
    send(&mut writer, 0..500);
    let from = from();
    let start = || Bridge::into(&pair.there, &server.url(), STREAM, &["--from", &from]);
    let early = starts_early.then(start);
    if early.is_some() {
        let jet = Jet::new(server.url());
        eventually("a consumer", || jet.info(STREAM).unwrap().state.consumer_count == 1);
    }
    send(&mut writer, 500..800);
    writer.close();
    writer.drain(DEADLINE).unwrap();
    to.wait().with(0);
    let mut into = early.unwrap_or_else(start);
    let received = Consumer::of(&pair.there, shape).beginning_anywhere().start().finish();
    into.wait().with(0);
    assert_eq!((received.first, received.next, &*received.ended), (500, 800, "closed"));
}

#[test]
fn a_host_may_begin_with_the_next_message() {
    begin_behind("latest", true, || "latest".to_owned());
}

#[test]
fn a_host_may_begin_at_a_time() {
    begin_behind("time", false, || {
        let now = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%NZ"]).output().unwrap();
        String::from_utf8(now.stdout).unwrap().trim().to_owned()
    });
}

/// Of two consumers on the other host one is killed: the other one, and the bridge, go on without it.
#[test]
fn a_consumer_of_the_copy_may_be_killed() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(0, 300), 20_000);
    let pair = Pair::new("killed");
    let mut producer = Producer::of(&pair.here, shape, count).waiting_for(1).start();
    let mut to = Bridge::out(&pair.here, &server.url(), STREAM, &[]);
    let small = ["--capacity", "65536", "--wait-for", "2"];
    let mut from = Bridge::into(&pair.there, &server.url(), STREAM, &small);
    let mut victim = Consumer::start(&pair.there, shape);
    let mut other = Consumer::start(&pair.there, shape);
    victim.until(1000);
    victim.kill();
    producer.finish();
    other.finish().is_all(shape, count);
    to.wait().with(0);
    from.wait().with(0);
}
