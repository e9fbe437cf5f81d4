//! Shards: several, of a program's own loop, and such that are dropped.

use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use day7::tasks::{Client, ClientOptions, Failed, Server, ServerOptions, ShardError};
use testing::{DEADLINE, Folder, eventually, until_ready};

use super::home::{Home, furnish};

#[test]
fn clients_are_spread_over_the_shards() {
    let home = Home::thread(&ServerOptions::new().shards(3));
    let mut clients: Vec<_> = (0..9).map(|_| home.client()).collect();
    let spread = || {
        let mut of = [0; 3];
        for one in day7::tasks::clients(home.path()).unwrap() {
            of[one.shard as usize] += 1;
        }
        of
    };
    assert_eq!(spread(), [3; 3]);
    for (n, client) in clients.iter().enumerate() {
        let count = client.procedure("count").unwrap();
        // Each shard has its own copy of the procedure.
        assert_eq!(client.call(count, b"").unwrap(), (n as u64 / 3 + 1).to_le_bytes());
    }
    // Those that come take the places of those that went.
    clients.drain(..5);
    eventually("they are gone", || home.server().clients() == 4);
    clients.extend((0..5).map(|_| home.client()));
    assert_eq!(spread(), [3; 3]);
}

#[test]
fn each_shard_is_given_out_once() {
    let folder = Folder::new();
    let server = Server::bind(folder.join("server"), &ServerOptions::new().shards(2)).unwrap();
    let first = server.shard(1).unwrap();
    assert_eq!((first.number(), first.clients(), first.has_ended()), (1, 0, false));
    assert_eq!(server.shard(1).unwrap_err(), ShardError::Taken { found: 1 });
    assert_eq!(server.shard(2).unwrap_err(), ShardError::NoSuch { last: 1, found: 2 });
    drop(server);
    assert!(first.has_ended());
}

/// A program's own loop: `poll` says when a turn is worth trying.
#[test]
fn a_shard_with_a_descriptor_sleeps_in_poll() {
    let folder = Folder::new();
    let path = folder.join("server");
    let server = Server::bind(&path, &ServerOptions::new()).unwrap();
    furnish(&server);
    let mut shard = server.shard(0).unwrap().into_pollable().unwrap();
    let clients = thread::spawn(move || {
        let options = ClientOptions::new().timeout(DEADLINE);
        for _ in 0..5 {
            let client = Client::connect_with(&path, &options).unwrap();
            let echo = client.procedure("echo").unwrap();
            for n in 0..50u32 {
                if n % 10 == 0 {
                    thread::sleep(Duration::from_millis(3));
                }
                assert_eq!(client.call(echo, &n.to_le_bytes()).unwrap(), n.to_le_bytes());
            }
        }
        drop(server);
    });
    while !shard.has_ended() {
        while shard.turn() {}
        if !shard.has_ended() {
            until_ready(&shard.as_fd());
        }
    }
    clients.join().unwrap();
}

#[test]
fn a_shard_that_is_dropped_tells_its_clients_and_gets_no_more() {
    let folder = Folder::new();
    let path = folder.join("server");
    let server = Server::bind(&path, &ServerOptions::new().shards(2)).unwrap();
    furnish(&server);
    let mut short = server.shard(0).unwrap();
    let serving = server.serve().unwrap();
    let options = ClientOptions::new().timeout(DEADLINE);
    let connect = || {
        let (path, options) = (path.clone(), options.clone());
        thread::spawn(move || Client::connect_with(path, &options).unwrap())
    };
    let (first, second) = (connect(), connect());
    while short.clients() == 0 {
        short.turn_timeout(Duration::from_millis(10));
    }
    let clients = [first.join().unwrap(), second.join().unwrap()];
    drop(short);
    let works = |client: &Client| {
        client.procedure("echo").is_ok_and(|echo| client.call(echo, b"x").is_ok())
    };
    eventually("one has lost its shard", || clients.iter().filter(|one| works(one)).count() == 1);
    for _ in 0..4 {
        let client = connect().join().unwrap();
        assert!(works(&client));
    }
    drop(serving);
}

#[test]
fn a_server_whose_only_shard_is_gone_lets_nobody_in() {
    let folder = Folder::new();
    let path = folder.join("server");
    let server = Server::bind(&path, &ServerOptions::new()).unwrap();
    let waits = thread::spawn({
        let path = path.clone();
        move || Client::connect_with(path, &ClientOptions::new().timeout(DEADLINE))
    });
    eventually("it waits", || server.admitted() == 1);
    drop(server.shard(0).unwrap());
    assert!(waits.join().unwrap().is_err());
    let options = ClientOptions::new().timeout(DEADLINE);
    assert!(Client::connect_with(&path, &options).is_err());
    eventually("none is left", || server.clients() == 0);
}

/// A client that lets its answers lie keeps nobody from theirs, and costs its shard no turns.
#[test]
fn a_client_that_does_not_read_its_answers_harms_itself_alone() {
    let folder = Folder::new();
    let path = folder.join("server");
    let options = ServerOptions::new().requests(1 << 16).answers(4096).longest_answer(64);
    let server = Server::bind(&path, &options).unwrap();
    furnish(&server);
    let mut shard = server.shard(0).unwrap();
    let clients = thread::spawn({
        let path = path.clone();
        let options = ClientOptions::new().timeout(DEADLINE).outstanding(500);
        move || [(); 2].map(|()| Client::connect_with(&path, &options).unwrap())
    });
    while !clients.is_finished() {
        shard.turn_timeout(Duration::from_millis(1));
    }
    let [lazy, busy] = clients.join().unwrap();
    let serves = thread::spawn(move || {
        shard.serve();
        shard
    });
    let (idle, echo) = (lazy.procedure("echo").unwrap(), busy.procedure("echo").unwrap());
    let submit = |_| lazy.submit(idle, &[7; 20], vec![], vec![]).unwrap();
    let tickets: Vec<_> = (0..500).map(submit).collect();
    for n in 0..500u32 {
        assert_eq!(busy.call(echo, &n.to_le_bytes()).unwrap(), n.to_le_bytes());
    }
    drop(server);
    let mut shard = serves.join().unwrap();
    // The server has ended, and the shard is in our hands: how many turns does it find?
    for _ in 0..10_000 {
        shard.turn();
    }
    let turns = (0..1000).filter(|_| shard.turn()).count();
    assert!(turns < 500, "{turns} of 1,000 turns were the lazy client's");
    let reads = thread::spawn(move || {
        tickets.into_iter().filter(|_| true).map(|ticket| ticket.wait().result).collect::<Vec<_>>()
    });
    while !reads.is_finished() {
        shard.turn_timeout(Duration::from_millis(1));
    }
    let results = reads.join().unwrap();
    assert!(results.iter().all(|result| *result == Ok(vec![7; 20])));
}

#[test]
fn a_shard_that_is_dropped_at_work_fails_what_it_had() {
    let folder = Folder::new();
    let path = folder.join("server");
    let server = Server::bind(&path, &ServerOptions::new()).unwrap();
    furnish(&server);
    let mut shard = server.shard(0).unwrap();
    let waits = thread::spawn(move || {
        let client = Client::connect_with(&path, &ClientOptions::new().timeout(DEADLINE)).unwrap();
        let echo = client.procedure("echo").unwrap();
        let submit = |_| client.submit(echo, b"x", vec![], vec![]).unwrap();
        let tickets: Vec<_> = (0..200).map(submit).collect();
        tickets.into_iter().map(|ticket| ticket.wait().result).collect::<Vec<_>>()
    });
    while shard.clients() == 0 {
        shard.turn_timeout(Duration::from_millis(1));
    }
    // The look-up, and perhaps some tasks.
    shard.turn_timeout(DEADLINE);
    drop(shard);
    let results = match waits.join() {
        Ok(results) => results,
        // Not even the look-up was answered in time.
        Err(_) => return,
    };
    for result in results {
        assert!(matches!(result, Ok(_) | Err(Failed::ServerDied)), "{result:?}");
    }
}
