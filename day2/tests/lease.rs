//! Who is alive: roles that the kernel gives back when their process dies, and what happens to a
//! queue whose producer is dead.

mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use common::QueueName;
use day2::segment::READY_TIMEOUT;
use day2::{
    CreateError, Lease, LeaseError, LogReader, LogWriter, Mode, OpenError, RemoveError, Role,
    Segment, SucceedError,
};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use support::{WAYS, create, die, geometry, helped, helper, let_die, open, say, until_hung_up};
use testing::{Unique, eventually, promptly};

/// More than the first part of the table of descriptors has room for.
const MANY: u32 = 200;

fn observe(name: &QueueName) -> Segment {
    Segment::open(name, Mode::Observer, Duration::ZERO).unwrap()
}

/// A queue whose producer died without a chance to do anything about it.
fn dead(name: &Unique) {
    let segment = create(name).unwrap();
    let bytes = fs::read(name.path()).unwrap();
    drop(segment);
    name.write(&bytes);
}

fn slots(segment: &Segment, slots: u32) -> Vec<Lease> {
    (0..slots).map(|slot| segment.lease(Role::Slot(slot)).unwrap()).collect()
}

fn is_free(segment: &Segment, slots: u32) -> bool {
    (0..slots).all(|slot| !segment.is_leased(Role::Slot(slot)))
}

#[test]
fn a_role_has_one_holder() {
    let name = Unique::new("role");
    let producer = create(&name).unwrap();
    let (one, other) = (open(&name), open(&name));
    for slot in [0, 1, 63, 64, 1023, u32::MAX] {
        let role = Role::Slot(slot);
        assert!(!one.is_leased(role));
        let lease = one.lease(role).unwrap();
        assert_eq!((lease.role(), lease.is_here()), (role, true));
        for segment in [&producer, &one, &other, &observe(&name)] {
            assert!(segment.is_leased(role), "{role}");
        }
        for segment in [&producer, &one, &other] {
            let busy = LeaseError::Busy { name: QueueName::clone(&name), role };
            assert_eq!(segment.lease(role).unwrap_err(), busy);
        }
        let next = one.lease(Role::Slot(slot ^ 1)).unwrap();
        drop(lease);
        assert!(!other.is_leased(role) && other.is_leased(next.role()), "its neighbour's stays");
    }
    assert!(matches!(one.lease(Role::Producer), Err(LeaseError::Busy { .. })));
    drop(producer);
    assert!(one.lease(Role::Producer).is_ok());
}

#[test]
fn a_lease_outlives_the_segment_that_it_was_taken_from() {
    let name = Unique::new("outlives");
    let producer = create(&name).unwrap();
    let lease = open(&name).lease(Role::Slot(3)).unwrap();
    assert!(producer.is_leased(Role::Slot(3)));
    drop(lease);
    assert!(!producer.is_leased(Role::Slot(3)));
}

#[test]
fn a_creator_is_alive_before_it_is_done() {
    let name = Unique::new("filling");
    let segment = Segment::create(&name, geometry(), 0o600, |_| {
        let refused = Segment::remove_dead(&name).unwrap_err();
        assert!(matches!(refused, RemoveError::Held { has_producer: true, .. }), "{refused:?}");
    });
    assert!(segment.unwrap().has_producer(), "and it is told about itself");
    let segment = Segment::anonymous(&name, geometry(), 0o600, |_| ()).unwrap();
    assert!(segment.has_producer());
}

/// The process of another test that ends in this way, with the producer's role and two slots.
fn dies(how: &str) {
    let name = Unique::new(how);
    let mut process = helper("holds_roles", &name, how);
    process.line("it holds them");
    let segment = observe(&name);
    assert!(segment.has_producer() && segment.is_leased(Role::Slot(1)), "{how}");
    let_die(&mut process, how);
    eventually(how, || !segment.has_producer() && is_free(&segment, 2));
    let successor = Segment::succeed(&name, Duration::ZERO).unwrap();
    assert!(successor.lease(Role::Slot(1)).is_ok());
}

#[test]
fn a_role_is_free_however_its_process_dies() {
    for how in WAYS {
        dies(how);
    }
}

#[test]
#[ignore = "the process that a_role_is_free_however_its_process_dies starts"]
fn holds_roles() {
    let Some((name, how)) = helped() else { return };
    let segment = create(&name).unwrap();
    let slots = slots(&segment, 2);
    say("it holds them");
    until_hung_up();
    // A panic would remove the name otherwise, as any creator that ends in order does.
    let _leaked = core::mem::ManuallyDrop::new((segment, slots));
    die(&how);
}

/// A child that was forked goes on when its parent is killed, and holds nothing of its parent's.
#[test]
fn a_forked_child_does_not_keep_its_dead_parents_roles() {
    let name = Unique::new("orphan");
    let mut process = helper("forks_a_child_that_outlives_it", &name, "");
    process.line("the child runs");
    let segment = observe(&name);
    assert!(segment.has_producer() && segment.is_leased(Role::Slot(MANY - 1)));
    process.signal(Signal::SIGKILL);
    eventually("the roles are free", || !segment.has_producer() && is_free(&segment, MANY));
    process.hang_up();
    process.line("the child ends");
}

#[test]
#[ignore = "the process that a_forked_child_does_not_keep_its_dead_parents_roles starts"]
fn forks_a_child_that_outlives_it() {
    let Some((name, _)) = helped() else { return };
    let segment = create(&name).unwrap();
    let slots = slots(&segment, MANY);
    // SAFETY: no other thread of this process holds a lock that the child needs.
    if let ForkResult::Child = unsafe { fork() }.unwrap() {
        assert!(slots.iter().all(|lease| !lease.is_here()));
        say("the child runs");
        until_hung_up();
        say("the child ends");
        // SAFETY: it ends the child at once, without its parent's exit handlers.
        unsafe { libc::_exit(0) };
    }
    thread::sleep(2 * testing::DEADLINE);
}

/// In a child of a raw `clone(2)` no handler runs, so it has copies of its parent's open files. What its
/// parent gives back is free all the same, and what the child drops stays with the parent.
#[test]
fn a_cloned_child_keeps_nothing_that_its_parent_gave_back() {
    let name = Unique::new("clone");
    let process = helper("clones_a_child", &name, "");
    assert!(process.finish().status.success());
}

#[test]
#[ignore = "the process that a_cloned_child_keeps_nothing_that_its_parent_gave_back starts"]
fn clones_a_child() {
    let Some((name, _)) = helped() else { return };
    let segment = create(&name).unwrap();
    let (given, kept) = (segment.lease(Role::Slot(0)).unwrap(), segment.lease(Role::Slot(1)));
    let (told, tell) = std::io::pipe().unwrap();
    let (done, mut report) = (std::io::pipe().unwrap(), [0; 4]);
    let null = core::ptr::null::<u8>();
    // SAFETY: without a stack of its own and without shared memory, the child is as after a fork. No other
    // thread of this process holds a lock that it needs.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, null, null, null, 0) };
    if child == 0 {
        drop(tell);
        let is_here = given.is_here();
        drop(kept);
        (&done.1).write_all(if is_here { b"here" } else { b"gone" }).unwrap();
        // Until the parent has looked.
        let _ = (&told).read(&mut [0]);
        // SAFETY: it ends the child at once, without its parent's exit handlers.
        unsafe { libc::_exit(0) };
    }
    (&done.0).read_exact(&mut report).unwrap();
    assert_eq!(&report, b"gone", "the child knows that it is another process");
    assert!(segment.is_leased(Role::Slot(1)));
    drop(given);
    assert!(!segment.is_leased(Role::Slot(0)), "its copy keeps it");
    drop(tell);
    let child = nix::unistd::Pid::from_raw(i32::try_from(child).unwrap());
    assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
    assert!(segment.is_leased(Role::Slot(1)));
}

/// Dropping its copies must neither give back its parent's roles nor close descriptors whose numbers
/// have been given to other files.
#[test]
fn what_a_forked_child_drops_does_nothing() {
    let name = Unique::new("child");
    let process = helper("forks_a_child_that_drops_its_copies", &name, "");
    assert!(process.finish().status.success());
}

#[test]
#[ignore = "the process that what_a_forked_child_drops_does_nothing starts"]
fn forks_a_child_that_drops_its_copies() {
    let Some((name, _)) = helped() else { return };
    let segment = create(&name).unwrap();
    let slots = slots(&segment, MANY);
    // SAFETY: no other thread of this process holds a lock that the child needs.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let code = std::panic::catch_unwind(|| child_drops(&name, segment, slots));
            // SAFETY: it ends the child at once, without its parent's exit handlers.
            unsafe { libc::_exit(code.map_or(1, |()| 0)) };
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            let other = observe(&name);
            assert!(other.has_producer() && slots.iter().all(|l| other.is_leased(l.role())));
        }
    }
}

fn child_drops(name: &QueueName, segment: Segment, slots: Vec<Lease>) {
    // What is left is the segment's own descriptor.
    assert_eq!(descriptors_of(name), 1);
    let numbers: Vec<_> = (0..2 * MANY).map(|_| File::open("/dev/null").unwrap()).collect();
    drop((slots, segment));
    let null = fs::metadata("/dev/null").unwrap().rdev();
    for file in &numbers {
        let number = file.as_raw_fd();
        assert_eq!(file.metadata().unwrap().rdev(), null, "{number} means another file");
    }
    let other = open(name);
    assert!(other.has_producer() && !is_free(&other, MANY));
    // And a child may have roles of its own.
    let own = other.lease(Role::Slot(MANY)).unwrap();
    assert!(own.is_here() && observe(name).is_leased(own.role()));
    drop(own);
    assert!(!other.is_leased(Role::Slot(MANY)));
}

/// How many of this process's descriptors lead to the object of this name.
fn descriptors_of(name: &QueueName) -> usize {
    let path = Path::new("/dev/shm").join(name.bare());
    let open = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    open.filter(|fd| fs::read_link(fd).is_ok_and(|target| target == path)).count()
}

/// A thread forks while another one takes roles. A child that has a copy of a descriptor which was not in
/// the table yet would keep that role.
#[test]
fn a_fork_in_the_middle_keeps_no_role() {
    let name = Unique::new("middle");
    let mut process = helper("forks_while_it_takes_roles", &name, "");
    process.line("it holds them");
    let segment = observe(&name);
    process.signal(Signal::SIGKILL);
    eventually("the roles are free", || !segment.has_producer() && is_free(&segment, 4 * MANY));
    process.hang_up();
    process.line("a child ends");
}

#[test]
#[ignore = "the process that a_fork_in_the_middle_keeps_no_role starts"]
fn forks_while_it_takes_roles() {
    let Some((name, _)) = helped() else { return };
    let segment = create(&name).unwrap();
    let _first = segment.lease(Role::Slot(0)).unwrap();
    let _slots: Vec<_> = thread::scope(|scope| {
        let forking = scope.spawn(|| {
            for _ in 0..MANY / 2 {
                fork_a_child_that_waits();
            }
        });
        let mut roles = 1..4 * MANY;
        let mut slots = Vec::new();
        while !forking.is_finished() {
            // It is the last ones' turn again and again until the forking is over.
            let slot = roles.next().unwrap_or_else(|| {
                drop(slots.pop());
                4 * MANY - 1
            });
            slots.push(segment.lease(Role::Slot(slot)).unwrap());
        }
        slots
    });
    say("it holds them");
    thread::sleep(2 * testing::DEADLINE);
}

fn fork_a_child_that_waits() {
    // SAFETY: the child uses nothing that the other thread may have locked: only system calls.
    if let ForkResult::Child = unsafe { fork() }.unwrap() {
        let mut byte = 0_u8;
        // SAFETY: a byte that is ours. It waits for the end of the test.
        unsafe { libc::read(0, (&raw mut byte).cast(), 1) };
        let line = b"\na child ends\n";
        // SAFETY: the length is the line's.
        unsafe { libc::write(1, line.as_ptr().cast(), line.len()) };
        // SAFETY: it ends the child at once, without its parent's exit handlers.
        unsafe { libc::_exit(0) };
    }
}

#[test]
fn a_dead_producers_queue_goes_on_with_its_successor() {
    let name = Unique::new("successor");
    let mut writer = LogWriter::<u64>::create(&name, 10).unwrap();
    writer.append(&7).unwrap();
    let living = Segment::succeed(&name, Duration::ZERO).unwrap_err();
    assert!(matches!(&living, SucceedError::Living { name: found } if *found == *name), "{living}");
    let bytes = fs::read(name.path()).unwrap();
    drop(writer);
    let gone = Segment::succeed(&name, Duration::ZERO).unwrap_err();
    assert!(matches!(gone, SucceedError::Open(OpenError::NotFound { .. })), "{gone}");

    name.write(&bytes);
    let inode = name.metadata().ino();
    let reader = LogReader::<u64>::open(&name, 10).unwrap();
    assert!(!observe(&name).has_producer());
    let successor = Segment::succeed(&name, Duration::ZERO).unwrap();
    assert_eq!(successor.mode(), Mode::Writer);
    assert!(observe(&name).has_producer());
    assert!(matches!(Segment::succeed(&name, Duration::ZERO), Err(SucceedError::Living { .. })));
    assert_eq!((reader.get(0), name.metadata().ino()), (Some(7), inode), "it is the same queue");
    drop(successor);
    assert!(!name.exists(), "the name is the successor's");
}

#[test]
fn the_name_of_a_dead_queue_is_removed_and_of_no_other() {
    let name = Unique::new("dead");
    let none = Segment::remove_dead(&name).unwrap_err();
    assert!(matches!(none, RemoveError::Open(OpenError::NotFound { .. })), "{none}");

    dead(&name);
    let consumer = open(&name);
    let _slot = consumer.lease(Role::Slot(0)).unwrap();
    Segment::remove_dead(&name).unwrap();
    assert!(!name.exists(), "whether or not a consumer is attached");

    let _living = create(&name).unwrap();
    let before = name.state();
    let held = Segment::remove_dead(&name).unwrap_err();
    assert!(matches!(held, RemoveError::Held { has_producer: true, .. }), "{held}");
    assert_eq!(name.state(), before);

    let other = Unique::new("other");
    other.write(b"somebody's notes");
    let refused = Segment::remove_dead(&other).unwrap_err();
    assert!(matches!(refused, RemoveError::Open(OpenError::Magic { .. })), "{refused}");
    assert!(other.exists());
}

/// As a creator marks its object until the header says whose it is.
fn mark_as_unfinished(name: &Unique) {
    fs::set_permissions(name.path(), fs::Permissions::from_mode(0o1600)).unwrap();
}

#[test]
fn an_empty_object_that_no_creator_has_marked_stays() {
    let name = Unique::new("empty");
    name.write(&[]);
    assert!(Segment::remove_dead(&name).is_err());
    assert!(name.exists());
}

#[test]
fn what_a_creator_leaves_half_done_is_removed() {
    let half: [&[u8]; 3] = [&[], &[0; 8192], b"FANOUT\0\0\0\0\0\0\0\0\0\0"];
    thread::scope(|scope| {
        for bytes in half {
            scope.spawn(move || {
                let name = Unique::new("half");
                name.write(bytes);
                mark_as_unfinished(&name);
                let started = Instant::now();
                Segment::remove_dead(&name).unwrap();
                assert!(started.elapsed() >= READY_TIMEOUT, "it might have been slow");
                assert!(!name.exists());
            });
        }
    });
}

/// While somebody waits for a creator that seems to be dead, the queue becomes ready and gets a
/// producer.
#[test]
fn of_a_remover_and_a_successor_one_wins() {
    let name = Unique::new("or");
    dead(&name);
    let bytes = fs::read(name.path()).unwrap();
    name.write(&[]);
    mark_as_unfinished(&name);
    let queue = QueueName::clone(&name);
    let remover = thread::spawn(move || Segment::remove_dead(&queue));
    // Mostly longer than the remover takes to begin.
    thread::sleep(Duration::from_millis(20));
    name.write(&bytes);
    let successor = Segment::succeed(&name, Duration::ZERO);
    match promptly("removing", move || remover.join().unwrap()) {
        Ok(()) => assert!(successor.is_err() && !name.exists()),
        Err(RemoveError::Held { .. }) => assert!(successor.is_ok() && name.exists()),
        Err(error) => panic!("{error}"),
    }
}

/// Each of several threads replaces a dead queue. One of them gets the name, and keeps it.
#[test]
fn of_many_replacers_one_wins_and_stays() {
    const REPLACERS: usize = 4;
    let name = Unique::new("replace");
    for _ in 0..100 {
        dead(&name);
        let barrier = Barrier::new(REPLACERS);
        let replace = || {
            barrier.wait();
            loop {
                match (create(&name), Segment::remove_dead(&name)) {
                    (Ok(created), _) => return Some(created),
                    (Err(CreateError::Taken { .. }), Err(RemoveError::Held { .. })) => {
                        return None;
                    }
                    (Err(CreateError::Taken { .. }), _) => {}
                    (Err(error), _) => panic!("{error}"),
                }
            }
        };
        let won: Vec<_> = thread::scope(|scope| {
            let replacers: Vec<_> = (0..REPLACERS).map(|_| scope.spawn(replace)).collect();
            replacers.into_iter().filter_map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(won.len(), 1, "two queues, and one name");
        assert_eq!(observe(&name).geometry(), won[0].geometry());
        assert!(observe(&name).has_producer(), "the name means another queue than the winner's");
    }
}

/// Threads take a name, and give it up in order, while others look for dead queues. No thread
/// removes the name of another's queue: neither before it has the role, nor after it has given the role back.
#[test]
fn a_name_that_is_given_up_is_the_next_ones() {
    let name = Unique::new("again");
    let take_and_leave = || {
        let mut taken = 0;
        while taken < 500 {
            match (create(&name), Segment::remove_dead(&name)) {
                (Ok(created), _) => {
                    thread::yield_now();
                    let inode = File::from(created.as_fd().try_clone_to_owned().unwrap());
                    let inode = inode.metadata().unwrap().ino();
                    assert_eq!(name.metadata().ino(), inode, "the name is another queue's");
                    taken += 1;
                }
                (Err(CreateError::Taken { .. }), _) => {}
                (Err(error), _) => panic!("{error}"),
            }
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(take_and_leave))));
    assert!(!name.exists());
}

/// A role of a queue that has a name needs no `/proc`.
#[test]
fn roles_without_proc() {
    let name = Unique::new("no-proc");
    let queue = QueueName::clone(&name);
    let done = promptly("hiding /proc", move || {
        if unshare(CloneFlags::CLONE_NEWNS).is_err() {
            return false;
        }
        let none = std::ptr::null();
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        // SAFETY: a constant string, and null where the call takes none.
        let private = unsafe { libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) };
        let kind = c"tmpfs".as_ptr();
        // SAFETY: constant strings, and null where the call takes none.
        let hidden = unsafe { libc::mount(kind, c"/proc".as_ptr(), kind, 0, none.cast()) };
        if (private, hidden) != (0, 0) {
            return false;
        }
        assert!(!Path::new("/proc/self/fd").exists());
        let segment = create(&queue).unwrap();
        let other = open(&queue);
        let slot = other.lease(Role::Slot(1)).unwrap();
        assert!(other.has_producer() && segment.is_leased(slot.role()));
        // Another object of that name is not taken for the first.
        Segment::remove(&queue).unwrap();
        let next = create(&queue).unwrap();
        let refused = other.lease(Role::Slot(2)).unwrap_err();
        assert!(matches!(refused, LeaseError::System { .. }), "{refused}");
        assert!(!next.is_leased(Role::Slot(2)));
        // What has no name has nothing but its descriptor.
        let refused = Segment::anonymous(&queue, geometry(), 0o600, |_| ()).unwrap_err();
        assert!(matches!(refused, CreateError::System { .. }), "{refused}");
        true
    });
    if !done {
        eprintln!("skipped: only root may hide /proc");
    }
}
