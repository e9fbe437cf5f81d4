//! Servers: processes of their own, on the first core, whose CPU time and memory are asked of the kernel.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use yardstick::affinity;

use crate::Effort;

/// How long a server may take until it listens, and until it has ended.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A running server. It is ended when this is dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens, as it says itself.
    pub(crate) address: String,
    /// Kept: who prints into a pipe that nobody holds is killed.
    _output: Option<BufReader<ChildStdout>>,
    _folder: Option<Folder>,
}

impl Server {
    /// Starts a server that prints `listening on ADDRESS`.
    pub(crate) fn talking(effort: &Effort, command: Command) -> anyhow::Result<Self> {
        let mut server = Self::start(effort, command, Stdio::piped())?;
        let output = server.child.stdout.take().context("its output is a pipe")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        while !line.starts_with("listening on ") {
            line.clear();
            ensure!(output.read_line(&mut line)? > 0, "it ended before it listened");
        }
        server.address = line.trim_start_matches("listening on ").trim_end().to_owned();
        server._output = Some(output);
        Ok(server)
    }

    /// Starts a server that listens at this address, and does not say when.
    pub(crate) fn silent(
        effort: &Effort,
        command: Command,
        address: SocketAddr,
        folder: Folder,
    ) -> anyhow::Result<Self> {
        let mut server = Self::start(effort, command, Stdio::null())?;
        server.address = address.to_string();
        server._folder = Some(folder);
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("it ended before it listened: {status}");
            }
            ensure!(started.elapsed() < TIMEOUT, "it does not listen at {address}");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    fn start(effort: &Effort, mut command: Command, output: Stdio) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(output);
        // A child inherits the core of the thread that starts it.
        affinity::pin(&effort.cores, 0);
        let child = command.spawn();
        affinity::pin(&effort.cores, 1);
        let child = child.with_context(|| format!("starting {command:?}"))?;
        Ok(Self { child, address: String::new(), _output: None, _folder: None })
    }

    /// Where it listens, if that is over TCP.
    pub(crate) fn tcp(&self) -> anyhow::Result<SocketAddr> {
        self.address.parse().with_context(|| format!("{} is no TCP address", self.address))
    }

    /// The CPU time that it has used, with its child processes.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let mut sum = Duration::ZERO;
        for process in self.processes() {
            let clock = clock_getcpuclockid(process).context("the clock of its CPU time")?;
            sum += Duration::from(clock_gettime(clock)?);
        }
        Ok(sum)
    }

    /// Its share of the memory that it uses, with its child processes, in KiB.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for process in self.processes() {
            let file = format!("/proc/{process}/smaps_rollup");
            let text = fs::read_to_string(&file).with_context(|| file.clone())?;
            sum += proportional(&text).with_context(|| format!("{file} has no Pss"))?;
        }
        Ok(sum)
    }

    /// It and its children: nginx serves in a child.
    fn processes(&self) -> Vec<Pid> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        [id as i32].into_iter().chain(children).map(Pid::from_raw).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let processes = self.processes();
        // First by word, so that it ends its own children. It may have ended already.
        let _ = kill(processes[0], Signal::SIGTERM);
        let started = Instant::now();
        while started.elapsed() < TIMEOUT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        eprintln!("note: {} has not ended within {TIMEOUT:?}; it is killed", self.address);
        for process in processes {
            let _ = kill(process, Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// A process's share of the memory that it uses, in KiB, from its `smaps_rollup`.
pub(crate) fn proportional(smaps_rollup: &str) -> Option<u64> {
    let line = smaps_rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A command that ends when the thread that started it ends, also when that is killed.
fn bound(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(program);
    command
}

/// A program that stands beside this one.
pub(crate) fn ours(program: &str, package: &str) -> anyhow::Result<Command> {
    let here = std::env::current_exe().context("looking for this program")?;
    let path = here.with_file_name(program);
    let build = format!("cargo build --release -p {package} --bin {program}");
    ensure!(path.exists(), "is not built: {build}");
    Ok(bound(&path))
}

/// Starts one of our services, over TCP.
pub(crate) fn serve(effort: &Effort, command: Command) -> anyhow::Result<Server> {
    serve_at(effort, command, "127.0.0.1:0")
}

/// Starts one of our services. Its clients may be silent for as long as a benchmark takes.
pub(crate) fn serve_at(
    effort: &Effort,
    mut command: Command,
    address: &str,
) -> anyhow::Result<Server> {
    command.args(["--listen", address, "--idle", "86400"]);
    Server::talking(effort, command)
}

/// A program of a package.
pub(crate) fn installed(program: &str) -> anyhow::Result<Command> {
    let path = find(program).with_context(|| {
        format!("{program} is not installed: benches/install-peers installs it")
    })?;
    Ok(bound(&path))
}

/// Where a program of a package is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers stand where ordinary users do not look.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// An address that was free a moment ago, for servers that cannot say which one the kernel chose.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?)
}

/// A temporary folder. It is removed when this is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        // Of one name there may be several: nginx runs twice.
        for number in 0.. {
            let name = format!("day8-benchmark-{}-{name}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => {
                    made.with_context(|| format!("making {}", path.display()))?;
                    return Ok(Self(path));
                }
            }
        }
        bail!("no name is free for a temporary folder")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies in a temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}
