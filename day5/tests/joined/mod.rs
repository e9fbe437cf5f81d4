//! Models that join doorbell, gate, group and roster. Whatever makes room wakes a producer that sleeps
//! for room, and whatever can be read wakes a consumer.
//!
//! There are no messages here; Day 3's models check that messages arrive. A sleeper keeps its ticket,
//! and sleeps while the word agrees with the ticket. At the end, no end may be asleep if its next try
//! would succeed.

use common::sync::thread::{JoinHandle, spawn};
use common::sync::{Arc, AtomicU32, Mutex, Ordering};
use common::{Capacity, Sequence};
use day3::group::MemberCursor;
use day3::landing::Everywhere;
use day3::link::{HeapLines, Link};
use day3::roster::{self, JoinAs, JoinRequest, Registration, Ring};
use day3::sequencer::{ConsumerCursor, Cursor, ProducerCursor, Unavailable};
use day3::{Start, Unattended};
use day5::doorbell::{self, Ticket};

use crate::explore;

/// Sequences start shortly before they wrap.
const FIRST: Sequence = Sequence::new(u64::MAX - 2);

/// A ring without messages, and the ways to attach to it.
struct Rig {
    control: HeapLines<2>,
    admission: Arc<Mutex<()>>,
    ring: Ring,
}

impl Rig {
    fn new(capacity: u64) -> Self {
        let ring = Ring { capacity: Capacity::new(capacity).unwrap(), first: FIRST };
        let control = HeapLines::new(FIRST);
        Self { control, admission: Arc::new(Mutex::new(())), ring }
    }

    fn producer(&self) -> Producer {
        let control = self.control.clone();
        // SAFETY: each model makes one.
        let cursor = unsafe { ProducerCursor::new(control.clone(), self.ring.capacity, FIRST) };
        Producer { cursor, control, asleep: None, asleep_among: None }
    }

    /// A producer that has filled the ring.
    fn full(&self) -> Producer {
        let mut producer = self.producer();
        for _ in 0..self.ring.capacity.get() {
            assert!(producer.try_send(), "there is room for a lap");
        }
        producer
    }

    fn join(&self, role: JoinAs<'_>, start: Start) -> Registration {
        let request = JoinRequest { role, start, owner: 1, label: "" };
        let _admitted = self.admission.lock().unwrap();
        // SAFETY: the lock is held.
        unsafe { roster::join(&self.control, self.ring, &Everywhere, &request) }.unwrap()
    }

    fn consumer(&self, start: Start) -> Consumer<ConsumerCursor<HeapLines<2>>> {
        let registration = self.join(JoinAs::Broadcast, start);
        // SAFETY: just taken, and given to nobody else.
        let cursor = unsafe { ConsumerCursor::new(self.control.clone(), registration) };
        Consumer { cursor, control: self.control.clone(), asleep: None }
    }

    /// A ring whose consumers have rooms.
    fn with_rooms(capacity: u64) -> Self {
        Self { control: HeapLines::with_rooms(FIRST), ..Self::new(capacity) }
    }

    fn guest(&self, start: Start) -> Consumer<ConsumerCursor<HeapLines<2>>> {
        let register = || Ok::<_, ()>(self.join(JoinAs::Broadcast, start));
        let (control, registration) = self.control.admit(self.ring.capacity, register).unwrap();
        // SAFETY: just made, in these lines.
        let cursor = unsafe { ConsumerCursor::new(control.clone(), registration) };
        Consumer { cursor, control, asleep: None }
    }

    fn member(&self, start: Start) -> Consumer<MemberCursor<HeapLines<2>>> {
        let registration =
            self.join(JoinAs::Member { group: "g", holds: false, holds_end: false }, start);
        // SAFETY: just taken, and given to nobody else.
        let cursor = unsafe { MemberCursor::new(self.control.clone(), registration) };
        Consumer { cursor, control: self.control.clone(), asleep: None }
    }
}

/// Whether a sleeper with this ticket sleeps.
fn sleeps(word: &AtomicU32, ticket: Option<Ticket>) -> bool {
    ticket.is_some_and(|ticket| word.load(Ordering::Relaxed) == ticket.word())
}

/// Tries. If that is in vain, goes to sleep on the word.
fn attempt(word: &AtomicU32, mut attempt: impl FnMut() -> bool) -> Option<Ticket> {
    let mut ticket = None;
    let mut look = || attempt().then_some(());
    if look().is_none() {
        let _ = doorbell::rest(word, look, |announced| ticket = Some(announced));
    }
    ticket
}

struct Producer {
    cursor: ProducerCursor<HeapLines<2>>,
    control: HeapLines<2>,
    asleep: Option<Ticket>,
    /// Where consumers have rooms: what the words were at which it has announced itself.
    asleep_among: Option<Vec<u32>>,
}

fn publish_one(cursor: &mut ProducerCursor<HeapLines<2>>) -> bool {
    let claimed = cursor.claim_one().is_ok();
    if claimed {
        // SAFETY: claimed, and there is nothing to be written.
        unsafe { cursor.publish(1) };
    }
    claimed
}

impl Producer {
    fn try_send(&mut self) -> bool {
        publish_one(&mut self.cursor)
    }

    /// Sends one message, or goes to sleep, unless it is asleep already.
    fn send_or_sleep(&mut self) {
        if self.control.rooms().is_some() {
            return self.send_or_sleep_among();
        }
        let word = self.control.doorbell().producer;
        if !sleeps(word, self.asleep) {
            self.asleep = attempt(word, || publish_one(&mut self.cursor));
        }
    }

    /// The same where it announces itself to each guest.
    fn send_or_sleep_among(&mut self) {
        if publish_one(&mut self.cursor) {
            return;
        }
        let control = self.control.clone();
        let tickets = doorbell::announce_at(&words(&control));
        if !publish_one(&mut self.cursor) {
            self.asleep_among = Some(tickets.into_iter().map(Ticket::word).collect());
        }
    }

    /// Whether none of the words has changed since it has announced itself. A guest that came later rings at the first.
    fn sleeps_among(&self) -> bool {
        let Some(tickets) = &self.asleep_among else { return false };
        let mut pairs = words(&self.control).into_iter().zip(tickets);
        pairs.all(|(word, &ticket)| word.load(Ordering::Relaxed) == ticket)
    }

    /// After the last ring: no room that the producer sleeps through.
    fn assert_awake_if_there_is_room(&mut self) {
        let sleeps = sleeps(self.control.doorbell().producer, self.asleep) || self.sleeps_among();
        assert!(!sleeps || !self.try_send(), "there is room, and the producer sleeps");
    }
}

/// The words at which a producer announces itself.
fn words(control: &HeapLines<2>) -> Vec<&AtomicU32> {
    let doorbell = control.doorbell();
    let rooms = doorbell.rooms.expect("consumers have rooms");
    core::iter::once(doorbell.producer).chain(rooms.producer_words()).collect()
}

struct Consumer<C> {
    cursor: C,
    control: HeapLines<2>,
    asleep: Option<Ticket>,
}

impl<C: Cursor> Consumer<C> {
    /// Takes a message if there is one, and keeps it.
    fn take(&mut self) -> bool {
        self.cursor.take(1).is_ok()
    }

    /// Takes a message if there is one, and releases it.
    fn try_read(&mut self) -> bool {
        let taken = self.take();
        if taken {
            self.cursor.release();
        }
        taken
    }

    /// Reads a message, learns of the end, or goes to sleep, unless it is asleep already.
    fn read_or_sleep(&mut self) {
        let word = self.control.doorbell().consumers;
        if !sleeps(word, self.asleep) {
            let cursor = &mut self.cursor;
            self.asleep = attempt(word, || match cursor.take(1) {
                Ok(_) => {
                    cursor.release();
                    true
                }
                Err(nothing) => nothing != Unavailable::Empty,
            });
        }
    }

    /// After the last ring: no message that the consumer sleeps through.
    fn assert_awake_if_there_is_something(&mut self) {
        if sleeps(self.control.doorbell().consumers, self.asleep) {
            let found = self.cursor.take(1);
            assert_eq!(found, Err(Unavailable::Empty), "and the consumer sleeps");
        }
    }
}

/// Explores a scene: a producer, threads that work, and ends that stay as they are. The producer sends, or
/// goes to sleep. When the threads are done, it must not be asleep if there is room. What a thread returns
/// stays attached until then.
fn wakes_the_producer<T, K>(
    name: &str,
    bound: Option<usize>,
    scene: impl Fn() -> (Producer, Vec<JoinHandle<T>>, K) + Sync + Send + 'static,
) {
    explore(name, bound, move || {
        let (mut producer, threads, _stays) = scene();
        producer.send_or_sleep();
        let _returned: Vec<T> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        producer.assert_awake_if_there_is_room();
    });
}

/// A member loses the race for the only message. Its cursor had said that it would take that message,
/// and so held the producer back until now.
#[test]
fn a_member_that_comes_too_late_wakes_the_producer() {
    wakes_the_producer("a_member_that_comes_too_late_wakes_the_producer", None, || {
        let rig = Rig::new(1);
        let (mut one, mut other) = (rig.member(Start::Latest), rig.member(Start::Latest));
        let producer = rig.full();
        let thread = spawn(move || {
            one.try_read();
            one
        });
        other.try_read();
        (producer, vec![thread], other)
    });
}

/// A member loses the race for the first message, takes the second, and keeps it: there is room for one
/// more message.
#[test]
fn a_member_that_goes_on_wakes_the_producer() {
    wakes_the_producer("a_member_that_goes_on_wakes_the_producer", None, || {
        let rig = Rig::new(2);
        let (mut one, mut other) = (rig.member(Start::Latest), rig.member(Start::Latest));
        let producer = rig.full();
        let thread = spawn(move || {
            one.take();
            one
        });
        other.try_read();
        (producer, vec![thread], other)
    });
}

/// Two members and a producer, each in its own thread.
#[test]
fn members_that_race_wake_the_producer() {
    wakes_the_producer("members_that_race_wake_the_producer", Some(2), || {
        let rig = Rig::new(2);
        let members = [(); 2].map(|()| rig.member(Start::Latest));
        let producer = rig.full();
        let threads = members.map(|mut member| {
            spawn(move || {
                member.try_read();
                member.take();
                member
            })
        });
        (producer, threads.into(), ())
    });
}

/// A consumer joins at the oldest message while the producer reserves its place. The producer waits for
/// the new cursor, which is then moved on.
#[test]
fn a_newcomer_that_is_moved_on_wakes_the_producer() {
    for capacity in [1, 2] {
        wakes_the_producer("a_newcomer_that_is_moved_on_wakes_the_producer", None, move || {
            let rig = Rig::new(capacity);
            let producer = rig.full();
            (producer, vec![spawn(move || rig.consumer(Start::Oldest))], ())
        });
    }
}

/// The same for the first member of a group: here the group's place is moved on.
#[test]
fn a_new_group_that_is_moved_on_wakes_the_producer() {
    wakes_the_producer("a_new_group_that_is_moved_on_wakes_the_producer", None, || {
        let rig = Rig::new(1);
        let producer = rig.full();
        (producer, vec![spawn(move || rig.member(Start::Oldest))], ())
    });
}

/// A producer that waits for a consumer is woken by the first.
#[test]
fn the_first_consumer_wakes_the_producer() {
    wakes_the_producer("the_first_consumer_wakes_the_producer", None, || {
        let rig = Rig::new(2);
        let mut producer = rig.producer();
        producer.cursor = producer.cursor.unattended(Unattended::Wait);
        (producer, vec![spawn(move || rig.consumer(Start::Latest))], ())
    });
}

/// A consumer leaves without having read.
#[test]
fn a_consumer_that_leaves_wakes_the_producer() {
    wakes_the_producer("a_consumer_that_leaves_wakes_the_producer", None, || {
        let rig = Rig::new(1);
        let consumer = rig.consumer(Start::Latest);
        let producer = rig.full();
        (producer, vec![spawn(move || drop(consumer))], ())
    });
}

/// A member leaves with a message in hand, while another member joins the group and takes the next
/// message.
#[test]
fn members_that_come_and_go_wake_the_producer() {
    wakes_the_producer("members_that_come_and_go_wake_the_producer", Some(2), || {
        let rig = Rig::new(2);
        let mut one = rig.member(Start::Latest);
        let producer = rig.full();
        let leaving = spawn(move || {
            one.take();
            None
        });
        let joining = spawn(move || {
            let mut other = rig.member(Start::Oldest);
            other.take();
            Some(other)
        });
        (producer, vec![leaving, joining], ())
    });
}

/// A guest reads a message, or leaves, and rings in its own page.
#[test]
fn a_guest_wakes_the_producer() {
    for leaves in [false, true] {
        wakes_the_producer("a_guest_wakes_the_producer", None, move || {
            let rig = Rig::with_rooms(1);
            let mut guest = rig.guest(Start::Latest);
            let producer = rig.full();
            let thread = spawn(move || {
                if leaves {
                    return None;
                }
                guest.try_read();
                Some(guest)
            });
            (producer, vec![thread], ())
        });
    }
}

/// A producer that waits for a consumer is woken when the first guest is let in.
#[test]
fn the_first_guest_wakes_the_producer() {
    wakes_the_producer("the_first_guest_wakes_the_producer", None, || {
        let rig = Rig::with_rooms(2);
        let mut producer = rig.producer();
        producer.cursor = producer.cursor.unattended(Unattended::Wait);
        (producer, vec![spawn(move || rig.guest(Start::Latest))], ())
    });
}

/// What is published wakes a guest, and so does the end.
#[test]
fn messages_and_the_end_wake_a_guest() {
    explore("messages_and_the_end_wake_a_guest", None, || {
        let rig = Rig::with_rooms(2);
        let mut guest = rig.guest(Start::Latest);
        let mut producer = rig.producer();
        let thread = spawn(move || {
            for _ in 0..3 {
                guest.read_or_sleep();
            }
            guest
        });
        assert!(producer.try_send());
        producer.cursor.close();
        thread.join().unwrap().assert_awake_if_there_is_something();
    });
}

/// What is published wakes a consumer, and so does the end.
#[test]
fn messages_and_the_end_wake_a_consumer() {
    explore("messages_and_the_end_wake_a_consumer", None, || {
        let rig = Rig::new(2);
        let mut consumer = rig.consumer(Start::Latest);
        let mut producer = rig.producer();
        let thread = spawn(move || {
            for _ in 0..3 {
                consumer.read_or_sleep();
            }
            consumer
        });
        assert!(producer.try_send());
        producer.cursor.close();
        thread.join().unwrap().assert_awake_if_there_is_something();
    });
}

/// The same for two members; one of them finds nothing.
#[test]
fn messages_wake_members() {
    explore("messages_wake_members", Some(2), || {
        let rig = Rig::new(2);
        let members = [(); 2].map(|()| rig.member(Start::Latest));
        let mut producer = rig.producer();
        let threads = members.map(|mut member| {
            spawn(move || {
                member.read_or_sleep();
                member
            })
        });
        assert!(producer.try_send());
        for thread in threads {
            thread.join().unwrap().assert_awake_if_there_is_something();
        }
    });
}

/// Two ends wait for each other by turns: they are never both asleep.
#[test]
fn two_that_wait_for_each_other_are_not_both_asleep() {
    explore("two_that_wait_for_each_other_are_not_both_asleep", Some(4), || {
        let rig = Rig::new(1);
        let mut consumer = rig.consumer(Start::Latest);
        let mut producer = rig.producer();
        let thread = spawn(move || {
            for _ in 0..2 {
                consumer.read_or_sleep();
            }
            consumer
        });
        for _ in 0..3 {
            producer.send_or_sleep();
        }
        let mut consumer = thread.join().unwrap();
        consumer.assert_awake_if_there_is_something();
        producer.assert_awake_if_there_is_room();
    });
}
