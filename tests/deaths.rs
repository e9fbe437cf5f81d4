//! The command when processes are killed: who takes over, what is told, and what is cleaned up.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread;

use fanout::records::error::TrySendError;
use fanout::records::{Member, Reader, Tap, Writer};
use fanout::{JoinOptions, QueueOptions, Start};
use nix::sys::signal::Signal;
use support::{
    consumers, fanout, finish, kill, lines, publish, report, said, start_into, stderr, stdout,
    subscribe, type_into,
};
use testing::{Folder, Process, Program, Unique, another, eventually, run};

/// A queue whose producer is dead, and that nobody has open: the bytes of a living one have no leases.
fn leave_dead(name: &Unique) {
    let living = Unique::new("living");
    let mut writer = Writer::create(living.bare(), 4096).unwrap();
    writer.send(b"a legacy").unwrap();
    std::fs::copy(living.path(), name.path()).unwrap();
}

#[test]
fn a_publisher_replaces_a_queue_that_a_killed_one_has_left() {
    let (name, folder) = (Unique::new("again"), Folder::new());
    let mut first = publish(&name, &["--wait-for", "0"]);
    type_into(&mut first, "lost with its queue\n");
    kill(&mut first);
    assert!(name.exists(), "a killed publisher cannot clean up");
    let listed = run(&mut fanout(&["ls"]));
    let line = stdout(&listed).lines().find(|line| line.contains(name.bare())).unwrap();
    assert!(line.ends_with("  <- dead"), "{line}");

    let mut second = publish(&name, &[]);
    let mut sub = subscribe(&name, &[], &folder.join("out"));
    type_into(&mut second, "new\n");
    let told = finish(second);
    let expected = format!(
        "replaced the queue /{}: its producer had died, and nobody was attached\n",
        name.bare()
    );
    assert_eq!(told, expected);
    assert!(sub.wait().success());
    assert_eq!(lines(&folder.join("out")), "new\n");
    assert!(!name.exists());
}

#[test]
fn a_publisher_takes_over_a_queue_that_somebody_is_attached_to() {
    let (name, folder) = (Unique::new("heir"), Folder::new());
    let mut first = publish(&name, &["--wait-for", "0"]);
    let ways = [&["--follow"][..], &["--follow", "--group", "g"], &["--follow", "--tap"]];
    let mut subs: Vec<Process> = ways
        .iter()
        .enumerate()
        .map(|(n, more)| subscribe(&name, more, &folder.join(&n.to_string())))
        .collect();
    eventually("two subscribers", || consumers(&name) == 2);
    type_into(&mut first, "one\ntwo\n");
    let all = |expected: &str| (0..3).all(|n| lines(&folder.join(&n.to_string())) == expected);
    eventually("what came first", || all("one\ntwo\n"));
    let identity = report(&name)["identity"].as_str().unwrap().to_owned();
    kill(&mut first);
    let listed = run(&mut fanout(&["ls"]));
    let line = stdout(&listed).lines().find(|line| line.contains(name.bare())).unwrap();
    assert!(line.ends_with("  <- dead, 2 attached"), "{line}");
    let listed = run(&mut fanout(&["ls", "--json"]));
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let called = format!("/{}", name.bare());
    let queue = listed.as_array().unwrap().iter().find(|queue| queue["name"] == called.as_str());
    assert_eq!((&queue.unwrap()["dead"], &queue.unwrap()["attached"]), (&true.into(), &2.into()));

    let mut second = publish(&name, &[]);
    let taken_over = report(&name);
    assert_eq!(taken_over["epoch"], 1);
    assert_eq!(taken_over["identity"], identity.as_str());
    let shown = run(&mut fanout(&["stat", name.bare()]));
    let producer = format!("pid {} as it says, alive, epoch 1", second.0.id());
    assert!(stdout(&shown).contains(&producer), "{}", stdout(&shown));
    type_into(&mut second, "three\n");
    eventually("what came later", || all("one\ntwo\nthree\n"));
    let told = finish(second);
    let begin = format!(
        "took over the queue {called}, whose producer had died: 2 consumers are attached; goes on after 2 \
         messages, at sequence "
    );
    assert!(told.starts_with(&begin) && told.lines().count() == 1, "{told}");
    for sub in &mut subs {
        let status = sub.wait();
        assert!(status.success(), "{}", said(sub));
    }
    assert!(all("one\ntwo\nthree\n"));
}

#[test]
fn a_subscriber_that_does_not_follow_is_told_that_the_publisher_died() {
    for more in [&[][..], &["--group", "g"], &["--tap"]] {
        let (name, folder) = (Unique::new("orphan"), Folder::new());
        let mut publisher = publish(&name, &["--wait-for", "0"]);
        type_into(&mut publisher, "one\n");
        let mut sub = subscribe(&name, more, &folder.join("out"));
        eventually("the message", || lines(&folder.join("out")) == "one\n");
        kill(&mut publisher);
        assert_eq!(sub.wait().code(), Some(1), "{more:?}");
        let told = said(&mut sub);
        let last = told.lines().last().unwrap();
        assert!(
            last.starts_with("error: the producer died ") && last.contains("--follow"),
            "{told}"
        );
        assert_eq!(lines(&folder.join("out")), "one\n");
    }
}

#[test]
fn a_member_that_the_others_left_nothing_is_told_that_the_publisher_died() {
    let (name, folder) = (Unique::new("idle"), Folder::new());
    let mut publisher = publish(&name, &["--wait-for", "0"]);
    let mut idle = subscribe(&name, &["--group", "g"], &folder.join("out"));
    eventually("a member", || consumers(&name) == 1);
    idle.signal(Signal::SIGSTOP);
    let mut other = Member::join(name.bare(), "g", Start::Oldest).unwrap();
    type_into(&mut publisher, "one\ntwo\n");
    for line in ["one", "two"] {
        assert_eq!(&*other.recv().unwrap(), line.as_bytes());
    }
    kill(&mut publisher);
    idle.signal(Signal::SIGCONT);
    assert_eq!(idle.wait().code(), Some(1));
    assert!(said(&mut idle).contains("the producer died "));
}

#[test]
fn a_queue_in_which_a_group_holds_messages_is_taken_over_although_nobody_is_attached() {
    let (name, folder) = (Unique::new("held"), Folder::new());
    let worker = ["--group", "work", "--hold"];
    let mut first = publish(&name, &["--wait-for", "0"]);
    let mut sub = subscribe(&name, &[&worker[..], &["--count", "1"]].concat(), &folder.join("1"));
    type_into(&mut first, "one\ntwo\n");
    assert!(sub.wait().success());
    kill(&mut first);
    let mut second = publish(&name, &["--wait-for", "0"]);
    type_into(&mut second, "three\n");
    let mut sub = subscribe(&name, &worker, &folder.join("2"));
    let told = finish(second);
    let expected = format!(
        "took over the queue /{}, whose producer had died: nobody is attached, but there are the 16 bytes that the \
         group \"work\" holds; goes on after 2 messages",
        name.bare()
    );
    assert!(told.starts_with(&expected) && told.lines().count() == 1, "{told}");
    assert!(sub.wait().success());
    let read = ["1", "2"].map(|output| lines(&folder.join(output))).concat();
    assert_eq!(read, "one\ntwo\nthree\n");
}

#[test]
fn what_a_dead_member_of_a_holding_group_held_is_a_reason_to_take_over() {
    let (name, folder) = (Unique::new("withheld"), Folder::new());
    let worker = ["sub", name.bare(), "--group", "work", "--hold"];
    let mut first = publish(&name, &["--wait-for", "0"]);
    let mut dead = Process::start(fanout(&worker).stdout(Stdio::piped()));
    eventually("a member", || consumers(&name) == 1);
    // More than a pipe takes: the member holds what it cannot write out.
    type_into(&mut first, &format!("{}\n", "x".repeat(1 << 17)));
    eventually("a member that holds a message", || {
        report(&name)["consumers"][0]["lag"].as_u64() > Some(0)
    });
    kill(&mut dead);
    kill(&mut first);
    let second = publish(&name, &["--wait-for", "0"]);
    let mut heir = start_into(&mut fanout(&worker), &folder.join("out"));
    let told = finish(second);
    assert!(told.contains("took over the queue "), "{told}");
    assert!(heir.wait().success());
    assert_eq!(lines(&folder.join("out")).len(), (1 << 17) + 1);
}

#[test]
fn a_closed_queue_in_which_a_group_holds_messages_is_replaced_and_it_says_what_is_lost() {
    let (name, folder) = (Unique::new("lost"), Folder::new());
    let mut first = publish(&name, &["--wait-for", "0"]);
    let worker = ["--group", "work", "--hold", "--count", "1"];
    let mut sub = subscribe(&name, &worker, &folder.join("out"));
    type_into(&mut first, "one\ntwo\n");
    assert!(sub.wait().success());
    drop(first.0.stdin.take());
    eventually("the end", || report(&name)["ending"] == "finished");
    kill(&mut first);
    let told = finish(publish(&name, &["--wait-for", "0"]));
    let lost = "it was closed; nobody will read the 16 bytes that the group \"work\" holds\n";
    assert!(told.ends_with(lost), "{told}");
}

#[test]
fn a_queue_that_was_closed_is_replaced_although_it_is_read() {
    let name = Unique::new("ended");
    let mut first = publish(&name, &[]);
    let mut reader = Reader::join(name.bare(), Start::Oldest).unwrap();
    type_into(&mut first, "last\n");
    drop(first.0.stdin.take());
    eventually("the end", || report(&name)["ending"] == "finished");
    kill(&mut first);
    let cleaned = run(&mut fanout(&["clean", name.bare()]));
    let left = format!("/{}: left; attached: 1 consumer reads the rest\n", name.bare());
    assert_eq!(stdout(&cleaned), left);
    let second = publish(&name, &["--wait-for", "0"]);
    let told = finish(second);
    assert!(told.ends_with("its producer had died, and it was closed\n"), "{told}");
    assert_eq!(&*reader.recv().unwrap(), b"last");
    assert_eq!(reader.recv().map(drop), Err(fanout::error::RecvError::Closed));
}

#[test]
fn a_dead_consumer_is_not_one_that_was_waited_for() {
    let (name, folder) = (Unique::new("waited"), Folder::new());
    let mut writer = Writer::create(name.bare(), 4096).unwrap();
    let mut dead = subscribe(&name, &[], &folder.path().join("out"));
    writer.wait_for_consumers(1, testing::DEADLINE).unwrap();
    kill(&mut dead);
    assert!(writer.wait_for_consumers(1, std::time::Duration::ZERO).is_err());
    assert_eq!(writer.consumers().len(), 1, "nobody has freed its slot");
}

#[test]
fn clean_removes_what_nobody_has_open_and_nothing_else() {
    let clean = |arguments: &[&str]| run(fanout(&["clean"]).args(arguments));
    let (alone, open, held, tapped) =
        (Unique::new("alone"), Unique::new("open"), Unique::new("held"), Unique::new("tapped"));
    for name in [&alone, &held, &tapped] {
        leave_dead(name);
    }
    let _writer = Writer::create(open.bare(), 4096).unwrap();
    let readers = [(); 2].map(|()| Reader::join(held.bare(), Start::Oldest).unwrap());
    let tap = Tap::open(tapped.bare(), Start::Oldest).unwrap();
    // What a creator has just begun looks like this; so does what it has left if it was killed there.
    let unfinished = Unique::new("unfinished");
    std::fs::write(unfinished.path(), "").unwrap();
    std::fs::set_permissions(unfinished.path(), std::fs::Permissions::from_mode(0o1600)).unwrap();
    let strangers = [("empty", 0), ("zeros", 8192)].map(|(what, len)| {
        let name = Unique::new(what);
        std::fs::write(name.path(), vec![0; len]).unwrap();
        name
    });
    let line = |name: &Unique, what: &str| format!("/{}: {what}\n", name.bare());
    let names = [&alone, &open, &held, &tapped, &unfinished].map(|name| name.bare());
    let cleaned = |removed: &str| {
        [
            line(&alone, removed),
            line(&open, "left; its producer is alive"),
            line(&held, "left; attached: 2 consumers wait for a successor"),
            line(&tapped, "left; attached: a tap, or a consumer that comes or goes, has it open"),
            line(&unfinished, removed),
        ]
        .concat()
    };
    let tried = clean(&[&["--dry-run"][..], &names].concat());
    assert_eq!(stdout(&tried), cleaned("would be removed"), "{tried:?}");
    assert!(alone.exists() && unfinished.exists());
    // Without names it looks at all queues, also at those of the tests beside this one.
    let all = clean(&["--dry-run"]);
    assert!(all.status.success(), "{all:?}");
    for name in [&alone, &unfinished] {
        assert!(stdout(&all).contains(&line(name, "would be removed")), "{}", stdout(&all));
    }
    for name in &strangers {
        assert!(!stdout(&all).contains(name.bare()), "{}", stdout(&all));
    }
    let done = clean(&names);
    assert_eq!(stdout(&done), cleaned("removed"), "{done:?}");
    assert!(done.status.success() && !alone.exists() && !unfinished.exists());
    assert!(open.exists() && held.exists() && tapped.exists());

    for name in &strangers {
        let refused = clean(&[name.bare()]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(stderr(&refused).contains(name.bare()) && stderr(&refused).lines().count() == 1);
        assert!(name.exists());
    }
    drop((readers, tap));
    assert_eq!(stdout(&clean(&[held.bare(), tapped.bare()])).matches(": removed\n").count(), 2);
}

#[test]
fn who_cleans_and_who_replaces_at_the_same_time_do_not_hurt_each_other() {
    for _ in 0..10 {
        let name = Unique::new("race");
        leave_dead(&name);
        thread::scope(|scope| {
            let cleaners: Vec<_> = [(); 2]
                .map(|()| scope.spawn(|| run(&mut fanout(&["clean", name.bare()]))))
                .into_iter()
                .collect();
            let publisher =
                scope.spawn(|| run(&mut fanout(&["pub", name.bare(), "--wait-for", "0"])));
            let published = publisher.join().unwrap();
            assert!(published.status.success(), "{}", stderr(&published));
            for cleaner in cleaners {
                let cleaned = cleaner.join().unwrap();
                let is_gone = stderr(&cleaned).starts_with("error: no queue ");
                assert!(cleaned.status.success() || is_gone, "{}", stderr(&cleaned));
            }
        });
        assert!(!name.exists());
    }
}

#[test]
fn a_queue_whose_publisher_died_while_it_made_it_is_replaced() {
    let name = Unique::new("begun");
    std::fs::write(name.path(), "").unwrap();
    std::fs::set_permissions(name.path(), std::fs::Permissions::from_mode(0o1600)).unwrap();
    let listed = run(&mut fanout(&["ls"]));
    let line = stdout(&listed).lines().find(|line| line.contains(name.bare())).unwrap();
    assert!(line.contains("dead: its producer died while it made it"), "{line}");
    let told = finish(publish(&name, &["--wait-for", "0"]));
    assert!(told.starts_with("replaced the queue "), "{told}");
}

#[test]
fn a_publisher_says_who_has_died_and_goes_on() {
    let (name, folder) = (Unique::new("obituary"), Folder::new());
    let input = folder.join("in");
    std::fs::write(&input, "some words on a line\n".repeat(10_000)).unwrap();
    let input = input.to_str().unwrap();
    let mut publisher = publish(&name, &["--capacity", "4096", "--file", input, "--wait-for", "2"]);
    let mut alive = subscribe(&name, &[], &folder.join("out"));
    eventually("a subscriber", || consumers(&name) == 1);
    // Its output is not read. It stands still when the pipe is full, and is killed there.
    let mut dead =
        Process::start(fanout(&["sub", name.bare(), "--label", "frail"]).stdout(Stdio::piped()));
    eventually("a publisher that waits", || report(&name)["consumers"][1]["blocks"] == true);
    kill(&mut dead);
    assert!(publisher.wait().success());
    assert!(alive.wait().success());
    assert_eq!(lines(&folder.join("out")), std::fs::read_to_string(input).unwrap());
    let told = said(&mut publisher);
    let who = format!(
        "consumer 1 (label \"frail\", pid {} as it says) of /{} has died: ",
        dead.0.id(),
        name.bare()
    );
    assert!(
        told.starts_with(&who) && told.contains(" bytes were left that it had not read"),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn what_a_dead_member_held_is_delivered_to_another() {
    let (name, folder) = (Unique::new("estate"), Folder::new());
    let input = folder.join("in");
    let lines_of =
        |range: std::ops::Range<u32>| range.map(|n| format!("{n}\n")).collect::<String>();
    std::fs::write(&input, lines_of(0..20_000)).unwrap();
    let input = input.to_str().unwrap();
    let mut publisher = publish(&name, &["--capacity", "8192", "--file", input]);
    let mut dead =
        Process::start(fanout(&["sub", name.bare(), "--group", "work"]).stdout(Stdio::piped()));
    // It holds a batch that it cannot write out, because nobody reads its output.
    eventually("a publisher that waits", || report(&name)["consumers"][0]["blocks"] == true);
    let mut other = subscribe(&name, &["--group", "work"], &folder.join("out"));
    eventually("another member", || consumers(&name) == 2);
    let piped = dead.0.stdout.take().unwrap();
    kill(&mut dead);
    let mut first = std::io::read_to_string(piped).unwrap();
    assert!(publisher.wait().success());
    assert!(other.wait().success());
    // It was killed in the middle of a batch: what it had written of that is written again.
    let second = lines(&folder.join("out"));
    first.truncate(first.rfind('\n').map_or(0, |end| end + 1));
    let mut numbers: Vec<u32> =
        first.lines().chain(second.lines()).map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert!(numbers.into_iter().eq(0..20_000), "0 lost");
    let told = said(&mut publisher);
    assert!(told.is_empty() || told.contains(" has died: "), "{told}");
}

#[test]
fn stat_counts_what_went_to_a_second_member() {
    let (name, folder) = (Unique::new("second"), Folder::new());
    let mut writer = Writer::create(name.bare(), 1 << 20).unwrap();
    let member = ["sub", name.bare(), "--group", "work"];
    let mut dead = Process::start(fanout(&member).stdout(Stdio::piped()));
    eventually("a member", || consumers(&name) == 1);
    // More than its pipe takes, so it holds a batch that it cannot write out.
    for _ in 0..400 {
        writer.send(&[b'x'; 1000]).unwrap();
    }
    let lag = || report(&name)["consumers"][0]["lag"].as_u64().unwrap();
    eventually("a member that stands still", || {
        let before = lag();
        thread::sleep(std::time::Duration::from_millis(200));
        before > 0 && before == lag() && before < 400 * 1000
    });
    assert_eq!(report(&name)["groups"][0]["redelivered"], 0);
    kill(&mut dead);
    let mut heir = start_into(&mut fanout(&member), &folder.join("out"));
    eventually("a redelivery", || report(&name)["groups"][0]["redelivered"].as_u64() > Some(0));
    let shown = run(&mut fanout(&["stat", name.bare()]));
    let line = stdout(&shown).lines().find(|line| line.starts_with("group \"work\": ")).unwrap();
    assert!(line.ends_with(" B went to a second member, because the first had died"), "{line}");
    writer.close();
    assert!(heir.wait().success());
}

#[test]
fn stat_marks_the_dead_and_evict_frees_them_at_once() {
    let (name, folder) = (Unique::new("marked"), Folder::new());
    let _writer = Writer::create(name.bare(), 4096).unwrap();
    let mut dead = subscribe(&name, &[], &folder.join("dead"));
    eventually("a subscriber", || consumers(&name) == 1);
    let mut alive = subscribe(&name, &["--follow"], &folder.join("alive"));
    eventually("another", || consumers(&name) == 2);
    kill(&mut dead);
    let said = report(&name);
    let alive_of = |slot: usize| said["consumers"][slot]["alive"].as_bool().unwrap();
    assert_eq!((alive_of(0), alive_of(1)), (false, true), "{said}");
    assert!(said["consumers"][0]["since"].as_u64() > Some(0), "{said}");
    assert_eq!((&said["slots"], &said["epoch"]), (&64.into(), &0.into()), "{said}");
    let shown = run(&mut fanout(&["stat", name.bare()]));
    assert_eq!(stdout(&shown).matches("<- dead").count(), 1, "{}", stdout(&shown));

    let evict = |arguments: &[&str]| run(fanout(&["evict", name.bare()]).args(arguments));
    let refused = |arguments: &[&str], says: &str| {
        let output = evict(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            stderr(&output).contains(says) && stderr(&output).lines().count() == 1,
            "{output:?}"
        );
    };
    refused(&["7"], "slot 7 of ");
    refused(&["7", "--force", "--yes"], "is empty: nothing to evict");
    refused(&["64"], "has slots 0 to 63, found 64");
    // The living one is asked about, and there is no terminal to ask on.
    refused(&["1"], "is alive: stop its process first, or say --force");
    refused(&["1", "--yes"], "is alive: stop its process first, or say --force");
    refused(&["1", "--force"], "say --force --yes");
    assert_eq!(consumers(&name), 2);
    let evicted = evict(&["0"]);
    let who = format!(
        "evicted consumer 0 (label \"fanout sub\", pid {} as it says) of /{}: it was dead\n",
        dead.0.id(),
        name.bare()
    );
    assert_eq!(stdout(&evicted), who);
    assert!(evict(&["1", "--force", "--yes"]).status.success());
    assert_eq!(consumers(&name), 0);
    assert_eq!(alive.wait().code(), Some(1));
}

/// The queue in which [`a_holder`] is to hold a message.
const HELD: &str = "FANOUT_TEST_HELD";

/// A member that holds a message, and holds the producer back when it is gone. A part of the next test: it is killed.
#[test]
#[ignore = "a part of another test"]
fn a_holder() {
    let Ok(name) = std::env::var(HELD) else { return };
    let holds = JoinOptions::new().hold_when_empty(true).label("holder");
    let mut member = Member::join_with(&name, "g", Start::Oldest, &holds).unwrap();
    std::mem::forget(member.recv_batch(1).unwrap());
    println!("holds");
    loop {
        thread::park();
    }
}

#[test]
fn what_an_orphaned_group_holds_is_given_up_by_forget() {
    let name = Unique::new("orphaned");
    let options = QueueOptions::new(4096).consumers(1);
    let mut writer = Writer::create_with(name.bare(), &options).unwrap();
    writer.try_send(&[7; 1000]).unwrap();
    let mut holder = Program::start(another("a_holder").env(HELD, name.bare()));
    while !holder.next_line().ends_with("holds") {}
    while writer.try_send(&[7; 1000]).is_ok() {}
    let command = |command: &str, last: &str| run(&mut fanout(&[command, name.bare(), last]));
    let kept = command("forget", "g");
    assert!(stderr(&kept).contains("has a member: nothing was forgotten"), "{kept:?}");
    holder.kill();

    for _ in 0..2 {
        let evicted = command("evict", "0");
        let says = "is dead; what it held waits for another member of group \"g\": start one, or give it up: fanout forget ";
        assert!(stderr(&evicted).contains(says), "{evicted:?}");
    }
    assert!(matches!(writer.try_send(&[7; 1000]), Err(TrySendError::Full)), "the group holds");
    let refused = Reader::join(name.bare(), Start::Oldest).unwrap_err().to_string();
    assert!(refused.contains("taken, 1 of them for dead members of groups"), "{refused}");
    let forgotten = command("forget", "g");
    assert_eq!(stdout(&forgotten), format!("forgot the group \"g\" of /{}\n", name.bare()));
    assert_eq!(consumers(&name), 0);
    writer.try_send(&[7; 1000]).unwrap();
}

#[test]
fn another_user_s_queue_is_joined_only_on_trust() {
    if !nix::unistd::geteuid().is_root() {
        println!("only root can give a file away");
        return;
    }
    let (name, folder) = (Unique::new("theirs"), Folder::new());
    let mut writer = Writer::create(name.bare(), 4096).unwrap();
    writer.send(b"theirs").unwrap();
    std::os::unix::fs::chown(name.path(), Some(65534), None).unwrap();
    let own = nix::unistd::geteuid();
    let refuses = |arguments: &[&str]| {
        let output = run(&mut fanout(arguments));
        let said = stderr(&output);
        let expected = format!("belongs to user 65534, expected {own}");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(&expected) && said.lines().count() == 1, "{arguments:?}: {said}");
    };
    for more in [&[][..], &["--group", "g"], &["--tap"], &["--trust-user", "65533"]] {
        refuses(&[&["sub", name.bare()][..], more].concat());
    }
    refuses(&["stat", name.bare()]);
    refuses(&["rm", name.bare()]);
    let refused = Writer::resume(name.bare()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("belongs to user 65534"), "{refused}");
    let listed = run(&mut fanout(&["ls"]));
    let line = stdout(&listed).lines().find(|line| line.contains(name.bare())).unwrap();
    let size = yardstick::report::grouped(name.metadata().len());
    assert!(
        line.ends_with(&format!("belongs to user 65534, {size} bytes: not looked into")),
        "{line}"
    );
    let cleaned = run(&mut fanout(&["clean", name.bare()]));
    assert!(stdout(&cleaned).ends_with(": left; it belongs to user 65534\n"), "{cleaned:?}");
    for trust in ["65534", "any"] {
        let output = folder.join(trust);
        let trusting = ["--trust-user", trust, "--count", "1"];
        assert!(subscribe(&name, &trusting, &output).wait().success());
        assert_eq!(lines(&output), "theirs");
    }
}

#[test]
fn a_queue_has_room_for_as_many_consumers_as_the_publisher_says() {
    let name = Unique::new("room");
    let publisher = publish(&name, &["--slots", "1", "--wait-for", "0"]);
    let reader = Reader::join(name.bare(), Start::Oldest).unwrap();
    let refused = run(&mut fanout(&["sub", name.bare()]));
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("all 1 consumer slots are taken"), "{refused:?}");
    drop(reader);
    finish(publisher);
    for arguments in [["--slots", "0"], ["--slots", "1025"], ["--wait-for", "65"]] {
        let refused = run(fanout(&["pub", name.bare()]).args(arguments));
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
    assert!(!name.exists());
}
