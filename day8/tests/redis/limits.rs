//! Long values, announced ones, memory, many keys.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use testing::eventually;

use crate::script::request;
use crate::server::Server;

/// How much memory of its own a process has, in KiB.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_long_value_goes_in_and_comes_back() {
    let server = Server::start(&["--listen", "127.0.0.1:0"]);
    let value: Vec<u8> = (0..30_000_000_u32).map(|number| (number % 251) as u8).collect();
    let mut client = server.client();
    client.ask(&request(&[&b"SET"[..], b"long", &value]), b"+OK\r\n");
    client.stream.write_all(&request(&["GET", "long"])).unwrap();
    client.hears(b"$30000000\r\n");
    let mut found = vec![0; value.len() + 2];
    client.stream.read_exact(&mut found).unwrap();
    assert!(found[..value.len()] == value && found.ends_with(b"\r\n"));

    // An answer of 40 such values has no copy of them, though nobody reads it.
    let before = resident(server.id());
    let mut lazy = server.client();
    lazy.stream.write_all(&request(&[vec!["MGET"], vec!["long"; 40]].concat())).unwrap();
    lazy.hears(b"*40\r\n$30000000\r\n");
    client.ask(&request(&["PING"]), b"+PONG\r\n");
    let more = resident(server.id()).saturating_sub(before);
    assert!(more < 30_000, "{more} KiB for an answer that shares one value");
    // The value that the answer has is what it was.
    client.ask(&request(&["SET", "long", "short"]), b"+OK\r\n");
    let mut first = vec![0; value.len()];
    lazy.stream.read_exact(&mut first).unwrap();
    assert!(first == value);
    drop(lazy);
    server.end();
}

#[test]
fn what_is_announced_and_not_sent_costs_nothing() {
    let longest = (512 << 20).to_string();
    let server = Server::start(&["--listen", "127.0.0.1:0", "--longest", &longest]);
    server.client().ask(&request(&["PING"]), b"+PONG\r\n");
    let before = resident(server.id());
    let clients: Vec<_> = (0..50)
        .map(|_| {
            let mut client = server.client();
            let bytes = format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n${longest}\r\nabc");
            client.stream.write_all(bytes.as_bytes()).unwrap();
            client
        })
        .collect();
    server.client().ask(&request(&["PING"]), b"+PONG\r\n");
    let more = resident(server.id()).saturating_sub(before);
    // A connection has a heap and a buffer: pages, not megabytes.
    assert!(more < 50 * 1_024, "{more} KiB for 50 clients");
    drop(clients);
    let mut client = server.client();
    let answers = client.converse(b"*2\r\n$3\r\nGET\r\n$536870913\r\n");
    assert_eq!(answers, b"-ERR Protocol error: invalid bulk length\r\n");
    server.end();
}

#[test]
fn a_full_store_says_so() {
    let server = Server::start(&["--listen", "127.0.0.1:0", "--memory", "1000000"]);
    let mut client = server.client();
    let value = "v".repeat(100_000);
    let mut refused = 0;
    for number in 0..20 {
        client.stream.write_all(&request(&["SET", &number.to_string(), &value])).unwrap();
        let mut first = [0];
        client.stream.read_exact(&mut first).unwrap();
        if first == *b"+" {
            assert_eq!(refused, 0, "a write is taken after one was refused");
            client.hears(b"OK\r\n");
        } else {
            refused += 1;
            client.hears(b"OOM command not allowed when used memory > 'maxmemory'.\r\n");
        }
    }
    assert!((1..20).contains(&refused), "{refused} refused");
    client.ask(&request(&["FLUSHALL"]), b"+OK\r\n");
    client.ask(&request(&["SET", "0", &value]), b"+OK\r\n");
    server.end();
}

#[test]
fn keys_expire_also_when_nobody_asks() {
    let server = Server::start(&["--listen", "127.0.0.1:0"]);
    let mut client = server.client();
    for number in 0..2_000 {
        client.ask(&request(&["SET", &format!("{number}"), "v", "PX", "1"]), b"+OK\r\n");
    }
    client.ask(&request(&["SET", "stays", "v", "EX", "1000"]), b"+OK\r\n");
    eventually("expired keys are swept", || {
        client.stream.write_all(&request(&["DBSIZE"])).unwrap();
        let mut answer = [0; 32];
        let len = client.stream.read(&mut answer).unwrap();
        &answer[..len] == b":1\r\n"
    });
    client.ask(&request(&["TTL", "stays"]), b":1000\r\n");
    server.end();
}

/// Measured and printed, not judged: nobody waits long while many keys are flushed.
#[test]
fn others_are_served_while_many_keys_are_flushed() {
    let server = Server::start(&["--listen", "127.0.0.1:0"]);
    let mut client = server.client();
    for some in 0..100 {
        let mut words = vec!["MSET".to_owned()];
        for number in 0..1_000 {
            words.extend([format!("key {some} {number}"), "value".to_owned()]);
        }
        client.ask(&request(&words), b"+OK\r\n");
    }
    client.ask(&request(&["DBSIZE"]), b":100000\r\n");
    let started = Instant::now();
    client.ask(&request(&["FLUSHALL"]), b"+OK\r\n");
    let flushed = started.elapsed();
    let mut longest = Duration::ZERO;
    for _ in 0..500 {
        let started = Instant::now();
        client.ask(&request(&["DBSIZE"]), b":0\r\n");
        longest = longest.max(started.elapsed());
    }
    println!("FLUSHALL of 100,000 keys: {flushed:?}; then the slowest of 500 answers: {longest:?}");
    server.end();
}
