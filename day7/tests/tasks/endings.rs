//! Clients and servers that end, die, are forked, and come back.

use std::fs;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use day7::tasks::{
    CallError, Client, ClientOptions, Failed, NotSubmitted, Server, ServerOptions, Ticket,
    TicketState,
};
use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use testing::{DEADLINE, Folder, eventually, promptly, until_ready};

use super::home::{Hold, Home, belongings, comes_back_to, furnish, serve, start};

#[test]
fn a_client_that_goes_with_tasks_outstanding_leaves_nothing() {
    let home = Home::process();
    let before = belongings(home.pid());
    for _ in 0..20 {
        let client = home.client_with(&ClientOptions::new().arena(1 << 16));
        let nap = client.procedure("nap").unwrap();
        for ms in 0..10u64 {
            let input = vec![client.buffer(100).unwrap()];
            drop(client.submit(nap, &(ms / 9).to_le_bytes(), input, vec![]).unwrap());
        }
    }
    comes_back_to(before, home.pid());
    assert_eq!(day7::tasks::clients(home.path()).unwrap(), []);
}

/// The ticket keeps what it needs of its client.
#[test]
fn a_ticket_outlives_its_client() {
    let home = Home::thread(&ServerOptions::new());
    let client = home.client();
    let echo = client.procedure("echo").unwrap();
    let ticket = client.submit(echo, b"x", vec![], vec![]).unwrap();
    drop(client);
    assert_eq!(ticket.wait().result.unwrap(), b"x");
    eventually("the server has noticed", || home.server().clients() == 0);
}

#[test]
fn a_server_that_is_killed_fails_what_is_outstanding_and_all_that_wait_are_told() {
    for outstanding in [1, 20] {
        let home = Home::process();
        let client = home.client_with(&ClientOptions::new().outstanding(outstanding).arena(4096));
        let (nap, echo) = (client.procedure("nap").unwrap(), client.procedure("echo").unwrap());
        let submit = |_| {
            let input = vec![client.buffer(8).unwrap()];
            client.submit(nap, &100_000u64.to_le_bytes(), input, vec![]).unwrap()
        };
        let tickets: Vec<Ticket> = (0..outstanding).map(submit).collect();
        // One more waits for room.
        let waits = thread::spawn({
            let client = client.clone();
            move || client.call(echo, b"x")
        });
        let Home::Process { program, folder } = home else { panic!("it is a process") };
        thread::sleep(Duration::from_millis(50));
        program.kill();
        for ticket in tickets {
            let completed = ticket.wait();
            assert_eq!((completed.result, completed.inputs.len()), (Err(Failed::ServerDied), 1));
        }
        let why = waits.join().unwrap().unwrap_err();
        assert!(matches!(why, CallError::NotSubmitted(NotSubmitted::ServerDied)), "{why:?}");
        let why = client.call(echo, b"x").unwrap_err();
        assert!(matches!(why, CallError::NotSubmitted(NotSubmitted::ServerDied)), "{why:?}");
        assert!(client.buffer(4096).is_ok(), "all is back");
        drop(folder);
    }
}

#[test]
fn a_client_that_reconnects_goes_on_with_the_next_server() {
    let folder = Folder::new();
    let path = folder.join("server");
    let mut server = start(&path);
    let options = ClientOptions::new().reconnect().arena(1 << 12).timeout(DEADLINE);
    let client = Client::connect_with(&path, &options).unwrap();
    let find = |name| client.procedure(name).unwrap();
    let (count, nap, fill) = (find("count"), find("nap"), find("fill"));
    for _ in 0..5 {
        assert_eq!(client.call(count, b"").unwrap(), 1u64.to_le_bytes());
        let late = client.submit(nap, &100_000u64.to_le_bytes(), vec![], vec![]).unwrap();
        server.kill();
        let gone = fs::remove_file(&path);
        assert!(gone.is_ok());
        assert_eq!(late.wait().result, Err(Failed::ServerDied));
        let output = vec![client.buffer(10).unwrap()];
        let soon = client.submit(fill, b"x", vec![], output).unwrap_err();
        assert!(matches!(soon.why, NotSubmitted::NotReconnected(_)), "{soon}");
        server = start(&path);
        let completed = client.submit(fill, b"x", vec![], soon.outputs).unwrap().wait();
        assert_eq!((completed.result, &completed.outputs[0][..]), (Ok(vec![]), &[b'x'; 10][..]));
    }
}

/// Threads call all the time, while servers come and go. Each call has its answer, or has failed for this reason.
#[test]
fn threads_of_a_client_that_reconnects_lose_nothing_but_what_was_out() {
    let folder = Folder::new();
    let path = folder.join("server");
    let mut serving = Some(serve(&path, &ServerOptions::new()));
    let options = ClientOptions::new().reconnect().timeout(DEADLINE);
    let client = Client::connect_with(&path, &options).unwrap();
    let echo = client.procedure("echo").unwrap();
    let ends = std::sync::Arc::new(std::sync::Mutex::new(false));
    let threads: Vec<_> = (0..4u32)
        .map(|thread| {
            let (client, ends) = (client.clone(), ends.clone());
            thread::spawn(move || {
                let mut failed = 0;
                for n in 0u32.. {
                    if *ends.lock().unwrap() {
                        break;
                    }
                    let args = [thread, n].map(u32::to_le_bytes).concat();
                    match client.call(echo, &args) {
                        Ok(answer) => assert_eq!(answer, args),
                        Err(CallError::Failed(Failed::ServerDied)) => failed += 1,
                        Err(CallError::NotSubmitted(
                            NotSubmitted::ServerDied | NotSubmitted::NotReconnected(_),
                        )) => {
                            failed += 1;
                            thread::yield_now();
                        }
                        Err(why) => panic!("{why}"),
                    }
                }
                failed
            })
        })
        .collect();
    for _ in 0..30 {
        thread::sleep(Duration::from_millis(10));
        // What has failed with the server before does not fail on this one, which would be left and come to again.
        let admitted = serving.as_ref().map_or(0, |serving| serving.server().admitted());
        assert!(admitted <= 1, "it came {admitted} times");
        drop(serving.take());
        serving = Some(serve(&path, &ServerOptions::new()));
    }
    assert!(client.call(echo, b"x").is_ok() || client.call(echo, b"x").is_ok());
    *ends.lock().unwrap() = true;
    for thread in threads {
        println!("{} calls have failed", thread.join().unwrap());
    }
    drop(serving);
}

#[test]
fn a_server_that_ends_removes_its_path_and_takes_no_more() {
    let home = Home::thread(&ServerOptions::new());
    let path = home.path();
    let client = home.client();
    let echo = client.procedure("echo").unwrap();
    drop(home);
    assert!(!path.exists());
    eventually("it is noticed", || {
        matches!(client.call(echo, b"x"), Err(CallError::NotSubmitted(NotSubmitted::ServerDied)))
    });
}

#[test]
fn what_stands_at_the_path_stays() {
    let folder = Folder::new();
    let path = folder.join("server");
    fs::write(&path, b"mine").unwrap();
    assert!(Server::bind(&path, &ServerOptions::new()).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    fs::remove_file(&path).unwrap();
    let server = Server::bind(&path, &ServerOptions::new()).unwrap();
    assert!(Server::bind(&path, &ServerOptions::new()).is_err());
    // Another file there is not the server's to remove.
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"mine").unwrap();
    drop(server);
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[test]
fn a_server_without_shards_at_work_keeps_clients_waiting_and_then_tells_them() {
    let folder = Folder::new();
    let path = folder.join("server");
    let server = Server::bind(&path, &ServerOptions::new()).unwrap();
    furnish(&server);
    let waits = thread::spawn({
        let path = path.clone();
        move || Client::connect_with(path, &ClientOptions::new().timeout(DEADLINE))
    });
    eventually("it is let in", || server.admitted() == 1);
    drop(server);
    assert!(waits.join().unwrap().is_err());
    let server = Server::bind(&path, &ServerOptions::new()).unwrap();
    let soon = ClientOptions::new().timeout(Duration::from_millis(100));
    assert!(Client::connect_with(&path, &soon).is_err());
    // The client that has given up costs the next one nothing.
    furnish(&server);
    let _serving = server.serve().unwrap();
    let client = Client::connect(&path).unwrap();
    let echo = client.procedure("echo").unwrap();
    assert_eq!(client.call(echo, b"x").unwrap(), b"x");
}

#[test]
fn a_server_ends_when_its_tasks_have_although_a_client_asks_for_more() {
    let home = Home::thread(&ServerOptions::new());
    let client = home.client();
    let hold = Hold::at(home.server());
    let held = client.procedure("hold").unwrap();
    let submit = |_| client.submit(held, b"", vec![], vec![]).unwrap();
    let tickets: Vec<_> = (0..200).map(submit).collect();
    let ends = thread::spawn(move || promptly("it ends", move || drop(home)));
    hold.release(true);
    ends.join().unwrap();
    for ticket in tickets {
        let result = ticket.wait().result;
        assert!(matches!(result, Ok(_) | Err(Failed::ServerDied)), "{result:?}");
    }
}

/// Runs this in a forked child, which has a copy of everything, and ends without its parent's exit handlers.
fn in_a_child(f: impl FnOnce() -> i32) {
    // SAFETY: the child drops and submits, and ends. No other thread of this process has a lock that it needs: the
    // test runs in a process of its own.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let code = f();
            // SAFETY: it ends the child at once.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, 0) => {}
            other => panic!("{other:?}"),
        },
    }
}

#[test]
fn a_forked_child_is_not_the_client() {
    let home = Home::process();
    let mut command = testing::another("endings::forks_with_a_client");
    let ended = testing::run(command.env("FANOUT_TASKS_AT", home.path()));
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
#[ignore = "the process that a_forked_child_is_not_the_client starts"]
fn forks_with_a_client() {
    let path = std::env::var_os("FANOUT_TASKS_AT").expect("a path");
    let client = Client::connect(&path).unwrap();
    let (echo, nap) = (client.procedure("echo").unwrap(), client.procedure("nap").unwrap());
    let out = client.submit(nap, &50u64.to_le_bytes(), vec![], vec![]).unwrap();
    let copy = client.clone();
    in_a_child(|| match copy.call(echo, b"x") {
        Err(CallError::NotSubmitted(NotSubmitted::Forked)) => 0,
        _ => 1,
    });
    // A copy takes no answer from its parent.
    let out = std::cell::Cell::new(Some(out));
    in_a_child(|| match out.take().expect("it is the child's copy").wait().result {
        Err(Failed::ServerDied) => 0,
        _ => 2,
    });
    in_a_child(|| {
        drop((copy.clone(), out.take()));
        0
    });
    let out = out.take().expect("it is the parent's");
    assert_eq!(out.wait().result.unwrap(), 50u64.to_le_bytes());
    drop(copy);
    let whole = std::cell::Cell::new(Some(client));
    in_a_child(|| {
        drop(whole.take());
        // And it may have a client of its own.
        match Client::connect(&path).map(|own| own.procedure("echo").is_ok()) {
            Ok(true) => 0,
            _ => 3,
        }
    });
    let client = whole.take().expect("it is the parent's");
    assert_eq!(client.call(echo, b"still here").unwrap(), b"still here");
}

#[test]
fn a_forked_child_is_not_the_server() {
    let ended = testing::run(&mut testing::another("endings::forks_with_a_server"));
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
#[ignore = "the process that a_forked_child_is_not_the_server starts"]
fn forks_with_a_server() {
    let folder = Folder::new();
    let path = folder.join("server");
    let server = Server::bind(&path, &ServerOptions::new()).unwrap();
    furnish(&server);
    let shard = server.shard(0).unwrap().into_pollable().unwrap();
    let client = thread::spawn({
        let path = path.clone();
        move || {
            let client =
                Client::connect_with(path, &ClientOptions::new().timeout(DEADLINE)).unwrap();
            let echo = client.procedure("echo").unwrap();
            (client, echo)
        }
    });
    let mut shard = shard;
    while !client.is_finished() {
        shard.turn_timeout(Duration::from_millis(10));
    }
    let (client, echo) = client.join().unwrap();
    let both = std::cell::Cell::new(Some((server, shard)));
    in_a_child(|| {
        drop(both.take());
        0
    });
    let (server, mut shard) = both.take().expect("they are the parent's");
    assert!(path.exists());
    let ticket = client.submit(echo, b"still here", vec![], vec![]).unwrap();
    while !ticket.is_ready() {
        if !shard.turn() {
            until_ready(&shard.as_fd());
        }
    }
    assert_eq!(ticket.wait().result.unwrap(), b"still here");
    drop((server, shard));
}

#[test]
fn a_procedure_may_drop_its_own_server() {
    let folder = Folder::new();
    let path = folder.join("server");
    let server = Server::bind(&path, &ServerOptions::new()).unwrap();
    let serving = Arc::new(Mutex::new(None));
    let own = Arc::clone(&serving);
    server
        .register("end", move |task| {
            drop(own.lock().unwrap().take());
            Ok(task.answer(b"it has ended")?)
        })
        .unwrap();
    *serving.lock().unwrap() = Some(server.serve().unwrap());
    let client = Client::connect(&path).unwrap();
    let end = client.procedure("end").unwrap();
    let answer = promptly("the procedure is done", move || client.call(end, b""));
    assert_eq!(answer.unwrap(), b"it has ended");
    assert!(!path.exists());
}

/// It learns nothing new, but the client is as it was.
#[test]
fn a_procedure_may_look_at_a_client_of_its_own_local_server() {
    let looks: [fn(&Client, &mut Ticket); 4] = [
        |client, _| assert_eq!(client.outstanding(), 2),
        |_, other| assert!(!other.is_ready()),
        |_, other| assert_eq!(other.state(), TicketState::Outstanding),
        |_, other| assert!(!other.wait_timeout(Duration::from_millis(1))),
    ];
    for look in looks {
        let server = Server::local(&ServerOptions::new()).unwrap();
        let seen = Arc::new(Mutex::new(None::<(Client, Ticket)>));
        let within = Arc::clone(&seen);
        server
            .register("look", move |task| {
                let mut seen = within.lock().unwrap();
                let (client, other) = seen.as_mut().expect("both were submitted");
                look(client, other);
                Ok(task.answer(b"seen")?)
            })
            .unwrap();
        furnish(&server);
        let client = server.client(&ClientOptions::new()).unwrap();
        let [look, echo] = ["look", "echo"].map(|name| client.procedure(name).unwrap());
        let looks = client.submit(look, &[], vec![], vec![]).unwrap();
        let other = client.submit(echo, b"x", vec![], vec![]).unwrap();
        *seen.lock().unwrap() = Some((client.clone(), other));
        assert_eq!(looks.wait().result.unwrap(), b"seen");
        let (_, other) = seen.lock().unwrap().take().expect("it is still there");
        assert_eq!(other.wait().result.unwrap(), b"x");
        assert_eq!(client.call(echo, b"again").unwrap(), b"again");
    }
}
