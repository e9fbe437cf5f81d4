//! Rings without names between processes: unrelated ones, children, and what children must not
//! inherit.

use std::env;
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use day3::Start;
use day4::rendezvous::{
    Invitation, InvitedError, RendezvousError, Role, VARIABLE, connect, invited, pair, serve,
};
use day4::{Member, Reader, RecvError, Tap, Writer};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use testing::{DEADLINE, Dice, Folder, Program, another};

use crate::home::{hear, listener, packet, say_with, token};

/// The variable that tells a process which runs [`a_child_of_another_test`] what to do.
const TASK: &str = "FANOUT_TEST_TASK";

/// The variable with the path at which the ring is served.
const PATH: &str = "FANOUT_TEST_PATH";

/// The variable with an address that the process's data must not have.
const TAKEN: &str = "FANOUT_TEST_TAKEN";

/// How many messages are exchanged: enough to go around the ring many times.
const MESSAGES: u64 = 10_000;

/// How many bytes the longest message has.
const LONGEST: u64 = 3_000;

/// How many bytes the ring has.
const CAPACITY: u64 = 1 << 16;

#[test]
#[ignore = "other tests start it as a process of its own"]
fn a_child_of_another_test() {
    let path = || env::var_os(PATH).unwrap();
    take_the_address();
    // The test harness has begun the first line with the test's name.
    println!();
    match env::var(TASK).as_deref() {
        Ok("read") => read(Reader::connect(path(), Start::Oldest).unwrap()),
        Ok("work") => work(&path().into_string().unwrap()),
        Ok("tap") => tap(Tap::connect(path(), Start::Oldest).unwrap()),
        Ok("invited") => read(Reader::invited(Start::Oldest).unwrap()),
        Ok("invited once") => take_the_invitation_twice(),
        Ok("not invited") => println!("error: {}", invited().unwrap_err()),
        Ok("without room") => connect_without_room(&path().into_string().unwrap()),
        _ => println!("no task: nothing to do"),
    }
}

/// A command that runs this program with a task.
fn child(task: &str) -> Command {
    let mut command = another("processes::a_child_of_another_test");
    command.env_remove(VARIABLE).env(TASK, task);
    command
}

fn stranger(task: &str, path: &Path) -> Command {
    let mut command = child(task);
    command.env(PATH, path);
    command
}

/// The same command, run by a shell after its own commands.
fn after(shell: &str, command: &Command) -> Command {
    let mut both = Command::new("sh");
    both.args(["-c", &format!("{shell}; exec \"$0\" \"$@\"")]).arg(command.get_program());
    both.args(command.get_args()).env_remove(VARIABLE);
    both.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    both
}

/// A message. Its number alone decides its length and content.
fn message(number: u64) -> Vec<u8> {
    let mut dice = Dice::new(number);
    let len = dice.below(LONGEST + 1);
    let words = (0..len.div_ceil(8)).flat_map(|_| dice.word().to_le_bytes());
    words.take(len as usize).collect()
}

/// Writes a first message, and prints the address of the ring's data in this process.
fn begin(writer: &mut Writer) -> usize {
    writer.send(b"0").unwrap();
    writer.memory().data().addr().get()
}

/// Makes sure that this process will map nothing at the address that it was told, if it was told
/// one.
fn take_the_address() {
    let Ok(taken) = env::var(TAKEN) else { return };
    let address = NonZeroUsize::new(taken.parse().unwrap());
    let len = NonZeroUsize::new(2 * CAPACITY as usize).unwrap();
    let there = MapFlags::MAP_PRIVATE
        | MapFlags::MAP_NORESERVE
        | MapFlags::from_bits_retain(libc::MAP_FIXED_NOREPLACE);
    // SAFETY: this maps over nothing that is mapped already, and the memory is never touched. If it
    // fails, the address is taken already, which is as good.
    let _ = unsafe { mmap_anonymous(address, len, ProtFlags::PROT_NONE, there) };
}

/// Reads and checks everything, and prints the address of the data and how many messages there
/// were.
fn read(mut reader: Reader) {
    let first = reader.recv().unwrap();
    assert_eq!(&*first, b"0");
    drop(first);
    println!("address {}", reader.data_address().addr());
    let mut number = 0;
    let end = loop {
        match reader.recv() {
            Ok(record) => assert_eq!(&*record, message(number), "message {number}"),
            Err(end) => break end,
        }
        number += 1;
    };
    assert_eq!(end, RecvError::Closed);
    println!("read {number}");
}

/// Reads its share, and prints the count and the sum of the messages' numbers.
fn work(path: &str) {
    let mut member = Member::connect(path, "work", Start::Oldest).unwrap();
    println!("joined");
    let (mut count, mut sum) = (0u64, 0u64);
    while let Ok(record) = member.recv() {
        let number = u64::from_le_bytes(record[..8].try_into().unwrap());
        assert_eq!(&record[8..], message(number));
        count += 1;
        sum += number;
    }
    println!("share {count} {sum}");
}

/// Follows the ring to its end, and prints what it saw and what it missed.
fn tap(mut tap: Tap) {
    println!("joined");
    let (mut copy, mut last) = (Vec::new(), None);
    while tap.recv(&mut copy).is_ok() {
        let number = u64::from_le_bytes(copy[..8].try_into().unwrap());
        assert_eq!(&copy[8..], message(number));
        assert!(last < Some(number), "{number} after {last:?}");
        last = Some(number);
    }
    println!("saw {} {}", tap.received(), tap.lost());
}

fn take_the_invitation_twice() {
    let ring = invited().unwrap();
    let flags = FdFlag::from_bits_retain(fcntl(&ring, FcntlArg::F_GETFD).unwrap());
    assert!(flags.contains(FdFlag::FD_CLOEXEC));
    let again = invited().unwrap_err();
    assert!(matches!(again, InvitedError::Taken), "{again}");
    // The grandchild gets the variable, but not the descriptor.
    let grandchild =
        Program::start(child("not invited").env(VARIABLE, env::var(VARIABLE).unwrap()));
    println!("{}", error_of(grandchild));
    drop(ring);
    println!("done");
}

/// The error of a child that prints nothing else.
fn error_of(child: Program) -> String {
    let lines = child.finish().well();
    lines.iter().find_map(|line| line.strip_prefix("error: ")).unwrap().into()
}

/// Has room for one descriptor where three come.
fn connect_without_room(path: &str) {
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    // One for the socket, and one for the first descriptor that comes.
    files.truncate(files.len() - 2);
    let error = connect(path, Role::Consumer, DEADLINE).unwrap_err();
    assert!(matches!(error, RendezvousError::NoRoom { .. }), "{error}");
    // Neither the socket nor the descriptor that fitted stayed open.
    files.push(File::open("/dev/null").unwrap());
    files.push(File::open("/dev/null").unwrap());
    File::open("/dev/null").unwrap_err();
    drop(files);
    println!("done");
}

fn send_all(writer: &mut Writer) {
    for number in 0..MESSAGES {
        writer.send_timeout(&message(number), DEADLINE).unwrap();
    }
}

fn send_all_numbered(writer: &mut Writer) {
    for number in 0..MESSAGES {
        let numbered = [number.to_le_bytes().to_vec(), message(number)].concat();
        writer.send_timeout(&numbered, DEADLINE).unwrap();
    }
}

/// The numbers in the line that a process prints with this beginning.
fn numbers(process: &mut Program, beginning: &str) -> Vec<u64> {
    let line = process.line(beginning);
    line.split_whitespace().skip(1).map(|number| number.parse().unwrap()).collect()
}

#[test]
fn strangers_read_every_byte_at_addresses_of_their_own() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let mut writer = Writer::anonymous(CAPACITY).unwrap();
    let here = begin(&mut writer);
    let serving = serve(&path, writer.offer()).unwrap();
    let start = || {
        let mut command = stranger("read", &path);
        Program::start(command.env(TAKEN, here.to_string()))
    };
    let mut readers = [start(), start()];
    writer.wait_for_consumers(readers.len(), DEADLINE).unwrap();
    drop(serving);
    send_all(&mut writer);
    writer.close();
    for reader in &mut readers {
        let there = numbers(reader, "address")[0];
        assert_ne!(there, here as u64, "the ring's data lies at the same address in two processes");
        assert_eq!(numbers(reader, "read"), [MESSAGES]);
    }
    for reader in readers {
        reader.finish().well();
    }
}

#[test]
fn strangers_share_the_work_of_a_group() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let mut writer = Writer::anonymous(CAPACITY).unwrap();
    let _serving = serve(&path, writer.offer()).unwrap();
    let mut members = [(); 2].map(|()| Program::start(&mut stranger("work", &path)));
    writer.wait_for_consumers(members.len(), DEADLINE).unwrap();
    send_all_numbered(&mut writer);
    writer.close();
    let shares = members.each_mut().map(|member| numbers(member, "share"));
    let total = |at: usize| shares.iter().map(|share| share[at]).sum::<u64>();
    assert_eq!((total(0), total(1)), (MESSAGES, MESSAGES * (MESSAGES - 1) / 2));
    for member in members {
        member.finish().well();
    }
}

#[test]
fn a_stranger_taps_and_accounts_for_every_message() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let mut writer = Writer::anonymous(CAPACITY).unwrap();
    let _serving = serve(&path, writer.offer()).unwrap();
    let mut tap = Program::start(&mut stranger("tap", &path));
    tap.line("joined");
    send_all_numbered(&mut writer);
    writer.close();
    let saw = numbers(&mut tap, "saw");
    assert_eq!(saw.iter().sum::<u64>(), MESSAGES, "{saw:?}");
    tap.finish().well();
    assert!(writer.consumers().is_empty());
}

#[test]
fn a_stranger_that_is_killed_is_evicted_and_the_next_one_served() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let mut writer = Writer::anonymous(CAPACITY).unwrap();
    begin(&mut writer);
    let _serving = serve(&path, writer.offer()).unwrap();
    let mut victim = Program::start(&mut stranger("read", &path));
    victim.line("address");
    victim.kill();
    let dead = writer.consumers().remove(0);
    // SAFETY: it was killed.
    assert!(unsafe { writer.evict(&dead) });

    let mut next = Program::start(&mut stranger("read", &path));
    writer.wait_for_consumers(1, DEADLINE).unwrap();
    send_all(&mut writer);
    writer.close();
    assert_eq!(numbers(&mut next, "read"), [MESSAGES]);
    next.finish().well();
}

#[test]
fn a_child_reads_what_its_parent_writes_at_an_address_of_its_own() {
    let (mut writer, invitation) = pair(CAPACITY).unwrap();
    let here = begin(&mut writer);
    let mut command = child("invited");
    command.env(TAKEN, here.to_string());
    invitation.pass_to(&mut command).unwrap();
    let mut reader = Program::start(&mut command);
    drop(command);
    writer.wait_for_consumers(1, DEADLINE).unwrap();
    send_all(&mut writer);
    writer.close();
    assert_ne!(numbers(&mut reader, "address")[0], here as u64);
    assert_eq!(numbers(&mut reader, "read"), [MESSAGES]);
    reader.finish().well();
}

#[test]
fn children_with_invitations_of_their_own_read_one_ring() {
    let (mut writer, first) = pair(CAPACITY).unwrap();
    let second = Invitation::new(&writer, Role::Consumer).unwrap();
    begin(&mut writer);
    let mut readers = [first, second].map(|invitation| {
        let mut command = child("invited");
        invitation.pass_to(&mut command).unwrap();
        Program::start(&mut command)
    });
    writer.wait_for_consumers(2, DEADLINE).unwrap();
    send_all(&mut writer);
    writer.close();
    for reader in &mut readers {
        assert_eq!(numbers(reader, "read"), [MESSAGES]);
    }
    for reader in readers {
        reader.finish().well();
    }
}

#[test]
fn an_invitation_is_taken_once_and_does_not_reach_grandchildren() {
    let (_writer, invitation) = pair(CAPACITY).unwrap();
    let mut command = child("invited once");
    invitation.pass_to(&mut command).unwrap();
    let mut child = Program::start(&mut command);
    let error = child.line("descriptor");
    assert!(error.contains("is not what the parent of this program passed"), "{error}");
    child.line("done");
    child.finish().well();
}

#[test]
fn a_child_that_is_not_invited_inherits_nothing() {
    let (_writer, invitation) = pair(CAPACITY).unwrap();
    let mut invited = Command::new("ls");
    invited.args(["-l", "/proc/self/fd"]);
    invitation.pass_to(&mut invited).unwrap();
    let list = |command: &mut Command| {
        let listed = command.stdin(Stdio::null()).output().unwrap();
        assert!(listed.status.success());
        String::from_utf8(listed.stdout).unwrap().matches("memfd:").count()
    };
    assert_eq!(list(Command::new("ls").args(["-l", "/proc/self/fd"])), 0);
    assert_eq!(list(&mut invited), 1);
}

#[test]
fn a_child_without_a_good_invitation_is_told_why() {
    let identity = fs::metadata("/dev/null").unwrap();
    use std::os::unix::fs::MetadataExt;
    let (device, inode) = (identity.dev(), identity.ino());
    let cases = [
        (None, "is not set"),
        (Some(String::new()), "found \"\""),
        (Some("seven".into()), "found \"seven\""),
        (Some("7:1".into()), "found \"7:1\""),
        (Some(format!("0:{device}:{inode}")), "DESCRIPTOR:DEVICE:INODE"),
        (Some(format!("1000:{device}:{inode}")), "descriptor 1000 is not"),
        // The descriptor is open, but it is another than the parent passed.
        (Some(format!("9:{device}:{}", inode + 1)), "descriptor 9 is not"),
    ];
    for (value, expected) in cases {
        let mut command = child("not invited");
        if let Some(value) = &value {
            command.env(VARIABLE, value);
        }
        let error = error_of(Program::start(&mut after("exec 9</dev/null", &command)));
        assert!(error.contains(VARIABLE) && error.contains(expected), "{value:?}: {error}");
    }
}

#[test]
fn a_client_without_room_for_descriptors_says_so_and_leaks_none() {
    let folder = Folder::new();
    let path = folder.join("ring");
    let waiter = listener(&path);
    let server = thread::spawn(move || {
        let waiter = std::os::unix::net::UnixListener::from(waiter);
        let socket = waiter.accept().unwrap().0.into();
        hear(&socket);
        let tokens = [(); 3].map(|()| token());
        let (descriptors, tokens): (Vec<_>, Vec<_>) = tokens.into_iter().unzip();
        say_with(&socket, &packet(&[1, 0, 3, 0]), &descriptors);
        drop(descriptors);
        tokens.into_iter().for_each(|token| token.gone());
    });
    let mut client = Program::start(&mut after("ulimit -n 64", &stranger("without room", &path)));
    client.line("done");
    client.finish().well();
    server.join().unwrap();
}
