//! Random schedules of everything that can be done with a ring, one step after another, against a
//! model in plain Rust: a queue for each consumer and each group.
#![cfg(not(loom))]

#[allow(dead_code, reason = "not every test needs all of it")]
mod home;

use std::collections::{BTreeMap, VecDeque};

use day3::sequencer::Cursor;
use day3::{
    Consumer, Member, Producer, Receiver, RecvError, Start, Tap, TryRecvError, TrySendError,
};
use home::{Home, InSegment, OnHeap};
use proptest::prelude::*;

/// One step of a schedule. A consumer is given as a number, taken modulo how many there are.
#[derive(Clone, Debug)]
enum Step {
    Send,
    SendBatch(usize),
    /// Reserves places for so many messages, and publishes so many of them.
    Reserve(usize, usize),
    JoinBroadcast(Start),
    JoinGroup(usize, Start),
    Receive(usize),
    ReceiveBatch(usize, usize),
    /// Leaves with a batch unread.
    Leave(usize),
    Evict(usize),
    OpenTap(Start),
    ReadTap(usize, usize),
    Close,
}

const GROUPS: [&str; 2] = ["left", "right"];

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![Just(Start::Oldest), Just(Start::Latest)]
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0usize..8;
    let n = 0usize..10;
    prop_oneof![
        12 => Just(Step::Send),
        6 => n.clone().prop_map(Step::SendBatch),
        4 => (n.clone(), n.clone()).prop_map(|(n, published)| Step::Reserve(n, published)),
        3 => start().prop_map(Step::JoinBroadcast),
        4 => (0..GROUPS.len(), start()).prop_map(|(group, start)| Step::JoinGroup(group, start)),
        12 => who.clone().prop_map(Step::Receive),
        10 => (who.clone(), n.clone()).prop_map(|(who, n)| Step::ReceiveBatch(who, n)),
        2 => who.clone().prop_map(Step::Leave),
        1 => who.clone().prop_map(Step::Evict),
        1 => start().prop_map(Step::OpenTap),
        6 => (who, n).prop_map(|(who, n)| Step::ReadTap(who, n)),
        1 => Just(Step::Close),
    ]
}

/// Where sequences start: shortly before an index of 32 or 64 bits would wrap, or anywhere.
fn first() -> impl Strategy<Value = u64> {
    let near = |wrap: u64| (0u64..40).prop_map(move |n| wrap.wrapping_sub(n));
    prop_oneof![Just(0), near(1 << 32), near(0), any::<u64>()]
}

/// A registered consumer.
enum End {
    Broadcast { handle: Consumer<u64>, pending: VecDeque<u64> },
    Worker { handle: Member<u64>, group: usize },
}

struct Watcher {
    handle: Tap<u64>,
    /// Messages sent before it began.
    begin: u64,
}

/// A ring, and what it should hold. Each message is the number of messages sent before it.
struct World<H> {
    home: H,
    producer: Producer<u64>,
    capacity: u64,
    first: u64,
    sent: u64,
    closed: bool,
    members: Vec<End>,
    groups: BTreeMap<usize, VecDeque<u64>>,
    /// The next message of a group that has no member.
    left: BTreeMap<usize, u64>,
    watchers: Vec<Watcher>,
}

/// A step's outcome: an error if its claim was wrong.
type Checked = Result<(), TestCaseError>;

impl<H: Home> World<H> {
    fn new(capacity: u64, first: u64) -> Self {
        let (home, producer) = H::with_producer(capacity, first);
        let (sent, closed, members, watchers) = (0, false, Vec::new(), Vec::new());
        let (groups, left) = (BTreeMap::new(), BTreeMap::new());
        Self { home, producer, capacity, first, sent, closed, members, groups, left, watchers }
    }

    /// How many messages may be sent: up to a lap beyond the slowest consumer.
    fn room(&self) -> usize {
        let own = self.members.iter().filter_map(|member| match member {
            End::Broadcast { pending, .. } => Some(pending.len()),
            End::Worker { .. } => None,
        });
        let slowest = own.chain(self.groups.values().map(VecDeque::len)).max();
        self.capacity as usize - slowest.unwrap_or(0)
    }

    /// The next `n` messages are sent.
    fn advance(&mut self, n: usize) {
        let new = self.sent..self.sent + n as u64;
        for member in &mut self.members {
            if let End::Broadcast { pending, .. } = member {
                pending.extend(new.clone());
            }
        }
        for pending in self.groups.values_mut() {
            pending.extend(new.clone());
        }
        self.sent = new.end;
    }

    /// The messages that are there for a consumer that was promised this sequence.
    fn from(&self, promised: u64) -> Result<VecDeque<u64>, TestCaseError> {
        let from = promised.wrapping_sub(self.first);
        let oldest = self.sent.saturating_sub(self.capacity);
        prop_assert!((oldest..=self.sent).contains(&from), "{from} of {}", self.sent);
        Ok((from..self.sent).collect())
    }

    fn take(&mut self, step: &Step) -> Checked {
        match *step {
            Step::Send | Step::SendBatch(_) | Step::Reserve(..) if self.closed => Ok(()),
            Step::Send => {
                let expected = if self.room() > 0 { Ok(()) } else { Err(TrySendError::Full) };
                prop_assert_eq!(self.producer.try_send(self.sent), expected);
                self.advance(usize::from(expected.is_ok()));
                Ok(())
            }
            Step::SendBatch(n) => {
                let messages: Vec<u64> = (self.sent..self.sent + n as u64).collect();
                let sent = self.producer.try_send_batch(&messages);
                let expected = match n.min(self.room()) {
                    0 if n > 0 => Err(TrySendError::Full),
                    room => Ok(room),
                };
                prop_assert_eq!(sent, expected);
                self.advance(sent.unwrap_or(0));
                Ok(())
            }
            Step::Reserve(n, published) => self.reserve(n, published),
            Step::JoinBroadcast(start) => {
                let handle = self.home.consumer(start);
                let pending = self.from(handle.first_sequence().get())?;
                if start == Start::Latest {
                    prop_assert!(pending.is_empty());
                }
                self.members.push(End::Broadcast { handle, pending });
                Ok(())
            }
            Step::JoinGroup(group, start) => self.join_group(group, start),
            Step::Receive(who) => self.receive(who, None),
            Step::ReceiveBatch(who, n) => self.receive(who, Some(n)),
            Step::Leave(who) => self.leave(who, false),
            Step::Evict(who) => self.leave(who, true),
            Step::OpenTap(start) => {
                let handle = self.home.tap(start);
                let begin = self.sent - handle.lag();
                prop_assert!(start == Start::Oldest || begin == self.sent);
                self.watchers.push(Watcher { handle, begin });
                Ok(())
            }
            Step::ReadTap(who, n) => self.read_tap(who, n),
            Step::Close => {
                self.producer.close();
                self.closed = true;
                Ok(())
            }
        }
    }

    fn reserve(&mut self, n: usize, published: usize) -> Checked {
        let room = self.room();
        let Ok(reservation) = self.producer.try_reserve(n) else {
            prop_assert!(n > room, "{} places are free", room);
            return Ok(());
        };
        prop_assert!(n <= room, "{} places are free", room);
        let published = published.min(n);
        let messages: Vec<u64> = (self.sent..self.sent + published as u64).collect();
        reservation.fill(&messages).publish_first(published);
        self.advance(published);
        Ok(())
    }

    fn join_group(&mut self, group: usize, start: Start) -> Checked {
        let handle = self.home.member(GROUPS[group], start);
        let promised = self.from(handle.first_sequence().get())?;
        match self.groups.get(&group) {
            Some(pending) => prop_assert_eq!(pending, &promised, "the group goes on where it was"),
            None => {
                let from = self.sent - promised.len() as u64;
                let place = self.left.remove(&group);
                if let Some(place) = place.filter(|&place| place + self.capacity >= self.sent) {
                    // The place of what the group had not read may have been reserved for the next
                    // lap.
                    prop_assert!(from == place || place < self.sent);
                } else {
                    prop_assert!(start == Start::Oldest || promised.is_empty());
                }
                self.groups.insert(group, promised);
            }
        }
        self.members.push(End::Worker { handle, group });
        Ok(())
    }

    fn receive(&mut self, who: usize, most: Option<usize>) -> Checked {
        let Some(who) = who.checked_rem(self.members.len()) else { return Ok(()) };
        match &mut self.members[who] {
            End::Broadcast { handle, pending } => check(handle, pending, most, self.closed),
            End::Worker { handle, group } => {
                let pending = self.groups.get_mut(group).expect("a member's group");
                check(handle, pending, most, self.closed)
            }
        }
    }

    fn leave(&mut self, who: usize, evicted: bool) -> Checked {
        let Some(who) = who.checked_rem(self.members.len()) else { return Ok(()) };
        let left = self.members.swap_remove(who);
        if evicted {
            let slot = match &left {
                End::Broadcast { handle, .. } => handle.slot(),
                End::Worker { handle, .. } => handle.slot(),
            };
            let listed = self.producer.consumers();
            let listed = listed.iter().find(|consumer| consumer.slot == slot);
            // SAFETY: it holds no message that it has borrowed.
            let evicted = listed.is_some_and(|listed| unsafe { self.producer.evict(listed) });
            prop_assert!(evicted);
        }
        if let End::Worker { group, .. } = left {
            let same = |member: &End| matches!(member, End::Worker { group: g, .. } if *g == group);
            if !self.members.iter().any(same) {
                let pending = self.groups.remove(&group).map_or(0, |pending| pending.len());
                self.left.insert(group, self.sent - pending as u64);
            }
        }
        drop(left);
        prop_assert_eq!(self.producer.consumers().len(), self.members.len());
        Ok(())
    }

    fn read_tap(&mut self, who: usize, n: usize) -> Checked {
        let Some(who) = who.checked_rem(self.watchers.len()) else { return Ok(()) };
        let Watcher { handle, begin } = &mut self.watchers[who];
        let mut messages = vec![0; n.max(1)];
        let (before, lost) = (*begin + handle.received() + handle.lost(), handle.lost());
        match handle.try_recv_into(&mut messages) {
            Ok(received) => {
                let (found, next) =
                    (&messages[..received], *begin + handle.received() + handle.lost());
                let from = found.first().copied().unwrap_or(u64::MAX);
                let expected: Vec<u64> = (from..from + received as u64).collect();
                prop_assert_eq!(found, &expected);
                // What the tap skips comes before these messages, or after them if it was lapped
                // meanwhile.
                prop_assert!(before <= from && from + received as u64 <= next && next <= self.sent);
                prop_assert!(
                    lost < handle.lost() || (before, next) == (from, from + received as u64)
                );
                prop_assert!(from + self.capacity >= self.sent, "overwritten long ago");
            }
            Err(end) => {
                let expected = if self.closed {
                    TryRecvError::End(RecvError::Closed)
                } else {
                    TryRecvError::Empty
                };
                prop_assert_eq!(end, expected);
                prop_assert_eq!(*begin + handle.received() + handle.lost(), self.sent);
            }
        }
        Ok(())
    }
}

/// Receives one message, or up to `most`, and compares.
fn check<K: Cursor>(
    handle: &mut Receiver<u64, K>,
    pending: &mut VecDeque<u64>,
    most: Option<usize>,
    closed: bool,
) -> Checked {
    let end = if closed { TryRecvError::End(RecvError::Closed) } else { TryRecvError::Empty };
    let found: Result<Vec<u64>, _> = match most {
        None => handle.try_recv().map(|message| vec![message]),
        Some(most) => handle.try_recv_batch(most).map(|batch| batch.iter().copied().collect()),
    };
    match found {
        Err(found) => {
            prop_assert!(pending.is_empty(), "there are {}", pending.len());
            prop_assert_eq!(found, end);
        }
        Ok(found) => {
            prop_assert!((1..=most.unwrap_or(1).max(1)).contains(&found.len()));
            prop_assert!(found.len() <= pending.len(), "{:?} of {:?}", found, pending);
            prop_assert!(pending.drain(..found.len()).eq(found.iter().copied()), "{:?}", found);
        }
    }
    Ok(())
}

fn run<H: Home>(power: u32, first: u64, steps: &[Step]) -> Checked {
    let mut world = World::<H>::new(1 << power, first);
    for step in steps {
        world.take(step)?;
    }
    // Whatever has happened, each consumer that is still attached can read all that it was
    // promised.
    for who in 0..world.members.len() {
        for _ in 0..=world.capacity {
            world.receive(who, None)?;
        }
    }
    Ok(())
}

/// A failure is printed, shrunk; nothing is written beside the sources. `PROPTEST_CASES` asks for more.
fn config(cases: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    let more = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if more { asked.cases } else { cases };
    ProptestConfig { cases, failure_persistence: None, ..asked }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn any_schedule_on_the_heap(
        power in 0u32..4, first in first(), steps in prop::collection::vec(step(), 1..150),
    ) {
        run::<OnHeap>(power, first, &steps)?;
    }
}

proptest! {
    #![proptest_config(config(50))]

    #[test]
    fn any_schedule_in_a_segment(
        power in 0u32..4, first in first(), steps in prop::collection::vec(step(), 1..150),
    ) {
        run::<InSegment>(power, first, &steps)?;
    }
}
