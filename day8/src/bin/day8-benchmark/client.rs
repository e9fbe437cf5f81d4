//! The generator of the echo rows: many clients in one thread. Every answer is compared, byte for byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// Bytes of a line, with its end.
pub(crate) const LINE: usize = 64;
/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Clients with the same address of their own: fewer than a system has ports for them.
const OF_ONE_ADDRESS: usize = 20_000;

/// Clients of an echo service, each with at most one line outstanding.
pub(crate) struct Clients {
    poll: Poll,
    events: Events,
    all: Vec<Client>,
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    /// Which one it is; its lines say so.
    number: usize,
    /// Lines that it has sent.
    sent: u64,
    /// What is to come, and how much of it has come.
    expected: Vec<u8>,
    came: usize,
}

impl Clients {
    pub(crate) fn connect(server: SocketAddr, count: usize) -> anyhow::Result<Self> {
        let poll = Poll::new().context("a poller")?;
        let connect = |number: usize| -> anyhow::Result<Client> {
            let connected = open(server, number);
            let stream = connected.with_context(|| format!("connecting client {number}"))?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            Ok(Client { stream, number, sent: 0, expected: Vec::new(), came: 0 })
        };
        let all = (0..count).map(connect).collect::<anyhow::Result<_>>()?;
        Ok(Self { poll, events: Events::with_capacity(1024), all, buffer: vec![0; 4096] })
    }

    /// Each client sends a line, and for this time the next one when it has its answer. Returns how many lines were
    /// answered, and in how long.
    pub(crate) fn run(&mut self, time: Duration) -> anyhow::Result<(u64, Duration)> {
        let (mut outstanding, mut answered) = (self.all.len(), 0);
        let started = Instant::now();
        self.all.iter_mut().try_for_each(Client::send)?;
        while outstanding > 0 {
            match self.poll.poll(&mut self.events, Some(TIMEOUT)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled.context("waiting for answers")?,
            }
            ensure!(!self.events.is_empty(), "{outstanding} lines have no answer in {TIMEOUT:?}");
            let goes_on = started.elapsed() < time;
            for event in &self.events {
                let client = &mut self.all[event.token().0];
                if !client.receive(&mut self.buffer)? {
                    continue;
                }
                answered += 1;
                if goes_on {
                    client.send()?;
                } else {
                    outstanding -= 1;
                }
            }
        }
        Ok((answered, started.elapsed()))
    }
}

impl Client {
    /// Sends the next line, and notes its answer.
    fn send(&mut self) -> anyhow::Result<()> {
        self.sent += 1;
        self.expected.clear();
        self.expected.extend_from_slice(b"Line ");
        self.expected.extend_from_slice(itoa::Buffer::new().format(self.sent).as_bytes());
        self.expected.extend_from_slice(b": ");
        self.expected.extend_from_slice(&line(self.number, self.sent));
        self.came = 0;
        let start = self.expected.len() - LINE;
        let sent = self.stream.write(&self.expected[start..]).context("sending a line")?;
        ensure!(sent == LINE, "a line of {LINE} bytes does not fit into an empty socket");
        Ok(())
    }

    /// Takes what has come. Returns whether the answer is complete now.
    fn receive(&mut self, buffer: &mut [u8]) -> anyhow::Result<bool> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => bail!("the server has closed the connection of client {}", self.number),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading an answer"),
            };
            let (expected, found) = (&self.expected[self.came..], &buffer[..read]);
            ensure!(
                expected.starts_with(found),
                "client {} expected {:?}, found {:?}",
                self.number,
                String::from_utf8_lossy(expected),
                String::from_utf8_lossy(found)
            );
            self.came += read;
            if self.came == self.expected.len() {
                // One line is outstanding: the rest of the socket is empty.
                return Ok(true);
            }
        }
    }
}

/// The line of this number of this client, with its end: no other is like it in its place.
fn line(client: usize, number: u64) -> [u8; LINE] {
    let mut line = [b'.'; LINE];
    line[LINE - 1] = b'\n';
    let mut mixed = (client as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number;
    for byte in &mut line[..16] {
        *byte = b'a' + (mixed % 16) as u8;
        mixed /= 16;
    }
    line
}

/// A connection, from further addresses of this host if one has too few ports.
fn open(server: SocketAddr, number: usize) -> anyhow::Result<std::net::TcpStream> {
    let other = number / OF_ONE_ADDRESS;
    if other == 0 || !server.ip().is_loopback() || !server.is_ipv4() {
        return Ok(std::net::TcpStream::connect(server)?);
    }
    let from = u8::try_from(1 + other).context("too many clients for 127.0.0.1 to .255")?;
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, from), 0))?;
    connect(&socket, &server)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Serves one client with this many lines, and changes the last.
    fn serve(lines: usize, change: fn(String) -> String) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            for number in 1..=lines {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                let answer = format!("Line {number}: {line}");
                let answer = if number == lines { change(answer) } else { answer };
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
            // Until the client goes.
            let _ = reader.read_line(&mut String::new());
        });
        address
    }

    #[test]
    fn right_answers_are_counted() {
        let mut clients = Clients::connect(serve(2, |answer| answer), 1).unwrap();
        for _ in 0..2 {
            assert_eq!(clients.run(Duration::ZERO).unwrap().0, 1);
        }
    }

    #[test]
    fn a_wrong_byte_is_noticed() {
        for change in [
            |answer: String| answer.replace("Line 2", "Line 3"),
            |answer: String| answer.replacen("....", "...,", 1),
            |answer: String| answer.clone() + &answer,
        ] {
            let mut clients = Clients::connect(serve(2, change), 1).unwrap();
            clients.run(Duration::ZERO).unwrap();
            clients.run(Duration::ZERO).unwrap_err();
        }
    }

    #[test]
    fn clients_have_lines_of_their_own() {
        let lines = [line(0, 1), line(0, 2), line(1, 1), line(1, 2)];
        for (at, one) in lines.iter().enumerate() {
            assert!(lines[..at].iter().all(|other| other != one));
            assert_eq!(one.iter().filter(|&&byte| byte == b'\n').count(), 1);
        }
    }
}
