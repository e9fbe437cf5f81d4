//! Models of what Day 4 adds: marks, landing on them, and takes whose length depends on what they
//! find. The real marks, and Day 3's real sequencer, roster, group and tap, over a ring of four
//! words.
//!
//! `cargo model -p day4 --test loom_models` explores them; an ordinary `cargo test` runs each once on
//! real threads. `FANOUT_PREEMPTIONS` and `FANOUT_MUTANT` work as on Day 3.

use common::sync::{
    Arc, AtomicU64, Mutex, Ordering, UnsafeCell, explore_model as explore, thread, yield_now,
};
use common::{Capacity, Sequence};
use day3::Start;
use day3::group::MemberCursor;
use day3::landing::{Landing, Mark, Trail};
use day3::link::HeapLines;
use day3::measured::Measured;
use day3::roster::{self, JoinAs, JoinRequest, Registration, Ring};
use day3::sequencer::{ConsumerCursor, Cursor, ProducerCursor, Run, Unavailable};
use day3::tap::TapCursor;
use day4::frame::Frame;
use day4::marks::Marks;

/// Sequences start shortly before they wrap.
const FIRST: Sequence = Sequence::new(u64::MAX - 15);
/// Four words of 8 bytes.
const CAPACITY: u64 = 32;
/// How often an end that finds nothing looks again.
const TRIES: usize = 3;

/// A word of the ring. It is stored once as taps and headers are read, and once as a message is
/// (loom reports a read of it that is not ordered with a write).
struct Place {
    word: AtomicU64,
    message: UnsafeCell<u64>,
}

struct Places(Vec<Place>);

// SAFETY: the cells are reached only for sequences that the protocol has given out; the models
// check just that.
unsafe impl Send for Places {}
// SAFETY: as above.
unsafe impl Sync for Places {}

/// The content of a message's word at this sequence: it is no header, and differs from all other
/// laps.
fn content(sequence: Sequence) -> u64 {
    sequence.get() ^ 0xa5a5
}

/// A ring of records, and the ways to attach to it.
#[derive(Clone)]
struct Rig {
    control: HeapLines<2>,
    marks: Arc<Marks>,
    places: Arc<Places>,
    admission: Arc<Mutex<()>>,
    ring: Ring,
}

impl Rig {
    fn new() -> Self {
        let place = |_| Place { word: AtomicU64::new(0), message: UnsafeCell::new(0) };
        Self {
            control: HeapLines::new(FIRST),
            marks: Arc::new(Marks::new(FIRST)),
            places: Arc::new(Places((0..CAPACITY / 8).map(place).collect())),
            admission: Arc::new(Mutex::new(())),
            ring: Ring { capacity: Capacity::new(CAPACITY).unwrap(), first: FIRST },
        }
    }

    fn place(&self, sequence: Sequence) -> &Place {
        &self.places.0[self.ring.capacity.index(sequence) / 8]
    }

    fn frame(&self, run: Run) -> Option<Frame> {
        Frame::parse(self.place(run.first).word.load(Ordering::Relaxed), run.len)
    }

    fn writer(&self) -> Writer {
        let trail = Counting { marks: self.marks.clone(), capacity: self.ring.capacity, sent: 0 };
        let control = self.control.clone();
        // SAFETY: each model makes one.
        let cursor = unsafe { ProducerCursor::leaving(control, self.ring.capacity, FIRST, trail) };
        Writer { cursor, rig: self.clone() }
    }

    fn join(&self, role: JoinAs<'_>, start: Start) -> Registration {
        let request = JoinRequest { role, start, owner: 1, label: "" };
        let _admitted = self.admission.lock().unwrap();
        // SAFETY: nobody else joins.
        unsafe { roster::join(&self.control, self.ring, &*self.marks, &request) }.unwrap()
    }

    fn reader(&self, start: Start) -> Reader<ConsumerCursor<HeapLines<2>>> {
        let registration = self.join(JoinAs::Broadcast, start);
        // SAFETY: the registration was just given out.
        let cursor = unsafe { ConsumerCursor::new(self.control.clone(), registration) };
        Reader { cursor, rig: self.clone() }
    }

    fn member(&self) -> Reader<MemberCursor<HeapLines<2>>> {
        let registration =
            self.join(JoinAs::Member { group: "g", holds: false, holds_end: false }, Start::Latest);
        // SAFETY: the registration was just given out.
        let cursor = unsafe { MemberCursor::new(self.control.clone(), registration) };
        Reader { cursor, rig: self.clone() }
    }

    fn tap(&self) -> Watcher {
        let begin = Mark { sequence: FIRST, number: 0 };
        let landing = Trailing(self.marks.clone());
        let cursor = TapCursor::landing(self.control.clone(), self.ring, landing, begin);
        Watcher { cursor, rig: self.clone() }
    }
}

struct Counting {
    marks: Arc<Marks>,
    capacity: Capacity,
    sent: u64,
}

impl Trail for Counting {
    fn mark(&mut self, next: Sequence) {
        let mark = Mark { sequence: next, number: self.sent };
        // SAFETY: the next record begins there.
        unsafe { self.marks.leave(self.capacity, mark) };
    }
}

struct Trailing(Arc<Marks>);

impl Landing for Trailing {
    fn at_or_after(&self, from: Sequence) -> Option<Mark> {
        self.0.at_or_after(from)
    }
}

struct Writer {
    cursor: ProducerCursor<HeapLines<2>, Counting>,
    rig: Rig,
}

impl Writer {
    /// Sends a message of so many words if there is room now.
    fn try_send(&mut self, words: u32) -> bool {
        let frame = Frame::new(8 * words, 0);
        let Ok(first) = self.cursor.claim(frame.size()) else { return false };
        self.rig.place(first).word.store(frame.word(), Ordering::Relaxed);
        for sequence in (1..=u64::from(words)).map(|i| first.plus(8 * i)) {
            let place = self.rig.place(sequence);
            place.word.store(content(sequence), Ordering::Relaxed);
            // SAFETY: claimed; loom checks that no other thread uses the place.
            place.message.with_mut(|p| unsafe { *p = content(sequence) });
        }
        self.cursor.trail().sent += 1;
        // SAFETY: claimed and written.
        unsafe { self.cursor.publish(frame.size()) };
        true
    }

    /// Sends for taps, which read words and no cells.
    fn try_send_words(&mut self, words: u32) -> bool {
        let frame = Frame::new(8 * words, 0);
        let Ok(first) = self.cursor.claim(frame.size()) else { return false };
        self.rig.place(first).word.store(frame.word(), Ordering::Relaxed);
        for sequence in (1..=u64::from(words)).map(|i| first.plus(8 * i)) {
            self.rig.place(sequence).word.store(content(sequence), Ordering::Relaxed);
        }
        self.cursor.trail().sent += 1;
        // SAFETY: claimed and written.
        unsafe { self.cursor.publish(frame.size()) };
        true
    }
}

struct Reader<C> {
    cursor: C,
    rig: Rig,
}

impl<C: Measured> Reader<C> {
    /// Takes, checks and releases one message. Returns where it began, and its length in words.
    fn try_read(&mut self) -> Result<(Sequence, u32), Unavailable> {
        let (rig, mut seen) = (&self.rig, None);
        let run = self.cursor.take_by(|run| {
            seen = rig.frame(run);
            seen.map_or(0, Frame::size)
        })?;
        let frame = seen.filter(|_| run.len > 0).expect("every record is one");
        assert_eq!(frame.size(), run.len);
        assert_eq!(rig.frame(run), Some(frame), "nobody writes what was taken");
        for sequence in (8..run.len).step_by(8).map(|i| run.first.plus(i)) {
            // SAFETY: taken; loom checks that it is not written meanwhile.
            let found = rig.place(sequence).message.with(|p| unsafe { *p });
            assert_eq!(found, content(sequence), "the message at {} is another message", run.first);
        }
        self.cursor.release();
        Ok((run.first, frame.len / 8))
    }

    /// Takes as many messages as there are, walking from header to header; checks and releases them.
    fn try_read_many(&mut self) -> Result<Vec<(Sequence, u32)>, Unavailable> {
        let (rig, mut seen) = (&self.rig, Vec::new());
        let run = self.cursor.take_by(|run| {
            assert!(run.len <= CAPACITY, "{} bytes to walk over", run.len);
            seen.clear();
            let mut len = 0;
            while len < run.len {
                let rest = Run { first: run.first.plus(len), len: run.len - len };
                let Some(frame) = rig.frame(rest) else { break };
                seen.push((rest.first, frame.len / 8));
                len += frame.size();
            }
            len
        });
        assert!(!matches!(run, Err(Unavailable::Corrupt { .. })), "a run beyond the ring: {run:?}");
        let run = run?;
        assert!(run.len > 0, "every record is one");
        for &(begun, words) in &seen {
            for sequence in (1..=u64::from(words)).map(|i| begun.plus(8 * i)) {
                // SAFETY: taken; loom checks that it is not written meanwhile.
                let found = rig.place(sequence).message.with(|p| unsafe { *p });
                assert_eq!(found, content(sequence), "the message at {begun} is another message");
            }
        }
        self.cursor.release();
        Ok(seen)
    }

    fn read(&mut self, most: usize) -> Vec<(Sequence, u32)> {
        let mut found = Vec::new();
        let mut tries = 0;
        while found.len() < most && tries < TRIES {
            match self.try_read() {
                Ok(one) => found.push(one),
                Err(_) => {
                    tries += 1;
                    yield_now();
                }
            }
        }
        found
    }

    fn drain(&mut self) -> Vec<(Sequence, u32)> {
        core::iter::from_fn(|| self.try_read().ok()).collect()
    }
}

struct Watcher {
    cursor: TapCursor<HeapLines<2>, Trailing>,
    rig: Rig,
}

impl Watcher {
    /// Copies one message. If the tap trusts it, checks it. Returns whether the tap trusted it.
    fn try_read(&mut self) -> Result<bool, Unavailable> {
        let all = self.cursor.take(u64::MAX)?;
        let Some(frame) = self.rig.frame(all) else {
            assert!(self.cursor.torn(all) > 0, "no record begins at {}", all.first);
            return Ok(self.cursor.confirm_one(all));
        };
        let run = Run { first: all.first, len: frame.size() };
        let words = || (8..run.len).step_by(8).map(|i| run.first.plus(i));
        let copy: Vec<_> =
            words().map(|at| self.rig.place(at).word.load(Ordering::Relaxed)).collect();
        let trusted = self.cursor.confirm_one(run);
        if trusted {
            let sent: Vec<_> = words().map(content).collect();
            assert_eq!(copy, sent, "the message at {} is torn", run.first);
        }
        Ok(trusted)
    }
}

/// A reader of a mark always reads a whole mark.
#[test]
fn a_mark_is_read_whole() {
    explore("a_mark_is_read_whole", None, || {
        let marks = Arc::new(Marks::new(Sequence::ZERO));
        let leaver = marks.clone();
        let thread = thread::spawn(move || {
            let capacity = Capacity::new(CAPACITY).unwrap();
            for number in 1..=2 {
                let mark = Mark { sequence: Sequence::new(8 * number), number };
                // SAFETY: no record is read there.
                unsafe { leaver.leave(capacity, mark) };
            }
        });
        if let Some(mark) = marks.at_or_after(Sequence::ZERO) {
            assert_eq!(
                mark.sequence.get(),
                8 * mark.number,
                "half of one mark and half of another"
            );
        }
        thread.join().unwrap();
        let last = Mark { sequence: Sequence::new(16), number: 2 };
        assert_eq!(marks.at_or_before(last.sequence), Some(last));
    });
}

/// A tap that is lapped while it copies lands at the beginning of a message, and knows what it
/// missed.
#[test]
fn a_tap_lands_where_a_message_begins() {
    explore("a_tap_lands_where_a_message_begins", Some(4), || {
        let rig = Rig::new();
        let mut tap = rig.tap();
        let mut writer = rig.writer();
        // A message of one word, and an empty message.
        assert!(writer.try_send_words(1) && writer.try_send_words(0));
        let sender = thread::spawn(move || {
            // Now records begin where the content of messages lay in the lap before.
            assert!(writer.try_send_words(0) && writer.try_send_words(1));
            writer
        });
        for _ in 0..2 {
            let _ = tap.try_read();
        }
        let mut writer = sender.join().unwrap();
        while tap.try_read().is_ok() {}
        assert_eq!(tap.cursor.received() + tap.cursor.lost(), 4);
        assert!(writer.try_send_words(3), "taps are in nobody's way");
        while tap.try_read().is_ok() {}
        assert_eq!(tap.cursor.received() + tap.cursor.lost(), 5);
    });
}

/// A consumer that joins at the oldest message begins where a message begins, and gets all that
/// follow.
#[test]
fn join_oldest_where_a_message_begins() {
    explore("join_oldest_where_a_message_begins", Some(3), || {
        let rig = Rig::new();
        let mut writer = rig.writer();
        assert!(writer.try_send(0) && writer.try_send(1));
        let sender = thread::spawn(move || {
            let sent = [1, 0].into_iter().filter(|&words| writer.try_send(words)).count();
            (writer, sent)
        });
        let mut reader = rig.reader(Start::Oldest);
        let first = reader.cursor.registration().first();
        let mut found = reader.read(1);
        let (_writer, _) = sender.join().unwrap();
        found.extend(reader.drain());
        let mut next = first;
        for (begun, words) in found {
            assert_eq!(begun, next, "from {first} on");
            next = begun.plus(8 + 8 * u64::from(words));
        }
        assert_eq!(next, rig.control.published(), "from {first} on");
    });
}

/// A member may measure a record that another member takes meanwhile, and that is then overwritten.
/// What it gets in the end is still a whole record, and no other member's.
#[test]
fn a_member_takes_whole_records() {
    explore("a_member_takes_whole_records", None, || {
        let rig = Rig::new();
        let (mut first, mut second) = (rig.member(), rig.member());
        let mut writer = rig.writer();
        // The ring is full, and its third word is the second header.
        assert!(writer.try_send(1) && writer.try_send(1));
        let mut found = vec![second.try_read().unwrap()];
        let taker = thread::spawn(move || {
            let found = first.read(1);
            (first, found)
        });
        found.extend(second.try_read());
        // In the third word, a message's content will replace a header.
        let sent = 2 + usize::from(writer.try_send(2));
        let (mut first, more) = taker.join().unwrap();
        found.extend(more);
        found.extend(first.drain());
        found.extend(second.drain());
        follow_one_another(found, sent);
    });
}

/// Checks that so many records were found, each of them once, without a gap between them.
fn follow_one_another(mut found: Vec<(Sequence, u32)>, sent: usize) {
    found.sort_by_key(|(begun, _)| begun.since(FIRST));
    assert_eq!(found.len(), sent, "{found:?}");
    let mut next = FIRST;
    for (begun, words) in found {
        assert_eq!(begun, next);
        next = begun.plus(8 + 8 * u64::from(words));
    }
}

/// A lap passes while a member looks, and walks over the records that it sees. It never walks over more
/// than the ring holds, and in the end it gets whole records.
#[test]
fn a_member_walks_over_many_records() {
    explore("a_member_walks_over_many_records", Some(2), || {
        let rig = Rig::new();
        let (mut slow, mut fast) = (rig.member(), rig.member());
        let mut writer = rig.writer();
        // The ring is full. In the next lap, words of messages lie where headers were.
        assert!(writer.try_send(0) && writer.try_send(0) && writer.try_send(1));
        let walker = thread::spawn(move || {
            let found = slow.try_read_many().unwrap_or_default();
            (slow, found)
        });
        let mut found = fast.try_read_many().unwrap_or_default();
        let mut sent = 3 + usize::from(writer.try_send(3));
        found.extend(fast.try_read_many().unwrap_or_default());
        sent += usize::from(writer.try_send(2));
        let (mut slow, more) = walker.join().unwrap();
        found.extend(more);
        found.extend(slow.drain());
        follow_one_another(found, sent);
    });
}
