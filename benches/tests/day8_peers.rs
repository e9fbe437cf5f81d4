//! The peers of Day 8's benchmark do the same work: a peer that does less would be no yardstick.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use testing::{DEADLINE, Process};

/// The echo peers.
const ECHO: [&str; 3] = ["mio", "tokio", "monoio"];

/// A peer that serves, and where.
fn start(arguments: &[&str]) -> (Process, String) {
    use std::io::{BufRead, BufReader};
    let mut command = Command::new(env!("CARGO_BIN_EXE_day8-peers"));
    let mut peer = Process::start(command.args(arguments).stdout(Stdio::piped()));
    let mut line = String::new();
    BufReader::new(peer.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}"));
    (peer, address.trim_end().to_owned())
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn to_the_end(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The echo peers that this build has.
fn echo_peers() -> impl Iterator<Item = &'static str> {
    ECHO.into_iter().filter(|&peer| peer != "monoio" || cfg!(feature = "monoio"))
}

#[test]
fn every_echo_peer_answers_each_line_also_when_the_end_comes_with_it() {
    for peer in echo_peers() {
        let (_peer, address) = start(&[peer]);
        for said in ["", "one\n", "one\n\nthree", "x"] {
            let mut stream = connect(&address);
            stream.write_all(said.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let expected: String = said
                .split_inclusive('\n')
                .zip(1..)
                .map(|(line, number)| format!("Line {number}: {line}"))
                .collect();
            assert_eq!(to_the_end(stream), expected, "{peer}, {said:?}");
        }
    }
}

#[test]
fn every_echo_peer_serves_a_client_that_reads_late() {
    // More than the kernel keeps for a connection, in either direction.
    const LINES: usize = 400_000;
    for peer in echo_peers() {
        let (_peer, address) = start(&[peer]);
        let stream = connect(&address);
        let mut writer = stream.try_clone().unwrap();
        let (said, heard) = thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let said = "a line of some length, so that buffers fill\n".repeat(LINES);
                writer.write_all(said.as_bytes()).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
                said.len()
            });
            // While this client waits here, nobody reads its answers; another client is served.
            let mut other = connect(&address);
            other.write_all(b"other\n").unwrap();
            let mut answer = [0; 14];
            other.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"Line 1: other\n", "{peer}");
            let heard = to_the_end(stream);
            (writing.join().unwrap(), heard)
        });
        let numbers: usize = (1..=LINES).map(|number| format!("Line {number}: ").len()).sum();
        assert_eq!(heard.len(), said + numbers, "{peer}");
        assert!(
            heard
                .ends_with(&format!("Line {LINES}: a line of some length, so that buffers fill\n"))
        );
    }
}

#[test]
fn hyper_answers_pipelined_requests_with_the_body_that_it_was_given() {
    for options in [&[][..], &["--pipeline-flush"]] {
        let (_peer, address) = start(&[&["hyper", "--body", "a body"], options].concat());
        let mut stream = connect(&address);
        let last = "GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        write!(stream, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n{last}").unwrap();
        let answer = to_the_end(stream);
        assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answer}");
        assert_eq!(answer.matches("\r\n\r\na body").count(), 2, "{answer}");
    }
}
