//! A ring small enough to explore: the real control and cursors, and places that loom watches.

#[cfg(loom)]
use common::sync::dying_at;
use common::sync::{Arc, AtomicU64, Mutex, Ordering, UnsafeCell, thread, yield_now};
use common::{Capacity, Sequence};
use day2::Role;
use day3::group::MemberCursor;
use day3::landing::Everywhere;
use day3::link::{HeapLines, Lease, Link};
use day3::roster::{self, JoinAs, JoinRequest, NoSlot, Ring};
use day3::sequencer::{ConsumerCursor, Cursor, ProducerCursor, Run, Unavailable};
use day3::tap::TapCursor;
use day3::{Ending, Start};

/// Sequences start shortly before they wrap.
pub(crate) const FIRST: Sequence = Sequence::new(u64::MAX - 2);

/// How often an end that finds nothing looks again.
pub(crate) const TRIES: usize = 3;

/// A place for a message. It is stored once as a message (loom reports a read that is not ordered
/// with a write), and once as the two words that a tap copies.
struct Place {
    message: UnsafeCell<u64>,
    words: [AtomicU64; 2],
}

struct Places(Vec<Place>);

// SAFETY: the places are reached only for sequences that the protocol has given out; the models
// check just that.
unsafe impl Send for Places {}
// SAFETY: as above.
unsafe impl Sync for Places {}

/// What a message contains: never the same as another message in the same place.
fn message(sequence: Sequence) -> u64 {
    sequence.get() ^ 0xa5a5
}

/// The shared lines of a model's ring, and who is alive. A model of members that die has three.
pub(crate) type Lines = HeapLines<3>;

/// A ring, and the ways to attach to it.
#[derive(Clone)]
pub(crate) struct Rig {
    control: Lines,
    places: Arc<Places>,
    admission: Arc<Mutex<()>>,
    ring: Ring,
    /// A slot that nobody gets.
    closed: Option<std::sync::Arc<Lease>>,
}

impl Rig {
    /// A ring with room for two consumers, so that a slot is soon taken again.
    pub(crate) fn new(capacity: u64) -> Self {
        let mut rig = Self::for_three(capacity);
        let lease = rig.control.lease(Role::Slot(2)).unwrap();
        rig.closed = Some(std::sync::Arc::new(lease));
        rig
    }

    /// A ring with room for three consumers.
    pub(crate) fn for_three(capacity: u64) -> Self {
        let place = |_| Place {
            message: UnsafeCell::new(0),
            words: [AtomicU64::new(0), AtomicU64::new(0)],
        };
        let ring = Ring { capacity: Capacity::new(capacity).unwrap(), first: FIRST };
        Self {
            control: Lines::new(FIRST),
            places: Arc::new(Places((0..capacity).map(place).collect())),
            admission: Arc::new(Mutex::new(())),
            ring,
            closed: None,
        }
    }

    pub(crate) fn producer(&self) -> Writer {
        let (control, capacity) = (self.control.clone(), self.ring.capacity);
        // SAFETY: each model makes one.
        let cursor = unsafe { ProducerCursor::new(control, capacity, FIRST) };
        Writer { cursor, rig: self.clone(), payload: Payload::Message }
    }

    /// The producer that takes over from a dead one.
    #[cfg(loom)]
    pub(crate) fn successor(&self) -> Writer {
        let (control, capacity) = (self.control.clone(), self.ring.capacity);
        // SAFETY: the other one is dead.
        let cursor = unsafe { ProducerCursor::resuming(control, capacity, FIRST, ()) };
        Writer { cursor: cursor.unwrap(), rig: self.clone(), payload: Payload::Message }
    }

    /// A ring with room for three guests.
    pub(crate) fn with_rooms(capacity: u64) -> Self {
        let rig = Self::for_three(capacity);
        Self { control: Lines::with_rooms(FIRST), ..rig }
    }

    /// What the host does for a guest, and the guest.
    pub(crate) fn guest(&self, start: Start) -> Reader<ConsumerCursor<Lines>> {
        let register = || self.join(JoinAs::Broadcast, start);
        let (lines, registration) = self.control.admit(self.ring.capacity, register).unwrap();
        // SAFETY: the registration was just made, in these lines.
        let cursor = unsafe { ConsumerCursor::new(lines, registration) };
        Reader { cursor, rig: self.clone() }
    }

    /// A producer for models with taps: it writes words, as a tap copies them.
    pub(crate) fn producer_of_words(&self) -> Writer {
        Writer { payload: Payload::Words, ..self.producer() }
    }

    pub(crate) fn consumer(&self, start: Start) -> Reader<ConsumerCursor<Lines>> {
        let registration = self.join(JoinAs::Broadcast, start).unwrap();
        // SAFETY: the registration was just given out.
        let cursor = unsafe { ConsumerCursor::new(self.control.clone(), registration) };
        Reader { cursor, rig: self.clone() }
    }

    pub(crate) fn member(&self, start: Start) -> Reader<MemberCursor<Lines>> {
        self.member_of("g", start)
    }

    /// A member of this group.
    pub(crate) fn member_of(&self, group: &str, start: Start) -> Reader<MemberCursor<Lines>> {
        let registration =
            self.join(JoinAs::Member { group, holds: false, holds_end: false }, start).unwrap();
        // SAFETY: the registration was just given out.
        let cursor = unsafe { MemberCursor::new(self.control.clone(), registration) };
        Reader { cursor, rig: self.clone() }
    }

    pub(crate) fn tap(&self, start: Start) -> Watcher {
        let begin = self.published();
        let cursor = TapCursor::new(self.control.clone(), self.ring, start);
        Watcher { cursor, rig: self.clone(), begin }
    }

    pub(crate) fn join(
        &self,
        role: JoinAs<'_>,
        start: Start,
    ) -> Result<roster::Registration, NoSlot> {
        let request = JoinRequest { role, start, owner: 1, label: "" };
        let _admitted = self.admission.lock().unwrap();
        // SAFETY: nobody else joins.
        unsafe { roster::join(&self.control, self.ring, &Everywhere, &request) }
    }

    pub(crate) fn ending(&self) -> Ending {
        self.control.ending()
    }

    /// Frees the slot of a consumer that may live.
    pub(crate) fn evict(&self, slot: usize) {
        let listed = roster::list(&self.control);
        let consumer = listed.iter().find(|consumer| consumer.slot == slot).unwrap();
        // SAFETY: what it holds is not read any more.
        assert!(unsafe { roster::evict(&self.control, consumer) });
    }

    pub(crate) fn published(&self) -> Sequence {
        self.control.published()
    }

    fn place(&self, sequence: Sequence) -> &Place {
        &self.places.0[self.ring.capacity.index(sequence)]
    }
}

#[derive(Clone, Copy)]
enum Payload {
    Message,
    Words,
}

/// The producer.
pub(crate) struct Writer {
    pub(crate) cursor: ProducerCursor<Lines>,
    rig: Rig,
    payload: Payload,
}

impl Writer {
    /// Sends one message if there is room now.
    pub(crate) fn try_send(&mut self) -> bool {
        let Ok(sequence) = self.cursor.claim_one() else { return false };
        let place = self.rig.place(sequence);
        match self.payload {
            // SAFETY: claimed; loom checks that no other thread uses the place.
            Payload::Message => place.message.with_mut(|p| unsafe { *p = message(sequence) }),
            Payload::Words => {
                for word in &place.words {
                    word.store(message(sequence), Ordering::Relaxed);
                }
            }
        }
        // SAFETY: claimed and written.
        unsafe { self.cursor.publish(1) };
        true
    }

    /// Sends a message as a process does that is killed at this step, and dies; says whether it had come so far.
    #[cfg(loom)]
    pub(crate) fn send_and_die(mut self, step: &'static str) -> Option<Self> {
        match dying_at(step, || self.try_send()) {
            None => {
                self.cursor.die();
                None
            }
            Some(_) => Some(self),
        }
    }

    /// Sends two messages at once, if there is room now.
    pub(crate) fn try_send_two(&mut self) -> bool {
        let Ok(first) = self.cursor.claim(2) else { return false };
        for sequence in [first, first.plus(1)] {
            for word in &self.rig.place(sequence).words {
                word.store(message(sequence), Ordering::Relaxed);
            }
        }
        // SAFETY: claimed and written.
        unsafe { self.cursor.publish(2) };
        true
    }

    /// Sends one message if there is room within a few tries.
    pub(crate) fn send(&mut self) -> bool {
        (0..TRIES).any(|_| self.try_send() || pause())
    }

    /// Sends `n` messages. There is no consumer, or the consumers have room.
    pub(crate) fn send_now(mut self, n: u64) -> Self {
        for _ in 0..n {
            assert!(self.try_send(), "there is room for {n} messages");
        }
        self
    }
}

/// A registered consumer.
pub(crate) struct Reader<C> {
    pub(crate) cursor: C,
    rig: Rig,
}

impl<C: Cursor> Reader<C> {
    pub(crate) fn first(&self) -> Sequence {
        self.cursor.registration().first()
    }

    /// Takes up to `most` messages, reads and checks them, and keeps them.
    pub(crate) fn take(&mut self, most: u64) -> Result<Vec<Sequence>, Unavailable> {
        let run = self.bounded(most)?;
        let sequences = (0..run.len).map(|i| run.first.plus(i));
        let check = |sequence| {
            let place = self.rig.place(sequence);
            // SAFETY: taken; loom checks that it is not written meanwhile.
            let found = place.message.with(|p| unsafe { *p });
            assert_eq!(found, message(sequence), "message {sequence} is not what was sent");
            sequence
        };
        Ok(sequences.map(check).collect())
    }

    /// Takes one message, copies its words as a tap does, and says whether it trusts the copy, having checked it.
    pub(crate) fn try_copy(&mut self) -> Result<bool, Unavailable> {
        let sequence = self.bounded(1)?.first;
        let [a, b] = &self.rig.place(sequence).words;
        let copy = [a.load(Ordering::Relaxed), b.load(Ordering::Relaxed)];
        let is_sound = self.cursor.registration().confirms(&self.rig.control);
        self.cursor.release();
        assert!(!is_sound || copy == [message(sequence); 2], "message {sequence} is torn");
        Ok(is_sound)
    }

    /// A run, which is never longer than the ring, nor longer than what was asked for.
    fn bounded(&mut self, most: u64) -> Result<Run, Unavailable> {
        let run = self.cursor.take(most);
        let capacity = self.rig.ring.capacity.get();
        assert!(!matches!(run, Err(Unavailable::Corrupt { .. })), "a run beyond the ring: {run:?}");
        run.inspect(|run| assert!(run.len <= capacity.min(most), "{} of {capacity}", run.len))
    }

    /// Takes, reads, checks and releases up to `most` messages.
    pub(crate) fn try_read(&mut self, most: u64) -> Result<Vec<Sequence>, Unavailable> {
        let sequences = self.take(most)?;
        self.cursor.release();
        Ok(sequences)
    }

    /// Reads one message at a time, until `n` have come or a few tries in a row found nothing.
    pub(crate) fn read(&mut self, n: usize) -> Vec<Sequence> {
        let mut sequences = Vec::new();
        let mut tries = 0;
        while sequences.len() < n && tries < TRIES {
            match self.try_read(1) {
                Ok(some) => sequences.extend(some),
                Err(_) => {
                    tries += 1;
                    yield_now();
                }
            }
        }
        sequences
    }

    /// Takes up to `most` messages as a process does that is killed at this step, and dies; says whether it had
    /// come so far.
    #[cfg(loom)]
    pub(crate) fn take_and_die(mut self, step: &'static str, most: u64) -> Option<Self>
    where
        C: Mortal,
    {
        match dying_at(step, || self.cursor.take(most)) {
            None => {
                self.cursor.die();
                None
            }
            Some(_) => Some(self),
        }
    }

    /// Reads all that is there. The caller has made sure that it is visible.
    pub(crate) fn drain(&mut self) -> Vec<Sequence> {
        core::iter::from_fn(|| self.try_read(u64::MAX).ok()).flatten().collect()
    }
}

/// A tap.
pub(crate) struct Watcher {
    pub(crate) cursor: TapCursor<Lines>,
    rig: Rig,
    begin: Sequence,
}

impl Watcher {
    /// Copies up to `most` messages and returns those that the tap trusts, having checked them.
    pub(crate) fn try_read(&mut self, most: u64) -> Result<Vec<Sequence>, Unavailable> {
        let run = self.cursor.take(most)?;
        assert!(run.len <= self.rig.ring.capacity.get(), "{} copied", run.len);
        let copy = |sequence| {
            let [a, b] = &self.rig.place(sequence).words;
            [a.load(Ordering::Relaxed), b.load(Ordering::Relaxed)]
        };
        let copies: Vec<_> = (0..run.len).map(|i| copy(run.first.plus(i))).collect();
        let torn = self.cursor.confirm(run);
        let trusted = (torn..run.len).map(|i| {
            let sequence = run.first.plus(i);
            assert_eq!(copies[i as usize], [message(sequence); 2], "message {sequence} is torn");
            sequence
        });
        Ok(trusted.collect())
    }

    /// How much has been published since the tap was made, if it began with the next message.
    pub(crate) fn sent(&self) -> u64 {
        self.rig.published().since(self.begin)
    }
}

/// Lets another thread run.
pub(crate) fn pause() -> bool {
    yield_now();
    false
}

/// Whether these are all sequences from `first` on, in order.
pub(crate) fn follows(first: Sequence, sequences: &[Sequence]) -> bool {
    sequences.iter().zip(0..).all(|(&found, i)| found == first.plus(i))
}

pub(crate) use common::sync::explore_model as explore;
pub(crate) use thread::spawn;

/// A cursor that can end as that of a killed process does.
#[cfg(loom)]
pub(crate) trait Mortal {
    fn die(self);
}

#[cfg(loom)]
impl Mortal for ConsumerCursor<Lines> {
    fn die(self) {
        Self::die(self);
    }
}

#[cfg(loom)]
impl Mortal for MemberCursor<Lines> {
    fn die(self) {
        Self::die(self);
    }
}
