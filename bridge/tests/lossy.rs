//! A bridge that nobody waits for: what it misses it counts, and it says where.

mod kit;

use std::ops::Range;

use common::grouped;
use day3::ring::{self, Producer};
use day3::{JoinOptions, QueueOptions, RecvError, RecvTimeoutError, Start};
use day4::reader::Reader;
use day4::writer::Writer;
use kit::{Bridge, DEADLINE, FIXED_TYPE, Fixed, Jet, Server, Shape};
use testing::{Unique, eventually};

const STREAM: &str = "LOSSY";
const COUNT: u64 = 60_000;

/// A producer of messages of this shape: it sends these, or it closes the queue.
type Send = Box<dyn FnMut(Option<Range<u64>>)>;

fn records(name: &Unique, shape: Shape) -> Send {
    let mut writer: Writer = Writer::create(name.as_str(), 1 << 16).unwrap();
    let mut begin = Some(());
    Box::new(move |numbers| {
        let Some(numbers) = numbers else { return writer.close() };
        if begin.take().is_some() {
            writer.wait_for_consumers(1, DEADLINE).unwrap();
        }
        let mut message = Vec::new();
        for number in numbers {
            shape.write(number, &mut message);
            writer.send(&message).unwrap();
        }
    })
}

fn fixed(name: &Unique, shape: Shape) -> Send {
    let options = QueueOptions::new(1 << 10).message_type(FIXED_TYPE);
    let mut producer = Producer::<Fixed>::create_with(name.as_str(), &options).unwrap();
    let mut begin = Some(());
    Box::new(move |numbers| {
        let Some(numbers) = numbers else { return producer.close() };
        if begin.take().is_some() {
            producer.wait_for_consumers(1, DEADLINE).unwrap();
        }
        let mut message = Vec::new();
        for number in numbers {
            shape.write(number, &mut message);
            producer.send(bytemuck::pod_read_unaligned(&message)).unwrap();
        }
    })
}

/// The server stands still for longer than the ring can wait.
fn misses(
    what: &str,
    shape: Shape,
    create: fn(&Unique, Shape) -> Send,
    receive: fn(&Unique) -> u64,
) {
    let server = Server::start();
    let (here, there) = (Unique::new(&format!("{what}-a")), Unique::new(&format!("{what}-b")));
    let mut send = create(&here, shape);
    let mut out = Bridge::out(&here, &server.url(), STREAM, &["--lossy"]);
    send(Some(0..100));
    let jet = Jet::new(server.url());
    eventually("the first messages", || {
        jet.info(STREAM).is_some_and(|info| info.state.messages == 100)
    });
    server.freeze();
    // It does not hold the producer back.
    send(Some(100..COUNT));
    send(None);
    server.thaw();
    let said = out.wait().with(0).stderr;

    let (mut next, mut carried, mut lost) = (0, 0, 0);
    for stored in jet.all(STREAM) {
        if stored.header("Fanout-End").is_some() {
            continue;
        }
        let number = u64::from_le_bytes(*stored.payload.first_chunk().unwrap());
        assert!(number >= next, "message {number} comes behind {next}");
        let told = stored.header("Fanout-Lost").map_or(0, |lost| lost.parse().unwrap());
        assert_eq!(number - next, told, "lost before message {number}");
        next = number + 1;
        carried += 1;
        lost += told;
    }
    assert_eq!((next, carried + lost), (COUNT, COUNT));
    assert!(lost > 0, "nothing was lost: {said}");

    // The other host gets what was carried, without a gap, and is told how much is missing.
    let mut into = Bridge::into(&there, &server.url(), STREAM, &[]);
    assert_eq!(receive(&there), carried);
    let told = into.wait().with(0).stderr;
    let lost = format!("{} messages carried, {} messages lost", grouped(carried), grouped(lost));
    assert!(said.contains(&lost) && told.contains(&lost), "{lost}: {said}{told}");
}

/// Receives records until the queue is closed; says how many.
fn records_of(name: &Unique) -> u64 {
    let options = JoinOptions::new().wait_for_queue(DEADLINE);
    let mut reader: Reader = Reader::join_with(name.as_str(), Start::Oldest, &options).unwrap();
    let mut count = 0;
    loop {
        match reader.recv_timeout(DEADLINE) {
            Ok(_) => count += 1,
            Err(end) => break assert_eq!(end, RecvTimeoutError::End(RecvError::Closed)),
        }
    }
    count
}

/// The same, of fixed messages.
fn fixed_of(name: &Unique) -> u64 {
    let options = JoinOptions::new().wait_for_queue(DEADLINE).message_type(FIXED_TYPE);
    let mut consumer =
        ring::Consumer::<Fixed>::join_with(name.as_str(), Start::Oldest, &options).unwrap();
    let mut count = 0;
    loop {
        match consumer.recv_timeout(DEADLINE) {
            Ok(_) => count += 1,
            Err(end) => break assert_eq!(end, RecvTimeoutError::End(RecvError::Closed)),
        }
    }
    count
}

#[test]
fn records_that_were_missed_are_counted() {
    misses("lossy", Shape::of_lengths(8, 300), records, records_of);
}

#[test]
fn fixed_messages_that_were_missed_are_counted() {
    misses("lossy-fixed", Shape::fixed(), fixed, fixed_of);
}
