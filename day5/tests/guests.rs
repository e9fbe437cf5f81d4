//! Guests and hosts of private rings, waiting in every way that there is, in safe programs.
#![cfg(not(loom))]
#![forbid(unsafe_code)]

use std::env;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::sync::Ordering;
use day3::doorbell::Doorbell;
use day3::wait::Side;
use day3::{JoinOptions, Policy, QueueOptions, Start, TryRecvError, TrySendError, Wait};
use day4::rendezvous::serve;
use day4::{RecvError, RecvTimeoutError};
use day5::pollable::Pollable;
use day5::{AnyStrategy, Sleep, Strategy};
use nix::sys::signal::Signal;
use testing::{DEADLINE, Dice, Folder, Process, Program, another, eventually, until_ready};

type Writer<W> = day4::writer::Writer<W>;
type Reader<W> = day4::reader::Reader<W>;
type Evictable<W> = day4::evictable::Evictable<W>;
type Tap<W> = day4::tap::Tap<W>;

const PATH: &str = "FANOUT_TEST_PATH";
const MESSAGES: u64 = 2000;

fn bytes(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

/// Messages of one number each, checked to come in order.
fn read_all<W: Wait>(mut reader: Reader<W>, messages: u64) {
    for number in 0..messages {
        assert_eq!(&*reader.recv_timeout(DEADLINE).unwrap(), &bytes(number));
    }
}

#[test]
fn every_way_to_wait_wakes_every_other() {
    let folder = Folder::new();
    for (at, sends) in Strategy::ALL.into_iter().enumerate() {
        let path = folder.join(&format!("ring{at}"));
        let writer = Writer::<AnyStrategy>::private(&QueueOptions::new(4096)).unwrap();
        let mut writer = writer.waiting(sends.start());
        let _serving = serve(&path, writer.offer()).unwrap();
        let readers = Strategy::ALL.map(|waits| {
            Reader::<AnyStrategy>::connect(&path, Start::Oldest).unwrap().waiting(waits.start())
        });
        let options = JoinOptions::new().policy(Policy::EvictAfter(DEADLINE));
        let mut evictable = Evictable::<Sleep>::connect(&path, Start::Oldest, &options).unwrap();
        let mut lossy =
            Tap::<Sleep>::connect_lossy(&path, Start::Oldest, &JoinOptions::new()).unwrap();
        thread::scope(|scope| {
            for reader in readers {
                scope.spawn(|| read_all(reader, MESSAGES));
            }
            scope.spawn(move || {
                let mut into = Vec::new();
                for number in 0..MESSAGES {
                    evictable.recv_timeout(&mut into, DEADLINE).unwrap();
                    assert_eq!(into, bytes(number));
                }
            });
            scope.spawn(move || {
                let mut into = Vec::new();
                while lossy.received() + lossy.lost() < MESSAGES {
                    lossy.recv_timeout(&mut into, DEADLINE).unwrap();
                }
            });
            for number in 0..MESSAGES {
                writer.send_timeout(&bytes(number), DEADLINE).unwrap();
            }
        });
    }
}

/// Writes to all words that it can reach, and then waits as another does.
#[derive(Debug)]
struct Vandal(Dice, Sleep);

impl Default for Vandal {
    fn default() -> Self {
        Self(Dice::new(7), Sleep::default())
    }
}

impl Wait for Vandal {
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        for word in [doorbell.consumers, doorbell.producer] {
            word.store(self.0.word() as u32, Ordering::Relaxed);
        }
        for word in doorbell.rooms.into_iter().flat_map(|rooms| rooms.producer_words()) {
            word.store(self.0.word() as u32, Ordering::Relaxed);
        }
        self.1.until(side, doorbell, deadline, poll)
    }
}

/// A wake-up that it makes others miss costs them a slice at most.
#[test]
fn a_strategy_that_spoils_its_doorbell_harms_nobody_for_long() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let mut writer = Writer::<Vandal>::private(&QueueOptions::new(4096)).unwrap();
    let _serving = serve(&path, writer.offer()).unwrap();
    let vandal = Reader::<Vandal>::connect(&path, Start::Oldest).unwrap();
    let reader = Reader::<Sleep>::connect(&path, Start::Oldest).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| read_all(vandal, 500));
        scope.spawn(|| read_all(reader, 500));
        for number in 0..500 {
            writer.send_timeout(&bytes(number), DEADLINE).unwrap();
        }
    });
}

#[test]
fn a_guest_can_have_a_descriptor() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let mut writer = Writer::<Sleep>::private(&QueueOptions::new(4096)).unwrap();
    let _serving = serve(&path, writer.offer()).unwrap();
    let reader = Reader::<Sleep>::connect(&path, Start::Oldest).unwrap();
    let mut reader = Pollable::bridged(reader).unwrap();
    let receiving = thread::spawn(move || {
        let mut next = 0;
        while next < MESSAGES {
            let received = reader.try_recv().map(|record| assert_eq!(&*record, &bytes(next)));
            match received {
                Ok(()) => next += 1,
                Err(TryRecvError::Empty) => until_ready(&reader),
                Err(error) => panic!("{error}"),
            }
        }
    });
    for number in 0..MESSAGES {
        writer.send_timeout(&bytes(number), DEADLINE).unwrap();
    }
    receiving.join().unwrap();
}

/// Each time the ring is full, its writer waits for the descriptor; then a guest releases everything.
#[test]
fn a_host_can_have_a_descriptor() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let writer = Writer::<Sleep>::private(&QueueOptions::new(4096)).unwrap();
    let _serving = serve(&path, writer.offer()).unwrap();
    let mut reader = Reader::<Sleep>::connect(&path, Start::Oldest).unwrap();
    let mut writer = Pollable::bridged(writer).unwrap();
    let mut times = Vec::new();
    for _ in 0..10 {
        while writer.try_send(&[0; 1000]) != Err(TrySendError::Full) {}
        let begun = Instant::now();
        while let Ok(record) = reader.try_recv() {
            drop(record);
        }
        until_ready(&writer);
        times.push(begun.elapsed());
        assert!(writer.try_send(&[0; 1000]).is_ok());
    }
    times.sort();
    println!("from a guest's release to the host's descriptor: {:?} (median)", times[5]);
}

#[test]
#[ignore = "other tests start it as a process of its own"]
fn a_host_of_another_test() {
    println!();
    let path = PathBuf::from(env::var_os(PATH).unwrap());
    let mut writer = Writer::<Sleep>::private(&QueueOptions::new(4096)).unwrap();
    let _serving = serve(&path, writer.offer()).unwrap();
    writer.send(&bytes(0)).unwrap();
    println!("serving");
    let _ = stdin().read(&mut [0]);
}

fn host(path: &Path) -> Program {
    let mut command: Command = another("a_host_of_another_test");
    let mut host = Program::start(command.env(PATH, path));
    host.line("serving");
    host
}

#[test]
fn guests_that_sleep_learn_that_their_host_has_died() {
    let folder = Folder::new();
    let mut slowest = Vec::new();
    for turn in 0..9 {
        let path = folder.join(&format!("ring{turn}"));
        let host = host(&path);
        let readers: Vec<_> =
            (0..8).map(|_| Reader::<Sleep>::connect(&path, Start::Oldest).unwrap()).collect();
        let times: Vec<_> = thread::scope(|scope| {
            let wait = |mut reader: Reader<Sleep>| {
                scope.spawn(move || {
                    assert_eq!(&*reader.recv_timeout(DEADLINE).unwrap(), &bytes(0));
                    let end = reader.recv_timeout(DEADLINE).map(drop);
                    let now = Instant::now();
                    assert_eq!(end, Err(RecvTimeoutError::End(RecvError::ProducerDied)));
                    now
                })
            };
            let waiting: Vec<_> = readers.into_iter().map(wait).collect();
            thread::sleep(Duration::from_millis(30));
            host.signal(Signal::SIGKILL);
            let killed = Instant::now();
            let told = waiting.into_iter().map(|thread| thread.join().unwrap());
            told.map(|told| told.saturating_duration_since(killed)).collect()
        });
        slowest.push(times.into_iter().max().unwrap());
    }
    slowest.sort();
    println!(
        "from kill -9 to the last of 8 sleeping guests: {:?} (median), {:?}",
        slowest[4], slowest[8]
    );
}

/// Clients that only come and go keep the host's desk busy.
#[test]
fn a_crowd_at_the_door_does_not_stop_the_writer_or_cost_a_guest_its_slot() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let mut writer = Writer::<Sleep>::private(&QueueOptions::new(4096)).unwrap();
    let serving = serve(&path, writer.offer()).unwrap();
    let options = JoinOptions::new().policy(Policy::EvictAfter(Duration::from_millis(200)));
    let mut guest = Evictable::<Sleep>::connect(&path, Start::Oldest, &options).unwrap();
    let mut crowd: Vec<_> = (0..3)
        .map(|_| Process::start(another("a_client_of_another_test").env(PATH, &path)))
        .collect();
    eventually("the crowd has come", || serving.admitted() > 100);
    let reading = thread::spawn(move || {
        let (mut into, mut next) = (Vec::new(), 0);
        while guest.recv_timeout(&mut into, DEADLINE).is_ok() {
            assert_eq!(into, bytes(next));
            next += 1;
        }
        next
    });
    let (begun, mut times) = (Instant::now(), Vec::new());
    while begun.elapsed() < Duration::from_secs(1) {
        let sending = Instant::now();
        writer.send_timeout(&bytes(times.len() as u64), DEADLINE).unwrap();
        times.push(sending.elapsed());
    }
    writer.close();
    assert_eq!(reading.join().unwrap(), times.len() as u64);
    let joined = serving.admitted();
    times.sort();
    let (count, slowest) = (times.len(), times.last().unwrap());
    println!(
        "{count} messages beside {joined} joins; p99.9 {:?}, {slowest:?}",
        times[count * 999 / 1000]
    );
    assert_eq!(writer.take_evictions(), []);
    for client in &mut crowd {
        client.kill();
    }
}

#[test]
#[ignore = "other tests start it as a process of its own"]
fn a_client_of_another_test() {
    let path = PathBuf::from(env::var_os(PATH).unwrap());
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        drop(Reader::<Sleep>::connect(&path, Start::Latest));
    }
}
