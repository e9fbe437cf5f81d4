//! Work that several hosts share, and several queues in one process.

mod kit;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use kit::{Bridge, Consumer, DEADLINE, Jet, Producer, Server, Shape, Taken};
use testing::{Unique, eventually, within};

const STREAM: &str = "SHARE";

/// How often each message was taken: without a mark, and marked as one that may have been delivered before.
fn taken(consumers: &[Consumer]) -> BTreeMap<u64, (u64, u64)> {
    let mut counts = BTreeMap::<u64, (u64, u64)>::new();
    for Taken { number, redelivered } in consumers.iter().flat_map(Consumer::taken) {
        let count = counts.entry(number).or_default();
        if redelivered { count.1 += 1 } else { count.0 += 1 }
    }
    counts
}

/// Two "hosts" that share a stream.
fn hosts(what: &str, url: &str, shape: Shape) -> (Vec<Unique>, Vec<Bridge>, Vec<Consumer>) {
    let names: Vec<_> = (0..2).map(|host| Unique::new(&format!("{what}-b{host}"))).collect();
    let share = ["--group", "workers", "--capacity", "65536"];
    let bridges = names.iter().map(|there| Bridge::into(there, url, STREAM, &share)).collect();
    let work = Duration::from_micros(200);
    let consumer = |there: &Unique| Consumer::of(there, shape).sharing().resting(work).start();
    let consumers = names.iter().map(consumer).collect();
    (names, bridges, consumers)
}

#[test]
fn each_message_goes_to_one_host() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(8, 400).with_kinds(), 8000);
    let here = Unique::new("share-a");
    let (_names, mut bridges, consumers) = hosts("share", &server.url(), shape);
    let mut producer = Producer::of(&here, shape, count).waiting_for(1).start();
    let mut out = Bridge::out(&here, &server.url(), STREAM, &[]);
    producer.finish();
    out.wait().with(0);
    within(DEADLINE, "all is done", || taken(&consumers).len() as u64 == count);
    // Time for what should not come.
    sleep(Duration::from_millis(500));
    let counts = taken(&consumers);
    assert!(counts.values().all(|count| *count == (1, 0)), "{counts:?}");
    assert!(consumers.iter().all(|consumer| !consumer.taken().is_empty()), "one had no work");
    bridges.iter_mut().for_each(|bridge| drop(bridge.terminate().with(143)));
}

/// A host whose consumer stands still was sent little more than its queue has room for. The other hosts do the rest.
#[test]
fn a_host_that_stands_still_holds_little_of_the_work() {
    let (server, shape, count) = (Server::start(), Shape::of_length(1000), 4000);
    // Its ring has room for 65 messages, and two requests for 128 each may be on their way.
    let most = 512;
    let here = Unique::new("still-a");
    let (_names, mut bridges, mut consumers) = hosts("still", &server.url(), shape);
    let mut producer = Producer::of(&here, shape, count).waiting_for(1).start();
    let mut out = Bridge::out(&here, &server.url(), STREAM, &[]);
    eventually("one message", || !taken(&consumers).is_empty());
    consumers[0].freeze();
    producer.finish();
    out.wait().with(0);
    let done = || taken(&consumers).len() as u64;
    within(DEADLINE, "the other host has done the rest", || done() >= count - most);
    consumers[0].thaw();
    within(DEADLINE, "all is done", || taken(&consumers).len() as u64 == count);
    bridges.iter_mut().for_each(|bridge| drop(bridge.terminate().with(143)));
}

/// What a host had when its bridge died comes again, marked.
#[test]
fn the_work_of_a_bridge_that_was_killed_is_done() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(8, 400), 8000);
    let here = Unique::new("dead-a");
    let (_names, mut bridges, mut consumers) = hosts("dead", &server.url(), shape);
    let rest = Duration::from_millis(5);
    let mut producer = Producer::of(&here, shape, count).waiting_for(1).resting(rest).start();
    let mut out = Bridge::out(&here, &server.url(), STREAM, &["--pack", "2000"]);
    for round in 0..4 {
        consumers[round % 2].until(100 + 400 * round as u64);
        bridges[round % 2].kill();
        bridges[round % 2].restart();
    }
    producer.finish();
    out.wait().with(0);
    within(DEADLINE, "all is done", || taken(&consumers).len() as u64 == count);
    for (number, (plain, _)) in taken(&consumers) {
        assert!(plain <= 1, "message {number} came {plain} times without a mark");
    }
    consumers.iter_mut().for_each(Consumer::goes_on);
}

/// Two bridges out of one queue take turns, each for some of its messages.
#[test]
fn two_bridges_share_a_queue() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(8, 400), 5000);
    let here = Unique::new("out-share-a");
    let mut producer = Producer::of(&here, shape, count).waiting_for(2).start();
    let share = ["--group", "senders"];
    let mut outs = [(); 2].map(|()| Bridge::out(&here, &server.url(), STREAM, &share));
    producer.finish();
    outs.iter_mut().for_each(|out| drop(out.wait().with(0)));
    has_each_once(&server, count);
}

/// The queue keeps what a bridge had in hand, and holds its producer back, also while none of them runs.
#[test]
fn bridges_that_share_a_queue_may_all_be_killed() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(8, 400), 20_000);
    let here = Unique::new("out-dead-a");
    let producer = Producer::of(&here, shape, count).waiting_for(2).capacity(1 << 16);
    let mut producer = producer.resting(Duration::from_millis(2)).start();
    let share = ["--group", "senders"];
    let mut outs = [(); 2].map(|()| Bridge::out(&here, &server.url(), STREAM, &share));
    for round in 1..=6 {
        producer.until_sent(round * count / 10);
        let [first, second] = &mut outs;
        first.kill();
        if round % 2 == 0 {
            second.kill();
            // Without anybody to take them, only so many messages fit.
            sleep(Duration::from_millis(300));
            let sent = producer.sent();
            sleep(Duration::from_millis(300));
            assert_eq!(producer.sent(), sent, "the producer waits for a bridge");
            second.restart();
        }
        first.restart();
    }
    producer.finish();
    outs.iter_mut().for_each(|out| drop(out.wait().with(0)));
    has_each_once(&server, count);
}

/// Fails unless the stream has messages 0 to `count`, each once.
#[track_caller]
fn has_each_once(server: &Server, count: u64) {
    let mut stored = vec![0; count as usize];
    for message in Jet::new(server.url()).all(STREAM) {
        let number = u64::from_le_bytes(*message.payload.first_chunk().unwrap());
        stored[number as usize] += 1;
    }
    let wrong: Vec<_> = stored.iter().enumerate().filter(|(_, times)| **times != 1).collect();
    assert!(wrong.is_empty(), "messages, and how often the stream has them: {wrong:?}");
}

/// One process carries several queues, each under a subject of its own in one stream.
#[test]
fn many_queues_in_one_process() {
    let (server, shape) = (Server::start(), Shape::of_lengths(0, 300).with_kinds());
    let (url, count) = (server.url(), 2000);
    let here: Vec<_> = (0..3).map(|queue| Unique::new(&format!("many-a{queue}"))).collect();
    let there: Vec<_> = (0..3).map(|queue| Unique::new(&format!("many-b{queue}"))).collect();
    let names = |of: &[Unique]| of.iter().map(|name| name.bare()).collect::<Vec<_>>().join(",");
    let start = |name: &Unique| Producer::of(name, shape, count).waiting_for(1).start();
    let mut producers: Vec<_> = here.iter().map(start).collect();
    let to = ["out", &names(&here), &url, "--stream", STREAM];
    let mut out = Bridge::start(&to, &["--subject", "many.{queue}", "--pack", "2000"]);
    // On this machine the copies need other names, so each comes back by a bridge of its own.
    let mut copies: Vec<_> = here
        .iter()
        .zip(&there)
        .map(|(here, there)| {
            let subject = format!("many.{}", here.bare());
            (
                Bridge::into(there, &url, STREAM, &["--subject", &subject]),
                Consumer::start(there, shape),
            )
        })
        .collect();
    producers.iter_mut().for_each(|producer| _ = producer.finish());
    out.wait().with(0);
    for (into, consumer) in &mut copies {
        consumer.finish().is_all(shape, count);
        into.wait().with(0);
    }
    // All of them at once, once more, where the first ones are gone.
    let from = ["in", &names(&here), &url, "--stream", STREAM];
    let mut into = Bridge::start(&from, &["--subject", "many.{queue}"]);
    for name in &here {
        Consumer::start(name, shape).finish().is_all(shape, count);
    }
    into.wait().with(0);
}
