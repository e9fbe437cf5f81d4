//! What rtrb asks: chunks, and reading and writing as of a file.

use std::io::{BufRead, ErrorKind, Read, Write};

use fanout::error::{
    CreateError, SegmentCreateError, SendError, TooLarge, TryRecvError, TrySendError,
};
use fanout::records::{ReadRecords, WriteRecords};
use fanout::{Producer, QueueOptions, Unattended};
use testing::mix;

use crate::help::{Name, consumer, member, now, pair, rest, ring, until, written};

/// rtrb: a ring of no places is refused, with a word on what to ask for.
#[test]
fn zero_capacity() {
    let name = Name::new();
    let error = Producer::<u32>::create(&*name, 0).unwrap_err();
    assert!(matches!(error, CreateError::Capacity(_)), "{error}");
    assert!(error.to_string().contains("power of two"), "{error}");
    assert!(!name.path().exists());
}

/// rtrb: messages of no bytes are refused: there is nothing to share.
#[test]
fn zero_sized_messages() {
    let name = Name::new();
    let error = Producer::<()>::create(&*name, 4).unwrap_err();
    let CreateError::Segment(SegmentCreateError::Element { size, .. }) = error else {
        panic!("{error}")
    };
    assert_eq!(size, 0);
    assert!(!name.path().exists());
}

/// rtrb: one thread pushes, one pops, and both have the same in the end.
#[test]
fn parallel() {
    let (_name, mut producer, mut consumer) = pair::<u64>(1024);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..100_000 {
                until(|| producer.try_send(mix(n)).is_ok());
            }
        });
        for n in 0..100_000 {
            let mut got = None;
            until(|| {
                got = consumer.try_recv().ok();
                got.is_some()
            });
            assert_eq!(got, Some(mix(n)));
        }
    });
}

/// rtrb: a chunk of one place in a ring of one place.
#[test]
fn a_chunk_of_one_in_a_ring_of_one() {
    let (_name, mut producer, mut consumer) = pair::<i32>(1);
    let mut chunk = producer.try_reserve(1).unwrap();
    assert_eq!((chunk.len(), chunk.is_empty()), (1, false));
    let (head, tail) = chunk.slices();
    head[0] = 2;
    assert!(tail.is_empty());
    chunk.publish();
    let batch = consumer.try_recv_batch(1).unwrap();
    assert_eq!(batch.slices(), (&[2][..], &[][..]));
    drop(batch);
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
}

/// rtrb: a chunk of no places can be had and published, also where there is none, and changes nothing.
#[test]
fn a_chunk_of_nothing() {
    let (_name, mut producer, mut consumer) = pair::<i32>(2);
    for _ in 0..3 {
        let mut chunk = producer.try_reserve(0).unwrap();
        assert_eq!((chunk.len(), chunk.is_empty()), (0, true));
        assert_eq!(chunk.slices(), (&mut [][..], &mut [][..]));
        chunk.publish();
        assert_eq!(producer.try_send_batch(&[]), Ok(0));
        producer.send_batch(&[]).unwrap();
    }
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(producer.try_send_batch(&[1, 2]), Ok(2));
    producer.try_reserve(0).unwrap().publish();
    assert_eq!(now(&mut consumer), [1, 2]);
}

/// rtrb: a chunk of more places than there are free is refused, and those that are free can be had.
#[test]
fn a_chunk_of_too_many() {
    let (_name, mut producer, mut consumer) = pair::<i32>(4);
    producer.send(0).unwrap();
    assert_eq!(producer.try_reserve(4).unwrap_err(), TrySendError::Full);
    let chunk = producer.try_reserve_up_to(4).unwrap();
    assert_eq!(chunk.len(), 3);
    chunk.fill(&[1, 2, 3]).publish();
    assert_eq!(producer.try_reserve_up_to(4).unwrap_err(), TrySendError::Full);
    assert_eq!(now(&mut consumer), [0, 1, 2, 3]);
}

/// rtrb: a chunk larger than the ring is never had, however one asks, and says how large it may be.
#[test]
fn a_chunk_larger_than_the_ring() {
    let (_name, mut producer, mut consumer) = pair::<i32>(4);
    let large = SendError::TooLarge(TooLarge::new(5, 4));
    assert_eq!(producer.try_reserve(5).unwrap_err(), TrySendError::End(large));
    assert_eq!(producer.reserve(5).unwrap_err(), large);
    assert!(producer.reserve_timeout(5, crate::help::LONG).is_err());
    assert!(producer.try_reserve(usize::MAX).is_err());
    assert_eq!(producer.try_reserve_up_to(usize::MAX).unwrap().len(), 4);
    assert_eq!(producer.try_reserve_up_to(0).unwrap().len(), 1);
    producer.reserve(4).unwrap().fill(&[1, 2, 3, 4]).publish();
    assert_eq!(now(&mut consumer), [1, 2, 3, 4]);
}

/// rtrb: a chunk that wraps is two slices; together they are the places in order.
#[test]
fn a_chunk_that_wraps_has_two_parts() {
    let (_name, mut producer, mut consumer) = pair::<i32>(4);
    producer.try_send_batch(&[0, 0, 0]).unwrap();
    assert_eq!(now(&mut consumer).len(), 3);
    let mut chunk = producer.try_reserve(3).unwrap();
    let (head, tail) = chunk.slices();
    assert_eq!((head.len(), tail.len()), (1, 2));
    head[0] = 1;
    tail.copy_from_slice(&[2, 3]);
    chunk.publish();
    let batch = consumer.try_recv_batch(3).unwrap();
    assert_eq!(batch.slices(), (&[1][..], &[2, 3][..]));
}

/// rtrb: a chunk that is dropped sends nothing, and its places can be had again.
#[test]
fn a_dropped_chunk_sends_nothing() {
    let (_name, mut producer, mut consumer) = pair::<i32>(4);
    for n in 0..20 {
        let chunk = producer.try_reserve(4).unwrap().fill(&[-1; 4]);
        assert_eq!(chunk.first().get(), n);
        drop(chunk);
        assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
        producer.try_send(n as i32).unwrap();
        assert_eq!(consumer.try_recv(), Ok(n as i32));
    }
}

/// rtrb: of a chunk that is filled in part, that part is sent.
#[test]
fn a_chunk_filled_in_part() {
    let (_name, mut producer, mut consumer) = pair::<i32>(4);
    producer.try_reserve(4).unwrap().fill(&[10, 11]).publish_first(2);
    producer.try_reserve(2).unwrap().publish_first(0);
    assert_eq!(consumer.try_recv(), Ok(10));
    producer.try_reserve(3).unwrap().fill(&[20, 21]).publish_first(2);
    assert_eq!(now(&mut consumer), [11, 20, 21]);
}

/// rtrb: to publish or fill more than a chunk has is a mistake that is told, and sends nothing.
#[test]
fn a_chunk_is_not_overfilled() {
    let (_name, mut producer, mut consumer) = pair::<i32>(4);
    let chunk = producer.try_reserve(2).unwrap();
    assert!(testing::panics(|| chunk.publish_first(3)).contains("3 messages of 2"));
    let chunk = producer.try_reserve(2).unwrap();
    testing::panics(|| chunk.fill(&[1, 2, 3]));
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    producer.send(4).unwrap();
    assert_eq!(consumer.try_recv(), Ok(4));
}

/// rtrb: iterators over a chunk have its messages in order, across the wrap, and stay at their end.
#[test]
fn iterators_over_a_chunk() {
    let (_name, mut producer, mut consumer) = pair::<i32>(4);
    producer.try_send_batch(&[10, 11, 12]).unwrap();
    assert_eq!(consumer.try_recv_batch(2).unwrap().iter().sum::<i32>(), 21);
    producer.try_send_batch(&[20, 21, 22]).unwrap();
    assert_eq!(consumer.try_recv(), Ok(12));
    let batch = consumer.try_recv_batch(9).unwrap();
    let mut messages = batch.iter();
    assert_eq!(messages.next(), Some(&20));
    assert_eq!(messages.next(), Some(&21));
    assert_eq!(messages.next(), Some(&22));
    assert!((0..100).all(|_| messages.next().is_none()));
    drop(messages);
    let mut all = Vec::new();
    for message in &batch {
        all.push(*message);
    }
    assert_eq!(all, [20, 21, 22]);
}

/// rtrb: a part of a slice is pushed, as much as fits, and the rest is the caller's.
#[test]
fn a_slice_is_pushed_in_part() {
    let (_name, mut producer, mut consumer) = pair::<u8>(8);
    assert_eq!(producer.try_send_batch(&[1, 2, 3]), Ok(3));
    assert_eq!(producer.try_send_batch(&[4, 5]), Ok(2));
    assert_eq!(producer.try_send_batch(&[6, 7, 8, 9, 10]), Ok(3));
    assert_eq!(producer.try_send_batch(&[9, 10]), Err(TrySendError::Full));
    assert_eq!(now(&mut consumer), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(producer.try_send_batch(&[9; 20]), Ok(8));
    assert_eq!(consumer.try_recv_batch(3).unwrap().len(), 3);
    assert_eq!(producer.try_send_batch(&[9; 20]), Ok(3));
}

/// rtrb: a part of what was read is given back, and its places are free; the others are not.
#[test]
fn a_chunk_is_released_in_parts() {
    let (name, mut producer, mut consumer) = pair::<u8>(4);
    let mut member = member::<u8>(&name, "group");
    producer.send_batch(&[1, 2, 3, 4]).unwrap();
    let mut batch = consumer.try_recv_batch(4).unwrap();
    let mut claimed = member.try_recv_batch(4).unwrap();
    batch.release_first(1);
    assert_eq!(producer.try_send(5), Err(TrySendError::Full), "the member has it still");
    claimed.release_first(2);
    assert_eq!(producer.try_send_batch(&[5, 6]), Ok(1));
    batch.release_first(0);
    assert!(batch.iter().eq(&[2, 3, 4]) && claimed.iter().eq(&[3, 4]));
    assert_eq!((batch.len(), batch.first().get(), claimed.first().get()), (3, 1, 2));
    batch.release_first(3);
    assert!(batch.is_empty() && batch.iter().next().is_none());
    assert_eq!(producer.try_send(6), Ok(()));
    drop((batch, claimed));
    assert_eq!(now(&mut consumer), [5, 6]);
}

/// rtrb: to release more than there is, is a mistake that is told, and releases nothing.
#[test]
fn a_chunk_does_not_release_what_it_has_not() {
    let (_name, mut producer, mut consumer) = pair::<u8>(4);
    producer.send_batch(&[1, 2, 3, 4]).unwrap();
    let mut batch = consumer.try_recv_batch(2).unwrap();
    assert!(testing::panics(|| batch.release_first(3)).contains("3 of 2"));
    assert!(testing::panics(|| batch.release_first(usize::MAX)).contains("of 2"));
    assert_eq!(producer.try_send(5), Err(TrySendError::Full));
    assert!(batch.iter().eq(&[1, 2]));
}

/// rtrb: what was looked at and not taken is there again.
#[test]
fn a_chunk_that_is_given_back_comes_again() {
    let (_name, mut producer, mut consumer) = pair::<u8>(4);
    producer.send_batch(&[1, 2, 3, 4]).unwrap();
    consumer.try_recv_batch(3).unwrap().give_back();
    assert_eq!(producer.try_send(5), Err(TrySendError::Full));
    let mut batch = consumer.try_recv_batch(3).unwrap();
    batch.release_first(2);
    batch.give_back();
    assert_eq!(producer.try_send_batch(&[5, 6, 7]), Ok(2));
    assert_eq!(now(&mut consumer), [3, 4, 5, 6]);
}

/// rtrb: a producer can ask whether anybody is left, and the answer comes with what was read before.
#[test]
fn a_producer_learns_that_it_is_abandoned() {
    for _ in 0..50 {
        let name = Name::new();
        let options = QueueOptions::new(2).when_nobody_listens(Unattended::Wait);
        let mut producer = Producer::<u8>::create_with(&*name, &options).unwrap();
        let mut consumer = consumer::<u8>(&name);
        assert!(!producer.is_abandoned());
        producer.send(1).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || assert_eq!(consumer.recv(), Ok(1)));
            until(|| producer.is_abandoned());
        });
        assert_eq!(producer.try_send(2), Err(TrySendError::Full), "it waits for a consumer");
    }
}

/// rtrb: bytes are written and read as in a file, wherever one message ends.
#[test]
fn bytes_are_written_and_read() {
    let (_name, mut writer, mut reader) = written(4096);
    let mut output = WriteRecords::new(&mut writer, 2);
    assert_eq!(output.write(&[10, 11, 12]).unwrap(), 2);
    output.flush().unwrap();
    output.write_all(&[12, 13, 14]).unwrap();
    let mut input = ReadRecords::new(&mut reader);
    let mut one = [0];
    assert_eq!((input.read(&mut one).unwrap(), one), (1, [10]));
    let mut two = [0; 5];
    input.read_exact(&mut two[..4]).unwrap();
    assert_eq!(two, [11, 12, 13, 14, 0]);
    writer.close();
    assert_eq!(input.read(&mut one).unwrap(), 0);
    assert_eq!(input.read(&mut one).unwrap(), 0);
}

/// rtrb: nothing is written from an empty buffer, and nothing read into one, also where a read waits.
#[test]
fn empty_buffers_move_nothing() {
    let (_name, mut writer, mut reader) = written(4096);
    assert_eq!(WriteRecords::new(&mut writer, 0).write(&[]).unwrap(), 0);
    assert_eq!(writer.sent(), 0);
    assert_eq!(ReadRecords::new(&mut reader).read(&mut []).unwrap(), 0);
    assert_eq!(WriteRecords::new(&mut writer, 0).write(b"abc").unwrap(), 1, "a chunk has a byte");
    assert_eq!(&*reader.recv().unwrap(), b"a");
}

/// rtrb: an error of the ring is an error of the file.
#[test]
fn errors_are_errors_of_a_file() {
    let (_name, mut writer, mut reader) = written(4096);
    WriteRecords::new(&mut writer, 8).write_all(b"a line\nand no en").unwrap();
    writer.abort("the disk is full");
    let error = WriteRecords::new(&mut writer, 8).write(b"d").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    let mut input = ReadRecords::new(&mut reader);
    let mut line = String::new();
    assert_eq!(input.read_line(&mut line).unwrap(), 7);
    let error = input.read_line(&mut line).unwrap_err();
    assert!(error.to_string().contains("gave up"), "{error}");
    assert!(line.starts_with("a line\n"));
}

/// rtrb: errors say what they are, to programs and to people.
#[test]
fn errors_show_themselves() {
    let (_name, mut producer, mut consumer) = pair::<u8>(1);
    producer.send(1).unwrap();
    let full = producer.try_send(2).unwrap_err();
    assert_eq!(format!("{full:?}"), "Full");
    assert!(full.to_string().contains("full"));
    assert_eq!(rest_after(&mut consumer, producer), [1]);
    let end = consumer.try_recv().unwrap_err();
    assert_eq!(format!("{end:?}"), "End(Closed)");
    assert_eq!(end.to_string(), consumer.recv().unwrap_err().to_string());
    let (_name, mut producer) = ring::<u8>(4);
    let large = producer.try_reserve(5).unwrap_err();
    assert!(large.to_string().contains('5') && large.to_string().contains('4'), "{large}");
}

fn rest_after(consumer: &mut fanout::Consumer<u8>, producer: Producer<u8>) -> Vec<u8> {
    drop(producer);
    rest(consumer)
}
