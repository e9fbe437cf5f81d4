//! A real NATS server, which does not outlive its test.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;
use std::process::{Command, Stdio};

use testing::{Folder, Process, eventually};

/// A server with a configuration of the test's own.
pub(crate) struct Server {
    process: Process,
    folder: Folder,
    port: u16,
}

impl Server {
    /// Starts a server with JetStream, and with this in its configuration.
    pub(crate) fn start(more: &str) -> Self {
        Self::bare(&format!("jetstream {{ store_dir: \"FOLDER/streams\" }}\n{more}"))
    }

    /// Starts a server with nothing but this in its configuration. `FOLDER` stands for its folder.
    pub(crate) fn bare(configuration: &str) -> Self {
        let folder = Folder::new();
        // Port -1: the server takes a free one, and writes it into a file.
        let (process, port) = launch(&folder, -1, configuration);
        Self { process, folder, port }
    }

    /// Kills it, and starts one with this configuration in its place, on its port.
    pub(crate) fn restart(&mut self, more: &str) {
        self.process.kill();
        let configuration = format!("jetstream {{ store_dir: \"FOLDER/streams\" }}\n{more}");
        (self.process, _) = launch(&self.folder, i32::from(self.port), &configuration);
    }

    /// Kills it. `restart` brings it back.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

fn launch(folder: &Folder, port: i32, configuration: &str) -> (Process, u16) {
    let path = folder.path().display().to_string();
    let configuration = configuration.replace("FOLDER", &path);
    let whole = format!(
        "listen: \"127.0.0.1:{port}\"\nports_file_dir: \"{path}\"\nlog_file: \"{path}/log\"\n{configuration}\n"
    );
    let file = folder.join("server.conf");
    std::fs::write(&file, whole).unwrap();
    let mut command = Command::new("nats-server");
    command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = match command.spawn() {
        Ok(child) => Process(child),
        Err(error) => panic!("this test needs nats-server (apt-get install nats-server): {error}"),
    };
    let ports = folder.join(&format!("nats-server_{}.ports", process.id()));
    let mut found = None;
    let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    eventually("the server says on which port it is", || {
        found = port_in(&std::fs::read_to_string(&ports).unwrap_or_default());
        assert!(found.is_some() || process_lives(process.id()), "{}", log());
        found.is_some()
    });
    (process, found.unwrap())
}

fn process_lives(id: u32) -> bool {
    // A process that has ended and is not yet waited for is a zombie.
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn port_in(text: &str) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_str(text).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}
