//! What bbqueue asks: room that is granted, frames, and what is committed or not.

use std::io::{IoSlice, IoSliceMut};

use fanout::QueueOptions;
use fanout::records::error::{
    ReadError, RecvError, SendError, TooLarge, TryRecvError, TrySendError,
};
use fanout::records::{Tap, Writer, record_len};
use testing::{mix, panics};

use crate::help::{Name, bytes, number, reader, records_tap, worker, writer, written};

const FULL: TrySendError = TrySendError::Full;

/// bbqueue: a grant is a slice to write, what is read a slice to read.
#[test]
fn grants_are_slices() {
    let (_name, mut writer, mut reader) = written(4096);
    let mut reservation = writer.try_reserve(1).unwrap();
    reservation[0] = 123;
    assert_eq!((reservation.len(), &*reservation), (1, &[123][..]));
    reservation.publish(1);
    let record = reader.try_recv().unwrap();
    assert_eq!((record.len(), record[0]), (1, 123));
}

/// bbqueue: two queues have nothing to do with one another.
#[test]
fn two_queues_are_two() {
    let (_one, mut first, mut from_first) = written(4096);
    let (_two, _second, mut from_second) = written(4096);
    first.send(&[1, 2, 3]).unwrap();
    assert_eq!(from_second.try_recv().unwrap_err(), TryRecvError::Empty);
    assert_eq!(&*from_first.try_recv().unwrap(), &[1, 2, 3]);
}

/// bbqueue: nothing is seen of a grant until it is committed, however much is written.
#[test]
fn a_grant_is_not_seen_before_it_is_committed() {
    let (_name, mut writer, mut reader) = written(4096);
    let mut reservation = writer.try_reserve(4).unwrap();
    assert_eq!(reader.try_recv().unwrap_err(), TryRecvError::Empty);
    reservation.copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(reader.try_recv().unwrap_err(), TryRecvError::Empty);
    reservation.publish(4);
    assert_eq!(&*reader.try_recv().unwrap(), &[1, 2, 3, 4]);
}

/// bbqueue: what is read stays the same while more is granted, written and committed.
#[test]
fn what_is_read_stays_while_more_is_written() {
    let (_name, mut writer, mut reader) = written(4096);
    writer.send(&[3; 1000]).unwrap();
    let record = reader.try_recv().unwrap();
    let mut sent = 0;
    while writer.try_send(&[7; 100]).is_ok() {
        sent += 1;
        assert_eq!(&*record, &[3; 1000]);
    }
    drop(record);
    assert_eq!(sent, (4096 - 1008) / 112);
    assert_eq!(reader.try_recv_batch(4096).unwrap().len(), sent);
}

/// bbqueue: a grant of no bytes can be had; its message has no bytes, and is a message.
#[test]
fn a_grant_of_nothing() {
    let (_name, mut writer, mut reader) = written(4096);
    writer.try_reserve(0).unwrap().publish(0);
    writer.send(&[]).unwrap();
    writer.try_send_vectored(&[]).unwrap();
    assert_eq!(writer.sent(), 3);
    for _ in 0..3 {
        assert_eq!(reader.try_recv().unwrap().len(), 0);
    }
    assert_eq!(reader.try_recv().unwrap_err(), TryRecvError::Empty);
    (0..512).for_each(|_| writer.try_send(&[]).unwrap());
    assert_eq!(writer.try_send(&[]), Err(FULL), "each takes its header");
    assert_eq!(reader.try_recv_batch(usize::MAX).unwrap().iter().count(), 512);
}

/// bbqueue: three frames of three lengths in, the same three out.
#[test]
fn frames_come_out_as_they_went_in() {
    let (_name, mut writer, mut reader) = written(4096);
    for lap in 0..100 {
        let lens = [128, 16, 32, 24, 8, 9, 15];
        for (n, len) in (7 * lap..).zip(lens) {
            writer.send(&bytes(n, len)).unwrap();
        }
        for (n, len) in (7 * lap..).zip(lens) {
            let record = reader.recv().unwrap();
            assert_eq!((number(&record), record.len()), (n, len));
        }
    }
}

/// bbqueue: a frame may lie across the end of the ring, and is one slice all the same.
#[test]
fn a_frame_wraps() {
    let (_name, mut writer, mut reader) = written(4096);
    for n in 0..200 {
        writer.try_send(&bytes(n, 1500)).unwrap();
        writer.try_send(&bytes(n + 1000, 1500)).unwrap();
        assert_eq!(writer.try_send(&bytes(n, 1500)), Err(FULL));
        assert_eq!(number(&reader.try_recv().unwrap()), n);
        assert_eq!(number(&reader.try_recv().unwrap()), n + 1000);
        assert_eq!(reader.try_recv().unwrap_err(), TryRecvError::Empty);
    }
}

/// bbqueue: the largest message fits, wherever the ring stands; one byte more never does.
#[test]
fn the_largest_message_and_one_byte_more() {
    let (_name, mut writer, mut reader) = written(4096);
    let most = writer.largest();
    assert_eq!(record_len(most), 4096);
    for n in 0..50 {
        let message = bytes(n, most);
        assert_eq!(writer.try_send(&message), Ok(()));
        assert_eq!(writer.try_send(&[]), Err(FULL));
        assert_eq!(number(&reader.try_recv().unwrap()), n);
        let large = SendError::TooLarge(TooLarge::new(most + 1, most));
        let longer = vec![0; most + 1];
        assert_eq!(writer.try_send(&longer), Err(TrySendError::End(large)));
        assert_eq!(writer.send(&longer), Err(large));
        assert!(matches!(writer.reserve(usize::MAX), Err(SendError::TooLarge(_))));
        writer.send(&[0; 24]).unwrap();
        assert_eq!(reader.recv().unwrap().len(), 24);
    }
}

/// bbqueue: of a large grant a little is committed, and the rest can be granted again.
#[test]
fn a_large_grant_and_a_little_message() {
    let (_name, mut writer, mut reader) = written(65_536);
    let most = writer.largest();
    for n in 0..100 {
        let mut reservation = writer.try_reserve(most).unwrap();
        assert_eq!(reservation.len(), most);
        reservation.fill(0xee);
        reservation[..127].copy_from_slice(&bytes(n, 127));
        reservation.publish(127);
        let record = reader.try_recv().unwrap();
        assert_eq!((number(&record), record.len()), (n, 127));
    }
}

/// bbqueue: long and short grants in turns, ten thousand times, each while it fits.
#[test]
fn full_sizes_ten_thousand_times() {
    let (_name, mut writer, mut reader) = written(4096);
    let mut long = 0;
    for n in 0..10_000 {
        let len = if n % 3 == 0 { 8 } else { 1500 };
        match writer.try_reserve(len) {
            Ok(mut reservation) => {
                long += usize::from(len == 1500);
                reservation.copy_from_slice(&bytes(n, len));
                reservation.publish(len);
            }
            Err(error) => assert_eq!(error, FULL),
        }
        if n % 2 == 0 {
            let _ = reader.try_recv().map(|record| number(&record));
        }
    }
    assert!(long > 1);
}

/// bbqueue: to commit more than was granted is a mistake that is told, and sends nothing.
#[test]
fn committing_too_much_sends_nothing() {
    let (_name, mut writer, mut reader) = written(4096);
    for len in [128, 129, 4096, usize::MAX] {
        let reservation = writer.try_reserve(127).unwrap();
        let text = panics(|| reservation.publish(len));
        assert!(text.contains("of 127"), "{text}");
        assert_eq!(reader.try_recv().unwrap_err(), TryRecvError::Empty);
    }
    writer.send(b"after all").unwrap();
    assert_eq!(&*reader.try_recv().unwrap(), b"after all");
    assert_eq!(writer.sent(), 1);
}

/// bbqueue: less is committed than was granted, down to nothing, ten thousand times.
#[test]
fn committing_less_than_granted() {
    let (_name, mut writer, mut reader) = written(4096);
    for _ in 0..5000 {
        for (granted, committed) in [(128, 13), (64, 7), (32, 0)] {
            let mut reservation = writer.try_reserve(granted).unwrap();
            reservation.fill(committed as u8);
            reservation.publish(committed);
        }
        for committed in [13, 7, 0] {
            assert_eq!(&*reader.try_recv().unwrap(), &vec![committed as u8; committed]);
        }
    }
}

/// bbqueue: a grant that is dropped sends nothing, and what it held is free again.
#[test]
fn a_dropped_grant_sends_nothing() {
    let (_name, mut writer, mut reader) = written(4096);
    for n in 0..100 {
        let mut reservation = writer.try_reserve(writer.largest()).unwrap();
        reservation.fill(0xff);
        drop(reservation);
        assert_eq!(reader.try_recv().unwrap_err(), TryRecvError::Empty);
        writer.send(&bytes(n, 40)).unwrap();
        assert_eq!(number(&reader.try_recv().unwrap()), n);
    }
}

/// bbqueue: what lies across the end is read as one batch, and released in parts.
#[test]
fn a_batch_across_the_end_is_released_in_parts() {
    let (_name, mut writer, mut reader) = written(4096);
    writer.send(&[0; 3000]).unwrap();
    assert_eq!(reader.recv().unwrap().len(), 3000);
    (0..10).for_each(|n| writer.try_send(&bytes(n, 392)).unwrap());
    let mut batch = reader.try_recv_batch(4096).unwrap();
    assert_eq!(batch.len(), 10);
    assert!(batch.iter().map(number).eq(0..10));
    assert_eq!(writer.try_send(&bytes(10, 392)), Err(FULL));
    batch.release_first(6);
    assert!(batch.iter().map(number).eq(6..10));
    (10..16).for_each(|n| writer.try_send(&bytes(n, 392)).unwrap());
    assert_eq!(writer.try_send(&bytes(16, 392)), Err(FULL));
    assert_eq!((batch.len(), batch.iter().map(number).last()), (4, Some(9)));
    drop(batch);
    let batch = reader.try_recv_batch(4096).unwrap();
    assert!(batch.iter().map(number).eq(10..16));
}

/// bbqueue: a batch of frames is given back in part, or as a whole, and comes again from there.
#[test]
fn a_batch_is_given_back() {
    let (_name, mut writer, mut reader) = written(4096);
    (0..5).for_each(|n| writer.send(&bytes(n, 50)).unwrap());
    let batch = reader.try_recv_batch(4096).unwrap();
    assert_eq!(batch.iter().take(2).map(number).last(), Some(1));
    batch.give_back();
    let mut batch = reader.try_recv_batch(4096).unwrap();
    batch.release_first(2);
    batch.give_back();
    let record = reader.try_recv().unwrap();
    assert_eq!(number(&record), 2);
    record.give_back();
    assert_eq!(reader.try_recv_batch(1).unwrap().iter().map(number).last(), Some(2));
    assert_eq!(number(&reader.recv().unwrap()), 3);
}

/// bbqueue: releasing more frames than a batch has is a mistake that is told, and releases none.
#[test]
fn releasing_too_much_releases_nothing() {
    let (_name, mut writer, mut reader) = written(4096);
    (0..3).for_each(|n| writer.send(&bytes(n, 1300)).unwrap());
    let mut batch = reader.try_recv_batch(4096).unwrap();
    assert!(panics(|| batch.release_first(4)).contains("4 of 3"));
    assert_eq!(writer.try_send(&[0; 1300]), Err(FULL));
    assert!(batch.iter().map(number).eq(0..3));
}

/// bbqueue: a batch of bytes takes whole frames, at least one, and none that does not fit.
#[test]
fn a_batch_takes_whole_frames() {
    let (name, mut writer, mut reader) = written(4096);
    let mut member = worker(&name, "group");
    (0..6).for_each(|n| writer.send(&bytes(n, 92)).unwrap());
    let size = record_len(92);
    for (bytes, expected) in [(0, 1), (size, 1), (2 * size - 1, 1), (2 * size, 2), (usize::MAX, 1)]
    {
        assert_eq!(reader.try_recv_batch(bytes).unwrap().len(), expected);
        assert_eq!(member.try_recv_batch(bytes).unwrap().len(), expected);
    }
}

/// bbqueue: a batch to write is full when it is full, keeps what it holds, and is seen at once.
#[test]
fn a_batch_to_write() {
    let (_name, mut writer, mut reader) = written(4096);
    let mut batch = writer.try_batch(2 * record_len(40)).unwrap();
    assert!(batch.is_empty() && batch.room() == Some(record_len(40) * 2 - 8));
    batch.push(&bytes(0, 40)).unwrap();
    let error = batch.push(&[0; 41]).unwrap_err();
    assert_eq!((error.len, error.room), (41, record_len(40)));
    batch.push_as(&bytes(1, 40), 9).unwrap();
    assert_eq!((batch.len(), batch.room()), (2, None));
    assert!(batch.push(&[]).is_err());
    assert_eq!(reader.try_recv().unwrap_err(), TryRecvError::Empty);
    batch.publish();
    let batch = reader.try_recv_batch(4096).unwrap();
    let all: Vec<_> =
        batch.iter_with_kinds().map(|(kind, record)| (kind, number(record))).collect();
    assert_eq!(all, [(0, 0), (9, 1)]);
}

/// bbqueue: a batch that is dropped, or committed empty, sends nothing.
#[test]
fn a_batch_that_sends_nothing() {
    let (_name, mut writer, mut reader) = written(4096);
    for _ in 0..200 {
        let mut batch = writer.try_batch(4096).unwrap();
        batch.push(&[1; 2000]).unwrap();
        batch.push(&[2; 2000]).unwrap();
        drop(batch);
        writer.batch(0).unwrap().publish();
        writer.try_batch_up_to(usize::MAX).unwrap().publish();
    }
    assert_eq!(writer.sent(), 0);
    assert_eq!(reader.try_recv().unwrap_err(), TryRecvError::Empty);
    assert!(matches!(writer.try_batch(4097), Err(TrySendError::End(SendError::TooLarge(_)))));
    assert!(matches!(writer.batch(usize::MAX), Err(SendError::TooLarge(_))));
}

/// bbqueue: random lengths between two threads, and every byte is where it was.
#[test]
fn random_lengths_between_threads() {
    let (name, mut writer, mut all) = written(4096);
    let workers = [worker(&name, "group"), worker(&name, "group")];
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..5000 {
                writer.send(&bytes(n, (mix(n) % 700) as usize)).unwrap();
            }
        });
        let workers = workers.map(|mut worker| {
            scope.spawn(move || {
                let mut sum = 0;
                while let Ok(batch) = worker.recv_batch(900) {
                    sum += batch.iter().map(|record| number(record) + 1).sum::<u64>();
                }
                sum
            })
        });
        for n in 0..5000 {
            let record = all.recv().unwrap();
            assert_eq!((number(&record), record.len()), (n, ((mix(n) % 700) as usize).max(8)));
        }
        assert_eq!(all.recv().unwrap_err(), RecvError::Closed);
        let sums = workers.map(|worker| worker.join().unwrap());
        assert_eq!(sums.iter().sum::<u64>(), 5000 * 5001 / 2);
    });
}

/// bbqueue: messages gathered from parts and scattered into parts; one that does not fit stays.
#[test]
fn messages_in_parts() {
    let (_name, mut writer, mut reader) = written(4096);
    let parts = [b"ab".as_slice(), b"", b"cdefg"].map(IoSlice::new);
    writer.send_vectored(&parts).unwrap();
    let (mut one, mut two, mut small) = ([0; 3], [0; 9], [0; 6]);
    let error = reader.read_vectored(&mut [IoSliceMut::new(&mut small)]).unwrap_err();
    assert_eq!(error, ReadError::NoRoom { len: 7, room: 6 });
    assert!(matches!(reader.read_vectored(&mut []), Err(ReadError::NoRoom { len: 7, room: 0 })));
    let mut into = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
    assert_eq!(reader.read_vectored(&mut into).unwrap(), 7);
    assert_eq!((&one, &two[..5]), (b"abc", &b"defg\0"[..]));
    drop(writer);
    let end = reader.read_vectored(&mut [IoSliceMut::new(&mut small)]);
    assert_eq!(end, Err(ReadError::End(RecvError::Closed)));
}

/// A word that a frame could begin with: length, kind, tag.
fn header(len: u32, kind: u16) -> [u8; 8] {
    let word = u64::from(len) | u64::from(kind) << 32 | u64::from(u16::from_le_bytes(*b"fr")) << 48;
    word.to_le_bytes()
}

/// A message full of words that look like headers, and its number after the first of them.
fn forged(n: u64) -> Vec<u8> {
    let len = 16 + 8 * (mix(n) % 40) as usize;
    let words = (2..).flat_map(|i| header((mix(n ^ i) % 600) as u32, i as u16));
    header(len as u32, 1).into_iter().chain(n.to_le_bytes()).chain(words).take(len).collect()
}

fn unforged(message: &[u8]) -> u64 {
    let n = u64::from_le_bytes(message[8..16].try_into().unwrap());
    assert_eq!(message, forged(n), "a frame that nobody sent");
    n
}

/// bbqueue: bytes that look like a frame are bytes: also where grants were dropped over them, a reader
/// was late, or a tap was lapped.
#[test]
fn messages_that_look_like_frames() {
    let (name, mut writer) = writer(4096);
    let (mut taps, mut into) = ([(); 3].map(|()| records_tap(&name)), Vec::new());
    for n in 0..20_000u64 {
        if mix(n).is_multiple_of(7) {
            let mut reservation = writer.try_reserve(1000).unwrap();
            reservation.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&header(16, 3)));
        }
        writer.try_send(&forged(n)).unwrap();
        if mix(n).is_multiple_of(11) {
            let tap = &mut taps[(n % 3) as usize];
            for _ in 0..mix(n) % 13 {
                match tap.try_recv(&mut into) {
                    Ok(_) => assert!(unforged(&into) <= n),
                    Err(error) => assert_eq!(error, TryRecvError::Empty),
                }
            }
        }
        if mix(n).is_multiple_of(101) {
            let mut late = reader(&name);
            while let Ok(record) = late.try_recv() {
                assert!(unforged(&record) <= n);
            }
        }
    }
    for mut tap in taps {
        while tap.try_recv(&mut into).is_ok() {
            unforged(&into);
        }
        assert_eq!(tap.received() + tap.lost(), 20_000);
    }
}

/// bbqueue: the same while the tap reads in a thread of its own.
#[test]
fn messages_that_look_like_frames_between_threads() {
    let (name, mut writer) = writer(4096);
    let taps = [records_tap(&name), records_tap(&name)];
    std::thread::scope(|scope| {
        let taps = taps.map(|mut tap: Tap| {
            scope.spawn(move || {
                let (mut into, mut last) = (Vec::new(), None);
                while tap.recv(&mut into).is_ok() {
                    let n = unforged(&into);
                    assert!(last < Some(n));
                    last = Some(n);
                }
                tap.received() + tap.lost()
            })
        });
        (0..60_000).for_each(|n| writer.send(&forged(n)).unwrap());
        drop(writer);
        for tap in taps {
            assert_eq!(tap.join().unwrap(), 60_000);
        }
    });
}

/// bbqueue: positions go over the end of a `u64` as over any other number, also for a tap that is lapped
/// there, and for a newcomer that comes just then.
#[test]
fn positions_wrap() {
    let name = Name::new();
    let options = QueueOptions::new(4096).first((u64::MAX - 20_000 + 1) & !7);
    let mut writer = Writer::create_with(&*name, &options).unwrap();
    let (mut all, mut worker) = (reader(&name), worker(&name, "group"));
    let (mut keeps_up, mut lags, mut into) = (records_tap(&name), records_tap(&name), Vec::new());
    for n in 0..200 {
        writer.send(&bytes(n, 250)).unwrap();
        assert_eq!(number(&all.recv().unwrap()), n);
        assert_eq!(number(&worker.recv().unwrap()), n);
        keeps_up.try_recv(&mut into).unwrap();
        assert_eq!(number(&into), n);
        if n % 23 == 22 {
            while lags.try_recv(&mut into).is_ok() {
                assert!(number(&into) <= n);
            }
            assert_eq!(lags.received() + lags.lost(), n + 1);
        }
        let late = reader(&name).try_recv().map(|record| number(&record));
        assert!(late.is_ok_and(|late| late <= n), "{late:?} {n}");
    }
    assert!(writer.next_sequence().get() < 1 << 32);
    assert_eq!(keeps_up.lost(), 0);
    let error = Writer::create_with(&*Name::new(), &QueueOptions::new(4096).first(4)).unwrap_err();
    assert!(error.to_string().contains("multiple of 8"), "{error}");
}

/// bbqueue: capacities that are no power of two, or smaller than a page, are rounded up; none is refused.
#[test]
fn capacities_are_rounded_up() {
    for (asked, got) in [(1, 4096), (4096, 4096), (4097, 8192), (100_000, 131_072)] {
        let (_name, writer) = writer(asked);
        assert!(writer.capacity() >= got && writer.capacity().is_power_of_two());
        assert_eq!(writer.largest() as u64, writer.capacity() - 8);
    }
    for asked in [0, u64::MAX, 1 << 41] {
        let name = Name::new();
        assert!(Writer::create(&*name, asked).is_err(), "{asked}");
        assert!(!name.path().exists());
    }
}
