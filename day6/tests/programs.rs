//! The day's programs, some of which are killed.
#![cfg(not(loom))]

use std::process::Command;

use testing::{Program, Unique};

fn start(program: &str, name: &Unique, arguments: &[&str]) -> Program {
    Program::start(Command::new(program).arg(name.as_str()).args(arguments))
}

fn producer(name: &Unique, arguments: &[&str]) -> Program {
    start(env!("CARGO_BIN_EXE_day6-producer"), name, arguments)
}

fn consumer(name: &Unique, arguments: &[&str]) -> Program {
    let mut consumer = start(env!("CARGO_BIN_EXE_day6-consumer"), name, arguments);
    consumer.line("attached");
    consumer
}

fn worker(name: &Unique, arguments: &[&str]) -> Program {
    let mut worker = start(env!("CARGO_BIN_EXE_day6-worker"), name, arguments);
    worker.line("a worker");
    worker
}

#[test]
fn a_producer_goes_on_when_a_consumer_is_killed() {
    let name = Unique::new("killed-consumer");
    let mut sending = producer(&name, &["--wait-for", "2", "--rate", "0", "--messages", "1000"]);
    sending.line("waiting");
    let dead = consumer(&name, &["--label", "the dead one"]);
    dead.signal(nix::sys::signal::Signal::SIGSTOP);
    // It is attached and reads nothing: the producer fills the ring, and waits.
    let reading = consumer(&name, &[]);
    sending.goes_on("a consumer that is stopped is alive");
    dead.kill();
    let lines = sending.finish().well();
    let told = lines.iter().find(|line| line.contains("\"the dead one\"")).unwrap();
    assert!(told.contains("has died; messages that it had not read: 8;"), "{told}");
    assert!(lines.contains(&"all 1000 messages sent and read; consumers that died: 1".to_owned()));
    let last = reading.finish().well().pop();
    assert_eq!(last.as_deref(), Some("messages received, in order and whole: 1000"));
}

#[test]
fn a_consumer_follows_from_producer_to_producer() {
    let name = Unique::new("killed-producer");
    let mut first = producer(&name, &["--messages", "1000000"]);
    first.line("waiting");
    let following = consumer(&name, &["--follow"]);
    let mut told = consumer(&name, &[]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    first.kill();
    told.line("messages received");
    let error = told.finish().badly();
    assert!(error.contains("died"), "{error}");
    let second = producer(&name, &["--resume", "--rate", "0", "--messages", "1000"]);
    let lines = second.finish().well();
    assert!(lines[0].starts_with("taken over: epoch 1, from message "), "{lines:?}");
    let lines = following.finish().well();
    assert!(lines[1].ends_with("comes from another producer: epoch 1"), "{lines:?}");
    assert_eq!(lines[2], "messages received, in order and whole: 1000");
}

#[test]
fn a_dead_workers_message_goes_to_another_once() {
    let name = Unique::new("killed-worker");
    let mut sending = producer(&name, &["--rate", "0", "--quiet"]);
    sending.line("waiting");
    let mut dead = worker(&name, &["--work-ms", "600000"]);
    let had = dead.line("message ");
    let living = worker(&name, &["--work-ms", "0"]);
    dead.kill();
    sending.finish().well();
    let lines = living.finish().well();
    let again: Vec<_> = lines.iter().filter(|line| line.contains(" again: the ")).collect();
    assert_eq!(again, [&format!("{had} again: the member that had it has died")]);
    assert_eq!(lines.last().unwrap(), "messages worked on: 40; of these, again: 1");
}

#[test]
fn a_dead_process_keeps_its_number_and_not_its_lock() {
    let ended = Program::start(&mut Command::new(env!("CARGO_BIN_EXE_day6-pids"))).finish();
    let lines = ended.well();
    assert!(lines[0].ends_with("its number: alive; its lock: alive"), "{lines:?}");
    assert!(lines[1].ends_with("its number: alive; its lock: dead"), "{lines:?}");
}

#[test]
fn measures() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_day6-measure"));
    let ended = Program::start(command.args(["--small", "--repeats", "1"])).finish();
    let lines = ended.well();
    let rows = |of: &str| lines.iter().filter(|line| line.contains(of)).count();
    assert_eq!((rows("consumer "), rows("member "), rows(" locks on")), (2, 2, 3), "{lines:#?}");
}

fn host(name: &Unique, arguments: &[&str]) -> Program {
    let mut host = start(env!("CARGO_BIN_EXE_day6-host"), name, arguments);
    host.line("hosting");
    host
}

fn guest(name: &Unique, arguments: &[&str]) -> Program {
    let mut guest = start(env!("CARGO_BIN_EXE_day6-guest"), name, arguments);
    guest.line("attached");
    guest
}

#[test]
fn a_guest_that_means_harm_is_turned_out_and_an_honest_one_notices_nothing() {
    let name = Unique::new("harm");
    let hosting = host(&name, &["--rate", "0", "--records", "1000"]);
    let honest = guest(&name, &[]);
    let harming = guest(&name, &["--harm-after", "10"]);
    let lines = harming.finish().well();
    assert_eq!(lines[1], "writing over the ring: EPERM: Operation not permitted");
    assert_eq!(lines.last().unwrap(), "its host has turned it out");
    let lines = hosting.finish().well();
    let told = lines.iter().find(|line| line.contains("was turned out: its cursor said")).unwrap();
    assert!(told.starts_with("consumer 1 (process "), "{told}");
    assert!(lines.last().unwrap().ends_with("or were turned out: 1"), "{lines:?}");
    let last = honest.finish().well().pop();
    assert_eq!(last.as_deref(), Some("records received, in order and whole: 1000"));
}

#[test]
fn a_host_goes_on_when_a_guest_is_killed() {
    let name = Unique::new("killed-guest");
    let mut hosting = host(&name, &["--rate", "0", "--records", "1000"]);
    let dead = guest(&name, &[]);
    dead.signal(nix::sys::signal::Signal::SIGSTOP);
    let reading = guest(&name, &[]);
    hosting.goes_on("a guest that is stopped is alive");
    dead.kill();
    let lines = hosting.finish().well();
    assert!(
        lines.iter().any(|line| line.contains("has died; bytes that it had not read: ")),
        "{lines:?}"
    );
    let last = reading.finish().well().pop();
    assert_eq!(last.as_deref(), Some("records received, in order and whole: 1000"));
}

#[test]
fn guests_learn_that_their_host_has_died_and_another_may_come() {
    let name = Unique::new("killed-host");
    let hosting = host(&name, &["--rate", "100", "--records", "1000000", "--wait-for", "1"]);
    let told = guest(&name, &[]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    hosting.kill();
    let error = told.finish().badly();
    assert!(error.contains("died"), "{error}");
    let hosting = host(&name, &["--rate", "0", "--wait-for", "1"]);
    let last = guest(&name, &[]).finish().well().pop();
    assert_eq!(last.as_deref(), Some("records received, in order and whole: 40"));
    hosting.finish().well();
}

#[test]
fn the_cost_of_rooms_is_measured_with_every_message_read() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_day6-rooms"));
    let ended = Program::start(command.args(["--repeats", "1", "--thousands", "1"])).finish();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.lines.iter().any(|line| line.starts_with("hosted by name")), "{:?}", ended.lines);
}
