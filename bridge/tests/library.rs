//! The bridge as a program has it that stops it at odd moments, and copies that are stopped at their end.
#![forbid(unsafe_code)]

mod kit;

use std::thread::{self, sleep};
use std::time::Duration;

use bridge::inbound::{self, InOptions};
use bridge::outbound::{self, OutOptions, Outcome};
use bridge::progress::Progress;
use bridge::server::ServerOptions;
use bridge::stop::Stop;
use bridge::stream::StreamOptions;
use day3::inspect::Observer;
use day4::writer::Writer;
use day5::Adaptive;
use kit::{Bridge, Consumer, DEADLINE, Producer, Server, Shape};
use testing::{Unique, within};

const STREAM: &str = "LIBRARY";

/// A bridge that was asked to stop does not say that it has failed.
#[test]
fn a_bridge_that_looks_whether_it_is_alone_may_be_stopped() {
    let (server, here) = (Server::start(), Unique::new("alone"));
    let url = server.url();
    let writer = Writer::<Adaptive>::create(&*here, 1 << 16).unwrap();
    let options = OutOptions::new((*here).clone(), StreamOptions::new(STREAM));
    let carry = |stop: &Stop| {
        outbound::carry(&ServerOptions::new(&url), &options, &Progress::new(), stop).unwrap()
    };
    let stops = [Stop::new(), Stop::new()];
    thread::scope(|scope| {
        let first = scope.spawn(|| carry(&stops[0]));
        within(DEADLINE, "the first bridge", || writer.consumers().len() == 1);
        let second = scope.spawn(|| carry(&stops[1]));
        within(DEADLINE, "the second bridge", || writer.consumers().len() == 2);
        stops[1].stop();
        assert_eq!(second.join().unwrap(), Outcome::Stopped);
        stops[0].stop();
        assert_eq!(first.join().unwrap(), Outcome::Stopped);
    });
}

/// A program that runs async tasks calls the bridges in one.
#[test]
fn bridges_within_an_async_task() {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(8, 300), 300);
    let (here, there) = (Unique::new("task-a"), Unique::new("task-b"));
    let mut producer = Producer::start(&here, shape, count);
    let sending = thread::spawn(move || producer.finish());
    let mut consumer = Consumer::start(&there, shape);
    let (out, into) = ((*here).clone(), (*there).clone());
    let out = OutOptions::new(out, StreamOptions::new(STREAM));
    let into = InOptions::new(into, StreamOptions::new(STREAM));
    let server = ServerOptions::new(server.url());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ended = runtime.block_on(async {
        let out = outbound::carry(&server, &out, &Progress::new(), &Stop::new());
        (out, inbound::carry(&server, &into, &Progress::new(), &Stop::new()))
    });
    assert!(matches!(ended, (Ok(Outcome::Closed), Ok(Outcome::Closed))), "{ended:?}");
    sending.join().unwrap();
    consumer.finish().is_all(shape, count);
}

/// A copy has ended, and a group that holds its place has yet to read the rest. The bridge ends before that, in this way,
/// and starts again.
fn held_copy(what: &str, end: impl FnOnce(&mut Bridge)) {
    let (server, shape, count) = (Server::start(), Shape::of_lengths(8, 300), 300);
    let (here, there) = (Unique::new(&format!("{what}-a")), Unique::new(&format!("{what}-b")));
    let mut producer = Producer::of(&here, shape, count).waiting_for(1).start();
    let mut out = Bridge::out(&here, &server.url(), STREAM, &["--quiet"]);
    let mut into = Bridge::into(&there, &server.url(), STREAM, &["--quiet"]);
    let mut first = Consumer::of(&there, shape).member("workers").up_to(100).start();
    assert_eq!(first.finish().next, 100);
    producer.finish();
    out.wait().with(0);
    let has_ended = || {
        let observer = Observer::open(&there, Duration::ZERO);
        observer.is_ok_and(|observer| observer.snapshot().closed)
    };
    within(DEADLINE, "the copy has ended", has_ended);
    end(&mut into);
    assert!(has_ended(), "the copy keeps its name");
    into.restart();
    // Time for what should not happen.
    sleep(Duration::from_secs(1));
    assert!(into.is_running() && has_ended(), "the copy waits for the group: {}", into.said());
    let rest = Consumer::of(&there, shape).member("workers").beginning_with(100);
    let received = rest.start().finish();
    assert_eq!((received.first, received.next, received.ended.as_str()), (100, count, "closed"));
    into.wait().with(0);
    assert!(!has_ended(), "its name is gone");
}

#[test]
fn a_copy_whose_end_is_held_outlives_a_bridge_that_is_stopped() {
    held_copy("held-stopped", |into| drop(into.terminate().with(143)));
}

#[test]
fn a_copy_whose_end_is_held_outlives_a_bridge_that_is_killed() {
    held_copy("held-killed", Bridge::kill);
}
