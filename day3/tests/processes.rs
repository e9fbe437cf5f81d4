//! The ring between processes: the real programs, in every mix.
#![cfg(not(loom))]

#[path = "../src/bin/numbered/mod.rs"]
#[allow(dead_code, reason = "the rest is for the programs")]
mod numbered;

use std::process::Command;
use std::thread;

use ::common::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use ::common::{QueueName, Sequence};
use day2::Segment;
use day3::sequencer::Cursor;
use day3::{
    Consumer, JoinError, Member, Producer, QueueOptions, Receiver, RecvError, Start, TryRecvError,
};
use testing::{DEADLINE, Dice, Program, Unique, eventually};

use crate::numbered::{Message, message};

/// Enough for ten thousand laps.
const MANY: u64 = 10_000_000;

fn producer(name: &QueueName, arguments: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_day3-producer"));
    Program::start(command.arg(name.as_str()).args(arguments))
}

fn consumer(name: &QueueName, arguments: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_day3-consumer"));
    Program::start(command.arg(name.as_str()).args(arguments))
}

/// A consumer that has joined.
fn joined(name: &QueueName, arguments: &[&str]) -> Program {
    let mut process = consumer(name, arguments);
    process.line("spmc_queue attached");
    process
}

/// A producer that has created its queue, and waits for consumers.
fn waiting_producer(name: &QueueName, arguments: &[&str]) -> Program {
    let mut process = producer(name, arguments);
    process.line("waiting for consumers");
    process
}

/// The sum of the check words of `n` messages.
fn checksum(first: u64, n: u64) -> u64 {
    (0..n).fold(0, |sum, i| sum.wrapping_add(message(first.wrapping_add(i))[7]))
}

/// The last line of a consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Figures {
    received: u64,
    lost: u64,
    checksum: u64,
}

impl Figures {
    /// Waits for the end of a consumer, and reads its last figures.
    #[track_caller]
    fn of(process: Program) -> Self {
        let lines = process.finish().well();
        let line = lines.iter().find(|line| line.starts_with("received = ")).unwrap();
        let mut values = line.split(", ").map(|field| field.split_once(" = ").unwrap().1);
        let mut value = || values.next().unwrap();
        Self {
            received: value().parse().unwrap(),
            lost: value().parse().unwrap(),
            checksum: u64::from_str_radix(&value()[2..], 16).unwrap(),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            lost: self.lost + other.lost,
            checksum: self.checksum.wrapping_add(other.checksum),
        }
    }
}

fn promised(process: &mut Program) -> u64 {
    let line = process.line("spmc_queue attached");
    line.rsplit(" = ").next().unwrap().parse().unwrap()
}

#[test]
fn the_lines_of_both_programs() {
    let name = Unique::new("transcript");
    let sender = waiting_producer(&name, &["--messages", "5000"]);
    let reader = consumer(&name, &[]).finish().well();
    let sender = sender.finish().well();

    let (name, sum) = (&*name, format!("{:#018x}", checksum(0, 5000)));
    let expected = [
        format!("creating spmc_queue {name} of size 64 and capacity 1024 with mode writer"),
        "spmc_queue created".to_owned(),
        "waiting for consumers: 1".to_owned(),
        "sending messages from sequence 0 on".to_owned(),
        format!("sent = 5000, checksum = {sum}"),
        format!("destroying spmc_queue {name} of mode writer"),
        "spmc_queue destroyed".to_owned(),
    ];
    assert_eq!(sender, expected);
    let expected = [
        format!("attaching to spmc_queue {name} of size 64 with mode reader"),
        "spmc_queue attached, first sequence = 0".to_owned(),
        format!("received = 5000, lost = 0, checksum = {sum}"),
        format!("spmc_queue {name} of mode reader detached"),
    ];
    assert_eq!(reader, expected);
    assert!(!std::fs::exists(format!("/dev/shm{name}")).unwrap());
}

#[test]
fn a_quiet_consumer_prints_its_figures_only() {
    let name = Unique::new("quiet");
    let sender = waiting_producer(&name, &["--messages", "10", "--capacity", "4", "--batch", "1"]);
    let lines = consumer(&name, &["--quiet", "--batch", "3"]).finish().well();
    let sum = format!("{:#018x}", checksum(0, 10));
    assert_eq!(lines, [format!("received = 10, lost = 0, checksum = {sum}")]);
    sender.finish().well();
}

#[test]
fn the_ring_of_the_tutorial_is_the_default() {
    for program in [env!("CARGO_BIN_EXE_day3-producer"), env!("CARGO_BIN_EXE_day3-consumer")] {
        let help = Program::start(Command::new(program).arg("--help")).finish().well();
        assert!(help.iter().any(|line| line.contains("[default: /spmc_ring]")), "{help:#?}");
    }
}

/// A producer, a tap, two broadcast consumers and a group of two: each gets what it is due.
fn mix(what: &str, messages: u64, first: u64) {
    let name = Unique::new(what);
    let (number, start) = (messages.to_string(), first.to_string());
    let arguments = ["--wait-for", "4", "--messages", &number, "--first", &start];
    let sender = waiting_producer(&name, &arguments);
    let tap = joined(&name, &["--tap", "--from", "oldest"]);
    let broadcast = [consumer(&name, &[]), consumer(&name, &["--from", "oldest", "--batch", "7"])];
    let group = [consumer(&name, &["--group", "g"]), consumer(&name, &["--group", "g"])];

    let all = Figures { received: messages, lost: 0, checksum: checksum(first, messages) };
    for consumer in broadcast {
        assert_eq!(Figures::of(consumer), all, "broadcast");
    }
    let [one, other] = group.map(Figures::of);
    assert_eq!(one.and(other), all, "group");
    let tap = Figures::of(tap);
    assert_eq!(tap.received + tap.lost, messages, "{tap:?}");
    if tap.lost == 0 {
        assert_eq!(tap, all, "tap");
    }
    sender.finish().well();
    assert!(!name.exists());
}

#[test]
fn every_mix_gets_what_it_is_due() {
    mix("mix", MANY, 0);
}

#[test]
fn a_mix_goes_on_past_the_last_sequence() {
    mix("wrap", 200_000, u64::MAX - 100_000);
}

#[test]
fn broadcast_consumers_all_see_everything() {
    let name = Unique::new("broadcast");
    let sender = waiting_producer(&name, &["--wait-for", "3", "--messages", &MANY.to_string()]);
    let readers = ["1", "64", "1024"].map(|batch| consumer(&name, &["--batch", batch]));
    let all = Figures { received: MANY, lost: 0, checksum: checksum(0, MANY) };
    for reader in readers {
        assert_eq!(Figures::of(reader), all);
    }
    sender.finish().well();
}

#[test]
fn a_group_shares_everything_without_rest() {
    let name = Unique::new("group");
    let sender = waiting_producer(&name, &["--wait-for", "3", "--messages", &MANY.to_string()]);
    let members =
        ["1", "64", "1024"].map(|batch| consumer(&name, &["--group", "g", "--batch", batch]));
    let all = Figures { received: MANY, lost: 0, checksum: checksum(0, MANY) };
    assert_eq!(members.map(Figures::of).into_iter().reduce(Figures::and).unwrap(), all);
    sender.finish().well();
}

#[test]
fn a_tap_knows_exactly_what_it_missed() {
    let name = Unique::new("tap");
    let number = MANY.to_string();
    let sender = waiting_producer(&name, &["--wait-for", "1", "--messages", &number]);
    let taps = ["1", "64"].map(|batch| joined(&name, &["--tap", "--batch", batch]));
    let reader = consumer(&name, &[]);
    for tap in taps {
        let figures = Figures::of(tap);
        assert_eq!(figures.received + figures.lost, MANY, "{figures:?}");
    }
    assert_eq!(Figures::of(reader).received, MANY);
    sender.finish().well();
}

/// A producer in a thread of this process, which sends until it is told to stop.
struct Endless {
    sender: thread::JoinHandle<(u64, u64)>,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Endless {
    const BATCH: u64 = 64;

    fn start(mut producer: Producer<Message>) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, progress) = (stop.clone(), sent.clone());
        let sender = thread::spawn(move || {
            let (mut next, mut checksum) = (0, 0u64);
            while !stopped.load(Ordering::Relaxed) {
                let run: Vec<Message> =
                    (next..next + 1 + next % Self::BATCH).map(message).collect();
                producer.send_batch(&run).unwrap();
                next += run.len() as u64;
                checksum = run.iter().fold(checksum, |sum, message| sum.wrapping_add(message[7]));
                progress.store(next, Ordering::Release);
            }
            producer.close();
            producer.drain(DEADLINE).unwrap();
            (next, checksum)
        });
        Self { sender, stop, sent }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Stops it. Returns how many messages it has sent in all, and the sum of their check words.
    fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.sender.join().unwrap()
    }
}

/// Takes `count` messages of a ring that goes on. Returns the sum of their check words.
fn take<K: Cursor>(
    mut receiver: Receiver<Message, K>,
    gaps: bool,
    count: u64,
    batch: usize,
) -> u64 {
    let mut next = receiver.first_sequence();
    let (mut left, mut checksum) = (count, 0u64);
    while left > 0 {
        let lent = receiver.recv_batch_timeout(batch.min(left as usize), DEADLINE).unwrap();
        for found in lent.iter() {
            let sequence = Sequence::new(found[0]);
            assert_eq!(*found, message(sequence.get()), "torn");
            assert!(sequence == next || gaps && next.is_before(sequence), "{next}, {sequence}");
            next = sequence.plus(1);
            checksum = checksum.wrapping_add(found[7]);
        }
        left -= lent.len() as u64;
    }
    checksum
}

/// A process that joins late, and what it is told to do.
struct Guest {
    process: Program,
    count: u64,
    oldest: bool,
    in_group: bool,
    sent_before: u64,
}

impl Guest {
    fn start(name: &QueueName, dice: &mut Dice, sent_before: u64) -> Self {
        let (count, batch) = (1 + dice.below(20_000), 1 + dice.below(200));
        let (oldest, in_group) = (dice.once_in(2), dice.once_in(2));
        let from = if oldest { "oldest" } else { "latest" };
        let (number, batch) = (count.to_string(), batch.to_string());
        let mut arguments = vec!["--count", &number, "--batch", &batch, "--from", from];
        if in_group {
            arguments.extend(["--group", "residents"]);
        }
        Self { process: consumer(name, &arguments), count, oldest, in_group, sent_before }
    }

    /// Checks that its first sequence is one that it can have been promised, and returns its
    /// figures.
    fn finish(mut self, capacity: u64, endless: &Endless) -> Figures {
        let first = promised(&mut self.process);
        // The producer counts a batch after it has sent it.
        let most = endless.sent() + Endless::BATCH;
        // While no consumer is a lap behind, a published message is overwritten only when it is
        // old.
        let least = if self.oldest || self.in_group { capacity } else { 0 };
        let least = self.sent_before.saturating_sub(least);
        assert!((least..=most).contains(&first), "{first} is not in {least}..={most}");
        let figures = Figures::of(self.process);
        assert_eq!((figures.received, figures.lost), (self.count, 0));
        if !self.in_group {
            assert_eq!(figures.checksum, checksum(first, self.count));
        }
        figures
    }
}

#[test]
fn consumers_that_come_late_and_leave_early_get_all_that_they_were_promised() {
    const GUESTS: usize = 48;
    let (name, mut dice) = (Unique::new("guests"), Dice::seeded());
    let capacity = 256;
    let producer = Producer::create(&*name, capacity).unwrap();
    let residents =
        [joined(&name, &["--from", "oldest"]), joined(&name, &["--group", "residents"])];
    let endless = Endless::start(producer);

    // In threads, where many come and go in the time that a process needs to start...
    let visits = thread::scope(|scope| {
        let mut visitors = Vec::new();
        for _ in 0..4 {
            let (name, mut dice) = (&*name, Dice::new(dice.word()));
            visitors.push(scope.spawn(move || {
                let mut shared = Figures::default();
                for _ in 0..100 {
                    let start = [Start::Oldest, Start::Latest][dice.below(2) as usize];
                    let (count, batch) = (1 + dice.below(2_000), 1 + dice.below(100) as usize);
                    if dice.once_in(2) {
                        let member = Member::join(name, "residents", start).unwrap();
                        let checksum = take(member, true, count, batch);
                        shared = shared.and(Figures { received: count, lost: 0, checksum });
                    } else {
                        let consumer = Consumer::join(name, start).unwrap();
                        let expected = checksum(consumer.first_sequence().get(), count);
                        assert_eq!(take(consumer, false, count, batch), expected);
                    }
                }
                shared
            }));
        }
        // ... and in processes, a few at a time.
        let mut guests = Vec::<Guest>::new();
        let mut shared = Figures::default();
        for arrived in 0..GUESTS + 6 {
            if arrived >= 6 {
                let guest = guests.swap_remove(dice.below(guests.len() as u64) as usize);
                let in_group = guest.in_group;
                let figures = guest.finish(capacity, &endless);
                if in_group {
                    shared = shared.and(figures);
                }
            }
            if arrived < GUESTS {
                guests.push(Guest::start(&name, &mut dice, endless.sent()));
            }
        }
        visitors.into_iter().map(|visitor| visitor.join().unwrap()).fold(shared, Figures::and)
    });

    let (sent, checksum) = endless.stop();
    let all = Figures { received: sent, lost: 0, checksum };
    let [broadcast, member] = residents.map(Figures::of);
    assert_eq!(broadcast, all);
    assert_eq!(visits.and(member), all, "each message went to one member");
}

#[test]
fn a_second_producer_is_refused_and_the_first_unharmed() {
    let name = Unique::new("second");
    let first = waiting_producer(&name, &["--messages", "100000"]);
    let error = producer(&name, &[]).finish().badly();
    let living = format!("error: {} is taken by a queue whose producer is alive:", *name);
    assert!(error.starts_with(&living), "{error}");
    let reader = joined(&name, &[]);
    let error = producer(&name, &["--capacity", "2"]).finish().badly();
    assert!(error.starts_with(&living), "{error}");
    let all = Figures { received: 100_000, lost: 0, checksum: checksum(0, 100_000) };
    assert_eq!(Figures::of(reader), all);
    first.finish().well();
    assert!(!name.exists());
}

#[test]
fn a_ring_has_room_for_sixty_four() {
    let name = Unique::new("full-house");
    let mut producer = Producer::<Message>::create(&*name, 16).unwrap();
    let _seated: Vec<_> =
        (0..31).map(|_| Consumer::<Message>::join(&*name, Start::Latest).unwrap()).collect();
    let mut members: Vec<_> =
        (0..31).map(|_| Member::<Message>::join(&*name, "g", Start::Latest).unwrap()).collect();
    let last = [joined(&name, &[]), joined(&name, &["--group", "h"])];
    assert_eq!(producer.consumers().len(), 64);

    for arguments in [&["--quiet"][..], &["--group", "g"]] {
        let error = consumer(&name, arguments).finish().badly();
        assert!(error.starts_with("error: all 64 consumer slots are taken"), "{error}");
    }
    // A tap needs no slot, and a slot that a consumer has left is free for the next.
    let tap = joined(&name, &["--tap", "--from", "oldest"]);
    drop(members.pop());
    let next = joined(&name, &["--group", "g"]);
    let refused = Consumer::<Message>::join(&*name, Start::Latest);
    assert!(matches!(refused, Err(JoinError::TooManyConsumers { .. })), "{refused:?}");
    producer.send_batch(&[message(0), message(1)]).unwrap();
    drop(producer);
    for process in last.into_iter().chain([tap]) {
        assert_eq!(Figures::of(process).received, 2);
    }
    next.finish().well();
}

/// The kinds of access with which a process has mapped the parts of a queue, sorted.
fn mappings(process: &Program, name: &QueueName) -> Vec<String> {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", process.id())).unwrap();
    let path = format!("/dev/shm{name}");
    let fields = maps.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = fields.filter(|fields| fields.get(5) == Some(&path.as_str()));
    let mut rights: Vec<_> = ours.map(|fields| fields[1].to_owned()).collect();
    rights.sort();
    rights
}

#[test]
fn a_tap_can_write_nowhere_and_a_consumer_not_to_the_data() {
    let name = Unique::new("maps");
    let _sender = waiting_producer(&name, &["--wait-for", "2"]);
    let tap = joined(&name, &["--tap"]);
    let reader = joined(&name, &[]);
    // Control and data; the header is mapped only while it is read.
    assert_eq!(mappings(&tap, &name), ["r--s", "r--s"]);
    assert_eq!(mappings(&reader, &name), ["r--s", "rw-s"]);
}

#[test]
fn each_error_is_one_line() {
    let name = Unique::new("errors");
    let error = consumer(&name, &[]).finish().badly();
    assert!(error.starts_with(&format!("error: no queue {}:", *name)), "{error}");
    let error = consumer(&name, &["--tap"]).finish().badly();
    assert!(error.starts_with(&format!("error: no queue {}:", *name)), "{error}");
    let error = producer(&name, &["--capacity", "1000"]).finish().badly();
    assert!(error.contains("ask for 1024"), "{error}");
    let error = producer(&name, &["--wait", "0.01", "--wait-for", "2"]).finish().badly();
    assert!(error.contains("needs 2 consumers, found 0"), "{error}");
    let arguments = ["--wait-for", "0", "--capacity", "8", "--batch", "9"];
    let error = producer(&name, &arguments).finish().badly();
    assert!(error.contains("9 do not fit: this ring takes at most 8 at once"), "{error}");
    assert!(!name.exists());

    let _producer = Producer::<u64>::create(&*name, 8).unwrap();
    let error = consumer(&name, &[]).finish().badly();
    assert!(error.contains("64"), "{error}");
    let other = Unique::new("errors");
    let _producer = Producer::<Message>::create(&*other, 8).unwrap();
    let error = consumer(&other, &["--group", &"g".repeat(33)]).finish().badly();
    assert!(error.contains("1 to 32 bytes"), "{error}");
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let name = Unique::new("arguments");
    for arguments in [&["--batch", "0"][..], &["--wait", "-1"], &["--messages", "many"]] {
        let ended = producer(&name, arguments).finish();
        assert_eq!((ended.status.code(), ended.lines.len()), (Some(2), 0), "{arguments:?}");
    }
    for arguments in [&["--group", "g", "--tap"][..], &["--from", "middle"], &["--batch", "0"]] {
        let ended = consumer(&name, arguments).finish();
        assert_eq!((ended.status.code(), ended.lines.len()), (Some(2), 0), "{arguments:?}");
    }
    assert!(!name.exists());
}

#[test]
fn a_consumer_leaves_after_as_many_as_it_wants() {
    let name = Unique::new("count");
    let arguments = ["--messages", "1000", "--wait-for", "3", "--delay-ms", "1"];
    let sender = waiting_producer(&name, &arguments);
    let short = consumer(&name, &["--count", "100"]);
    let member = consumer(&name, &["--group", "g", "--count", "50", "--batch", "3"]);
    let tap = joined(&name, &["--tap", "--from", "oldest", "--count", "10", "--batch", "1"]);
    let long = consumer(&name, &[]);
    let figures = Figures { received: 100, lost: 0, checksum: checksum(0, 100) };
    assert_eq!(Figures::of(short), figures);
    assert_eq!(Figures::of(member).received, 50);
    assert_eq!(Figures::of(tap).received, 10);
    assert_eq!(Figures::of(long).received, 1000);
    sender.finish().well();
}

#[test]
fn a_ring_can_go_on_where_another_ended() {
    let name = Unique::new("go-on");
    let options = QueueOptions::new(8).first(1 << 32);
    let mut producer = Producer::<Message>::create_with(&*name, &options).unwrap();
    let mut reader = joined(&name, &["--from", "oldest"]);
    assert_eq!(promised(&mut reader), 1 << 32);
    producer.send(message(1 << 32)).unwrap();
    drop(producer);
    assert_eq!(Figures::of(reader).received, 1);
}

#[test]
fn a_killed_consumer_is_in_the_way_until_it_is_evicted() {
    let name = Unique::new("killed-consumer");
    let mut producer = Producer::<Message>::create(&*name, 16).unwrap();
    let dead = joined(&name, &[]);
    let reader = joined(&name, &[]);
    let owner = dead.id();
    dead.kill();
    let found = producer.consumers().into_iter().find(|consumer| consumer.owner == owner);
    let found = found.expect("the dead leave their slot as it was");
    let slot = found.slot;

    let sixteen: Vec<Message> = (0..16).map(message).collect();
    producer.send_batch(&sixteen).unwrap();
    eventually("the other one has read it", || {
        producer.consumers().iter().all(|consumer| consumer.slot == slot || consumer.lag == 0)
    });
    assert!(producer.try_send(message(16)).is_err(), "only dead consumers are in the way");
    // SAFETY: it was killed.
    assert!(unsafe { producer.evict(&found) });
    producer.send(message(16)).unwrap();
    drop(producer);
    let all = Figures { received: 17, lost: 0, checksum: checksum(0, 17) };
    assert_eq!(Figures::of(reader), all);
}

#[test]
fn a_killed_producer_leaves_its_ring_behind() {
    let name = Unique::new("killed-producer");
    let sender = waiting_producer(&name, &["--messages", &u64::MAX.to_string()]);
    let mut reader = Consumer::<Message>::join(&*name, Start::Oldest).unwrap();
    assert_eq!(reader.recv().unwrap(), message(0));
    sender.kill();

    // What it had published can be read, although it could not announce its end.
    let mut next = 1;
    let end = loop {
        match reader.try_recv() {
            Ok(found) => assert_eq!(found, message(next)),
            Err(end) => break end,
        }
        next += 1;
    };
    // The producer may still be dying.
    assert!(
        matches!(end, TryRecvError::Empty | TryRecvError::End(RecvError::ProducerDied)),
        "{end}"
    );
    assert_eq!(reader.recv(), Err(RecvError::ProducerDied));
    let error = producer(&name, &[]).finish().badly();
    let dead = format!("error: {} is taken by a queue whose producer has died:", *name);
    assert!(error.starts_with(&dead), "{error}");
    Segment::remove(&name).unwrap();
    let sender = producer(&name, &["--wait-for", "0", "--messages", "1"]);
    sender.finish().well();
    assert!(!name.exists());
}

#[test]
fn a_successor_keeps_the_identity_of_the_queue() {
    let name = Unique::new("kept");
    let sender = waiting_producer(&name, &["--messages", &u64::MAX.to_string()]);
    let identity = day3::Tap::<Message>::open(&*name, Start::Oldest).unwrap().identity();
    sender.kill();
    // What the options say is for a queue that is created.
    let options = QueueOptions::new(16).identity(!identity);
    let successor = Producer::<Message>::resume_with(&*name, &options).unwrap();
    assert_eq!((successor.identity(), successor.epoch()), (identity, 1));
    let consumer = Consumer::<Message>::join(&*name, Start::Oldest).unwrap();
    assert_eq!(consumer.identity(), identity);
}
