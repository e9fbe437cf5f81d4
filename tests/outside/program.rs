//! A user's program: `tests/outside.rs` builds it in a crate of its own, whose only dependency is `fanout`.

use std::error::Error;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use fanout::ends::Cursor;
use fanout::wait::{Doorbell, Side};
use fanout::{
    Adaptive, Batch, Consumer, Ending, JoinOptions, Member, Producer, QueueOptions, Sleep, Spin,
    Start, Tap, Wait, Yield, ends, error, inspect, pollable, records,
};

mod imports;

type Outcome = Result<(), Box<dyn Error>>;

fn name(what: &str) -> String {
    format!("/fanout-outside-{what}-{}", std::process::id())
}

fn main() -> Outcome {
    broadcast()?;
    groups_and_taps()?;
    any_size()?;
    strategies()?;
    beside_sockets()?;
    errors_by_name()?;
    Ok(())
}

/// A signature can name what is borrowed, and from which end.
fn total<K: Cursor, W: Wait>(batch: Batch<'_, [u64; 2], K, W>) -> u64 {
    batch.iter().map(|[first, second]| first + second).sum()
}

fn broadcast() -> Outcome {
    let name = name("broadcast");
    let options = QueueOptions::new(64).message_type("pair/1");
    let mut producer = Producer::<[u64; 2]>::create_with(&name, &options)?;
    let join = JoinOptions::new().message_type("pair/1").label("outside");
    let mut consumer = Consumer::<[u64; 2]>::join_with(&name, Start::Oldest, &join)?;
    let places: fanout::Reservation<'_, [u64; 2], Adaptive> = producer.reserve(2)?;
    places.fill(&[[1, 2], [3, 4]]).publish();
    assert_eq!(total(consumer.recv_batch(8)?), 10);
    let seen: Vec<inspect::ConsumerInfo> = producer.consumers();
    assert_eq!(seen.len(), 1);
    producer.abort("enough");
    assert_eq!(consumer.recv(), Err(error::RecvError::Aborted));
    assert_eq!(consumer.ending(), Ending::Aborted { reason: "enough".to_owned() });
    Ok(())
}

fn groups_and_taps() -> Outcome {
    let name = name("groups");
    let mut producer = Producer::<u64>::create(&name, 64)?;
    let mut tap = Tap::<u64>::open(&name, Start::Oldest)?;
    let mut first = Member::<u64>::join(&name, "workers", Start::Oldest)?;
    let mut second = Member::<u64>::join(&name, "workers", Start::Oldest)?;
    producer.send_batch(&[7, 8])?;
    let shared = [first.try_recv(), second.try_recv(), first.try_recv(), second.try_recv()];
    assert_eq!(shared.into_iter().filter_map(Result::ok).sum::<u64>(), 15);
    assert_eq!((tap.recv()?, tap.recv()?, tap.lost()), (7, 8, 0));
    Ok(())
}

fn any_size() -> Outcome {
    let name = name("records");
    let mut writer = records::Writer::create(&name, 1 << 16)?;
    let mut reader = records::Reader::join(&name, Start::Oldest)?;
    let mut member = records::Member::join(&name, "workers", Start::Oldest)?;
    let mut tap = records::Tap::open(&name, Start::Oldest)?;
    let mut batch: records::WriteBatch<'_, Adaptive> = writer.batch(1 << 10)?;
    batch.push(b"one")?;
    batch.push(b"another")?;
    batch.publish();
    let lent = reader.recv_batch(1 << 10)?;
    let lengths: Vec<usize> = (&lent).into_iter().map(<[u8]>::len).collect();
    assert_eq!(lengths, [3, 7]);
    drop(lent);
    assert_eq!(&*member.recv()?, b"one");
    let mut copy = Vec::new();
    tap.recv(&mut copy)?;
    assert_eq!(copy, b"one");
    let (mut ours, invitation) = records::rendezvous::pair(1 << 12)?;
    ours.send(b"to a child")?;
    drop::<records::rendezvous::Invitation>(invitation);
    Ok(())
}

/// A user's own way to wait: it looks again after a nap.
#[derive(Default)]
struct Nap {
    naps: u64,
}

impl Wait for Nap {
    fn until<R>(
        &mut self,
        _side: Side,
        _doorbell: &Doorbell,
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
            self.naps += 1;
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

fn strategies() -> Outcome {
    let name = name("waiting");
    let mut producer: ends::Producer<u64, Spin> = Producer::create(&name, 64)?.waiting(Spin);
    let mut naps: ends::Consumer<u64, Nap> =
        Consumer::join(&name, Start::Oldest)?.waiting(Nap::default());
    let mut sleeps = Consumer::<u64>::join(&name, Start::Oldest)?.waiting(Sleep::default());
    let mut yields = ends::Tap::<u64, Yield>::open(&name, Start::Oldest)?;
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        producer.send(42).map(|()| producer)
    });
    assert_eq!((naps.recv()?, sleeps.recv()?, yields.recv()?), (42, 42, 42));
    let producer = late.join().expect("the producer's thread")?;
    let mut writer = records::ends::Writer::<Nap>::create(&*self::name("naps"), 4096)?;
    writer.send(b"waits as it likes")?;
    drop(producer);
    assert_eq!(naps.recv(), Err(error::RecvError::Closed));
    "adaptive".parse::<fanout::wait::Strategy>()?;
    Ok(())
}

fn beside_sockets() -> Outcome {
    let name = name("pollable");
    let notifier = pollable::Notifier::default();
    let connection = notifier.connection()?;
    let producer = Producer::<u64>::create(&name, 64)?;
    let mut producer = producer.waiting(pollable::Notify::new(notifier, Adaptive::default()));
    let consumer = Consumer::<u64>::join(&name, Start::Oldest)?;
    let mut consumer: pollable::Pollable<Consumer<u64>> =
        pollable::Pollable::with_connection(consumer, connection)?;
    assert_eq!(consumer.try_recv(), Err(error::TryRecvError::Empty));
    let _ = consumer.as_fd();
    producer.send(7)?;
    assert_eq!(consumer.try_recv(), Ok(7));
    Ok(())
}

fn errors_by_name() -> Outcome {
    let nobody = name("nobody");
    let missing = Consumer::<u64>::join(&nobody, Start::Oldest).err();
    assert!(matches!(missing, Some(error::JoinError::Open(error::OpenError::NotFound { .. }))));
    let none: Result<records::Writer, records::error::CreateError> =
        records::Writer::create("/no/name", 4096);
    assert!(matches!(none, Err(records::error::CreateError::Name(error::NameError::Invalid { .. }))));
    let nowhere: Result<_, records::error::ConnectError> =
        records::Reader::connect("", Start::Oldest);
    assert!(nowhere.is_err());
    let lost = pollable::Connection::connect("/nonexistent/fanout").err();
    assert!(matches!(lost, Some(pollable::NotifyError::NotFound { .. })));
    let refused = pollable::Connection::connect("/proc/self/fd").err();
    if let Some(pollable::NotifyError::System { errno, .. }) = refused.clone() {
        let errno: error::OsError = errno;
        assert_ne!(std::io::Error::from(errno).raw_os_error(), Some(0));
    }
    assert!(refused.is_some());
    Ok(())
}
