//! Ten thousand connections at once, to a service in a process of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use testing::{DEADLINE, Program, eventually};

/// So many connections if this process may have as many descriptors; otherwise as many as it may have.
fn raise(wanted: u64) -> usize {
    /// Descriptors for other things.
    const SPARE: u64 = 200;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    if hard < wanted + SPARE {
        println!("ONLY {hard} DESCRIPTORS ARE ALLOWED: this tests fewer than {wanted} connections");
    }
    wanted.min(hard - SPARE) as usize
}

fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn mappings(id: u32) -> usize {
    fs::read_to_string(format!("/proc/{id}/maps")).unwrap().lines().count()
}

fn ask(mut client: &TcpStream, number: usize, line: usize) {
    writeln!(client, "client {number}").unwrap();
    let expected = format!("Line {line}: client {number}\n");
    let mut answer = vec![0; expected.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), expected);
}

fn converse(isolation: &str, wanted: u64) {
    let count = raise(wanted);
    let mut command = Command::new(env!("CARGO_BIN_EXE_day8-echo"));
    command.args(["--listen", "127.0.0.1:0", "--isolation", isolation, "--idle", "600"]);
    let mut program = Program::start(&mut command);
    let line = program.line("listening on");
    let address: SocketAddr = line.strip_prefix("listening on ").unwrap().parse().unwrap();
    let before = (resident(program.id()), mappings(program.id()));
    let clients: Vec<_> = (0..count)
        .map(|_| {
            let client = TcpStream::connect(address).unwrap_or_else(|error| {
                program.goes_on("it serves");
                panic!("{error}, and the service is there");
            });
            client.set_read_timeout(Some(DEADLINE)).unwrap();
            client
        })
        .collect();
    for line in 1..=2 {
        // All ask before anybody reads.
        for (number, mut client) in clients.iter().enumerate() {
            if line == 1 {
                writeln!(client, "client {number}").unwrap();
            }
        }
        for (number, mut client) in clients.iter().enumerate() {
            if line == 2 {
                ask(client, number, line);
                continue;
            }
            let expected = format!("Line 1: client {number}\n");
            let mut answer = vec![0; expected.len()];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(String::from_utf8_lossy(&answer), expected);
        }
    }
    let after = (resident(program.id()), mappings(program.id()));
    println!(
        "{isolation}: {count} connections, {} bytes resident for each, {} mappings more",
        (after.0 - before.0) / count as u64,
        after.1 - before.1
    );
    drop(clients);
    // Descriptors come back: as many again may come.
    let id = program.id();
    let open = || fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    eventually("the connections are closed", || open() < 100);
    ask(&TcpStream::connect(address).unwrap(), 0, 1);
    program.goes_on("it serves");
}

#[test]
fn ten_thousand_connections_are_answered() {
    converse("none", 10_000);
}

#[test]
fn ten_thousand_connections_are_answered_from_closed_heaps() {
    converse("mprotect", 10_000);
}
