//! The parts of the processes that the stress test starts and kills.

use std::env;
use std::fs::File;
use std::io::{Read, Write, stdin};
use std::thread;
use std::time::Duration;

use ::common::sync::{Arc, AtomicBool, Ordering};
use ::common::{QueueName, Sequence};
use day2::segment::READY_TIMEOUT;
use day2::{Mode, OpenError, Segment};
use day3::sequencer::Cursor;
use day3::{
    Consumer, JoinError, Member, Producer, Receiver, RecvError, RecvTimeoutError, Start, Tap,
};
use testing::{DEADLINE, Dice, Program, another, eventually};

use crate::numbered::{Message, message};

/// Messages that the ring holds.
pub(crate) const CAPACITY: u64 = 256;
/// How many messages a consumer has in hand at most.
const BATCH: u64 = 48;
/// How many consumers stay from the first message to the last.
pub(crate) const RESIDENTS: usize = 2;
/// The group that all members are in.
const GROUP: &str = "crew";

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Post {
    /// Sends until its standard input is closed.
    Producer,
    /// A broadcast consumer that stays.
    Broadcast,
    /// A member of the group that stays.
    Member,
    /// Comes and goes, as a broadcast consumer or as a member.
    Guest,
    /// Only joins and leaves.
    Passerby,
    /// A tap that stays.
    Tap,
    /// Holds the lock of joining for ever.
    Joiner,
}

impl Post {
    const ALL: [Self; 7] = [
        Self::Producer,
        Self::Broadcast,
        Self::Member,
        Self::Guest,
        Self::Passerby,
        Self::Tap,
        Self::Joiner,
    ];

    /// Whether it can die with messages of the group in hand.
    pub(crate) fn shares(self) -> bool {
        matches!(self, Self::Member | Self::Guest)
    }

    /// Starts this very program as another process, in which only [`play`] runs.
    pub(crate) fn start(self, ring: &QueueName, record: &std::path::Path, seed: u64) -> Program {
        let mut command = another("a_part");
        command.env("FANOUT_PART", format!("{self:?}"));
        command.env("FANOUT_RING", ring.as_str());
        command.env("FANOUT_RECORD", record);
        command.env("FANOUT_SEED", seed.to_string());
        Program::start(&mut command)
    }
}

/// A process with its part: what it was told, and where it writes down what it did.
struct Part {
    ring: QueueName,
    record: File,
    dice: Dice,
    alone: Arc<AtomicBool>,
}

/// Plays the part that the environment names. There is none if all ignored tests are run.
pub(crate) fn play() {
    let Ok(role) = env::var("FANOUT_PART") else { return };
    let given = |name| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let role = Post::ALL.into_iter().find(|known| format!("{known:?}") == role).unwrap();
    let alone = Arc::new(AtomicBool::new(false));
    let told = alone.clone();
    // The test closes it, or the kernel does if the test itself is killed.
    thread::spawn(move || {
        let _ = stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    let ring = given("FANOUT_RING").parse().unwrap();
    let record = File::options().append(true).create(true).open(given("FANOUT_RECORD")).unwrap();
    Part { ring, record, dice: Dice::seeded(), alone }.play(role);
}

impl Part {
    fn play(mut self, role: Post) {
        self.note("joining".to_owned());
        match role {
            Post::Producer => self.produce(),
            Post::Broadcast => {
                if let Some(consumer) = there(Consumer::join(&self.ring, Start::Oldest)) {
                    self.read(consumer, Duty::Everything, u64::MAX);
                }
            }
            Post::Member => {
                if let Some(member) = there(Member::join(&self.ring, GROUP, Start::Oldest)) {
                    self.read(member, Duty::Share, u64::MAX);
                }
            }
            Post::Guest => self.visit(500),
            Post::Passerby => self.visit(1),
            Post::Tap => self.listen(),
            Post::Joiner => {
                let segment = Segment::open(&self.ring, Mode::Reader, READY_TIMEOUT).unwrap();
                let _lock = segment.lock(READY_TIMEOUT).unwrap();
                self.note("locked".to_owned());
                eventually("the test has ended", || self.is_alone());
            }
        }
    }

    /// Writes a line, in one piece unless the process is killed meanwhile.
    fn note(&mut self, line: String) {
        self.record.write_all((line + "\n").as_bytes()).unwrap();
    }

    /// Whether the producer is gone.
    fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed)
    }

    fn rest(&mut self, once_in: u64) {
        if self.dice.once_in(once_in) {
            thread::sleep(self.dice.pause(Duration::from_micros(500)));
        }
    }

    fn produce(&mut self) {
        let mut producer = Producer::<Message>::create(&self.ring, CAPACITY).unwrap();
        producer.wait_for_consumers(RESIDENTS, DEADLINE).unwrap();
        while !self.is_alone() {
            let n = 1 + self.dice.below(BATCH) as usize;
            if let Ok(mut places) = producer.try_reserve(n) {
                let sequences = places.first().get()..;
                let (head, tail) = places.slices();
                for (place, sequence) in head.iter_mut().chain(tail).zip(sequences) {
                    *place = message(sequence);
                }
                // If it is killed here, it has written messages that must not become visible.
                self.rest(64);
                places.publish();
            } else {
                // A dead consumer does not hold it back for long: it asks by itself.
                thread::yield_now();
            }
            self.rest(32);
        }
        producer.close();
        producer.drain(DEADLINE).expect("all consumers have read everything");
        self.note(format!("end {}", producer.next_sequence()));
    }

    /// Joins, takes fewer than `most` messages, leaves, and so on.
    fn visit(&mut self, most: u64) {
        while !self.is_alone() {
            let start = [Start::Oldest, Start::Latest][self.dice.below(2) as usize];
            let count = self.dice.below(most);
            let visit = if self.dice.once_in(2) {
                there(Consumer::join(&self.ring, start))
                    .map(|consumer| self.read(consumer, Duty::Everything, count))
            } else {
                there(Member::join(&self.ring, GROUP, start))
                    .map(|member| self.read(member, Duty::Share, count))
            };
            if visit.is_none() {
                return;
            }
            self.note("joining".to_owned());
        }
    }

    /// Reads `count` messages, or all if there are fewer, and leaves.
    fn read<K: Cursor>(&mut self, mut receiver: Receiver<Message, K>, duty: Duty, count: u64) {
        let mut next = receiver.first_sequence();
        self.note(format!("first {next}"));
        let mut left = count;
        while left > 0 {
            let most = left.min(1 + self.dice.below(BATCH)) as usize;
            let lent = match receiver.recv_batch_timeout(most, Duration::from_millis(1)) {
                Ok(lent) => lent,
                Err(RecvTimeoutError::TimedOut(_)) => continue,
                Err(RecvTimeoutError::End(RecvError::Closed | RecvError::ProducerDied)) => break,
                Err(error) => panic!("{error}"),
            };
            // Whatever it has in hand must stay unchanged for as long as that takes.
            self.rest(16);
            if lent.first().is_before(next) {
                self.note(format!("back {}", lent.first()));
            }
            next = check(duty, next, lent.iter());
            if duty == Duty::Share {
                self.note(format!("run {} {}", lent.first(), lent.len()));
            }
            left -= lent.len() as u64;
        }
        let word = if left > 0 && duty == Duty::Everything { "end" } else { "left" };
        self.note(format!("{word} {next}"));
        if count == u64::MAX {
            // A group without members is forgotten: the next member would begin a new group.
            eventually("the test has ended", || self.is_alone());
        }
    }

    fn listen(&mut self) {
        let Some(mut tap) = there(Tap::<Message>::open(&self.ring, Start::Oldest)) else { return };
        self.note("first of a tap".to_owned());
        let (mut next, mut begin) = (Sequence::ZERO, None);
        loop {
            match tap.recv_timeout(Duration::from_millis(1)) {
                Ok(found) => {
                    next = check(Duty::Glimpses, next, [&found].into_iter());
                    // The tap reads one message at a time, so the sums must agree after every
                    // message.
                    let began = next.minus(tap.received()).minus(tap.lost());
                    assert_eq!(*begin.get_or_insert(began), began, "received + lost is not sent");
                }
                Err(RecvTimeoutError::TimedOut(_)) => {}
                Err(RecvTimeoutError::End(RecvError::Closed | RecvError::ProducerDied)) => break,
                Err(error) => panic!("{error}"),
            }
            self.rest(4096);
        }
        assert_eq!(tap.lag(), 0);
    }
}

/// What it has joined; `None` if it came so late that the producer and the name were gone.
fn there<T>(joined: Result<T, JoinError>) -> Option<T> {
    match joined {
        Ok(joined) => Some(joined),
        Err(JoinError::Open(OpenError::NotFound { .. })) => None,
        Err(error) => panic!("{error}"),
    }
}

/// What a reader should get.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duty {
    /// Every message, in order.
    Everything,
    /// Some messages, in order.
    Glimpses,
    /// Some messages, in order within a batch: what a dead member has left is older than what was read last.
    Share,
}

/// Checks messages that were received. Returns what may come next.
fn check<'a>(
    duty: Duty,
    mut next: Sequence,
    messages: impl Iterator<Item = &'a Message>,
) -> Sequence {
    for (index, found) in messages.enumerate() {
        let sequence = Sequence::new(found[0]);
        assert_eq!(*found, message(sequence.get()), "torn; {next} was to come next");
        let in_order = sequence == next
            || duty != Duty::Everything && next.is_before(sequence)
            || duty == Duty::Share && index == 0;
        assert!(in_order, "{next} was to come next, found {sequence}");
        next = sequence.plus(1);
    }
    next
}
