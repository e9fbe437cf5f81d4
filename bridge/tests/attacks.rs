//! Streams that somebody else changes, servers that forbid, and lines that are slow: nothing is lost in silence, and
//! nothing hangs.

mod kit;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, Source};
use day3::inspect::Observer;
use kit::{Bridge, Cluster, Consumer, DEADLINE, Jet, Producer, Server, Setup, Shape};
use testing::{Unique, within};

const STREAM: &str = "ATTACKED";
const SUBJECT: &str = "fanout.ATTACKED";

/// More than any producer here gets to send.
const MANY: u64 = 1 << 40;

/// A producer that sends a little all the time, until it is told to end.
fn trickle(here: &Unique, shape: Shape) -> Producer {
    Producer::of(here, shape, MANY).resting(Duration::from_millis(1)).start()
}

fn quiet_in(there: &Unique, url: &str) -> Bridge {
    Bridge::into(there, url, STREAM, &["--quiet"])
}

/// The producer ends, and everything that it has sent has come out at the other end, once and in order.
#[track_caller]
fn all_comes_through(
    producer: &mut Producer,
    consumer: &mut Consumer,
    shape: Shape,
    bridges: [&mut Bridge; 2],
) {
    let sent = producer.end();
    consumer.finish().is_all(shape, sent);
    for bridge in bridges {
        bridge.wait().with(0);
    }
}

/// A stranger's message takes the number of one of ours, which is refused, while the one behind ours finds the number that
/// it expects. Nothing may be given back that the stream does not have.
#[test]
fn a_stranger_writes_in_between() {
    for (what, pack) in [("between", &[][..]), ("between-packs", &["--pack", "500"])] {
        let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
        let (url, here) = (server.url(), Unique::new(what));
        let (jet, there) = (Jet::new(&url), Unique::new("between-b"));
        let mut producer = trickle(&here, shape);
        let mut out = Bridge::out(&here, &url, STREAM, &[&["--quiet"], pack].concat());
        within(DEADLINE, "the stream has messages", || jet.messages(STREAM) > 100);
        jet.publish(SUBJECT, HeaderMap::new(), b"hello");
        out.wait().badly(&[STREAM]);
        out.forget();
        let all = jet.all(STREAM);
        let stranger = all.iter().position(|stored| stored.header("Nats-Msg-Id").is_none());
        // As the error asks: the stranger's message goes, and what stands behind it.
        for stored in &all[stranger.expect("it was stored")..] {
            jet.delete_message(STREAM, stored.sequence);
        }
        out.restart();
        let mut into = quiet_in(&there, &url);
        let mut consumer = Consumer::start(&there, shape);
        all_comes_through(&mut producer, &mut consumer, shape, [&mut out, &mut into]);
    }
}

/// The numbers of the new stream mean other messages.
#[test]
fn a_stream_that_is_made_anew() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let (url, here, there) = (server.url(), Unique::new("anew-a"), Unique::new("anew-b"));
    let jet = Jet::new(&url);
    let mut producer = trickle(&here, shape);
    let mut out = Bridge::out(&here, &url, STREAM, &["--quiet"]);
    let mut into = quiet_in(&there, &url);
    let mut consumer = Consumer::start(&there, shape);
    consumer.until(200);
    let config = jet.info(STREAM).unwrap().config;
    jet.delete(STREAM);
    jet.create(config);
    out.wait().badly(&[STREAM, "removed"]);
    into.wait().badly(&[STREAM, "removed"]);
    consumer.goes_on();
    producer.kill();
}

#[test]
fn a_stream_that_takes_the_subject_no_more() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let (url, here) = (server.url(), Unique::new("subject"));
    let (jet, there) = (Jet::new(&url), Unique::new("subject-b"));
    let mut producer = trickle(&here, shape);
    let mut out = Bridge::out(&here, &url, STREAM, &["--quiet"]);
    within(DEADLINE, "the stream has messages", || jet.messages(STREAM) > 100);
    jet.update(STREAM, |config| config.subjects = vec!["other".to_owned()]);
    out.wait().badly(&[STREAM, "subject", "other"]);
    out.forget();
    // Two subjects are as good as one.
    jet.update(STREAM, |config| config.subjects.push(SUBJECT.to_owned()));
    out.restart();
    let more = ["--quiet", "--subject", SUBJECT];
    let mut into = Bridge::into(&there, &url, STREAM, &more);
    let mut consumer = Consumer::start(&there, shape);
    all_comes_through(&mut producer, &mut consumer, shape, [&mut out, &mut into]);
}

/// Messages of a subject that is added take numbers that the bridge counts on.
#[test]
fn a_stream_that_gets_a_second_subject() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let (url, here, there) = (server.url(), Unique::new("second-a"), Unique::new("second-b"));
    let jet = Jet::new(&url);
    let mut producer = trickle(&here, shape);
    // Each pack names the one before it: the bridge goes on.
    let mut out = Bridge::out(&here, &url, STREAM, &["--quiet", "--pack", "500"]);
    let mut into = quiet_in(&there, &url);
    let mut consumer = Consumer::start(&there, shape);
    consumer.until(200);
    jet.update(STREAM, |config| config.subjects.push("other".to_owned()));
    for _ in 0..20 {
        jet.publish("other", HeaderMap::new(), b"hello");
    }
    let next = consumer.next();
    consumer.until(next + 200);
    all_comes_through(&mut producer, &mut consumer, shape, [&mut out, &mut into]);
}

#[test]
fn streams_that_drop_messages() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let (url, here) = (server.url(), Unique::new("careless"));
    let jet = Jet::new(&url);
    let mut producer = Producer::start(&here, shape, MANY);
    let plain = |name: &str| Config {
        name: name.to_owned(),
        subjects: vec![format!("fanout.{name}")],
        ..Config::default()
    };
    let careless = [
        ("acknowledges", Config { no_ack: true, ..plain("NOACK") }),
        ("interest", Config { retention: RetentionPolicy::Interest, ..plain("INTEREST") }),
        ("oldest", Config { max_messages: 10, discard: DiscardPolicy::Old, ..plain("OLD") }),
        ("subject", Config { max_messages_per_subject: 1, ..plain("LAST") }),
    ];
    for (word, config) in careless {
        let name = config.name.clone();
        jet.create(config);
        Bridge::out(&here, &url, &name, &["--quiet"]).wait().badly(&[&name, word]);
        assert_eq!(jet.messages(&name), 0);
    }
    producer.kill();
}

/// Without an answer the bridge would ask after each message, and wait for seconds before.
#[test]
fn streams_that_begin_to_drop_messages() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let (url, here) = (server.url(), Unique::new("careless-later"));
    let jet = Jet::new(&url);
    let mut producer = trickle(&here, shape);
    let mut out = Bridge::out(&here, &url, STREAM, &["--quiet"]);
    within(DEADLINE, "the stream has messages", || jet.messages(STREAM) > 100);
    jet.update(STREAM, |config| config.no_ack = true);
    out.wait().badly(&[STREAM, "acknowledges nothing"]);
    producer.kill();
}

/// Waiting would not help.
#[test]
fn a_message_that_the_whole_stream_has_no_room_for() {
    let (server, shape) = (Server::start(), Shape::of_length(3000));
    let here = Unique::new("no-room");
    let mut producer = Producer::start(&here, shape, 10);
    let small = ["--quiet", "--max-bytes", "2000"];
    let mut out = Bridge::out(&here, &server.url(), STREAM, &small);
    out.wait().badly(&[STREAM, "sequence 0", "max-bytes"]);
    producer.kill();
}

/// The server stores headers as they come, and the client reads none of these.
#[test]
fn a_message_that_cannot_be_read() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let (url, here) = (server.url(), Unique::new("unread"));
    let jet = Jet::new(&url);
    let mut producer = trickle(&here, shape);
    let mut out = Bridge::out(&here, &url, STREAM, &["--quiet"]);
    within(DEADLINE, "the stream has messages", || jet.messages(STREAM) > 100);
    let stored = jet.messages(STREAM);
    let headers = "NATS/1.0\r\nno header\r\n\r\n";
    let line = format!("HPUB {SUBJECT} {} {}\r\n{headers}\r\n", headers.len(), headers.len());
    let mut client = TcpStream::connect(url.strip_prefix("nats://").unwrap()).unwrap();
    write!(client, "CONNECT {{\"headers\":true,\"verbose\":false}}\r\n{line}PING\r\n").unwrap();
    within(DEADLINE, "it is stored", || jet.messages(STREAM) > stored);
    out.wait().badly(&[STREAM]);
    producer.kill();
}

/// Each has a part of the stream of its own, and so a consumer of its own.
#[test]
fn two_queues_that_are_shared_by_one_name() {
    let (server, count) = (Server::start(), 300);
    let (url, subjects) = (server.url(), ["book.bids", "book.asks"]);
    // The kinds of the messages tell where they come from.
    let shapes = [Shape::of_lengths(8, 100), Shape::of_lengths(8, 100).with_kinds()];
    let subject = vec!["book.*".to_owned()];
    Jet::new(&url).create(Config {
        name: STREAM.to_owned(),
        subjects: subject,
        ..Config::default()
    });
    for (subject, shape) in subjects.into_iter().zip(shapes) {
        let here = Unique::new("shared-a");
        let mut producer = Producer::start(&here, shape, count);
        let more = ["--quiet", "--subject", subject, "--pack", "2000"];
        let mut out = Bridge::out(&here, &url, STREAM, &more);
        producer.finish();
        out.wait().with(0);
    }
    let theres = [Unique::new("shared-bids-b"), Unique::new("shared-asks-b")];
    let mut bridges = Vec::new();
    for (there, subject) in theres.iter().zip(subjects) {
        let more = ["--quiet", "--subject", subject, "--group", "workers"];
        bridges.push(Bridge::into(there, &url, STREAM, &more));
    }
    for (there, shape) in theres.iter().zip(shapes) {
        let mut consumer = Consumer::of(there, shape).up_to(count).start();
        assert_eq!(consumer.finish().next, count);
    }
    bridges.iter_mut().for_each(|bridge| drop(bridge.terminate().with(143)));
}

#[test]
fn names_that_no_shared_consumer_has() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let (url, here, there) = (server.url(), Unique::new("names-a"), Unique::new("names-b"));
    let mut producer = Producer::start(&here, shape, 10);
    let mut out = Bridge::out(&here, &url, STREAM, &["--quiet"]);
    producer.finish();
    out.wait().with(0);
    for name in ["", "a.b", "a b", "*", ">", "a/b", "a\tb"] {
        let mut into = Bridge::into(&there, &url, STREAM, &["--quiet", "--group", name]);
        into.wait().badly(&["group's name"]);
    }
}

/// The server gives no answer to a request that it forbids.
#[test]
fn a_server_that_forbids_a_part() {
    for (subject, out_fails) in [("STREAM.MSG.GET.>", true), ("CONSUMER.>", false)] {
        let forbidden = format!(
            r#"no_auth_user: "anna"
            authorization {{ users: [
                {{ user: "anna", password: "s", permissions: {{ publish: {{ deny: "$JS.API.{subject}" }} }} }}
            ] }}"#
        );
        let (server, shape) =
            (Server::start_with(&Setup::new().with(&forbidden)), Shape::of_lengths(0, 100));
        let (url, here) = (server.url(), Unique::new("forbidden"));
        let mut producer = Producer::start(&here, shape, MANY);
        let mut out = Bridge::out(&here, &url, STREAM, &["--quiet"]);
        let words = ["Permissions", "$JS.API."];
        if out_fails {
            out.wait().badly(&words);
        } else {
            quiet_in(&Unique::new("forbidden-b"), &url).wait().badly(&words);
        }
        producer.kill();
    }
}

/// How long a line takes in each direction.
const LATENCY: Duration = Duration::from_millis(40);

/// Carries bytes, each after the line's latency. It ends with the connection.
fn slowly(mut from: TcpStream, mut to: TcpStream) {
    let (sender, receiver) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        for (came, bytes) in receiver {
            thread::sleep((came + LATENCY).saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    let mut bytes = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        if sender.send((Instant::now(), bytes[..read].to_vec())).is_err() {
            break;
        }
    }
}

/// The address of a server behind a slow line.
fn behind_a_slow_line(url: &str) -> String {
    let server = url.strip_prefix("nats://").unwrap().to_owned();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&server).unwrap();
            let (back, client_back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || slowly(client, server));
            thread::spawn(move || slowly(back, client_back));
        }
    });
    format!("nats://{address}")
}

#[test]
fn work_is_shared_over_a_slow_line() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(8, 100), 300);
    let (url, here, there) = (server.url(), Unique::new("slow-a"), Unique::new("slow-b"));
    let mut producer = Producer::start(&here, shape, count);
    let mut out = Bridge::out(&here, &behind_a_slow_line(&url), STREAM, &["--quiet"]);
    let more = ["--quiet", "--group", "workers"];
    within(DEADLINE, "there is a stream", || Jet::new(&url).info(STREAM).is_some());
    let mut into = Bridge::into(&there, &behind_a_slow_line(&url), STREAM, &more);
    let mut consumer = Consumer::of(&there, shape).up_to(count).start();
    assert_eq!(consumer.finish().next, count);
    producer.finish();
    out.wait().with(0);
    into.terminate().with(143);
}

/// The bridge in publishes several messages at once, where each has room among the others; these have none.
#[test]
fn messages_that_are_longer_than_what_is_published_at_once() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(60_000, 120_000), 60);
    let (url, here, there) = (server.url(), Unique::new("long-a"), Unique::new("long-b"));
    let mut producer = Producer::start(&here, shape, count);
    let mut out = Bridge::out(&here, &url, STREAM, &["--quiet"]);
    let mut into = quiet_in(&there, &url);
    let mut consumer = Consumer::start(&there, shape);
    producer.finish();
    consumer.finish().is_all(shape, count);
    out.wait().with(0);
    into.wait().with(0);
}

/// The next bridge waits for as many.
#[test]
fn a_bridge_that_was_killed_while_it_waited_for_consumers() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(0, 100), 300);
    let (url, here, there) = (server.url(), Unique::new("waits-a"), Unique::new("waits-b"));
    let mut producer = Producer::start(&here, shape, count);
    let mut out = Bridge::out(&here, &url, STREAM, &["--quiet"]);
    producer.finish();
    out.wait().with(0);
    let mut into = Bridge::into(&there, &url, STREAM, &["--wait-for", "2"]);
    let waits = |into: &Bridge| into.stderr().contains("waiting for the consumers");
    within(DEADLINE, "it waits", || waits(&into));
    into.kill();
    let mut first = Consumer::start(&there, shape);
    let queue = Observer::open(&there, Duration::ZERO).unwrap();
    within(DEADLINE, "the first one is there", || queue.snapshot().consumers.len() == 1);
    into.forget();
    into.restart();
    within(DEADLINE, "it waits again, or goes on", || waits(&into) || first.next() > 0);
    assert_eq!(queue.snapshot().published, 0, "one consumer was enough");
    let mut second = Consumer::start(&there, shape);
    for consumer in [&mut first, &mut second] {
        consumer.finish().is_all(shape, count);
    }
    into.wait().with(0);
}

/// A tap has no place that the queue keeps: it finds all that the queue still has.
#[test]
fn a_lossy_bridge_that_is_started_again() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(2000, 4000), 4000);
    let (url, here) = (server.url(), Unique::new("lossy"));
    let jet = Jet::new(&url);
    // More than one lot.
    let mut producer = Producer::of(&here, shape, count).capacity(16 << 20).start();
    let mut waits = Consumer::of(&here, shape).resting(Duration::from_millis(1)).start();
    // While somebody has yet to read it, the queue stays.
    waits.until(1);
    waits.freeze();
    let mut out = Bridge::out(&here, &url, STREAM, &["--quiet", "--lossy"]);
    within(DEADLINE, "all of it is carried", || jet.messages(STREAM) == count);
    out.kill();
    out.restart();
    waits.thaw();
    let sent = producer.finish();
    waits.finish().is_all(shape, sent);
    out.wait().with(0);
    // The end is one of them.
    assert_eq!((jet.messages(STREAM), sent), (count + 1, count));
}

/// Such a stream has no subject of its own, and can be read.
#[test]
fn a_stream_that_copies_another_one() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(0, 100), 300);
    let (url, here) = (server.url(), Unique::new("origin"));
    let jet = Jet::new(&url);
    let mut producer = Producer::start(&here, shape, count);
    let mut out = Bridge::out(&here, &url, STREAM, &["--quiet"]);
    producer.finish();
    out.wait().with(0);
    let origin = Source { name: STREAM.to_owned(), ..Source::default() };
    let named = |name: &str| Config { name: name.to_owned(), ..Config::default() };
    jet.create(Config { mirror: Some(origin.clone()), ..named("MIRROR") });
    jet.create(Config { sources: Some(vec![origin]), ..named("SOURCED") });
    for (name, more) in [("MIRROR", &[][..]), ("SOURCED", &[]), ("MIRROR", &["--subject", SUBJECT])]
    {
        let there = Unique::new("copy-of-copy");
        let mut into = Bridge::into(&there, &url, name, &[&["--quiet"], more].concat());
        Consumer::start(&there, shape).finish().is_all(shape, count);
        into.wait().with(0);
    }
    // What is written to its subject comes to the other stream.
    let mut producer = Producer::start(&here, shape, MANY);
    Bridge::out(&here, &url, "MIRROR", &["--quiet"]).wait().badly(&["MIRROR", "subject"]);
    producer.kill();
}

/// A stream for such a subject would take messages of others.
#[test]
fn a_subject_that_no_message_has_makes_no_stream() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 100));
    let (url, here) = (server.url(), Unique::new("wild"));
    let mut producer = Producer::start(&here, shape, MANY);
    for subject in [">", "*", "a.*", "a.>", "", "a..b", ".a", "a b"] {
        let more = ["--quiet", "--subject", subject];
        Bridge::out(&here, &url, STREAM, &more).wait().badly(&["expected a subject"]);
        assert!(Jet::new(&url).info(STREAM).is_none(), "{subject}");
    }
    producer.kill();
}

/// The server gives work to another host if it does not hear of it for 30 s. Here most of it waits for longer, because the queue
/// is short and its consumer slow.
#[test]
fn work_that_waits_for_room() {
    let (server, shape, count) = (Server::start(), Shape::of_length(400), 160);
    let (url, here, there) = (server.url(), Unique::new("room-a"), Unique::new("room-b"));
    let mut producer = Producer::start(&here, shape, count);
    let mut out = Bridge::out(&here, &url, STREAM, &["--quiet"]);
    producer.finish();
    out.wait().with(0);
    let more = ["--quiet", "--group", "workers", "--capacity", "4096"];
    let mut into = Bridge::into(&there, &url, STREAM, &more);
    let work = Duration::from_millis(250);
    let consumer = Consumer::of(&there, shape).sharing().resting(work).start();
    within(DEADLINE, "all is done", || consumer.taken().len() as u64 >= count);
    // What comes again comes before what is new.
    let (mut headers, mut message) = (HeaderMap::new(), Vec::new());
    headers.insert("Nats-Msg-Id", "00000000000000aa-0");
    shape.write(count, &mut message);
    Jet::new(&url).publish(SUBJECT, headers, &message);
    let last = || consumer.taken().last().is_some_and(|taken| taken.number == count);
    within(DEADLINE, "the last one is done", last);
    let mut numbers: Vec<_> = consumer.taken().iter().map(|taken| taken.number).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..=count), "{numbers:?}");
    into.terminate().with(143);
}

/// Made anew, it would begin with work that is done.
#[test]
fn a_shared_consumer_that_somebody_deletes() {
    let (server, shape) = (Server::start(), Shape::of_length(100));
    let (url, here, there) =
        (server.url(), Unique::new("share-gone-a"), Unique::new("share-gone-b"));
    let mut producer = Producer::start(&here, shape, 1000);
    let mut out = Bridge::out(&here, &url, STREAM, &["--quiet"]);
    producer.finish();
    out.wait().with(0);
    let mut into = Bridge::into(&there, &url, STREAM, &["--quiet", "--group", "workers"]);
    let consumer = Consumer::of(&there, shape).sharing().start();
    within(DEADLINE, "all is done", || consumer.taken().len() == 1000);
    assert_eq!(Jet::new(&url).delete_consumers(STREAM), 1);
    into.wait().badly(&[STREAM, "deleted the consumer workers", "--from"]);
    assert_eq!(consumer.taken().len(), 1000);
}

/// The longest message that goes alone goes in a pack of its own, too, which has a few bytes in front of it.
#[test]
fn the_longest_message_that_goes_alone_may_be_packed() {
    let server = Server::start_with(&Setup::new().max_payload(9000));
    let pack = ["--quiet", "--pack", "16K"];
    let send = |length: u64| {
        let here = Unique::new("longest");
        let shape = Shape::of_length(length as usize);
        let producer = Producer::of(&here, shape, 3).capacity(1 << 16).start();
        (here, producer)
    };
    let (here, mut producer) = send(10_000);
    let refused = Bridge::out(&here, &server.url(), STREAM, &["--quiet"]).wait();
    producer.kill();
    let most = refused.stderr.split("the server takes ").nth(1).unwrap();
    let most: u64 = most.split(':').next().unwrap().parse().unwrap();
    for length in [most - 6, most] {
        let (here, mut producer) = send(length);
        let mut out = Bridge::out(&here, &server.url(), &format!("S{length}"), &pack);
        producer.finish();
        out.wait().with(0);
        drop(here);
    }
    let (here, mut producer) = send(most + 1);
    Bridge::out(&here, &server.url(), STREAM, &pack).wait().badly(&["max_payload"]);
    producer.kill();
}

/// Servers that are just making a stream together do not agree at first on when that was. A bridge that is there before the
/// stream must not take it for two.
#[test]
fn a_host_that_is_there_before_a_cluster_makes_the_stream() {
    let (cluster, shape) = (Cluster::start(), Shape::of_length(100));
    let url = cluster.url();
    for round in 0..15 {
        let (here, there) = (Unique::new("early-a"), Unique::new("early-b"));
        let stream = format!("EARLY{round}");
        let mut into = Bridge::into(&there, &url, &stream, &["--quiet"]);
        let mut out = Bridge::out(&here, &url, &stream, &["--quiet", "--replicas", "3"]);
        let mut producer = Producer::of(&here, shape, 100).waiting_for(1).start();
        let mut consumer = Consumer::start(&there, shape);
        producer.finish();
        out.wait().with(0);
        consumer.finish().is_all(shape, 100);
        into.wait().with(0);
    }
}
