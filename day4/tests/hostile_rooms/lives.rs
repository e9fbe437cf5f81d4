//! Guests that die, are stopped, or want to be taken for somebody who lives.

use std::fs::File;
use std::io::{Read, stdin};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::sync::Ordering;
use day3::rooms::EvictionReason;
use day3::{JoinOptions, Policy, QueueOptions, Start};
use day4::rendezvous::{ConnectError, RendezvousError, serve};
use day4::{Evictable, Reader, RecvError, RecvTimeoutError, Writer};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, fork};
use testing::{DEADLINE, Dice, Program, eventually};

use crate::guest::{
    CURSOR, House, Words, knock, message, move_in, move_in_for, number, path, task,
};

const ENTRY: &str = "lives::a_process_of_another_test";

/// How long a guest may hold the writer back where there is a limit.
const LIMIT: Duration = Duration::from_millis(30);

#[test]
#[ignore = "other tests start it as a process of its own"]
fn a_process_of_another_test() {
    match task().as_str() {
        "host" => host(),
        "stay" => stay(),
        "stay evictable" => stay_evictable(),
        "fork" => fork_and_stay(),
        "pass the page on" => pass_the_page_on(),
        "read" => read(),
        _ => println!("no task: nothing to do"),
    }
}

/// The writer's process: sends three messages, and stays until its input ends.
fn host() {
    let mut writer = Writer::private(&QueueOptions::new(4096)).unwrap();
    let _serving = serve(path(), writer.offer()).unwrap();
    for number in 0..3 {
        writer.send(&message(number)).unwrap();
    }
    println!("serving");
    until_hung_up();
}

fn until_hung_up() {
    let _ = stdin().read(&mut [0]);
}

/// Joins, and reads nothing.
fn stay() {
    let _reader = Reader::connect(path(), Start::Oldest).unwrap();
    println!("joined");
    until_hung_up();
}

fn stay_evictable() {
    let options = JoinOptions::new().policy(Policy::EvictAfter(LIMIT));
    let mut guest = Evictable::connect(path(), Start::Oldest, &options).unwrap();
    println!("joined");
    let mut bytes = Vec::new();
    let end = loop {
        if let Err(end) = guest.recv_timeout(&mut bytes, DEADLINE) {
            break end;
        }
    };
    println!("end {end:?}");
}

/// A child of its own outlives it.
fn fork_and_stay() {
    let _reader = Reader::connect(path(), Start::Oldest).unwrap();
    // SAFETY: the child only makes system calls, and ends.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            // SAFETY: one byte of our own stack.
            let _ = unsafe { libc::read(0, [0u8; 1].as_mut_ptr().cast(), 1) };
            // SAFETY: it does nothing but end the process.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { .. } => {
            println!("joined");
            thread::sleep(DEADLINE);
        }
    }
}

/// Another process inherits the open file of its page.
fn pass_the_page_on() {
    let given = move_in_for(&path(), Some(LIMIT));
    fcntl(&given.page, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let mut heir = Command::new("cat").stdout(Stdio::null()).spawn().unwrap();
    println!("joined");
    let _ = heir.wait();
}

/// Reads everything.
fn read() {
    let mut reader = Reader::connect(path(), Start::Latest).unwrap();
    println!("joined");
    let mut last: Option<u64> = None;
    let end = loop {
        match reader.recv_timeout(DEADLINE) {
            Ok(record) => {
                let number = number(&record);
                assert!(last.is_none_or(|last| number == last + 1), "{last:?}, {number}");
                last = Some(number);
            }
            Err(end) => break end,
        }
    };
    assert_eq!(end, RecvTimeoutError::End(RecvError::Closed));
    println!("last {}", last.unwrap());
}

fn start(house: &House, task: &str) -> Program {
    let mut program = Program::start(&mut house.process(ENTRY, task));
    program.line("joined");
    program
}

/// Sends until the ring is full and emptied again; fails if the writer hangs.
fn goes_on(writer: &mut Writer) {
    for number in 0..200 {
        writer.send_timeout(&message(number), DEADLINE).unwrap();
    }
}

/// Locks bytes of a file for this open file: so many from the first on, and with 0 all from there on.
fn lock(file: &impl AsFd, kind: i32, (start, len): (i64, i64), waits: bool) -> nix::Result<i32> {
    let lock = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start,
        l_len: len,
        l_pid: 0,
    };
    let lock = if waits { FcntlArg::F_OFD_SETLKW(&lock) } else { FcntlArg::F_OFD_SETLK(&lock) };
    fcntl(file, lock)
}

/// A guest that reads along with a writer in a process of its own. Kills the writer when `attack` has been made
/// with what another guest has.
fn a_reader_learns_of_its_death(attack: impl FnOnce(&File)) {
    // Only its place is needed.
    let house = House::new(&QueueOptions::new(4096));
    let elsewhere = house.path.with_extension("elsewhere");
    let mut command = house.process(ENTRY, "host");
    command.env("FANOUT_TEST_PATH", &elsewhere);
    let mut host = Program::start(&mut command);
    host.line("serving");
    let mut reader = Reader::connect(&elsewhere, Start::Oldest).unwrap();
    let given = move_in(&elsewhere);
    attack(&File::from(given.ring));
    for expected in 0..3 {
        assert_eq!(number(&reader.recv_timeout(DEADLINE).unwrap()), expected);
    }
    let living = reader.recv_timeout(Duration::from_millis(100)).map(drop);
    assert!(matches!(living, Err(RecvTimeoutError::TimedOut(_))), "{living:?}");
    host.signal(Signal::SIGKILL);
    let killed = Instant::now();
    let dead = reader.recv_timeout(Duration::from_secs(10)).map(drop);
    println!("told after {:?}", killed.elapsed());
    assert_eq!(dead, Err(RecvTimeoutError::End(RecvError::ProducerDied)));
}

#[test]
fn no_read_lock_of_a_guest_hides_whether_the_writer_lives() {
    a_reader_learns_of_its_death(|ring| {
        let ring = ring.try_clone().unwrap();
        // All but the byte that the writer has locked: that it gets when the writer has died.
        for (start, len) in [(0, 2), (3, 0)] {
            lock(&ring, libc::F_RDLCK, (start, len), false).unwrap();
        }
        thread::spawn(move || {
            lock(&ring, libc::F_RDLCK, (0, 0), true).unwrap();
            thread::sleep(DEADLINE);
        });
        thread::sleep(Duration::from_millis(50));
    });
}

/// A process of the writer's own user can open the ring anew, and lock it in the place of the writer, once that is dead.
#[test]
fn no_write_lock_of_a_guest_hides_that_the_writer_has_died() {
    a_reader_learns_of_its_death(|ring| {
        let path = format!("/proc/self/fd/{}", ring.as_raw_fd());
        let Ok(again) = File::options().read(true).write(true).open(path) else { return };
        thread::spawn(move || {
            // It waits for the writer's death.
            lock(&again, libc::F_WRLCK, (0, 0), true).unwrap();
            thread::sleep(DEADLINE);
        });
        thread::sleep(Duration::from_millis(50));
    });
}

#[test]
fn a_guest_that_is_killed_holds_nobody_back_and_is_told_of() {
    for task in ["stay", "fork"] {
        let mut house = House::new(&QueueOptions::new(4096));
        let guest = start(&house, task);
        while house.writer.try_send(&message(0)).is_ok() {}
        guest.signal(Signal::SIGKILL);
        goes_on(&mut house.writer);
        let deaths = house.writer.take_deaths();
        assert_eq!(deaths.len(), 1, "{task}: {deaths:?}");
        assert_eq!(deaths[0].consumer.owner, guest.id(), "{task}");
    }
}

#[test]
fn a_guest_that_is_stopped_or_has_an_heir_is_evicted_where_there_is_a_limit() {
    for task in ["stay evictable", "pass the page on"] {
        let mut house = House::new(&QueueOptions::new(4096).lag_limit(LIMIT));
        let guest = start(&house, task);
        let is_stopped = task == "stay evictable";
        guest.signal(if is_stopped { Signal::SIGSTOP } else { Signal::SIGKILL });
        // It may take a moment until it has stopped.
        let mut evictions = Vec::new();
        eventually("it is evicted", || {
            goes_on(&mut house.writer);
            evictions.extend(house.writer.take_evictions());
            !evictions.is_empty()
        });
        assert_eq!(evictions.len(), 1, "{task}: {evictions:?}");
        assert_eq!(evictions[0].reason, EvictionReason::Lagged { after: LIMIT }, "{task}");
        assert_eq!(house.writer.consumers(), [], "{task}");
        if is_stopped {
            let mut guest = guest;
            guest.signal(Signal::SIGCONT);
            assert_eq!(
                guest.line("end "),
                format!("end {:?}", RecvTimeoutError::End(RecvError::Evicted))
            );
        }
    }
}

/// A byte at a time, a guest holds the writer back for as long as the limit with each byte of the next message.
#[test]
fn a_guest_that_trickles_holds_the_writer_back_for_no_longer_than_the_limit() {
    let mut house = House::new(&QueueOptions::new(4096).lag_limit(LIMIT));
    let given = move_in_for(&house.path, Some(LIMIT));
    let cursor = Words::of(&given.page).at(given.slot as usize, CURSOR);
    while house.writer.try_send(&[0; 1000]).is_ok() {}
    let sent = thread::scope(|scope| {
        let sending = scope.spawn(|| house.writer.send_timeout(&[0; 1000], 100 * LIMIT));
        while !sending.is_finished() {
            thread::sleep(LIMIT / 3);
            cursor.fetch_add(1, Ordering::Relaxed);
        }
        sending.join().unwrap()
    });
    assert!(sent.is_ok(), "{sent:?}");
}

#[test]
fn twenty_guests_read_on_while_twenty_others_are_killed() {
    let mut dice = Dice::seeded();
    let mut house = House::new(&QueueOptions::new(4096));
    let readers: Vec<_> = (0..20).map(|_| start(&house, "read")).collect();
    let mut victims: Vec<_> = (0..20).map(|_| start(&house, "read")).collect();
    let mut sent = 0;
    let mut longest = Duration::ZERO;
    while !victims.is_empty() {
        let victim = victims.swap_remove(dice.below(victims.len() as u64) as usize);
        for _ in 0..dice.below(40) {
            let begun = Instant::now();
            house.writer.send_timeout(&message(sent), DEADLINE).unwrap();
            longest = longest.max(begun.elapsed());
            sent += 1;
        }
        victim.signal(Signal::SIGKILL);
    }
    for _ in 0..200 {
        house.writer.send_timeout(&message(sent), DEADLINE).unwrap();
        sent += 1;
    }
    println!("{sent} messages, longest wait {longest:?}");
    house.writer.close();
    for reader in readers {
        let last = reader.finish().well().pop().unwrap();
        // The harness's own line follows ours.
        let _ = last;
    }
    let deaths = house.writer.take_deaths();
    assert!(deaths.len() <= 20, "{deaths:?}");
}

#[test]
fn clients_that_go_or_listen_to_nothing_keep_no_slot() {
    let mut house = House::new(&QueueOptions::new(4096).consumers(3));
    for _ in 0..200 {
        drop(knock(&house.path, None));
    }
    let mut reader = join_soon(&house);
    let mut deaf = Vec::new();
    eventually("all slots are taken", || {
        deaf.push(knock(&house.path, None));
        matches!(
            Reader::connect(&house.path, Start::Latest).map(drop),
            Err(ConnectError::Rendezvous(RendezvousError::Full { most: 3, .. }))
        )
    });
    drop(deaf);
    drop(join_soon(&house));
    for expected in 0..200 {
        house.writer.send_timeout(&message(expected), DEADLINE).unwrap();
        assert_eq!(number(&reader.recv_timeout(DEADLINE).unwrap()), expected);
    }
}

/// Joins as soon as the kernel has let go of those that are gone.
fn join_soon(house: &House) -> Reader {
    let mut joined = None;
    eventually("there is room", || {
        joined = Reader::connect(&house.path, Start::Latest).ok();
        joined.is_some()
    });
    joined.unwrap()
}
