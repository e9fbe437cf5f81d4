//! Who is let in, and what a server says to the others.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use common::process::forks;
use day7::tasks::{Client, ClientOptions, ConnectError, ServerOptions};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, sendmsg,
    socket,
};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Uid, fork, ftruncate, geteuid, setuid};
use testing::eventually;

use super::home::{Home, belongings, comes_back_to};

const MAGIC: &[u8; 8] = b"FANOUT\0\0";

fn hello(version: u32, role: u32, arena: u64) -> Vec<u8> {
    [&MAGIC[..], &version.to_le_bytes(), &role.to_le_bytes(), &arena.to_le_bytes()].concat()
}

/// A connection by hand.
fn dial(path: &Path) -> OwnedFd {
    let socket =
        socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    socket
}

/// What the server says to these bytes with these descriptors; nothing if it hangs up.
fn says(path: &Path, bytes: &[u8], descriptors: &[&OwnedFd]) -> Vec<u8> {
    let socket = dial(path);
    let descriptors: Vec<_> = descriptors.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let control = if descriptors.is_empty() { &[] } else { &rights[..] };
    let bytes = [std::io::IoSlice::new(bytes)];
    sendmsg::<()>(socket.as_raw_fd(), &bytes, control, MsgFlags::MSG_NOSIGNAL, None).unwrap();
    let mut said = [0; 256];
    match recv(socket.as_raw_fd(), &mut said, MsgFlags::empty()) {
        Ok(len) => said[..len].to_vec(),
        Err(nix::errno::Errno::ECONNRESET) => Vec::new(),
        Err(errno) => panic!("{errno}"),
    }
}

fn status(said: &[u8]) -> u32 {
    u32::from_le_bytes(said[12..16].try_into().unwrap())
}

/// What a refusal says beside its status.
fn number(said: &[u8]) -> u64 {
    u64::from_le_bytes(said[24..32].try_into().unwrap())
}

fn still_serves(home: &Home) {
    let client = home.client();
    let echo = client.procedure("echo").unwrap();
    assert_eq!(client.call(echo, b"x").unwrap(), b"x");
}

#[test]
fn a_server_hangs_up_on_nonsense_and_refuses_other_versions() {
    let home = Home::process();
    let before = belongings(home.pid());
    let path = home.path();
    let good = hello(1, 5, 0);
    let long = [good.clone(), vec![0; 200]].concat();
    for nonsense in
        [&b"x"[..], b"GET / HTTP/1.1\r\n\r\n", &good[..23], &good[..9], &long, &[0xff; 24]]
    {
        assert_eq!(says(&path, nonsense, &[]), b"", "{}", nonsense.escape_ascii());
    }
    for (version, role) in [(0, 5), (2, 5), (u32::MAX, 5), (1, 0), (1, 1), (1, 7), (1, u32::MAX)] {
        let said = says(&path, &hello(version, role, 0), &[]);
        assert_eq!((&said[..8], status(&said)), (&MAGIC[..], 1), "{version} {role}");
    }
    still_serves(&home);
    comes_back_to(before, home.pid());
}

#[test]
fn an_arena_that_is_not_sealed_or_shorter_than_said_is_refused() {
    let home = Home::process();
    let before = belongings(home.pid());
    let path = home.path();
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memory = || {
        let object = memfd_create("arena", flags).unwrap();
        ftruncate(&object, 8192).unwrap();
        object
    };
    let sealed = memory();
    let seals = nix::fcntl::SealFlag::F_SEAL_SHRINK;
    nix::fcntl::fcntl(&sealed, nix::fcntl::FcntlArg::F_ADD_SEALS(seals)).unwrap();
    let (unsealed, empty) = (memory(), memfd_create("empty", flags).unwrap());
    let (null, reads) =
        (std::fs::File::open("/dev/null").unwrap().into(), std::io::pipe().unwrap());
    let pipe: OwnedFd = reads.0.into();
    // Which descriptors, how long the arena is said to be, and the status and the number of the answer.
    let tries: [(&[&OwnedFd], u64, u32, u64); 8] = [
        (&[&unsealed], 8192, 6, 0),
        (&[&empty], 1, 6, 0),
        (&[&null], 1, 6, 0),
        (&[&pipe], 1, 6, 0),
        (&[], 8192, 6, 0),
        (&[&sealed], 8193, 6, 8192),
        (&[&sealed], u64::MAX, 6, 8192),
        (&[&sealed, &null, &pipe, &unsealed], 8193, 6, 8192),
    ];
    for (at, (descriptors, bytes, expected, found)) in tries.into_iter().enumerate() {
        let said = says(&path, &hello(1, 5, bytes), descriptors);
        assert_eq!((status(&said), number(&said)), (expected, found), "{at}");
    }
    // One that can only be read cannot be written by the server either.
    let read_only = format!("/proc/self/fd/{}", sealed.as_raw_fd());
    let read_only: OwnedFd = std::fs::File::open(read_only).unwrap().into();
    let said = says(&path, &hello(1, 5, 8192), &[&read_only]);
    assert_eq!((status(&said), number(&said)), (2, libc::EACCES as u64));
    // More descriptors than asked for cost only their sender.
    let said = says(&path, &hello(1, 5, 8192), &[&sealed, &null, &pipe]);
    assert_eq!(status(&said), 0);
    still_serves(&home);
    comes_back_to(before, home.pid());
}

#[test]
fn the_silent_do_not_keep_others_out() {
    let home = Home::process();
    let before = belongings(home.pid());
    let silent: Vec<_> = (0..200).map(|_| dial(&home.path())).collect();
    still_serves(&home);
    comes_back_to(before, home.pid());
    drop(silent);
    still_serves(&home);
}

/// A client that says hello and nothing else, and takes no answer, has a seat like any other, until it goes.
#[test]
fn a_client_that_only_says_hello_keeps_its_seat_alone() {
    let home = Home::process();
    let before = belongings(home.pid());
    let silent: Vec<_> = (0..10)
        .map(|_| {
            let socket = dial(&home.path());
            let bytes = hello(1, 5, 0);
            let bytes = [std::io::IoSlice::new(&bytes)];
            sendmsg::<()>(socket.as_raw_fd(), &bytes, &[], MsgFlags::empty(), None).unwrap();
            socket
        })
        .collect();
    still_serves(&home);
    eventually("they are in", || day7::tasks::clients(home.path()).unwrap().len() == 10);
    drop(silent);
    comes_back_to(before, home.pid());
}

/// A client that goes on talking is shown the door.
#[test]
fn a_client_that_says_more_than_hello_is_turned_out() {
    let home = Home::process();
    let before = belongings(home.pid());
    let socket = dial(&home.path());
    for _ in 0..2 {
        let bytes = hello(1, 5, 0);
        let bytes = [std::io::IoSlice::new(&bytes)];
        sendmsg::<()>(socket.as_raw_fd(), &bytes, &[], MsgFlags::empty(), None).unwrap();
    }
    // An answer may come first.
    let hears = || recv(socket.as_raw_fd(), &mut [0; 256], MsgFlags::empty());
    while hears().is_ok_and(|len| len > 0) {}
    comes_back_to(before, home.pid());
    still_serves(&home);
}

#[test]
fn there_is_no_server_where_none_is() {
    let folder = testing::Folder::new();
    let soon = ClientOptions::new().timeout(Duration::from_millis(200));
    let nowhere = Client::connect_with(folder.join("server"), &soon);
    assert!(matches!(nowhere, Err(ConnectError::Rendezvous(_))), "{nowhere:?}");
    let listener = std::os::unix::net::UnixListener::bind(folder.join("stream")).unwrap();
    let other = Client::connect_with(folder.join("stream"), &soon);
    assert!(matches!(other, Err(ConnectError::Rendezvous(_))), "{other:?}");
    drop(listener);
}

/// Servers that say the wrong things. A client believes none of them.
#[test]
fn a_client_checks_what_a_server_says() {
    let folder = testing::Folder::new();
    let path = folder.join("server");
    let listening = day4::rendezvous::socket::Listening::bind(&path).unwrap();
    let answer = |version: u32, status: u32, longs: [u64; 5]| {
        let numbers = longs.iter().flat_map(|long| long.to_le_bytes());
        let head = [&MAGIC[..], &version.to_le_bytes(), &status.to_le_bytes(), &[0; 8]].concat();
        head.into_iter().chain(numbers).collect::<Vec<u8>>()
    };
    let (page, board) = (
        || memfd_create("page", MFdFlags::empty()).unwrap(),
        || memfd_create("board", MFdFlags::empty()).unwrap(),
    );
    let lies: [(Vec<u8>, Vec<OwnedFd>, &str); 9] = [
        (b"HTTP/1.1 400".to_vec(), vec![], "a server of tasks"),
        (answer(2, 0, [0; 5]), vec![], "version"),
        (answer(1, 99, [0; 5]), vec![], "status 99"),
        (answer(1, 0, [4096, 4096, 0, 0, 0]), vec![], "0 descriptors"),
        (answer(1, 0, [4096, 4096, 0, 0, 0]), vec![page()], "1 descriptors"),
        (answer(1, 0, [0, 4096, 0, 0, 0]), vec![page(), board()], "powers of two"),
        (answer(1, 0, [u64::MAX, 4096, 0, 0, 0]), vec![page(), board()], "powers of two"),
        (answer(1, 0, [1 << 63, 1 << 63, 0, 0, 0]), vec![page(), board()], "powers of two"),
        (answer(1, 0, [4096, 4096, 0, 0, 0]), vec![page(), board()], "cut short"),
    ];
    for (bytes, descriptors, expected) in lies {
        let client = thread::spawn({
            let path = path.clone();
            move || Client::connect(path)
        });
        let mut visitor = None;
        eventually("the client comes", || {
            if let day4::rendezvous::socket::Accepted::Client(socket, _) =
                listening.accept().unwrap()
            {
                visitor = Some(socket);
            }
            visitor.is_some()
        });
        let visitor = visitor.unwrap();
        day4::rendezvous::packet::send(&visitor, &bytes, &descriptors).unwrap();
        let why = client.join().unwrap().unwrap_err().to_string();
        assert!(why.contains(expected), "{why}");
        let _ = visitor.as_fd();
    }
}

/// What a child of another user finds. It ends without its parent's exit handlers.
fn as_nobody(find: impl FnOnce() -> i32) -> i32 {
    let _ = forks();
    // SAFETY: the child connects and ends. It needs no lock that another thread may have but the allocator's, which
    // the C library takes over in a child.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let code = match setuid(Uid::from_raw(65534)) {
                Ok(()) => find(),
                Err(_) => 99,
            };
            // SAFETY: it ends the child at once.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, code) => code,
            other => panic!("{other:?}"),
        },
    }
}

#[test]
fn another_user_is_let_in_only_on_trust_both_ways() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can be another user");
        return;
    }
    let code = |options: ClientOptions, path: &Path| match Client::connect_with(path, &options) {
        Ok(_) => 0,
        Err(ConnectError::User { found: 0, .. }) => 1,
        Err(ConnectError::Refused { user: 65534, .. }) => 2,
        Err(ConnectError::Rendezvous(_)) => 3,
        Err(_) => 4,
    };
    let open = |path: &Path, mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let (own, any) = (ServerOptions::new(), ServerOptions::new().allow_any_user());
    let (own, any) = (Home::thread(&own), Home::thread(&any));
    for home in [&own, &any] {
        open(home.path().parent().unwrap(), 0o755);
    }
    let (shy, trusts) = (ClientOptions::new(), ClientOptions::new().trust_user(0));
    let path = own.path();
    assert_eq!(as_nobody(|| code(trusts.clone(), &path)), 3, "the file keeps it out");
    open(&path, 0o666);
    assert_eq!(as_nobody(|| code(trusts.clone(), &path)), 2, "and the server does");
    let path = any.path();
    assert_eq!(as_nobody(|| code(shy.clone(), &path)), 1);
    assert_eq!(as_nobody(|| code(trusts.clone(), &path)), 0);
    let all = ClientOptions::new().trust_any_user();
    assert_eq!(as_nobody(|| code(all, &path)), 0);
    still_serves(&any);
}
