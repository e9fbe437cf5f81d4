//! Random schedules against a model, with all sizes, batches and wrap positions.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::sync::Arc;

use day3::{JoinOptions, QueueOptions, Start};
use day4::{
    ByteMemory, Local, Member, Reader, RecvError, SendError, Tap, TryRecvError, TrySendError,
    Writer, record_len,
};
use proptest::prelude::*;

/// Bytes in the ring: the smallest capacity.
const CAPACITY: usize = 4096;

/// What a step does.
#[derive(Clone, Debug)]
enum Step {
    /// Sends one message.
    Send(usize),
    /// Reserves so many bytes, and sends this many hundredths of them.
    Reservation(usize, usize),
    /// Sends several messages at once, or drops them.
    Batch(Vec<usize>, bool),
    /// This consumer reads a message.
    Read(usize),
    /// This consumer reads messages that together take so many bytes of ring.
    ReadBatch(usize, usize),
    /// The tap looks at so many messages.
    Look(usize),
    /// A new consumer reads what there is from the oldest message on.
    Join,
}

/// Lengths that are often short, and sometimes fill the whole ring.
fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0usize..64,
        3 => 0usize..1024,
        1 => 0usize..=CAPACITY - 8,
        1 => Just(CAPACITY - 8),
        1 => CAPACITY - 7..CAPACITY + 9,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => len().prop_map(Step::Send),
        2 => (len(), 0usize..=100).prop_map(|(most, share)| Step::Reservation(most, share)),
        2 => (prop::collection::vec(0usize..300, 0..8), prop::bool::weighted(0.8))
            .prop_map(|(lens, publish)| Step::Batch(lens, publish)),
        4 => (0usize..4).prop_map(Step::Read),
        2 => (0usize..4, len()).prop_map(|(who, bytes)| Step::ReadBatch(who, bytes)),
        2 => (0usize..30).prop_map(Step::Look),
        1 => Just(Step::Join),
    ]
}

fn content(number: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (number.wrapping_mul(31) + i * i) as u8).collect()
}

/// The ring and its consumers, and what they should hold.
struct World {
    memory: Arc<dyn ByteMemory>,
    writer: Writer,
    readers: [Reader; 2],
    members: [Member; 2],
    tap: Tap,
    /// Every message ever sent.
    sent: Vec<Vec<u8>>,
    /// The numbers of the messages that each reader, and the group, has yet to read.
    pending: [VecDeque<usize>; 3],
    seen_by_tap: u64,
}

impl World {
    fn new(first: u64) -> Self {
        let memory: Arc<dyn ByteMemory> =
            Local::new(&QueueOptions::new(CAPACITY as u64).first(first)).unwrap();
        // SAFETY: made just now, and this is its only writer.
        let writer = unsafe { Writer::from_memory(memory.clone()) };
        let options = JoinOptions::new();
        let reader = || {
            // SAFETY: a ring of records.
            unsafe { Reader::from_memory(memory.clone(), Start::Oldest, &options) }.unwrap()
        };
        let member = || {
            // SAFETY: a ring of records.
            unsafe { Member::from_memory(memory.clone(), "g", Start::Oldest, &options) }.unwrap()
        };
        // SAFETY: a ring of records.
        let tap = unsafe { Tap::from_memory(memory.clone(), Start::Oldest, &options) }.unwrap();
        let (readers, members) = ([reader(), reader()], [member(), member()]);
        let (sent, pending) = (Vec::new(), [const { VecDeque::new() }; 3]);
        Self { memory, writer, readers, members, tap, sent, pending, seen_by_tap: 0 }
    }

    /// How many bytes of ring have yet to be read.
    fn used(&self) -> usize {
        let size = |&number: &usize| record_len(self.sent[number].len());
        self.pending.iter().map(|pending| pending.iter().map(size).sum()).max().unwrap_or(0)
    }

    fn record(&mut self, message: Vec<u8>) {
        for pending in &mut self.pending {
            pending.push_back(self.sent.len());
        }
        self.sent.push(message);
    }

    /// The right answer to a claim of this size.
    fn expected(&self, len: usize, size: usize) -> Result<(), &'static str> {
        if len > CAPACITY - 8 {
            Err("too large")
        } else if self.used() + size > CAPACITY {
            Err("full")
        } else {
            Ok(())
        }
    }

    fn next(&self, len: usize) -> Vec<u8> {
        content(self.sent.len() as u64, len)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send(len) => {
                let message = self.next(len);
                let expected = self.expected(len, record_len(len));
                assert_eq!(self.writer.try_send(&message).map_err(why), expected);
                if expected.is_ok() {
                    self.record(message);
                }
            }
            Step::Reservation(most, share) => {
                let expected = self.expected(most, record_len(most));
                let message = self.next(most * share / 100);
                match self.writer.try_reserve(most) {
                    Ok(mut reservation) => {
                        assert_eq!(expected, Ok(()));
                        reservation[..message.len()].copy_from_slice(&message);
                        reservation.publish(message.len());
                        self.record(message);
                    }
                    Err(error) => assert_eq!(Err(why(error)), expected),
                }
            }
            Step::Batch(lens, publish) => self.send_batch(&lens, publish),
            Step::Read(who) => self.read(who, None),
            Step::ReadBatch(who, bytes) => self.read(who, Some(bytes)),
            Step::Look(most) => self.look(most),
            Step::Join => self.join(),
        }
        assert_eq!(self.writer.sent(), self.sent.len() as u64);
    }

    fn send_batch(&mut self, lens: &[usize], publish: bool) {
        let numbers = self.sent.len()..;
        let messages: Vec<_> =
            lens.iter().zip(numbers).map(|(&len, number)| content(number as u64, len)).collect();
        let size: usize = lens.iter().map(|&len| record_len(len)).sum();
        let expected = self.expected(0, size.max(8));
        match self.writer.try_batch(size) {
            Ok(mut batch) => {
                assert_eq!(expected, Ok(()));
                for message in &messages {
                    batch.push(message).unwrap();
                }
                if publish {
                    batch.publish();
                    messages.into_iter().for_each(|message| self.record(message));
                }
            }
            Err(error) => assert_eq!(Err(why(error)), expected),
        }
    }

    /// Readers 0 and 1, and members 2 and 3, which share what is pending.
    fn read(&mut self, who: usize, bytes: Option<usize>) {
        let found: Result<Vec<Vec<u8>>, _> = match (who, bytes) {
            (0 | 1, None) => self.readers[who].try_recv().map(|record| vec![record.to_vec()]),
            (_, None) => self.members[who - 2].try_recv().map(|record| vec![record.to_vec()]),
            (0 | 1, Some(bytes)) => self.readers[who]
                .try_recv_batch(bytes)
                .map(|batch| batch.iter().map(<[u8]>::to_vec).collect()),
            (_, Some(bytes)) => self.members[who - 2]
                .try_recv_batch(bytes)
                .map(|batch| batch.iter().map(<[u8]>::to_vec).collect()),
        };
        let pending = &mut self.pending[who.min(2)];
        match found {
            Ok(found) => {
                let size: usize = found.iter().map(|message| record_len(message.len())).sum();
                assert!(found.len() == 1 || size <= bytes.unwrap_or(0));
                for message in found {
                    let number = pending.pop_front().expect("nothing is read twice");
                    assert!(message == self.sent[number], "message {number}");
                }
            }
            Err(error) => {
                assert_eq!(error, TryRecvError::Empty);
                assert!(pending.is_empty(), "{} are pending", pending.len());
            }
        }
    }

    fn look(&mut self, most: usize) {
        let mut message = Vec::new();
        for _ in 0..most {
            match self.tap.try_recv(&mut message) {
                Ok(_) => {
                    let number = self.tap.received() + self.tap.lost() - 1;
                    assert!(message == self.sent[number as usize], "message {number}");
                    assert!(number >= self.seen_by_tap);
                    self.seen_by_tap = number + 1;
                }
                Err(error) => {
                    assert_eq!(error, TryRecvError::Empty);
                    assert_eq!(self.tap.received() + self.tap.lost(), self.sent.len() as u64);
                    break;
                }
            }
        }
    }

    fn join(&mut self) {
        // SAFETY: a ring of records.
        let reader =
            unsafe { Reader::from_memory(self.memory.clone(), Start::Oldest, &JoinOptions::new()) };
        let mut reader = reader.unwrap();
        let mut found = Vec::new();
        while let Ok(batch) = reader.try_recv_batch(usize::MAX) {
            found.extend(batch.iter().map(<[u8]>::to_vec));
        }
        assert!(self.sent.ends_with(&found), "{} found", found.len());
    }
}

fn why(error: TrySendError) -> &'static str {
    match error {
        TrySendError::Full => "full",
        TrySendError::End(SendError::TooLarge(_)) => "too large",
        TrySendError::End(_) => "ended",
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_ring_does_what_its_model_does(
        first in prop_oneof![Just(0u64), any::<u64>(), Just(u64::MAX - 4095)],
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(first & !7);
        for step in steps {
            world.step(step);
        }
        for who in [0, 1, 2] {
            while !world.pending[who].is_empty() {
                world.read(who, Some(CAPACITY));
            }
        }
        world.look(usize::MAX);
        world.writer.close();
        prop_assert_eq!(world.readers[0].try_recv().err(), Some(TryRecvError::End(RecvError::Closed)));
    }
}

/// Every place in the ring that a record can begin at, with every length around a wrap.
#[test]
fn every_wrap_position() {
    let mut world = World::new(0);
    for offset in (0..CAPACITY).step_by(8) {
        let to_end = CAPACITY - offset;
        for len in [0, 1, 7, 8, to_end.saturating_sub(9), to_end.saturating_sub(8), to_end] {
            let len = len.min(CAPACITY - 8);
            let now = world.writer.next_sequence().get() as usize % CAPACITY;
            // Fill the ring up to where the record is to begin.
            let gap = (offset + CAPACITY - now) % CAPACITY;
            if gap > 0 {
                world.step(Step::Send(gap - 8));
                (0..3).for_each(|who| world.step(Step::Read(who)));
            }
            assert_eq!(world.writer.next_sequence().get() as usize % CAPACITY, offset);
            world.step(Step::Send(len));
            (0..3).for_each(|who| world.step(Step::Read(who)));
        }
        world.look(usize::MAX);
    }
}
