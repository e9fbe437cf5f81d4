//! GET, one at a time, by a client that blocks: over a pair of rings, and over TCP.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use day8::rings::{RingOptions, RingStream, Strategy};

use crate::Effort;
use crate::redis;
use crate::server::{Folder, Server, ours, serve_at};
use crate::table::{Asked, Measure, Table};
use crate::turns::{Contender, Sample, Turn, interleaved};

const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$16\r\nsixteen bytes...\r\n";
const STORED: &[u8] = b"+OK\r\n";
const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
const VALUE: &[u8] = b"$16\r\nsixteen bytes...\r\n";

/// Requests until the clock is looked at.
const BATCH: u64 = 100;

const RINGS: &str = "day8-redis, rings, spinning";
const ADAPTIVE: &str = "day8-redis, rings, adaptive";
const TCP: &str = "day8-redis, TCP";
const SPINNING_TCP: &str = "day8-redis, TCP, client spins";
const THEIRS: &str = "redis-server, TCP";

pub(crate) fn measure(effort: &Effort) -> anyhow::Result<Table> {
    let contenders = vec![
        Contender::new(RINGS, over_rings(effort, Strategy::Spin)),
        Contender::new(ADAPTIVE, over_rings(effort, Strategy::Adaptive)),
        Contender::new(TCP, redis::start(effort).and_then(over_tcp)),
        Contender::new(SPINNING_TCP, redis::start(effort).and_then(over_tcp_spinning)),
        Contender::new(THEIRS, redis::peer(effort).and_then(over_tcp)),
    ];
    let outcomes = interleaved(effort, contenders);
    let title = "rings: GET of 16 bytes, one client, one at a time";
    Ok(Table::new(title, "requests", &outcomes)
        .compare(&outcomes, Measure::Rate, (RINGS, TCP), Asked::AtLeast(20.0))
        .compare(&outcomes, Measure::Rate, (RINGS, SPINNING_TCP), Asked::Reported)
        .compare(&outcomes, Measure::Rate, (ADAPTIVE, TCP), Asked::Reported)
        .compare(&outcomes, Measure::Rate, (TCP, THEIRS), Asked::Reported)
        .note("who spins has a core busy also while it waits"))
}

/// The client waits like this; the server looks at its rings for as long as it does by default.
fn over_rings(effort: &Effort, strategy: Strategy) -> anyhow::Result<Turn> {
    let folder = Folder::new("rings")?;
    let path = folder.path().join("service");
    let path = path.to_str().context("the temporary folder's name is no text")?;
    let server = serve_at(effort, ours("day8-redis", "day8")?, &format!("ring:{path}"))?;
    let stream = RingStream::connect_with(path, &RingOptions::new().waiting(strategy))?;
    let mut turn = turn(server, stream)?;
    Ok(Box::new(move |time| {
        // The folder stays as long as the service is in it.
        let _folder = &folder;
        turn(time)
    }))
}

fn over_tcp(server: Server) -> anyhow::Result<Turn> {
    let stream = TcpStream::connect(server.tcp()?)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    turn(server, stream)
}

/// Without this row, rings would also be given the credit for a client that does not sleep.
fn over_tcp_spinning(server: Server) -> anyhow::Result<Turn> {
    let stream = TcpStream::connect(server.tcp()?)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    turn(server, Spinning(stream))
}

/// A stream whose reader asks again and again, instead of sleeping, for at most this long.
struct Spinning(TcpStream);

const TIMEOUT: Duration = Duration::from_secs(10);

impl Read for Spinning {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let started = Instant::now();
        loop {
            match self.0.read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if started.elapsed() > TIMEOUT {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }
}

impl Write for Spinning {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Turns of a client of this server.
fn turn(server: Server, mut stream: impl Read + Write + 'static) -> anyhow::Result<Turn> {
    ask(&mut stream, SET, STORED)?;
    Ok(Box::new(move |time| {
        let (before, started, mut requests) = (server.cpu()?, Instant::now(), 0);
        while started.elapsed() < time {
            (0..BATCH).try_for_each(|_| ask(&mut stream, GET, VALUE))?;
            requests += BATCH;
        }
        let elapsed = started.elapsed();
        Ok(Sample { requests, elapsed, cpu: server.cpu()? - before })
    }))
}

/// Asks, and compares the answer.
fn ask(stream: &mut (impl Read + Write), request: &[u8], expected: &[u8]) -> anyhow::Result<()> {
    stream.write_all(request).context("sending a request")?;
    let mut buffer = [0; 64];
    let mut came = 0;
    while came < expected.len() {
        match stream.read(&mut buffer[came..]).context("reading an answer")? {
            0 => bail!("the answer ends early"),
            read => came += read,
        }
    }
    let found = &buffer[..came];
    ensure!(found == expected, "found {:?}", String::from_utf8_lossy(found));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_wrong_value_is_noticed() {
        for (answer, is_right) in [(VALUE, true), (b"$16\r\nsixteen bytes..,\r\n", false)] {
            let (mut client, mut server) = UnixStream::pair().unwrap();
            server.write_all(answer).unwrap();
            assert_eq!(ask(&mut client, GET, VALUE).is_ok(), is_right);
            let mut asked = [0; GET.len()];
            server.read_exact(&mut asked).unwrap();
            assert_eq!(asked, GET);
        }
    }
}
