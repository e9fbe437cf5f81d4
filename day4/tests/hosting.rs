//! Queues under the name of their host: how they are found, looked at and removed, and what is left alone.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use day2::{CreateError, Holder, OpenError};
use day3::{JoinError, QueueOptions, Start};
use day4::hosting::{HostState, observe, remove, remove_dead, state};
use day4::rendezvous::{HostError, RendezvousError};
use day4::{Reader, Writer};
use testing::Unique;

const DEADLINE: Duration = Duration::from_secs(30);

fn host(name: &Unique) -> Writer {
    Writer::host(&**name, &QueueOptions::new(4096)).unwrap()
}

/// What a dead process leaves of a socket.
fn leave_socket(name: &Unique) {
    drop(UnixListener::bind(name.path()).unwrap());
}

/// What a dead host leaves.
fn leave_dead(name: &Unique) {
    leave_socket(name);
    name.set_mode(0o1600);
}

fn taken(error: &HostError) -> Option<Holder> {
    match error {
        HostError::Create(day3::CreateError::Segment(CreateError::Taken { by, .. })) => Some(*by),
        _ => None,
    }
}

#[test]
fn a_host_s_name_is_marked_while_it_lives_and_gone_afterwards() {
    let name = Unique::new("marked");
    assert_eq!(state(&name), None);
    let writer = host(&name);
    assert_eq!(name.metadata().mode() & 0o7777, 0o1600);
    assert_eq!(state(&name), Some(HostState::Living));
    assert!(!remove_dead(&name).unwrap() && name.exists());
    drop(writer);
    assert_eq!(state(&name), None);
    let anybody = QueueOptions::new(4096).permissions(0o666);
    let _writer: Writer = Writer::host(&*name, &anybody).unwrap();
    assert_eq!(name.metadata().mode() & 0o7777, 0o1666);
}

#[test]
fn what_a_dead_host_has_left_is_replaced_or_removed() {
    let name = Unique::new("left");
    leave_dead(&name);
    assert_eq!(state(&name), Some(HostState::Dead));
    let error = Writer::create(&*name, 4096).unwrap_err();
    assert_eq!(taken(&error.into()), Some(Holder::Dead));
    let error = Reader::join(&*name, Start::Oldest).unwrap_err();
    assert!(matches!(error, JoinError::Open(OpenError::NotFound { .. })), "{error}");
    let writer = host(&name);
    assert_eq!(state(&name), Some(HostState::Living));
    drop(writer);
    leave_dead(&name);
    assert!(remove_dead(&name).unwrap() && !name.exists());
    assert!(!remove_dead(&name).unwrap());
}

#[test]
fn another_program_s_socket_is_left_alone() {
    let name = Unique::new("stranger");
    leave_socket(&name);
    let before = name.state();
    assert_eq!(state(&name), None);
    assert!(!remove_dead(&name).unwrap() && !remove(&name).unwrap());
    let error = Writer::host(&*name, &QueueOptions::new(4096)).unwrap_err();
    assert!(matches!(error, HostError::Rendezvous(RendezvousError::Stale { .. })), "{error}");
    let error = Writer::create(&*name, 4096).unwrap_err();
    assert_eq!(taken(&error.into()), Some(Holder::Stranger));
    assert_eq!(name.state(), before);
}

#[test]
fn a_mark_alone_makes_no_host() {
    let name = Unique::new("file");
    name.write(b"not a socket");
    std::fs::set_permissions(name.path(), std::fs::Permissions::from_mode(0o1600)).unwrap();
    assert_eq!(state(&name), None);
    assert!(!remove(&name).unwrap() && name.exists());
}

#[test]
fn another_user_s_host_is_not_asked() {
    if !nix::unistd::geteuid().is_root() {
        println!("only root can give a file away");
        return;
    }
    let name = Unique::new("theirs");
    leave_dead(&name);
    std::os::unix::fs::chown(name.path(), Some(65534), None).unwrap();
    // Changing its owner may have taken its mark off.
    name.set_mode(0o1600);
    assert_eq!(state(&name), Some(HostState::OtherUser(65534)));
    assert!(!remove_dead(&name).unwrap() && name.exists());
}

#[test]
fn a_name_is_taken_whatever_has_it() {
    let name = Unique::new("taken");
    let writer = host(&name);
    let error = Writer::host(&*name, &QueueOptions::new(4096)).unwrap_err();
    assert_eq!(taken(&error), Some(Holder::Living), "{error}");
    let error = Writer::create(&*name, 4096).unwrap_err();
    assert_eq!(taken(&error.into()), Some(Holder::Living));
    drop(writer);
    let shared = Writer::create(&*name, 4096).unwrap();
    let error = Writer::host(&*name, &QueueOptions::new(4096)).unwrap_err();
    assert_eq!(taken(&error), Some(Holder::Living), "{error}");
    std::fs::copy(name.path(), name.path().with_extension("copy")).unwrap();
    drop(shared);
    std::fs::rename(name.path().with_extension("copy"), name.path()).unwrap();
    let error = Writer::host(&*name, &QueueOptions::new(4096)).unwrap_err();
    assert_eq!(taken(&error), Some(Holder::Dead), "{error}");
}

#[test]
fn an_observer_finds_a_queue_by_its_name_wherever_it_is() {
    let (name, shared) = (Unique::new("observed"), Unique::new("shared"));
    let mut writer = host(&name);
    let mut reader: Reader = Reader::join(&*name, Start::Oldest).unwrap();
    let observer = observe(&name, DEADLINE).unwrap();
    writer.send(b"twice").unwrap();
    let seen = observer.snapshot();
    assert!(seen.private && seen.producer_lives && !seen.closed);
    assert_eq!(seen.consumers.len(), 1);
    assert_eq!(seen.consumers[0].alive, None, "only its host knows");
    assert_eq!((seen.sent(), seen.consumers[0].lag), (16, 16));
    assert_eq!(&*reader.recv().unwrap(), b"twice");
    assert_eq!(writer.consumers().len(), 1, "the host looks at its guests");
    assert_eq!(observer.snapshot().consumers[0].lag, 0);
    drop(writer);
    let seen = observer.snapshot();
    assert!(seen.closed && !seen.producer_lives);

    let _writer = Writer::create(&*shared, 4096).unwrap();
    let _reader = Reader::join(&*shared, Start::Oldest).unwrap();
    let seen = observe(&shared, DEADLINE).unwrap().snapshot();
    assert_eq!((seen.private, seen.consumers[0].alive), (false, Some(true)));
    for absent in [&name, &Unique::new("absent")] {
        let error = observe(absent, Duration::ZERO).unwrap_err();
        assert!(matches!(error, JoinError::Open(OpenError::NotFound { .. })), "{error}");
    }
}

#[test]
fn nobody_but_the_host_changes_the_roster() {
    let name = Unique::new("roster");
    let _writer = host(&name);
    let _reader: Reader = Reader::join(&*name, Start::Oldest).unwrap();
    let guest = observe(&name, DEADLINE).unwrap().snapshot().consumers.remove(0);
    let refused = day3::inspect::evict_dead(&name, &guest, DEADLINE).unwrap_err();
    assert!(
        matches!(
            refused,
            day3::inspect::EvictDeadError::Open(OpenError::Socket { name: ref found }) if *found == *name
        ),
        "{refused}"
    );
}

#[test]
fn who_replaces_and_who_removes_at_the_same_time_do_not_hurt_each_other() {
    for _ in 0..50 {
        let name = Unique::new("race");
        leave_dead(&name);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| remove_dead(&name).unwrap());
            }
            let hosts =
                [(); 2].map(|()| scope.spawn(|| Writer::host(&*name, &QueueOptions::new(4096))));
            let hosts: Vec<_> = hosts.into_iter().map(|host| host.join().unwrap()).collect();
            let living = hosts.iter().filter(|host| host.is_ok()).count();
            assert_eq!(living, 1, "{hosts:?}");
            for error in hosts.iter().filter_map(|host| host.as_ref().err()) {
                assert_eq!(taken(error), Some(Holder::Living), "{error}");
            }
            assert_eq!(state(&name), Some(HostState::Living));
        });
        assert!(!name.exists());
    }
}
