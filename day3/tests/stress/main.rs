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
//! A dead consumer still gates the producer, which cannot know of the death (Day 6 repairs that).
//! Here the producer asks the kernel which owners are gone, and evicts them.
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
use testing::{Dice, Ended, Program, Unique, eventually, number_from_environment};

use crate::numbered::{Message, message};
use crate::parts::{BATCH, CAPACITY, Post};
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
    killed: Vec<Post>,
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
    /// The last lines that dead consumers wrote down: what they were doing when they were killed.
    last_words: BTreeMap<String, usize>,
    /// Messages that members took and did not live to read.
    taken_along: u64,
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

    fn kill_one(&mut self, dice: &mut Dice, report: &mut Report) {
        self.recruit(dice);
        thread::sleep(dice.pause(Duration::from_millis(20)));
        let unlucky = dice.below(self.victims.len() as u64) as usize;
        let Victim { role, process, record } = self.victims.swap_remove(unlucky);
        died(role, &process.kill());
        self.killed.push(role);
        let last = Record::read(&record).last_word().to_owned();
        *report.last_words.entry(last).or_default() += 1;
        // In the other cases the next one dies before any process has noticed.
        if dice.once_in(2) {
            self.flows_on();
        }
    }

    /// Ends the round, with the producer's death or in peace, and adds it to the report.
    fn finish(mut self, with_the_producer: bool, report: &mut Report) {
        if with_the_producer {
            died(Post::Producer, &self.producer.kill());
            self.killed.push(Post::Producer);
        } else {
            self.producer.hang_up();
            succeeded(&self.producer.finish());
        }
        // Only the test can tell them that nothing will be sent any more; Day 6 changes that. The
        // member that came first leaves last, so there is one group all the time.
        let others = self.victims.into_iter().map(|victim| victim.process);
        for mut other in others.chain([self.broadcast, self.member]) {
            other.hang_up();
            succeeded(&other.finish());
        }
        let sent = self.published.lag();
        if with_the_producer {
            Segment::remove(&self.name).unwrap();
        }
        assert!(!self.name.exists());

        let records = self.records.read();
        let shared = self.killed.iter().filter(|role| role.shares()).count();
        report.taken_along += settle(sent, &records, shared);
        report.rounds += 1;
        report.messages += sent;
        for role in self.killed {
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

/// Compares what all processes wrote down with what was sent. Returns how many messages the dead
/// took with them.
fn settle(sent: u64, records: &[Record], shared: usize) -> u64 {
    let ends: Vec<u64> = records.iter().flat_map(Record::ends).collect();
    assert!(!ends.is_empty(), "the resident has seen no end");
    assert!(ends.iter().all(|&end| end == sent), "{sent} sent, the residents have seen {ends:?}");
    let mut runs: Vec<Range<u64>> = records.iter().flat_map(Record::runs).collect();
    runs.sort_by_key(|run| run.start);
    let mut missing = Vec::new();
    let mut next = 0;
    for run in runs {
        assert!(run.start >= next, "{} went to two members: {run:?} and before {next}", run.start);
        missing.push(next..run.start);
        next = run.end;
    }
    assert!(next <= sent, "{next} of {sent} messages were received");
    missing.push(next..sent);
    missing.retain(|gap| !gap.is_empty());
    let lost = missing.iter().map(|gap| gap.end - gap.start).sum();
    let most = BATCH * shared as u64;
    assert!(lost <= most, "{shared} dead had at most {most} in hand, {lost} miss: {missing:?}");
    assert!(missing.len() <= shared, "{shared} dead took along {missing:?}");
    lost
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
        match Segment::remove(&name) {
            Ok(()) => finished += 1,
            Err(RemoveError::Open(day2::OpenError::NotFound { .. })) => assert!(!name.exists()),
            // It could still become a queue if its creator were alive. The message says how to free
            // the name.
            Err(error @ RemoveError::Open(day2::OpenError::NotReady { .. })) => {
                assert!(error.to_string().contains(&format!("rm /dev/shm{}", *name)), "{error}");
                std::fs::remove_file(name.path()).unwrap();
                unfinished += 1;
            }
            Err(error) => panic!("{error}"),
        }
        let mut heir = Producer::<Message>::create(&*name, CAPACITY).unwrap();
        heir.send(message(0)).unwrap();
    }
    println!("20 killed: {finished} left a ring, {unfinished} a part of one");
}
