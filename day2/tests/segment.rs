//! What a segment promises while nothing goes wrong, and when a process dies.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::ptr::NonNull;
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use common::QueueName;
use common::sync::{AtomicU32, AtomicU64, Ordering};
use day2::header::Expected;
use day2::segment::page_size;
use day2::{Geometry, Kind, LockError, LogReader, LogWriter, Mode, OpenError, Segment};
use nix::errno::Errno;
use nix::libc;
use testing::{DEADLINE, Program, Unique, another, eventually};

fn geometry() -> Geometry {
    let expected = Expected::messages::<u64>(Kind::Log, "u64");
    Geometry::plan(&expected, 10, 0, 256, page_size()).unwrap()
}

fn create(name: &Unique) -> Segment {
    Segment::create(name, geometry(), 0o600, |_| ()).unwrap()
}

fn open(name: &QueueName, mode: Mode) -> Result<Segment, OpenError> {
    Segment::open(name, mode, Duration::ZERO)
}

#[test]
fn nobody_gets_in_before_the_creator_is_done() {
    let name = Unique::new("ready");
    let (entered, filling) = mpsc::channel();
    let (finish, may_finish) = mpsc::channel();
    let name = &name;
    thread::scope(move |scope| {
        let creator = scope.spawn(move || {
            Segment::create(name, geometry(), 0o600, |control| {
                // SAFETY: control is page-aligned, a page long, and still ours alone.
                let word = unsafe { control.cast::<AtomicU64>().as_ref() };
                assert_eq!(word.load(Ordering::Relaxed), 0);
                entered.send(()).unwrap();
                may_finish.recv_timeout(DEADLINE).unwrap();
                word.store(7, Ordering::Relaxed);
            })
        });
        filling.recv_timeout(DEADLINE).unwrap();
        assert!(matches!(open(name, Mode::Reader), Err(OpenError::NotReady { .. })));

        let opener = scope.spawn(move || Segment::open(name, Mode::Reader, DEADLINE).unwrap());
        finish.send(()).unwrap();
        let reader = opener.join().unwrap();
        // SAFETY: control is page-aligned, a page long, mapped while `reader` lives, and all atomics.
        let word = unsafe { reader.control().cast::<AtomicU64>().as_ref() };
        assert_eq!(word.load(Ordering::Relaxed), 7);
        creator.join().unwrap().unwrap();
    });
}

#[test]
fn a_creator_that_panics_leaves_nothing_behind() {
    let name = Unique::new("panic");
    let outcome = thread::scope(|scope| {
        let creator = scope.spawn(|| {
            Segment::create(&name, geometry(), 0o600, |_| std::panic::resume_unwind(Box::new(())))
        });
        creator.join()
    });
    assert!(outcome.is_err());
    assert!(!name.exists());
}

#[test]
fn the_creator_removes_its_name_and_readers_keep_the_memory() {
    let name = Unique::new("memory");
    let mut writer = LogWriter::<u64>::create(&name, 10).unwrap();
    let reader = LogReader::<u64>::open(&name, 10).unwrap();
    writer.append(&42).unwrap();
    drop(writer);
    assert!(!name.exists());
    assert_eq!(reader.get(0), Some(42));
}

#[test]
fn a_reader_that_leaves_removes_nothing() {
    let name = Unique::new("reader");
    let _writer = create(&name);
    for mode in [Mode::Writer, Mode::Reader, Mode::Observer] {
        let mut other = open(&name, mode).unwrap();
        assert_eq!(other.mode(), mode);
        other.unlink();
        drop(other);
        assert!(name.exists(), "{mode}");
    }
}

#[test]
fn a_namesake_created_later_is_left_alone() {
    let removals: [fn(&mut Segment); 2] =
        [Segment::unlink, |old| Segment::remove(old.name()).unwrap()];
    for remove in removals {
        let name = Unique::new("namesake");
        let mut old = create(&name);
        remove(&mut old);
        assert!(!name.exists());
        let new = create(&name);
        let before = name.state();
        old.unlink();
        assert_eq!(name.state(), before);
        drop(old);
        assert_eq!(name.state(), before);
        drop(new);
        assert!(!name.exists());
    }
}

#[test]
fn a_removed_name_can_be_taken_again_and_is_another_queue() {
    let name = Unique::new("again");
    let mut old = LogWriter::<u64>::create(&name, 10).unwrap();
    let reader = LogReader::<u64>::open(&name, 10).unwrap();
    Segment::remove(&name).unwrap();
    let mut new = LogWriter::<u64>::create(&name, 10).unwrap();
    old.append(&1).unwrap();
    new.append(&2).unwrap();
    assert_eq!(reader.get(0), Some(1));
    assert_eq!(LogReader::<u64>::open(&name, 10).unwrap().get(0), Some(2));
}

#[test]
fn the_mode_bits_are_those_asked_for() {
    for permissions in [0o600, 0o666, 0o640] {
        let name = Unique::new("mode");
        let _segment = Segment::create(&name, geometry(), permissions, |_| ()).unwrap();
        assert_eq!(name.metadata().permissions().mode() & 0o7777, permissions);
    }
    let name = Unique::new("mode-of-a-log");
    let _log = LogWriter::<u64>::create(&name, 10).unwrap();
    assert_eq!(name.metadata().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn every_page_is_there_from_the_start() {
    let name = Unique::new("reserved");
    let segment = create(&name);
    let meta = name.metadata();
    assert_eq!(meta.len(), segment.geometry().total_len());
    assert_eq!(meta.blocks() * 512, meta.len(), "pages are missing");
}

/// Whether the kernel may write to this address for us. It checks the mapping's rights, and answers
/// with an error where a store of ours would be a SIGSEGV.
fn writable(start: NonNull<u8>) -> bool {
    let zeros = fs::File::open("/dev/zero").unwrap();
    // SAFETY: if the byte can be written at all it becomes zero, which it was; nothing else uses
    // it.
    match unsafe { libc::read(zeros.as_raw_fd(), start.as_ptr().cast(), 1) } {
        1 => true,
        _ => {
            assert_eq!(Errno::last(), Errno::EFAULT);
            false
        }
    }
}

#[test]
fn each_mode_may_write_what_it_should() {
    let name = Unique::new("rights");
    let writer = create(&name);
    let rights = |segment: &Segment| (writable(segment.control()), writable(segment.data()));
    assert_eq!(rights(&writer), (true, true));
    for (mode, expected) in [
        (Mode::Writer, (true, true)),
        (Mode::Reader, (true, false)),
        (Mode::Observer, (false, false)),
    ] {
        assert_eq!(rights(&open(&name, mode).unwrap()), expected, "{mode}");
    }
}

#[test]
fn a_store_into_a_readers_data_is_a_sigsegv() {
    let name = Unique::new("sigsegv");
    let _writer = create(&name);
    let status = helper("stores_into_a_readers_data", &name).finish().status;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGSEGV));
}

#[test]
#[ignore = "the process that a_store_into_a_readers_data_is_a_sigsegv starts"]
fn stores_into_a_readers_data() {
    let Some(name) = helped() else { return };
    let reader = open(&name, Mode::Reader).unwrap();
    // SAFETY: none: this store must not succeed, and no line after it runs.
    unsafe { reader.data().write_volatile(1) };
}

#[test]
fn control_and_data_lie_on_pages_of_their_own() {
    let name = Unique::new("pages");
    let segment = create(&name);
    for (start, len) in
        [(segment.control(), segment.control_len()), (segment.data(), segment.data_len())]
    {
        assert!(start.addr().get().is_multiple_of(page_size() as usize));
        assert_eq!(len as u64, page_size());
    }
}

#[test]
fn nothing_of_a_dropped_segment_stays_in_the_process() {
    let name = Unique::new("leak");
    let path = name.path();
    let mapped = || {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().filter(|line| line.contains(path.to_str().unwrap())).count()
    };
    let descriptors = || {
        let open = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
        open.filter(|fd| fs::read_link(fd).is_ok_and(|target| target == path)).collect::<Vec<_>>()
    };
    let segment = create(&name);
    // Control and data. The header's page is unmapped once it is written or copied. The producer's
    // lease has a descriptor of its own.
    assert_eq!((mapped(), descriptors().len()), (2, 2));
    let reader = open(&name, Mode::Reader).unwrap();
    assert_eq!((mapped(), descriptors().len()), (4, 3));

    const CLOSE_ON_EXEC: i64 = libc::O_CLOEXEC as i64;
    for fd in descriptors() {
        let info = format!("/proc/self/fdinfo/{}", fd.file_name().unwrap().to_str().unwrap());
        let info = fs::read_to_string(info).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = i64::from_str_radix(flags.trim(), 8).unwrap();
        assert_eq!(flags & CLOSE_ON_EXEC, CLOSE_ON_EXEC, "a child would inherit it");
    }
    drop((segment, reader));
    assert_eq!((mapped(), descriptors().len()), (0, 0));
}

#[test]
fn two_handles_exclude_one_another() {
    let name = Unique::new("lock");
    let writer = create(&name);
    let reader = open(&name, Mode::Reader).unwrap();
    let held = writer.lock(Duration::ZERO).unwrap();
    assert!(matches!(reader.lock(Duration::ZERO), Err(LockError::Busy { .. })));
    drop(held);
    let held = reader.lock(Duration::ZERO).unwrap();
    assert!(matches!(writer.lock(Duration::ZERO), Err(LockError::Busy { .. })));
    drop(held);
    assert!(writer.lock(Duration::ZERO).is_ok());
}

#[test]
fn a_handle_locks_once() {
    let name = Unique::new("lock-once");
    let writer = create(&name);
    let held = writer.lock(Duration::ZERO).unwrap();
    // The kernel alone would say yes: to it, the open file has the lock already.
    assert!(matches!(writer.lock(Duration::ZERO), Err(LockError::Busy { .. })));
    // And the failed attempt must not have released the first lock.
    let reader = open(&name, Mode::Reader).unwrap();
    assert!(matches!(reader.lock(Duration::ZERO), Err(LockError::Busy { .. })));
    drop(held);
    assert!(reader.lock(Duration::ZERO).is_ok());
}

#[test]
fn only_one_at_a_time_whatever_it_has_mapped() {
    const ROUNDS: u32 = 100;
    let name = Unique::new("one-at-a-time");
    let shared = create(&name);
    let (inside, barrier) = (AtomicU32::new(0), Barrier::new(4));
    let work = |segment: &Segment| {
        barrier.wait();
        for _ in 0..ROUNDS {
            let _lock = segment.lock(DEADLINE).unwrap();
            assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
            thread::yield_now();
            inside.fetch_sub(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| work(&shared));
            scope.spawn(|| work(&open(&name, Mode::Reader).unwrap()));
        }
    });
}

#[test]
fn a_killed_process_lets_go_of_its_lock() {
    let name = Unique::new("lock-kill");
    let writer = create(&name);
    let holder = helper("holds_the_lock", &name);
    eventually("the other process has the lock", || {
        matches!(writer.lock(Duration::ZERO), Err(LockError::Busy { .. }))
    });
    holder.kill();
    assert!(writer.lock(DEADLINE).is_ok());
}

#[test]
#[ignore = "the process that a_killed_process_lets_go_of_its_lock starts and kills"]
fn holds_the_lock() {
    let Some(name) = helped() else { return };
    let reader = open(&name, Mode::Reader).unwrap();
    let _lock = reader.lock(DEADLINE).unwrap();
    thread::sleep(2 * DEADLINE);
}

/// Runs one of the tests above in a process of its own.
fn helper(test: &str, name: &QueueName) -> Program {
    Program::start(another(test).env("DAY2_TEST_QUEUE", name.as_str()))
}

/// The queue whose name the test that started this process has passed on.
fn helped() -> Option<QueueName> {
    Some(std::env::var("DAY2_TEST_QUEUE").ok()?.parse().unwrap())
}
