//! Clients and servers that are killed at random moments.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use day7::tasks::{CallError, Client, ClientOptions, Failed, NotSubmitted, Ticket};
use testing::{DEADLINE, Dice, Folder, Process, another, eventually, number_from_environment};

use super::home::{Home, belongings, comes_back_to, raise_descriptors, resident, start};

/// A client that works until it is killed. It comes and goes, and has everything outstanding that can be.
#[test]
#[ignore = "the process that other tests start and kill"]
fn works_until_it_is_killed() {
    let path = std::env::var_os("FANOUT_TASKS_AT").expect("a path");
    let options = ClientOptions::new().arena(1 << 18).timeout(DEADLINE);
    let mut dice = Dice::new(u64::from(std::process::id()));
    loop {
        let client = Client::connect_with(&path, &options).unwrap();
        let (sums, echo) = (client.procedure("sums").unwrap(), client.procedure("echo").unwrap());
        let mut out: Vec<Ticket> = Vec::new();
        for _ in 0..dice.below(3000) {
            let args = vec![1; dice.below(300) as usize];
            let ticket = match [(); 3].map(|()| client.buffer(dice.below(2000) as usize)) {
                [Ok(a), Ok(b), Ok(_)] if a.len() != b.len() => {
                    client.submit(echo, &args, vec![a], vec![b])
                }
                [Ok(a), Ok(b), Ok(c)] if c.len() >= a.len() => {
                    client.submit(sums, b"", vec![a, b], vec![c])
                }
                _ => client.submit(echo, &args, vec![], vec![]),
            };
            out.push(ticket.unwrap());
            while out.len() > 100 {
                assert!(out.swap_remove(dice.below(100) as usize).wait().result.is_ok());
            }
        }
    }
}

/// `FANOUT_KILLS=1000` is the long run.
#[test]
fn clients_that_are_killed_at_any_moment_leave_nothing() {
    raise_descriptors();
    let kills = number_from_environment("FANOUT_KILLS").unwrap_or(60);
    let home = Home::process();
    let steady = home.client();
    let echo = steady.procedure("echo").unwrap();
    let (before, memory) = (belongings(home.pid()), resident(home.pid()));
    let mut dice = Dice::seeded();
    let begin = || {
        let mut command = another("kills::works_until_it_is_killed");
        command.env("FANOUT_TASKS_AT", home.path()).stdout(Stdio::null()).stderr(Stdio::null());
        Process::start(&mut command)
    };
    let mut victims: Vec<_> = (0..4).map(|_| begin()).collect();
    for n in 0..kills {
        let until = std::time::Instant::now() + dice.pause(Duration::from_millis(100));
        let mut calls = 0u64;
        while calls < 3 || std::time::Instant::now() < until {
            let args = [n, calls].map(u64::to_le_bytes).concat();
            assert_eq!(steady.call(echo, &args).unwrap(), args);
            calls += 1;
        }
        let victim = dice.below(4) as usize;
        assert!(victims[victim].is_running(), "none ends by itself");
        victims[victim].kill();
        victims[victim] = begin();
    }
    drop(victims);
    comes_back_to(before, home.pid());
    let all = day7::tasks::clients(home.path()).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].waiting(), all[0].in_flight(), all[0].failed), (0, 0, 0));
    println!("after {kills} kills: {memory} KiB before, {} KiB now", resident(home.pid()));
}

/// `FANOUT_SERVER_KILLS=100` is the long run.
#[test]
fn servers_that_are_killed_at_any_moment_hang_nobody() {
    let kills = number_from_environment("FANOUT_SERVER_KILLS").unwrap_or(10);
    let folder = Folder::new();
    let path = folder.join("server");
    let mut server = start(&path);
    let mut dice = Dice::seeded();
    let options = ClientOptions::new().reconnect().arena(1 << 16).timeout(DEADLINE);
    let clients: Vec<_> = (0..6).map(|_| Client::connect_with(&path, &options).unwrap()).collect();
    let ends = std::sync::Arc::new(std::sync::Mutex::new(false));
    let work = |(number, client): (u64, Client)| {
        let (ends, mut dice) = (ends.clone(), Dice::new(number));
        thread::spawn(move || {
            let mut fill = client.procedure("fill");
            while let Err(why) = fill {
                assert!(is_gone(&why), "{why}");
                thread::sleep(Duration::from_millis(1));
                fill = client.procedure("fill");
            }
            let fill = fill.expect("found");
            let (mut done, mut out): (u64, Vec<(u8, Ticket)>) = (0, Vec::new());
            while !*ends.lock().unwrap() {
                let with = dice.word() as u8;
                let output = client.buffer(64).expect("what was out has come back");
                match client.submit(fill, &[with], vec![], vec![output]) {
                    Ok(ticket) => out.push((with, ticket)),
                    Err(error) => {
                        let why = error.why.into();
                        assert!(is_gone(&why), "{why}");
                        thread::sleep(Duration::from_millis(1));
                    }
                }
                if out.len() > 30 {
                    done += check(out.swap_remove(dice.below(30) as usize));
                }
            }
            done + out.into_iter().map(check).sum::<u64>()
        })
    };
    let workers: Vec<_> = (0..).zip(clients.iter().cloned()).map(work).collect();
    for _ in 0..kills {
        thread::sleep(dice.pause(Duration::from_millis(200)));
        server.kill();
        server = start(&path);
    }
    eventually("all have come to the last one", || {
        clients.iter().all(|client| match client.procedure("echo") {
            Ok(echo) => client.call(echo, b"x").is_ok(),
            Err(why) => {
                assert!(is_gone(&why), "{why}");
                false
            }
        })
    });
    *ends.lock().unwrap() = true;
    for worker in workers {
        assert!(worker.join().unwrap() > 0, "it had nothing done");
    }
    assert_eq!(day7::tasks::clients(&path).unwrap().len(), clients.len());
    drop(clients);
    eventually("all are gone", || day7::tasks::clients(&path).unwrap().is_empty());
    server.kill();
    fs::remove_file(&path).unwrap();
}

/// Whether this is what a client is told whose server was killed.
fn is_gone(why: &CallError) -> bool {
    matches!(
        why,
        CallError::Failed(Failed::ServerDied)
            | CallError::NotSubmitted(NotSubmitted::ServerDied | NotSubmitted::NotReconnected(_))
    )
}

/// Whether the task was done; otherwise its server has died.
fn check((with, ticket): (u8, Ticket)) -> u64 {
    let completed = ticket.wait();
    match completed.result {
        Ok(_) => {
            assert!(completed.outputs[0].iter().all(|byte| *byte == with));
            1
        }
        Err(Failed::ServerDied) => 0,
        Err(why) => panic!("{why}"),
    }
}
