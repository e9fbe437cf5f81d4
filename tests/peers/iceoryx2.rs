//! What iceoryx2 asks: names, types, who may open what, loans, histories, and ends that come back.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use fanout::error::{
    CreateError, JoinError, LockError, NameError, OpenError, RecvError, RemoveError,
    SegmentCreateError, TryRecvError, TrySendError,
};
use fanout::inspect::{ConsumerKind, Observer};
use fanout::records::{Reader, Tap as RecordsTap, Writer};
use fanout::segment::{Mode, Segment};
use fanout::{Consumer, JoinOptions, Member, Producer, QueueName, QueueOptions, SLOTS, Start, Tap};
use testing::mix;

use crate::help::{
    CLOSED, LONG, Name, SHORT, consumer, member, now, opened, pair, reader, rest, ring, sealed,
    until, worker, writer, written,
};

fn refusal<T: bytemuck::Pod>(name: &str) -> OpenError {
    match Consumer::<T>::join(name, Start::Oldest) {
        Err(JoinError::Open(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// iceoryx2: a name can be created once; the second is told, and the first goes on.
#[test]
fn a_name_is_created_once() {
    let (name, mut producer, mut consumer) = pair::<u64>(2);
    let taken = |error| matches!(error, SegmentCreateError::Taken { .. });
    let CreateError::Segment(error) = Producer::<u64>::create(&*name, 2).unwrap_err() else {
        panic!("another error")
    };
    assert!(taken(error));
    let Err(CreateError::Segment(error)) = Writer::create(&*name, 2) else { panic!("created") };
    assert!(error.to_string().contains(&*name) && taken(error));
    producer.send(1).unwrap();
    assert_eq!(now(&mut consumer), [1]);
}

/// iceoryx2: what was dropped can be created again, a hundred times, and is new each time.
#[test]
fn a_name_is_created_again_after_its_producer() {
    let name = Name::new();
    for n in 0..100 {
        let mut producer = Producer::<u64>::create(&*name, 4).unwrap();
        let mut consumer = consumer::<u64>(&name);
        assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
        producer.send(n).unwrap();
        assert_eq!(now(&mut consumer), [n]);
        drop(producer);
        assert!(!name.path().exists());
    }
}

/// iceoryx2: of six threads that create one name at once, one succeeds, and the others are told.
#[test]
fn one_of_many_creates_a_name() {
    for _ in 0..20 {
        let name = Name::new();
        std::thread::scope(|scope| {
            let all = [(); 6].map(|()| scope.spawn(|| Producer::<u64>::create(&*name, 2)));
            let all = all.map(|thread| thread.join().unwrap());
            assert_eq!(all.iter().filter(|created| created.is_ok()).count(), 1);
            assert!(name.path().exists());
        });
        assert!(!name.path().exists());
    }
}

/// iceoryx2: what is not there is not opened, and nothing is left of the attempt.
#[test]
fn what_is_not_there_is_not_opened() {
    let name = Name::new();
    assert!(matches!(refusal::<u64>(&name), OpenError::NotFound { .. }));
    let error = Tap::<u64>::open(&*name, Start::Latest).unwrap_err();
    assert!(error.to_string().contains("no queue"), "{error}");
    assert!(Reader::join(&*name, Start::Latest).is_err());
    assert!(!name.path().exists());
}

/// iceoryx2: a subscriber may be started before its publisher, and waits for the name.
#[test]
fn a_consumer_waits_for_its_producer() {
    let name = Name::new();
    let options = JoinOptions::new().wait_for_queue(LONG);
    std::thread::scope(|scope| {
        let one = scope.spawn(|| Consumer::<u64>::join_with(&*name, Start::Oldest, &options));
        let two = scope.spawn(|| Tap::<u64>::open_with(&*name, Start::Oldest, &options));
        let mut producer = Producer::<u64>::create(&*name, 2).unwrap();
        producer.send(7).unwrap();
        assert_eq!(one.join().unwrap().unwrap().recv(), Ok(7));
        assert_eq!(two.join().unwrap().unwrap().recv(), Ok(7));
    });
    let late = JoinOptions::new().wait_for_queue(SHORT);
    let error = Consumer::<u64>::join_with(&*name, Start::Oldest, &late).unwrap_err();
    assert!(matches!(error, JoinError::Open(OpenError::NotFound { .. })));
}

/// iceoryx2: messages of another size, of another alignment and of another type are three errors.
#[test]
fn another_type_is_not_opened() {
    let (name, producer) = ring::<u64>(2);
    assert!(matches!(refusal::<u32>(&name), OpenError::ElementSize { expected: 4, found: 8, .. }));
    assert!(matches!(
        refusal::<[u32; 2]>(&name),
        OpenError::ElementAlign { expected: 4, found: 8, .. }
    ));
    let OpenError::MessageType { expected, found, .. } = refusal::<i64>(&name) else {
        panic!("another error")
    };
    assert_eq!((expected.as_str(), found.as_str()), ("i64", "u64"));
    assert!(producer.consumers().is_empty(), "nobody has taken a slot");
}

/// iceoryx2: one type under two names is one type where both sides say so.
#[test]
fn a_type_may_be_given_a_name() {
    let name = Name::new();
    let options = QueueOptions::new(2).message_type("tick/1");
    let mut producer = Producer::<u64>::create_with(&*name, &options).unwrap();
    assert!(matches!(refusal::<u64>(&name), OpenError::MessageType { .. }));
    let options = JoinOptions::new().message_type("tick/1");
    let mut consumer = Consumer::<i64>::join_with(&*name, Start::Oldest, &options).unwrap();
    producer.send(u64::MAX).unwrap();
    assert_eq!(consumer.recv(), Ok(-1));
    let long = QueueOptions::new(2).message_type(&"x".repeat(5000));
    let error = Producer::<u64>::create_with(&*Name::new(), &long).unwrap_err();
    assert!(matches!(error, CreateError::Segment(SegmentCreateError::TypeName { .. })), "{error}");
}

/// iceoryx2: a queue of one kind is not opened as one of another.
#[test]
fn another_kind_is_not_opened() {
    let (messages, _producer) = ring::<u8>(4096);
    let (records, _writer) = writer(4096);
    assert!(matches!(refusal::<u8>(&records), OpenError::Kind { .. }));
    let Err(JoinError::Open(error)) = Reader::join(&*messages, Start::Oldest) else {
        panic!("joined")
    };
    assert!(matches!(error, OpenError::Kind { .. }), "{error}");
    assert!(RecordsTap::open(&*messages, Start::Oldest).is_err());
}

/// iceoryx2: what is no queue is not opened, whatever lies there, and is left as it is.
#[test]
fn what_is_no_queue_is_not_opened() {
    let soon = JoinOptions::new().timeout(SHORT);
    let open = |name: &str| match Consumer::<u64>::join_with(name, Start::Oldest, &soon) {
        Err(JoinError::Open(error)) => error,
        other => panic!("{other:?}"),
    };
    let name = Name::new();
    File::create(name.path()).unwrap();
    assert!(matches!(open(&name), OpenError::NotReady { .. }));
    std::fs::write(name.path(), "#!/bin/sh\necho no queue\n".repeat(400)).unwrap();
    assert!(matches!(open(&name), OpenError::Magic { .. }));
    let link = Name::new();
    symlink(name.path(), link.path()).unwrap();
    assert!(matches!(open(&link), OpenError::NotRegular { .. }));
    let folder = Name::new();
    std::fs::create_dir(folder.path()).unwrap();
    assert!(matches!(open(&folder), OpenError::NotRegular { .. }));
    for name in [name, link, folder] {
        assert!(Producer::<u64>::create(&*name, 2).is_err());
        assert!(name.path().symlink_metadata().is_ok(), "it is left as it was");
    }
}

/// iceoryx2: a copy of a queue that was cut off is not opened: reading it would be fatal.
#[test]
fn what_was_cut_off_is_not_opened() {
    let (name, _producer) = ring::<u64>(1024);
    let copy = Name::new();
    let size = std::fs::copy(name.path(), copy.path()).unwrap();
    for left in [size - 1, size / 2, 4096, 100] {
        OpenOptions::new().write(true).open(copy.path()).unwrap().set_len(left).unwrap();
        let OpenError::Truncated { expected, found, .. } = refusal::<u64>(&copy) else {
            panic!("another error")
        };
        assert!(found == left && expected > found);
    }
}

/// iceoryx2: a queue is its owner's, unless another mode is asked for; the umask takes nothing away.
#[test]
fn permissions_are_what_was_asked_for() {
    let mode = |name: &Name| name.path().metadata().unwrap().permissions().mode() & 0o7777;
    let (name, _producer) = ring::<u64>(2);
    assert_eq!(mode(&name), 0o600);
    for asked in [0o660, 0o666, 0o640] {
        let name = Name::new();
        let options = QueueOptions::new(4096).permissions(asked);
        let producer = Producer::<u64>::create_with(&*name, &options).unwrap();
        assert_eq!(mode(&name), asked);
        drop(producer);
        let _writer = Writer::create_with(&*name, &options).unwrap();
        assert_eq!(mode(&name), asked);
    }
}

/// iceoryx2: there are so many subscribers and no more; when one leaves there is room for one.
#[test]
fn all_slots_and_one_more() {
    let (name, mut producer) = ring::<u64>(2);
    let mut consumers: Vec<_> = (0..SLOTS / 2).map(|_| consumer::<u64>(&name)).collect();
    let mut members: Vec<_> = (0..SLOTS / 2).map(|_| member::<u64>(&name, "group")).collect();
    assert_eq!(producer.consumers().len(), SLOTS);
    for _ in 0..3 {
        let error = Consumer::<u64>::join(&*name, Start::Oldest).unwrap_err();
        assert!(matches!(error, JoinError::TooManyConsumers { .. }), "{error}");
        assert!(Member::<u64>::join(&*name, "group", Start::Oldest).is_err());
    }
    let mut watcher = Tap::<u64>::open(&*name, Start::Oldest).unwrap();
    producer.send(7).unwrap();
    assert_eq!(watcher.recv(), Ok(7), "a tap needs no slot");
    consumers.iter_mut().for_each(|end| assert_eq!(end.try_recv(), Ok(7)));
    let shared: Vec<_> = members.iter_mut().filter_map(|end| end.try_recv().ok()).collect();
    assert_eq!(shared, [7]);
    let freed = [consumers.remove(20).slot(), members.remove(20).slot()];
    assert!(producer.consumers().iter().all(|listed| !freed.contains(&listed.slot)));
    let (one, two) = (member::<u64>(&name, "group"), consumer::<u64>(&name));
    assert!(freed.contains(&one.slot()) && freed.contains(&two.slot()));
    assert_eq!(producer.consumers().len(), SLOTS);
}

/// iceoryx2: there are so many groups that hold, and no more; one that is forgotten makes room.
#[test]
fn all_groups_and_one_more() {
    let (name, mut producer) = ring::<u64>(2);
    let holds = JoinOptions::new().hold_when_empty(true);
    let join =
        |n: usize| Member::<u64>::join_with(&*name, &format!("group {n}"), Start::Latest, &holds);
    for n in 0..SLOTS {
        drop(join(n).unwrap());
    }
    assert!(matches!(join(SLOTS), Err(JoinError::TooManyGroups { .. })));
    assert!(producer.consumers().is_empty(), "a refused member takes no slot");
    producer.send_batch(&[1, 2]).unwrap();
    assert_eq!(producer.try_send(3), Err(TrySendError::Full));
    assert_eq!(join(5).unwrap().try_recv(), Ok(1));
    assert_eq!(producer.try_send(3), Err(TrySendError::Full));
    for n in 0..SLOTS {
        assert!(producer.forget_group(&format!("group {n}"), LONG).unwrap());
        assert!(!producer.forget_group(&format!("group {n}"), LONG).unwrap());
    }
    assert_eq!(producer.try_send(3), Ok(()));
    assert!(join(SLOTS).is_ok());
}

/// iceoryx2: groups that do not hold give their lines up, however many there were.
#[test]
fn a_hundred_groups_come_and_go() {
    let (name, mut producer) = ring::<u64>(4);
    for n in 0..200 {
        let mut member = Member::<u64>::join(&*name, &format!("{n}"), Start::Latest).unwrap();
        producer.send(n).unwrap();
        assert_eq!(member.recv(), Ok(n));
    }
    assert!(producer.groups().len() <= SLOTS);
    let long = "a name of thirty-three bytes, yes";
    for name_of_group in ["", "a\0b", long] {
        let error = Member::<u64>::join(&*name, name_of_group, Start::Latest).unwrap_err();
        assert!(matches!(error, JoinError::GroupName { .. }), "{error}");
    }
    assert!(Member::<u64>::join(&*name, &long[1..], Start::Latest).is_ok());
}

/// iceoryx2: a late subscriber gets the history, as much as there is room for.
#[test]
fn a_late_subscriber_gets_the_history() {
    let (name, mut producer) = ring::<u64>(8);
    for n in 0..8 {
        producer.send(n).unwrap();
        assert!(now(&mut consumer::<u64>(&name)).into_iter().eq(0..=n));
        assert_eq!(Consumer::<u64>::join(&*name, Start::Latest).unwrap().try_recv().ok(), None);
    }
}

/// iceoryx2: a group's history is its first member's to choose; the others join where the group is.
#[test]
fn a_group_begins_where_its_first_member_did() {
    let (name, mut producer) = ring::<u64>(8);
    producer.send_batch(&[1, 2, 3]).unwrap();
    let mut first = Member::<u64>::join(&*name, "group", Start::Oldest).unwrap();
    assert_eq!(first.recv(), Ok(1));
    let mut second = Member::<u64>::join(&*name, "group", Start::Latest).unwrap();
    assert_eq!(second.recv(), Ok(2));
    let mut other = Member::<u64>::join(&*name, "other", Start::Latest).unwrap();
    assert_eq!(other.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(first.recv(), Ok(3));
}

/// iceoryx2: a subscriber that was there first gets the first sample.
#[test]
fn a_subscriber_that_was_first_gets_the_first() {
    let (name, mut producer) = ring::<u64>(2);
    let mut consumer = Consumer::<u64>::join(&*name, Start::Latest).unwrap();
    assert_eq!(consumer.first_sequence(), producer.next_sequence());
    producer.send(1).unwrap();
    assert_eq!(now(&mut consumer), [1]);
}

/// iceoryx2: a sample that was received stays, when its publisher is gone and its name another's.
#[test]
fn a_sample_outlives_its_publisher() {
    let (name, mut writer, mut reader) = written(4096);
    writer.send(b"still here").unwrap();
    writer.send(b"and I").unwrap();
    let record = reader.recv().unwrap();
    drop(writer);
    let (mut other, mut other_reader) = {
        let mut other = Writer::create(&*name, 4096).unwrap();
        other.send(&[0xff; 2000]).unwrap();
        (other, crate::help::reader(&name))
    };
    assert_eq!(&*record, b"still here");
    drop(record);
    assert_eq!(&*reader.recv().unwrap(), b"and I");
    assert_eq!(reader.recv().unwrap_err(), RecvError::Closed);
    other.send(b"mine").unwrap();
    assert_eq!(other_reader.recv().unwrap().len(), 2000);
    assert_eq!(&*other_reader.recv().unwrap(), b"mine");
}

/// iceoryx2: a name is removed and created again under its reader: both go on, each in its own.
#[test]
fn a_name_is_removed_and_created_again() {
    let (name, mut old, mut reads_old) = pair::<u64>(4);
    let queue: QueueName = name.parse().unwrap();
    Segment::remove(&queue).unwrap();
    let mut new = Producer::<u64>::create(&*name, 4).unwrap();
    let mut reads_new = consumer::<u64>(&name);
    old.send(1).unwrap();
    new.send(2).unwrap();
    assert_eq!((now(&mut reads_old), now(&mut reads_new)), (vec![1], vec![2]));
    drop(old);
    assert!(name.path().exists(), "the name is no longer the first one's to remove");
    assert_eq!(reads_old.recv(), Err(RecvError::Closed));
    new.send(3).unwrap();
    assert_eq!(now(&mut reads_new), [3]);
    drop(new);
    assert!(!name.path().exists());
    assert!(matches!(Segment::remove(&queue), Err(RemoveError::Open(OpenError::NotFound { .. }))));
}

/// iceoryx2: a queue that is in use is not removed, unless the operator insists.
#[test]
fn a_queue_in_use_is_not_removed() {
    let (name, producer, consumer) = pair::<u64>(4);
    let queue: QueueName = name.parse().unwrap();
    let held = |error| match error {
        Err(RemoveError::Held { has_producer, .. }) => has_producer,
        other => panic!("{other:?}"),
    };
    assert!(held(Segment::remove_unused(&queue)));
    std::mem::forget(producer);
    assert!(held(Segment::remove_unused(&queue)), "a forgotten producer is one");
    drop(consumer);
    assert!(name.path().exists());
    Segment::remove(&queue).unwrap();
    assert!(!name.path().exists());
}

/// iceoryx2: with no room and a subscriber that does not read, nothing is sent and nothing is lost.
#[test]
fn back_pressure_loses_nothing() {
    let (_name, mut producer, mut consumer) = pair::<u64>(4);
    let mut sent = Vec::new();
    for n in 0..100 {
        match producer.try_send(n) {
            Ok(()) => sent.push(n),
            Err(error) => assert_eq!(error, TrySendError::Full),
        }
        if n % 10 == 9 {
            assert_eq!(now(&mut consumer), sent);
            sent.clear();
        }
    }
}

/// iceoryx2: a publisher that waits goes on when the member with a claimed sample leaves.
#[test]
fn back_pressure_ends_with_the_subscriber() {
    let (name, mut producer) = ring::<u64>(1);
    let mut member = member::<u64>(&name, "group");
    producer.send(1).unwrap();
    std::thread::scope(|scope| {
        let batch = member.recv_batch(1).unwrap();
        let sender = scope.spawn(move || producer.send(2).map(|()| producer));
        let observer = Observer::open(&name.parse().unwrap(), LONG).unwrap();
        until(|| observer.snapshot().waits_for == 1);
        drop(batch);
        drop(member);
        let producer = sender.join().unwrap().unwrap();
        assert_eq!(observer.snapshot().waits_for, 0);
        assert_eq!(producer.next_sequence().get(), 2);
    });
}

/// iceoryx2: subscribers reconnect all the time while the publisher sends: none hangs, and none
/// sees a hole.
#[test]
fn subscribers_reconnect() {
    let (name, mut producer) = ring::<[u64; 4]>(4);
    std::thread::scope(|scope| {
        let threads = [(); 3].map(|()| {
            scope.spawn(|| {
                for _ in 0..100 {
                    let mut end = consumer::<[u64; 4]>(&name);
                    let first = end.first_sequence().get();
                    if let Ok(message) = end.try_recv() {
                        assert_eq!(opened(message), first);
                    }
                    let _ = member::<[u64; 4]>(&name, "group").try_recv().map(opened);
                }
            })
        });
        let mut n = 0;
        until(|| {
            producer.send(sealed(n)).unwrap();
            n += 1;
            threads.iter().all(|thread| thread.is_finished())
        });
    });
    assert!(producer.is_abandoned());
}

/// iceoryx2: publishers come back under the name while a subscriber asks for it: none hangs, and none
/// sees another publisher's messages.
#[test]
fn publishers_reconnect() {
    let name = Name::new();
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            for n in 0..100 {
                let mut producer = Producer::<u64>::create(&*name, 2).unwrap();
                producer.send(mix(n)).unwrap();
                producer.send(!mix(n)).unwrap();
            }
        });
        until(|| {
            if let Ok(mut end) = Consumer::<u64>::join(&*name, Start::Oldest) {
                let all = rest(&mut end);
                assert!(all.is_empty() || all.len() < 3);
                assert!(all.len() < 2 || all[0] == !all[1], "{all:?}");
            }
            publisher.is_finished()
        });
    });
}

/// iceoryx2: subscribers are listed: what they are, what they call themselves, how far they are.
#[test]
fn subscribers_are_listed() {
    let (name, mut producer) = ring::<u64>(4);
    let label = JoinOptions::new().label("the first of them, whose label is much too long");
    let first = Consumer::<u64>::join_with(&*name, Start::Oldest, &label).unwrap();
    let second = member::<u64>(&name, "group");
    producer.send_batch(&[1, 2, 3]).unwrap();
    let listed = producer.consumers();
    assert_eq!(listed[0].kind, ConsumerKind::Broadcast);
    assert_eq!(listed[0].label, "the first of them, whose label i");
    assert_eq!(listed[1].kind, ConsumerKind::Member { group: "group".to_owned() });
    assert!(listed.iter().all(|end| end.lag == 3 && end.owner == std::process::id()));
    assert_eq!((listed[0].slot, listed[1].slot), (first.slot(), second.slot()));
    let observer = Observer::open(&name.parse().unwrap(), LONG).unwrap();
    let snapshot = observer.snapshot();
    assert_eq!((snapshot.consumers.clone(), snapshot.sent()), (listed, 3));
    assert_eq!((snapshot.capacity, snapshot.message_size, snapshot.closed), (4, 8, false));
    assert!(snapshot.gating().is_some() && snapshot.producer_lives);
    assert_eq!((snapshot.groups.len(), snapshot.groups[0].members), (1, 1));
    drop((first, second));
    assert!(producer.consumers().is_empty());
    assert_eq!(producer.groups()[0].members, 0);
}

/// iceoryx2: slices up to the largest are lent and sent; one element more is an error of its own.
#[test]
fn loans_up_to_the_largest() {
    let (_name, mut producer, mut consumer) = pair::<u64>(8);
    for len in 1..=8 {
        let all: Vec<_> = (0..len as u64).collect();
        producer.reserve(len).unwrap().fill(&all).publish();
        let batch = consumer.recv_batch(8).unwrap();
        assert!(batch.iter().eq(&all));
    }
    let error = producer.reserve(9).unwrap_err().to_string();
    assert!(error.contains('9') && error.contains("at most 8"), "{error}");
}

/// iceoryx2: every message is aligned as its type asks, in every process' mapping.
#[test]
fn messages_are_aligned() {
    let (_name, mut producer, mut consumer) = pair::<u128>(4);
    let (_records, mut writer, mut reader) = written(4096);
    for n in 0..20 {
        producer.send(n).unwrap();
        let batch = consumer.recv_batch(4).unwrap();
        assert!(batch.slices().0.as_ptr().is_aligned());
        writer.send(&vec![1; 13 * n as usize]).unwrap();
        let record = reader.recv().unwrap();
        assert_eq!(record.as_ptr().align_offset(8), 0, "records begin at words");
    }
}

/// iceoryx2: names that no object can have are refused before the kernel is asked.
#[test]
fn names_are_checked() {
    for name in ["", "/", "a/b", "//", "..", ".", "a\0b", "line\nbreak"] {
        let error = Producer::<u64>::create(name, 2).unwrap_err();
        assert!(matches!(error, CreateError::Name(_)), "{name:?}: {error}");
        let error = Consumer::<u64>::join(name, Start::Oldest).unwrap_err();
        assert!(matches!(error, JoinError::Name(_)), "{name:?}: {error}");
    }
    let long = "x".repeat(255);
    let error = QueueName::new(&long).unwrap_err();
    assert_eq!(error, NameError::TooLong { found: 255 });
    let name = Name::new();
    let producer = Producer::<u64>::create(&name[1..], 2).unwrap();
    assert!(name.path().exists(), "the slash may be left out");
    drop(producer);
}

/// iceoryx2: sizes that no memory has are errors, and nothing is left behind.
#[test]
fn huge_queues_are_refused() {
    let name = Name::new();
    let huge = fanout::Capacity::MAX;
    for error in [
        Producer::<u64>::create(&*name, huge).unwrap_err(),
        Producer::<[u64; 1024]>::create(&*name, huge).unwrap_err(),
        Writer::create(&*name, huge).unwrap_err(),
    ] {
        assert!(
            matches!(
                error,
                CreateError::Segment(
                    SegmentCreateError::NoSpace { .. } | SegmentCreateError::TooLarge { .. }
                )
            ),
            "{error:?}"
        );
        assert!(!error.to_string().is_empty());
    }
    assert!(!name.path().exists());
}

/// iceoryx2: a consumer that joins while another joins waits, and is told if it takes too long.
#[test]
fn joining_while_another_joins() {
    let (name, writer) = writer(4096);
    let soon = JoinOptions::new().timeout(SHORT);
    let mut seen = None;
    writer
        .memory()
        .locked(LONG, &mut || seen = Some(Reader::join_with(&*name, Start::Oldest, &soon).err()))
        .unwrap();
    assert!(matches!(seen, Some(Some(JoinError::Lock(LockError::Busy { .. })))), "{seen:?}");
    assert!(Reader::join_with(&*name, Start::Oldest, &soon).is_ok());
}

/// iceoryx2: any process that may join may hold the lock: while it is held, nothing but joining
/// waits.
#[test]
fn a_lock_that_is_held_stops_nobody_but_newcomers() {
    let (name, mut producer, mut consumer) = pair::<u64>(2);
    let segment = Segment::open(&name.parse().unwrap(), Mode::Reader, LONG).unwrap();
    let lock = segment.lock(LONG).unwrap();
    let soon = JoinOptions::new().timeout(SHORT);
    let error = Member::<u64>::join_with(&*name, "group", Start::Oldest, &soon).unwrap_err();
    assert!(matches!(error, JoinError::Lock(LockError::Busy { .. })), "{error}");
    assert!(producer.forget_group("group", SHORT).is_err());
    assert!(segment.lock(SHORT).is_err(), "two threads with one handle are two");
    producer.send(1).unwrap();
    assert_eq!(now(&mut consumer), [1]);
    drop(consumer);
    assert!(producer.is_abandoned());
    drop(lock);
    assert!(Member::<u64>::join_with(&*name, "group", Start::Oldest, &soon).is_ok());
}

/// iceoryx2: a queue without a name is opened by a descriptor, to read or only to look.
#[test]
fn a_queue_without_a_name() {
    let _watched = Name::new();
    let mut writer = Writer::anonymous(4096).unwrap();
    let options = JoinOptions::new();
    let fd = writer.descriptor(Mode::Reader).unwrap();
    let mut reader = Reader::from_fd(fd, Start::Oldest, &options).unwrap();
    let look = || writer.descriptor(Mode::Observer).unwrap();
    let mut tap = RecordsTap::from_fd(look(), Start::Oldest, &options).unwrap();
    let error = Reader::from_fd(look(), Start::Oldest, &options).map(drop);
    writer.send(b"hello").unwrap();
    assert_eq!(&*reader.recv().unwrap(), b"hello");
    let mut into = Vec::new();
    assert_eq!((tap.recv(&mut into), into.as_slice()), (Ok(5), &b"hello"[..]));
    // Root may open for writing what it has for reading; other users are refused.
    assert!(error.is_ok() || matches!(error, Err(JoinError::Open(_))));
    drop(writer);
    assert_eq!(reader.recv().unwrap_err(), RecvError::Closed);
}

/// iceoryx2: a descriptor of something else is no queue.
#[test]
fn a_descriptor_of_something_else() {
    let name = Name::new();
    let options = JoinOptions::new().timeout(SHORT);
    std::fs::write(name.path(), "no queue").unwrap();
    let file = || OpenOptions::new().read(true).write(true).open(name.path()).unwrap();
    let error = Reader::from_fd(file().into(), Start::Oldest, &options).unwrap_err();
    assert!(matches!(error, JoinError::Open(OpenError::NotSealed { .. })), "{error}");
    let (pipe, _other) = std::io::pipe().unwrap();
    let error = RecordsTap::from_fd(pipe.into(), Start::Oldest, &options).unwrap_err();
    assert!(matches!(error, JoinError::Open(OpenError::NotRegular { .. })), "{error}");
}

/// iceoryx2: errors say what was expected, what was found and what to do, and their sources agree.
#[test]
fn errors_say_what_to_do() {
    let name = Name::new();
    let (taken, _producer) = ring::<u64>(2);
    let errors: [Box<dyn Error>; 6] = [
        Box::new(Producer::<u64>::create(&*taken, 2).unwrap_err()),
        Box::new(Producer::<u64>::create(&*name, 7).unwrap_err()),
        Box::new(Consumer::<u64>::join(&*name, Start::Oldest).unwrap_err()),
        Box::new(Consumer::<u32>::join(&*taken, Start::Oldest).unwrap_err()),
        Box::new(Member::<u64>::join(&*taken, "", Start::Oldest).unwrap_err()),
        Box::new(Reader::join(&*taken, Start::Oldest).unwrap_err()),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.contains(": ") && text.len() > 30, "{text}");
        assert!(!text.ends_with('.') && !text.contains("Error"), "{text}");
        assert!(error.source().is_none_or(|source| source.to_string() != text), "{text}");
    }
}

/// iceoryx2: the reason of a publisher that gave up is kept, cut where a character ends.
#[test]
fn a_reason_is_kept() {
    for (reason, kept) in [
        ("no disk", "no disk".to_owned()),
        ("", String::new()),
        (&"x".repeat(100), "x".repeat(64)),
        (&format!("x{}", "é".repeat(50)), format!("x{}", "é".repeat(31))),
    ] {
        let (_name, mut producer, mut consumer) = pair::<u64>(2);
        producer.send(1).unwrap();
        producer.abort(reason);
        producer.abort("only the first counts");
        producer.close();
        assert_eq!((consumer.recv(), consumer.recv()), (Ok(1), Err(RecvError::Aborted)));
        assert_eq!(consumer.ending(), fanout::Ending::Aborted { reason: kept });
    }
}

/// iceoryx2: members that share records come and go, and what they leave unclaimed is the others'.
#[test]
fn members_come_and_go() {
    let (name, mut writer) = writer(4096);
    let mut keeper = reader(&name);
    let mut next = 0u64;
    for lap in 0..100u64 {
        let mut one = worker(&name, "group");
        (0..3).for_each(|n| writer.send(&(3 * lap + n).to_le_bytes()).unwrap());
        assert_eq!(keeper.recv_batch(4096).unwrap().len(), 3);
        let mut two = worker(&name, "group");
        for turn in 0..3 {
            let end = if turn == 1 { &mut two } else { &mut one };
            assert_eq!(&*end.recv().unwrap(), next.to_le_bytes());
            next += 1;
        }
        assert_eq!(one.try_recv().unwrap_err(), TryRecvError::Empty);
    }
    writer.close();
    assert_eq!(worker(&name, "group").try_recv().unwrap_err(), CLOSED);
}

/// iceoryx2: a timeout that is over says how long it was, to programs and to people.
#[test]
fn timeouts_say_how_long_they_were() {
    let (_name, mut producer, mut consumer) = pair::<u64>(1);
    let waited = Duration::from_micros(1500);
    let late = consumer.recv_timeout(waited).unwrap_err().to_string();
    assert!(late.contains("1.5ms"), "{late}");
    producer.send(1).unwrap();
    let late = producer.send_timeout(2, waited).unwrap_err().to_string();
    assert!(late.contains("1.5ms"), "{late}");
    assert_eq!(producer.drain(waited).unwrap_err().0, waited);
    assert_eq!(producer.wait_for_consumers(2, waited).unwrap_err().0, waited);
    producer.wait_for_consumers(1, LONG).unwrap();
    assert_eq!(now(&mut consumer), [1]);
    producer.drain(Duration::ZERO).unwrap();
}
