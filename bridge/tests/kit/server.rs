//! One server: `nats-server`, on a port and with a store of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use testing::{Folder, Process, free_port};

use super::bound::{DEADLINE, appended, bound, show_if_failed, tail};

/// How often a server may find that somebody took its port.
const ATTEMPTS: u32 = 20;

/// How often a server that is starting is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a server says when its port is taken.
const TAKEN: &str = "address already in use";

/// How a server is configured.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    jetstream: bool,
    most_file: Option<u64>,
    most_memory: Option<u64>,
    more: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// JetStream, no users, everything else as it comes.
    pub(crate) fn new() -> Self {
        Self { jetstream: true, most_file: None, most_memory: None, more: String::new() }
    }

    /// Without JetStream.
    pub(crate) fn without_jetstream(mut self) -> Self {
        self.jetstream = false;
        self
    }

    /// How many bytes streams in files may take in all.
    pub(crate) fn max_file_store(mut self, bytes: u64) -> Self {
        self.most_file = Some(bytes);
        self
    }

    /// How many bytes streams in memory may take in all.
    pub(crate) fn max_memory_store(mut self, bytes: u64) -> Self {
        self.most_memory = Some(bytes);
        self
    }

    /// The longest message.
    pub(crate) fn max_payload(self, bytes: u64) -> Self {
        self.with(&format!("max_payload: {bytes}"))
    }

    /// These users with their passwords, and nobody else.
    pub(crate) fn users(self, users: &[(&str, &str)]) -> Self {
        let users: String = users
            .iter()
            .map(|(user, password)| format!("{{ user: {user:?}, password: {password:?} }}, "))
            .collect();
        self.with(&format!("authorization {{ users: [ {users} ] }}"))
    }

    /// With these lines in its configuration.
    pub(crate) fn with(mut self, lines: &str) -> Self {
        self.more.push_str(lines);
        self.more.push('\n');
        self
    }

    fn text(&self, store: &Path, ports: Ports, name: &str) -> String {
        let Ports { client, monitor } = ports;
        let mut text = format!("listen: 127.0.0.1:{client}\nhttp: 127.0.0.1:{monitor}\n");
        text.push_str(&format!("server_name: {name}\n"));
        if self.jetstream {
            text.push_str(&format!("jetstream {{\n  store_dir: {:?}\n", store.join("store")));
            let most = [("file", self.most_file), ("memory", self.most_memory)];
            for (what, bytes) in most.into_iter().filter_map(|(what, most)| Some((what, most?))) {
                text.push_str(&format!("  max_{what}_store: {bytes}\n"));
            }
            text.push_str("}\n");
        }
        text + &self.more
    }
}

/// The ports of a server.
#[derive(Clone, Copy, Debug)]
struct Ports {
    client: u16,
    monitor: u16,
}

/// A server. It is killed when this is dropped, and its store is removed.
#[derive(Debug)]
pub(crate) struct Server {
    process: Option<Process>,
    name: String,
    ports: Ports,
    config: PathBuf,
    log: PathBuf,
    // Last: the server is killed before its store is removed.
    _folder: Rc<Folder>,
}

/// Why a server did not start: its port is taken.
#[derive(Debug)]
pub(super) struct PortTaken;

impl Server {
    /// Starts a server with JetStream, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::start_with(&Setup::new())
    }

    /// Starts a server, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start_with(setup: &Setup) -> Self {
        for _ in 0..ATTEMPTS {
            let mut server = Self::prepare(setup, Rc::new(Folder::new()), "one");
            if server.try_start().is_ok() {
                server.until_ready();
                return server;
            }
        }
        panic!("found no free port in {ATTEMPTS} attempts");
    }

    /// A server that is not started yet. It has a folder of its name in `folder`.
    pub(super) fn prepare(setup: &Setup, folder: Rc<Folder>, name: &str) -> Self {
        let own = folder.join(name);
        fs::create_dir(&own).unwrap();
        let (config, log) = (own.join("nats.conf"), own.join("log"));
        let ports = Ports { client: free_port(), monitor: free_port() };
        fs::write(&config, setup.text(&own, ports, name)).unwrap();
        Self { process: None, name: name.to_owned(), ports, config, log, _folder: folder }
    }

    /// Starts it, and waits until it listens.
    #[track_caller]
    pub(super) fn try_start(&mut self) -> Result<(), PortTaken> {
        let _ = fs::remove_file(&self.log);
        let mut command = bound(nats_server());
        command.arg("-c").arg(&self.config);
        command.stdin(Stdio::null()).stdout(appended(&self.log)).stderr(appended(&self.log));
        let mut process = Process::start(&mut command);
        let started = Instant::now();
        while !self.has_said("Server is ready") {
            let ended = !process.is_running();
            if ended && self.has_said(TAKEN) {
                return Err(PortTaken);
            }
            assert!(!ended, "nats-server has ended:\n{}", tail(&self.log));
            assert!(started.elapsed() < DEADLINE, "nats-server is not up:\n{}", tail(&self.log));
            thread::sleep(LOOK_AGAIN);
        }
        self.process = Some(process);
        Ok(())
    }

    /// Waits until it is healthy: it has recovered its streams, and in a cluster has contact to a leader.
    #[track_caller]
    pub(crate) fn until_ready(&self) {
        let started = Instant::now();
        while !self.is_healthy() {
            assert!(started.elapsed() < DEADLINE, "it never is healthy:\n{}", tail(&self.log));
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Whether it says that all is well.
    pub(crate) fn is_healthy(&self) -> bool {
        self.monitored("/healthz").is_some_and(|answer| answer.contains(r#""status":"ok""#))
    }

    /// What it says about itself under this path of its monitor, such as `/jsz`; `None` while it does not answer.
    pub(crate) fn monitored(&self, path: &str) -> Option<String> {
        let timeout = Some(Duration::from_secs(2));
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.ports.monitor)).ok()?;
        stream.set_read_timeout(timeout).ok()?;
        stream.set_write_timeout(timeout).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    /// Where clients find it.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.ports.client)
    }

    /// Its name in its cluster.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has logged a line with these words, since it was started last.
    pub(crate) fn has_said(&self, words: &str) -> bool {
        fs::read_to_string(&self.log).is_ok_and(|log| log.contains(words))
    }

    /// Kills it as `kill -9` does. Its store stays.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it is running").kill();
    }

    /// Starts it again after it was killed, on the same port and with the same store.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none(), "it is running");
        let started = Instant::now();
        // Some other process may use the port for a while.
        while self.try_start().is_err() {
            assert!(started.elapsed() < DEADLINE, "somebody has taken port {}", self.ports.client);
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Kills it, and starts it again with another configuration, on the same port and with the same store.
    #[track_caller]
    pub(crate) fn reconfigure(&mut self, setup: &Setup) {
        self.kill();
        let own = self.config.parent().expect("it lies in the server's folder");
        fs::write(&self.config, setup.text(own, self.ports, &self.name)).unwrap();
        self.restart();
        self.until_ready();
    }

    /// Whether it was not killed.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Stops it as a network that is cut would: nothing is refused, and nothing is answered.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it is running").signal(signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        show_if_failed(&format!("the server {:?}", self.name), &self.log);
    }
}

/// The program, which Debian puts where only root looks.
#[track_caller]
pub(crate) fn nats_server() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/bin".into()]);
    folders.map(|folder| folder.join("nats-server")).find(|path| path.is_file()).unwrap_or_else(
        || panic!("these tests need nats-server, and found none: apt-get install nats-server"),
    )
}
