//! What safe programs do with rings whose consumers have private rooms.
#![forbid(unsafe_code)]

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use day3::sequencer::ConsumerCursor;
use day3::{JoinOptions, Memory, Policy, QueueOptions, Shared, Start};
use day4::{Evictable, Reader, Tap};
use nix::sys::signal::Signal;
use testing::{DEADLINE, Dice, Program};

use crate::guest::{House, message, number};

fn shared(house: &House) -> Shared {
    Shared::new(Arc::clone(house.writer.memory()) as Arc<dyn Memory>)
}

/// What the kernel has marked for a guest that died says nothing of a consumer of the host's own process that has
/// the guest's slot.
#[test]
fn a_consumer_of_the_hosts_own_process_is_not_taken_for_the_dead_guest_before_it() {
    let mut house = House::new(&QueueOptions::new(4096).consumers(1));
    let mut command = house.process("lives::a_process_of_another_test", "stay");
    let mut guest = Program::start(&mut command);
    guest.line("joined");
    guest.signal(Signal::SIGKILL);
    drop(guest.finish());
    let options = JoinOptions::new();
    let consumer: ConsumerCursor<Shared> = shared(&house).join(Start::Latest, &options).unwrap();
    while house.writer.try_send(&message(0)).is_ok() {}
    let sent = house.writer.send_timeout(&message(0), Duration::from_millis(50));
    assert!(sent.is_err(), "the consumer has read nothing, and lives");
    assert_eq!(house.writer.take_deaths(), []);
    drop(consumer);
}

#[test]
fn consumers_of_the_hosts_own_process_join_one_at_a_time() {
    for _ in 0..50 {
        let house = House::new(&QueueOptions::new(4096));
        let (shared, all_at_once) = (shared(&house), Barrier::new(6));
        let members: Vec<_> = thread::scope(|scope| {
            let join = |at: usize| {
                let (shared, all_at_once) = (&shared, &all_at_once);
                move || {
                    all_at_once.wait();
                    shared.join_group(&format!("g{at}"), Start::Latest, &JoinOptions::new())
                }
            };
            let threads: Vec<_> = (0..6).map(|at| scope.spawn(join(at))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        let mut names: Vec<_> = house.writer.groups().into_iter().map(|group| group.name).collect();
        names.sort();
        assert_eq!(names, ["g0", "g1", "g2", "g3", "g4", "g5"]);
        drop(members);
    }
}

/// Whatever is dropped first.
#[test]
fn the_parts_of_a_private_ring_go_in_any_order() {
    let mut dice = Dice::seeded();
    for _ in 0..30 {
        let mut house = House::new(&QueueOptions::new(4096));
        let reader = Reader::connect(&house.path, Start::Oldest).unwrap();
        let options = JoinOptions::new().policy(Policy::EvictAfter(DEADLINE));
        let evictable = Evictable::connect(&house.path, Start::Oldest, &options).unwrap();
        let lossy = Tap::connect_lossy(&house.path, Start::Oldest, &JoinOptions::new()).unwrap();
        let tap = Tap::connect(&house.path, Start::Oldest).unwrap();
        let offer = house.writer.offer();
        house.writer.send(&message(0)).unwrap();
        let mut parts: Vec<Box<dyn Send>> = vec![
            Box::new(reader),
            Box::new(evictable),
            Box::new(lossy),
            Box::new(tap),
            Box::new(offer),
            Box::new(shared(&house)),
            Box::new(house.serving.take()),
            Box::new(house),
        ];
        while !parts.is_empty() {
            let part = parts.swap_remove(dice.below(parts.len() as u64) as usize);
            thread::spawn(|| drop(part)).join().unwrap();
        }
    }
}

/// Six threads of the host's own process join by the socket and by its memory, read a little, and leave.
#[test]
fn six_threads_come_and_go() {
    let mut house = House::new(&QueueOptions::new(4096).consumers(5));
    let (path, shared) = (house.path.clone(), shared(&house));
    let done = Barrier::new(6);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|at| {
                let (path, shared, done) = (&path, &shared, &done);
                scope.spawn(move || {
                    for turn in 0..60 {
                        // All slots may be taken.
                        if (at + turn) % 3 == 0 {
                            let _ = shared
                                .join(Start::Latest, &JoinOptions::new())
                                .map(|cursor| cursor.next());
                        } else if let Ok(mut reader) = Reader::connect(path, Start::Oldest) {
                            let mut last: Option<u64> = None;
                            for _ in 0..20 {
                                let record = reader.recv_timeout(DEADLINE).unwrap();
                                let number = number(&record);
                                assert!(last.is_none_or(|last| number == last + 1));
                                last = Some(number);
                            }
                        }
                    }
                    done.wait();
                })
            })
            .collect();
        let mut sent = 0;
        while threads.iter().any(|thread| !thread.is_finished()) {
            house.writer.send_timeout(&message(sent), DEADLINE).unwrap();
            sent += 1;
        }
    });
    assert_eq!((house.writer.consumers(), house.writer.take_deaths()), (vec![], vec![]));
}
