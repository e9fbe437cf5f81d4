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

fn ask(mut client: &TcpStream, text: &str, line: usize) {
    client.write_all(format!("{text}\n").as_bytes()).unwrap();
    hear(client, text, line);
}

fn hear(mut client: &TcpStream, text: &str, line: usize) {
    let expected = format!("Line {line}: {text}\n");
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
    let mut clients: Vec<TcpStream> = Vec::new();
    while clients.len() < count {
        let client = TcpStream::connect(address).unwrap_or_else(|error| {
            program.goes_on("it serves");
            panic!("client {}: {error}, and the service is there", clients.len());
        });
        client.set_nodelay(true).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        clients.push(client);
        // The kernel's queue holds some thousands: what does not fit there is tried again after seconds.
        if clients.len().is_multiple_of(500) {
            ask(&clients[clients.len() - 1], "accepted", 1);
        }
    }
    // All ask before anybody reads.
    for (number, mut client) in clients.iter().enumerate() {
        client.write_all(format!("client {number}\n").as_bytes()).unwrap();
    }
    for (number, client) in clients.iter().enumerate() {
        let line = if (number + 1) % 500 == 0 { 2 } else { 1 };
        hear(client, &format!("client {number}"), line);
        ask(client, "once more", line + 1);
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
    ask(&TcpStream::connect(address).unwrap(), "still here", 1);
    program.goes_on("it serves");
}

// One test: each takes half of the descriptors that a process may have on many machines.
#[test]
fn ten_thousand_connections_are_answered() {
    converse("none", 10_000);
    converse("mprotect", 10_000);
}
