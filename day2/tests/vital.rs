//! The word that says that its owner is dying.

mod support;

use std::fs;
use std::ptr::NonNull;
use std::thread;
use std::time::{Duration, Instant};

use day2::vital::MOST;
use day2::{Role, Segment, Vital, Watch, watch};
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use support::{WAYS, WORDS, create, die, helped, helper, let_die, open, say, until_hung_up};
use testing::{DEADLINE, Dice, Unique, eventually};

/// One of the words in the control of a queue.
fn address(segment: &Segment, nth: usize) -> NonNull<Vital> {
    assert!(16 * (nth + 1) <= segment.control_len());
    // SAFETY: it lies in control, as we have checked.
    unsafe { segment.control().cast::<Vital>().add(nth) }
}

fn word(segment: &Segment, nth: usize) -> &Vital {
    // SAFETY: it is aligned, lives as long as the segment, and is all atomics.
    unsafe { address(segment, nth).as_ref() }
}

/// Watches a word. The segment must outlive the watch.
fn watched(segment: &Segment, nth: usize) -> Option<Watch> {
    // SAFETY: the tests drop the watch before the segment, or never drop either.
    unsafe { watch(address(segment, nth)) }
}

fn watch_many(segment: &Segment, nths: std::ops::Range<usize>) -> Vec<Watch> {
    nths.map(|nth| watched(segment, nth).unwrap()).collect()
}

#[test]
fn a_word_is_owned_while_it_is_watched() {
    let name = Unique::new("vital");
    let segment = create(&name).unwrap();
    let other = open(&name);
    let one = watched(&segment, 0).unwrap();
    let two = watched(&segment, 1).unwrap();
    assert!(watched(&segment, 1).is_none(), "it is watched already");
    for nth in [0, 1] {
        assert!(word(&other, nth).is_owned() && !word(&other, nth).is_dying());
    }
    drop(one);
    assert!(!word(&other, 0).is_owned() && !word(&other, 0).is_dying());
    assert!(word(&other, 1).is_owned());
    let one = watched(&segment, 0).unwrap();
    assert!(word(&other, 0).is_owned());
    drop((one, two));
    assert!(!word(&other, 0).is_owned() && !word(&other, 1).is_owned());
}

#[test]
fn a_dying_process_says_so_however_it_dies() {
    for how in WAYS {
        let name = Unique::new(how);
        let segment = create(&name).unwrap();
        let mut process = helper("watches_words", &name, how);
        process.line("it watches");
        assert!(word(&segment, 0).is_owned() && word(&segment, 2).is_owned());
        let_die(&mut process, how);
        eventually(how, || word(&segment, 0).is_dying() && word(&segment, 2).is_dying());
        assert!(!word(&segment, 1).is_dying(), "it had given that up");
        let _next = watched(&segment, 0).unwrap();
        assert!(word(&segment, 0).is_owned() && !word(&segment, 0).is_dying());
    }
}

#[test]
#[ignore = "the process that a_dying_process_says_so_however_it_dies starts"]
fn watches_words() {
    let Some((name, how)) = helped() else { return };
    let segment = open(&name);
    let mut watches = watch_many(&segment, 0..3);
    drop(watches.remove(1));
    say("it watches");
    until_hung_up();
    // What a panic drops is not watched any more, as it should be.
    let _leaked = core::mem::ManuallyDrop::new((watches, segment));
    die(&how);
}

/// The last owner's mark would be taken for the next one's, and nobody would wait for that one.
#[test]
fn a_process_without_a_guard_does_not_count_as_dying() {
    let name = Unique::new("guardless");
    let segment = create(&name).unwrap();
    let mut process = helper("watches_one_word", &name, "kill");
    process.line("it watches");
    let_die(&mut process, "kill");
    eventually("the kernel's mark", || word(&segment, 0).is_dying());
    helper("gets_no_guard", &name, "").line("it has no guard");
    assert!(!word(&segment, 0).is_dying() && !word(&segment, 0).is_owned());
}

#[test]
#[ignore = "the process that a_process_without_a_guard_does_not_count_as_dying starts"]
fn gets_no_guard() {
    let Some((name, _)) = helped() else { return };
    let segment = open(&name);
    refuse(libc::SYS_set_robust_list);
    assert!(watched(&segment, 0).is_none(), "it has a guard");
    say("it has no guard");
}

/// A sleeper waits on the word of another process. The kernel wakes it when that process is killed, or gives the word up.
#[test]
fn a_sleeper_is_woken() {
    for how in ["kill", "gives up"] {
        let name = Unique::new("sleeper");
        let segment = create(&name).unwrap();
        let mut process = helper("watches_one_word", &name, how);
        process.line("it watches");
        let vital = word(&segment, 0);
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                let value = vital.alive().unwrap();
                sleep(vital, value);
            });
            // Most of the time, it then sleeps.
            thread::sleep(Duration::from_millis(20));
            let_die(&mut process, how);
            sleeper.join().unwrap();
        });
        assert!(!vital.is_owned());
        assert_eq!(vital.is_dying(), how == "kill");
        assert_eq!(vital.alive(), None, "nobody would wake a sleeper");
    }
}

/// Sleeps on the word until it changes or until it is woken, and fails if that never happens.
fn sleep(vital: &Vital, value: u32) {
    let word = vital.word().as_ptr();
    let timeout = libc::timespec { tv_sec: DEADLINE.as_secs() as i64, tv_nsec: 0 };
    // SAFETY: a word and a time that live on while the call runs.
    let answer = unsafe {
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, value, core::ptr::from_ref(&timeout))
    };
    let errno = nix::errno::Errno::last_raw();
    assert!(answer == 0 || errno == libc::EAGAIN, "{}", std::io::Error::last_os_error());
}

#[test]
#[ignore = "the process that a_sleeper_is_woken starts"]
fn watches_one_word() {
    let Some((name, _)) = helped() else { return };
    let segment = open(&name);
    let watch = watched(&segment, 0).unwrap();
    say("it watches");
    until_hung_up();
    drop(watch);
}

/// More words than the kernel marks for one thread.
#[test]
fn all_of_many_words_are_marked() {
    const { assert!(WORDS > 2 * MOST) };
    let name = Unique::new("words");
    let segment = create(&name).unwrap();
    let mut process = helper("watches_many_words", &name, "");
    process.line("it watches");
    assert!((0..WORDS).all(|nth| word(&segment, nth).is_owned()));
    process.signal(Signal::SIGKILL);
    eventually("all say so", || (0..WORDS).all(|nth| word(&segment, nth).is_dying()));
}

#[test]
#[ignore = "the process that all_of_many_words_are_marked starts"]
fn watches_many_words() {
    let Some((name, _)) = helped() else { return };
    let segment = open(&name);
    let _watches = watch_many(&segment, 0..WORDS);
    say("it watches");
    thread::sleep(2 * DEADLINE);
}

/// A process is killed while its threads begin to watch words and cease to. What it watched all the
/// time is marked.
#[test]
fn a_change_of_the_list_loses_no_word() {
    let dice = &mut Dice::seeded();
    for _ in 0..60 {
        let name = Unique::new("change");
        let segment = create(&name).unwrap();
        let mut process = helper("changes_its_list", &name, "");
        process.line("it changes");
        thread::sleep(Duration::from_micros(dice.below(3000)));
        process.signal(Signal::SIGKILL);
        process.finish();
        for nth in KEPT {
            assert!(word(&segment, nth).is_dying(), "{nth}");
        }
    }
}

/// The words that are watched all the time, with others between them in the list.
const KEPT: [usize; 4] = [0, 3, 6, 9];

#[test]
#[ignore = "the process that a_change_of_the_list_loses_no_word starts"]
fn changes_its_list() {
    let Some((name, _)) = helped() else { return };
    let segment = &open(&name);
    let mut first = watch_many(segment, 0..10);
    let mut changing = Vec::new();
    for nth in (0..10).rev().filter(|nth| !KEPT.contains(nth)) {
        changing.push((nth, first.remove(nth)));
    }
    say("it changes");
    let change = |(nth, watch): (usize, Watch)| {
        let mut watch = Some(watch);
        loop {
            drop(watch.take());
            watch = watched(segment, nth);
            assert!(watch.is_some());
        }
    };
    thread::scope(|scope| changing.into_iter().for_each(|one| drop(scope.spawn(|| change(one)))));
}

/// A forked child owns nothing of its parent's, and may own words itself.
#[test]
fn a_forked_child_watches_for_itself() {
    let name = Unique::new("child");
    let segment = create(&name).unwrap();
    let mut process = helper("forks_a_child_that_watches", &name, "");
    process.line("the child watches");
    assert!(word(&segment, 0).is_owned(), "the child has dropped its copy, which does nothing");
    assert!(word(&segment, 1).is_owned());
    process.signal(Signal::SIGKILL);
    eventually("the parent's word says so", || word(&segment, 0).is_dying());
    assert!(word(&segment, 1).is_owned() && !word(&segment, 1).is_dying(), "the child lives");
    process.hang_up();
    eventually("the child's word says so", || word(&segment, 1).is_dying());
}

#[test]
#[ignore = "the process that a_forked_child_watches_for_itself starts"]
fn forks_a_child_that_watches() {
    let Some((name, _)) = helped() else { return };
    let segment = open(&name);
    let watch = watched(&segment, 0).unwrap();
    // SAFETY: no other thread of this process holds a lock that the child needs.
    if let ForkResult::Child = unsafe { fork() }.unwrap() {
        drop(watch);
        let _own = watched(&segment, 1).unwrap();
        say("the child watches");
        until_hung_up();
        // SAFETY: it ends the child at once, without its parent's exit handlers.
        unsafe { libc::_exit(0) };
    }
    thread::sleep(2 * DEADLINE);
}

/// A child ends, and with it the threads that it might have had. Its parent's words stay as they are.
#[test]
fn a_child_that_ends_marks_nothing() {
    let name = Unique::new("childs-end");
    let process = helper("forks_a_child_that_ends", &name, "");
    assert!(process.finish().status.success());
}

#[test]
#[ignore = "the process that a_child_that_ends_marks_nothing starts"]
fn forks_a_child_that_ends() {
    let Some((name, _)) = helped() else { return };
    let segment = create(&name).unwrap();
    let _watch = watched(&segment, 0).unwrap();
    // SAFETY: the child does nothing but end.
    match unsafe { fork() }.unwrap() {
        // SAFETY: it ends the child at once, without its parent's exit handlers.
        ForkResult::Child => unsafe { libc::_exit(0) },
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        }
    }
    assert!(word(&segment, 0).is_owned() && !word(&segment, 0).is_dying());
}

/// There is one guard while there are words, and none later. It is in nobody's way: it takes no signal.
#[test]
fn the_guard_comes_and_goes() {
    let name = Unique::new("guard");
    assert!(helper("counts_its_threads", &name, "").finish().status.success());
}

#[test]
#[ignore = "the process that the_guard_comes_and_goes starts"]
fn counts_its_threads() {
    let Some((name, _)) = helped() else { return };
    let segment = create(&name).unwrap();
    let before = guards().len();
    assert_eq!(before, 0);
    for _ in 0..3 {
        let watches = watch_many(&segment, 0..200);
        assert_eq!(guards().len(), 1);
        drop(watches);
    }
    let watch = watched(&segment, 0).unwrap();
    let [guard] = guards().try_into().unwrap();
    let status = fs::read_to_string(format!("{guard}/status")).unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
    let blocked = u64::from_str_radix(blocked, 16).unwrap();
    for signal in Signal::iterator().filter(|s| ![Signal::SIGKILL, Signal::SIGSTOP].contains(s)) {
        assert!(blocked >> (signal as u32 - 1) & 1 == 1, "{signal}");
    }
    drop(watch);
    eventually("it ends", || guards().is_empty());
    let _watch = watched(&segment, 0).unwrap();
    assert_eq!(guards().len(), 1, "and comes again");
}

/// The guards among this process's threads, as folders.
fn guards() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let tasks = tasks.map(|task| task.unwrap().path().display().to_string());
    let name = |task: &String| fs::read_to_string(format!("{task}/comm")).unwrap_or_default();
    tasks.filter(|task| name(task).trim() == "fanout-guard").collect()
}

/// Whatever others write over the list, this process goes on, and repairs the list at its next change.
#[test]
fn a_list_that_others_overwrite_is_repaired() {
    for forged in [0, 1, 8, u64::MAX] {
        let name = Unique::new("forged");
        let segment = create(&name).unwrap();
        let mut process = helper("watches_more_when_told", &name, "");
        process.line("it watches");
        for nth in 0..10 {
            name.poke(day2::segment::page_size() + 16 * nth, &forged.to_le_bytes());
        }
        process.hang_up();
        process.line("it watches more");
        process.signal(Signal::SIGKILL);
        eventually("all say so", || (0..11).all(|nth| word(&segment, nth).is_dying()));
    }
}

#[test]
#[ignore = "the process that a_list_that_others_overwrite_is_repaired starts"]
fn watches_more_when_told() {
    let Some((name, _)) = helped() else { return };
    let segment = open(&name);
    let _watches = watch_many(&segment, 0..10);
    say("it watches");
    until_hung_up();
    let _one_more = watched(&segment, 10).unwrap();
    say("it watches more");
    thread::sleep(2 * DEADLINE);
}

/// Where the kernel refuses such a list, as in some sandboxes, only the lease tells.
#[test]
fn a_kernel_that_refuses_is_no_error() {
    let name = Unique::new("refused");
    let segment = create(&name).unwrap();
    let mut process = helper("is_refused", &name, "");
    process.line("it goes on");
    assert!(!word(&segment, 0).is_owned() && segment.is_leased(Role::Slot(0)));
    process.signal(Signal::SIGKILL);
    eventually("the lease tells", || !segment.is_leased(Role::Slot(0)));
}

#[test]
#[ignore = "the process that a_kernel_that_refuses_is_no_error starts"]
fn is_refused() {
    let Some((name, _)) = helped() else { return };
    let segment = open(&name);
    let _lease = segment.lease(Role::Slot(0)).unwrap();
    refuse(libc::SYS_set_robust_list);
    assert!(watched(&segment, 0).is_none());
    assert!(watched(&segment, 0).is_none());
    say("it goes on");
    thread::sleep(2 * DEADLINE);
}

/// Makes the kernel refuse this call to this thread and to those that it will start.
fn refuse(call: i64) {
    let code = |class: u32, value: u32, yes: u8, no: u8| libc::sock_filter {
        code: class as u16,
        jt: yes,
        jf: no,
        k: value,
    };
    let number = core::mem::offset_of!(libc::seccomp_data, nr) as u32;
    let mut program = [
        code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, number, 0, 0),
        code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 0, 1),
        code(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
        code(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: no memory of ours is involved.
    let answer = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(answer, 0);
    let program = core::ptr::from_ref(&program);
    // SAFETY: the program and its four instructions live until the call returns.
    let answer = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, program) };
    assert_eq!(answer, 0);
}

/// Prints how long after its death a process is known to be dying, and how long until its role is
/// free, if it has much memory.
#[test]
fn dying_is_told_before_much_memory_is_freed() {
    for mebibytes in ["1", "256"] {
        let name = Unique::new("resident");
        let segment = create(&name).unwrap();
        let mut process = helper("has_memory", &name, mebibytes);
        process.line("it watches");
        let (vital, killed) = (word(&segment, 0), Instant::now());
        process.signal(Signal::SIGKILL);
        while !vital.is_dying() {
            assert!(killed.elapsed() < DEADLINE, "it never says so");
        }
        let dying = killed.elapsed();
        while segment.is_leased(Role::Slot(0)) {
            assert!(killed.elapsed() < DEADLINE, "it never lets go");
        }
        let gone = killed.elapsed();
        println!("{mebibytes} MiB resident: dying after {dying:.2?}, gone after {gone:.2?}");
    }
}

#[test]
#[ignore = "the process that dying_is_told_before_much_memory_is_freed starts"]
fn has_memory() {
    let Some((name, mebibytes)) = helped() else { return };
    let bytes = mebibytes.parse::<usize>().unwrap() << 20;
    let memory = vec![1_u8; bytes];
    let segment = open(&name);
    let _lease = segment.lease(Role::Slot(0)).unwrap();
    let _watch = watched(&segment, 0).unwrap();
    say("it watches");
    thread::sleep(2 * DEADLINE);
    drop(memory);
}
