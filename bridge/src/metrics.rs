//! What bridges have done so far, for a monitoring system: OpenMetrics text over HTTP.

use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::sync::{AtomicBool, AtomicU32, Ordering};

use crate::error::MetricsError;
use crate::progress::{Link, Progress, State};

/// Whether a bridge carries out of this host, or into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a queue of this host to a stream.
    Out,
    /// From a stream to a queue of this host.
    In,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Out => "out",
            Self::In => "in",
        })
    }
}

/// A bridge that somebody may ask about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The queue's name.
    pub queue: String,
    /// Which way it carries.
    pub direction: Direction,
    /// The stream's name.
    pub stream: String,
    /// What it has done.
    pub progress: Arc<Progress>,
}

/// How long a client has for its request and for its answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest request.
const MOST_BYTES: usize = 8 << 10;
/// How many clients are answered at the same time.
const MOST_CLIENTS: u32 = 16;

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers `GET /metrics` until it is dropped.
///
/// It is made for a few monitoring systems of one's own: it answers 16 clients at a time, reads requests of at most
/// 8 KiB, and gives each client 5 s. Any client that reaches the address can read the figures, and no more than that.
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Exporter {
    /// Listens at an address such as `127.0.0.1:9464`, or at a port of the loopback interface such as `9464`.
    ///
    /// # Errors
    ///
    /// [`MetricsError`], before anything has been answered.
    pub fn start(address: &str, subjects: Vec<Subject>) -> Result<Self, MetricsError> {
        let wanted = resolve(address)?;
        let refused =
            |error: io::Error| MetricsError::Bind { address: wanted, why: error.to_string() };
        let listener = TcpListener::bind(wanted).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (ended, subjects) = (Arc::clone(&is_over), Arc::new(subjects));
        let thread = thread::Builder::new().name("metrics".to_owned());
        thread.spawn(move || listen(&listener, &ended, &subjects)).map_err(refused)?;
        Ok(Self { address, is_over })
    }

    /// Where it listens. A port 0 was replaced by a free one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // The thread waits for a client, and this is the last one.
        let host = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let address = SocketAddr::new(host, self.address.port());
        let _ = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    }
}

fn resolve(text: &str) -> Result<SocketAddr, MetricsError> {
    let none = || MetricsError::Address { found: text.escape_debug().to_string() };
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(none)
}

fn listen(listener: &TcpListener, is_over: &AtomicBool, subjects: &Arc<Vec<Subject>>) {
    let clients = Arc::new(AtomicU32::new(0));
    loop {
        let accepted = listener.accept();
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let Ok((stream, _)) = accepted else {
            // Too many open files, perhaps. That passes, and must not keep a core busy.
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        let seat = Seat::take(&clients);
        if seat.is_full() {
            continue;
        }
        let subjects = Arc::clone(subjects);
        let thread = thread::Builder::new().name("metrics client".to_owned());
        // Without a thread the client is hung up on, and asks again.
        let _ = thread.spawn(move || {
            let _ = answer(stream, &subjects);
            drop(seat);
        });
    }
}

/// A client's place among those that are answered. Dropping it gives it back.
struct Seat {
    clients: Arc<AtomicU32>,
    before: u32,
}

impl Seat {
    fn take(clients: &Arc<AtomicU32>) -> Self {
        let before = clients.fetch_add(1, Ordering::Relaxed);
        Self { clients: Arc::clone(clients), before }
    }

    fn is_full(&self) -> bool {
        self.before >= MOST_CLIENTS
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(mut stream: TcpStream, subjects: &[Subject]) -> io::Result<()> {
    let deadline = Instant::now() + TIMEOUT;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = read_request(&mut stream, deadline)?;
    stream.write_all(&response(&request, subjects))?;
    stream.shutdown(std::net::Shutdown::Write)?;
    // Closed with unread bytes, the connection would be reset, and the answer lost.
    let mut rest = [0; 1024];
    while Instant::now() < deadline && stream.read(&mut rest)? > 0 {
        stream.set_read_timeout(Some(TIMEOUT / 10))?;
    }
    Ok(())
}

/// What a client sends, up to the empty line, up to the most that is read, or up to its end.
fn read_request(stream: &mut TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while request.len() <= MOST_BYTES && !ends(&request) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => break,
            read => request.extend_from_slice(&piece[..read]),
        }
    }
    Ok(request)
}

fn ends(request: &[u8]) -> bool {
    request.windows(4).any(|four| four == b"\r\n\r\n")
        || request.windows(2).any(|two| two == b"\n\n")
}

/// The answer to a request, with its head.
fn response(request: &[u8], subjects: &[Subject]) -> Vec<u8> {
    let (status, kind, body) = match target(request) {
        Err(status) => (status, TEXT, format!("{status}\n")),
        Ok("/metrics") => ("200 OK", OPEN_METRICS, exposition(subjects)),
        Ok("/") => {
            ("200 OK", TEXT, "A bridge of Fanout. Its figures are at /metrics.\n".to_owned())
        }
        Ok(_) => ("404 Not Found", TEXT, "404 Not Found: the figures are at /metrics\n".to_owned()),
    };
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        body.len()
    );
    if !request.starts_with(b"HEAD ") {
        response.push_str(&body);
    }
    response.into_bytes()
}

/// The path that a request asks for, or the status that says why there is none.
fn target(request: &[u8]) -> Result<&str, &'static str> {
    if request.len() > MOST_BYTES {
        return Err("431 Request Header Fields Too Large");
    }
    let bad = "400 Bad Request";
    if !ends(request) {
        return Err(bad);
    }
    let line = request.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| bad)?;
    let words: Vec<&str> = line.trim_end_matches('\r').split(' ').collect();
    let [method, target, version] = words[..] else { return Err(bad) };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return Err(bad);
    }
    if !matches!(method, "GET" | "HEAD") {
        return Err("405 Method Not Allowed");
    }
    Ok(target.split('?').next().unwrap_or_default())
}

/// One figure of a bridge: its name, its unit if it has one, what it is, and how it is read.
type Figure = (&'static str, &'static str, &'static str, fn(&Progress) -> f64);

const COUNTERS: [Figure; 7] = [
    ("messages", "", "Messages carried.", |it| it.messages.get() as f64),
    ("payload_bytes", "bytes", "Bytes of these messages, without headers.", |it| {
        it.bytes.get() as f64
    }),
    ("packets", "", "NATS messages that carried them.", |it| it.packets.get() as f64),
    ("reconnects", "", "Connections made anew.", |it| it.reconnects.get() as f64),
    ("resumptions", "", "How often the place in the stream was looked up anew.", |it| {
        it.resumptions.get() as f64
    }),
    ("repeated_messages", "", "Messages that came twice, and were left out.", |it| {
        it.repeated.get() as f64
    }),
    ("lost_messages", "", "Messages given up by a lossy bridge.", |it| it.lost.get() as f64),
];

const GAUGES: [Figure; 4] = [
    ("lag_messages", "messages", "Messages still to be carried.", |it| {
        it.lag_messages.get() as f64
    }),
    ("lag_bytes", "bytes", "Bytes still to be carried.", |it| it.lag_bytes.get() as f64),
    (
        "oldest_unacknowledged_seconds",
        "seconds",
        "Age of the oldest message sent and not acknowledged.",
        |it| it.oldest_age().unwrap_or_default().as_secs_f64(),
    ),
    ("connected", "", "Whether there is a connection to the server.", |it| {
        f64::from(u8::from(it.link() == Link::Up))
    }),
];

/// All figures of these bridges, as OpenMetrics text.
pub fn exposition(subjects: &[Subject]) -> String {
    let mut text = String::new();
    let version = env!("CARGO_PKG_VERSION");
    head(&mut text, "build", "info", "", "The version of this program.");
    let _ = writeln!(text, "fanout_bridge_build_info{{version=\"{version}\"}} 1");
    for (name, unit, help, read) in COUNTERS {
        head(&mut text, name, "counter", unit, help);
        for subject in subjects {
            let (labels, value) = (labels(subject), read(&subject.progress));
            let _ = writeln!(text, "fanout_bridge_{name}_total{{{labels}}} {value}");
        }
    }
    for (name, unit, help, read) in GAUGES {
        head(&mut text, name, "gauge", unit, help);
        for subject in subjects {
            let (labels, value) = (labels(subject), read(&subject.progress));
            let _ = writeln!(text, "fanout_bridge_{name}{{{labels}}} {value}");
        }
    }
    head(&mut text, "state", "stateset", "", "What the bridge does.");
    for subject in subjects {
        let now = subject.progress.state();
        for state in State::ALL {
            let (labels, is) = (labels(subject), u8::from(state == now));
            let _ = writeln!(
                text,
                "fanout_bridge_state{{{labels},fanout_bridge_state=\"{state}\"}} {is}"
            );
        }
    }
    text.push_str("# EOF\n");
    text
}

fn head(text: &mut String, name: &str, kind: &str, unit: &str, help: &str) {
    let _ = writeln!(text, "# TYPE fanout_bridge_{name} {kind}");
    if !unit.is_empty() {
        let _ = writeln!(text, "# UNIT fanout_bridge_{name} {unit}");
    }
    let _ = writeln!(text, "# HELP fanout_bridge_{name} {help}");
}

fn labels(subject: &Subject) -> String {
    let Subject { queue, direction, stream, .. } = subject;
    format!("queue=\"{}\",direction=\"{direction}\",stream=\"{}\"", escaped(queue), escaped(stream))
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
