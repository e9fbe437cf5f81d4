//! Where a server may listen, and what it leaves there.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use day4::Writer;
use day4::rendezvous::{RendezvousError, Role, Server, connect, serve};
use testing::{DEADLINE, Folder};

use crate::home::listener;

/// The error of a bind, which says which path it is about.
#[track_caller]
fn bind_error(path: &Path) -> RendezvousError {
    says_path(path, Server::bind(path).unwrap_err())
}

/// The error of a connect, which says which path it is about.
#[track_caller]
fn connect_error(path: &Path) -> RendezvousError {
    says_path(path, connect(path, Role::Consumer, DEADLINE).unwrap_err())
}

#[track_caller]
fn says_path(path: &Path, error: RendezvousError) -> RendezvousError {
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    error
}

#[test]
fn a_server_that_is_dropped_removes_its_path() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let server = Server::bind(&path).unwrap();
    assert_eq!(server.path(), path);
    assert!(path.exists());
    drop(server);
    assert!(!path.exists());

    let writer = Writer::anonymous(4096).unwrap();
    let serving = serve(&path, writer.offer()).unwrap();
    assert_eq!(serving.path(), path);
    assert!(path.exists());
    drop(serving);
    assert!(!path.exists());
}

#[test]
fn the_socket_is_its_users_alone_unless_any_user_is_allowed() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let mode = || path.symlink_metadata().unwrap().permissions().mode() & 0o777;
    let server = Server::bind(&path).unwrap();
    assert_eq!(mode(), 0o600);
    let _server = server.allow_any_user().unwrap();
    assert_eq!(mode(), 0o666);
}

#[test]
fn what_has_taken_the_servers_place_is_left_alone() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let server = Server::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "somebody's").unwrap();
    let error = server.allow_any_user().unwrap_err();
    assert!(matches!(error, RendezvousError::NotFound { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"somebody's");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o002, 0);
}

#[test]
fn another_servers_socket_in_the_same_place_is_left_alone() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let first = Server::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let second = Server::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

#[test]
fn the_longest_path_works_and_one_byte_more_is_an_error() {
    let folder = Folder::new();
    let room = 107 - folder.path().as_os_str().len() - 1;
    let longest = folder.join(&"x".repeat(room));
    let server = Server::bind(&longest).unwrap();
    assert!(longest.exists());
    drop(server);

    let long = folder.join(&"x".repeat(room + 1));
    for error in [bind_error(&long), connect_error(&long)] {
        let RendezvousError::PathTooLong { most, found, .. } = error else { panic!("{error}") };
        assert_eq!((most, found), (107, 108));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn an_empty_path_and_one_with_a_nul_are_errors() {
    let nul = PathBuf::from(std::ffi::OsStr::from_bytes(b"\0ring"));
    for path in [PathBuf::new(), nul] {
        let error = Server::bind(&path).unwrap_err();
        assert!(matches!(error, RendezvousError::Path { .. }), "{error}");
        let error = connect(&path, Role::Tap, Duration::ZERO).unwrap_err();
        assert!(matches!(error, RendezvousError::Path { .. }), "{error}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let folder = Folder::new();
    let path = folder.join("none/ring");
    assert!(matches!(bind_error(&path), RendezvousError::NotFound { .. }));
    assert!(matches!(connect_error(&path), RendezvousError::NotFound { .. }));
    fs::write(folder.join("none"), "").unwrap();
    assert!(matches!(bind_error(&path), RendezvousError::NotFound { .. }));
    assert!(matches!(connect_error(&path), RendezvousError::NotFound { .. }));
}

#[test]
fn what_is_no_socket_is_an_error_and_stays() {
    let folder = Folder::new();
    let (file, link, dangling) = (folder.join("file"), folder.join("link"), folder.join("nowhere"));
    fs::write(&file, "somebody's").unwrap();
    symlink(&file, &link).unwrap();
    symlink(folder.join("missing"), &dangling).unwrap();
    for path in [&file, &link, &dangling, &folder.path().to_owned()] {
        let error = bind_error(path);
        assert!(matches!(error, RendezvousError::NotASocket { .. }), "{error}");
        path.symlink_metadata().unwrap();
    }
    for path in [&file, &link, &folder.path().to_owned()] {
        let error = connect_error(path);
        assert!(matches!(error, RendezvousError::NotASocket { .. }), "{error}");
    }
    assert!(matches!(connect_error(&dangling), RendezvousError::NotFound { .. }));
    assert_eq!(fs::read(&file).unwrap(), b"somebody's");
}

#[test]
fn a_second_server_finds_the_path_in_use_and_the_first_goes_on() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let writer = Writer::anonymous(4096).unwrap();
    let first = serve(&path, writer.offer()).unwrap();
    let error = bind_error(&path);
    assert!(matches!(error, RendezvousError::InUse { .. }), "{error}");
    connect(&path, Role::Consumer, DEADLINE).unwrap();
    drop(first);
}

#[test]
fn a_socket_of_another_type_is_in_use_and_no_server() {
    let folder = Folder::new();
    let path = folder.join("stream");
    let _stream = UnixListener::bind(&path).unwrap();
    assert!(matches!(bind_error(&path), RendezvousError::InUse { .. }));
    let error = connect_error(&path);
    assert!(matches!(error, RendezvousError::NotAServer { .. }), "{error}");
}

#[test]
fn a_dead_servers_socket_is_named_as_such_and_stays() {
    let folder = Folder::new();
    let path = folder.join("ring");
    drop(listener(&path));
    let error = bind_error(&path);
    assert!(matches!(error, RendezvousError::Stale { .. }), "{error}");
    assert!(error.to_string().contains(&format!("rm {}", path.display())), "{error}");
    let error = connect_error(&path);
    assert!(matches!(error, RendezvousError::NobodyListens { .. }), "{error}");
    assert!(path.exists());
}

#[test]
fn nothing_there_is_an_error_at_once() {
    let folder = Folder::new();
    let error = connect_error(&folder.join("ring"));
    assert!(matches!(error, RendezvousError::NotFound { .. }), "{error}");
}

/// A timeout beyond what a clock can tell is no limit, and no panic.
#[test]
fn the_longest_timeout_is_as_good_as_none() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let nobody = connect(&path, Role::Consumer, Duration::MAX).unwrap_err();
    assert!(matches!(nobody, RendezvousError::NotFound { .. }), "{nobody}");

    let (mut server, writer) = (Server::bind(&path).unwrap(), Writer::anonymous(4096).unwrap());
    let client = std::thread::spawn(move || connect(&path, Role::Consumer, Duration::MAX));
    server.accept(&writer, Duration::MAX).unwrap();
    client.join().unwrap().unwrap();
}
