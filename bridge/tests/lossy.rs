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

/// The producer of either kind of ring.
enum Sender {
    Records(Writer),
    Fixed(Producer<Fixed>),
}

impl Sender {
    /// A ring for messages of this shape that is far too small for all of them.
    fn create(name: &Unique, shape: Shape) -> Self {
        if shape.fixed {
            let options = QueueOptions::new(1 << 10).message_type(FIXED_TYPE);
            return Self::Fixed(Producer::create_with(name.as_str(), &options).unwrap());
        }
        Self::Records(Writer::create(name.as_str(), 1 << 16).unwrap())
    }

    fn wait_for_consumer(&mut self) {
        let waited = match self {
            Self::Records(writer) => writer.wait_for_consumers(1, DEADLINE),
            Self::Fixed(producer) => producer.wait_for_consumers(1, DEADLINE),
        };
        waited.unwrap();
    }

    fn send(&mut self, message: &[u8]) {
        let sent = match self {
            Self::Records(writer) => writer.send(message),
            Self::Fixed(producer) => producer.send(bytemuck::pod_read_unaligned(message)),
        };
        sent.unwrap();
    }

    fn close(&mut self) {
        match self {
            Self::Records(writer) => writer.close(),
            Self::Fixed(producer) => producer.close(),
        }
    }
}

/// The server stands still for longer than the ring can wait.
fn misses(what: &str, shape: Shape) {
    let server = Server::start();
    let (here, there) = (Unique::new(&format!("{what}-a")), Unique::new(&format!("{what}-b")));
    let mut sender = Sender::create(&here, shape);
    let mut message = Vec::new();
    let mut send = |sender: &mut Sender, numbers: Range<u64>| {
        for number in numbers {
            shape.write(number, &mut message);
            sender.send(&message);
        }
    };
    let mut out = Bridge::out(&here, &server.url(), STREAM, &["--lossy"]);
    sender.wait_for_consumer();
    send(&mut sender, 0..100);
    let jet = Jet::new(server.url());
    eventually("the first messages", || {
        jet.info(STREAM).is_some_and(|info| info.state.messages == 100)
    });
    server.freeze();
    // It does not hold the producer back.
    send(&mut sender, 100..COUNT);
    sender.close();
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
    assert_eq!(received(&there, shape), carried);
    let told = into.wait().with(0).stderr;
    let lost = format!("{} messages carried, {} messages lost", grouped(carried), grouped(lost));
    assert!(said.contains(&lost) && told.contains(&lost), "{lost}: {said}{told}");
}

/// Receives messages until the queue is closed; says how many.
fn received(name: &Unique, shape: Shape) -> u64 {
    let options = JoinOptions::new().wait_for_queue(DEADLINE);
    let name = name.as_str();
    if shape.fixed {
        let options = options.message_type(FIXED_TYPE);
        let consumer = ring::Consumer::<Fixed>::join_with(name, Start::Oldest, &options);
        let mut consumer = consumer.unwrap();
        return count(|| consumer.recv_timeout(DEADLINE).map(drop));
    }
    let mut reader: Reader = Reader::join_with(name, Start::Oldest, &options).unwrap();
    count(|| reader.recv_timeout(DEADLINE).map(drop))
}

/// How often this succeeds until the queue is closed.
fn count(mut receive: impl FnMut() -> Result<(), RecvTimeoutError>) -> u64 {
    let mut count = 0;
    loop {
        match receive() {
            Ok(()) => count += 1,
            Err(end) => break assert_eq!(end, RecvTimeoutError::End(RecvError::Closed)),
        }
    }
    count
}

#[test]
fn records_that_were_missed_are_counted() {
    misses("lossy", Shape::of_lengths(8, 300));
}

#[test]
fn fixed_messages_that_were_missed_are_counted() {
    misses("lossy-fixed", Shape::fixed());
}
