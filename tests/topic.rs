//! `fanout topic`: publish, subscribe, list.

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{fanout, listening};
use testing::{Process, Program, Unique, eventually, run};

/// The command with a space of its own.
fn topic(command: &str, space: &Unique, arguments: &[&str]) -> Command {
    let mut all = listening(&["topic", command, "--space", space.as_str()]);
    all.args(arguments);
    all
}

fn subscribe(space: &Unique, arguments: &[&str]) -> Program {
    let subscriber = Program::start(&mut topic("sub", space, arguments));
    eventually("a subscription", || {
        list(space).contains("block")
            || list(space).contains("lossy")
            || list(space).contains("evict")
    });
    subscriber
}

fn list(space: &Unique) -> String {
    let output = run(&mut topic("ls", space, &[]));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn publish(space: &Unique, arguments: &[&str]) -> String {
    let output = run(&mut topic("pub", space, arguments));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_publisher_that_ends_at_once_is_heard_by_those_that_are_subscribed() {
    let space = Unique::new("cli-topic");
    let orders = subscribe(&space, &["orders.>", "--count", "2", "--topic-names"]);
    assert_eq!(publish(&space, &["orders.eu.17", "one", "and two"]), "");
    orders.finish().says(&["orders.eu.17 one", "orders.eu.17 and two"]);
    let unheard = publish(&space, &["orders.eu.17", "three"]);
    assert!(
        unheard.contains("nobody was subscribed to orders.eu.17 for 1 of 1 messages"),
        "{unheard}"
    );
    assert_eq!(list(&space), format!("nobody publishes or subscribes in {}\n", space.as_str()));
    assert!(!space.exists(), "the last that leaves removes the space");
}

#[test]
fn lines_from_stdin_are_messages() {
    let space = Unique::new("cli-lines");
    let any = subscribe(&space, &["*", "--count", "3"]);
    let mut command = topic("pub", &space, &["a"]);
    let mut publisher = Process::start(command.stdin(Stdio::piped()));
    support::type_into(&mut publisher, "one\n\nlast\n");
    drop(publisher.0.stdin.take());
    assert!(publisher.wait().success());
    any.finish().says(&["one", "", "last"]);
}

#[test]
fn a_late_subscriber_gets_the_last_message() {
    let space = Unique::new("cli-last");
    let mut command = topic("pub", &space, &["a.b", "--keep-last", "100"]);
    let mut publisher = Process::start(command.stdin(Stdio::piped()));
    support::type_into(&mut publisher, "old\nnewest\n");
    eventually("a publisher that keeps", || list(&space).contains("last"));
    // It says nothing about when it has published.
    eventually("the newest", || {
        let mut command = topic("sub", &space, &["a.*", "--last", "--count", "1"]);
        let mut late = Process::start(command.stdout(Stdio::piped()));
        let ended = late.ended_within(Duration::from_secs(1)).is_some();
        let mut text = String::new();
        if ended {
            std::io::Read::read_to_string(late.0.stdout.as_mut().unwrap(), &mut text).unwrap();
        }
        text == "newest\n"
    });
    drop(publisher.0.stdin.take());
    assert!(publisher.wait().success());
}

#[test]
fn the_list_shows_who_is_there_and_a_dead_one_goes() {
    let space = Unique::new("cli-list");
    let mut lossy = subscribe(&space, &["prices.>", "--policy", "lossy"]);
    let mut command = topic("pub", &space, &["prices.eu"]);
    let mut publisher = Process::start(command.stdin(Stdio::piped()));
    support::type_into(&mut publisher, "1\n");
    assert_eq!(lossy.next_line(), "1");
    let shown = list(&space);
    let ring = format!("{}.{}.0", space.as_str(), publisher.id());
    assert!(shown.lines().any(|line| line.starts_with(&ring)), "{shown}");
    assert!(
        shown.lines().any(|line| line.starts_with("prices.>") && line.ends_with("lossy")),
        "{shown}"
    );
    publisher.kill();
    eventually("the end of the dead publisher", || !list(&space).contains(&ring));
    assert!(!std::path::Path::new("/dev/shm").join(&ring[1..]).exists(), "its ring has gone");
    lossy.signal(Signal::SIGINT);
    let ended = lossy.finish();
    assert_eq!(ended.status.code(), Some(130));
    assert!(ended.stderr.contains("process") && ended.stderr.contains("died"), "{}", ended.stderr);
    assert!(ended.stderr.contains("1 messages received, 0 missed"), "{}", ended.stderr);
}

#[test]
fn a_waiting_publisher_waits_and_is_interrupted() {
    let space = Unique::new("cli-wait");
    let waiting = Program::start(&mut topic("pub", &space, &["a", "x", "--wait-for", "1"]));
    eventually("a publisher", || list(&space).contains(&format!("{}.", space.as_str())));
    // It may have all that it wants before anybody could see it in the list.
    let any = Program::start(&mut topic("sub", &space, &[">", "--count", "1"]));
    any.finish().says(&["x"]);
    assert!(waiting.finish().status.success());
    let waiting = Program::start(&mut topic("pub", &space, &["a", "x", "--wait-for", "1"]));
    eventually("a publisher", || list(&space).contains(&format!("{}.", space.as_str())));
    waiting.signal(Signal::SIGTERM);
    assert_eq!(waiting.finish().status.code(), Some(143));
    assert!(!space.exists());
}

#[test]
fn bad_names_and_patterns_are_refused() {
    let space = Unique::new("cli-bad");
    for (arguments, said) in [
        (&["pub", "a..b", "x"][..], "a part of it is empty"),
        (&["pub", "a.*", "x"], "only patterns have * and >"),
        (&["sub", "a.>.b"], "> stands for the rest, and only as the last part"),
        (&["sub", "a b"], "because of ' '"),
    ] {
        let output = run(fanout(&["topic"]).args(arguments).args(["--space", space.as_str()]));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
    let long = "x".repeat(5000);
    let output = run(&mut topic("pub", &space, &["a", &long, "--capacity", "4K"]));
    assert_eq!(output.status.code(), Some(0), "nobody wants it, so it is not copied");
    let any = subscribe(&space, &[">"]);
    let output = run(&mut topic("pub", &space, &["a", &long, "--capacity", "4K"]));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("larger capacity"), "{stderr}");
    any.kill();
    assert!(list(&space).contains("<- dead"), "the first that looks is told");
    assert!(!list(&space).contains('>'), "and has swept it");
}
