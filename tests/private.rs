//! The command and private queues: who hands them out, finds them, looks at them, and cleans up after them.

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fanout::error::{JoinError, OpenError};
use fanout::records::{Reader, Tap, Writer};
use fanout::{JoinOptions, QueueOptions, Start};
use nix::libc;
use nix::sys::signal::Signal;
use support::{
    consumers, fanout, finish, kill, lines, publish, report, said, stderr, stdout, subscribe,
    type_into,
};
use testing::{Folder, Process, Unique, eventually, run};

fn refused(arguments: &[&str], code: i32, says: &str) {
    let output = run(&mut fanout(arguments));
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    assert!(told.contains(says), "{arguments:?}: {told}");
}

/// The line that `ls` has for this name, and its object in JSON.
fn listed(name: &Unique) -> Option<(String, serde_json::Value)> {
    let table = run(&mut fanout(&["ls"]));
    let line = stdout(&table).lines().find(|line| line.contains(name.bare()))?.to_owned();
    let json = run(&mut fanout(&["ls", "--json"]));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let mut queues = json.as_array().unwrap().iter();
    let queue = queues.find(|queue| queue["name"] == name.as_str())?;
    Some((line, queue.clone()))
}

#[test]
fn a_private_queue_is_read_by_its_name_in_every_way_but_as_a_group() {
    let (name, folder) = (Unique::new("ways"), Folder::new());
    let mut publisher = publish(&name, &["--private", "--wait-for", "3"]);
    let ways =
        [&[][..], &["--policy", "evict=60s"], &["--policy", "lossy"], &["--tap"], &["--follow"]];
    let mut subs: Vec<Process> = ways
        .iter()
        .enumerate()
        .map(|(n, more)| subscribe(&name, more, &folder.join(&n.to_string())))
        .collect();
    eventually("four consumers", || consumers(&name) == 4);
    refused(&["sub", name.bare(), "--group", "g"], 1, "so it has no groups: join it as a consumer");
    type_into(&mut publisher, "one\ntwo\n");
    assert_eq!(finish(publisher), "");
    for (n, sub) in subs.iter_mut().enumerate() {
        let status = sub.wait();
        assert!(status.success(), "{:?}: {}", ways[n], said(sub));
        assert_eq!(lines(&folder.join(&n.to_string())), "one\ntwo\n");
    }
    assert!(!name.exists());
    refused(&["pub", name.bare(), "--lag-limit", "5s"], 2, "--private");
    refused(&["pub", name.bare(), "--private", "--mode", "660"], 2, "for its own user (600)");
    refused(&["pub", name.bare(), "--private", "--lag-limit", "0"], 2, "expected a time above 0");
}

#[test]
fn a_private_queue_may_let_in_only_those_that_promise_to_go() {
    let (name, folder) = (Unique::new("limit"), Folder::new());
    let mut publisher = publish(&name, &["--private", "--lag-limit", "2s"]);
    for more in [&[][..], &["--policy", "evict=3s"]] {
        let says = "error: this queue lets in only consumers that promise to go when they have held it back for 2s";
        refused(&[&["sub", name.bare()][..], more].concat(), 1, says);
    }
    let mut sub = subscribe(&name, &["--policy", "evict=2s"], &folder.join("out"));
    type_into(&mut publisher, "let in\n");
    finish(publisher);
    assert!(sub.wait().success());
    assert_eq!(lines(&folder.join("out")), "let in\n");
}

#[test]
fn ls_and_stat_show_a_private_queue_and_nobody_else_changes_it() {
    let (name, folder) = (Unique::new("shown"), Folder::new());
    let mut publisher = publish(&name, &["--private", "--capacity", "4096"]);
    let mut sub = subscribe(&name, &["--label", "guest"], &folder.join("out"));
    type_into(&mut publisher, "seen\n");
    eventually("a message", || lines(&folder.join("out")) == "seen\n");
    let (line, queue) = listed(&name).unwrap();
    assert!(line.contains("  private  ") && !line.contains("dead"), "{line}");
    assert_eq!((&queue["private"], &queue["kind"]), (&true.into(), &"records".into()), "{queue}");
    assert_eq!((&queue["dead"], &queue["consumers"]), (&false.into(), &1.into()), "{queue}");
    assert!(queue["attached"].is_null() && queue["sent"].as_u64() > Some(0), "{queue}");
    // The publisher looks at its consumers also while it waits for input.
    eventually("a look", || report(&name)["consumers"][0]["lag"] == 0);
    let shown = report(&name);
    let guest = &shown["consumers"][0];
    assert_eq!((&shown["private"], &guest["label"]), (&true.into(), &"guest".into()), "{shown}");
    assert_eq!((&guest["pid"], &guest["alive"]), (&sub.0.id().into(), &serde_json::Value::Null));
    let text = run(&mut fanout(&["stat", name.bare()]));
    assert!(stdout(&text).contains(", private, open\n"), "{}", stdout(&text));
    assert!(stdout(&text).contains("Who is alive, nobody else knows."), "{}", stdout(&text));

    for arguments in
        [&["evict", name.bare(), "0", "--force", "--yes"][..], &["evict", name.bare(), "0"]]
    {
        refused(arguments, 1, "nothing was evicted: ");
    }
    refused(&["forget", name.bare(), "g"], 1, "is a socket");
    refused(&["rm", name.bare()], 1, "is in use by its producer");
    refused(&["pub", name.bare()], 1, "whose producer is alive");
    refused(&["pub", name.bare(), "--private"], 1, "whose producer is alive");
    let cleaned = run(&mut fanout(&["clean", name.bare()]));
    assert_eq!(stdout(&cleaned), format!("{}: left; its producer is alive\n", name.as_str()));
    assert_eq!(consumers(&name), 1);
    kill(&mut sub);
    eventually("a look", || consumers(&name) == 0);
    type_into(&mut publisher, "after\n");
    let told = finish(publisher);
    assert!(told.starts_with("consumer 0 (label \"guest\", pid "), "{told}");
    assert!(told.contains(" has died: ") && told.lines().count() == 1, "{told}");
}

#[test]
fn a_private_queue_s_name_is_removed_by_force_while_it_lives() {
    let (name, folder) = (Unique::new("forced"), Folder::new());
    let mut publisher = publish(&name, &["--private"]);
    let mut sub = subscribe(&name, &[], &folder.join("out"));
    eventually("a subscriber", || consumers(&name) == 1);
    assert!(run(&mut fanout(&["rm", name.bare(), "--force"])).status.success());
    assert!(!name.exists());
    type_into(&mut publisher, "goes on\n");
    finish(publisher);
    assert!(sub.wait().success());
    assert_eq!(lines(&folder.join("out")), "goes on\n");
}

#[test]
fn a_private_queue_that_is_interrupted_tells_its_subscribers_and_leaves_no_name() {
    let (name, folder) = (Unique::new("interrupted"), Folder::new());
    let mut publisher = publish(&name, &["--private", "--mode", "666"]);
    let mut sub = subscribe(&name, &["--follow"], &folder.join("out"));
    type_into(&mut publisher, "a part\n");
    eventually("a message", || lines(&folder.join("out")) == "a part\n");
    publisher.signal(Signal::SIGTERM);
    assert_eq!(publisher.wait().code(), Some(143));
    assert_eq!(sub.wait().code(), Some(support::GAVE_UP));
    assert!(!name.exists());
}

#[test]
fn who_comes_after_a_killed_publisher_replaces_its_private_queue() {
    for second in [&["--private"][..], &[]] {
        let (name, folder) = (Unique::new("killed"), Folder::new());
        let mut first = publish(&name, &["--private"]);
        let mut orphan = subscribe(&name, &[], &folder.join("orphan"));
        let mut follower = subscribe(&name, &["--follow"], &folder.join("follower"));
        let mut tap = subscribe(&name, &["--follow", "--tap"], &folder.join("tap"));
        type_into(&mut first, "one\n");
        let all = |expected: &str| {
            ["follower", "tap"].iter().all(|end| lines(&folder.join(end)) == expected)
        };
        eventually("a message", || all("one\n") && lines(&folder.join("orphan")) == "one\n");
        kill(&mut first);
        assert_eq!(orphan.wait().code(), Some(1));
        let told = said(&mut orphan);
        assert!(
            told.starts_with("error: the producer died ") && told.contains("--follow"),
            "{told}"
        );
        let (line, queue) = listed(&name).unwrap();
        assert!(line.contains("  dead: the producer of this private queue died"), "{line}");
        assert!(queue["error"].as_str().unwrap().contains("fanout clean"), "{queue}");
        refused(&["stat", name.bare()], 1, "no queue ");
        refused(&["sub", name.bare(), "--no-wait"], 1, "no queue ");
        let tried = run(&mut fanout(&["clean", name.bare(), "--dry-run"]));
        assert_eq!(stdout(&tried), format!("{}: would be removed\n", name.as_str()));

        let mut next = publish(&name, &[second, &["--wait-for", "1"]].concat());
        type_into(&mut next, "two\n");
        eventually("what came next", || all("one\ntwo\n"));
        let expected = format!(
            "replaced the queue {}: its producer had died, and its memory has gone with it\n",
            name.as_str()
        );
        assert_eq!(finish(next), expected);
        for end in [&mut follower, &mut tap] {
            let status = end.wait();
            let told = said(end);
            assert!(status.success(), "{told}");
            let begin = format!("the producer of {} died, ", name.as_str());
            assert!(told.lines().any(|line| line.starts_with(&begin)), "{told}");
        }
    }
}

#[test]
fn clean_and_rm_remove_what_a_dead_publisher_left_and_no_other_socket() {
    let (dead, other, stranger, living) =
        (Unique::new("dead"), Unique::new("other"), Unique::new("stranger"), Unique::new("living"));
    for name in [&dead, &other] {
        kill(&mut publish(name, &["--private"]));
        assert!(name.exists());
    }
    drop(UnixListener::bind(stranger.path()).unwrap());
    let listener = UnixListener::bind(living.path()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let line = |name: &Unique, what: &str| format!("{}: {what}\n", name.as_str());
    let all = run(&mut fanout(&["clean", "--dry-run"]));
    assert!(stdout(&all).contains(&line(&dead, "would be removed")), "{}", stdout(&all));
    for name in [&stranger, &living] {
        assert!(!stdout(&all).contains(name.bare()), "{}", stdout(&all));
        assert_eq!(listed(name), None);
        refused(&["clean", name.bare()], 1, "is a socket");
        refused(&["rm", name.bare()], 1, "is a socket");
        refused(&["rm", name.bare(), "--force"], 1, "is a socket");
        refused(&["pub", name.bare()], 1, "is taken by an object that is no queue");
    }
    refused(&["pub", stranger.bare(), "--private"], 1, "remove it (rm /dev/shm/");
    assert_eq!(
        listener.accept().err().map(|error| error.kind()),
        Some(std::io::ErrorKind::WouldBlock)
    );
    assert!(stranger.exists() && living.exists());
    let done = run(&mut fanout(&["clean", dead.bare()]));
    assert_eq!(stdout(&done), line(&dead, "removed"));
    assert!(run(&mut fanout(&["rm", other.bare()])).status.success());
    assert!(!dead.exists() && !other.exists());
}

#[test]
fn a_private_queue_takes_no_attended_queue_over() {
    let (name, living) = (Unique::new("attended"), Unique::new("model"));
    let mut writer = Writer::create(living.bare(), 4096).unwrap();
    writer.send(b"a legacy").unwrap();
    // The bytes of a living queue have no leases.
    std::fs::copy(living.path(), name.path()).unwrap();
    let reader = Reader::join(name.bare(), Start::Oldest).unwrap();
    refused(
        &["pub", name.bare(), "--private"],
        1,
        "attached: 1 consumer waits for a successor: expected a free name",
    );
    assert!(name.exists());
    drop(reader);
    let told = finish(publish(&name, &["--private", "--wait-for", "0"]));
    assert!(told.ends_with("its producer had died, and nobody was attached\n"), "{told}");
}

#[test]
fn a_publisher_says_whom_it_has_evicted_and_why() {
    for kind in [&[][..], &["--private"]] {
        let (name, folder) = (Unique::new("evicted"), Folder::new());
        let input = folder.join("in");
        std::fs::write(&input, "some words on a line\n".repeat(10_000)).unwrap();
        let file = ["--capacity", "4096", "--file", input.to_str().unwrap()];
        let mut publisher = publish(&name, &[kind, &file].concat());
        // Its output is not read. It stands still when the pipe is full.
        let mut slow = fanout(&["sub", name.bare(), "--policy", "evict=0.2s", "--label", "slow"]);
        let mut slow = Process::start(slow.stdout(Stdio::piped()).stderr(Stdio::piped()));
        assert!(publisher.wait().success());
        let told = said(&mut publisher);
        let begin = format!(
            "consumer 0 (label \"slow\", pid {} as it says) of {} was evicted: it held the producer back for 0.2 s, ",
            slow.0.id(),
            name.as_str()
        );
        assert!(told.starts_with(&begin), "{kind:?}: {told}");
        assert!(told.ends_with(" bytes were left that it had not read\n"), "{kind:?}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        let output = BufReader::new(slow.0.stdout.take().unwrap());
        assert!(output.lines().count() > 0);
        assert_eq!(slow.wait().code(), Some(1));
        assert!(said(&mut slow).contains("this consumer was evicted"));
    }
}

/// Becomes another user on this thread alone.
fn become_another_user() {
    // SAFETY: the call changes nothing but this thread's user; the C library, which would change all threads', is not
    // asked.
    let changed = unsafe { libc::syscall(libc::SYS_setresuid, -1, 65534, -1) };
    assert_eq!(changed, 0);
}

#[test]
fn another_user_s_host_is_joined_only_on_trust() {
    if !nix::unistd::geteuid().is_root() {
        println!("only root can become another user");
        return;
    }
    let name = Unique::new("their-host");
    let (hosting, hosted) = mpsc::channel();
    let (ended, end) = mpsc::channel::<()>();
    let path = name.bare().to_owned();
    let host = thread::spawn(move || {
        become_another_user();
        let options = QueueOptions::new(4096).permissions(0o666);
        let mut writer = Writer::host(&*path, &options).unwrap();
        writer.send(b"theirs").unwrap();
        hosting.send(()).unwrap();
        let _ = end.recv();
    });
    hosted.recv().unwrap();
    let refused = [
        Reader::join(name.bare(), Start::Oldest).map(drop),
        Tap::open(name.bare(), Start::Oldest).map(drop),
        Tap::join(name.bare(), Start::Oldest, &JoinOptions::new()).map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        let is_owner = matches!(error, JoinError::Open(OpenError::Owner { found: 65534, .. }));
        assert!(is_owner, "{error}");
    }
    for trusting in [JoinOptions::new().trust_user(65534), JoinOptions::new().trust_any_user()] {
        let mut reader = Reader::join_with(name.bare(), Start::Oldest, &trusting).unwrap();
        assert_eq!(&*reader.recv_timeout(Duration::from_secs(30)).unwrap(), b"theirs");
    }
    drop(ended);
    host.join().unwrap();
    assert!(!name.exists());
}
