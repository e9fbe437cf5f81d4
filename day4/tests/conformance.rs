//! What every ring of records does, in any memory and wherever its sequences start.
#![cfg(not(loom))]

mod home;

use std::io::{BufRead, IoSlice, IoSliceMut, Read, Write};
use std::thread;
use std::time::Duration;

use day3::control::SLOTS;
use day3::measured::Measured;
use day3::{JoinError, Start};
use day4::io::{ReadRecords, WriteRecords};
use day4::{
    BatchFull, Evicted, ReadError, Receiver, RecvError, RecvTimeoutError, SendError,
    SendTimeoutError, Tap, TooLarge, TryRecvError, TrySendError, record_len,
};
use home::{Home, InMemfd, InProcess, InSegment};
use testing::DEADLINE;

/// A short timeout, for waits that are in vain.
const MOMENT: Duration = Duration::from_millis(1);
/// The smallest ring: a page.
const PAGE: u64 = 4096;

/// Runs each of these functions over all memories. Their sequences start at places that wrap
/// differently.
macro_rules! conformance {
    ($($test:ident),+ $(,)?) => {
        mod process { $(#[test] fn $test() { super::everywhere(super::$test::<super::InProcess>); })+ }
        mod segment { $(#[test] fn $test() { super::everywhere(super::$test::<super::InSegment>); })+ }
        mod memfd { $(#[test] fn $test() { super::everywhere(super::$test::<super::InMemfd>); })+ }
    };
}

conformance!(
    messages_of_all_lengths_arrive_over_many_laps,
    the_capacity_is_rounded_up_to_pages,
    the_longest_message_fits_wherever_it_begins,
    what_never_fits_is_refused_and_leaves_the_ring_usable,
    a_full_ring_says_so_and_loses_nothing,
    a_reservation_is_sent_as_far_as_it_is_published,
    a_batch_becomes_visible_at_once_or_not_at_all,
    a_batch_takes_what_there_is,
    records_in_parts_are_gathered_and_scattered,
    a_batch_is_read_as_far_as_it_may_go,
    a_record_gates_until_it_is_dropped,
    a_latest_reader_begins_with_the_next_message,
    an_oldest_reader_begins_where_a_message_begins,
    a_group_gives_each_message_to_one_member,
    a_tap_accounts_for_every_message,
    a_tap_that_was_lapped_knows_how_many_it_missed,
    every_kind_at_once,
    the_end_comes_after_everything,
    one_more_consumer_than_there_are_slots_is_refused,
    what_was_lent_says_at_its_end_whether_it_can_be_trusted,
    waiting_ends_at_its_deadline,
    streams_come_out_as_they_went_in,
    threads_share_a_ring,
);

fn everywhere(test: fn(u64)) {
    for first in [0, (1 << 32) - 64, u64::MAX - 127] {
        test(first);
    }
}

/// A message of this length that no other message equals.
fn message(number: u64, len: usize) -> Vec<u8> {
    number
        .to_le_bytes()
        .iter()
        .copied()
        .cycle()
        .zip(0u8..=255)
        .map(|(a, b)| a ^ b)
        .cycle()
        .take(len)
        .collect()
}

fn rest<K: Measured>(receiver: &mut Receiver<K>) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Ok(batch) = receiver.try_recv_batch(usize::MAX) {
        messages.extend(batch.iter().map(<[u8]>::to_vec));
    }
    messages
}

fn rest_of_tap(tap: &mut Tap) -> Vec<Vec<u8>> {
    let mut message = Vec::new();
    std::iter::from_fn(|| tap.try_recv(&mut message).ok().map(|_| message.clone())).collect()
}

fn messages_of_all_lengths_arrive_over_many_laps<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let mut reader = home.reader(Start::Latest);
    assert_eq!(reader.first_sequence().get(), first);
    let mut copy = Vec::new();
    for (number, len) in (0..600).zip((0..).step_by(7)) {
        let sent = message(number, len % 3000);
        writer.try_send(&sent).unwrap();
        assert_eq!(reader.recv_into(&mut copy), Ok(sent.len()));
        assert!(copy == sent, "message {number}");
        assert!(matches!(reader.try_recv(), Err(TryRecvError::Empty)));
    }
    assert_eq!(writer.sent(), 600);
}

fn the_capacity_is_rounded_up_to_pages<H: Home>(first: u64) {
    for (asked, given) in [(1, PAGE), (PAGE, PAGE), (PAGE + 1, 2 * PAGE), (3 * PAGE, 4 * PAGE)] {
        let (home, writer) = H::with_writer(asked, first);
        assert_eq!(writer.capacity(), given);
        assert_eq!(writer.largest() as u64, given - 8);
        assert_eq!(home.reader(Start::Latest).capacity(), given);
    }
}

fn the_longest_message_fits_wherever_it_begins<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let mut reader = home.reader(Start::Latest);
    for number in 0..40 {
        let long = message(number, writer.largest() - (number % 3) as usize);
        writer.try_send(&long).unwrap();
        assert_eq!(writer.try_send(&[]), Err(TrySendError::Full));
        assert_eq!(*reader.recv().unwrap(), *long);
        let short = message(number, 72);
        writer.try_send(&short).unwrap();
        assert_eq!(*reader.recv().unwrap(), *short);
    }
}

fn what_never_fits_is_refused_and_leaves_the_ring_usable<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let mut reader = home.reader(Start::Latest);
    let most = writer.largest();
    let around_u32 = u32::MAX as usize - 8..=u32::MAX as usize + 8;
    let lengths = [most + 1, usize::MAX, usize::MAX - 7, usize::MAX - 8, usize::MAX / 2];
    for len in lengths.into_iter().chain(around_u32) {
        let refused = SendError::TooLarge(TooLarge::new(len, most));
        assert_eq!(writer.reserve(len).err(), Some(refused));
        assert_eq!(writer.try_reserve(len).err(), Some(TrySendError::End(refused)));
        let error = writer.reserve_timeout(len, DEADLINE).err();
        assert_eq!(error, Some(SendTimeoutError::End(refused)));
        assert!(writer.batch(len.saturating_add(9)).is_err());
    }
    let too_long = vec![1; most + 1];
    let refused = Err(SendError::TooLarge(TooLarge::new(most + 1, most)));
    assert_eq!(writer.send(&too_long), refused);
    let parts = [IoSlice::new(&too_long[..most]), IoSlice::new(&too_long[..1])];
    assert_eq!(writer.send_vectored(&parts), refused);
    assert!(matches!(reader.try_recv(), Err(TryRecvError::Empty)), "nothing was sent");
    writer.try_send(b"as if nothing had been").unwrap();
    assert_eq!(&*reader.try_recv().unwrap(), b"as if nothing had been");
}

fn a_full_ring_says_so_and_loses_nothing<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let (mut reader, mut slowest) = (home.reader(Start::Latest), home.reader(Start::Latest));
    // Each takes 1024 bytes of ring.
    let messages: Vec<_> = (0..6).map(|number| message(number, 1016)).collect();
    for message in &messages[..4] {
        writer.try_send(message).unwrap();
    }
    let full = Err(TrySendError::Full);
    assert_eq!(writer.try_send(&messages[4]), full);
    assert_eq!(*reader.try_recv().unwrap(), *messages[0]);
    assert_eq!(writer.try_send(&messages[4]), full, "the slowest one gates");
    assert_eq!(*slowest.try_recv().unwrap(), *messages[0]);
    writer.try_send(&messages[4]).unwrap();
    assert_eq!(writer.try_send(&[]), full, "not even an empty one fits");
    assert_eq!(rest(&mut slowest), messages[1..5]);
    assert_eq!(rest(&mut reader), messages[1..5]);
}

fn a_reservation_is_sent_as_far_as_it_is_published<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let mut reader = home.reader(Start::Latest);
    let _ = writer.try_reserve(100).unwrap();
    for len in [0, 1, 50, 100] {
        let mut reservation = writer.try_reserve(100).unwrap();
        assert_eq!(reservation.len(), 100);
        reservation.fill(len as u8);
        reservation.publish_as(len, 7);
        let record = reader.try_recv().unwrap();
        assert!(record.len() == len && record.iter().all(|&byte| byte == len as u8));
        assert_eq!(record.kind(), 7);
    }
    assert_eq!(writer.sent(), 4);
    assert!(matches!(reader.try_recv(), Err(TryRecvError::Empty)));
}

fn a_batch_becomes_visible_at_once_or_not_at_all<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let mut reader = home.reader(Start::Latest);
    let room = record_len(3) + record_len(0) + record_len(9);
    for published in [false, true] {
        let mut batch = writer.try_batch(room).unwrap();
        batch.push(b"one").unwrap();
        batch.push_as(b"", 3).unwrap();
        let full = batch.push(&[0; 20]).unwrap_err();
        assert!(matches!(full, BatchFull { len: 20, room: 24, .. }), "{full:?}");
        assert_eq!(batch.room(), Some(16));
        batch
            .push_with(16, |place| {
                place[..9].copy_from_slice(b"the third");
                9
            })
            .unwrap();
        assert_eq!((batch.len(), batch.room()), (3, None));
        let full = batch.push(b"").unwrap_err();
        assert!(matches!(full, BatchFull { len: 0, room: 0, .. }), "{full:?}");
        if published {
            batch.publish();
        }
        let found = reader.try_recv_batch(usize::MAX);
        assert_eq!(found.is_ok(), published);
        if let Ok(found) = found {
            assert_eq!(found.len(), 3);
            let found: Vec<_> = found.iter_with_kinds().collect();
            assert_eq!(found, [(0, &b"one"[..]), (3, b""), (0, b"the third")]);
        }
    }
    assert_eq!(writer.sent(), 3);
    writer.try_batch(0).unwrap().publish();
    assert!(matches!(reader.try_recv(), Err(TryRecvError::Empty)), "an empty batch is nothing");
}

fn a_batch_takes_what_there_is<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let mut reader = home.reader(Start::Latest);
    writer.try_send(&[1; 3000]).unwrap();
    let mut batch = writer.try_batch_up_to(usize::MAX).unwrap();
    assert_eq!(batch.room(), Some(4096 - 3008 - 8));
    batch.push(&[2; 4096 - 3008 - 8]).unwrap();
    batch.publish();
    assert_eq!(writer.try_batch_up_to(usize::MAX).err(), Some(TrySendError::Full));
    assert_eq!(rest(&mut reader).len(), 2);
    assert_eq!(writer.try_batch_up_to(100).unwrap().room(), Some(96));
}

fn records_in_parts_are_gathered_and_scattered<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let mut reader = home.reader(Start::Latest);
    let parts = [IoSlice::new(b"he"), IoSlice::new(b""), IoSlice::new(b"llo world")];
    writer.try_send_vectored(&parts).unwrap();
    writer.send_vectored_timeout(&parts[..1], DEADLINE).unwrap();
    let (mut a, mut b) = ([0; 4], [0; 6]);
    let mut into = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
    let error = Err(ReadError::NoRoom { len: 11, room: 10 });
    assert_eq!(reader.read_vectored(&mut into), error);
    assert_eq!(reader.read_vectored(&mut into), error, "it is still there");
    let mut c = [0; 2];
    let mut into = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b), IoSliceMut::new(&mut c)];
    assert_eq!(reader.read_vectored(&mut into), Ok(11));
    assert_eq!((&a, &b, c[0]), (b"hell", b"o worl", b'd'));
    let mut into = [IoSliceMut::new(&mut a)];
    assert_eq!(reader.read_vectored(&mut into), Ok(2));
    writer.close();
    assert_eq!(reader.read_vectored(&mut into), Err(ReadError::End(RecvError::Closed)));
}

fn a_batch_is_read_as_far_as_it_may_go<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let mut reader = home.reader(Start::Latest);
    for number in 0..10 {
        writer.try_send(&message(number, 56)).unwrap();
    }
    for (bytes, messages) in [(0, 1), (63, 1), (64, 1), (128, 2), (191, 2), (usize::MAX, 3)] {
        assert_eq!(reader.try_recv_batch(bytes).unwrap().len(), messages, "{bytes} bytes");
    }
    assert!(matches!(reader.try_recv_batch(8), Err(TryRecvError::Empty)));
}

fn a_record_gates_until_it_is_dropped<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let mut reader = home.reader(Start::Latest);
    let long = message(1, writer.largest());
    writer.try_send(&long).unwrap();
    let record = reader.try_recv().unwrap();
    assert_eq!(record.sequence().get(), first);
    assert_eq!(writer.try_send(b"x"), Err(TrySendError::Full));
    assert_eq!(*record, *long);
    drop(record);
    writer.try_send(b"x").unwrap();
}

fn a_latest_reader_begins_with_the_next_message<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    for number in 0..100 {
        writer.try_send(&message(number, number as usize)).unwrap();
    }
    let mut reader = home.reader(Start::Latest);
    let mut tap = home.tap(Start::Latest);
    writer.try_send(b"next").unwrap();
    assert_eq!(rest(&mut reader), [b"next"]);
    assert_eq!(rest_of_tap(&mut tap), [b"next"]);
    assert_eq!((tap.received(), tap.lost()), (1, 0));
}

fn an_oldest_reader_begins_where_a_message_begins<H: Home>(first: u64) {
    for many in [0, 1, 5, 60, 500] {
        let (home, mut writer) = H::with_writer(PAGE, first);
        let messages: Vec<_> = (0..many).map(|n| message(n, (n * 37 % 300) as usize)).collect();
        for message in &messages {
            writer.try_send(message).unwrap();
        }
        let found = rest(&mut home.reader(Start::Oldest));
        assert!(messages.ends_with(&found), "{many} sent, {} found", found.len());
        // No consumer held the writer back, so only most of a lap is sure to be there.
        let bytes: usize = found.iter().map(|message| record_len(message.len())).sum();
        assert!(found.len() == messages.len() || bytes >= PAGE as usize / 2, "{many}: {bytes}");
        let mut tap = home.tap(Start::Oldest);
        let seen = rest_of_tap(&mut tap);
        assert!(messages.ends_with(&seen) && seen.len() >= found.len(), "{many}");
        assert_eq!((tap.received(), tap.lost()), (seen.len() as u64, 0));
    }
}

fn a_group_gives_each_message_to_one_member<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let mut members = [home.member("g", Start::Oldest), home.member("g", Start::Oldest)];
    let mut other = home.member("h", Start::Oldest);
    let messages: Vec<_> = (0..20).map(|number| message(number, 20 * number as usize)).collect();
    for (message, turn) in messages.iter().zip(0..) {
        writer.try_send(message).unwrap();
        let record = members[turn % 2].try_recv().unwrap();
        assert_eq!(*record, **message);
        drop(record);
        assert!(matches!(members[(turn + 1) % 2].try_recv(), Err(TryRecvError::Empty)));
        assert_eq!(*other.try_recv().unwrap(), **message);
    }
    writer.try_send(b"a").unwrap();
    writer.try_send(b"b").unwrap();
    let [first, second] = &mut members;
    let held = first.try_recv().unwrap();
    assert_eq!(&*held, b"a");
    assert_eq!(rest(second), [b"b"]);
    let most = writer.largest();
    assert_eq!(writer.try_reserve(most).err(), Some(TrySendError::Full), "a is in hand");
}

fn a_tap_accounts_for_every_message<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let mut tap = home.tap(Start::Oldest);
    let mut seen = Vec::new();
    let messages: Vec<_> = (0..100).map(|n| message(n, (n * 61 % 900) as usize)).collect();
    for message in &messages {
        writer.try_send(message).unwrap();
        seen.extend(rest_of_tap(&mut tap));
    }
    assert!(seen == messages, "a tap that keeps up misses nothing");
    assert_eq!((tap.received(), tap.lost()), (100, 0));
}

fn a_tap_that_was_lapped_knows_how_many_it_missed<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let (mut tap, mut late) = (home.tap(Start::Oldest), home.tap(Start::Latest));
    let (mut sent, mut seen) = (0, Vec::new());
    for burst in [3u64, 700, 1, 90, 2000, 12] {
        for _ in 0..burst {
            writer.try_send(&message(sent, (sent * 13 % 200) as usize)).unwrap();
            sent += 1;
        }
        let found = rest_of_tap(&mut tap);
        assert!(!found.is_empty(), "the last ones are there");
        let behind = sent - found.len() as u64;
        for (number, found) in (behind..).zip(&found) {
            assert!(*found == message(number, (number * 13 % 200) as usize), "message {number}");
        }
        seen.extend(found);
        assert_eq!(tap.received(), seen.len() as u64);
        assert_eq!(tap.received() + tap.lost(), sent, "after {sent}");
    }
    assert!(tap.lost() > 0);
    writer.close();
    let mut message = Vec::new();
    while late.recv(&mut message).is_ok() {}
    assert_eq!(late.received() + late.lost(), sent);
    assert_eq!(tap.recv(&mut message), Err(RecvError::Closed));
}

fn every_kind_at_once<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let (mut reader, mut tap) = (home.reader(Start::Latest), home.tap(Start::Latest));
    let mut members = [home.member("g", Start::Latest), home.member("g", Start::Latest)];
    let mut shared = Vec::new();
    for number in 0..300 {
        let sent = message(number, (number * 7 % 100) as usize);
        writer.try_send(&sent).unwrap();
        assert_eq!(*reader.try_recv().unwrap(), *sent);
        shared.extend(rest(&mut members[number as usize % 2]));
        if number % 100 == 0 {
            rest_of_tap(&mut tap);
        }
    }
    rest_of_tap(&mut tap);
    assert_eq!(shared.len(), 300);
    assert_eq!(tap.received() + tap.lost(), 300);
    assert!(tap.lost() > 0);
}

fn the_end_comes_after_everything<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let (mut reader, mut tap) = (home.reader(Start::Latest), home.tap(Start::Latest));
    writer.try_send(b"last").unwrap();
    drop(writer);
    assert_eq!(&*reader.recv().unwrap(), b"last");
    assert_eq!(reader.recv().err(), Some(RecvError::Closed));
    assert!(matches!(reader.recv_batch(1), Err(RecvError::Closed)));
    let mut message = Vec::new();
    assert_eq!(tap.recv(&mut message), Ok(4));
    assert_eq!(tap.recv(&mut message), Err(RecvError::Closed));
}

fn one_more_consumer_than_there_are_slots_is_refused<H: Home>(first: u64) {
    let (home, _writer) = H::with_writer(PAGE, first);
    let mut readers: Vec<_> = (0..SLOTS).map(|_| home.reader(Start::Latest)).collect();
    assert!(matches!(home.try_reader(Start::Latest), Err(JoinError::TooManyConsumers { .. })));
    assert!(matches!(home.try_member("g", Start::Latest), Err(JoinError::TooManyConsumers { .. })));
    assert!(matches!(home.try_member("", Start::Latest), Err(JoinError::GroupName { .. })));
    readers.pop();
    home.reader(Start::Latest);
}

fn what_was_lent_says_at_its_end_whether_it_can_be_trusted<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let mut reader = home.reader(Start::Latest);
    let mut member = home.member("workers", Start::Latest);
    for number in 0..4 {
        writer.try_send(&message(number, 100)).unwrap();
    }
    assert_eq!(reader.try_recv().unwrap().finish(), Ok(()));
    assert_eq!(reader.try_recv_batch(1).unwrap().finish(), Ok(()));
    assert_eq!(member.try_recv_batch(1).unwrap().finish(), Ok(()));
    assert_eq!(&*reader.try_recv().unwrap(), message(2, 100), "what was finished is released");

    let (record, claim) = (member.try_recv().unwrap(), reader.try_recv_batch(9).unwrap());
    for listed in writer.consumers() {
        // SAFETY: what they have borrowed is not read any more.
        assert!(unsafe { writer.evict(&listed) });
    }
    assert_eq!((record.finish(), claim.finish()), (Err(Evicted), Err(Evicted)));
}

fn waiting_ends_at_its_deadline<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let (mut reader, mut tap) = (home.reader(Start::Latest), home.tap(Start::Latest));
    let late = RecvTimeoutError::TimedOut(MOMENT);
    assert_eq!(reader.recv_timeout(MOMENT).err(), Some(late));
    assert_eq!(reader.recv_batch_timeout(1, MOMENT).err(), Some(late));
    assert_eq!(tap.recv_timeout(&mut Vec::new(), MOMENT), Err(late));
    assert!(writer.wait_for_consumers(2, MOMENT).is_err());
    writer.try_send(&[0; 4000]).unwrap();
    assert!(writer.drain(MOMENT).is_err());
    let full = SendTimeoutError::TimedOut(MOMENT);
    assert_eq!(writer.send_timeout(&[0; 100], MOMENT), Err(full));
    assert_eq!(writer.reserve_timeout(100, MOMENT).err(), Some(full));
    assert_eq!(reader.recv_timeout(MOMENT).unwrap().len(), 4000);
    writer.drain(DEADLINE).unwrap();
    writer.send_timeout(&[0; 100], Duration::MAX).unwrap();
    assert_eq!(reader.recv_batch_timeout(1, Duration::MAX).unwrap().len(), 1);
}

fn streams_come_out_as_they_went_in<H: Home>(first: u64) {
    let (home, mut writer) = H::with_writer(PAGE, first);
    let mut reader = home.reader(Start::Latest);
    let bytes = message(9, 100_000);
    let sending = {
        let bytes = bytes.clone();
        thread::spawn(move || {
            writer.send(b"").unwrap();
            let mut stream = WriteRecords::new(&mut writer, 1000);
            stream.write_all(&bytes[..70_001]).unwrap();
            let parts =
                [IoSlice::new(&bytes[70_001..70_003]), IoSlice::new(&bytes[70_003..70_500])];
            let written = stream.write_vectored(&parts).unwrap();
            assert_eq!(written, 499);
            assert_eq!(stream.write(b"").unwrap(), 0);
            std::io::copy(&mut &bytes[70_500..], &mut stream).unwrap();
            stream.flush().unwrap();
        })
    };
    let mut found = Vec::new();
    let mut stream = ReadRecords::new(&mut reader);
    assert_eq!(stream.read(&mut []).unwrap(), 0);
    let mut few = [0; 3];
    stream.read_exact(&mut few).unwrap();
    found.extend(few);
    stream.read_until(bytes[700], &mut found).unwrap();
    stream.read_to_end(&mut found).unwrap();
    assert!(found == bytes, "{} of {}", found.len(), bytes.len());
    assert!(stream.fill_buf().unwrap().is_empty());
    sending.join().unwrap();
}

fn threads_share_a_ring<H: Home>(first: u64) {
    const MESSAGES: u64 = 3000;
    let (home, mut writer) = H::with_writer(PAGE, first);
    let len = |number: u64| (number * 29 % 1500) as usize;
    let mut reader = home.reader(Start::Oldest);
    let members = [home.member("g", Start::Oldest), home.member("g", Start::Oldest)];
    let mut tap = home.tap(Start::Oldest);
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..MESSAGES {
                writer.send(&message(number, len(number))).unwrap();
            }
        });
        scope.spawn(move || {
            for number in 0..MESSAGES {
                assert!(*reader.recv().unwrap() == *message(number, len(number)), "{number}");
            }
        });
        scope.spawn(move || {
            let mut found = Vec::new();
            while tap.recv(&mut found).is_ok() {
                let number = tap.received() + tap.lost() - 1;
                assert!(found == message(number, len(number)), "message {number}");
            }
            assert_eq!(tap.received() + tap.lost(), MESSAGES);
        });
        let shares = members.map(|mut member| {
            scope.spawn(move || {
                let mut sums = (0u64, 0u64);
                while let Ok(batch) = member.recv_batch(2000) {
                    for message in batch.iter() {
                        sums = (sums.0 + 1, sums.1 + message.len() as u64);
                    }
                }
                sums
            })
        });
        let shares = shares.map(|share| share.join().unwrap());
        let total: u64 = (0..MESSAGES).map(|number| len(number) as u64).sum();
        assert_eq!((shares[0].0 + shares[1].0, shares[0].1 + shares[1].1), (MESSAGES, total));
    });
}
