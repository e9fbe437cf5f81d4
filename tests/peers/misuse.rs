//! What no peer's suite asks: guards that are forgotten, strategies that answer nonsense, panics in the
//! middle, the smallest rings, and memory that another process has overwritten.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use common::sync::{AtomicBool, Ordering};
use fanout::error::{
    CreateError, RecvError, RecvTimeoutError, SendTimeoutError, TryRecvError, TrySendError,
};
use fanout::inspect::Observer;
use fanout::pollable::Pollable;
use fanout::records::{Local, ReadRecords, rendezvous};
use fanout::segment::{Mode, Segment};
use fanout::wait::{Doorbell, Side};
use fanout::{
    Adaptive, Consumer, Heap, JoinOptions, Member, Memory, Producer, QueueOptions, Sleep, Spin,
    Start, Unattended, Wait, Yield,
};
use testing::{Process, another, is_ready, mix, panics, until_ready};

use crate::help::{
    CLOSED, LONG, Name, SHORT, bytes, consumer, member, now, number, opened, pair, reader,
    records_tap, rest, ring, sealed, tap, tapped, until, worker, writer, written,
};

// Forgotten guards and ends.

/// As `std::mem::forget`, even for a guard that has nothing to drop today.
fn forget<T>(guard: T) {
    std::mem::forget(guard);
}

/// misuse: a forgotten consumer is a consumer that does not read: it holds the producer back, and
/// nothing else.
#[test]
fn a_forgotten_consumer_does_not_read() {
    let (name, mut producer, forgotten) = pair::<u64>(2);
    let mut other = consumer::<u64>(&name);
    forget(forgotten);
    producer.send_batch(&[1, 2]).unwrap();
    assert_eq!(now(&mut other), [1, 2]);
    assert_eq!(producer.try_send(3), Err(TrySendError::Full));
    assert_eq!(producer.consumers()[0].lag, 2);
    producer.close();
    assert_eq!(other.recv(), Err(RecvError::Closed));
}

/// misuse: a forgotten producer is a producer that sends nothing: its ring stays, and so does its
/// name.
#[test]
fn a_forgotten_producer_sends_nothing() {
    let (name, mut producer, mut consumer) = pair::<u64>(2);
    producer.send(1).unwrap();
    forget(producer);
    assert_eq!(now(&mut consumer), [1]);
    assert_eq!(consumer.recv_timeout(SHORT), Err(RecvTimeoutError::TimedOut(SHORT)));
    assert!(matches!(Producer::<u64>::create(&*name, 2), Err(CreateError::Segment(_))));
    let observer = Observer::open(&name.parse().unwrap(), LONG).unwrap();
    assert!(observer.snapshot().producer_lives);
}

/// misuse: a forgotten reservation sends nothing, and its places are reserved again.
#[test]
fn a_forgotten_reservation_sends_nothing() {
    let (name, mut producer, mut consumer) = pair::<u64>(4);
    let mut watcher = tap::<u64>(&name);
    for n in 0..20 {
        forget(producer.reserve(4).unwrap().fill(&[u64::MAX; 4]));
        producer.send(n).unwrap();
        assert_eq!(consumer.recv(), Ok(n));
        assert_eq!(watcher.try_recv().unwrap_or(n), n);
    }
    assert_eq!(watcher.received() + watcher.lost(), 20);
}

/// misuse: forgotten grants and batches send nothing, whatever was written into them.
#[test]
fn forgotten_grants_send_nothing() {
    let (_name, mut writer, mut reader) = written(4096);
    for n in 0..50 {
        let mut reservation = writer.reserve(4000).unwrap();
        reservation.fill(0x66);
        forget(reservation);
        let mut batch = writer.batch(4096).unwrap();
        batch.push(&[0x72; 1000]).unwrap();
        batch.push(&[0x66; 1000]).unwrap();
        forget(batch);
        writer.send(&bytes(n, 30)).unwrap();
        assert_eq!(number(&reader.recv().unwrap()), n);
        assert_eq!(reader.try_recv().unwrap_err(), TryRecvError::Empty);
    }
    assert_eq!(writer.sent(), 50);
}

/// misuse: what a latecomer is promised holds no word of what a forgotten grant left.
#[test]
fn what_a_forgotten_grant_left_is_promised_to_nobody() {
    let (name, mut producer) = ring::<u64>(8);
    let (records, mut writer) = writer(4096);
    for n in 0..40 {
        producer.send(n).unwrap();
        writer.send(&bytes(n, 100)).unwrap();
        forget(producer.reserve(8).unwrap().fill(&[u64::MAX; 8]));
        let mut reservation = writer.reserve(4088).unwrap();
        reservation.fill(0x66);
        forget(reservation);
        assert!(now(&mut consumer::<u64>(&name)).into_iter().all(|kept| kept <= n));
        assert!(tapped(&mut tap::<u64>(&name)).into_iter().all(|kept| kept <= n));
        while let Ok(record) = reader(&records).try_recv() {
            assert!(number(&record) <= n);
        }
        let (mut watcher, mut into) = (records_tap(&records), Vec::new());
        while watcher.try_recv(&mut into).is_ok() {
            assert!(number(&into) <= n);
        }
    }
    producer.close();
    writer.close();
    assert!(rest(&mut consumer::<u64>(&name)).into_iter().all(|kept| kept < 40));
    assert_eq!(tapped(&mut tap::<u64>(&name)).len(), 0, "all may have been written over");
}

/// misuse: a consumer's forgotten batch holds the producer back, and comes again.
#[test]
fn a_consumers_forgotten_batch_comes_again() {
    let (_name, mut producer, mut consumer) = pair::<u64>(4);
    producer.send_batch(&[1, 2, 3, 4]).unwrap();
    for _ in 0..3 {
        forget(consumer.recv_batch(3).unwrap());
        assert_eq!(producer.try_send(5), Err(TrySendError::Full));
    }
    let mut batch = consumer.recv_batch(4).unwrap();
    batch.release_first(2);
    forget(batch);
    assert_eq!(producer.try_send_batch(&[5, 6, 7]), Ok(2));
    assert_eq!(now(&mut consumer), [3, 4, 5, 6]);
}

/// misuse: a member's forgotten batch holds the producer back, and comes again to that member.
#[test]
fn a_members_forgotten_batch_holds_until_it_goes_on() {
    let (name, mut producer) = ring::<u64>(4);
    let (mut one, mut two) = (member::<u64>(&name, "group"), member::<u64>(&name, "group"));
    producer.send_batch(&[1, 2, 3, 4]).unwrap();
    forget(one.recv_batch(2).unwrap());
    assert_eq!((two.recv(), two.recv()), (Ok(3), Ok(4)));
    assert_eq!(producer.try_send(5), Err(TrySendError::Full));
    assert_eq!((one.recv(), one.recv()), (Ok(1), Ok(2)), "what was forgotten comes again");
    producer.send_batch(&[5, 6]).unwrap();
    assert_eq!((two.recv(), one.recv()), (Ok(5), Ok(6)));
    assert_eq!(two.recv_timeout(SHORT), Err(RecvTimeoutError::TimedOut(SHORT)));
    let (mut one, two) = (one, two);
    producer.send(7).unwrap();
    forget(one.recv_batch(1).unwrap());
    drop((one, two));
    (0..9).for_each(|n| assert_eq!(producer.try_send(n), Ok(()), "nobody is left"));
}

/// misuse: forgotten records, batches of records and streams come again to a consumer.
#[test]
fn forgotten_records_come_again() {
    let (_name, mut writer, mut reader) = written(4096);
    (0..5).for_each(|n| writer.send(&bytes(n, 40)).unwrap());
    forget(reader.recv().unwrap());
    forget(reader.recv_batch(4096).unwrap());
    let batch = reader.recv_batch(4096).unwrap();
    assert_eq!(batch.iter().take(2).map(number).last(), Some(1));
    forget(batch);
    let mut stream = ReadRecords::new(&mut reader);
    stream.read_exact(&mut [0; 30]).unwrap();
    forget(stream);
    assert_eq!(number(&reader.recv().unwrap()), 0);
    let mut stream = ReadRecords::new(&mut reader);
    stream.read_exact(&mut [0; 3]).unwrap();
    drop(stream);
    let all: Vec<_> = std::iter::from_fn(|| reader.try_recv().ok().map(|r| number(&r))).collect();
    assert_eq!(all, [2, 3, 4], "a stream gives back the message that it is in");
}

/// misuse: iterators over a batch may be forgotten, left early or run side by side: the batch knows what
/// it holds, and gives all of it back.
#[test]
fn forgotten_iterators_change_nothing() {
    let (name, mut writer, mut reader) = written(4096);
    let mut worker = worker(&name, "group");
    for lap in 0..30 {
        (0..9).for_each(|n| writer.send(&bytes(9 * lap + n, 90)).unwrap());
        let batch = reader.recv_batch(8 * 104).unwrap();
        let mut one = batch.iter();
        let mut two = batch.iter_with_kinds();
        assert_eq!(one.by_ref().take(3).map(number).last(), Some(9 * lap + 2));
        assert_eq!(two.next().map(|(_, message)| number(message)), Some(9 * lap));
        if lap % 2 == 0 {
            assert_eq!(batch.len(), 8);
        }
        forget(one);
        assert_eq!(two.count(), 7);
        forget(batch.iter());
        drop(batch);
        assert_eq!(number(&reader.recv().unwrap()), 9 * lap + 8);
        let batch = worker.recv_batch(4096).unwrap();
        forget(batch.iter());
        assert_eq!(batch.len(), 9);
    }
}

// Strategies.

#[derive(Clone, Copy, Debug, Default)]
enum Fool {
    /// Gives up at once.
    #[default]
    NeverLooks,
    /// Looks, and does not return what it has seen.
    KeepsTheAnswer,
    /// Looks again after it has an answer.
    LooksOn,
}

const FOOLS: [Fool; 3] = [Fool::NeverLooks, Fool::KeepsTheAnswer, Fool::LooksOn];

impl Wait for Fool {
    fn until<R>(
        &mut self,
        _: Side,
        _: &Doorbell,
        _: Option<Instant>,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        // This lets other threads run: there are more threads than cores.
        std::thread::yield_now();
        match self {
            Self::NeverLooks => None,
            Self::KeepsTheAnswer => poll().and(None),
            Self::LooksOn => (0..5).map(|_| poll()).collect::<Vec<_>>().pop().flatten(),
        }
    }
}

/// misuse: whatever a strategy answers, messages come in order, each once, and ends come last.
#[test]
fn a_foolish_strategy_loses_nothing() {
    for fool in FOOLS {
        let (name, producer, consumer) = pair::<u64>(2);
        let (mut producer, mut consumer) = (producer.waiting(fool), consumer.waiting(fool));
        let mut member = member::<u64>(&name, "group").waiting(fool);
        let mut watcher = tap::<u64>(&name).waiting(fool);
        std::thread::scope(|scope| {
            scope.spawn(move || (0..300).for_each(|n| producer.send(n).unwrap()));
            let shared = scope.spawn(move || {
                (0..300).for_each(|n| assert_eq!(member.recv(), Ok(n)));
                member.recv()
            });
            let watched = scope.spawn(move || {
                while watcher.recv().is_ok() {}
                watcher.received() + watcher.lost()
            });
            (0..300).for_each(|n| assert_eq!(consumer.recv(), Ok(n)));
            assert_eq!(consumer.recv(), Err(RecvError::Closed));
            assert_eq!(shared.join().unwrap(), Err(RecvError::Closed));
            assert_eq!(watched.join().unwrap(), 300);
        });
    }
}

/// misuse: the same for records.
#[test]
fn a_foolish_strategy_loses_no_record() {
    for fool in FOOLS {
        let (name, writer, reader) = written(4096);
        let (mut writer, mut reader) = (writer.waiting(fool), reader.waiting(fool));
        let mut worker = worker(&name, "group").waiting(fool);
        std::thread::scope(|scope| {
            scope.spawn(move || (0..200).for_each(|n| writer.send(&bytes(n, 900)).unwrap()));
            let shared = scope.spawn(move || {
                (0..200).for_each(|n| assert_eq!(number(&worker.recv().unwrap()), n));
            });
            (0..200).for_each(|n| assert_eq!(number(&reader.recv().unwrap()), n));
            assert_eq!(reader.recv().unwrap_err(), RecvError::Closed);
            shared.join().unwrap();
        });
    }
}

/// misuse: a foolish strategy makes no timeout longer, shorter than a look, or a message of nothing.
#[test]
fn a_foolish_strategy_times_out() {
    for fool in FOOLS {
        let (name, producer, consumer) = pair::<u64>(1);
        let (mut producer, mut consumer) = (producer.waiting(fool), consumer.waiting(fool));
        let mut watcher = tap::<u64>(&name).waiting(fool);
        for timeout in [Duration::ZERO, SHORT] {
            let late = Err(RecvTimeoutError::TimedOut(timeout));
            assert_eq!(consumer.recv_timeout(timeout), late);
            assert_eq!(watcher.recv_timeout(timeout), late);
            producer.send_timeout(7, timeout).unwrap();
            let late = Err(SendTimeoutError::TimedOut(timeout));
            assert_eq!(producer.send_timeout(8, timeout), late);
            assert_eq!(consumer.recv_timeout(timeout), Ok(7));
            assert_eq!(watcher.recv_timeout(timeout), Ok(7));
        }
    }
}

/// misuse: a selected end whose own strategy is foolish is ready all the same.
#[test]
fn a_foolish_strategy_behind_a_descriptor() {
    for fool in FOOLS {
        let (_name, producer, consumer) = pair::<u64>(1);
        let mut consumer = Pollable::bridged_with(consumer, fool).unwrap();
        let mut producer = Pollable::bridged_with(producer, fool).unwrap();
        for n in 0..5 {
            assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
            assert_eq!(producer.try_send(n), Ok(()));
            assert_eq!(producer.try_send(n), Err(TrySendError::Full));
            until_ready(&consumer);
            assert_eq!(consumer.try_recv(), Ok(n));
            until_ready(&producer);
        }
    }
}

/// What a strategy does while it waits.
type Hook = Box<dyn FnMut(Side, &Doorbell) + Send>;

/// A strategy that does something of its own while it waits.
#[derive(Default)]
struct Hooked(Option<Hook>);

impl Hooked {
    fn new(hook: impl FnMut(Side, &Doorbell) + Send + 'static) -> Self {
        Self(Some(Box::new(hook)))
    }
}

impl Wait for Hooked {
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        loop {
            if let Some(answer) = poll() {
                return Some(answer);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            if let Some(hook) = &mut self.0 {
                hook(side, doorbell);
            }
            std::thread::yield_now();
        }
    }
}

/// misuse: a strategy that uses the other end of its own ring while it waits: both go on.
#[test]
fn a_strategy_that_uses_the_other_end() {
    let (_name, mut producer, consumer) = pair::<u64>(2);
    let mut n = 0;
    let mut consumer = consumer.waiting(Hooked::new(move |side, _| {
        assert_eq!(side, Side::Consumer);
        producer.send(n).unwrap();
        n += 1;
        if n == 100 {
            producer.close();
        }
    }));
    (0..100).for_each(|n| assert_eq!(consumer.recv(), Ok(n)));
    assert_eq!(consumer.recv(), Err(RecvError::Closed));

    let (name, producer, mut slow) = pair::<u64>(2);
    let mut member = member::<u64>(&name, "group");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let mut producer = producer.waiting(Hooked::new(move |side, _| {
        assert_eq!(side, Side::Producer);
        let got = slow.recv().unwrap();
        assert_eq!(member.recv(), Ok(got));
        sees.lock().unwrap().push(got);
    }));
    (0..100).for_each(|n| producer.send(n).unwrap());
    producer.reserve(2).unwrap().fill(&[100, 101]).publish();
    assert!(seen.lock().unwrap().iter().copied().eq(0..100));
}

/// misuse: a strategy that joins and leaves its own ring while it waits.
#[test]
fn a_strategy_that_joins_and_leaves() {
    let (name, producer, mut slow) = pair::<u64>(1);
    let place = name.to_string();
    let mut turns = 0;
    let mut producer = producer.waiting(Hooked::new(move |_, _| {
        turns += 1;
        assert!(now(&mut consumer::<u64>(&place)).len() <= 1);
        drop(member::<u64>(&place, "group"));
        drop(tap::<u64>(&place));
        if turns % 3 == 0 {
            slow.recv().unwrap();
        }
    }));
    (0..30).for_each(|n| producer.send(n).unwrap());
}

/// misuse: a strategy that drops the consumer which its producer waits for.
#[test]
fn a_strategy_that_drops_the_one_it_waits_for() {
    let (_name, producer, consumer) = pair::<u64>(1);
    let mut consumer = Some(consumer);
    let mut producer = producer.waiting(Hooked::new(move |_, _| drop(consumer.take())));
    (0..30).for_each(|n| producer.send(n).unwrap());
}

/// misuse: a strategy that writes rubbish on the doorbell delays sleepers at most, and loses nothing.
#[test]
fn a_strategy_that_spoils_the_doorbell() {
    let (name, mut producer, consumer) = pair::<u64>(1);
    let mut noise = 1;
    let mut consumer = consumer.waiting(Hooked::new(move |_, doorbell| {
        noise = mix(noise);
        doorbell.consumers.store(noise as u32, Ordering::Relaxed);
        doorbell.producer.store((noise >> 32) as u32, Ordering::Relaxed);
    }));
    let mut sleeper = crate::help::consumer::<u64>(&name).waiting(Sleep::in_slices(SHORT));
    producer = Producer::waiting(producer, Adaptive::default());
    std::thread::scope(|scope| {
        scope.spawn(move || (0..60).for_each(|n| producer.send(n).unwrap()));
        scope.spawn(move || (0..60).for_each(|n| assert_eq!(sleeper.recv(), Ok(n))));
        (0..60).for_each(|n| assert_eq!(consumer.recv(), Ok(n)));
    });
}

/// Runs one of the tests below in a process of its own, which may fail as it likes.
fn child(test: &str, name: &str) -> ExitStatus {
    let mut command = another(test);
    command.env(CHILD, name).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Process::start(&mut command).wait()
}

const CHILD: &str = "FANOUT_PEERS_CHILD";

/// misuse: a tap's strategy that writes on the doorbell, which a tap has mapped read-only: no safe code
/// may end a process by a signal.
#[test]
fn a_taps_strategy_that_writes_the_doorbell() {
    let (name, _producer) = ring::<u64>(4);
    let status = child("misuse::child_writes_a_taps_doorbell", &name);
    assert_eq!(status.signal(), None, "{status}");
}

/// misuse: the child of the test above.
#[test]
#[ignore = "started by a_taps_strategy_that_writes_the_doorbell"]
fn child_writes_a_taps_doorbell() {
    let Ok(name) = std::env::var(CHILD) else { return };
    let hook = |_, doorbell: &Doorbell| doorbell.consumers.store(0, Ordering::Relaxed);
    let mut tap = tap::<u64>(&name).waiting(Hooked::new(hook));
    assert!(tap.recv_timeout(SHORT).is_err());
}

/// misuse: strategies of the house that are lent to a tap write nothing.
#[test]
fn strategies_of_the_house_serve_a_tap() {
    let (name, mut producer) = ring::<u64>(4);
    let mut spin = tap::<u64>(&name).waiting(Spin);
    let mut give = tap::<u64>(&name).waiting(Yield);
    let mut sleep = tap::<u64>(&name).waiting(Sleep::in_slices(Duration::MAX));
    let mut adaptive = tap::<u64>(&name).waiting(Adaptive::default());
    for timeout in [SHORT, Duration::ZERO] {
        let late = Err(RecvTimeoutError::TimedOut(timeout));
        assert_eq!((spin.recv_timeout(timeout), give.recv_timeout(timeout)), (late, late));
        assert_eq!((sleep.recv_timeout(timeout), adaptive.recv_timeout(timeout)), (late, late));
    }
    producer.send(7).unwrap();
    assert_eq!((spin.recv(), give.recv()), (Ok(7), Ok(7)));
    assert_eq!((sleep.recv(), adaptive.recv()), (Ok(7), Ok(7)));
}

/// misuse: sleeps in slices of all time and of no time: an end never looks without being woken, or
/// always.
#[test]
fn slices_of_all_time_and_of_none() {
    for slice in [Duration::MAX, Duration::ZERO, Duration::from_nanos(1)] {
        let (name, producer, consumer) = pair::<u64>(1);
        let mut producer = producer.waiting(Sleep::in_slices(slice));
        let mut consumer = consumer.waiting(Sleep::in_slices(slice));
        let mut member = member::<u64>(&name, "group").waiting(Sleep::in_slices(slice));
        std::thread::scope(|scope| {
            scope.spawn(move || (0..500).for_each(|n| producer.send(n).unwrap()));
            scope.spawn(move || (0..500).for_each(|n| assert_eq!(member.recv(), Ok(n))));
            (0..500).for_each(|n| assert_eq!(consumer.recv(), Ok(n)));
            assert_eq!(consumer.recv(), Err(RecvError::Closed));
        });
    }
}

// Panics.

/// A strategy that panics once, before or after it has an answer.
#[derive(Default)]
struct Panics {
    after_the_answer: bool,
    done: bool,
}

impl Panics {
    fn once(after_the_answer: bool) -> Self {
        Self { after_the_answer, done: false }
    }
}

impl Wait for Panics {
    fn until<R>(
        &mut self,
        _: Side,
        _: &Doorbell,
        _: Option<Instant>,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        if self.done {
            return poll();
        }
        self.done = true;
        assert!(self.after_the_answer, "on purpose, before");
        until(|| poll().is_some());
        panic!("on purpose, after");
    }
}

/// misuse: a strategy that panics before it looks has taken nothing.
#[test]
fn a_panic_before_a_look_takes_nothing() {
    let (name, mut producer, consumer) = pair::<u64>(1);
    let mut consumer = consumer.waiting(Panics::once(false));
    let mut member = member::<u64>(&name, "group").waiting(Panics::once(false));
    panics(|| consumer.recv());
    panics(|| member.recv());
    producer.send(1).unwrap();
    assert_eq!((consumer.recv(), member.recv()), (Ok(1), Ok(1)));
    producer.send(2).unwrap();
    let mut producer = producer.waiting(Panics::once(false));
    panics(|| producer.send(3));
    assert_eq!((consumer.recv(), member.recv()), (Ok(2), Ok(2)));
    producer.send(4).unwrap();
    assert_eq!((consumer.recv(), member.recv()), (Ok(4), Ok(4)));
}

/// misuse: a consumer whose strategy panics after it has an answer gets the message with the next
/// call.
#[test]
fn a_panic_after_the_answer_loses_no_message() {
    let (name, mut producer, consumer) = pair::<u64>(1);
    let mut consumer = consumer.waiting(Panics::once(true));
    std::thread::scope(|scope| {
        let place = &name;
        scope.spawn(move || {
            let observer = Observer::open(&place.parse().unwrap(), LONG).unwrap();
            until(|| observer.snapshot().consumers.len() == 1);
            producer.send(1).unwrap();
            producer.send(2).unwrap();
        });
        let text = panics(|| consumer.recv_timeout(LONG));
        assert!(text.contains("after"), "{text}");
        assert_eq!((consumer.recv(), consumer.recv()), (Ok(1), Ok(2)));
        assert_eq!(consumer.recv(), Err(RecvError::Closed));
    });
}

/// misuse: the same for a member: its claim goes to no other member, so the message has to come to it
/// again.
#[test]
fn a_panic_after_the_answer_loses_no_claim() {
    let (name, mut producer) = ring::<u64>(2);
    let mut member = member::<u64>(&name, "group").waiting(Panics::once(true));
    producer.send_batch(&[1, 2]).unwrap();
    panics(|| member.recv_timeout(LONG));
    let mut all = Vec::new();
    all.extend(member.try_recv());
    all.extend(member.try_recv());
    assert_eq!(all, [1, 2]);
}

/// misuse: whatever a panic has left, an observer is told that the producer does not wait.
#[test]
fn a_producer_that_panicked_while_waiting_waits_no_longer() {
    let (name, producer, mut consumer) = pair::<u64>(1);
    let mut producer = producer.waiting(Panics::once(false));
    producer.send(1).unwrap();
    panics(|| producer.send(2));
    assert_eq!(consumer.recv(), Ok(1));
    producer.send(3).unwrap();
    let observer = Observer::open(&name.parse().unwrap(), LONG).unwrap();
    assert_eq!(observer.snapshot().waits_for, 0);
}

/// A strategy that sleeps as ours does, and panics when it hears that it has woken others.
#[derive(Default)]
struct PanicsWhenRung(Adaptive);

impl Wait for PanicsWhenRung {
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        self.0.until(side, doorbell, deadline, poll)
    }

    fn rung(&self, side: Side) {
        panic!("on purpose, for a {side:?}");
    }
}

/// misuse: a strategy that panics when it is told of a ring: what was sent is sent, and once.
#[test]
fn a_panic_when_rung_sends_once() {
    let (_name, producer, consumer) = pair::<u64>(4);
    let mut producer = producer.waiting(PanicsWhenRung::default());
    let mut consumer = Pollable::bridged(consumer).unwrap();
    for n in 0..5 {
        assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
        assert!(panics(|| producer.send(n)).contains("Consumer"));
        until_ready(&consumer);
        assert_eq!(consumer.try_recv(), Ok(n));
    }
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    panics(|| producer.close());
    assert!(producer.is_closed());
    assert_eq!(consumer.try_recv(), Err(CLOSED));
}

/// A strategy that counts for which side it was told of a ring.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<Vec<Side>>>);

impl Wait for Counts {
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        Yield.until(side, doorbell, deadline, poll)
    }

    fn rung(&self, side: Side) {
        self.0.lock().unwrap().push(side);
    }
}

/// misuse: a producer's strategy is told each time that sleepers were woken, and only then.
#[test]
fn a_producers_strategy_is_told_of_its_rings() {
    let (_name, producer, consumer) = pair::<u64>(4);
    let told = Counts::default();
    let mut producer = producer.waiting(told.clone());
    let mut consumer = Pollable::bridged(consumer).unwrap();
    producer.send(0).unwrap();
    assert_eq!(consumer.try_recv(), Ok(0));
    assert!(told.0.lock().unwrap().is_empty(), "nobody slept");
    for n in 1..4 {
        assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
        producer.send(n).unwrap();
        assert_eq!(consumer.try_recv(), Ok(n));
        assert_eq!(told.0.lock().unwrap().len() as u64, n);
    }
    assert!(told.0.lock().unwrap().iter().all(|side| *side == Side::Consumer));
}

/// misuse: a consumer's strategy is told when it has woken the producer.
#[test]
fn a_consumers_strategy_is_told_of_its_rings() {
    let (_name, producer, consumer) = pair::<u64>(1);
    let told = Counts::default();
    let mut consumer = consumer.waiting(told.clone());
    let mut producer = Pollable::bridged(producer).unwrap();
    assert_eq!(producer.try_send(1), Ok(()));
    assert_eq!(producer.try_send(2), Err(TrySendError::Full));
    assert_eq!(consumer.recv(), Ok(1));
    until_ready(&producer);
    assert_eq!(*told.0.lock().unwrap(), [Side::Producer]);
}

/// misuse: a closure that panics while it writes a message into a batch adds none, and spoils none.
#[test]
fn a_panic_while_writing_in_place() {
    let (_name, mut writer, mut reader) = written(4096);
    let mut batch = writer.batch(4096).unwrap();
    batch.push(&bytes(0, 50)).unwrap();
    panics(|| {
        let _ = batch.push_with(100, |place| {
            place.fill(0x66);
            panic!("on purpose");
        });
    });
    let text = panics(|| batch.push_with(10, |_| 11));
    assert!(text.contains("11 bytes of 10"), "{text}");
    panics(|| batch.push_with(10, |_| usize::MAX));
    batch
        .push_with(50, |place| {
            place.copy_from_slice(&bytes(1, 50));
            50
        })
        .unwrap();
    batch.push_with(3000, |_| 0).unwrap();
    assert!(batch.push_with(usize::MAX, |_| unreachable!()).is_err());
    assert_eq!(batch.len(), 3);
    batch.publish();
    let batch = reader.recv_batch(4096).unwrap();
    let lens: Vec<_> = batch.iter().map(<[u8]>::len).collect();
    assert_eq!(lens, [50, 50, 0]);
    assert!(batch.iter().take(2).map(number).eq(0..2));
}

/// misuse: a panic between two messages of a batch: those that were committed before are there, and no
/// other; then the end says why.
#[test]
fn a_panic_with_a_batch_in_hand() {
    let (name, mut writer, mut reader) = written(4096);
    let mut watcher = records_tap(&name);
    let thread = std::thread::spawn(move || {
        writer.send(&bytes(0, 20)).unwrap();
        let mut batch = writer.batch(1000).unwrap();
        batch.push(&bytes(1, 20)).unwrap();
        panic!("on purpose");
    });
    assert!(thread.join().is_err());
    assert_eq!(number(&reader.recv().unwrap()), 0);
    assert_eq!(reader.recv().unwrap_err(), RecvError::Aborted);
    let mut into = Vec::new();
    let first = watcher.try_recv(&mut into);
    assert!(first.is_err() || number(&into) == 0);
    assert_eq!(watcher.recv(&mut into), Err(RecvError::Aborted));
    assert_eq!(watcher.received() + watcher.lost(), 1);
}

// Small rings, and many hands.

/// Two consumers, two members and a tap, on one place and two cores.
fn crowd<W: Wait + Send>(count: u64) {
    let (name, producer) = ring::<[u64; 4]>(1);
    let mut producer = producer.waiting(W::default());
    let consumers = [(); 2].map(|()| consumer::<[u64; 4]>(&name).waiting(W::default()));
    let members = [(); 2].map(|()| member::<[u64; 4]>(&name, "group").waiting(W::default()));
    let mut watcher = tap::<[u64; 4]>(&name).waiting(W::default());
    std::thread::scope(|scope| {
        let consumers = consumers.map(|mut end| {
            scope.spawn(move || {
                (0..count).for_each(|n| assert_eq!(opened(end.recv().unwrap()), n));
                assert_eq!(end.recv(), Err(RecvError::Closed));
            })
        });
        let members = members.map(|mut end| {
            scope.spawn(move || std::iter::from_fn(|| end.recv().ok()).map(opened).sum::<u64>())
        });
        let watcher = scope.spawn(move || {
            while let Ok(message) = watcher.recv() {
                opened(message);
            }
            watcher.received() + watcher.lost()
        });
        (0..count).for_each(|n| producer.send(sealed(n)).unwrap());
        drop(producer);
        for consumer in consumers {
            consumer.join().unwrap();
        }
        let shared: u64 = members.map(|member| member.join().unwrap()).iter().sum();
        assert_eq!((shared, watcher.join().unwrap()), (count * (count - 1) / 2, count));
    });
}

/// misuse: six threads that spin, on one place.
#[test]
fn a_crowd_that_spins() {
    crowd::<Spin>(20);
}

/// misuse: six threads that yield, on one place.
#[test]
fn a_crowd_that_yields() {
    crowd::<Yield>(2000);
}

/// misuse: six threads that sleep, on one place.
#[test]
fn a_crowd_that_sleeps() {
    crowd::<Sleep>(1000);
}

/// misuse: six threads that do what seems best, on one place.
#[test]
fn a_crowd_that_adapts() {
    crowd::<Adaptive>(2000);
}

/// Comes and goes at one ring, as any kind of end, until `is_over`. It must see only whole
/// messages.
fn visit(name: &str, seed: u64, is_over: &AtomicBool) {
    for turn in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let luck = mix(seed << 32 | turn);
        let start = if luck.is_multiple_of(2) { Start::Oldest } else { Start::Latest };
        match luck / 2 % 3 {
            0 => {
                let mut end = Consumer::<[u64; 4]>::join(name, start).unwrap();
                let mut next = end.first_sequence().get();
                for _ in 0..luck / 8 % 4 {
                    let Ok(batch) = end.try_recv_batch(3) else { break };
                    for message in &batch {
                        assert_eq!(opened(*message), next);
                        next += 1;
                    }
                }
            }
            1 => {
                let mut end = Member::<[u64; 4]>::join(name, "visitors", start).unwrap();
                let batch = end.try_recv_batch(2);
                let _ = batch.map(|batch| batch.iter().copied().map(opened).count());
            }
            _ => {
                let mut end = fanout::Tap::<[u64; 4]>::open(name, start).unwrap();
                while end.try_recv().map(opened).is_ok() {}
            }
        }
    }
}

/// misuse: places are reserved, filled with rubbish and given back, in part or as a whole, while ends of
/// every kind come and go: nobody sees rubbish, and the others see all.
#[test]
fn rubbish_in_places_given_back_is_seen_by_nobody() {
    for capacity in [1, 2, 8, 64] {
        let (name, mut producer, mut keeper) = pair::<[u64; 4]>(capacity);
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for seed in 0..3 {
                let (name, is_over) = (&name, &is_over);
                scope.spawn(move || visit(name, seed, is_over));
            }
            let count = scope.spawn(move || {
                (0..).map_while(|n| keeper.recv().ok().map(|m| assert_eq!(opened(m), n))).count()
            });
            let mut next = 0;
            for turn in 0..3000 {
                let len = (mix(turn) % capacity + 1) as usize;
                let mut places = producer.reserve(len).unwrap();
                let (head, tail) = places.slices();
                head.iter_mut().chain(tail).for_each(|place| *place = [turn; 4]);
                let keeps = (mix(!turn) % (len as u64 + 1)) as usize;
                let whole: Vec<_> = (next..).take(keeps).map(sealed).collect();
                places.fill(&whole).publish_first(keeps);
                next += keeps as u64;
            }
            producer.close();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(count.join().unwrap() as u64, next);
        });
    }
}

/// misuse: the same for records: grants and batches full of what looks like frames are given back.
#[test]
fn rubbish_in_grants_given_back_is_seen_by_nobody() {
    let (name, mut writer, mut keeper) = written(4096);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (name, is_over) = (&name, &is_over);
            scope.spawn(move || {
                for turn in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    match mix(seed << 32 | turn) % 3 {
                        0 => {
                            let mut end = reader(name);
                            if let Ok(batch) = end.try_recv_batch(900) {
                                assert!(batch.iter().map(number).is_sorted());
                            }
                        }
                        1 => {
                            let _ = worker(name, "visitors").try_recv().map(|r| number(&r));
                        }
                        _ => {
                            let (mut end, mut into) = (records_tap(name), Vec::new());
                            while end.try_recv(&mut into).is_ok() {
                                number(&into);
                            }
                        }
                    }
                }
            });
        }
        let count = scope.spawn(move || {
            (0..).map_while(|n| keeper.recv().ok().map(|r| assert_eq!(number(&r), n))).count()
        });
        let rubbish = (1u64 << 4 | u64::from(u16::from_le_bytes(*b"fr")) << 48).to_le_bytes();
        let mut sent = 0;
        for turn in 0..4000 {
            let len = (mix(turn) % 4089) as usize;
            let mut reservation = writer.reserve(len).unwrap();
            reservation.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&rubbish));
            if len >= 8 && turn % 3 > 0 {
                let keeps = 8 + len % 50.min(len - 7);
                reservation[..keeps].copy_from_slice(&bytes(sent, keeps));
                reservation.publish(keeps);
                sent += 1;
            }
        }
        writer.close();
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(count.join().unwrap() as u64, sent);
    });
}

/// All that `take` gets, again and again, until the queue has ended.
fn until_the_end(mut take: impl FnMut() -> Result<Vec<u64>, RecvTimeoutError>) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        match take() {
            Ok(some) => all.extend(some),
            Err(RecvTimeoutError::TimedOut(_)) => {}
            Err(_) => return all,
        }
    }
}

/// Checks that the members have taken each of so many messages exactly once.
fn exactly_once(members: [ScopedJoinHandle<'_, Vec<u64>>; 3], count: u64) {
    let mut all: Vec<_> = members.into_iter().flat_map(|end| end.join().unwrap()).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..count));
}

/// misuse: members of a group that holds come and go, so that it has often none: each message goes to
/// exactly one of them, and none to nobody.
#[test]
fn a_group_is_handed_from_memory_without_a_gap() {
    const COUNT: u64 = 3000;
    for capacity in [1, 4, 32] {
        let (name, mut producer) = ring::<[u64; 4]>(capacity);
        let holds = JoinOptions::new().hold_when_empty(true);
        drop(Member::<[u64; 4]>::join_with(&*name, "group", Start::Oldest, &holds).unwrap());
        std::thread::scope(|scope| {
            let members = [1, 2, 5].map(|most| {
                let name = &name;
                scope.spawn(move || {
                    until_the_end(|| {
                        let mut end = member::<[u64; 4]>(name, "group");
                        let batch = end.recv_batch_timeout(most, SHORT)?;
                        Ok(batch.iter().copied().map(opened).collect())
                    })
                })
            });
            (0..COUNT).for_each(|n| producer.send(sealed(n)).unwrap());
            producer.close();
            exactly_once(members, COUNT);
        });
    }
}

/// misuse: the same for records.
#[test]
fn a_group_of_records_is_handed_from_memory_without_a_gap() {
    const COUNT: u64 = 3000;
    let (name, mut writer) = writer(4096);
    let holds = JoinOptions::new().hold_when_empty(true);
    drop(fanout::records::Member::join_with(&*name, "group", Start::Oldest, &holds).unwrap());
    std::thread::scope(|scope| {
        let members = [0, 500, 5000].map(|most| {
            let name = &name;
            scope.spawn(move || {
                until_the_end(|| {
                    let mut end = worker(name, "group");
                    let batch = end.recv_batch_timeout(most, SHORT)?;
                    Ok(batch.iter().map(number).collect())
                })
            })
        });
        for n in 0..COUNT {
            writer.send(&bytes(n, (mix(n) % 1800) as usize)).unwrap();
        }
        writer.close();
        exactly_once(members, COUNT);
    });
}

/// misuse: a tap finds a place to begin, at either end, though the writer never pauses.
#[test]
fn a_tap_begins_while_the_writer_never_pauses() {
    let (name, mut writer) = writer(4096);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = &is_over;
        scope.spawn(move || {
            let mut n = 0;
            until(|| {
                writer.send(&bytes(n, (mix(n) % 200) as usize)).unwrap();
                n += 1;
                over.load(Ordering::Relaxed)
            });
        });
        let mut into = Vec::new();
        for turn in 0..200 {
            let start = if turn % 2 == 0 { Start::Oldest } else { Start::Latest };
            match fanout::records::Tap::open(&*name, start) {
                Ok(mut tap) => {
                    tap.recv(&mut into).unwrap();
                    number(&into);
                }
                Err(error) => {
                    over.store(true, Ordering::Relaxed);
                    panic!("{error}");
                }
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// misuse: to drain is to wait until all have read all: what a consumer counts then is what was sent.
#[test]
fn drained_is_read_by_all() {
    let (name, mut producer) = ring::<u64>(4);
    let counts = [(); 2].map(|()| Arc::new(common::sync::AtomicU64::new(0)));
    let mut member = Some(member::<u64>(&name, "group"));
    std::thread::scope(|scope| {
        for (at, count) in counts.iter().enumerate() {
            let (count, mut end) = (Arc::clone(count), consumer::<u64>(&name));
            let mut member = if at == 0 { member.take() } else { None };
            scope.spawn(move || {
                while let Ok(batch) = end.recv_batch(3) {
                    // Before its places are given back.
                    count.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    drop(batch);
                    let _ = member.as_mut().map(|member| until(|| member.try_recv().is_err()));
                }
            });
        }
        for lap in 1..100 {
            producer.send_batch(&[lap; 7]).unwrap();
            producer.drain(LONG).unwrap();
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 7 * lap));
        }
        producer.close();
    });
}

/// misuse: all ends are dropped in every order, with messages unread: nobody hangs, and nothing stays.
#[test]
fn ends_are_dropped_in_every_order() {
    for order in 0..24 {
        let (name, mut producer, consumer) = pair::<u64>(4);
        let (member, tap) = (member::<u64>(&name, "group"), tap::<u64>(&name));
        producer.send_batch(&[1, 2, 3]).unwrap();
        let mut ends: [Option<Box<dyn std::any::Any>>; 4] = [
            Some(Box::new(producer)),
            Some(Box::new(consumer)),
            Some(Box::new(member)),
            Some(Box::new(tap)),
        ];
        let mut left: Vec<_> = (0..4).collect();
        for (choices, step) in [(4, 6), (3, 2), (2, 1), (1, 1)] {
            let end = left.remove(order / step % choices);
            drop(ends[end].take());
            assert_eq!(name.path().exists(), ends[0].is_some());
        }
    }
}

/// misuse: a group that holds keeps what it has not claimed, while it has no member and however long.
#[test]
fn a_group_that_holds_keeps_its_place() {
    let (name, mut producer) = ring::<u64>(4);
    let holds = JoinOptions::new().hold_when_empty(true);
    for n in 0..20 {
        let mut member = Member::<u64>::join_with(&*name, "group", Start::Oldest, &holds).unwrap();
        producer.send_batch(&[2 * n, 2 * n + 1]).unwrap();
        assert_eq!(member.recv(), Ok(n), "it is one behind with each lap");
        drop(member);
        if producer.groups()[0].lag > 2 {
            break;
        }
    }
    assert_eq!(producer.try_send_batch(&[0; 9]), Ok(1));
    assert_eq!(producer.try_send(0), Err(TrySendError::Full));
    assert!(producer.groups()[0].holds && producer.groups()[0].members == 0);
    assert!(producer.forget_group("group", LONG).unwrap());
    assert_eq!(producer.try_send(0), Ok(()));
}

/// misuse: a group that does not hold and was lapped begins anew, where its next member asks.
#[test]
fn a_group_that_was_lapped_begins_anew() {
    for start in [Start::Oldest, Start::Latest] {
        let (name, mut producer) = ring::<u64>(4);
        let mut first = member::<u64>(&name, "group");
        producer.send(0).unwrap();
        assert_eq!(first.recv(), Ok(0));
        drop(first);
        (1..100).for_each(|n| producer.try_send(n).unwrap());
        let mut second = Member::<u64>::join(&*name, "group", start).unwrap();
        let begin = second.first_sequence().get();
        let all: Vec<_> = std::iter::from_fn(|| second.try_recv().ok()).collect();
        assert!(all.iter().copied().eq(begin..100), "{begin} {all:?}");
        assert_eq!(all.is_empty(), start == Start::Latest);
    }
}

/// misuse: a producer that waits for a consumer goes on when a consumer joins, and is not held back
/// by a consumer that has left.
#[test]
fn a_producer_that_waits_for_a_consumer() {
    let name = Name::new();
    let options = QueueOptions::new(2).when_nobody_listens(Unattended::Wait);
    let mut producer = Producer::<u64>::create_with(&*name, &options).unwrap();
    assert_eq!(producer.try_send(1), Err(TrySendError::Full));
    assert_eq!(producer.try_send_batch(&[1, 2, 3]), Err(TrySendError::Full));
    let late = SendTimeoutError::TimedOut(SHORT);
    assert_eq!(producer.send_timeout(1, SHORT), Err(late));
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            (0..100).for_each(|n| producer.send(n).unwrap());
            producer
        });
        let mut next = 0;
        while next < 100 {
            let mut end = Consumer::<u64>::join(&*name, Start::Latest).unwrap();
            next = end.first_sequence().get();
            if let Ok(n) = end.recv_timeout(SHORT) {
                assert_eq!(n, next);
                next += 1;
            }
        }
        let mut producer = sender.join().unwrap();
        assert!(producer.is_abandoned());
    });
}

/// misuse: the same behind a descriptor: it is readable when a consumer has joined.
#[test]
fn a_producer_that_selects_a_consumer() {
    let name = Name::new();
    let options = QueueOptions::new(2).when_nobody_listens(Unattended::Wait);
    let producer = Producer::<u64>::create_with(&*name, &options).unwrap();
    let mut producer = Pollable::bridged(producer).unwrap();
    assert_eq!(producer.try_send(1), Err(TrySendError::Full));
    let mut consumer = consumer::<u64>(&name);
    until(|| is_ready(&producer));
    assert_eq!(producer.try_send(1), Ok(()));
    assert_eq!(consumer.recv(), Ok(1));
}

/// misuse: an end is handed from thread to thread with a message in it.
#[test]
fn ends_are_handed_on() {
    let (_name, mut producer, mut consumer) = pair::<u64>(2);
    for n in 0..50 {
        (producer, consumer) = std::thread::spawn(move || {
            producer.send(n).unwrap();
            if n > 0 {
                assert_eq!(consumer.recv(), Ok(n - 1));
            }
            (producer, consumer)
        })
        .join()
        .unwrap();
    }
    drop(producer);
    assert_eq!(rest(&mut consumer), [49]);
}

// Bounds, checked as the program is compiled; what is no bound is checked as it runs.

/// Whether a value's type may be sent or shared. An inherent method is preferred to a trait's.
struct Probe<T>(std::marker::PhantomData<T>);

fn probe<T>(_: &T) -> Probe<T> {
    Probe(std::marker::PhantomData)
}

impl<T: Send> Probe<T> {
    fn sends(&self) -> bool {
        true
    }
}

impl<T: Sync> Probe<T> {
    fn shares(&self) -> bool {
        true
    }
}

trait Otherwise {
    fn sends(&self) -> bool {
        false
    }

    fn shares(&self) -> bool {
        false
    }
}

impl<T> Otherwise for Probe<T> {}

/// A strategy that must stay in its thread.
#[derive(Default)]
struct Homely(Rc<()>);

impl Wait for Homely {
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        assert!(Rc::strong_count(&self.0) > 0);
        Yield.until(side, doorbell, deadline, poll)
    }
}

/// misuse: ends and what they lend may go to other threads, unless their strategy may not.
#[test]
fn what_may_go_to_another_thread() {
    let (name, mut producer, mut consumer) = pair::<u64>(4);
    let (_records, mut writer, mut reader) = written(4096);
    writer.send(b"one").unwrap();
    assert!(probe(&writer.reserve(1).unwrap()).sends());
    assert!(probe(&writer.batch(8).unwrap()).sends());
    assert!(probe(&reader.recv().unwrap()).sends());
    writer.send(b"two").unwrap();
    let records = reader.recv_batch(9).unwrap();
    assert!(probe(&records).sends() && !probe(&records).shares(), "it counts as it is read");
    assert!(probe(&producer.reserve(1).unwrap()).sends());
    producer.send(1).unwrap();
    assert!(probe(&consumer.recv_batch(1).unwrap()).sends());
    assert!(probe(&producer).sends() && probe(&consumer).sends());
    assert!(probe(&tap::<u64>(&name)).sends() && probe(&member::<u64>(&name, "group")).sends());
    assert!(probe(&Pollable::bridged(consumer).unwrap()).sends());
    let error = Consumer::<u64>::join("", Start::Oldest).unwrap_err();
    assert!(probe(&error).sends() && probe(&error).shares());
    let homely = producer.waiting(Homely::default());
    assert!(!probe(&homely).sends() && !probe(&homely).shares());
    let homely = tap::<u64>(&name).waiting(Homely::default());
    assert!(!probe(&homely).sends());
    let homely = member::<u64>(&name, "group").waiting(Homely::default());
    assert!(!probe(&homely).sends());
}

/// misuse: a stream whose reader consumes more than there is, or reads nothing, stays in step.
#[test]
fn a_stream_that_is_misused() {
    let (_name, mut writer, mut reader) = written(4096);
    for part in [b"abc".as_slice(), b"", b"def", b"ghi"] {
        writer.send(part).unwrap();
    }
    writer.close();
    let mut stream = ReadRecords::new(&mut reader);
    stream.consume(1000);
    assert_eq!(stream.fill_buf().unwrap(), b"abc");
    stream.consume(1);
    stream.consume(usize::MAX);
    assert_eq!(stream.fill_buf().unwrap(), b"def");
    assert_eq!(stream.fill_buf().unwrap(), b"def");
    stream.consume(0);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "defghi");
    assert!(stream.fill_buf().unwrap().is_empty());
    stream.consume(1);
}

/// misuse: a rendezvous with a timeout of all time is one without: no input makes it panic.
#[test]
fn a_rendezvous_of_all_time() {
    let (name, mut writer) = writer(4096);
    let path = std::env::temp_dir().join(format!("{}.socket", &name[1..]));
    let mut server = rendezvous::Server::bind(&path).unwrap();
    std::thread::scope(|scope| {
        let given = scope.spawn(|| {
            rendezvous::connect(&path, rendezvous::Role::Consumer, Duration::MAX).is_ok()
        });
        until(|| given.is_finished() || server.accept(&writer, SHORT).is_ok());
        assert!(given.join().unwrap_or(false), "it panicked");
    });
    writer.close();
}

// Memory that another process has overwritten.

/// How many rings of each kind are spoiled; six thousand of each were, once.
const SEEDS: u64 = 300;

/// A segment's file, and where its control lies.
fn control_of(name: &str) -> (File, u64, u64) {
    let segment = Segment::open(&name.parse().unwrap(), Mode::Observer, Duration::ZERO).unwrap();
    let len = segment.control_len() as u64;
    let path = format!("/dev/shm{name}");
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    (file, segment.data_offset() - len, len)
}

/// A word of noise: any number, or a number close to those in the ring.
fn noise(seed: u64) -> u64 {
    match seed % 4 {
        0 => mix(seed),
        1 => mix(seed) % 64,
        2 => (mix(seed) % 64).wrapping_neg(),
        _ => 1 << (mix(seed) % 64),
    }
}

/// Writes noise over a word of control. Says which noise.
fn disturb((file, offset, len): &(File, u64, u64), seed: u64, step: u64) -> u64 {
    let seed = mix(seed << 8 | step);
    // The producer's line and the first slots are where it hurts most.
    let reach = if step.is_multiple_of(2) { 128 } else { *len };
    let at = offset + mix(seed) % (reach / 8) * 8;
    file.write_at(&noise(seed).to_le_bytes(), at).unwrap();
    seed
}

/// misuse: a ring whose shared lines hold noise: each call ends, with a message or an error.
#[test]
fn noise_in_control_is_survived() {
    for seed in 0..SEEDS {
        let (name, mut producer, mut consumer) = pair::<u64>(4);
        let mut member = member::<u64>(&name, "group");
        let mut watcher = tap::<u64>(&name);
        let control = control_of(&name);
        for step in 0..12 {
            let seed = disturb(&control, seed, step);
            let _ = producer.try_send(seed);
            let _ = producer.try_send_batch(&[seed; 3]);
            let _ = consumer.try_recv_batch(9).map(|batch| batch.iter().count());
            let _ = member.try_recv_batch(9).map(|batch| batch.iter().count());
            let _ = (consumer.try_recv(), member.try_recv(), watcher.try_recv());
            let _ = (watcher.try_recv_into(&mut [0; 9]), watcher.lag());
            let _ = (producer.consumers(), producer.groups(), consumer.ending());
        }
    }
}

/// misuse: a consumer that joins a ring with noise in its slots and groups is let in or refused, and
/// waits for no end.
#[test]
fn noise_in_the_roster_is_survived_by_newcomers() {
    for seed in 0..SEEDS {
        let (name, mut writer) = writer(4096);
        let mut held = Vec::new();
        let (file, offset, len) = control_of(&name);
        let soon = JoinOptions::new().timeout(SHORT).hold_when_empty(seed % 2 == 0);
        for step in 0..12 {
            let seed = mix(seed << 8 | step);
            let at = offset + 128 + mix(seed) % (len / 8 - 16) * 8;
            file.write_at(&noise(seed).to_le_bytes(), at).unwrap();
            let start = if step % 3 == 0 { Start::Latest } else { Start::Oldest };
            let _ = fanout::records::Reader::join_with(&*name, start, &soon).map(|mut end| {
                let _ = end.try_recv_batch(900).map(|batch| batch.iter().count());
            });
            let member = fanout::records::Member::join_with(&*name, "group", start, &soon);
            held.extend(member.ok().filter(|_| step % 4 == 0));
            let tap = fanout::records::Tap::open_with(&*name, start, &soon);
            let _ = tap.map(|mut tap| tap.try_recv(&mut Vec::new()));
            let _ = writer.try_send(&bytes(seed, 700));
            let _ = writer.forget_group("group", SHORT);
            let _ = (writer.consumers(), writer.groups(), writer.is_abandoned());
        }
    }
}

/// misuse: a consumer that joins a ring with an impossible producer's line is told so, or let in. It
/// must keep its timeout, because other consumers may want to join.
#[test]
fn noise_in_the_head_is_survived_by_newcomers() {
    let (name, _producer) = ring::<u64>(4);
    let (file, offset, _) = control_of(&name);
    file.write_at(&1000u64.to_le_bytes(), offset).unwrap();
    let status = child("misuse::child_joins", &name);
    assert_eq!(status.signal(), None, "it was killed, since it never ended");
}

/// misuse: the child of the test above.
#[test]
#[ignore = "started by noise_in_the_head_is_survived_by_newcomers"]
fn child_joins() {
    let Ok(name) = std::env::var(CHILD) else { return };
    let soon = JoinOptions::new().timeout(SHORT);
    let _ = Consumer::<u64>::join_with(name.as_str(), Start::Latest, &soon);
}

/// misuse: a group whose claim lies where no record can begin: its members are told.
#[test]
fn a_claim_where_no_record_begins() {
    let (name, mut writer) = writer(4096);
    let mut member = worker(&name, "group");
    let (file, offset, _) = control_of(&name);
    (0..3).for_each(|n| writer.send(&bytes(n, 300)).unwrap());
    // The table in day3's control says where the claim of the first group lies.
    let claim = 4u64 << 11 | 1;
    file.write_at(&claim.to_le_bytes(), offset + 384 + 256).unwrap();
    let found = member.try_recv().map(|record| record.len());
    assert!(matches!(found, Err(TryRecvError::End(RecvError::Corrupt(_)))), "{found:?}");
}

/// Whether a second caller is told that the memory is locked, while the first holds the lock.
fn is_told_that_it_is_locked(memory: &dyn Memory) -> bool {
    let is_held = AtomicBool::new(false);
    let goes_on = AtomicBool::new(false);
    let timeout = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            memory.locked(LONG, &mut || {
                is_held.store(true, Ordering::Relaxed);
                until(|| goes_on.load(Ordering::Relaxed));
            })
        });
        until(|| is_held.load(Ordering::Relaxed));
        let second = scope.spawn(|| memory.locked(SHORT, &mut || ()));
        until(|| second.is_finished() || Instant::now() > timeout);
        goes_on.store(true, Ordering::Relaxed);
        second.join().unwrap().is_err()
    })
}

/// misuse: memory of each kind says so if it stays locked for longer than a caller waits.
#[test]
fn a_segment_that_is_locked_says_so() {
    let (_name, writer) = writer(4096);
    assert!(is_told_that_it_is_locked(&**writer.memory()));
}

/// misuse: the same for memory of one process.
#[test]
fn a_heap_that_is_locked_says_so() {
    let _watched = Name::new();
    let heap = Heap::<u64>::new(4, 0).unwrap();
    let local = Local::new(&QueueOptions::new(4096)).unwrap();
    assert_eq!([&*heap as &dyn Memory, &*local].map(is_told_that_it_is_locked), [true; 2]);
}

/// misuse: the same for records.
#[test]
fn noise_in_the_control_of_records_is_survived() {
    for seed in 0..SEEDS {
        let (name, mut writer, mut reader) = written(4096);
        let mut worker = worker(&name, "group");
        let (mut watcher, mut into) = (records_tap(&name), Vec::new());
        let control = control_of(&name);
        for step in 0..12 {
            let seed = disturb(&control, seed, step);
            let _ = writer.try_send(&bytes(seed, 700));
            let _ = writer.try_batch_up_to(500).map(|batch| batch.publish());
            let _ = reader.try_recv_batch(900).map(|batch| batch.iter().count());
            let _ = worker.try_recv_batch(900).map(|batch| batch.iter().count());
            let _ = (reader.try_recv().map(drop), worker.try_recv().map(drop));
            let _ = (watcher.try_recv(&mut into), writer.consumers(), writer.groups());
        }
    }
}

/// misuse: a consumer whose messages are overwritten while it reads them gets other bytes, and its frames
/// stay within the ring.
#[test]
fn noise_in_data_stays_in_data() {
    for seed in 0..SEEDS {
        let (name, mut writer, mut reader) = written(4096);
        let mut worker = worker(&name, "group");
        let (mut watcher, mut into) = (records_tap(&name), Vec::new());
        let (file, offset, len) = control_of(&name);
        (0..6).for_each(|n| writer.send(&bytes(n, 600)).unwrap());
        for step in 0..8 {
            let seed = mix(seed << 8 | step);
            let word = noise(seed) & 0xffff_ffff | u64::from(u16::from_le_bytes(*b"fr")) << 48;
            let at = offset + len + seed % 512 * 8;
            file.write_at(&word.to_le_bytes(), at).unwrap();
            file.write_at(&word.to_le_bytes(), offset + len + seed % 7 * 608).unwrap();
            if let Ok(mut batch) = reader.try_recv_batch(2000) {
                assert!(batch.iter().map(<[u8]>::len).sum::<usize>() <= 4096);
                file.write_at(&word.to_le_bytes(), at).unwrap();
                let half = batch.len() / 2;
                batch.release_first(half);
                assert!(batch.iter().map(<[u8]>::len).sum::<usize>() <= 4096);
            }
            let _ = worker.try_recv().map(|record| record.iter().count());
            let _ = watcher.try_recv(&mut into);
            assert!(into.len() <= 4096);
            let _ = writer.try_send(&bytes(step, 300));
        }
    }
}

/// misuse: an observer of a ring is told of its end as its consumers are, and counts what was sent.
#[test]
fn an_observer_sees_the_end() {
    let (name, mut producer) = ring::<u64>(4);
    let observer = Observer::open(&name.parse().unwrap(), LONG).unwrap();
    producer.send_batch(&[1, 2, 3, 4, 5, 6]).unwrap();
    assert_eq!((observer.snapshot().sent(), observer.snapshot().closed), (6, false));
    producer.abort("that is all");
    drop(producer);
    let snapshot = observer.snapshot();
    assert!(snapshot.closed && !snapshot.producer_lives && snapshot.gating().is_none());
    assert_eq!(snapshot.ending, fanout::Ending::Aborted { reason: "that is all".to_owned() });
}

/// misuse: `try_` calls never wait, though nobody reads, nobody writes, and nobody wakes.
#[test]
fn what_tries_never_waits() {
    let waits = Arc::new(AtomicBool::new(false));
    let strategy = || {
        let waits = Arc::clone(&waits);
        Hooked::new(move |_, _| waits.store(true, Ordering::Relaxed))
    };
    let (name, producer, consumer) = pair::<u64>(1);
    let (mut producer, mut consumer) = (producer.waiting(strategy()), consumer.waiting(strategy()));
    let mut member = member::<u64>(&name, "group").waiting(strategy());
    let mut watcher = tap::<u64>(&name).waiting(strategy());
    assert!(consumer.try_recv().is_err() && consumer.try_recv_batch(9).is_err());
    assert!(member.try_recv().is_err() && member.try_recv_batch(9).is_err());
    assert!(watcher.try_recv().is_err() && watcher.try_recv_into(&mut [0; 2]).is_err());
    producer.try_send(1).unwrap();
    assert!(producer.try_send(2).is_err() && producer.try_send_batch(&[2]).is_err());
    assert!(producer.try_reserve(1).is_err() && producer.try_reserve_up_to(1).is_err());
    let (records, writer, reader) = written(4096);
    let (mut writer, mut reader) = (writer.waiting(strategy()), reader.waiting(strategy()));
    let mut worker = worker(&records, "group").waiting(strategy());
    assert!(reader.try_recv().is_err() && reader.try_recv_batch(9).is_err());
    assert!(worker.try_recv().is_err() && worker.try_recv_batch(9).is_err());
    writer.try_send(&[0; 4088]).unwrap();
    assert!(writer.try_send(&[]).is_err() && writer.try_reserve(0).is_err());
    assert!(writer.try_batch(8).is_err() && writer.try_batch_up_to(8).is_err());
    assert!(writer.try_send_vectored(&[]).is_err());
    assert!(!waits.load(Ordering::Relaxed), "nobody was asked to wait");
}
