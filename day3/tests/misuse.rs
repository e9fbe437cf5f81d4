//! Safe programs that misuse what they get: strategies that answer nonsense, guards that are forgotten,
//! forged words in the shared lines, forks. Nothing is lost, nothing is written without a reservation,
//! and nothing is read outside the ring.
#![cfg(not(loom))]

#[allow(dead_code, reason = "not every test needs all of it")]
mod home;

use std::mem::forget;
use std::time::{Duration, Instant};

use common::QueueName;
use common::sync::{AtomicU64, Ordering};
use day3::doorbell::Doorbell;
use day3::sequencer::Cursor;
use day3::wait::Side;
use day3::{
    Consumer, Corrupt, CreateError, Ending, Heap, JoinOptions, Member, Memory, Producer,
    QueueOptions, Receiver, RecvError, RecvTimeoutError, SendTimeoutError, Start, TryRecvError,
    TrySendError, Wait,
};
use home::{Home, InSegment, OnHeap};
use testing::{DEADLINE, Unique};

const MOMENT: Duration = Duration::from_millis(5);

/// A strategy that answers nonsense.
#[derive(Clone, Copy, Debug, Default)]
enum Nonsense {
    /// Gives up without having looked.
    #[default]
    Blind,
    /// Looks once, and gives up.
    Hasty,
    /// Looks until there is something, and does not return it.
    Greedy,
    /// Looks again after it has found something.
    Restless,
}

const ALL: [Nonsense; 4] = [Nonsense::Blind, Nonsense::Hasty, Nonsense::Greedy, Nonsense::Restless];

impl Wait for Nonsense {
    fn until<R>(
        &mut self,
        _: Side,
        _: &Doorbell,
        deadline: Option<Instant>,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        match self {
            Self::Blind => None,
            Self::Hasty => poll(),
            Self::Greedy | Self::Restless => {
                while poll().is_none() {
                    std::thread::yield_now();
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        break;
                    }
                }
                if matches!(self, Self::Restless) {
                    (0..3).for_each(|_| drop(poll()));
                }
                None
            }
        }
    }
}

fn a_strategy_loses_nothing_and_grants_nothing<H: Home>() {
    const MANY: u64 = 1000;
    for strategy in ALL {
        let (home, producer) = H::with_producer(4, 0);
        let mut producer = producer.waiting(strategy);
        let mut consumer = home.consumer(Start::Latest).waiting(strategy);
        let mut member = home.member("workers", Start::Latest).waiting(strategy);
        let mut tap = home.tap(Start::Latest).waiting(strategy);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for message in (0..MANY).step_by(5) {
                    producer.send(message).unwrap();
                    producer.send_batch(&[message + 1, message + 2]).unwrap();
                    let places = producer.reserve(2).unwrap();
                    places.fill(&[message + 3, message + 4]).publish();
                }
            });
            scope.spawn(move || {
                for message in (0..MANY).step_by(2) {
                    assert_eq!(consumer.recv(), Ok(message));
                    assert_eq!(consumer.recv_timeout(DEADLINE), Ok(message + 1));
                }
                assert_eq!(consumer.recv(), Err(RecvError::Closed));
            });
            scope.spawn(move || {
                let mut all = Vec::new();
                while let Ok(batch) = member.recv_batch(3) {
                    all.extend(batch.iter().copied());
                }
                assert!(all.into_iter().eq(0..MANY), "the only member gets everything");
            });
            scope.spawn(move || {
                let mut last = None;
                while let Ok(message) = tap.recv() {
                    assert!(last < Some(message), "{message} after {last:?}");
                    last = Some(message);
                }
                assert_eq!(tap.received() + tap.lost(), MANY);
            });
        });
    }
}

#[test]
fn a_strategy_loses_nothing_and_grants_nothing_on_the_heap() {
    a_strategy_loses_nothing_and_grants_nothing::<OnHeap>();
}

#[test]
fn a_strategy_loses_nothing_and_grants_nothing_in_a_segment() {
    a_strategy_loses_nothing_and_grants_nothing::<InSegment>();
}

/// What a consumer has borrowed does not change, though a producer whose strategy gives up asks for room.
#[test]
fn a_borrowed_message_stays_while_a_strategy_gives_up() {
    for strategy in ALL {
        let (home, producer) = OnHeap::with_producer(2, 0);
        let mut producer = producer.waiting(strategy);
        let mut consumer = home.consumer(Start::Latest);
        producer.send_batch(&[1, 2]).unwrap();
        let batch = consumer.try_recv_batch(2).unwrap();
        let timed_out = Err(SendTimeoutError::TimedOut(MOMENT));
        assert_eq!(producer.send_timeout(3, MOMENT), timed_out, "{strategy:?}");
        assert!(producer.reserve_timeout(1, MOMENT).is_err(), "{strategy:?}");
        assert_eq!(producer.try_send(3), Err(TrySendError::Full));
        assert_eq!(batch.iter().copied().collect::<Vec<_>>(), [1, 2], "{strategy:?}");
        drop(batch);
        let late = consumer.waiting(strategy).recv_timeout(MOMENT);
        assert_eq!(late, Err(RecvTimeoutError::TimedOut(MOMENT)), "{strategy:?}");
    }
}

/// A forgotten guard gives nothing back by itself; the next call of its end does.
#[test]
fn forgotten_guards_leave_the_ring_whole() {
    let (home, mut producer) = OnHeap::with_producer(4, 0);
    let (mut consumer, mut member) =
        (home.consumer(Start::Latest), home.member("workers", Start::Latest));
    let _ = producer.reserve(3).unwrap();
    producer.send_batch(&[0, 1, 2, 3]).unwrap();
    forget(consumer.try_recv_batch(3).unwrap());
    assert!(consumer.try_recv_batch(9).unwrap().iter().copied().eq(0..4), "not released: again");
    forget(member.try_recv_batch(2).unwrap());
    assert_eq!(producer.try_send(4), Err(TrySendError::Full), "two are in hand");
    assert!(member.try_recv_batch(1).unwrap().iter().copied().eq(0..1), "not released: again");
    assert_eq!(rest(&mut member), [1, 2, 3]);
    producer.send_batch(&[4, 5, 6, 7]).unwrap();
    let mut batch = member.try_recv_batch(4).unwrap();
    batch.release_first(3);
    forget(batch);
    assert_eq!(rest(&mut member), [7], "what was not released");
    drop(member);
    assert!(consumer.try_recv_batch(9).unwrap().iter().copied().eq(4..8));
    producer.send_batch(&[8, 9, 10, 11]).unwrap();
}

fn rest<K: Cursor>(receiver: &mut Receiver<u64, K>) -> Vec<u64> {
    std::iter::from_fn(|| receiver.try_recv().ok()).collect()
}

#[test]
#[should_panic(expected = "3 of 2 messages were to be released")]
fn more_than_there_is_cannot_be_released() {
    let (home, mut producer) = OnHeap::with_producer(4, 0);
    let mut consumer = home.consumer(Start::Latest);
    producer.send_batch(&[0, 1]).unwrap();
    consumer.try_recv_batch(2).unwrap().release_first(3);
}

/// The shared lines of a ring on the heap, as numbered words, 16 to a line.
struct Words<'a>(&'a [AtomicU64]);

impl<'a> Words<'a> {
    fn of(memory: &'a Heap<u64>) -> Self {
        let control = memory.control();
        let len = size_of_val(control) / 8;
        // SAFETY: control consists of atomic words (and pairs of half words), which any thread may
        // write.
        Self(unsafe { std::slice::from_raw_parts(std::ptr::from_ref(control).cast(), len) })
    }

    fn set(&self, word: usize, to: u64) {
        self.0[word].store(to, Ordering::Relaxed);
    }
}

const PUBLISHED: usize = 1;
const CLAIMED: usize = (384 + 256) / 8;

/// Takes whatever there is, a few times. The calls end, and every message is one of the ring's.
fn plunder<K: Cursor>(receiver: &mut Receiver<u64, K>) -> Result<(), TryRecvError> {
    for _ in 0..9 {
        let batch = receiver.try_recv_batch(usize::MAX)?;
        assert!(batch.len() <= 8, "{} of 8", batch.len());
        assert!(batch.iter().all(|&message| message < 8));
    }
    Ok(())
}

/// A cursor is not believed if it says that more is published than the ring holds.
#[test]
fn forged_cursors_are_errors() {
    for word in [PUBLISHED, CLAIMED] {
        for forged in [9, 10, 1 << 40, 1 << 63, (1 << 63) + 1, u64::MAX - 9, u64::MAX] {
            let heap = Heap::<u64>::new(8, 0).unwrap();
            // SAFETY: made for `u64`s, and this is its only producer.
            let mut producer = unsafe { Producer::<u64>::from_memory(heap.clone()) };
            let options = JoinOptions::new();
            // SAFETY: made for `u64`s.
            let consumer =
                unsafe { Consumer::<u64>::from_memory(heap.clone(), Start::Latest, &options) };
            let member =
                // SAFETY: made for `u64`s.
                unsafe { day3::Member::<u64>::from_memory(heap.clone(), "g", Start::Latest, &options) };
            // SAFETY: made for `u64`s.
            let mut tap = unsafe { day3::Tap::<u64>::from_memory(heap.clone(), Start::Latest) };
            let (mut consumer, mut member) = (consumer.unwrap(), member.unwrap());
            producer.send_batch(&[0, 1, 2]).unwrap();
            Words::of(&heap).set(word, forged);
            let told = [plunder(&mut consumer), plunder(&mut member)];
            // If the word is a little behind what the consumer has read, the consumer waits for the
            // rest.
            if word == PUBLISHED && forged.wrapping_neg() > 8 {
                let corrupt = |told: &Result<(), TryRecvError>| {
                    matches!(
                        told,
                        Err(TryRecvError::End(RecvError::Corrupt(Corrupt::Cursor { .. })))
                    )
                };
                assert!(corrupt(&told[0]), "{forged}: {told:?}");
            }
            let mut copies = [0; 99];
            for _ in 0..9 {
                if let Ok(copied) = tap.try_recv_into(&mut copies) {
                    assert!(copied <= 8 && copies.iter().all(|&copy| copy < 8));
                }
            }
            let _ = producer.send_timeout(7, MOMENT);
        }
    }
}

/// Whatever is written into any word, calls return, and read nothing outside the ring.
#[test]
fn any_forged_word_is_survived() {
    let lines = [0, 1, 2, 3, 4, 5, 16, 32, 33, 48, 49, 50, 51, 64, 65, 66, CLAIMED, CLAIMED + 1];
    let values = |published: u64| {
        [0, 1, 2, 8, 9, published, published + 8, published + 9, 1 << 63, u64::MAX - 7, u64::MAX]
    };
    for word in lines {
        for forged in values(5) {
            let heap = Heap::<u64>::new(8, 0).unwrap();
            // SAFETY: made for `u64`s, and this is its only producer.
            let mut producer = unsafe { Producer::<u64>::from_memory(heap.clone()) };
            let options = JoinOptions::new();
            let join = |start| {
                // SAFETY: made for `u64`s.
                unsafe { Consumer::<u64>::from_memory(heap.clone(), start, &options) }
            };
            let member = || {
                // SAFETY: made for `u64`s.
                unsafe {
                    day3::Member::<u64>::from_memory(heap.clone(), "g", Start::Oldest, &options)
                }
            };
            // SAFETY: made for `u64`s.
            let mut tap = unsafe { day3::Tap::<u64>::from_memory(heap.clone(), Start::Oldest) };
            let (mut consumer, mut worker) = (join(Start::Oldest).unwrap(), member().unwrap());
            producer.send_batch(&[0, 1, 2, 3, 4]).unwrap();
            Words::of(&heap).set(word, forged);
            for _ in 0..3 {
                let _ = producer.try_send_batch(&[5, 6, 7]);
                let _ = (plunder(&mut consumer), plunder(&mut worker));
                let _ = tap.try_recv_into(&mut [0; 20]);
                let _ = (producer.consumers(), producer.groups(), producer.is_abandoned());
                let _ = producer.send_timeout(6, Duration::from_micros(50));
            }
            let late = (join(Start::Latest), member());
            producer.close();
            drop((late, consumer, worker, tap));
        }
    }
}

/// When a forked child drops its copies of the ends, the queue stays open, no consumer leaves, and
/// the name stays.
#[test]
fn copies_in_a_forked_child_end_nothing() {
    let name = Unique::new("fork");
    let mut producer = Producer::<u64>::create(&*name, 8).unwrap();
    let mut consumer = Consumer::<u64>::join(&*name, Start::Oldest).unwrap();
    // SAFETY: the child does nothing but drop what it has, and ends.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            drop(consumer);
            drop(producer);
            // SAFETY: it ends the child at once, without its parent's exit handlers.
            unsafe { nix::libc::_exit(0) };
        }
        nix::unistd::ForkResult::Parent { child } => {
            nix::sys::wait::waitpid(child, None).unwrap();
        }
    }
    assert_eq!(producer.consumers().len(), 1, "the consumer is still there");
    producer.send(1).unwrap();
    assert_eq!(consumer.recv(), Ok(1));
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty), "and the producer");
    Consumer::<u64>::join(&*name, Start::Latest).expect("and the name");
}

/// Runs `f` in a forked child; says whether it returned true there.
fn is_so_in_a_child(f: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child uses the ends that it has copies of, and ends.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            let code = i32::from(!f());
            // SAFETY: it ends the child at once, without its parent's exit handlers.
            unsafe { nix::libc::_exit(code) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            let ended = nix::sys::wait::waitpid(child, None).unwrap();
            ended == nix::sys::wait::WaitStatus::Exited(child, 0)
        }
    }
}

/// What the parent's member has looked at, and not claimed, a child does not claim in its name.
#[test]
fn a_forked_member_takes_nothing_from_its_parent() {
    let name = Unique::new("fork-member");
    let mut producer = Producer::<u64>::create(&*name, 8).unwrap();
    let mut member = Member::<u64>::join(&*name, "g", Start::Oldest).unwrap();
    producer.send_batch(&[0, 1, 2, 3]).unwrap();
    assert_eq!(member.recv(), Ok(0));
    let forked = Err(TryRecvError::End(RecvError::Forked));
    assert!(is_so_in_a_child(|| member.try_recv() == forked && member.try_recv() == forked));
    forget(member.recv_batch(2).unwrap());
    assert!(is_so_in_a_child(|| member.try_recv() == forked), "what it holds is the parent's");
    assert_eq!([(); 3].map(|()| member.try_recv()), [Ok(1), Ok(2), Ok(3)]);
}

/// What a consumer knows of may be overwritten as soon as the slot is not its own: it hands out no copy of that.
#[test]
fn a_message_that_was_known_before_the_slot_was_lost_is_not_handed_out() {
    let name = Unique::new("known");
    let mut producer = Producer::<u64>::create(&*name, 8).unwrap();
    let mut consumer = Consumer::<u64>::join(&*name, Start::Oldest).unwrap();
    producer.send_batch(&[0, 1, 2, 3]).unwrap();
    assert_eq!(consumer.recv(), Ok(0), "it knows of four");
    assert!(is_so_in_a_child(|| consumer.recv() == Err(RecvError::Forked)));
    let listed = producer.consumers();
    // SAFETY: the consumer has borrowed nothing.
    assert!(unsafe { producer.evict(&listed[0]) });
    producer.send_batch(&[4; 8]).unwrap();
    assert_eq!(consumer.recv(), Err(RecvError::Evicted));
    assert_eq!(consumer.try_recv(), Err(TryRecvError::End(RecvError::Evicted)));
}

/// A child neither ends the parent's ring nor sends what the parent had reserved.
#[test]
fn a_forked_producer_ends_nothing_and_sends_nothing() {
    let name = Unique::new("fork-producer");
    let mut producer = Producer::<u64>::create(&*name, 8).unwrap();
    let mut consumer = Consumer::<u64>::join(&*name, Start::Oldest).unwrap();
    assert!(is_so_in_a_child(|| {
        producer.close();
        producer.abort("a child's reason");
        !producer.is_closed()
    }));
    for publishes_all in [true, false] {
        let reservation = producer.reserve(2).unwrap();
        assert!(is_so_in_a_child(|| {
            let filled = reservation.fill(&[66, 66]);
            if publishes_all {
                filled.publish()
            } else {
                filled.publish_first(1)
            }
            true
        }));
    }
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(consumer.ending(), Ending::Open);
    producer.send(1).unwrap();
    assert_eq!((consumer.recv(), consumer.try_recv()), (Ok(1), Err(TryRecvError::Empty)));
}

/// A consumer may come before its producer, if it joins with a timeout for the queue.
#[test]
fn a_consumer_may_come_before_its_producer() {
    let name = Unique::new("early");
    let options = JoinOptions::new().wait_for_queue(MOMENT);
    let nobody = Consumer::<u64>::join_with(&*name, Start::Oldest, &options).unwrap_err();
    assert!(nobody.to_string().contains("no queue"), "{nobody}");
    let early = QueueName::clone(&name);
    let waiting = std::thread::spawn(move || {
        let options = JoinOptions::new().wait_for_queue(DEADLINE);
        let mut consumer = Consumer::<u64>::join_with(early, Start::Oldest, &options).unwrap();
        consumer.recv()
    });
    std::thread::sleep(MOMENT);
    let mut producer = Producer::<u64>::create(&*name, 8).unwrap();
    producer.send(7).unwrap();
    assert_eq!(waiting.join().unwrap(), Ok(7));
}

#[test]
fn more_memory_than_there_is_is_an_error() {
    let error = Heap::<[u64; 1 << 10]>::new(1 << 40, 0).unwrap_err();
    assert!(matches!(error, CreateError::NoMemory { .. } | CreateError::Segment(_)), "{error}");
    assert!(error.to_string().contains("smaller capacity"), "{error}");
}

/// A user's type needs no `Debug` for its ends to have it.
#[test]
fn ends_are_debug_whatever_the_message() {
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Opaque(u64);
    // SAFETY: the type is a number.
    unsafe impl bytemuck::Zeroable for Opaque {}
    // SAFETY: the type is a number.
    unsafe impl bytemuck::Pod for Opaque {}
    let name = Unique::new("debug");
    let options = QueueOptions::new(8).message_type("opaque/1");
    let mut producer = Producer::<Opaque>::create_with(&*name, &options).unwrap();
    let options = JoinOptions::new().message_type("opaque/1");
    let mut consumer = Consumer::<Opaque>::join_with(&*name, Start::Oldest, &options).unwrap();
    producer.send(Opaque(1)).unwrap();
    assert!(format!("{producer:?}").starts_with("Producer"));
    assert!(format!("{:?}", producer.try_reserve(1)).contains("Reservation"));
    assert!(format!("{:?}", consumer.try_recv_batch(1)).contains("Batch"));
    assert!(format!("{consumer:?}").starts_with("Receiver"));
}
