//! What a bridge refuses, in one line, and without losing anything.

mod kit;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, StorageType};
use kit::{Bridge, Consumer, Ended, Jet, Producer, Server, Setup, Shape};
use testing::{Unique, eventually};

const STREAM: &str = "LIMITS";

/// How many messages these tests send.
const COUNT: u64 = 400;

/// A queue that nobody has read from yet.
fn queue(what: &str, shape: Shape) -> (Unique, Producer) {
    let here = Unique::new(what);
    let producer = Producer::start(&here, shape, COUNT);
    (here, producer)
}

/// A bridge out that fails.
fn refused(here: &Unique, url: &str, more: &[&str]) -> Ended {
    let more = [&["--quiet"], more].concat();
    Bridge::out(here, url, STREAM, &more).wait()
}

/// A bridge in that fails.
fn refused_in(there: &Unique, url: &str, more: &[&str]) -> Ended {
    let more = [&["--quiet"], more].concat();
    Bridge::into(there, url, STREAM, &more).wait()
}

/// Everything comes through after all, with these options.
fn comes_through(here: &Unique, producer: &mut Producer, url: &str, shape: Shape, more: &[&str]) {
    let there = Unique::new("limits-b");
    let mut out = Bridge::out(here, url, STREAM, more);
    let mut into = Bridge::into(&there, url, STREAM, &[]);
    let mut consumer = Consumer::start(&there, shape);
    producer.finish();
    consumer.finish().is_all(shape, COUNT);
    out.wait().with(0);
    into.wait().with(0);
}

#[test]
fn a_stream_with_another_configuration() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let url = server.url();
    let (here, mut producer) = queue("other-config", shape);
    let subjects = vec!["fanout.LIMITS".to_owned()];
    let storage = StorageType::Memory;
    let name = STREAM.to_owned();
    Jet::new(&url).create(Config { name, subjects, storage, ..Config::default() });
    refused(&here, &url, &["--storage", "file"]).badly(&[STREAM, "storage", "file", "memory"]);
    refused(&here, &url, &["--replicas", "3"]).badly(&[STREAM, "replicas", "3", "1"]);
    refused(&here, &url, &["--max-bytes", "1M"]).badly(&[STREAM, "max-bytes", "1048576"]);
    refused(&here, &url, &["--subject", "else.where"]).badly(&[STREAM, "else.where"]);
    comes_through(&here, &mut producer, &url, shape, &["--storage", "memory"]);
}

#[test]
fn more_replicas_than_servers() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let (here, mut producer) = queue("replicas", shape);
    refused(&here, &server.url(), &["--replicas", "3"]).badly(&[STREAM, "replicas"]);
    comes_through(&here, &mut producer, &server.url(), shape, &[]);
}

#[test]
fn a_message_over_the_servers_limit() {
    let shape = Shape::of_lengths(0, 3000);
    for (what, pack) in [("payload", &[][..]), ("payload-packed", &["--pack", "8000"])] {
        let mut server = Server::start_with(&Setup::new().max_payload(2000));
        let (here, mut producer) = queue(what, shape);
        refused(&here, &server.url(), pack).badly(&["max_payload", "sequence"]);
        server.reconfigure(&Setup::new().max_payload(9000));
        comes_through(&here, &mut producer, &server.url(), shape, pack);
    }
}

#[test]
fn a_message_that_the_copy_has_no_room_for() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 30_000));
    let url = server.url();
    let (here, mut producer) = queue("room-a", shape);
    let there = Unique::new("room-b");
    let mut out = Bridge::out(&here, &url, STREAM, &[]);
    let consumer = Consumer::of(&there, shape).start();
    refused_in(&there, &url, &["--capacity", "8192"]).badly(&["--capacity", "sequence"]);
    drop(consumer);
    there.remove();
    let mut into = Bridge::into(&there, &url, STREAM, &[]);
    let mut consumer = Consumer::start(&there, shape);
    producer.finish();
    consumer.finish().is_all(shape, COUNT);
    out.wait().with(0);
    into.wait().with(0);
}

#[test]
fn a_server_without_streams() {
    let setup = Setup::new().without_jetstream();
    let (mut server, shape) = (Server::start_with(&setup), Shape::of_lengths(0, 100));
    let (here, mut producer) = queue("no-streams", shape);
    refused(&here, &server.url(), &[]).badly(&["JetStream", &server.url()]);
    refused_in(&Unique::new("no-streams-b"), &server.url(), &[]).badly(&["JetStream"]);
    server.reconfigure(&Setup::new());
    comes_through(&here, &mut producer, &server.url(), shape, &[]);
}

#[test]
fn a_server_that_is_not_there() {
    let (mut server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let (here, mut producer) = queue("away", shape);
    server.kill();
    refused(&here, &server.url(), &[]).badly(&[&server.url()]);
    refused_in(&Unique::new("away-b"), &server.url(), &[]).badly(&[&server.url()]);
    server.restart();
    comes_through(&here, &mut producer, &server.url(), shape, &[]);
}

#[test]
fn nobody_that_the_server_knows() {
    let setup = Setup::new().users(&[("anna", "secret")]);
    let (mut server, shape) = (Server::start_with(&setup), Shape::of_lengths(0, 100));
    let (here, mut producer) = queue("nobody", shape);
    refused(&here, &server.url(), &[]).badly(&[&server.url()]);
    refused_in(&Unique::new("nobody-b"), &server.url(), &[]).badly(&[&server.url()]);
    server.reconfigure(&Setup::new());
    comes_through(&here, &mut producer, &server.url(), shape, &[]);
}

/// The server lets this user in, and takes no message of the subject. It says so once, and answers nothing.
#[test]
fn somebody_who_may_not_publish() {
    let forbidden = r#"no_auth_user: "anna"
        authorization { users: [
            { user: "anna", password: "secret", permissions: { publish: { deny: "fanout.>" } } }
        ] }"#;
    let mut server = Server::start_with(&Setup::new().with(forbidden));
    let shape = Shape::of_lengths(0, 100);
    let (here, mut producer) = queue("forbidden", shape);
    refused(&here, &server.url(), &[]).badly(&["fanout.LIMITS"]);
    server.reconfigure(&Setup::new());
    comes_through(&here, &mut producer, &server.url(), shape, &[]);
}

#[test]
fn a_queue_that_is_not_there() {
    let server = Server::start();
    let here = Unique::new("not-there");
    refused(&here, &server.url(), &["--no-wait"]).badly(&[here.bare()]);
}

#[test]
fn messages_that_no_bridge_has_sent() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let (url, there) = (server.url(), Unique::new("foreign-b"));
    let (here, mut producer) = queue("foreign", shape);
    let mut out = Bridge::out(&here, &url, STREAM, &[]);
    producer.finish();
    out.wait().with(0);
    Jet::new(&url).publish("fanout.LIMITS", HeaderMap::new(), b"hello");
    let mut into = Bridge::into(&there, &url, STREAM, &["--follow", "--quiet"]);
    let mut consumer = Consumer::start(&there, shape);
    into.wait().badly(&["message 402", STREAM]);
    // What stands before it has come, and the end, too.
    consumer.finish().is_all(shape, COUNT);
}

/// A queue of that name has a producer of its own, or comes from somewhere else.
#[test]
fn a_queue_that_is_no_copy() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let url = server.url();
    let (here, mut producer) = queue("no-copy", shape);
    let (there, mut other) = queue("no-copy-b", shape);
    let mut out = Bridge::out(&here, &url, STREAM, &[]);
    producer.finish();
    out.wait().with(0);
    eventually("the other queue", || there.exists());
    refused_in(&there, &url, &[]).badly(&[there.bare()]);
    other.kill();
    refused_in(&there, &url, &[]).badly(&[there.bare(), STREAM, "fanout rm"]);
    other.restart();
    let mut consumer = Consumer::start(&there, shape);
    other.finish();
    consumer.finish().is_all(shape, COUNT);
}

/// Messages were removed from the stream before this host had them.
#[test]
fn a_stream_that_has_lost_messages() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let (url, there) = (server.url(), Unique::new("gap-b"));
    let here = Unique::new("gap-a");
    let mut producer = Producer::start(&here, shape, 1 << 40);
    let mut out = Bridge::out(&here, &url, STREAM, &[]);
    let mut into = Bridge::into(&there, &url, STREAM, &["--quiet"]);
    let mut consumer = Consumer::start(&there, shape);
    consumer.until(1000);
    into.terminate().with(143);
    let next = consumer.next();
    let jet = Jet::new(&url);
    eventually("more has come", || jet.messages(STREAM) > next + 3000);
    producer.end();
    out.wait().with(0);
    jet.purge_before(STREAM, next + 2000);
    into.restart();
    into.wait().badly(&[STREAM, "lost messages", "--lossy"]);
    consumer.goes_on();
    // With --lossy, the rest comes in a queue of its own.
    let lossy = ["--lossy", "--follow", "--quiet"];
    let mut into = Bridge::into(&there, &url, STREAM, &lossy);
    let received = consumer.finish();
    assert!(received.ended.starts_with("aborted "), "{}", received.ended);
    eventually("the queue with the gap is gone, or the next one is there", || {
        !there.exists() || into.is_running()
    });
    let mut rest = Consumer::of(&there, shape).beginning_anywhere().start();
    let rest = rest.finish();
    assert_eq!((rest.first, rest.ended.as_str()), (next + 1999, "closed"));
    into.terminate().with(143);
}
