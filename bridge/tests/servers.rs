//! The kit itself: servers and clusters start, die and come back, and a consumer notices what is wrong.

mod kit;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, StorageType};
use kit::{Cluster, Consumer, Jet, Producer, Server, Setup, Shape};
use testing::{Unique, eventually};

fn config(replicas: usize) -> Config {
    let subjects = vec!["some.>".to_owned()];
    Config {
        name: "SOME".to_owned(),
        subjects,
        num_replicas: replicas,
        storage: StorageType::File,
        ..Config::default()
    }
}

fn payloads(jet: &Jet) -> Vec<Vec<u8>> {
    jet.all("SOME").into_iter().map(|stored| stored.payload).collect()
}

#[test]
fn a_server_that_was_killed_has_what_it_had() {
    let mut server = Server::start();
    let jet = Jet::new(server.url());
    jet.create(config(1));
    jet.publish("some.thing", HeaderMap::new(), b"one");
    server.kill();
    assert!(!server.is_healthy());
    server.restart();
    server.until_ready();
    jet.publish("some.thing", HeaderMap::new(), b"two");
    assert_eq!(payloads(&jet), [b"one", b"two"]);
}

#[test]
fn a_frozen_server_answers_when_it_is_thawed() {
    let server = Server::start();
    assert!(server.is_healthy());
    server.freeze();
    assert!(!server.is_healthy());
    server.thaw();
    server.until_ready();
}

#[test]
fn servers_differ_in_what_they_are_told() {
    let server = Server::start_with(&Setup::new().max_payload(2000).max_file_store(3_000_000));
    assert!(server.monitored("/jsz").unwrap().contains(r#""max_storage": 3000000"#));
    assert!(server.monitored("/varz").unwrap().contains(r#""max_payload": 2000"#));
    let plain = Server::start_with(&Setup::new().without_jetstream().users(&[("a", "b")]));
    assert!(plain.monitored("/varz").unwrap().contains(r#""auth_required": true"#));
    assert_ne!(plain.url(), server.url());
}

#[test]
fn a_cluster_goes_on_without_its_leader() {
    let mut cluster = Cluster::start();
    let jet = Jet::new(cluster.url());
    jet.create(config(3));
    jet.publish("some.thing", HeaderMap::new(), b"one");
    let leader = cluster.leader().unwrap();
    cluster.server(leader).kill();
    eventually("another leads", || cluster.leader().is_some_and(|other| other != leader));
    eventually("the stream has a leader", || {
        let info = jet.info("SOME").and_then(|info| info.cluster);
        info.is_some_and(|cluster| cluster.leader.is_some())
    });
    jet.publish("some.thing", HeaderMap::new(), b"two");
    cluster.server(leader).restart();
    cluster.until_ready();
    assert_eq!(payloads(&jet), [b"one", b"two"]);
}

/// The processes at both ends on one ring, without a bridge in between.
#[test]
fn a_consumer_checks_all_that_a_producer_sends() {
    let name = Unique::new("kit");
    let shape = Shape::of_lengths(0, 3000).with_kinds().with_looks();
    let mut producer = Producer::of(&name, shape, 5000).first(80).start();
    let mut consumer = Consumer::of(&name, shape).origin(80).start();
    producer.until_sent(1000);
    producer.kill();
    producer.restart();
    producer.finish();
    consumer.finish().is_all(shape, 5000);
}

#[test]
fn fixed_messages_are_checked_too() {
    let name = Unique::new("kit-fixed");
    let mut producer = Producer::of(&name, Shape::fixed(), 50_000).capacity(1024).start();
    let mut consumer = Consumer::start(&name, Shape::fixed());
    producer.until_sent(10_000);
    producer.kill();
    producer.restart();
    producer.finish();
    consumer.finish().is_all(Shape::fixed(), 50_000);
}

#[test]
fn a_member_that_was_killed_goes_on() {
    let name = Unique::new("kit-member");
    let shape = Shape::of_lengths(0, 200);
    let mut producer = Producer::of(&name, shape, 20_000).capacity(1 << 16).start();
    let mut consumer = Consumer::of(&name, shape).member("all").start();
    for number in [2000, 9000] {
        consumer.until(number);
        consumer.kill();
        consumer.restart();
    }
    producer.finish();
    let received = consumer.finish();
    assert_eq!((received.next, received.ended.as_str()), (20_000, "closed"));
}

#[test]
fn a_consumer_finds_what_is_wrong() {
    let name = Unique::new("kit-wrong");
    let (shape, other) = (Shape::of_lengths(10, 90), Shape::of_lengths(10, 90).with_kinds());
    let mut producer = Producer::start(&name, shape, 2000);
    let mut from_elsewhere = Consumer::of(&name, shape).beginning_with(1).start();
    assert!(from_elsewhere.objects().contains("a repeat"));
    let mut of_kinds = Consumer::start(&name, other);
    assert!(of_kinds.objects().contains("the kind of message"));
    let mut shifted = Consumer::of(&name, shape).origin(8).beginning_anywhere().start();
    assert!(shifted.objects().contains("no message begins there"));
    let mut part = Consumer::of(&name, shape).up_to(1500).start();
    let received = part.finish();
    assert_eq!((received.first, received.next, received.ended.as_str()), (0, 1500, "not"));
    producer.finish();
}
