//! What a guest may write.

use std::process::Command;

use std::thread;
use std::time::{Duration, Instant};

use common::sync::{AtomicU64, Ordering};
use day3::rooms::EvictionReason;
use day3::{JoinOptions, Policy, QueueOptions, Start};
use day4::rendezvous::{ConnectError, RendezvousError};
use day4::{Evictable, Reader, RecvError, RecvTimeoutError, Tap, Writer};
use testing::{DEADLINE, Dice, Program, number_from_environment, panics};

use crate::guest::{
    CURSOR, DOORBELL, Given, House, LEFT, VITAL, Words, message, move_in, number, own_pages, path,
    task,
};

/// For how many rounds the forgers go on in plain `cargo test`.
const ROUNDS: u64 = 400;
/// How long a forger forges with one page at most.
const FORGES: Duration = Duration::from_millis(5);
/// How long evictable guests hold the writer back at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// Says that a guest sleeps.
const ASLEEP: u64 = 1;
/// Says that the kernel makes no fences.
const FENCED: u64 = 2;
const OWNER_DIED: u64 = 0x4000_0000;

const ENTRY: &str = "words::a_guest_of_another_test";

#[test]
#[ignore = "other tests start it as a process of its own"]
fn a_guest_of_another_test() {
    match task().as_str() {
        "read" => read(),
        "evictable" => read_evictable(),
        "lossy" => read_lossy(),
        "come and go" => come_and_go(),
        "forge" => forge(),
        _ => println!("no task: nothing to do"),
    }
}

/// Reads everything: each message is the one after the last.
fn read() {
    let mut reader: Reader = Reader::connect(path(), Start::Oldest).unwrap();
    println!("joined");
    let (mut next, mut sum) = (0, 0u64);
    let end = loop {
        match reader.recv_timeout(DEADLINE) {
            Ok(record) => assert_eq!(number(&record), next),
            Err(end) => break end,
        }
        sum = sum.wrapping_add(next);
        next += 1;
    };
    assert_eq!(end, RecvTimeoutError::End(RecvError::Closed));
    println!("read {next} {sum}");
}

fn read_evictable() {
    let options = JoinOptions::new().policy(Policy::EvictAfter(PATIENCE));
    let mut guest: Evictable = Evictable::connect(path(), Start::Oldest, &options).unwrap();
    println!("joined");
    let (mut next, mut sum, mut bytes) = (0, 0u64, Vec::new());
    let end = loop {
        match guest.recv_timeout(&mut bytes, DEADLINE) {
            Ok(_) => assert_eq!(number(&bytes), next),
            Err(end) => break end,
        }
        sum = sum.wrapping_add(next);
        next += 1;
    };
    assert_eq!(end, RecvTimeoutError::End(RecvError::Closed));
    println!("read {next} {sum}");
}

/// Reads what it gets: what it gets and what it misses is everything.
fn read_lossy() {
    let mut tap: Tap = Tap::connect_lossy(path(), Start::Oldest, &JoinOptions::new()).unwrap();
    println!("joined");
    let (mut last, mut bytes) = (None, Vec::new());
    let end = loop {
        match tap.recv_timeout(&mut bytes, DEADLINE) {
            Ok(_) => {
                let number = number(&bytes);
                assert!(last.is_none_or(|last| last < number), "{last:?}, then {number}");
                last = Some(number);
            }
            Err(end) => break end,
        }
    };
    assert_eq!(end, RecvTimeoutError::End(RecvError::Closed));
    println!("read {} {}", tap.received() + tap.lost(), 0);
}

/// Joins as soon as there is room; `None` when the ring is served no more.
fn connect(start: Start) -> Option<Reader> {
    loop {
        match Reader::connect(path(), start) {
            Ok(reader) => return Some(reader),
            Err(ConnectError::Rendezvous(RendezvousError::Full { .. })) => thread::yield_now(),
            Err(ConnectError::Rendezvous(
                RendezvousError::NotFound { .. }
                | RendezvousError::NobodyListens { .. }
                | RendezvousError::PeerClosed { .. },
            )) => return None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Joins, reads a little, and leaves, again and again.
fn come_and_go() {
    println!("joined");
    let mut turns = 0u64;
    'joins: while let Some(mut reader) = connect(Start::Oldest) {
        let mut last = None;
        for _ in 0..20 {
            match reader.recv_timeout(DEADLINE) {
                Ok(record) => {
                    let number = number(&record);
                    assert!(last.is_none_or(|last| number == last + 1), "{last:?}, {number}");
                    last = Some(number);
                }
                Err(RecvTimeoutError::End(RecvError::Closed)) => break 'joins,
                Err(error) => panic!("{error}"),
            }
        }
        turns += 1;
    }
    println!("read {turns} {turns}");
}

/// What a guest writes.
#[derive(Clone, Copy, Debug)]
enum Lie {
    Everything,
    Back,
    AheadByOne,
    FarAhead,
    Left,
    Asleep,
    Fenced,
    Bells,
    Dying,
    ForeignOwner,
    Trickle,
}

const LIES: [Lie; 11] = [
    Lie::Everything,
    Lie::Back,
    Lie::AheadByOne,
    Lie::FarAhead,
    Lie::Left,
    Lie::Asleep,
    Lie::Fenced,
    Lie::Bells,
    Lie::Dying,
    Lie::ForeignOwner,
    Lie::Trickle,
];

/// Writes it once.
fn tell(lie: Lie, words: Words, slot: usize, first: u64, dice: &mut Dice) {
    let order = Ordering::Relaxed;
    let cursor = words.at(slot, CURSOR);
    let (doorbell, vital) = (words.at(slot, DOORBELL), words.at(slot, VITAL));
    match lie {
        Lie::Everything => {
            let all = words.all();
            all[dice.below(all.len() as u64) as usize].store(dice.word(), order);
            let word = dice.pick(&[CURSOR, 1, LEFT, DOORBELL, 17, VITAL]);
            words.at(slot, word).store(dice.word() >> dice.below(64), order);
        }
        Lie::Back => cursor.store(first.wrapping_sub(dice.pick(&[1, 8, 4096])), order),
        Lie::AheadByOne => {
            cursor.fetch_add(dice.pick(&[1, 8]), order);
        }
        Lie::FarAhead => {
            let far =
                dice.pick(&[u64::MAX, u64::MAX - 7, 1 << 63, first + 4104, first + (1 << 40)]);
            cursor.store(far, order);
        }
        Lie::Left => words.at(slot, LEFT).store(dice.pick(&[0, 1, u64::MAX]), order),
        Lie::Asleep => {
            doorbell.fetch_or(ASLEEP, order);
        }
        Lie::Fenced => {
            doorbell.fetch_or((ASLEEP | FENCED) * (1 + (1 << 32)), order);
        }
        Lie::Bells => doorbell.store(dice.word(), order),
        Lie::Dying => vital.store(OWNER_DIED | (dice.below(2) << 31), order),
        Lie::ForeignOwner => vital.store(dice.word(), order),
        // By bytes: no record begins there.
        Lie::Trickle => {
            cursor.fetch_add(1, order);
            thread::sleep(Duration::from_micros(50));
        }
    }
}

/// A guest that lies in one way after the other. It reads on as long as it may, and then comes back.
fn forge() {
    let mut dice = Dice::seeded();
    println!("joined");
    let mut rounds = 0u64;
    while let Some(mut reader) = connect(Start::Latest) {
        let page = own_pages().pop().unwrap();
        let (words, slot) = (Words::of(&page), reader.slot());
        let first = reader.first_sequence().get();
        let lie = LIES[rounds as usize % LIES.len()];
        let begun = Instant::now();
        let lies = |dice: &mut Dice| {
            while begun.elapsed() < FORGES {
                tell(lie, words, slot, first, dice);
            }
        };
        let mut other = dice.split();
        thread::scope(|scope| {
            // A thread of its own, so that the words change at any moment.
            scope.spawn(|| lies(&mut other));
            while begun.elapsed() < FORGES {
                // What it gets is not for us to judge.
                let _ = reader.try_recv().map(|record| record.len());
            }
        });
        rounds += 1;
    }
    println!("read {rounds} {rounds}");
}

fn start(house: &House, task: &str) -> Program {
    let mut command: Command = house.process(ENTRY, task);
    let mut program = Program::start(&mut command);
    program.line("joined");
    program
}

/// What a program says that it has read.
fn said(program: Program) -> Vec<u64> {
    let lines = program.finish().well();
    let line = lines.iter().find_map(|line| line.strip_prefix("read ")).unwrap();
    line.split(' ').map(|number| number.parse().unwrap()).collect()
}

/// Healthy guests of every kind get everything, beside two forgers, and guests that come and go.
#[test]
fn healthy_guests_get_everything_beside_forgers() {
    let rounds = number_from_environment("FANOUT_ROUNDS").unwrap_or(ROUNDS);
    let time = FORGES * u32::try_from(rounds).unwrap();
    let mut house = House::new(&QueueOptions::new(4096).consumers(8));
    let healthy = ["read", "evictable", "lossy"].map(|task| start(&house, task));
    let others = ["come and go", "forge", "forge"].map(|task| start(&house, task));
    let (begun, mut sent, mut sum, mut longest) = (Instant::now(), 0u64, 0u64, Duration::ZERO);
    let (mut forged, mut other_reasons) = (0u64, Vec::new());
    while begun.elapsed() < time {
        for _ in 0..64 {
            let sending = Instant::now();
            house.writer.send_timeout(&message(sent), DEADLINE).unwrap();
            longest = longest.max(sending.elapsed());
            sum = sum.wrapping_add(sent);
            sent += 1;
        }
        for eviction in house.writer.take_evictions() {
            match eviction.reason {
                EvictionReason::Forged { .. } => forged += 1,
                reason => other_reasons.push(reason),
            }
        }
    }
    house.serving = None;
    house.writer.close();
    let [reader, evictable, lossy] = healthy.map(said);
    let [came, lied, also_lied] = others.map(|other| said(other)[0]);
    println!(
        "{sent} messages, longest wait {longest:?}; {forged} forgers evicted in {lied}+{also_lied} stays; \
         {came} came and went"
    );
    assert_eq!(reader, [sent, sum]);
    assert_eq!(evictable, [sent, sum]);
    assert_eq!(lossy[0], sent);
    assert!(forged > 0 && lied > 0 && came > 0);
    assert_eq!(other_reasons, []);
}

/// A ring with a healthy guest and one that has moved in by hand, which has read nothing of three messages.
fn with_a_liar() -> (House, Reader, Given, Words) {
    let mut house = House::new(&QueueOptions::new(4096));
    let reader: Reader = Reader::connect(&house.path, Start::Oldest).unwrap();
    let given = move_in(&house.path);
    for number in 0..3 {
        house.writer.send(&message(number)).unwrap();
    }
    let words = Words::of(&given.page);
    (house, reader, given, words)
}

/// Sends and reads laps of messages; fails if the writer hangs.
fn goes_on(writer: &mut Writer, reader: &mut Reader) {
    for _ in 0..300 {
        writer.send_timeout(&message(3), DEADLINE).unwrap();
        let _ = number(&reader.recv_timeout(DEADLINE).unwrap());
    }
}

fn cursor(words: Words, given: &Given) -> &'static AtomicU64 {
    words.at(given.slot as usize, CURSOR)
}

#[test]
fn a_cursor_that_says_what_cannot_be_costs_its_owner_the_slot() {
    let lies: [fn(u64, u64) -> u64; 7] = [
        |first, _| first.wrapping_sub(1),
        |first, _| first.wrapping_sub(8),
        |_, published| published + 1,
        |_, published| published + 8,
        |_, _| u64::MAX,
        |_, _| 1 << 63,
        |first, _| first ^ (1 << 63),
    ];
    for (at, lie) in lies.into_iter().enumerate() {
        let (mut house, mut reader, given, words) = with_a_liar();
        let first = cursor(words, &given).load(Ordering::Relaxed);
        let published =
            first + (0..3).map(|n| day4::record_len(message(n).len()) as u64).sum::<u64>();
        let said = lie(first, published);
        cursor(words, &given).store(said, Ordering::Relaxed);
        // The writer looks at its guests' cursors.
        assert_eq!(house.writer.consumers().len(), 1, "lie {at}");
        goes_on(&mut house.writer, &mut reader);
        let evictions = house.writer.take_evictions();
        assert_eq!(evictions.len(), 1, "lie {at}: {evictions:?}");
        assert_eq!(evictions[0].consumer.slot, given.slot as usize);
        match evictions[0].reason {
            EvictionReason::Forged { found, .. } => assert_eq!(found, said, "lie {at}"),
            reason => panic!("lie {at}: {reason}"),
        }
    }
}

/// Each publish would cost the writer a system call, for ever.
#[test]
fn a_guest_that_is_gone_is_rung_no_more() {
    for (word, said) in [(CURSOR, u64::MAX), (LEFT, 1)] {
        let (mut house, mut reader, given, words) = with_a_liar();
        words.at(given.slot as usize, word).store(said, Ordering::Relaxed);
        goes_on(&mut house.writer, &mut reader);
        let doorbell = words.at(given.slot as usize, DOORBELL);
        doorbell.store(ASLEEP, Ordering::Relaxed);
        assert_eq!(house.writer.consumers().len(), 1);
        goes_on(&mut house.writer, &mut reader);
        assert_eq!(doorbell.load(Ordering::Relaxed), ASLEEP, "word {word}");
    }
}

/// It is killed by its own lies alone: the mark of a death, the owner's number, and that it has left.
#[test]
fn a_guest_that_says_that_it_is_dying_or_gone_is_waited_for_no_more() {
    for (word, said) in [(VITAL, OWNER_DIED), (LEFT, 1), (LEFT, u64::MAX)] {
        let (mut house, mut reader, given, words) = with_a_liar();
        words.at(given.slot as usize, word).store(said, Ordering::Relaxed);
        goes_on(&mut house.writer, &mut reader);
    }
}

#[test]
fn a_test_of_these_tests_finds_a_torn_message() {
    assert!(panics(|| number(&message(1)[..8])).contains("not as it was sent"));
}
