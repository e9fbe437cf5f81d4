//! Three servers that keep streams together.

use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use testing::{Folder, free_port};

use super::bound::DEADLINE;
use super::server::{PortTaken, Server, Setup};

/// How many servers a cluster has: one may be away.
const SERVERS: usize = 3;

/// How often a cluster may find that somebody took one of its ports.
const ATTEMPTS: u32 = 20;

/// Three servers with JetStream on this machine. They are killed when this is dropped, and their stores are removed.
#[derive(Debug)]
pub(crate) struct Cluster(Vec<Server>);

impl Cluster {
    /// Starts them, and waits until they have a leader and are all ready.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::start_with(&Setup::new())
    }

    /// The same with this configuration of each.
    #[track_caller]
    pub(crate) fn start_with(setup: &Setup) -> Self {
        for _ in 0..ATTEMPTS {
            if let Ok(cluster) = Self::try_start(setup) {
                cluster.until_ready();
                return cluster;
            }
        }
        panic!("found no free ports in {ATTEMPTS} attempts");
    }

    #[track_caller]
    fn try_start(setup: &Setup) -> Result<Self, PortTaken> {
        let folder = Rc::new(Folder::new());
        let routes: Vec<u16> = (0..SERVERS).map(|_| free_port()).collect();
        let urls: String = routes.iter().map(|port| format!("nats://127.0.0.1:{port}, ")).collect();
        let servers = routes.iter().zip(["one", "two", "three"]).map(|(port, name)| {
            // A server that is not told the routes of the others would not find them again after they were killed.
            let cluster = format!(
                "cluster {{\n  name: fanout\n  listen: 127.0.0.1:{port}\n  routes: [ {urls} ]\n  no_advertise: true\n}}"
            );
            let mut server = Server::prepare(&setup.clone().with(&cluster), folder.clone(), name);
            server.try_start().map(|()| server)
        });
        let servers: Vec<Server> = servers.collect::<Result<_, _>>()?;
        Ok(Self(servers))
    }

    /// Waits until those that were not killed have a leader, and are healthy.
    #[track_caller]
    pub(crate) fn until_ready(&self) {
        let started = Instant::now();
        while self.leader().is_none() {
            assert!(started.elapsed() < DEADLINE, "the cluster has no leader");
            thread::sleep(Duration::from_millis(20));
        }
        self.0.iter().filter(|server| server.is_running()).for_each(Server::until_ready);
    }

    /// The number of the server that leads them all, if the servers that answer know it.
    pub(crate) fn leader(&self) -> Option<usize> {
        self.0.iter().find_map(|server| {
            let said: serde_json::Value =
                serde_json::from_str(&server.monitored("/jsz")?).expect("JSON");
            let leader = said["meta_cluster"]["leader"].as_str()?;
            self.0.iter().position(|server| server.is_running() && server.name() == leader)
        })
    }

    /// Where clients find them, separated by commas.
    pub(crate) fn url(&self) -> String {
        self.0.iter().map(Server::url).collect::<Vec<_>>().join(",")
    }

    /// How many servers it has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// One of them.
    pub(crate) fn server(&mut self, number: usize) -> &mut Server {
        &mut self.0[number]
    }
}
