//! SUBSCRIBE and PUBLISH, within the service and onto the topics of Day 7.

use std::io::Write;
use std::time::Duration;

use day7::topics::{Publisher, PublisherOptions, Space, SubscribeOptions, Subscriber};
use testing::{DEADLINE, Unique, eventually};

use crate::script::request;
use crate::server::{Client, Server};

const LOCAL: &[&str] = &["--listen", "127.0.0.1:0"];

fn message(channel: &str, payload: &str) -> Vec<u8> {
    let bytes = request(&["message", channel, payload]);
    assert!(bytes.starts_with(b"*3\r\n$7\r\nmessage"));
    bytes
}

fn subscribe(client: &mut Client, channel: &str, channels: usize) {
    let expected =
        format!("*3\r\n$9\r\nsubscribe\r\n${}\r\n{channel}\r\n:{channels}\r\n", channel.len());
    client.ask(&request(&["SUBSCRIBE", channel]), expected.as_bytes());
}

fn publish(client: &mut Client, channel: &str, payload: &str, heard: usize) {
    let bytes = request(&["PUBLISH", channel, payload]);
    client.ask(&bytes, format!(":{heard}\r\n").as_bytes());
}

#[test]
fn what_one_connection_publishes_the_others_hear_in_order() {
    let server = Server::start(LOCAL);
    let (mut one, mut two, mut publisher) = (server.client(), server.client(), server.client());
    subscribe(&mut one, "news", 1);
    subscribe(&mut one, "weather", 2);
    subscribe(&mut two, "news", 1);
    publish(&mut publisher, "nobody", "hears this", 0);
    for number in 0..500 {
        publish(&mut publisher, "news", &number.to_string(), 2);
        publish(&mut publisher, "weather", &number.to_string(), 1);
    }
    for number in 0..500 {
        let number = number.to_string();
        one.hears(&message("news", &number));
        one.hears(&message("weather", &number));
        two.hears(&message("news", &number));
    }
    two.ask(&request(&["PING"]), b"*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    two.ask(&request(&["UNSUBSCRIBE"]), b"*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0\r\n");
    publish(&mut publisher, "news", "one hears", 1);
    one.hears(&message("news", "one hears"));
    drop(one);
    eventually("a subscriber that has gone is forgotten", || {
        publisher.ask(&request(&["PUBLISH", "weather", "x"]), b":");
        let mut line = [0; 3];
        std::io::Read::read_exact(&mut publisher.stream, &mut line).unwrap();
        line[0] == b'0'
    });
    two.ask(&request(&["PING"]), b"+PONG\r\n");
    server.end();
}

#[test]
fn a_subscriber_that_does_not_read_is_closed_and_nobody_else_notices() {
    let server = Server::start(&["--listen", "127.0.0.1:0", "--subscriber", "1000000"]);
    let (mut slow, mut quick, mut publisher) = (server.client(), server.client(), server.client());
    subscribe(&mut slow, "news", 1);
    subscribe(&mut quick, "news", 1);
    let payload = "x".repeat(50_000);
    let expected = message("news", &payload);
    let mut sent = 0;
    // The kernel's buffers have room for some megabytes.
    eventually("the slow subscriber is closed", || {
        publisher.stream.write_all(&request(&["PUBLISH", "news", &payload])).unwrap();
        sent += 1;
        quick.hears(&expected);
        let mut answer = [0; 4];
        std::io::Read::read_exact(&mut publisher.stream, &mut answer).unwrap();
        answer == *b":1\r\n"
    });
    // It gets what the kernel has taken for it, and then the end, in the middle of a message.
    let rest = slow.rest();
    assert!(rest.len() < sent * expected.len(), "{} of {sent}", rest.len() / expected.len());
    assert!(rest.starts_with(&expected));
    publish(&mut publisher, "news", "go on", 1);
    quick.hears(&message("news", "go on"));
    server.end();
}

/// A topic space that no other test uses. All that its publishers have left is removed with it.
struct Place(Unique);

impl Drop for Place {
    fn drop(&mut self) {
        let beginning = format!("{}.", self.0.bare());
        for entry in std::fs::read_dir("/dev/shm").unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&beginning) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

#[test]
fn channels_are_topics() {
    let place = Place(Unique::new("redis-topics"));
    let name = place.0.to_string();
    let server = Server::start(&["--listen", "127.0.0.1:0", "--topics", &name]);
    let space = Space::open(&*place.0).unwrap();
    let mut fanout = Publisher::create(&space, &PublisherOptions::new()).unwrap();
    let (mut client, mut publisher) = (server.client(), server.client());

    // From topics to a client.
    subscribe(&mut client, "orders.eu", 1);
    for number in 0..2_000 {
        fanout.publish("orders.eu", format!("order {number}").as_bytes()).unwrap();
        fanout.publish("orders.us", b"not wanted").unwrap();
    }
    for number in 0..2_000 {
        client.hears(&message("orders.eu", &format!("order {number}")));
    }

    // From a client to topics, and to a client once.
    let mut subscriber =
        Subscriber::subscribe(&space, "orders.*", &SubscribeOptions::new()).unwrap();
    publish(&mut publisher, "orders.eu", "hello", 2);
    publish(&mut publisher, "orders.us", "there", 1);
    publish(&mut publisher, "no topic!", "nobody", 0);
    for (topic, payload) in [("orders.eu", "hello"), ("orders.us", "there")] {
        let published = subscriber.recv_timeout(DEADLINE).unwrap();
        assert_eq!((&*published.topic, &*published.payload), (topic, payload.as_bytes()));
    }
    client.hears(&message("orders.eu", "hello"));
    fanout.publish("orders.eu", b"last").unwrap();
    client.hears(&message("orders.eu", "last"));

    // A channel whose name is no topic's is the service's own.
    subscribe(&mut client, "no topic!", 2);
    publish(&mut publisher, "no topic!", "heard here", 1);
    client.hears(&message("no topic!", "heard here"));

    // Without a listener the service does not subscribe; with the next one it does again.
    let mine = || space.subscribers().iter().filter(|it| it.process == server.id()).count();
    assert_eq!(mine(), 1);
    drop(client);
    eventually("the service has left the space", || mine() == 0);
    let mut client = server.client();
    subscribe(&mut client, "orders.eu", 1);
    fanout.publish("orders.eu", b"again").unwrap();
    client.hears(&message("orders.eu", "again"));
    drop(subscriber);
    fanout.finish(DEADLINE).unwrap();
    server.end();
    assert_eq!(space.publishers().len(), 1, "the service has left");
}

#[test]
fn who_listens_again_and_again_does_not_join_the_space_each_time() {
    let place = Place(Unique::new("redis-again"));
    let name = place.0.to_string();
    let server = Server::start(&["--listen", "127.0.0.1:0", "--topics", &name]);
    let space = Space::open(&*place.0).unwrap();
    let before = space.generation();
    let mut client = server.client();
    for _ in 0..100 {
        subscribe(&mut client, "news", 1);
        client.ask(
            &request(&["UNSUBSCRIBE", "news"]),
            b"*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0\r\n",
        );
    }
    let joined = space.generation() - before;
    assert!(joined < 100, "{joined} joins and leaves");
    eventually("the service has left the space", || {
        space.subscribers().iter().all(|it| it.process != server.id())
    });
    server.end();
}

#[test]
fn a_topic_subscriber_that_blocks_stops_one_client_only() {
    let place = Place(Unique::new("redis-blocked"));
    let name = place.0.to_string();
    let server = Server::start(&["--listen", "127.0.0.1:0", "--topics", &name]);
    let space = Space::open(&*place.0).unwrap();
    let mut subscriber = Subscriber::subscribe(&space, "orders", &SubscribeOptions::new()).unwrap();
    // More than the publisher's ring holds.
    let payload = "x".repeat(10_000);
    let sent: Vec<u8> = (0..500).flat_map(|_| request(&["PUBLISH", "orders", &payload])).collect();
    let mut publisher = server.client();
    let mut writer = publisher.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    std::thread::sleep(Duration::from_millis(50));
    for number in 0..100 {
        server.client().ask(&request(&["SET", "key", &number.to_string()]), b"+OK\r\n");
    }
    for _ in 0..500 {
        assert_eq!(subscriber.recv_timeout(DEADLINE).unwrap().payload, payload.as_bytes());
    }
    publisher.hears(":1\r\n".repeat(500).as_bytes());
    writing.join().unwrap();
    server.end();
}

#[test]
fn who_publishes_to_a_topic_subscriber_that_blocks_does_not_wait_for_ever() {
    let place = Place(Unique::new("redis-stuck"));
    let name = place.0.to_string();
    let server = Server::start(&["--listen", "127.0.0.1:0", "--idle", "1", "--topics", &name]);
    let space = Space::open(&*place.0).unwrap();
    let _stuck = Subscriber::subscribe(&space, "orders", &SubscribeOptions::new()).unwrap();
    // More than the publisher's ring holds.
    let payload = "x".repeat(10_000);
    let mut client = server.client();
    let mut published = 0;
    let last = loop {
        client.stream.write_all(&request(&["PUBLISH", "orders", &payload])).unwrap();
        let mut answer = [0; 4];
        std::io::Read::read_exact(&mut client.stream, &mut answer).unwrap();
        if answer != *b":1\r\n" {
            break answer;
        }
        published += 1;
    };
    assert!(published > 0);
    assert_eq!(&last, b"-ERR");
    assert!(client.rest().starts_with(b" a subscriber of the topic does not read"));
    // An answer does not wait for the request behind it.
    let mut client = server.client();
    let both = [request(&["ECHO", "now"]), request(&["PUBLISH", "orders", &payload])].concat();
    client.ask(&both, b"$3\r\nnow\r\n");
    drop(client);
    server.end();
}
