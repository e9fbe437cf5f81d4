//! What happens to a consumer of records that stops or dies: what it holds, and what the producer does.
#![cfg(not(loom))]

use std::env;
use std::io::stdin;
use std::thread::sleep;

use common::QueueName;
use day3::Start;
use day4::{Member, Writer, record_len};
use testing::{DEADLINE, Program, Unique, another};

/// How long each message is.
const MESSAGE: usize = 100;

/// Starts this very program as another process, which plays this part with this ring.
fn start(part: &str, ring: &QueueName) -> Program {
    let mut command = another("a_part");
    Program::start(command.env("FANOUT_PART", part).env("FANOUT_RING", ring.as_str()))
}

/// Run as a process of its own.
#[test]
#[ignore = "a part of the other tests"]
fn a_part() {
    let Ok(part) = env::var("FANOUT_PART") else { return };
    let ring: QueueName = env::var("FANOUT_RING").unwrap().parse().unwrap();
    match part.as_str() {
        "holder" => hold(&ring),
        unknown => panic!("there is no part {unknown}"),
    }
}

/// A member that takes four messages, releases the first of them, and keeps the others until it is killed.
fn hold(ring: &QueueName) {
    let mut member = Member::join(ring, "workers", Start::Oldest).unwrap();
    let mut batch = member.recv_batch(4 * record_len(MESSAGE)).unwrap();
    batch.release_first(1);
    println!("\nholds {}", batch.len());
    let _ = stdin().read_line(&mut String::new());
    sleep(DEADLINE);
}

#[test]
fn what_a_dead_member_held_is_marked_as_redelivered() {
    let name = Unique::new("redelivered");
    let mut writer = Writer::create(&*name, 4096).unwrap();
    for number in 0..6 {
        writer.send(&[number; MESSAGE]).unwrap();
    }
    let mut holder = start("holder", &name);
    assert_eq!(holder.line("holds"), "holds 3");
    let mut heir = Member::join(&*name, "workers", Start::Oldest).unwrap();
    let next = |heir: &mut Member| heir.recv().map(|record| (record[0], record.redelivered()));
    assert_eq!(next(&mut heir), Ok((4, false)));
    holder.kill();

    // The next message is there: it comes first, as long as nobody has noticed the death.
    assert_eq!(next(&mut heir), Ok((5, false)));
    assert!(!heir.redelivered());
    assert_eq!(next(&mut heir), Ok((1, true)));
    assert!(heir.redelivered());
    let mut batch = heir.recv_batch(usize::MAX).unwrap();
    assert!(batch.redelivered());
    batch.release_first(2);
    assert!(batch.is_empty() && batch.redelivered());
    assert_eq!(batch.finish(), Ok(()));
    writer.send(&[6; MESSAGE]).unwrap();
    assert_eq!(next(&mut heir), Ok((6, false)));
    assert!(!heir.redelivered());
}
