//! Processes that are killed at random moments, and other processes that must not notice.
//!
//! The ordinary run kills 50 of them. A long run:
//!
//! ```console
//! $ FANOUT_KILLS=1000 cargo test --release -p day3 --test stress -- --nocapture
//! ```
//!
//! It prints its seed; `FANOUT_SEED` repeats the choices, though not the kernel's.
//!
//! Nobody tells them who is dead: the producer and the members ask the kernel. What a dead member held goes to another
//! member, so that no message is lost.
#![cfg(not(loom))]

#[path = "../../src/bin/numbered/mod.rs"]
#[allow(dead_code, reason = "the rest is for the programs")]
mod numbered;
mod parts;
mod records;

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use day2::{LockError, RemoveError, Segment};
use day3::{Consumer, JoinError, JoinOptions, Producer, Start, Tap};
use nix::sys::signal::Signal;
use testing::{Dice, Ended, Program, Unique, eventually, number_from_environment};

use crate::numbered::{Message, message};
use crate::parts::{CAPACITY, Post};
use crate::records::{Record, Records};

#[test]
#[ignore = "the stress test runs it in processes of its own"]
fn a_part() {
    parts::play();
}

/// SIGKILL's number.
const KILLED: i32 = 9;
/// How many processes there are at a time that may be killed.
const VICTIMS: usize = 4;

/// One ring, from its creation to its removal.
struct Round {
    name: Unique,
    records: Records,
    producer: Program,
    broadcast: Program,
    member: Program,
    victims: Vec<Victim>,
    /// It reads nothing, so its lag is the number of messages published.
    published: Tap<Message>,
    killed: Vec<(Post, PathBuf)>,
}

struct Victim {
    role: Post,
    process: Program,
    record: PathBuf,
}

/// What a run of rounds adds up to.
#[derive(Debug, Default)]
struct Report {
    rounds: usize,
    messages: u64,
    killed: BTreeMap<Post, usize>,
    /// How often a process was stopped, and went on.
    stopped: usize,
    /// The last lines that dead consumers wrote down: what they were doing when they were killed.
    last_words: BTreeMap<String, usize>,
    /// Messages that a second member received, because the first had died before it released them.
    redelivered: u64,
}

impl Round {
    fn start(dice: &mut Dice) -> Self {
        let (name, mut records) = (Unique::new("stress"), Records::new());
        let producer = Post::Producer.start(&name, &records.next(), dice.word());
        let mut published = None;
        eventually("the ring is there", || {
            published = Tap::open(&*name, Start::Oldest).ok();
            published.is_some()
        });
        let broadcast = Post::Broadcast.start(&name, &records.next(), dice.word());
        let member = Post::Member.start(&name, &records.next(), dice.word());
        let (published, victims, killed) = (published.unwrap(), Vec::new(), Vec::new());
        let round = Self { name, records, producer, broadcast, member, victims, published, killed };
        round.flows_on();
        round
    }

    /// Waits until more messages have come than there can be places left by the dead.
    fn flows_on(&self) {
        let before = self.published.lag();
        eventually("messages flow", || self.published.lag() > before + CAPACITY);
    }

    fn recruit(&mut self, dice: &mut Dice) {
        use Post::{Broadcast, Guest, Member, Passerby, Tap};
        let roles = [Broadcast, Member, Member, Guest, Guest, Passerby, Passerby, Tap];
        while self.victims.len() < VICTIMS {
            let role = roles[dice.below(roles.len() as u64) as usize];
            let record = self.records.next();
            let process = role.start(&self.name, &record, dice.word());
            self.victims.push(Victim { role, process, record });
        }
    }

    /// Stops some processes for a moment each, as a debugger does, and has them go on.
    fn stop_some(&self, dice: &mut Dice, report: &mut Report) {
        let residents = [&self.producer, &self.broadcast, &self.member];
        for _ in 0..dice.below(4) {
            let victim = &self.victims[dice.below(self.victims.len() as u64) as usize].process;
            let process = dice.pick(&[residents[0], residents[1], residents[2], victim]);
            process.signal(Signal::SIGSTOP);
            thread::sleep(dice.pause(Duration::from_millis(5)));
            process.signal(Signal::SIGCONT);
            report.stopped += 1;
        }
    }

    fn kill_one(&mut self, dice: &mut Dice, report: &mut Report) {
        self.recruit(dice);
        self.stop_some(dice, report);
        thread::sleep(dice.pause(Duration::from_millis(20)));
        let unlucky = dice.below(self.victims.len() as u64) as usize;
        let Victim { role, process, record } = self.victims.swap_remove(unlucky);
        died(role, &process.kill());
        let last = Record::read(&record).last_word().to_owned();
        *report.last_words.entry(last).or_default() += 1;
        self.killed.push((role, record));
        // In the other cases the next one dies before any process has noticed.
        if dice.once_in(2) {
            self.flows_on();
        }
    }

    /// Ends the round, with the producer's death or in peace, and adds it to the report.
    fn finish(mut self, with_the_producer: bool, report: &mut Report) {
        if with_the_producer {
            died(Post::Producer, &self.producer.kill());
            *report.killed.entry(Post::Producer).or_default() += 1;
        } else {
            self.producer.hang_up();
            succeeded(&self.producer.finish());
        }
        // The member that came first leaves last, so there is one group all the time.
        let others = self.victims.into_iter().map(|victim| victim.process);
        for mut other in others.chain([self.broadcast, self.member]) {
            other.hang_up();
            succeeded(&other.finish());
        }
        let sent = self.published.lag();
        if with_the_producer {
            drop(self.published);
            Segment::remove_unused(&self.name).expect("a queue that nobody has open");
        }
        assert!(!self.name.exists());

        let dead: Vec<Record> = self.killed.iter().map(|(_, path)| Record::read(path)).collect();
        let shared = self.killed.iter().filter(|(role, _)| role.shares()).count();
        report.redelivered += settle(sent, &self.records.read(), &dead, shared);
        report.rounds += 1;
        report.messages += sent;
        for (role, _) in self.killed {
            *report.killed.entry(role).or_default() += 1;
        }
    }
}

/// Checks that a process ended by itself, and well.
#[track_caller]
fn succeeded(ended: &Ended) {
    assert!(ended.status.success(), "{}: {}", ended.status, ended.stderr);
}

/// Checks that a process died because it was killed, and not before.
#[track_caller]
fn died(role: Post, ended: &Ended) {
    assert_eq!(ended.status.signal(), Some(KILLED), "{role:?}: {}", ended.stderr);
}

/// Compares what all processes wrote down with what was sent: every message was received, and more than once
/// only where a member died with it in hand. Returns how many messages were.
fn settle(sent: u64, records: &[Record], dead: &[Record], shared: usize) -> u64 {
    let ends: Vec<u64> = records.iter().flat_map(Record::ends).collect();
    assert!(!ends.is_empty(), "the resident has seen no end");
    assert!(ends.iter().all(|&end| end == sent), "{sent} sent, the residents have seen {ends:?}");
    let backs: usize = records.iter().map(Record::backs).sum();
    assert!(backs <= shared, "{backs} times older messages, and {shared} dead");

    // Where the number changes of how often a message was received, and of how often it may be: a member that
    // was killed may have written its last run down and not released it.
    let mut steps: BTreeMap<u64, (i64, i64)> = BTreeMap::from([(0, (0, 1)), (sent, (0, -1))]);
    let mut add = |run: Range<u64>, received: i64, allowed: i64| {
        for (at, sign) in [(run.start, 1), (run.end, -1)] {
            let step = steps.entry(at).or_default();
            *step = (step.0 + sign * received, step.1 + sign * allowed);
        }
    };
    records.iter().flat_map(Record::runs).for_each(|run| add(run, 1, 0));
    dead.iter().filter_map(|record| record.runs().last()).for_each(|run| add(run, 0, 1));
    let (mut received, mut allowed, mut repeated, mut from) = (0i64, 0, 0, 0);
    for (at, step) in steps {
        let times = if from < sent { 1..=allowed } else { 0..=0 };
        assert!(
            from == at || times.contains(&received),
            "{from}..{at} of {sent} was received {received} times, expected {times:?}"
        );
        repeated += (at - from) * received.saturating_sub(1).max(0) as u64;
        (received, allowed, from) = (received + step.0, allowed + step.1, at);
    }
    repeated
}

#[test]
fn survivors_notice_nothing() {
    let mut dice = Dice::seeded();
    let total = number_from_environment("FANOUT_KILLS").unwrap_or(50) as usize;
    let (started, mut report, mut kills) = (Instant::now(), Report::default(), 0);
    while kills < total {
        let mut round = Round::start(&mut dice);
        let consumers = (5 + dice.below(20) as usize).min(total - kills);
        for _ in 0..consumers {
            round.kill_one(&mut dice, &mut report);
        }
        kills += consumers;
        let with_the_producer = kills < total && !dice.once_in(3);
        kills += usize::from(with_the_producer);
        round.recruit(&mut dice);
        round.finish(with_the_producer, &mut report);
    }
    println!("{kills} killed in {:.1?}: {report:#?}", started.elapsed());
    assert_eq!(report.killed.values().sum::<usize>(), kills);
}

#[test]
fn who_dies_while_joining_locks_nobody_out() {
    let (name, mut records) = (Unique::new("lock"), Records::new());
    let mut producer = Producer::<Message>::create(&*name, CAPACITY).unwrap();
    for round in 0..5 {
        let record = records.next();
        let joiner = Post::Joiner.start(&name, &record, round);
        eventually("it holds the lock", || Record::read(&record).has("locked"));
        let impatient = JoinOptions::new().timeout(Duration::from_millis(5));
        let refused = Consumer::<Message>::join_with(&*name, Start::Latest, &impatient);
        let busy = matches!(refused, Err(JoinError::Lock(LockError::Busy { .. })));
        assert!(busy, "{refused:?}");
        died(Post::Joiner, &joiner.kill());

        let mut consumer = Consumer::join(&*name, Start::Latest).unwrap();
        producer.send(message(round)).unwrap();
        assert_eq!(consumer.recv(), Ok(message(round)));
    }
}

#[test]
fn a_producer_that_dies_while_creating_leaves_a_name_that_can_be_freed() {
    let mut dice = Dice::seeded();
    let (mut finished, mut unfinished) = (0, 0);
    for _ in 0..20 {
        let (name, mut records) = (Unique::new("create"), Records::new());
        let producer = Post::Producer.start(&name, &records.next(), dice.word());
        // Around the moment at which the object appears.
        eventually("it is about to create the ring", || dice.once_in(20) || name.exists());
        thread::sleep(dice.pause(Duration::from_micros(200)));
        died(Post::Producer, &producer.kill());
        let is_unfinished = Segment::is_unfinished(&name);
        match Segment::remove_unused(&name) {
            Ok(()) if is_unfinished => unfinished += 1,
            Ok(()) => finished += 1,
            Err(RemoveError::Open(day2::OpenError::NotFound { .. })) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(!name.exists());
        let mut heir = Producer::<Message>::create(&*name, CAPACITY).unwrap();
        heir.send(message(0)).unwrap();
    }
    println!("20 killed: {finished} left a ring, {unfinished} a part of one");
}
