//! The processes at the two ends, from within: this test program once more, with one ignored test and an [`Order`].

use std::fs::File;
use std::io::{Read, stdin};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use common::Sequence;
use common::sync::{AtomicBool, Ordering};
use day3::measured::Measured;
use day3::ring;
use day3::{Ending, JoinOptions, QueueOptions, RecvError, RecvTimeoutError, Start, Unattended};
use day4::reader::{Member, Reader, Receiver};
use day4::record_len;
use day4::writer::Writer;
use day5::Adaptive;

use super::bound::DEADLINE;
use super::message::{FIXED_TYPE, Fixed, NUMBER, Shape, checksum};
use super::order::{DRAINED, Note, Order, Taken};

/// How many bytes of the ring a producer fills at once at most, unless a message is longer.
const BATCH: usize = 1 << 14;

/// How many fixed messages are sent or taken at once at most.
const FEW: u64 = 256;

/// How long a process waits before it looks again.
const SLICE: Duration = Duration::from_millis(20);

/// After how many messages a broadcast consumer notes how far it is.
const NOTE: u64 = 64;

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
#[ignore = "it is the producer of other tests, in a process of its own"]
fn sends() {
    let order = Order::received();
    if order.shape().fixed { send_fixed(&order) } else { send_records(&order) }
}

#[test]
#[ignore = "it is a consumer of other tests, in a process of its own"]
fn receives() {
    let order = Order::received();
    let mut check = Check::new(&order);
    let ended = match (order.get("group"), order.shape().fixed) {
        (Some(group), _) => receive_as_member(&order, group, &mut check),
        (None, true) => receive_fixed(&order, &mut check),
        (None, false) => receive_records(&order, &mut check),
    };
    check.report(&ended);
}

fn queue_options(order: &Order) -> QueueOptions {
    let options = QueueOptions::new(order.number("capacity").unwrap())
        .or_resume()
        .first(order.number("first").unwrap_or(0))
        .when_nobody_listens(Unattended::Wait);
    if order.shape().fixed { options.message_type(FIXED_TYPE) } else { options }
}

fn send_records(order: &Order) {
    let (shape, note, told) = (order.shape(), Note::open(order.note()), Told::listen());
    let mut writer = Writer::<Adaptive>::create_with(order.name(), &queue_options(order)).unwrap();
    let (mut next, count) = (writer.sent(), order.number("count").unwrap());
    note.write(next);
    let consumers = order.number("consumers").unwrap_or(0) as usize;
    writer.wait_for_consumers(consumers, DEADLINE).unwrap();
    let mut message = Vec::new();
    while next < count && !told.is_told() {
        let (mut bytes, mut last) = (record_len(shape.length(next)), next + 1);
        while last < count && bytes + record_len(shape.length(last)) <= BATCH {
            bytes += record_len(shape.length(last));
            last += 1;
        }
        let mut batch = writer.batch(bytes).unwrap();
        for number in next..last {
            shape.write(number, &mut message);
            batch.push_as(&message, shape.kind(number)).unwrap();
        }
        batch.publish();
        next = last;
        note.write(next);
        rest(order.pause());
    }
    writer.drain(FOR_EVER).unwrap();
    told.wait();
    match order.get("abort") {
        Some(reason) => writer.abort(reason),
        None => writer.close(),
    }
    writer.drain(FOR_EVER).unwrap();
}

fn send_fixed(order: &Order) {
    let (shape, note, told) = (order.shape(), Note::open(order.note()), Told::listen());
    let producer =
        ring::Producer::<Fixed, Adaptive>::create_with(order.name(), &queue_options(order));
    let mut producer = producer.unwrap();
    let first = order.number("first").unwrap_or(0);
    let (mut next, count) =
        (producer.next_sequence().get() - first, order.number("count").unwrap());
    note.write(next);
    let consumers = order.number("consumers").unwrap_or(0) as usize;
    producer.wait_for_consumers(consumers, DEADLINE).unwrap();
    let (mut message, mut batch) = (Vec::new(), Vec::<Fixed>::new());
    while next < count && !told.is_told() {
        let last = count.min(next + FEW);
        batch.clear();
        for number in next..last {
            shape.write(number, &mut message);
            batch.push(bytemuck::pod_read_unaligned(&message));
        }
        producer.send_batch(&batch).unwrap();
        next = last;
        note.write(next);
        rest(order.pause());
    }
    producer.drain(FOR_EVER).unwrap();
    told.wait();
    match order.get("abort") {
        Some(reason) => producer.abort(reason),
        None => producer.close(),
    }
    producer.drain(FOR_EVER).unwrap();
}

/// Rests for so long. Even a sleep of no time would be a call of the kernel.
fn rest(pause: Duration) {
    if !pause.is_zero() {
        sleep(pause);
    }
}

/// Whether the test has hung up.
#[derive(Clone, Default)]
struct Told(Arc<AtomicBool>);

impl Told {
    /// Listens from now on.
    fn listen() -> Self {
        let told = Self::default();
        let tell = told.clone();
        std::thread::spawn(move || {
            let _ = stdin().read_to_end(&mut Vec::new());
            tell.0.store(true, Ordering::Relaxed);
        });
        told
    }

    fn is_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Says that everything is read, and waits until the test hangs up.
    fn wait(&self) {
        println!("{DRAINED}");
        while !self.is_told() {
            sleep(SLICE);
        }
    }
}

fn join_options(order: &Order) -> JoinOptions {
    let options = JoinOptions::new().wait_for_queue(DEADLINE).follow(true).label("checks");
    if order.shape().fixed { options.message_type(FIXED_TYPE) } else { options }
}

/// Receives messages until the queue ends, or the check says that these were all. Says how it ended.
fn receive<K: Measured>(receiver: &mut Receiver<K, Adaptive>, check: &mut Check) -> String {
    let end = loop {
        if check.is_done() {
            return "not".to_owned();
        }
        match receiver.recv_timeout(SLICE) {
            Ok(record) => {
                let (sequence, kind) = (record.sequence(), record.kind());
                // The record is given back after this, so that a note never tells of less than was given back.
                check.message(sequence, kind, &record, record.redelivered());
            }
            Err(RecvTimeoutError::TimedOut(_)) => check.note(),
            Err(RecvTimeoutError::End(end)) => break end,
        }
    };
    ended(end, receiver.ending())
}

fn receive_records(order: &Order, check: &mut Check) -> String {
    let reader = Reader::<Adaptive>::join_with(order.name(), Start::Oldest, &join_options(order));
    receive(&mut reader.unwrap(), check)
}

fn receive_as_member(order: &Order, group: &str, check: &mut Check) -> String {
    let options = join_options(order).hold_when_empty(true);
    let member = Member::<Adaptive>::join_with(order.name(), group, Start::Oldest, &options);
    check.careful = true;
    receive(&mut member.unwrap(), check)
}

fn receive_fixed(order: &Order, check: &mut Check) -> String {
    let options = join_options(order);
    let consumer =
        ring::Consumer::<Fixed, Adaptive>::join_with(order.name(), Start::Oldest, &options);
    let mut consumer = consumer.unwrap();
    let end = loop {
        if check.is_done() {
            return "not".to_owned();
        }
        match consumer.recv_batch_timeout(FEW as usize, SLICE) {
            Ok(batch) => {
                for (message, sequence) in batch.iter().zip(batch.first().get()..) {
                    let sequence = Sequence::new(sequence);
                    check.message(sequence, 0, bytemuck::bytes_of(message), false);
                }
            }
            Err(RecvTimeoutError::TimedOut(_)) => check.note(),
            Err(RecvTimeoutError::End(end)) => break end,
        }
    };
    ended(end, consumer.ending())
}

fn ended(end: RecvError, ending: Ending) -> String {
    match (end, ending) {
        (RecvError::Closed, _) => "closed".to_owned(),
        (RecvError::Aborted, Ending::Aborted { reason }) => format!("aborted {reason}"),
        (RecvError::ProducerDied, _) => "died".to_owned(),
        (end, ending) => panic!("{end}; {ending:?}"),
    }
}

/// Checks messages.
struct Check {
    shape: Shape,
    /// The number of the next message, if that is known.
    next: Option<u64>,
    /// The sequence of the next message.
    sequence: u64,
    /// The sequence of message 0.
    origin: u64,
    last: Option<u64>,
    first: Option<u64>,
    /// Whether it notes every message, before it is given back.
    careful: bool,
    /// Where the messages of a shared group are listed.
    list: Option<File>,
    redelivered: u64,
    checksum: u64,
    pause: Duration,
    note: Note,
    expected: Vec<u8>,
}

impl Check {
    fn new(order: &Order) -> Self {
        let (shape, note) = (order.shape(), Note::open(order.note()));
        let origin = order.number("origin").unwrap_or(0);
        // A member that was started before goes on where it was; others begin with what the ring has.
        let begun = note.read();
        let next = match (order.get("group"), begun) {
            (Some(_), Some(next)) => Some(next),
            (None, Some(_)) => None,
            (_, None) => order.number("from"),
        };
        let is_sharing = order.get("sharing").is_some();
        Self {
            shape,
            next: if is_sharing { None } else { next },
            sequence: origin + next.map_or(0, |next| shape.offset(next)),
            origin,
            last: order.number("count"),
            first: None,
            careful: false,
            list: is_sharing.then(|| Taken::list(order.note())),
            redelivered: 0,
            checksum: 0,
            pause: order.pause(),
            note,
            expected: Vec::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.last.is_some_and(|last| self.next.is_some_and(|next| next >= last))
    }

    fn note(&self) {
        if let Some(next) = self.next {
            self.note.write(next);
        }
    }

    fn message(&mut self, sequence: Sequence, kind: u16, message: &[u8], redelivered: bool) {
        if let Some(list) = &self.list {
            let number = number_of(message).expect("messages that are shared have their numbers");
            self.shape.write(number, &mut self.expected);
            assert_eq!(message, &self.expected[..], "message {number}");
            Taken { number, redelivered }.add(list);
            self.next = Some(self.next.unwrap_or(0) + 1);
            rest(self.pause);
            return self.note();
        }
        let number = self.number_at(sequence, message, redelivered);
        self.shape.write(number, &mut self.expected);
        let said = || format!("message {number}, which says that it is {:?}", number_of(message));
        assert!(message == self.expected, "{} has other bytes", said());
        assert_eq!(kind, self.shape.kind(number), "the kind of {}", said());
        self.first.get_or_insert(number);
        self.next = Some(number + 1);
        self.sequence = sequence.get() + self.shape.room(number);
        self.checksum = checksum(self.checksum, kind, message);
        rest(self.pause);
        if self.careful || number.is_multiple_of(NOTE) {
            self.note();
        }
    }

    /// The number of the message that came. It is the next one, unless a member has died with it before.
    fn number_at(&mut self, sequence: Sequence, message: &[u8], redelivered: bool) -> u64 {
        match self.next {
            Some(next) if sequence.get() == self.sequence => next,
            Some(next) if redelivered => {
                let number = self.find(sequence);
                assert!(number < next, "expected message {next}, found a later one: {number}");
                self.redelivered += 1;
                number
            }
            Some(next) => {
                let (expected, found) = (self.sequence, sequence.get());
                let what = if found > expected { "a gap" } else { "a repeat" };
                let said = number_of(message);
                panic!(
                    "expected message {next} at sequence {expected}, found {said:?} at {found}: {what}"
                )
            }
            None => self.find(sequence),
        }
    }

    /// The number of the message that has this sequence.
    fn find(&self, sequence: Sequence) -> u64 {
        let (mut number, mut at) = (0, self.origin);
        while at < sequence.get() {
            at += self.shape.room(number);
            number += 1;
        }
        assert_eq!(at, sequence.get(), "no message begins there");
        number
    }

    fn report(&self, ended: &str) {
        self.note();
        let next = self.next.unwrap_or(0);
        let first = self.first.unwrap_or(next);
        let Self { redelivered, checksum, .. } = self;
        // libtest has begun a line.
        println!("\nreceived {first} {next} {redelivered} {checksum} {ended}");
    }
}

/// The number that a message says it has.
fn number_of(message: &[u8]) -> Option<u64> {
    message.first_chunk::<NUMBER>().map(|number| u64::from_le_bytes(*number))
}
