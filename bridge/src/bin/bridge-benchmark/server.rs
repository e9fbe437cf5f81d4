//! The servers: processes of their own on loopback, one or three as a cluster.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// How long servers may take until they agree on who stores what.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much a stream of this benchmark may keep, in memory or in files.
const STORE: &str = "8GB";

/// Where a stream is kept.
#[derive(Clone, Copy)]
pub(crate) struct Store {
    pub(crate) storage: StorageType,
    pub(crate) replicas: usize,
}

impl Store {
    /// What the storage is called on a command line.
    pub(crate) fn name(self) -> &'static str {
        match self.storage {
            StorageType::File => "file",
            StorageType::Memory => "memory",
        }
    }
}

/// Running servers. They are killed, and what they stored is removed, when this is dropped.
pub(crate) struct Servers {
    children: Vec<Child>,
    clients: Vec<SocketAddr>,
    folder: PathBuf,
}

impl Servers {
    /// Starts so many servers, which are a cluster if there are several.
    pub(crate) fn start(count: usize) -> anyhow::Result<Self> {
        let folder =
            std::env::temp_dir().join(format!("bridge-benchmark-{}-{count}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        let clients = free_addresses(count)?;
        let routes = free_addresses(count)?;
        let mut servers = Self { children: Vec::new(), clients, folder };
        for number in 0..count {
            let text = servers.configuration(number, &routes)?;
            servers.spawn(number, &text)?;
        }
        servers.wait()?;
        Ok(servers)
    }

    /// Their addresses, as clients want them.
    pub(crate) fn url(&self) -> String {
        let urls: Vec<_> = self.clients.iter().map(|client| format!("nats://{client}")).collect();
        urls.join(",")
    }

    /// What one server is told in its file.
    fn configuration(&self, number: usize, routes: &[SocketAddr]) -> anyhow::Result<String> {
        let store = self.folder.join(format!("store-{number}"));
        let mut text = format!(
            "listen: \"{}\"\nserver_name: \"server-{number}\"\n\
             jetstream {{ store_dir: \"{}\", max_mem: {STORE}, max_file: {STORE} }}\n",
            self.clients[number],
            store.display()
        );
        if routes.len() > 1 {
            let all: Vec<_> = routes.iter().map(|route| format!("\"nats://{route}\"")).collect();
            let (here, all) = (routes[number], all.join(", "));
            writeln!(text, "cluster {{ name: benchmark, listen: \"{here}\", routes: [{all}] }}")?;
        }
        Ok(text)
    }

    fn spawn(&mut self, number: usize, text: &str) -> anyhow::Result<()> {
        let file = self.folder.join(format!("server-{number}.conf"));
        fs::write(&file, text)?;
        let log = File::create(self.log(number))?;
        // It ends when the thread that started it ends, also when that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nats-server", "-c"]).arg(&file);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("starting nats-server")?;
        self.children.push(child);
        Ok(())
    }

    fn log(&self, number: usize) -> PathBuf {
        self.folder.join(format!("server-{number}.log"))
    }

    /// Waits until a stream can be made on all of them.
    fn wait(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            for (number, child) in self.children.iter_mut().enumerate() {
                if let Some(status) = child.try_wait()? {
                    let log = self.folder.join(format!("server-{number}.log"));
                    let log = fs::read_to_string(log).unwrap_or_default();
                    bail!(
                        "nats-server ended ({status}): {log}\n\
                         is it installed (apt-get install nats-server), with JetStream?"
                    );
                }
            }
            let replicas = self.children.len();
            let store = Store { storage: StorageType::Memory, replicas };
            match self.make_stream("READY", store).and_then(|()| self.remove_stream("READY")) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context("the servers do not get ready"));
                }
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Makes a stream, as a bridge does.
    pub(crate) fn make_stream(&self, name: &str, store: Store) -> anyhow::Result<()> {
        self.talk(async |context| {
            let config = Config {
                name: name.to_owned(),
                subjects: vec![format!("fanout.{name}")],
                num_replicas: store.replicas,
                storage: store.storage,
                discard: DiscardPolicy::New,
                ..Config::default()
            };
            context.create_stream(config).await.context("making a stream")?;
            Ok(())
        })
    }

    /// Removes a stream with what it has.
    pub(crate) fn remove_stream(&self, name: &str) -> anyhow::Result<()> {
        self.talk(async |context| {
            context.delete_stream(name).await.context("removing a stream")?;
            Ok(())
        })
    }

    fn talk(
        &self,
        what: impl AsyncFnOnce(jetstream::Context) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let servers: Vec<String> = self.clients.iter().map(SocketAddr::to_string).collect();
            let client = async_nats::connect(servers).await?;
            what(jetstream::new(client)).await
        })
    }

    /// The CPU time that all of them have used.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let mut sum = Duration::ZERO;
        for child in &self.children {
            sum += cpu(child.id())?;
        }
        Ok(sum)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        // What is left lies in a temporary folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The CPU time that a process has used.
pub(crate) fn cpu(process: u32) -> anyhow::Result<Duration> {
    let clock =
        clock_getcpuclockid(Pid::from_raw(process as i32)).context("a clock of CPU time")?;
    Ok(clock_gettime(clock)?.into())
}

/// Addresses that were free a moment ago. All are taken before the first is given back, so that they differ.
fn free_addresses(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let listeners: Result<Vec<_>, _> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    let listeners = listeners.context("looking for a free port")?;
    let addresses: Result<Vec<_>, _> = listeners.iter().map(TcpListener::local_addr).collect();
    let addresses = addresses?;
    ensure!(addresses.len() == count, "the kernel has no free port");
    Ok(addresses)
}
