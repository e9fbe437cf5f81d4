//! Each thing that can go wrong has an error of its own, and leaves the object as it was.

use std::fmt::Debug;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use ::common::{NameError, OsError, QueueName};
use day2::header::{Expected, LAYOUT_VERSION, MAGIC, MOST_TYPE_NAME};
use day2::segment::page_size;
use day2::{
    CreateError, Geometry, Kind, LockError, LogReader, LogWriter, Mode, OpenError, RemoveError,
    Segment,
};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode as Permissions;
use nix::sys::statvfs::statvfs;
use nix::unistd::{Uid, geteuid, mkfifo, setfsuid};
use testing::{Unique, promptly, unprivileged};

const MODES: [Mode; 3] = [Mode::Writer, Mode::Reader, Mode::Observer];

/// Opens without waiting.
fn open(name: &QueueName, mode: Mode) -> Result<Segment, OpenError> {
    Segment::open(name, mode, Duration::ZERO)
}

/// The error that `open` returns; the object must be left as it was.
fn refusal<T: Debug, E: Debug>(name: &Unique, open: impl FnOnce() -> Result<T, E>) -> E {
    let before = name.state();
    let error = open().expect_err("it should have been refused");
    assert_eq!(name.state(), before, "the object was changed by {error:?}");
    error
}

/// The errors of opening the object in each mode, and of removing it.
fn refusals(name: &Unique) -> Vec<OpenError> {
    let mut errors: Vec<_> =
        MODES.into_iter().map(|mode| refusal(name, || open(name, mode))).collect();
    match refusal(name, || Segment::remove(name)) {
        RemoveError::Open(error) => errors.push(error),
        error => panic!("{error:?}"),
    }
    errors
}

/// Checks that all modes, and removing, give the same error, and which.
macro_rules! everybody_is_told {
    ($name:expr, $pattern:pat $(if $guard:expr)?) => {
        for error in refusals(&$name) {
            assert!(matches!(error, $pattern $(if $guard)?), "{error:?}");
        }
    };
}

fn log(name: &Unique) -> LogWriter<u64> {
    LogWriter::create(name, 10).unwrap()
}

#[test]
fn no_such_queue() {
    let name = Unique::new("none");
    everybody_is_told!(name, OpenError::NotFound { name: ref found } if *found == *name);
    let error = refusal(&name, || LogReader::<u64>::open(&name, 10));
    assert!(matches!(error, OpenError::NotFound { .. }), "{error:?}");
}

#[test]
fn a_taken_name_leaves_the_other_queue_alone() {
    let name = Unique::new("taken");
    let mut writer = log(&name);
    writer.append(&7).unwrap();
    let error = refusal(&name, || LogWriter::<u64>::create(&name, 3));
    assert!(matches!(&error, CreateError::Taken { name: found, .. } if *found == *name));
    assert_eq!(LogReader::<u64>::open(&name, 10).unwrap().get(0), Some(7));
}

#[test]
fn a_name_is_taken_by_any_object() {
    let name = Unique::new("taken-file");
    name.write(b"somebody's notes");
    let error = refusal(&name, || LogWriter::<u64>::create(&name, 3));
    assert!(matches!(error, CreateError::Taken { .. }), "{error:?}");
}

#[test]
fn of_many_creators_one_wins() {
    let name = Unique::new("race");
    let outcomes: Vec<_> = thread::scope(|scope| {
        let creators: Vec<_> =
            (0..8).map(|_| scope.spawn(|| LogWriter::<u64>::create(&name, 10))).collect();
        creators.into_iter().map(|creator| creator.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(matches!(error, CreateError::Taken { .. }), "{error:?}");
    }
    assert!(name.exists(), "a loser removed the winner's name");
}

#[test]
fn a_bad_name() {
    let name = QueueName::new("a/b");
    assert!(matches!(name, Err(NameError::Invalid { .. })), "{name:?}");
    let error: CreateError = QueueName::new("").unwrap_err().into();
    assert!(matches!(error, CreateError::Name(NameError::Empty)), "{error:?}");
    let error: OpenError = QueueName::new(&"n".repeat(300)).unwrap_err().into();
    assert!(matches!(error, OpenError::Name(NameError::TooLong { found: 300 })), "{error:?}");
}

#[test]
fn the_longest_name_works() {
    let short = Unique::new("long");
    let padding = QueueName::MAX - short.bare().len();
    let name: QueueName = format!("{}{}", *short, "n".repeat(padding)).parse().unwrap();
    let writer = LogWriter::<u64>::create(&name, 1).unwrap();
    assert!(open(&name, Mode::Reader).is_ok());
    drop(writer);
    assert!(matches!(open(&name, Mode::Reader), Err(OpenError::NotFound { .. })));
}

#[test]
fn not_ready_before_the_deadline() {
    let zeros = vec![0; 3 * page_size() as usize];
    let mut being_created = zeros.clone();
    being_created[..8].copy_from_slice(&MAGIC.to_le_bytes());
    for bytes in [&[][..], &[0; 100], &zeros, &being_created] {
        let name = Unique::new("not-ready");
        name.write(bytes);
        everybody_is_told!(name, OpenError::NotReady { waited: Duration::ZERO, .. });

        let (started, deadline) = (Instant::now(), Duration::from_millis(20));
        let error = refusal(&name, || Segment::open(&name, Mode::Reader, deadline));
        assert!(started.elapsed() >= deadline);
        assert!(
            matches!(&error, OpenError::NotReady { waited, .. } if *waited == deadline),
            "{error:?}"
        );
    }
}

#[test]
fn wrong_magic() {
    let page = page_size() as usize;
    let text = "a shopping list ".repeat(page);
    for bytes in [&b"hi"[..], &b"FANOUT\0\x01"[..], &[0xff; 8192], text.as_bytes()] {
        let name = Unique::new("magic");
        name.write(bytes);
        let mut begins = [0; 8];
        let n = bytes.len().min(8);
        begins[..n].copy_from_slice(&bytes[..n]);
        let begins = u64::from_le_bytes(begins);
        everybody_is_told!(name, OpenError::Magic { expected: MAGIC, found, .. } if found == begins);
    }
}

#[test]
fn wrong_magic_before_a_header_that_is_right_otherwise() {
    let name = Unique::new("magic-only");
    let _writer = log(&name);
    name.poke(0, b"f");
    everybody_is_told!(name, OpenError::Magic { .. });
    name.poke(0, &[0; 8]);
    everybody_is_told!(name, OpenError::Magic { found: 0, .. });
}

#[test]
fn wrong_layout_version() {
    let name = Unique::new("version");
    let _writer = log(&name);
    for version in [0, LAYOUT_VERSION + 1, u32::MAX] {
        name.poke(8, &version.to_le_bytes());
        everybody_is_told!(
            name,
            OpenError::Version { expected: LAYOUT_VERSION, found, .. } if found == version
        );
    }
}

#[test]
fn other_element_size() {
    let name = Unique::new("size");
    let _writer = log(&name);
    let error = refusal(&name, || LogReader::<u32>::open(&name, 10));
    assert!(matches!(error, OpenError::ElementSize { expected: 4, found: 8, .. }), "{error:?}");
}

#[test]
fn other_alignment() {
    let name = Unique::new("align");
    let _writer = log(&name);
    let error = refusal(&name, || LogReader::<[u8; 8]>::open(&name, 10));
    assert!(matches!(error, OpenError::ElementAlign { expected: 1, found: 8, .. }), "{error:?}");
}

#[test]
fn other_capacity() {
    let name = Unique::new("capacity");
    let _writer = log(&name);
    let error = refusal(&name, || LogReader::<u64>::open(&name, 11));
    assert!(matches!(error, OpenError::Capacity { expected: 11, found: 10, .. }), "{error:?}");
}

#[test]
fn other_message_type() {
    let name = Unique::new("type");
    let _writer = log(&name);
    let error = refusal(&name, || LogReader::<i64>::open(&name, 10));
    assert!(
        matches!(&error, OpenError::MessageType { expected, found, .. }
            if expected == "i64" && found == "u64"),
        "{error:?}"
    );
}

#[test]
fn other_kind() {
    for kind in [Kind::Ring, Kind::Other(77)] {
        let name = Unique::new("kind");
        let expected = Expected::messages::<u64>(kind, "u64");
        let geometry = Geometry::plan(&expected, 10, 0, 256, page_size()).unwrap();
        let _segment = Segment::create(&name, geometry, 0o600, |_| ()).unwrap();
        let error = refusal(&name, || LogReader::<u64>::open(&name, 10));
        assert!(
            matches!(error, OpenError::Kind { expected: Kind::Log, found, .. } if found == kind),
            "{error:?}"
        );
    }
}

#[test]
fn smaller_than_its_header_says() {
    let page = page_size();
    for len in [16, 100, page - 1, page, page + 1, 2 * page, 3 * page - 1] {
        let name = Unique::new("truncated");
        let _writer = log(&name);
        name.set_len(len);
        let said = if len < page { page } else { 3 * page };
        everybody_is_told!(
            name,
            OpenError::Truncated { expected, found, .. } if (expected, found) == (said, len)
        );
    }
}

#[test]
fn larger_than_its_header_says_is_fine() {
    let name = Unique::new("larger");
    let _writer = log(&name);
    name.set_len(1 << 40);
    assert!(LogReader::<u64>::open(&name, 10).is_ok());
}

#[test]
fn a_header_that_contradicts_itself() {
    let page = page_size();
    let state = [(12, 7_u32), (12, u32::MAX)].map(|(at, word)| (at, word.to_le_bytes().to_vec()));
    let align = [(20, 0_u32), (20, 3), (20, 1 << 31)].map(|(at, word)| {
        let bytes: Vec<u8> = word.to_le_bytes().into();
        (at, bytes)
    });
    let words = [
        (24, 0),                   // no size
        (24, u64::MAX),            // size times capacity overflows
        (24, page),                // more than data holds
        (32, u64::MAX),            // capacity times size overflows
        (32, page),                // more than data holds
        (40, 0),                   // control in the header
        (40, 2 * page),            // control in data
        (40, u64::MAX),            //
        (48, 0),                   // no control
        (48, 100),                 // no whole page
        (48, u64::MAX),            // the end overflows
        (48, page.wrapping_neg()), // the end wraps around to zero
        (56, page),                // data in control
        (56, 3 * page),            // a gap
        (56, u64::MAX),            //
        (64, 0),                   // no data
        (64, page + 1),            // no whole page
        (64, u64::MAX),            // the end overflows
        (64, page.wrapping_neg()), // the end is no file offset
        (88, MOST_TYPE_NAME as u64 + 1),
        (88, u64::MAX),
        (128, u64::MAX), // no UTF-8
    ]
    .map(|(at, word): (u64, u64)| (at, word.to_le_bytes().to_vec()));

    for (at, bytes) in state.into_iter().chain(align).chain(words) {
        let name = Unique::new("damaged");
        let _writer = log(&name);
        name.poke(at, &bytes);
        for error in refusals(&name) {
            assert!(matches!(error, OpenError::Damaged { .. }), "{at}: {bytes:?}: {error:?}");
        }
    }
}

#[test]
fn fields_that_agree_with_one_another_and_still_cannot_be() {
    let page = page_size();
    let damages = [
        // Everything a page further on: a gap behind the header.
        vec![(40, 2 * page), (56, 3 * page)],
        // No control, and data in its place.
        vec![(48, 0), (56, page)],
        // No messages, and no data for them.
        vec![(32, 0), (64, 0)],
        // Sixteen messages of 2^60 bytes: their length wraps around to nothing.
        vec![(24, 1 << 60), (32, 16)],
        // An end that a u64 holds and a file offset does not.
        vec![(64, 1 << 63)],
    ];
    for damage in damages {
        let name = Unique::new("agree");
        let _writer = log(&name);
        name.set_len(8 * page);
        for (at, word) in &damage {
            name.poke(*at, &u64::to_le_bytes(*word));
        }
        for error in refusals(&name) {
            assert!(matches!(error, OpenError::Damaged { .. }), "{damage:?}: {error:?}");
        }
    }
}

#[test]
fn a_header_that_promises_more_than_the_object_has() {
    let name = Unique::new("promise");
    let _writer = log(&name);
    let exbibyte = 1_u64 << 60;
    name.poke(64, &exbibyte.to_le_bytes());
    everybody_is_told!(name, OpenError::Truncated { expected, .. } if expected > exbibyte);
}

#[test]
fn more_control_and_data_than_the_address_space_holds() {
    let name = Unique::new("sparse");
    let _writer = log(&name);
    // A sparse object costs nothing, so it may really be this long; no mapping can be.
    let len = 1_u64 << 56;
    name.poke(64, &len.to_le_bytes());
    name.set_len(len + 2 * page_size());
    let no_memory = OsError::new(Errno::ENOMEM);
    for mode in MODES {
        let error = open(&name, mode).unwrap_err();
        assert!(
            matches!(error, OpenError::System { call: "mmap", errno, .. } if errno == no_memory),
            "{error:?}"
        );
    }
}

#[test]
fn no_permission() {
    let name = Unique::new("permission");
    let _writer = log(&name);
    let told = |mode| unprivileged(|| open(&name, mode));

    name.set_mode(0o000);
    for mode in MODES {
        let error = refusal(&name, || told(mode));
        assert!(matches!(error, OpenError::Permission { .. }), "{mode}: {error:?}");
    }
    // A process that may only read may look, and no more.
    name.set_mode(0o444);
    assert!(told(Mode::Observer).is_ok());
    for mode in [Mode::Reader, Mode::Writer] {
        let error = refusal(&name, || told(mode));
        assert!(matches!(error, OpenError::Permission { .. }), "{mode}: {error:?}");
    }
}

#[test]
fn more_than_dev_shm_holds() {
    let name = Unique::new("full");
    let mount = statvfs("/dev/shm").unwrap();
    // A mount without a limit says zero; then let it be more than any file may have.
    let bytes = match mount.blocks() * mount.fragment_size() {
        0 => 1 << 62,
        bytes => bytes,
    };
    let error = refusal(&name, || LogWriter::<u64>::create(&name, bytes / 8 + 1));
    assert!(
        matches!(&error, CreateError::NoSpace { name: found, bytes: asked }
            if *found == *name && *asked > bytes),
        "{error:?}"
    );
    assert!(!name.exists());
}

#[test]
fn a_dev_shm_of_64_kib_runs_full_and_everything_is_given_back() {
    let (page, kib64) = (page_size(), 64 * 1024);
    let done = with_a_small_dev_shm(move || {
        let free = || {
            let mount = statvfs("/dev/shm").unwrap();
            mount.blocks_free() * mount.fragment_size()
        };
        assert_eq!(free(), kib64);
        let first: QueueName = "/first".parse().unwrap();
        let second: QueueName = "/second".parse().unwrap();
        // Header, control, and what leaves room for another's header and control, but no data.
        let held = LogWriter::<u64>::create(&first, (kib64 - 4 * page) / 8).unwrap();
        assert_eq!(free(), 2 * page);
        let error = LogWriter::<u64>::create(&second, 1).unwrap_err();
        assert!(matches!(error, CreateError::NoSpace { .. }), "{error:?}");
        assert_eq!(free(), 2 * page);
        drop(held);
        assert_eq!(free(), kib64);
        assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 0);
        // All of it, and not a byte more.
        assert!(LogWriter::<u64>::create(&first, (kib64 - 2 * page) / 8).is_ok());
        let error = LogWriter::<u64>::create(&first, (kib64 - 2 * page) / 8 + 1).unwrap_err();
        assert!(matches!(error, CreateError::NoSpace { .. }), "{error:?}");

        setfsuid(Uid::from_raw(65534));
        let error = LogWriter::<u64>::create(&second, 1).unwrap_err();
        assert!(matches!(error, CreateError::Permission { .. }), "{error:?}");
    });
    if !done {
        eprintln!("skipped: only root may mount a small /dev/shm");
    }
}

/// Runs `f` on a thread that has a /dev/shm of 64 KiB of its own, writable by root alone.
///
/// Says whether it could: that takes the right to mount.
fn with_a_small_dev_shm(f: impl FnOnce() + Send + 'static) -> bool {
    promptly("filling a file system of its own", || {
        if unshare(CloneFlags::CLONE_NEWNS).is_err() {
            return false;
        }
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        let none = std::ptr::null();
        // SAFETY: two constant strings, and null where the call takes none.
        let private = unsafe { libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) };
        let (kind, options) = (c"tmpfs".as_ptr(), c"size=64k,mode=755".as_ptr().cast());
        // SAFETY: constant strings.
        let small = unsafe { libc::mount(kind, c"/dev/shm".as_ptr(), kind, 0, options) };
        if (private, small) != (0, 0) {
            return false;
        }
        f();
        true
    })
}

#[test]
fn more_than_can_be_addressed() {
    let name = Unique::new("overflow");
    for capacity in [u64::MAX, u64::MAX / 8, (i64::MAX / 8) as u64] {
        let error = refusal(&name, || LogWriter::<u64>::create(&name, capacity));
        assert!(
            matches!(error, CreateError::TooLarge { capacity: found, size: 8 } if found == capacity),
            "{error:?}"
        );
    }
    let expected = Expected::messages::<u64>(Kind::Log, "u64");
    for control_len in [u64::MAX, u64::MAX - page_size(), 1 << 63] {
        let error = Geometry::plan(&expected, 1, 0, control_len, page_size()).unwrap_err();
        assert!(matches!(error, CreateError::TooLarge { .. }), "{error:?}");
    }
}

#[test]
fn a_message_that_no_log_can_hold() {
    let name = Unique::new("element");
    let error = refusal(&name, || LogWriter::<()>::create(&name, 10));
    assert!(matches!(error, CreateError::Element { size: 0, align: 1 }), "{error:?}");
    for align in [0, 3, 2 * page_size()] {
        let expected =
            Expected { element_align: align, ..Expected::messages::<u64>(Kind::Log, "u64") };
        let error = Geometry::plan(&expected, 1, 0, 256, page_size()).unwrap_err();
        assert!(matches!(error, CreateError::Element { size: 8, align: found } if found == align));
    }
}

#[test]
fn a_type_name_that_does_not_fit() {
    let plan = |len: usize| {
        let type_name = "T".repeat(len);
        Geometry::plan(&Expected::messages::<u64>(Kind::Log, &type_name), 1, 0, 1, page_size())
    };
    assert!(plan(MOST_TYPE_NAME).is_ok());
    let error = plan(MOST_TYPE_NAME + 1).unwrap_err();
    assert!(
        matches!(error, CreateError::TypeName { found, most }
            if (found, most) == (MOST_TYPE_NAME + 1, MOST_TYPE_NAME)),
        "{error:?}"
    );
}

/// Opens, creates and removes under a name that something other than a file has.
fn no_file(name: Unique) {
    promptly("opening what would block", move || {
        everybody_is_told!(name, OpenError::NotRegular { name: ref found } if *found == *name);
        taken(&name);
    });
}

fn taken(name: &Unique) {
    let error = refusal(name, || LogWriter::<u64>::create(name, 1));
    assert!(matches!(error, CreateError::Taken { .. }), "{error:?}");
}

#[test]
fn a_folder() {
    let name = Unique::new("folder");
    std::fs::create_dir(name.path()).unwrap();
    no_file(name);
}

#[test]
fn a_pipe() {
    let name = Unique::new("pipe");
    mkfifo(&name.path(), Permissions::S_IRWXU).unwrap();
    no_file(name);
}

#[test]
fn a_socket() {
    let name = Unique::new("socket");
    let _listener = UnixListener::bind(name.path()).unwrap();
    everybody_is_told!(name, OpenError::Socket { name: ref found } if *found == *name);
    taken(&name);
}

#[test]
fn a_link_even_to_a_queue() {
    let (name, target) = (Unique::new("link"), Unique::new("target"));
    let writer = log(&target);
    symlink(target.path(), name.path()).unwrap();
    let before = target.state();
    no_file(name);
    assert_eq!(target.state(), before);
    drop(writer);
}

#[test]
fn a_link_to_nothing_stays_one() {
    let (name, target) = (Unique::new("dangling"), Unique::new("nothing"));
    symlink(target.path(), name.path()).unwrap();
    no_file(name);
    assert!(!target.exists());
}

#[test]
fn an_eleventh_message_into_ten_places() {
    let name = Unique::new("eleven");
    let mut writer = log(&name);
    let reader = LogReader::<u64>::open(&name, 10).unwrap();
    for message in 0..10 {
        writer.append(&message).unwrap();
    }
    let before = name.state();
    for _ in 0..2 {
        let full = writer.append(&10).unwrap_err();
        assert_eq!(full.capacity, 10);
    }
    assert_eq!(name.state(), before);
    assert_eq!((reader.len(), reader.get(10)), (10, None));
    assert!((0..10).all(|index| reader.get(index) == Some(index)));
}

#[test]
fn a_log_of_no_places_is_always_full() {
    let name = Unique::new("zero");
    let mut writer = LogWriter::<u64>::create(&name, 0).unwrap();
    let reader = LogReader::<u64>::open(&name, 0).unwrap();
    assert_eq!(writer.append(&1).unwrap_err().capacity, 0);
    assert_eq!((reader.capacity(), reader.is_empty(), reader.get(0)), (0, true, None));
}

#[test]
fn a_count_beyond_the_capacity_is_not_believed() {
    let name = Unique::new("count");
    let _writer = log(&name);
    let reader = LogReader::<u64>::open(&name, 10).unwrap();
    name.poke(page_size(), &u64::MAX.to_le_bytes());
    assert_eq!((reader.len(), reader.get(9), reader.get(10)), (10, Some(0), None));
}

#[test]
fn a_busy_lock() {
    let name = Unique::new("busy");
    let writer = log(&name);
    let one = open(&name, Mode::Reader).unwrap();
    let two = open(&name, Mode::Reader).unwrap();
    let held = one.lock(Duration::ZERO).unwrap();
    let waited = Duration::from_millis(5);
    let error = LockError::Busy { name: (*name).clone(), waited };
    assert_eq!(two.lock(waited).unwrap_err(), error);
    drop((held, writer));
    assert!(two.lock(Duration::ZERO).is_ok());
}

#[test]
fn an_observer_cannot_lock() {
    let name = Unique::new("observer-lock");
    let _writer = log(&name);
    let error = open(&name, Mode::Observer).unwrap().lock(Duration::ZERO).unwrap_err();
    let not_open = OsError::new(Errno::EBADF);
    assert!(matches!(error, LockError::System { errno, .. } if errno == not_open), "{error:?}");
}

#[test]
fn somebody_elses_queue_is_not_removed() {
    if !geteuid().is_root() {
        eprintln!("skipped: an ordinary user has no other user to be");
        return;
    }
    let name = Unique::new("not-ours");
    let _writer = log(&name);
    name.set_mode(0o444);
    let error = refusal(&name, || unprivileged(|| Segment::remove(&name)));
    assert!(
        matches!(error, RemoveError::System { call: "shm_unlink", .. }),
        "it may be looked at, and not removed: {error:?}"
    );
}

#[test]
fn a_message_names_the_queue_and_what_to_do() {
    let name = Unique::new("message");
    let found = open(&name, Mode::Reader).unwrap_err().to_string();
    assert_eq!(
        found,
        format!("no queue {}: start its producer first, or check the name (fanout ls)", *name)
    );
    name.write(b"Hello from somebody");
    let found = open(&name, Mode::Reader).unwrap_err().to_string();
    assert!(
        found.contains(r#"it begins with "Hello fr", a queue with "FANOUT\x00\x00";"#),
        "{found}"
    );
    std::fs::remove_file(name.path()).unwrap();

    let _writer = log(&name);
    name.set_len(100);
    let (page, found) = (page_size(), open(&name, Mode::Reader).unwrap_err().to_string());
    let said = format!("{} is 100 bytes long and should have {page}: ", *name);
    assert!(found.starts_with(&said) && found.contains("rm /dev/shm/"), "{found}");
}
