//! Clients that break the protocol, and servers that are none.

use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use day2::Mode;
use day2::segment::page_size;
use day3::{QueueOptions, Start};
use day4::rendezvous::{Admitted, HELLO_TIMEOUT, RendezvousError, Role, Server, connect, serve};
use day4::{Local, Member, Reader, Tap, Writer};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::socket::{MsgFlags, UnixAddr, connect as dial_raw, recv};
use nix::unistd::geteuid;
use testing::{DEADLINE, Folder, eventually};

use crate::home::{dial, hear, listener, packet, say, say_with, token, unconnected};

/// A correct hello.
fn hello() -> Vec<u8> {
    packet(&[1, 1])
}

/// A correct answer without its descriptor.
fn let_in(descriptors: u32) -> Vec<u8> {
    packet(&[1, 0, descriptors, 0])
}

fn memfd() -> OwnedFd {
    let writer = Writer::anonymous(4096).unwrap();
    writer.descriptor(Mode::Reader).unwrap()
}

/// How `connect` ends with a server that accepts one client, hears it, and does `then`.
fn connect_to(then: impl FnOnce(OwnedFd) + Send + 'static) -> Result<OwnedFd, RendezvousError> {
    connect_within(DEADLINE, then)
}

fn connect_within(
    timeout: Duration,
    then: impl FnOnce(OwnedFd) + Send + 'static,
) -> Result<OwnedFd, RendezvousError> {
    let folder = Folder::new();
    let path = folder.join("ring");
    let waiter = listener(&path);
    let server = thread::spawn(move || {
        let socket = accept_one(&waiter);
        assert_eq!(hear(&socket), hello());
        then(socket);
    });
    let result = connect(&path, Role::Consumer, timeout);
    server.join().unwrap();
    result
}

fn accept_one(waiter: &OwnedFd) -> OwnedFd {
    let socket = std::os::unix::net::UnixListener::from(waiter.try_clone().unwrap());
    socket.accept().unwrap().0.into()
}

#[test]
fn a_client_is_known_by_its_process_user_and_role() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let writer = Writer::anonymous(4096).unwrap();
    let mut server = Server::bind(&path).unwrap();
    for role in [Role::Consumer, Role::Tap] {
        let path = path.clone();
        let client = thread::spawn(move || connect(path, role, DEADLINE).unwrap());
        let admitted = server.accept(&writer, DEADLINE).unwrap();
        let (pid, uid) = (std::process::id() as i32, geteuid().as_raw());
        assert_eq!(admitted, Admitted { pid, uid, role });
        client.join().unwrap();
    }
    assert_eq!(server.turned_away(), 0);
}

#[test]
fn a_server_waits_no_longer_than_it_was_told_and_serves_who_was_there_before() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let writer = Writer::anonymous(4096).unwrap();
    let mut server = Server::bind(&path).unwrap();
    let error = server.accept(&writer, Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, RendezvousError::TimedOut { .. }), "{error}");

    let early = dial(&path);
    say(&early, &hello());
    assert_eq!(server.accept(&writer, Duration::ZERO).unwrap().role, Role::Consumer);
    assert_eq!(hear(&early), let_in(1));
    assert_eq!(hear(&early), b"");
}

#[test]
fn broadcast_consumer_group_and_tap_connect() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let mut writer = Writer::anonymous(1 << 16).unwrap();
    let serving = serve(&path, writer.offer()).unwrap();
    let mut reader = Reader::connect(&path, Start::Oldest).unwrap();
    let mut member = Member::connect(&path, "work", Start::Oldest).unwrap();
    let mut tap = Tap::connect(&path, Start::Oldest).unwrap();
    eventually("all are counted", || serving.admitted() == 3);
    assert_eq!((serving.turned_away(), serving.failed()), (0, 0));
    // What the clients already have needs no server.
    drop(serving);
    assert_eq!(writer.consumers().len(), 2);
    for message in [&b""[..], b"x", &[7; 5000]] {
        writer.send(message).unwrap();
        assert_eq!(&*reader.recv().unwrap(), message);
        assert_eq!(&*member.recv().unwrap(), message);
        let mut copy = Vec::new();
        assert_eq!(tap.recv(&mut copy).unwrap(), message.len());
        assert_eq!(copy, message);
    }
}

#[test]
fn a_taps_descriptor_cannot_be_mapped_writable_and_a_consumers_can() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let writer = Writer::anonymous(4096).unwrap();
    let _serving = serve(&path, writer.offer()).unwrap();
    let tap = connect(&path, Role::Tap, DEADLINE).unwrap();
    let consumer = connect(&path, Role::Consumer, DEADLINE).unwrap();
    let map = |ring: &OwnedFd, protection| {
        let page = NonZeroUsize::new(page_size() as usize).unwrap();
        // SAFETY: a page at an address that the kernel chooses. It is never touched.
        unsafe { mmap(None, page, protection, MapFlags::MAP_SHARED, ring, 0) }.map(drop)
    };
    let (look, write) = (ProtFlags::PROT_READ, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE);
    assert_eq!(map(&tap, look), Ok(()));
    assert_eq!(map(&tap, write), Err(Errno::EACCES));
    assert_eq!(map(&consumer, write), Ok(()));
    let access = |ring| {
        let flags = OFlag::from_bits_retain(fcntl(ring, FcntlArg::F_GETFL).unwrap());
        flags & OFlag::O_ACCMODE
    };
    assert_eq!(access(&tap), OFlag::O_RDONLY);
    assert_eq!(access(&consumer), OFlag::O_RDWR);
}

#[test]
fn what_a_client_gets_is_closed_by_exec_and_locks_by_itself() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let writer = Writer::anonymous(4096).unwrap();
    let _serving = serve(&path, writer.offer()).unwrap();
    let rings = [(); 2].map(|()| connect(&path, Role::Consumer, DEADLINE).unwrap());
    for ring in &rings {
        let flags = FdFlag::from_bits_retain(fcntl(ring, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }
    let lock = |ring| {
        let whole = libc::flock {
            l_type: libc::F_WRLCK as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: 0,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(ring, FcntlArg::F_OFD_SETLK(&whole))
    };
    lock(&rings[0]).unwrap();
    lock(&rings[0]).unwrap();
    assert_eq!(lock(&rings[1]), Err(Errno::EAGAIN));
}

#[test]
fn silent_clients_hold_up_nobody_and_are_turned_away() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let writer = Writer::anonymous(4096).unwrap();
    let serving = serve(&path, writer.offer()).unwrap();
    let silent: Vec<_> = (0..10).map(|_| dial(&path)).collect();
    // In much less than the time of ten timeouts one after another.
    connect(&path, Role::Consumer, HELLO_TIMEOUT * 5).unwrap();
    for client in &silent {
        assert_eq!(hear(client), b"");
    }
    eventually("all are counted", || serving.turned_away() == 10 && serving.admitted() == 1);
    assert_eq!(serving.failed(), 0);
}

#[test]
fn more_silent_clients_than_have_room_cost_the_oldest_their_places() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let writer = Writer::anonymous(4096).unwrap();
    let mut server = Server::bind(&path).unwrap();
    let silent: Vec<_> = (0..70).map(|_| dial(&path)).collect();
    let last = dial(&path);
    say(&last, &hello());
    server.accept(&writer, DEADLINE).unwrap();
    assert_eq!(hear(&last), let_in(1));
    assert!(server.turned_away() >= 7, "{}", server.turned_away());
    assert_eq!(hear(&silent[0]), b"");
}

#[test]
fn nonsense_is_hung_up_on_and_costs_nobody_else() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let writer = Writer::anonymous(4096).unwrap();
    let serving = serve(&path, writer.offer()).unwrap();
    let long = [hello(), vec![0; 300]].concat();
    let nonsense: [&[u8]; 6] =
        [b"", b"GET / HTTP/1.1\r\n", b"FANOUT\0\0", &hello()[..15], &long[..17], &long];
    for (n, bytes) in (1..).zip(nonsense) {
        let client = dial(&path);
        say(&client, bytes);
        assert_eq!(hear(&client), b"", "{}", bytes.escape_ascii());
        eventually("it is counted", || serving.turned_away() == n);
    }
    connect(&path, Role::Consumer, DEADLINE).unwrap();
    eventually("it is counted", || serving.admitted() == 1);
    assert_eq!(serving.failed(), 0);
}

#[test]
fn a_client_that_goes_before_it_is_served_costs_nobody_else() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let writer = Writer::anonymous(4096).unwrap();
    let mut server = Server::bind(&path).unwrap();
    drop(dial(&path));
    let gone = dial(&path);
    say(&gone, &hello());
    drop(gone);
    let client = dial(&path);
    say(&client, &hello());
    server.accept(&writer, DEADLINE).unwrap();
    assert_eq!(hear(&client), let_in(1));
}

#[test]
fn descriptors_that_come_with_a_hello_are_closed() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let writer = Writer::anonymous(4096).unwrap();
    let _serving = serve(&path, writer.offer()).unwrap();
    let client = dial(&path);
    let (descriptor, token) = token();
    say_with(&client, &hello(), &[descriptor]);
    assert_eq!(hear(&client), let_in(1));
    token.gone();
}

#[test]
fn another_version_is_told_ours_and_an_unknown_role_is_refused() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let writer = Writer::anonymous(4096).unwrap();
    let serving = serve(&path, writer.offer()).unwrap();
    let other_versions = [packet(&[2, 1]), packet(&[0]), packet(&[9, 1, 2, 3, 4])];
    let unknown_roles = [packet(&[1, 0]), packet(&[1, 5]), packet(&[1, u32::MAX])];
    for (n, bytes) in (1..).zip(other_versions.into_iter().chain(unknown_roles)) {
        let client = dial(&path);
        say(&client, &bytes);
        assert_eq!(hear(&client), packet(&[1, 1, 0, 0]));
        eventually("it is counted", || serving.turned_away() == n);
    }
    assert_eq!(serving.admitted(), 0);
}

#[test]
fn a_server_is_done_though_silent_clients_keep_coming() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let writer = Writer::anonymous(4096).unwrap();
    let serving = serve(&path, writer.offer()).unwrap();
    let mut silent = vec![dial(&path)];
    let dropping = thread::spawn(move || drop(serving));
    let address = UnixAddr::new(&path).unwrap();
    eventually("the server is done", || {
        let socket = unconnected();
        if dial_raw(socket.as_raw_fd(), &address).is_ok() {
            silent.push(socket);
        }
        thread::sleep(HELLO_TIMEOUT / 20);
        dropping.is_finished()
    });
    dropping.join().unwrap();
    assert_eq!(hear(&silent[0]), b"");
    assert!(!path.exists());
}

#[test]
fn a_server_in_a_thread_goes_on_after_it_had_nothing_to_give() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let local = Local::new(&QueueOptions::new(4096)).unwrap();
    // SAFETY: this is the memory's only producer.
    let writer: Writer = unsafe { Writer::from_memory(local) };
    let serving = serve(&path, writer.offer()).unwrap();
    for n in 1..=3 {
        let error = connect(&path, Role::Consumer, DEADLINE).unwrap_err();
        assert!(matches!(error, RendezvousError::Failed { .. }), "{error}");
        eventually("it is counted", || serving.failed() == n);
    }
    assert_eq!((serving.admitted(), serving.turned_away()), (0, 0));
}

#[test]
fn a_ring_that_cannot_leave_its_process_is_an_error_on_both_sides() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let local = Local::new(&QueueOptions::new(4096)).unwrap();
    // SAFETY: this is the memory's only producer.
    let writer: Writer = unsafe { Writer::from_memory(local) };
    let mut server = Server::bind(&path).unwrap();
    let client = {
        let path = path.clone();
        thread::spawn(move || connect(path, Role::Consumer, DEADLINE).unwrap_err())
    };
    let error = server.accept(&writer, DEADLINE).unwrap_err();
    assert!(matches!(error, RendezvousError::Descriptor { .. }), "{error}");
    let error = client.join().unwrap();
    assert!(matches!(error, RendezvousError::Failed { .. }), "{error}");

    // The server still works.
    let good = Writer::anonymous(4096).unwrap();
    let client = thread::spawn(move || connect(path, Role::Consumer, DEADLINE).unwrap());
    server.accept(&good, DEADLINE).unwrap();
    client.join().unwrap();
}

#[test]
fn a_server_of_another_version_is_named_with_both() {
    let other = [packet(&[9, 0, 1, 0]), packet(&[9]), packet(&[9, 1, 2, 3, 4, 5])];
    for bytes in other {
        let error = connect_to(move |socket| say_with(&socket, &bytes, &[memfd()])).unwrap_err();
        let RendezvousError::Version { expected, found, .. } = error else { panic!("{error}") };
        assert_eq!((expected, found), (1, 9));
    }
}

#[test]
fn what_answers_otherwise_is_no_server() {
    let answers = [
        b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
        packet(&[]),
        packet(&[1, 0, 1]),
        packet(&[1, 0, 1, 0, 0]),
        packet(&[1, 6, 0, 0]),
    ];
    for answer in answers {
        let text = answer.escape_ascii().to_string();
        let error = connect_to(move |socket| say_with(&socket, &answer, &[memfd()])).unwrap_err();
        assert!(matches!(error, RendezvousError::NotAServer { .. }), "{text}: {error}");
    }
}

#[test]
fn refused_and_failed_are_said() {
    let error = connect_to(|socket| say(&socket, &packet(&[1, 1, 0, 0]))).unwrap_err();
    let RendezvousError::Refused { role, .. } = error else { panic!("{error}") };
    assert_eq!(role, Role::Consumer);
    let error = connect_to(|socket| say(&socket, &packet(&[1, 2, 0, 0]))).unwrap_err();
    assert!(matches!(error, RendezvousError::Failed { .. }), "{error}");
}

#[test]
fn an_answer_with_other_than_the_announced_descriptors_is_an_error() {
    for (announced, sent) in [(1, 0), (0, 0), (0, 1), (1, 2), (2, 1)] {
        let error = connect_to(move |socket| {
            let rings: Vec<_> = (0..sent).map(|_| memfd()).collect();
            say_with(&socket, &let_in(announced), &rings);
        });
        let error = error.unwrap_err();
        let found = matches!(error, RendezvousError::NotAServer { .. });
        assert!(found, "{announced} {sent}: {error}");
    }
}

#[test]
fn descriptors_that_this_version_does_not_know_are_closed() {
    for status in [0, 1, 7] {
        let (first, first_closed) = token();
        let (second, second_closed) = token();
        let result = connect_to(move |socket| {
            say_with(&socket, &packet(&[1, status, 3, 0]), &[memfd(), first, second]);
        });
        assert_eq!(result.is_ok(), status == 0);
        first_closed.gone();
        second_closed.gone();
    }
}

#[test]
fn a_descriptor_of_something_else_is_refused_when_it_is_joined() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let waiter = listener(&path);
    let server = thread::spawn(move || {
        let socket = accept_one(&waiter);
        hear(&socket);
        say_with(&socket, &let_in(1), &[token().0]);
    });
    let error = Reader::connect(&path, Start::Oldest).err().unwrap();
    assert!(matches!(error, day4::rendezvous::ConnectError::Join(_)), "{error}");
    server.join().unwrap();
}

#[test]
fn a_server_that_hangs_up_or_is_silent_is_an_error() {
    let error = connect_to(drop).unwrap_err();
    assert!(matches!(error, RendezvousError::PeerClosed { .. }), "{error}");

    let (release, held) = mpsc::channel::<()>();
    let result = connect_within(Duration::from_millis(20), move |socket| {
        thread::spawn(move || {
            let _ = held.recv_timeout(DEADLINE);
            drop(socket);
        });
    });
    let error = result.unwrap_err();
    assert!(matches!(error, RendezvousError::TimedOut { .. }), "{error}");
    drop(release);
}

#[test]
fn a_server_that_hangs_up_unheard_is_an_error() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let waiter = listener(&path);
    let server = thread::spawn(move || {
        let socket = accept_one(&waiter);
        let peek = MsgFlags::MSG_PEEK;
        recv(socket.as_raw_fd(), &mut [0], peek).unwrap();
    });
    let error = connect(&path, Role::Consumer, DEADLINE).unwrap_err();
    assert!(matches!(error, RendezvousError::PeerClosed { .. }), "{error}");
    server.join().unwrap();
}

#[test]
fn a_server_whose_queue_is_full_is_waited_for_and_no_longer() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let waiter = listener(&path);
    let address = UnixAddr::new(&path).unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = unconnected();
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        match dial_raw(socket.as_raw_fd(), &address) {
            Ok(()) => waiting.push(socket),
            Err(errno) => break assert_eq!(errno, Errno::EAGAIN),
        }
    }
    let (timeout, started) = (Duration::from_millis(20), Instant::now());
    let error = connect(&path, Role::Consumer, timeout).unwrap_err();
    assert!(matches!(error, RendezvousError::TimedOut { .. }), "{error}");
    // A lower bound: it holds on the slowest machine.
    assert!(started.elapsed() >= timeout);

    let client = {
        let path = path.clone();
        thread::spawn(move || connect(path, Role::Consumer, DEADLINE).unwrap())
    };
    drop(waiting);
    loop {
        let socket = accept_one(&waiter);
        if hear(&socket) == hello() {
            say_with(&socket, &let_in(1), &[memfd()]);
            break;
        }
    }
    client.join().unwrap();
}

/// Runs `work` as another user, without any special rights.
fn as_another_user<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let worker = thread::spawn(move || {
        let (keep, other): (libc::uid_t, libc::uid_t) = (libc::uid_t::MAX, 65_534);
        // SAFETY: the bare call takes three numbers, and changes the user of this thread alone. The
        // thread ends after it.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, keep, other, keep) };
        assert_eq!(result, 0);
        work()
    });
    worker.join().unwrap()
}

/// A folder that every user may read, and a function that sets permissions.
fn open_folder() -> (Folder, impl Fn(&Path, u32)) {
    let folder = Folder::new();
    let permit = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    permit(folder.path(), 0o755);
    (folder, permit)
}

#[test]
fn other_users_are_refused_unless_they_are_allowed() {
    if !geteuid().is_root() {
        println!("only root can become another user: not tried");
        return;
    }
    let (folder, permit) = open_folder();
    let path = folder.join("ring");
    let writer = Writer::anonymous(4096).unwrap();
    let serving = serve(&path, writer.offer()).unwrap();
    let try_it = || {
        let path = path.clone();
        as_another_user(|| connect(path, Role::Tap, DEADLINE))
    };
    let error = try_it().unwrap_err();
    assert!(matches!(error, RendezvousError::Permission { .. }), "{error}");
    // The waiter's permissions were opened from outside: the server still checks who connects.
    permit(&path, 0o666);
    let error = try_it().unwrap_err();
    assert!(matches!(error, RendezvousError::Refused { .. }), "{error}");
    eventually("it is counted", || serving.turned_away() == 1);
    assert_eq!(serving.admitted(), 0);
    drop(serving);

    let server = Server::bind(&path).unwrap().allow_any_user().unwrap();
    let _serving = server.serve(writer.offer()).unwrap();
    try_it().unwrap();
}

#[test]
fn other_users_can_do_what_the_rings_permissions_allow() {
    if !geteuid().is_root() {
        println!("only root can become another user: not tried");
        return;
    }
    let (folder, _) = open_folder();
    let path = folder.join("ring");
    for (permissions, taps, joins) in
        [(0o600, false, false), (0o644, true, false), (0o666, true, true)]
    {
        let options = QueueOptions::new(4096).permissions(permissions);
        let writer = Writer::anonymous_with(&options).unwrap();
        let server = Server::bind(&path).unwrap().allow_any_user().unwrap();
        let _serving = server.serve(writer.offer()).unwrap();
        let client = path.clone();
        let tapped = as_another_user(|| Tap::connect(client, Start::Oldest).map(drop));
        let client = path.clone();
        let joined = as_another_user(|| Reader::connect(client, Start::Oldest).map(drop));
        assert_eq!((tapped.is_ok(), joined.is_ok()), (taps, joins), "{tapped:?} {joined:?}");
    }
}
