//! `day8-redis` as a process, and clients of it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;

use day8::rings::{RingOptions, RingStream};
use nix::sys::signal::Signal;
use testing::{DEADLINE, Program};

/// The service. It is killed if the test does not end it.
pub(crate) struct Server {
    program: Program,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut program =
            Program::start(Command::new(env!("CARGO_BIN_EXE_day8-redis")).args(arguments));
        let line = program.line("listening on ");
        let address = line.strip_prefix("listening on ").unwrap().to_owned();
        Self { program, address }
    }

    pub(crate) fn id(&self) -> u32 {
        self.program.id()
    }

    /// Its port, if it listens to one.
    pub(crate) fn port(&self) -> &str {
        self.address.rsplit_once(':').unwrap().1
    }

    pub(crate) fn client(&self) -> Client {
        connect(&self.address)
    }

    /// Over whatever it listens at: sends bytes and nothing behind them, and returns all that comes back.
    pub(crate) fn converse(&self, bytes: &[u8]) -> Vec<u8> {
        match self.address.strip_prefix("ring:") {
            Some(path) => converse_over_rings(path, bytes),
            None => self.client().converse(bytes),
        }
    }

    /// Ends it, and checks that it ends well.
    pub(crate) fn end(self) {
        self.program.signal(Signal::SIGTERM);
        self.program.finish().well();
    }
}

/// A connection over TCP, or over a Unix socket: `recv` and `send` are the same for both.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

pub(crate) fn connect(address: &str) -> Client {
    let stream = match address.strip_prefix("unix:") {
        Some(path) => TcpStream::from(OwnedFd::from(UnixStream::connect(path).unwrap())),
        None => TcpStream::connect(address).unwrap(),
    };
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    Client { stream }
}

fn converse_over_rings(path: &str, bytes: &[u8]) -> Vec<u8> {
    let options = RingOptions::new().timeout(DEADLINE);
    let (mut reader, mut writer) = RingStream::connect_with(path, &options).unwrap().split();
    let mut answers = Vec::new();
    thread::scope(|scope| {
        scope.spawn(move || {
            // A server that does not like the beginning may be gone before the end.
            let _ = writer.write_all(bytes);
            writer.finish();
        });
        reader.read_to_end(&mut answers).unwrap();
    });
    answers
}

impl Client {
    /// Sends bytes and nothing behind them, and returns all that comes back.
    pub(crate) fn converse(&mut self, bytes: &[u8]) -> Vec<u8> {
        // A server that does not like the beginning may be gone before the end.
        let _ = self.stream.write_all(bytes);
        let _ = self.stream.shutdown(Shutdown::Write);
        self.rest()
    }

    /// All that comes until the end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut answers = Vec::new();
        match self.stream.read_to_end(&mut answers) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("no end comes: {error}"),
        }
        answers
    }

    /// Sends bytes, and checks the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, bytes: &[u8], expected: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.hears(expected);
    }

    /// Checks that this comes next.
    #[track_caller]
    pub(crate) fn hears(&mut self, expected: &[u8]) {
        let mut found = vec![0; expected.len()];
        let mut len = 0;
        while len < found.len() {
            let more = self.stream.read(&mut found[len..]).unwrap();
            if more == 0 || !expected.starts_with(&found[..len + more]) {
                panic!(
                    "expected {}, found {}",
                    expected.escape_ascii(),
                    found[..len + more].escape_ascii()
                );
            }
            len += more;
        }
    }
}
